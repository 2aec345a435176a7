-- Builds that became members of a Run after it was made, those of the items of
-- one build: first to first+size-1.
CREATE TABLE expansions (
  first  INTEGER PRIMARY KEY,
  size   INTEGER NOT NULL,
  run    INTEGER NOT NULL,
  parent INTEGER NOT NULL     -- the build that was expanded
);
CREATE INDEX expansions_run ON expansions (run);
