-- Builds that were expanded to builds of their items. Those became members of the
-- Run after it was made: first to first+size-1. The pins are those of the build
-- from then on: in its own row they would be written anew with each item that ends.
CREATE TABLE expansions (
  parent INTEGER PRIMARY KEY,
  run    INTEGER NOT NULL,
  first  INTEGER NOT NULL,
  size   INTEGER NOT NULL,
  pins   TEXT
);
CREATE INDEX expansions_run ON expansions (run, first);
CREATE INDEX expansions_first ON expansions (first) WHERE size > 0;
