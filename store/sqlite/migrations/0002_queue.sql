-- The queue: builds of detached Runs, which any worker of their service executes.

-- Queues of projects, made when a build first names them.
CREATE TABLE services (
  id       INTEGER PRIMARY KEY,
  project  TEXT NOT NULL,
  name     TEXT NOT NULL,
  rate_at  INTEGER NOT NULL DEFAULT 0,  -- of its rate: when all of its tokens are there again, nanoseconds since 1970
  settings TEXT,                        -- JSON of jobcontrol.Service; NULL: nobody has described it
  UNIQUE (project, name)
);

ALTER TABLE sequences ADD COLUMN hint INTEGER NOT NULL DEFAULT 0;  -- grows with what may concern a worker

ALTER TABLE runs ADD COLUMN detached INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN left INTEGER NOT NULL DEFAULT 0;       -- of a detached one: builds that are not final

-- The table is made anew, since the columns that may be large stay the last ones.
CREATE TABLE builds_2 (
  id          INTEGER PRIMARY KEY,
  run         INTEGER NOT NULL,            -- = id: a lone build
  head        INTEGER NOT NULL,            -- its job
  definition  INTEGER NOT NULL,
  origin      INTEGER,                     -- of a lone build
  open        INTEGER,                     -- of a lone build: 1 unfinished (in the foreground), 2 cleaning, 7 interrupted, else NULL
  state       INTEGER NOT NULL,
  phase       INTEGER NOT NULL DEFAULT 0,
  deps_left   INTEGER NOT NULL DEFAULT 0,
  changed     INTEGER,
  tries       INTEGER NOT NULL,
  retry_delay INTEGER NOT NULL,            -- nanoseconds
  tries_used  INTEGER NOT NULL DEFAULT 0,
  attempts    INTEGER NOT NULL DEFAULT 0,
  lost        INTEGER NOT NULL DEFAULT 0,
  unproven    INTEGER NOT NULL DEFAULT 0,  -- workers that died since its last attempt, holding its claim without having marked it as started
  asked       INTEGER NOT NULL DEFAULT 0,
  created_at  INTEGER NOT NULL,
  ready_at    INTEGER NOT NULL DEFAULT 0,
  attempt_at  INTEGER NOT NULL DEFAULT 0,  -- when the attempt that is running was marked as started
  started_at  INTEGER NOT NULL DEFAULT 0,
  finished_at INTEGER NOT NULL DEFAULT 0,
  worker      INTEGER NOT NULL DEFAULT 0,  -- 0: nobody has claimed it
  epoch       INTEGER NOT NULL DEFAULT 0,
  claim       INTEGER NOT NULL DEFAULT 0,  -- the last one, also where it was given up
  ran         INTEGER NOT NULL DEFAULT 0,
  cleaned     INTEGER NOT NULL DEFAULT 0,
  cancel      INTEGER NOT NULL DEFAULT 0,  -- of a lone build
  cause       INTEGER NOT NULL DEFAULT 0,  -- the build whose end released or blocked it
  result_of   INTEGER NOT NULL DEFAULT 0,
  again_of    INTEGER NOT NULL DEFAULT 0,
  detached    INTEGER NOT NULL DEFAULT 0,  -- 1: of a detached Run
  queue       INTEGER,                     -- of a detached one that is not final: 1 may be claimed, 2 claimed,
                                           -- 3 scheduled, 4 waits for something else; else NULL
  service     INTEGER NOT NULL DEFAULT 0,  -- 0: the default one, in the foreground
  priority    INTEGER NOT NULL DEFAULT 0,
  rank        INTEGER NOT NULL DEFAULT 0,  -- of a detached one: its place in the queue
  alone       INTEGER NOT NULL DEFAULT 0,  -- 1: it may take its worker with it
  stop        INTEGER NOT NULL DEFAULT 0,  -- asked of its worker: 1 cancel, 2 suspend
  cleaning    INTEGER NOT NULL DEFAULT 0,  -- 1: a worker has its clean-up step
  room        BLOB,                        -- zeros, until the row gets what its end adds: a row that
                                           -- grows splits its page, and more pages have to be written
  dependants  BLOB,                        -- ids, see codec.EncodeIDs
  last        BLOB,                        -- the attempt that ended it, see codec.EncodeAttempt
  unique_key  TEXT,                        -- project, line feed, key
  service_key TEXT,
  pins        TEXT,
  why         TEXT,
  failure     TEXT,                        -- without frames
  args        TEXT,
  kwargs      TEXT,
  frames      TEXT,                        -- of failure
  result      TEXT
);
INSERT INTO services (project, name)
  SELECT project, 'default' FROM runs WHERE state = 1 AND worker = 0
  UNION SELECT h.project, 'default' FROM builds b JOIN heads h ON h.id = b.head WHERE b.open = 1 AND b.claim = 0;
UPDATE runs SET detached = 1, left = (SELECT count(*) FROM builds b WHERE b.id > runs.id AND b.id <= runs.id + size AND b.state < 7)
  WHERE state = 1 AND worker = 0;
INSERT INTO builds_2 (id, run, head, definition, origin, open, state, phase, deps_left, changed, tries, retry_delay, tries_used,
    attempts, lost, asked, created_at, ready_at, attempt_at, started_at, finished_at, worker, epoch, claim, ran, cleaned, cancel,
    cause, result_of, again_of, room, dependants, last, pins, why, failure, args, kwargs, frames, result)
  SELECT id, run, head, definition, origin, open, state, phase, deps_left, changed, tries, retry_delay, tries_used,
    attempts, lost, asked, created_at, ready_at, attempt_at, started_at, finished_at, worker, epoch, claim, ran, cleaned, cancel,
    cause, result_of, again_of, room, dependants, last, pins, why, failure, args, kwargs, frames, result FROM builds;
DROP TABLE builds;
ALTER TABLE builds_2 RENAME TO builds;
UPDATE builds SET detached = 1, open = NULL, queue = CASE state WHEN 4 THEN 1 WHEN 3 THEN 3 WHEN 1 THEN 4 WHEN 2 THEN 4 WHEN 6 THEN 4 END, rank = CASE ready_at WHEN 0 THEN created_at ELSE ready_at END,
    service = (SELECT s.id FROM services s JOIN heads h ON h.project = s.project WHERE h.id = builds.head AND s.name = 'default')
  WHERE open = 1 AND claim = 0 OR run IN (SELECT id FROM runs WHERE detached = 1);

CREATE INDEX builds_head ON builds (head);
CREATE INDEX builds_running ON builds (state) WHERE state = 5;
CREATE INDEX builds_open ON builds (open) WHERE open IS NOT NULL;

-- An index costs each statement that changes a column which it names. So those of
-- the queue name none that executing a build in the foreground changes, and hold
-- no build of the foreground.
CREATE INDEX builds_queue ON builds (service, queue, alone, rank, phase, max(id - run - 1, 0)) WHERE queue IS NOT NULL;
CREATE INDEX builds_keys ON builds (service, service_key) WHERE service_key IS NOT NULL AND queue = 2;
CREATE INDEX builds_scheduled ON builds (ready_at, service) WHERE queue = 3;
CREATE INDEX builds_stop ON builds (stop) WHERE stop <> 0;
CREATE INDEX builds_cleanup ON builds (run, ran) WHERE detached = 1 AND ran > 0 AND cleaned = 0;
CREATE INDEX builds_cleaning ON builds (cleaning) WHERE cleaning = 1;
-- Of the builds with one key only the newest can be unfinished.
CREATE INDEX builds_unique ON builds (unique_key) WHERE unique_key IS NOT NULL;
