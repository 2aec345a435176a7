-- A claimed build leaves the index that is looked through for the next one: an
-- entry costs each change of its row. Those that are claimed have a shorter one,
-- which takes the place of builds_keys, too.
DROP INDEX builds_queue;
DROP INDEX builds_keys;
CREATE INDEX builds_queue ON builds (service, queue, alone, rank, phase, max(id - run - 1, 0)) WHERE queue IS NOT NULL AND queue <> 2;
CREATE INDEX builds_claimed ON builds (service, service_key, worker) WHERE queue = 2;
