-- A claimed build leaves the index that is looked through for the next one: an
-- entry costs each change of its row. Those that are claimed have a shorter one,
-- which takes the place of builds_keys, too.
DROP INDEX builds_queue;
DROP INDEX builds_keys;
CREATE INDEX builds_queue ON builds (service, queue, alone, rank, phase, max(id - run - 1, 0)) WHERE queue IS NOT NULL AND queue <> 2;
CREATE INDEX builds_claimed ON builds (service, service_key, worker) WHERE queue = 2;

-- Claims of many builds at once, instead of in their rows. The builds are a JSON
-- list of ids; the number of the i-th one's claim is first + i. Some may have
-- ended; the others are in builds_queue as if they were free.
CREATE TABLE claims (
  first  INTEGER PRIMARY KEY,
  worker INTEGER NOT NULL,
  epoch  INTEGER NOT NULL,
  builds TEXT NOT NULL
);

-- Programs of before, which would claim such builds once more, fail where they look
-- at a service.
ALTER TABLE services RENAME COLUMN rate_at TO tokens_at;
