-- All times are Unix nanoseconds unless said otherwise; 0 is unknown or never.

-- One row: the last stream sequence whose pairs are in the archive.
CREATE TABLE progress (
  id            INTEGER PRIMARY KEY CHECK (id = 1),
  committed_seq INTEGER NOT NULL
);
INSERT INTO progress VALUES (1, 0);

CREATE TABLE segments (
  id        INTEGER PRIMARY KEY,
  object    TEXT NOT NULL UNIQUE,
  first_seq INTEGER NOT NULL,
  last_seq  INTEGER NOT NULL,
  rows      INTEGER NOT NULL,
  bytes     INTEGER NOT NULL,
  min_ts    INTEGER NOT NULL,
  max_ts    INTEGER NOT NULL,
  services  TEXT NOT NULL, -- JSON array; [] is too many to list
  created   INTEGER NOT NULL
);
CREATE INDEX segments_by_time ON segments (min_ts, max_ts);

-- Objects that no segment uses any more, and since when.
CREATE TABLE tombstones (
  object TEXT PRIMARY KEY,
  since  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE producers (
  producer  TEXT PRIMARY KEY,
  last_seen INTEGER NOT NULL, -- by the cloud's clock
  goodbye   INTEGER NOT NULL
) WITHOUT ROWID;

-- Runs of batches seen, coalesced: batches first_batch to last_batch, which hold
-- the pairs numbered first_pair to last_pair, of the time from_ts to to_ts.
CREATE TABLE batch_ranges (
  producer    TEXT NOT NULL,
  first_batch INTEGER NOT NULL,
  last_batch  INTEGER NOT NULL,
  first_pair  INTEGER NOT NULL,
  last_pair   INTEGER NOT NULL,
  from_ts     INTEGER NOT NULL,
  to_ts       INTEGER NOT NULL,
  PRIMARY KEY (producer, first_batch)
) WITHOUT ROWID;

-- Losses, summed up by the minute in which they ended.
CREATE TABLE losses (
  producer    TEXT NOT NULL,
  reason      TEXT NOT NULL,
  service     TEXT NOT NULL,
  namespace   TEXT NOT NULL,
  direction   INTEGER NOT NULL,
  minute      INTEGER NOT NULL,
  from_ts     INTEGER NOT NULL,
  to_ts       INTEGER NOT NULL,
  pairs       INTEGER NOT NULL,
  connections INTEGER NOT NULL,
  bytes       INTEGER NOT NULL,
  PRIMARY KEY (producer, reason, service, namespace, direction, minute)
) WITHOUT ROWID;
CREATE INDEX losses_by_time ON losses (to_ts);

CREATE TABLE snapshots (
  id       TEXT PRIMARY KEY,
  name     TEXT NOT NULL,
  created  INTEGER NOT NULL,
  document BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX snapshots_by_name ON snapshots (name, created);

CREATE TABLE reports (
  id       TEXT PRIMARY KEY,
  created  INTEGER NOT NULL,
  document BLOB NOT NULL,
  summary  BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX reports_by_time ON reports (created);

-- Times of keys are Unix seconds.
CREATE TABLE keys (
  id        TEXT PRIMARY KEY,
  name      TEXT NOT NULL,
  hash      BLOB NOT NULL,
  scopes    TEXT NOT NULL, -- separated by spaces
  created   INTEGER NOT NULL,
  expires   INTEGER NOT NULL,
  last_used INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE masking_keys (
  id      TEXT PRIMARY KEY,
  key     BLOB NOT NULL,
  created INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE configs (
  name     TEXT PRIMARY KEY,
  document BLOB NOT NULL,
  updated  INTEGER NOT NULL
) WITHOUT ROWID;
