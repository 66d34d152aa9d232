-- What the node has to remember of tasks that live elsewhere. The number has
-- the kind in its upper bits (kind << 55), so that the notes of one kind lie
-- together, in the order in which they were first written.
CREATE TABLE notes (
  seq  INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL,
  key  BLOB NOT NULL,
  alt  TEXT,
  data BLOB
);
CREATE UNIQUE INDEX notes_key ON notes (kind, key);
CREATE INDEX notes_alt ON notes (kind, alt) WHERE alt IS NOT NULL;
-- How many there are, and the last number given: numbers are not given twice.
CREATE TABLE note_kinds (kind INTEGER PRIMARY KEY, n INTEGER NOT NULL, last INTEGER NOT NULL);
-- One row: the name of this file as a journal, and when it became one.
CREATE TABLE journal (id BLOB NOT NULL, since INTEGER NOT NULL);
