-- One row per task. seq is the order of acceptance: the time of it in
-- microseconds, or the next free number. A task that runs has the row of a
-- queued one: who runs it is known in memory, and in leases once it has run for
-- longer than a commit. Times are microseconds since 1970. The blobs are
-- written and read by rowsql.go.
CREATE TABLE tasks (
  seq  INTEGER PRIMARY KEY,
  id   BLOB NOT NULL,
  slot INTEGER NOT NULL, -- line << 8 | state << 4 | priority
  spec BLOB NOT NULL,    -- what was asked for
  life BLOB NOT NULL     -- what has become of it
);
CREATE UNIQUE INDEX tasks_id ON tasks (id);
-- seq is the last column of every index, so this one pages through the tasks of
-- one line, state and priority in order of acceptance.
CREATE INDEX tasks_slot ON tasks (slot);

CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
CREATE TABLE lines (id INTEGER PRIMARY KEY, queue TEXT NOT NULL, type TEXT NOT NULL);
CREATE TABLE nodes (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE uniques (key TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE due (run_at INTEGER, seq INTEGER, PRIMARY KEY (run_at, seq)) WITHOUT ROWID;
CREATE TABLE leases (
  seq INTEGER PRIMARY KEY, claim INTEGER, lease INTEGER, node TEXT,
  attempt INTEGER, version INTEGER, started INTEGER
);
-- Attempts before the one that the task's row describes.
CREATE TABLE attempts (
  seq INTEGER, number INTEGER, life INTEGER, node TEXT, started INTEGER, finished INTEGER,
  outcome INTEGER, error TEXT, stack TEXT, PRIMARY KEY (seq, number)
) WITHOUT ROWID;
CREATE TABLE steps (seq INTEGER, name TEXT, data BLOB, PRIMARY KEY (seq, name)) WITHOUT ROWID;
CREATE TABLE logs (
  seq INTEGER, n INTEGER, attempt INTEGER, at INTEGER, level TEXT, message TEXT, attrs BLOB,
  PRIMARY KEY (seq, n)
) WITHOUT ROWID;
CREATE TABLE queues (
  name TEXT PRIMARY KEY, paused INTEGER, concurrency INTEGER, rate_count INTEGER, rate_per INTEGER,
  version INTEGER
) WITHOUT ROWID;
CREATE TABLE counts (
  line INTEGER, state INTEGER, priority INTEGER, n INTEGER, PRIMARY KEY (line, state, priority)
) WITHOUT ROWID;
-- What to look at when: the tasks of one commit whose retention ends within one
-- bucket of time, instead of an index over every row.
CREATE TABLE expiries (bucket INTEGER, n INTEGER, seqs BLOB, PRIMARY KEY (bucket, n)) WITHOUT ROWID;
