-- Names in braces are replaced: {builds} by the schema and the table with its
-- prefix, {.builds_ready} by the prefixed name alone, as an index or constraint has it.
--
-- Times are microseconds since 1970, UTC. A number that is unset is NULL where
-- it mostly is (times, claims) and 0 where it mostly is not. States have the
-- numbers of jobcontrol.State and jobcontrol.RunState. JSON is text.
--
-- Rows of definitions, origins, heads and services are never deleted, and their
-- ids never change: programs remember them.

CREATE SEQUENCE {ids};              -- of Runs and builds
CREATE SEQUENCE {claims};           -- of claims: the fence
CREATE SEQUENCE {rans};             -- order of first run phases

-- Frozen definitions of jobs, each once.
CREATE TABLE {definitions} (
  id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  hash     text NOT NULL UNIQUE,
  max_lost integer NOT NULL,  -- attempts that may be lost; 0: none (on_lost: fail)
  suspect  boolean NOT NULL,  -- on_lost: fail: its builds are claimed alone
  cleanup  boolean NOT NULL,  -- it has a clean-up step
  body     text NOT NULL
);

-- How Runs came to be, each combination once.
CREATE TABLE {origins} (
  id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  verb       text NOT NULL,
  author     text NOT NULL,
  file       text NOT NULL,
  no_cleanup boolean NOT NULL,
  UNIQUE (verb, author, file, no_cleanup)
);

-- A row per job that has, or had, a build: jobcontrol.Head. latest = 0: it has none.
CREATE TABLE {heads} (
  id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project         text NOT NULL,
  job             text NOT NULL,
  latest          bigint NOT NULL DEFAULT 0,
  latest_state    smallint NOT NULL DEFAULT 0,  -- if final, else 0
  unfinished      integer NOT NULL DEFAULT 0,
  finished        bigint NOT NULL DEFAULT 0,
  finished_state  smallint NOT NULL DEFAULT 0,
  good            bigint NOT NULL DEFAULT 0,
  good_at         bigint NOT NULL DEFAULT 0,
  good_definition integer NOT NULL DEFAULT 0,
  good_result     bigint NOT NULL DEFAULT 0,    -- the build whose result stands after good; 0: none
  changed         bigint NOT NULL DEFAULT 0,
  changed_at      bigint NOT NULL DEFAULT 0,
  good_pins       text,
  UNIQUE (job, project)
) WITH (fillfactor = 25);

-- Runs of several builds; a lone build has no row. Members have places, from 0.
CREATE TABLE {runs} (
  id          bigint PRIMARY KEY,
  size        integer NOT NULL,
  remaining   integer NOT NULL,              -- builds that are not final
  successful  integer NOT NULL DEFAULT 0,    -- counts of those that are, less deleted ones
  skipped     integer NOT NULL DEFAULT 0,
  failed      integer NOT NULL DEFAULT 0,
  cancelled   integer NOT NULL DEFAULT 0,
  blocked     integer NOT NULL DEFAULT 0,
  origin      integer NOT NULL,
  state       smallint NOT NULL,
  detached    boolean NOT NULL,              -- created without a lease: any worker executes its builds
  cancel      boolean NOT NULL DEFAULT false,
  worker      bigint NOT NULL DEFAULT 0,     -- that runs it in the foreground; 0: none
  epoch       bigint NOT NULL DEFAULT 0,
  created_at  bigint NOT NULL,
  finished_at bigint NOT NULL DEFAULT 0,
  project     text NOT NULL,
  message     text,
  targets     text NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX {.runs_open} ON {runs} (state) WHERE state IN (1, 2, 7);

-- Keys of NewRun.Key, for a day.
CREATE TABLE {run_keys} (
  key        text PRIMARY KEY,
  run        bigint NOT NULL,
  created_at bigint NOT NULL
);

-- Services: those that are described (with their limits), and those that builds were made for.
CREATE TABLE {services} (
  id              integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project         text NOT NULL,
  name            text NOT NULL,
  described       boolean NOT NULL DEFAULT false,
  concurrency     integer NOT NULL DEFAULT 0,
  key_concurrency integer NOT NULL DEFAULT 0,
  rate            integer NOT NULL DEFAULT 0,
  rate_per        bigint NOT NULL DEFAULT 0,  -- nanoseconds
  priority        integer NOT NULL DEFAULT 0,
  paused          boolean NOT NULL DEFAULT false,
  draining        boolean NOT NULL DEFAULT false,
  manual          boolean NOT NULL DEFAULT false,
  tokens          double precision NOT NULL DEFAULT 0,  -- of the rate, at tokens_at
  tokens_at       bigint NOT NULL DEFAULT 0,
  fallback        text NOT NULL DEFAULT '',
  key             text,                                 -- JSON list
  UNIQUE (project, name)
) WITH (fillfactor = 50);

-- Builds that were claimed in services that have limits. A row counts while its
-- build still has this service and this claim; the next claim removes the others.
CREATE TABLE {slots} (
  build   bigint PRIMARY KEY,
  service integer NOT NULL,
  claim   bigint NOT NULL,
  key     text
);

-- Builds that are not final. A claim changes no column of an index, and a page
-- has room for the claims of all its rows.
CREATE TABLE {builds} (
  id          bigint PRIMARY KEY,
  run         bigint NOT NULL,            -- = id: a lone build
  rank        bigint NOT NULL,            -- ready_at (or created_at) - priority * 60 s: the order of claims
  created_at  bigint NOT NULL,
  retry_delay bigint NOT NULL,            -- nanoseconds
  head        integer NOT NULL,           -- its job
  definition  integer NOT NULL,
  service     integer NOT NULL,
  phase       integer NOT NULL DEFAULT 0,
  place       integer NOT NULL DEFAULT 0,
  deps_left   integer NOT NULL DEFAULT 0,
  tries       integer NOT NULL,
  tries_used  integer NOT NULL DEFAULT 0,
  attempts    integer NOT NULL DEFAULT 0,
  lost        integer NOT NULL DEFAULT 0,
  unproven    integer NOT NULL DEFAULT 0, -- workers that died since its last attempt, holding its claim without having marked it as started
  asked       integer NOT NULL DEFAULT 0,
  priority    integer NOT NULL DEFAULT 0,
  state       smallint NOT NULL,
  detached    boolean NOT NULL,           -- of a detached Run: any worker may claim it
  suspect     boolean NOT NULL,           -- it is claimed alone: it was lost before, its definition says so, or too many workers died holding it
  cancel      boolean NOT NULL DEFAULT false,  -- of a lone build: the Run is to be cancelled
  open        smallint,                   -- of a lone build: 1 unfinished, 7 interrupted
  stopping    smallint,                   -- asked of its worker: 1 cancel, 2 suspend
  origin      integer,                    -- of a lone build
  ready_at    bigint,
  started_at  bigint,
  worker      bigint,
  epoch       bigint,
  claim       bigint,
  attempt_at  bigint,                     -- when the attempt that is running was marked as started
  ran         bigint,
  cause       bigint,                     -- the build whose end released it
  again_of    bigint,
  unique_key  text,                       -- project/key
  key         text,
  dependants  bytea,                      -- ids, see codec.EncodeIDs
  pins        text,
  why         text,
  stop_reason text,
  failure     text,                       -- of a suspended build, without frames
  frames      text,
  args        text,
  kwargs      text
) WITH (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX {.builds_ready} ON {builds} (service, rank, phase, place, id) WHERE state = 4 AND detached AND NOT suspect;
CREATE INDEX {.builds_suspect} ON {builds} (service, rank) WHERE state = 4 AND detached AND suspect;
CREATE INDEX {.builds_scheduled} ON {builds} (ready_at) WHERE state = 3 AND detached;
CREATE INDEX {.builds_running} ON {builds} (head) WHERE state = 5;
CREATE INDEX {.builds_member} ON {builds} (run) WHERE run <> id;
CREATE INDEX {.builds_interrupted} ON {builds} (id) WHERE open = 7;
CREATE INDEX {.builds_foreground} ON {builds} (id) WHERE open IS NOT NULL AND NOT detached;
CREATE INDEX {.builds_stopping} ON {builds} (id) WHERE stopping IS NOT NULL;
CREATE UNIQUE INDEX {.builds_unique} ON {builds} (unique_key) WHERE unique_key IS NOT NULL;

-- Final builds, by the time of their end. A row changes only for its clean-up
-- step, for a build that takes over another's result, and where a Run is adopted.
CREATE TABLE {history} (
  id          bigint NOT NULL,
  run         bigint NOT NULL,
  finished_at bigint NOT NULL,
  created_at  bigint NOT NULL,
  retry_delay bigint NOT NULL,
  head        integer NOT NULL,
  definition  integer NOT NULL,
  service     integer NOT NULL,
  phase       integer NOT NULL DEFAULT 0,
  place       integer NOT NULL DEFAULT 0,
  deps_left   integer NOT NULL DEFAULT 0,
  tries       integer NOT NULL,
  tries_used  integer NOT NULL DEFAULT 0,
  attempts    integer NOT NULL DEFAULT 0,
  lost        integer NOT NULL DEFAULT 0,
  asked       integer NOT NULL DEFAULT 0,
  priority    integer NOT NULL DEFAULT 0,
  state       smallint NOT NULL,
  detached    boolean NOT NULL,
  cleaned     boolean NOT NULL DEFAULT false,
  cleaning    boolean NOT NULL DEFAULT false,  -- its claim is that of its clean-up step
  cancel      boolean NOT NULL DEFAULT false,
  changed     boolean,
  open        smallint,                   -- of a lone build: 2 cleaning, 7 interrupted, else NULL
  origin      integer,
  ready_at    bigint,
  started_at  bigint,
  worker      bigint,
  epoch       bigint,
  claim       bigint,
  ran         bigint,
  cause       bigint,                     -- the build whose end released or blocked it
  result_of   bigint,
  again_of    bigint,
  key         text,
  unique_key  text,
  dependants  bytea,
  last        bytea,                      -- the attempt that ended it, see codec.EncodeAttempt
  pins        text,
  why         text,
  failure     text,
  frames      text,
  args        text,
  kwargs      text,
  result      text
) PARTITION BY RANGE (finished_at);
CREATE INDEX {.history_id} ON {history} (id);
CREATE INDEX {.history_head} ON {history} (head, id);
CREATE INDEX {.history_member} ON {history} (run) WHERE run <> id;
CREATE INDEX {.history_open} ON {history} (id) WHERE open IS NOT NULL;
CREATE INDEX {.history_cleaning} ON {history} (worker) WHERE cleaning AND NOT cleaned;
-- Where no partition was made ahead.
CREATE TABLE {history_rest} PARTITION OF {history} DEFAULT;

-- Every build, as it is read.
CREATE VIEW {all_builds} AS
  SELECT id, run, head, definition, service, state, changed, phase, place, deps_left,
    tries, retry_delay, tries_used, attempts, lost, asked, priority,
    created_at, ready_at, started_at, NULL::bigint AS attempt_at, finished_at, worker, epoch, claim, ran, cleaned, detached,
    cancel, open, NULL::smallint AS stopping, NULL::text AS stop_reason, origin, cause, result_of, again_of, unique_key, key, why,
    failure, args, kwargs, dependants, pins, frames, result, last, true AS final
  FROM {history}
  UNION ALL
  SELECT id, run, head, definition, service, state, NULL, phase, place, deps_left,
    tries, retry_delay, tries_used, attempts, lost, asked, priority,
    created_at, ready_at, started_at, attempt_at, NULL, worker, epoch, claim, ran, false, detached,
    cancel, open, stopping, stop_reason, origin, cause, NULL, again_of, unique_key, key, why,
    failure, args, kwargs, dependants, pins, frames, NULL, NULL, false
  FROM {builds};

-- Attempts that did not end their build, and clean-up steps.
CREATE TABLE {attempts} (
  build   bigint NOT NULL,
  number  integer NOT NULL,
  data    bytea NOT NULL,  -- see codec.EncodeAttempt
  failure text,
  PRIMARY KEY (build, number)
);

-- A row per flush of a log. What a build's log has had so far stands in its last row.
CREATE TABLE {logs} (
  build     bigint NOT NULL,
  number    bigint NOT NULL,
  first_seq bigint NOT NULL,
  count     bigint NOT NULL,
  since     bigint NOT NULL,   -- the earliest record
  until     bigint NOT NULL,   -- the latest record
  size      bigint NOT NULL,   -- of data before compression
  size_end  bigint NOT NULL,   -- sum of size up to this row, those deleted included
  bytes     bigint NOT NULL,   -- of the messages alone
  bytes_end bigint NOT NULL,   -- likewise the sum of bytes
  tail      bigint NOT NULL,   -- number of the first row beyond the half that is always kept; 0: none yet
  batch     bigint NOT NULL,   -- hash of the report that it came with
  level     integer NOT NULL,  -- the highest
  packed    boolean NOT NULL,  -- data is compressed (flate)
  data      bytea NOT NULL,    -- see codec.EncodeRecords
  PRIMARY KEY (build, number)
);
ALTER TABLE {logs} ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE {progress} (
  build   bigint NOT NULL,
  hash    bytea NOT NULL,    -- of the path, which may be too long for an index
  number  integer NOT NULL,  -- order of first appearance
  current bigint,
  total   bigint,
  path    text NOT NULL,     -- JSON
  status  text,
  PRIMARY KEY (build, hash)
) WITH (fillfactor = 50);

CREATE TABLE {shared} (
  run     bigint NOT NULL,
  key     bytea NOT NULL,   -- UTF-8
  version bigint NOT NULL,
  claim   bigint NOT NULL,  -- that wrote it
  value   text NOT NULL,
  PRIMARY KEY (run, key)
);

CREATE TABLE {workers} (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  epoch       bigint NOT NULL DEFAULT 1,
  gone        boolean NOT NULL DEFAULT false,
  pid         bigint NOT NULL,
  start_time  bigint NOT NULL,
  boot_id     text NOT NULL,
  pid_space   text NOT NULL,
  host        text NOT NULL,
  started_at  bigint NOT NULL,
  lease_until bigint NOT NULL   -- by the server's clock
) WITH (fillfactor = 25);
