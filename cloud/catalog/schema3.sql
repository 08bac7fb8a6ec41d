-- Commands that were given to clusters.
CREATE TABLE audit (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  time    INTEGER NOT NULL,
  key     TEXT NOT NULL, -- the API key's id
  cluster TEXT NOT NULL,
  command BLOB NOT NULL, -- JSON
  outcome TEXT NOT NULL  -- 'started', 'done', or what went wrong
);
