-- A claimed build leaves the index that is looked through for the next one: an
-- entry costs each change of its row. Those that are claimed have a shorter one.
DROP INDEX builds_queue;
CREATE INDEX builds_queue ON builds (service, queue, alone, rank, phase, max(id - run - 1, 0)) WHERE queue IS NOT NULL AND queue <> 2;
CREATE INDEX builds_claimed ON builds (service, worker) WHERE queue = 2;
