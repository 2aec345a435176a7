-- A store of schema version 4: of lone builds one has ended, one was lost with its worker, one and the first of a chain are
-- claimed by a row of table claims, two are free; one is scheduled.
CREATE TABLE attempts (
  id      INTEGER PRIMARY KEY,  -- place(build, number)
  data    BLOB NOT NULL,        -- see encodeAttempt
  failure TEXT
);
INSERT INTO "attempts" VALUES(536870913,X'010100AC83D9D687B8B006DA88D9D687B8B00604040000','{"kind":"lost","message":"lost with its worker (process 4194304)","report":"a288632a360b4729"}');
CREATE TABLE "builds" (
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
INSERT INTO "builds" VALUES(1,1,1,1,1,NULL,7,0,0,1,1,0,1,1,0,0,0,1795366079634762,0,0,1795366079635296,1795366079636296,1,1,1,0,0,0,0,0,0,1,NULL,1,0,1795366079634762,0,0,0,NULL,NULL,X'010100C0FDD8D687B8B006908DD9D687B8B0060202010372756E010080897A00',NULL,NULL,NULL,NULL,NULL,'[0,"an argument"]',NULL,NULL,NULL);
INSERT INTO "builds" VALUES(2,2,1,1,1,NULL,4,0,0,NULL,1,0,0,1,1,0,0,1795366079634762,0,1795366079635670,1795366079635670,0,0,0,2,0,0,0,0,0,0,1,1,1,0,1795366079634762,1,0,0,X'000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'[0,"an argument"]',NULL,NULL,NULL);
INSERT INTO "builds" VALUES(3,3,1,1,1,NULL,4,0,0,NULL,1,0,0,0,0,0,0,1795366079634762,0,0,0,0,0,0,0,0,0,0,0,0,0,1,1,1,0,1795366079634762,0,0,0,X'000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'[0,"an argument"]',NULL,NULL,NULL);
INSERT INTO "builds" VALUES(5,4,2,2,NULL,NULL,4,0,0,NULL,3,1000000000,0,0,0,0,0,1795366079636426,0,0,0,0,0,0,0,0,0,0,0,0,0,1,1,1,0,1795366079636426,0,0,0,X'00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000',X'02',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "builds" VALUES(6,4,3,3,NULL,NULL,2,0,1,NULL,3,1000000000,0,0,0,0,0,1795366079636426,0,0,0,0,0,0,0,0,0,0,0,0,0,1,4,1,0,1795366079636426,0,0,0,X'00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000',NULL,NULL,NULL,NULL,'{"chain000000":5}',NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "builds" VALUES(7,7,4,4,1,NULL,3,0,0,NULL,1,0,0,0,0,0,0,1795366079636653,1798966079636648,0,0,0,0,0,0,0,0,0,0,0,0,1,3,1,0,1798966079636648,0,0,0,X'00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'[0,"an argument"]',NULL,NULL,NULL);
INSERT INTO "builds" VALUES(8,8,1,1,1,NULL,4,0,0,NULL,1,0,0,0,0,0,0,1795366079636879,0,0,0,0,0,0,0,0,0,0,0,0,0,1,1,1,0,1795366079636879,0,0,0,X'000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'[0,"an argument"]',NULL,NULL,NULL);
INSERT INTO "builds" VALUES(9,9,1,1,1,NULL,4,0,0,NULL,1,0,0,0,0,0,0,1795366079636879,0,0,0,0,0,0,0,0,0,0,0,0,0,1,1,1,0,1795366079636879,0,0,0,X'000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'[0,"an argument"]',NULL,NULL,NULL);
CREATE TABLE claims (
  first  INTEGER PRIMARY KEY,
  worker INTEGER NOT NULL,
  epoch  INTEGER NOT NULL,
  builds TEXT NOT NULL
);
INSERT INTO "claims" VALUES(3,1,1,'[3,5]');
CREATE TABLE definitions (
  id       INTEGER PRIMARY KEY,
  hash     TEXT NOT NULL UNIQUE,
  body     TEXT NOT NULL
);
INSERT INTO "definitions" VALUES(1,'b07b9ca58f515e00dc35a6bab81667cb','{"id":"job","run":{"shell":"true"}}');
INSERT INTO "definitions" VALUES(2,'047429d3bb886e9dc214b9c918c58e7d','{"id":"chain000000","run":{"shell":"true"}}');
INSERT INTO "definitions" VALUES(3,'f9d94ceaca914988b524776180876018','{"id":"chain000001","run":{"shell":"true"},"dependencies":["chain000000"]}');
INSERT INTO "definitions" VALUES(4,'a60d477708f05b0004211f63f670d583','{"id":"later","run":{"shell":"true"}}');
CREATE TABLE expansions (
  parent INTEGER PRIMARY KEY,
  run    INTEGER NOT NULL,
  first  INTEGER NOT NULL,
  size   INTEGER NOT NULL,
  pins   TEXT
);
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
INSERT INTO "heads" VALUES(1,'','job',9,0,4,1,7,1,1795366079636296,1,0,1,1795366079636296,NULL,NULL);
INSERT INTO "heads" VALUES(2,'','chain000000',5,0,1,0,0,0,0,0,0,0,0,NULL,X'00000000000000000000000000000000000000000000000000000000000000000000000000000000');
INSERT INTO "heads" VALUES(3,'','chain000001',6,0,1,0,0,0,0,0,0,0,0,NULL,X'00000000000000000000000000000000000000000000000000000000000000000000000000000000');
INSERT INTO "heads" VALUES(4,'','later',7,0,1,0,0,0,0,0,0,0,0,NULL,X'00000000000000000000000000000000000000000000000000000000000000000000000000000000');
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
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
INSERT INTO "meta" VALUES('version','4');
CREATE TABLE origins (
  id         INTEGER PRIMARY KEY,
  verb       TEXT NOT NULL,
  author     TEXT NOT NULL,
  file       TEXT NOT NULL,
  no_cleanup INTEGER NOT NULL,
  UNIQUE (verb, author, file, no_cleanup)
);
INSERT INTO "origins" VALUES(1,'build','somebody','',0);
INSERT INTO "origins" VALUES(2,'run','somebody','',0);
CREATE TABLE progress (
  id      INTEGER PRIMARY KEY,  -- place(build, order of first appearance)
  build   INTEGER NOT NULL,
  path    TEXT NOT NULL,        -- JSON
  current INTEGER,
  total   INTEGER,
  status  TEXT
);
CREATE TABLE run_keys (
  key        TEXT PRIMARY KEY,
  run        INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) WITHOUT ROWID;
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
, detached INTEGER NOT NULL DEFAULT 0, left INTEGER NOT NULL DEFAULT 0);
INSERT INTO "runs" VALUES(4,2,'',2,1,0,0,0,1795366079636426,0,NULL,'["all"]',NULL,1,2);
CREATE TABLE sequences (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  id       INTEGER NOT NULL,  -- of runs and builds
  claim    INTEGER NOT NULL,  -- of claims: the fence
  worker   INTEGER NOT NULL,
  ran      INTEGER NOT NULL   -- order of first run phases
, hint INTEGER NOT NULL DEFAULT 0);
INSERT INTO "sequences" VALUES(1,9,4,2,0,7);
CREATE TABLE services (
  id       INTEGER PRIMARY KEY,
  project  TEXT NOT NULL,
  name     TEXT NOT NULL,
  tokens_at  INTEGER NOT NULL DEFAULT 0,  -- of its rate: when all of its tokens are there again, nanoseconds since 1970
  settings TEXT,                        -- JSON of jobcontrol.Service; NULL: nobody has described it
  UNIQUE (project, name)
);
INSERT INTO "services" VALUES(1,'','default',0,NULL);
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
INSERT INTO "workers" VALUES(1,1,0,17006,0,'','','',1795366079634450,'0221e043-af09-4d3b-b31e-a8d83229faf0',53639744627);
INSERT INTO "workers" VALUES(2,2,1,4194304,0,'','','',1795366079635501,'0221e043-af09-4d3b-b31e-a8d83229faf0',53639745678);
CREATE INDEX runs_open ON runs (state) WHERE state IN (1, 2, 7);
CREATE UNIQUE INDEX progress_path ON progress (build, path);
CREATE INDEX builds_head ON builds (head);
CREATE INDEX builds_running ON builds (state) WHERE state = 5;
CREATE INDEX builds_open ON builds (open) WHERE open IS NOT NULL;
CREATE INDEX builds_scheduled ON builds (ready_at, service) WHERE queue = 3;
CREATE INDEX builds_stop ON builds (stop) WHERE stop <> 0;
CREATE INDEX builds_cleanup ON builds (run, ran) WHERE detached = 1 AND ran > 0 AND cleaned = 0;
CREATE INDEX builds_cleaning ON builds (cleaning) WHERE cleaning = 1;
CREATE INDEX builds_unique ON builds (unique_key) WHERE unique_key IS NOT NULL;
CREATE INDEX expansions_run ON expansions (run, first);
CREATE INDEX expansions_first ON expansions (first) WHERE size > 0;
CREATE INDEX builds_queue ON builds (service, queue, alone, rank, phase, max(id - run - 1, 0)) WHERE queue IS NOT NULL AND queue <> 2;
CREATE INDEX builds_claimed ON builds (service, service_key, worker) WHERE queue = 2;
