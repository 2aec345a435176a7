-- Times are microseconds since 1970, UTC; 0 means unset. States have the numbers
-- of jobcontrol.State and jobcontrol.RunState. JSON is text. The last columns of
-- a table are those that may be large: reading the others does not touch them.

-- One row. The numbers are the last ones given out.
CREATE TABLE sequences (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  id       INTEGER NOT NULL,  -- of runs and builds
  claim    INTEGER NOT NULL,  -- of claims: the fence
  worker   INTEGER NOT NULL,
  ran      INTEGER NOT NULL   -- order of first run phases
);
INSERT INTO sequences VALUES (1, 0, 0, 0, 0);

-- Frozen definitions of jobs, each once.
CREATE TABLE definitions (
  id       INTEGER PRIMARY KEY,
  hash     TEXT NOT NULL UNIQUE,
  body     TEXT NOT NULL
);

-- How Runs came to be, each combination once.
CREATE TABLE origins (
  id         INTEGER PRIMARY KEY,
  verb       TEXT NOT NULL,
  author     TEXT NOT NULL,
  file       TEXT NOT NULL,
  no_cleanup INTEGER NOT NULL,
  UNIQUE (verb, author, file, no_cleanup)
);

-- A row per job that has a build: jobcontrol.Head.
CREATE TABLE heads (
  id              INTEGER PRIMARY KEY,
  project         TEXT NOT NULL,
  job             TEXT NOT NULL,
  latest          INTEGER NOT NULL,
  latest_state    INTEGER NOT NULL,            -- if final, else 0
  unfinished      INTEGER NOT NULL,
  finished        INTEGER NOT NULL DEFAULT 0,
  finished_state  INTEGER NOT NULL DEFAULT 0,
  good            INTEGER NOT NULL DEFAULT 0,
  good_at         INTEGER NOT NULL DEFAULT 0,
  good_definition INTEGER NOT NULL DEFAULT 0,
  good_result     INTEGER NOT NULL DEFAULT 0,  -- the build whose result stands after good; 0: none
  changed         INTEGER NOT NULL DEFAULT 0,
  changed_at      INTEGER NOT NULL DEFAULT 0,
  good_pins       TEXT,
  room            BLOB,                        -- see builds
  UNIQUE (job, project)
);

-- Runs of several builds. The builds of a Run have the ids after its own, in
-- its order: id+1 to id+size.
CREATE TABLE runs (
  id          INTEGER PRIMARY KEY,
  size        INTEGER NOT NULL,
  project     TEXT NOT NULL,
  origin      INTEGER NOT NULL,
  state       INTEGER NOT NULL,
  worker      INTEGER NOT NULL,  -- that runs it in the foreground; 0: none
  epoch       INTEGER NOT NULL,
  cancel      INTEGER NOT NULL DEFAULT 0,
  created_at  INTEGER NOT NULL,
  finished_at INTEGER NOT NULL DEFAULT 0,
  message     TEXT,
  targets     TEXT,
  counts      TEXT               -- of a final Run; an unfinished one is counted
);
CREATE INDEX runs_open ON runs (state) WHERE state IN (1, 2, 7);

-- Keys of NewRun.Key, for a day.
CREATE TABLE run_keys (
  key        TEXT PRIMARY KEY,
  run        INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE builds (
  id          INTEGER PRIMARY KEY,
  run         INTEGER NOT NULL,            -- = id: a lone build
  head        INTEGER NOT NULL,            -- its job
  definition  INTEGER NOT NULL,
  origin      INTEGER,                     -- of a lone build
  open        INTEGER,                     -- of a lone build: 1 unfinished, 2 cleaning, 7 interrupted, else NULL
  state       INTEGER NOT NULL,
  phase       INTEGER NOT NULL DEFAULT 0,
  deps_left   INTEGER NOT NULL DEFAULT 0,
  changed     INTEGER,
  tries       INTEGER NOT NULL,
  retry_delay INTEGER NOT NULL,            -- nanoseconds
  tries_used  INTEGER NOT NULL DEFAULT 0,
  attempts    INTEGER NOT NULL DEFAULT 0,
  lost        INTEGER NOT NULL DEFAULT 0,
  asked       INTEGER NOT NULL DEFAULT 0,
  created_at  INTEGER NOT NULL,
  ready_at    INTEGER NOT NULL DEFAULT 0,
  attempt_at  INTEGER NOT NULL DEFAULT 0,  -- when the attempt that is running was marked as started
  started_at  INTEGER NOT NULL DEFAULT 0,
  finished_at INTEGER NOT NULL DEFAULT 0,
  worker      INTEGER NOT NULL DEFAULT 0,
  epoch       INTEGER NOT NULL DEFAULT 0,
  claim       INTEGER NOT NULL DEFAULT 0,
  ran         INTEGER NOT NULL DEFAULT 0,
  cleaned     INTEGER NOT NULL DEFAULT 0,
  cancel      INTEGER NOT NULL DEFAULT 0,  -- of a lone build
  cause       INTEGER NOT NULL DEFAULT 0,  -- the build whose end released or blocked it
  result_of   INTEGER NOT NULL DEFAULT 0,
  again_of    INTEGER NOT NULL DEFAULT 0,
  room        BLOB,                        -- zeros, until the row gets what its end adds: a row that
                                           -- grows splits its page, and more pages have to be written
  dependants  BLOB,                        -- ids, see encodeIDs
  last        BLOB,                        -- the attempt that ended it, see encodeAttempt
  pins        TEXT,
  why         TEXT,
  failure     TEXT,                        -- without frames
  args        TEXT,
  kwargs      TEXT,
  frames      TEXT,                        -- of failure
  result      TEXT
);
CREATE INDEX builds_head ON builds (head);
CREATE INDEX builds_running ON builds (state) WHERE state = 5;
CREATE INDEX builds_open ON builds (open) WHERE open IS NOT NULL;

-- Attempts that did not end their build, and clean-up steps.
CREATE TABLE attempts (
  id      INTEGER PRIMARY KEY,  -- place(build, number)
  data    BLOB NOT NULL,        -- see encodeAttempt
  failure TEXT
);

-- A row per flush of a log. What a build's log has had so far stands in its last row.
CREATE TABLE logs (
  id        INTEGER PRIMARY KEY,  -- place(build, number)
  first_seq INTEGER NOT NULL,
  count     INTEGER NOT NULL,
  level     INTEGER NOT NULL,     -- the highest
  since     INTEGER NOT NULL,     -- the earliest record
  until     INTEGER NOT NULL,     -- the latest record
  size      INTEGER NOT NULL,     -- of data before compression
  size_end  INTEGER NOT NULL,     -- sum of size up to this row, those deleted included
  bytes     INTEGER NOT NULL,     -- of the messages alone
  bytes_end INTEGER NOT NULL,     -- likewise the sum of bytes
  tail      INTEGER NOT NULL,     -- number of the first row beyond the half that is always kept; 0: none yet
  batch     INTEGER NOT NULL,     -- hash of the report that it came with
  packed    INTEGER NOT NULL,     -- 1: data is compressed (flate)
  data      BLOB NOT NULL         -- see encodeRecords
);

CREATE TABLE progress (
  id      INTEGER PRIMARY KEY,  -- place(build, order of first appearance)
  build   INTEGER NOT NULL,
  path    TEXT NOT NULL,        -- JSON
  current INTEGER,
  total   INTEGER,
  status  TEXT
);
CREATE UNIQUE INDEX progress_path ON progress (build, path);

CREATE TABLE shared (
  run     INTEGER NOT NULL,
  key     TEXT NOT NULL,
  version INTEGER NOT NULL,
  claim   INTEGER NOT NULL,  -- that wrote it
  value   TEXT NOT NULL,
  PRIMARY KEY (run, key)
);

CREATE TABLE workers (
  id          INTEGER PRIMARY KEY,
  epoch       INTEGER NOT NULL,
  gone        INTEGER NOT NULL DEFAULT 0,
  pid         INTEGER NOT NULL,
  start_time  INTEGER NOT NULL,
  boot_id     TEXT NOT NULL,     -- as the process said
  pid_space   TEXT NOT NULL,
  host        TEXT NOT NULL,
  started_at  INTEGER NOT NULL,
  lease_boot  TEXT NOT NULL,     -- the kernel whose boot clock lease_until is of
  lease_until INTEGER NOT NULL   -- microseconds of the boot clock
);
