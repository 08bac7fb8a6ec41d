-- A token belongs to a replay; other keys have none.
ALTER TABLE keys ADD COLUMN replay TEXT NOT NULL DEFAULT '';
CREATE INDEX keys_of_replays ON keys (replay) WHERE replay != '';

CREATE TABLE replays (
  id          TEXT PRIMARY KEY,
  name        TEXT NOT NULL,
  cluster     TEXT NOT NULL,
  namespace   TEXT NOT NULL,
  target      TEXT NOT NULL,
  build_tag   TEXT NOT NULL,
  snapshot_id TEXT NOT NULL,
  mask_key_id TEXT NOT NULL,    -- of the snapshot; '' where it is not masked
  snapshot    BLOB,             -- snapshot.json and the test config as they were at
  test_config BLOB,             -- the start; NULL once ended
  started     INTEGER NOT NULL,
  expires     INTEGER NOT NULL,
  ended       INTEGER NOT NULL, -- 0 while it runs
  status      TEXT NOT NULL,
  error       TEXT NOT NULL,
  reported    INTEGER NOT NULL, -- 1 where reports has it
  last_event  INTEGER NOT NULL, -- sequence of the event that ends it
  dropped     INTEGER NOT NULL  -- events
) WITHOUT ROWID;
CREATE INDEX replays_running ON replays (expires) WHERE ended = 0;

-- What agents have for the reports of replays that run.
CREATE TABLE replay_parts (
  replay   TEXT NOT NULL,
  name     TEXT NOT NULL,
  document BLOB NOT NULL,
  PRIMARY KEY (replay, name)
);

CREATE TABLE test_configs (
  id       TEXT PRIMARY KEY,
  document BLOB NOT NULL,
  updated  INTEGER NOT NULL
) WITHOUT ROWID;
