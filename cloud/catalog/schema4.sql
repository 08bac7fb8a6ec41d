-- What the sidecars of workloads saw come in during replays that run, by where it came
-- from; source is '' where that is not known.
CREATE TABLE replay_received (
  replay      TEXT NOT NULL,
  source      TEXT NOT NULL,
  requests    INTEGER NOT NULL,
  connections INTEGER NOT NULL, -- of which no request could be read
  PRIMARY KEY (replay, source)
) WITHOUT ROWID;
