-- What may be claimed has an index of its own with few columns: what ends a build
-- compares them some twenty times to find the entry that it removes. The others
-- that wait, and suspects, stay in builds_queue.
DROP INDEX builds_queue;
CREATE INDEX builds_queue ON builds (service, queue, rank, (phase << 32) + CASE run WHEN id THEN 0 ELSE id - run - 1 END) WHERE queue <> 2 AND (queue > 2 OR alone = 1);
CREATE INDEX builds_free ON builds (service, rank, (phase << 32) + CASE run WHEN id THEN 0 ELSE id - run - 1 END) WHERE queue = 1 AND alone = 0;
