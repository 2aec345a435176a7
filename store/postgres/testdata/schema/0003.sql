CREATE SCHEMA dumped;
CREATE FUNCTION dumped.jobcontrol_extend_history(until bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $$
DECLARE
  day  CONSTANT bigint := 86400000000;
  last record;
  low  bigint;
  high bigint;
  part text;
BEGIN
  LOCK TABLE "dumped"."jobcontrol_partitions" IN SHARE ROW EXCLUSIVE MODE; -- one at a time; who reads may go on
  LOOP
    SELECT p.high, p.name INTO last FROM "dumped"."jobcontrol_partitions" p ORDER BY p.low DESC LIMIT 1;
    IF last.high > until THEN
      RETURN last.high;
    END IF;
    low := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    low := greatest(low - low % day, coalesce(last.high, 0));
    high := low + 7 * day;
    -- Of the last tables one that has more than 300,000 builds a day.
    IF EXISTS (SELECT 1 FROM (SELECT p.* FROM "dumped"."jobcontrol_partitions" p ORDER BY p.low DESC LIMIT 10) p
        JOIN pg_class h ON h.oid = '"dumped"."jobcontrol_history"'::regclass JOIN pg_class c ON c.relnamespace = h.relnamespace AND c.relname = p.name
        WHERE c.reltuples > 300000.0 * (p.high - p.low) / day) THEN
      high := low + day;
    END IF;
    part := '"jobcontrol_history"';
    part := trim(both '"' from part) || '_' || to_char(to_timestamp(low / 1000000) AT TIME ZONE 'UTC', 'YYYYMMDD');
    INSERT INTO "dumped"."jobcontrol_partitions" VALUES (low, high, part);
    part := (SELECT format('%I.%I', n.nspname, part) FROM pg_class h JOIN pg_namespace n ON n.oid = h.relnamespace WHERE h.oid = '"dumped"."jobcontrol_history"'::regclass);
    EXECUTE format('CREATE TABLE %s (LIKE "dumped"."jobcontrol_history" INCLUDING ALL)', part);
    LOCK TABLE "dumped"."jobcontrol_history_rest" IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('WITH moved AS (DELETE FROM "dumped"."jobcontrol_history_rest" WHERE finished_at >= %s AND finished_at < %s RETURNING *) INSERT INTO %s SELECT * FROM moved',
      low, high, part);
    EXECUTE format('ALTER TABLE "dumped"."jobcontrol_history" ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)', part, low, high);
  END LOOP;
END
$$;
CREATE FUNCTION dumped.jobcontrol_needed_history(since bigint, until bigint) RETURNS SETOF bigint
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT b.id FROM "dumped"."jobcontrol_history" b WHERE b.finished_at >= since AND b.finished_at < until AND (b.open IS NOT NULL
    OR b.id IN (SELECT unnest(ARRAY[h.latest, h.finished, h.good, h.changed, h.good_result]) FROM "dumped"."jobcontrol_heads" h)
    OR b.run IN (SELECT r.id FROM "dumped"."jobcontrol_runs" r WHERE r.state IN (1, 2, 7))
    OR b.id IN (SELECT p.value::bigint FROM "dumped"."jobcontrol_builds" u, json_each_text(u.pins::json) p WHERE u.pins IS NOT NULL))
$$;
CREATE FUNCTION dumped.jobcontrol_retire_history(part text, given bigint[]) RETURNS TABLE(builds bigint, runs bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '2s'
    AS $_$
DECLARE
  bounds record;
  tab    text;
  kept   bigint[];
  gone   bigint[];
BEGIN
  LOCK TABLE "dumped"."jobcontrol_partitions" IN SHARE ROW EXCLUSIVE MODE;
  DELETE FROM "dumped"."jobcontrol_partitions" p WHERE p.name = part RETURNING p.low, p.high INTO bounds;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  LOCK TABLE "dumped"."jobcontrol_history" IN ACCESS EXCLUSIVE MODE;
  SELECT array_agg(id) INTO kept FROM (
    SELECT unnest(given) AS id UNION SELECT "dumped"."jobcontrol_needed_history"(bounds.low, bounds.high)) k;
  tab := (SELECT format('%I.%I', n.nspname, part) FROM pg_class h JOIN pg_namespace n ON n.oid = h.relnamespace WHERE h.oid = '"dumped"."jobcontrol_history"'::regclass);
  EXECUTE format('ALTER TABLE "dumped"."jobcontrol_history" DETACH PARTITION %s', tab);
  EXECUTE format('WITH moved AS (DELETE FROM %s WHERE id = ANY($1) RETURNING *) INSERT INTO "dumped"."jobcontrol_history" SELECT * FROM moved', tab) USING kept;
  EXECUTE format('DELETE FROM "dumped"."jobcontrol_shared" s USING %s b WHERE b.id = s.run AND b.run = b.id', tab);
  EXECUTE format('WITH less AS (
      SELECT b.run, count(*) FILTER (WHERE state = 7) AS s, count(*) FILTER (WHERE state = 8) AS k, count(*) FILTER (WHERE state = 9) AS f,
        count(*) FILTER (WHERE state = 10) AS c, count(*) FILTER (WHERE state = 11) AS b
      FROM %s b WHERE b.run <> b.id GROUP BY b.run
    ), changed AS (
      UPDATE "dumped"."jobcontrol_runs" r SET successful = r.successful - s, skipped = r.skipped - k, failed = r.failed - f, cancelled = r.cancelled - c, blocked = r.blocked - b
      FROM less WHERE r.id = less.run
      RETURNING r.id, r.remaining + r.successful + r.skipped + r.failed + r.cancelled + r.blocked AS rest
    ) SELECT coalesce(array_agg(id), ''{}'') FROM changed WHERE rest = 0', tab) INTO gone;
  DELETE FROM "dumped"."jobcontrol_shared" s WHERE s.run = ANY(gone);
  DELETE FROM "dumped"."jobcontrol_runs" r WHERE r.id = ANY(gone);
  EXECUTE format('SELECT count(*) FROM %s', tab) INTO builds;
  runs := cardinality(gone);
  EXECUTE format('DROP TABLE %s', tab);
  RETURN NEXT;
END
$_$;
CREATE FUNCTION dumped.jobcontrol_standing_history(since bigint, until bigint, kept bigint[]) RETURNS SETOF bigint
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  SELECT b.id FROM "dumped"."jobcontrol_history" b WHERE b.finished_at >= since AND b.finished_at < until AND b.result IS NOT NULL AND b.id IN (
    SELECT x.result_of FROM "dumped"."jobcontrol_history" x WHERE x.result_of IS NOT NULL AND (x.finished_at < since OR x.finished_at >= until OR x.id = ANY(kept)))
$$;
CREATE TABLE dumped.jobcontrol_builds (
    id bigint NOT NULL,
    run bigint NOT NULL,
    rank bigint NOT NULL,
    created_at bigint NOT NULL,
    retry_delay bigint NOT NULL,
    head integer NOT NULL,
    definition integer NOT NULL,
    service integer NOT NULL,
    phase integer DEFAULT 0 NOT NULL,
    place integer DEFAULT 0 NOT NULL,
    deps_left integer DEFAULT 0 NOT NULL,
    tries integer NOT NULL,
    tries_used integer DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    lost integer DEFAULT 0 NOT NULL,
    unproven integer DEFAULT 0 NOT NULL,
    asked integer DEFAULT 0 NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    state smallint NOT NULL,
    detached boolean NOT NULL,
    suspect boolean NOT NULL,
    cancel boolean DEFAULT false NOT NULL,
    open smallint,
    stopping smallint,
    origin integer,
    ready_at bigint,
    started_at bigint,
    worker bigint,
    epoch bigint,
    claim bigint,
    attempt_at bigint,
    ran bigint,
    cause bigint,
    again_of bigint,
    unique_key text,
    key text,
    dependants bytea,
    pins text,
    why text,
    stop_reason text,
    failure text,
    frames text,
    args text,
    kwargs text
)
WITH (fillfactor='45', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0');
COMMENT ON COLUMN dumped.jobcontrol_builds.dependants IS 'ids of builds that wait for this one; negative: it is an item of that one';
CREATE TABLE dumped.jobcontrol_history (
    id bigint NOT NULL,
    run bigint NOT NULL,
    finished_at bigint NOT NULL,
    created_at bigint NOT NULL,
    retry_delay bigint NOT NULL,
    head integer NOT NULL,
    definition integer NOT NULL,
    service integer NOT NULL,
    phase integer DEFAULT 0 NOT NULL,
    place integer DEFAULT 0 NOT NULL,
    deps_left integer DEFAULT 0 NOT NULL,
    tries integer NOT NULL,
    tries_used integer DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    lost integer DEFAULT 0 NOT NULL,
    asked integer DEFAULT 0 NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    state smallint NOT NULL,
    detached boolean NOT NULL,
    cleaned boolean DEFAULT false NOT NULL,
    cleaning boolean DEFAULT false NOT NULL,
    cancel boolean DEFAULT false NOT NULL,
    changed boolean,
    open smallint,
    origin integer,
    ready_at bigint,
    started_at bigint,
    worker bigint,
    epoch bigint,
    claim bigint,
    ran bigint,
    cause bigint,
    result_of bigint,
    again_of bigint,
    key text,
    unique_key text,
    dependants bytea,
    last bytea,
    pins text,
    why text,
    failure text,
    frames text,
    args text,
    kwargs text,
    result text
)
PARTITION BY RANGE (finished_at);
CREATE VIEW dumped.jobcontrol_all_builds AS
 SELECT jobcontrol_history.id,
    jobcontrol_history.run,
    jobcontrol_history.head,
    jobcontrol_history.definition,
    jobcontrol_history.service,
    jobcontrol_history.state,
    jobcontrol_history.changed,
    jobcontrol_history.phase,
    jobcontrol_history.place,
    jobcontrol_history.deps_left,
    jobcontrol_history.tries,
    jobcontrol_history.retry_delay,
    jobcontrol_history.tries_used,
    jobcontrol_history.attempts,
    jobcontrol_history.lost,
    jobcontrol_history.asked,
    jobcontrol_history.priority,
    jobcontrol_history.created_at,
    jobcontrol_history.ready_at,
    jobcontrol_history.started_at,
    NULL::bigint AS attempt_at,
    jobcontrol_history.finished_at,
    jobcontrol_history.worker,
    jobcontrol_history.epoch,
    jobcontrol_history.claim,
    jobcontrol_history.ran,
    jobcontrol_history.cleaned,
    jobcontrol_history.detached,
    jobcontrol_history.cancel,
    jobcontrol_history.open,
    NULL::smallint AS stopping,
    NULL::text AS stop_reason,
    jobcontrol_history.origin,
    jobcontrol_history.cause,
    jobcontrol_history.result_of,
    jobcontrol_history.again_of,
    jobcontrol_history.unique_key,
    jobcontrol_history.key,
    jobcontrol_history.why,
    jobcontrol_history.failure,
    jobcontrol_history.args,
    jobcontrol_history.kwargs,
    jobcontrol_history.dependants,
    jobcontrol_history.pins,
    jobcontrol_history.frames,
    jobcontrol_history.result,
    jobcontrol_history.last,
    true AS final
   FROM dumped.jobcontrol_history
UNION ALL
 SELECT jobcontrol_builds.id,
    jobcontrol_builds.run,
    jobcontrol_builds.head,
    jobcontrol_builds.definition,
    jobcontrol_builds.service,
    jobcontrol_builds.state,
    NULL::boolean AS changed,
    jobcontrol_builds.phase,
    jobcontrol_builds.place,
    jobcontrol_builds.deps_left,
    jobcontrol_builds.tries,
    jobcontrol_builds.retry_delay,
    jobcontrol_builds.tries_used,
    jobcontrol_builds.attempts,
    jobcontrol_builds.lost,
    jobcontrol_builds.asked,
    jobcontrol_builds.priority,
    jobcontrol_builds.created_at,
    jobcontrol_builds.ready_at,
    jobcontrol_builds.started_at,
    jobcontrol_builds.attempt_at,
    NULL::bigint AS finished_at,
    jobcontrol_builds.worker,
    jobcontrol_builds.epoch,
    jobcontrol_builds.claim,
    jobcontrol_builds.ran,
    false AS cleaned,
    jobcontrol_builds.detached,
    jobcontrol_builds.cancel,
    jobcontrol_builds.open,
    jobcontrol_builds.stopping,
    jobcontrol_builds.stop_reason,
    jobcontrol_builds.origin,
    jobcontrol_builds.cause,
    NULL::bigint AS result_of,
    jobcontrol_builds.again_of,
    jobcontrol_builds.unique_key,
    jobcontrol_builds.key,
    jobcontrol_builds.why,
    jobcontrol_builds.failure,
    jobcontrol_builds.args,
    jobcontrol_builds.kwargs,
    jobcontrol_builds.dependants,
    jobcontrol_builds.pins,
    jobcontrol_builds.frames,
    NULL::text AS result,
    NULL::bytea AS last,
    false AS final
   FROM dumped.jobcontrol_builds;
CREATE TABLE dumped.jobcontrol_attempts (
    build bigint NOT NULL,
    number integer NOT NULL,
    data bytea NOT NULL,
    failure text
);
CREATE SEQUENCE dumped.jobcontrol_claims
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE dumped.jobcontrol_definitions (
    id integer NOT NULL,
    hash text NOT NULL,
    max_lost integer NOT NULL,
    suspect boolean NOT NULL,
    cleanup boolean NOT NULL,
    body text NOT NULL
);
ALTER TABLE dumped.jobcontrol_definitions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME dumped.jobcontrol_definitions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE dumped.jobcontrol_heads (
    id integer NOT NULL,
    project text NOT NULL,
    job text NOT NULL,
    latest bigint DEFAULT 0 NOT NULL,
    latest_state smallint DEFAULT 0 NOT NULL,
    unfinished integer DEFAULT 0 NOT NULL,
    finished bigint DEFAULT 0 NOT NULL,
    finished_state smallint DEFAULT 0 NOT NULL,
    good bigint DEFAULT 0 NOT NULL,
    good_at bigint DEFAULT 0 NOT NULL,
    good_definition integer DEFAULT 0 NOT NULL,
    good_result bigint DEFAULT 0 NOT NULL,
    changed bigint DEFAULT 0 NOT NULL,
    changed_at bigint DEFAULT 0 NOT NULL,
    good_pins text
)
WITH (fillfactor='25');
ALTER TABLE dumped.jobcontrol_heads ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME dumped.jobcontrol_heads_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE dumped.jobcontrol_history_rest (
    id bigint NOT NULL,
    run bigint NOT NULL,
    finished_at bigint NOT NULL,
    created_at bigint NOT NULL,
    retry_delay bigint NOT NULL,
    head integer NOT NULL,
    definition integer NOT NULL,
    service integer NOT NULL,
    phase integer DEFAULT 0 NOT NULL,
    place integer DEFAULT 0 NOT NULL,
    deps_left integer DEFAULT 0 NOT NULL,
    tries integer NOT NULL,
    tries_used integer DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    lost integer DEFAULT 0 NOT NULL,
    asked integer DEFAULT 0 NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    state smallint NOT NULL,
    detached boolean NOT NULL,
    cleaned boolean DEFAULT false NOT NULL,
    cleaning boolean DEFAULT false NOT NULL,
    cancel boolean DEFAULT false NOT NULL,
    changed boolean,
    open smallint,
    origin integer,
    ready_at bigint,
    started_at bigint,
    worker bigint,
    epoch bigint,
    claim bigint,
    ran bigint,
    cause bigint,
    result_of bigint,
    again_of bigint,
    key text,
    unique_key text,
    dependants bytea,
    last bytea,
    pins text,
    why text,
    failure text,
    frames text,
    args text,
    kwargs text,
    result text
);
CREATE SEQUENCE dumped.jobcontrol_ids
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE dumped.jobcontrol_logs (
    build bigint NOT NULL,
    number bigint NOT NULL,
    first_seq bigint NOT NULL,
    count bigint NOT NULL,
    since bigint NOT NULL,
    until bigint NOT NULL,
    size bigint NOT NULL,
    size_end bigint NOT NULL,
    bytes bigint NOT NULL,
    bytes_end bigint NOT NULL,
    tail bigint NOT NULL,
    batch bigint NOT NULL,
    level integer NOT NULL,
    packed boolean NOT NULL,
    data bytea NOT NULL
);
ALTER TABLE ONLY dumped.jobcontrol_logs ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE TABLE dumped.jobcontrol_meta (
    version integer NOT NULL
);
CREATE TABLE dumped.jobcontrol_origins (
    id integer NOT NULL,
    verb text NOT NULL,
    author text NOT NULL,
    file text NOT NULL,
    no_cleanup boolean NOT NULL
);
ALTER TABLE dumped.jobcontrol_origins ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME dumped.jobcontrol_origins_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE dumped.jobcontrol_partitions (
    low bigint NOT NULL,
    high bigint NOT NULL,
    name text NOT NULL
);
CREATE TABLE dumped.jobcontrol_progress (
    build bigint NOT NULL,
    hash bytea NOT NULL,
    number integer NOT NULL,
    current bigint,
    total bigint,
    path text NOT NULL,
    status text
)
WITH (fillfactor='50');
CREATE SEQUENCE dumped.jobcontrol_rans
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE dumped.jobcontrol_run_keys (
    key text NOT NULL,
    run bigint NOT NULL,
    created_at bigint NOT NULL
);
CREATE TABLE dumped.jobcontrol_runs (
    id bigint NOT NULL,
    size integer NOT NULL,
    remaining integer NOT NULL,
    successful integer DEFAULT 0 NOT NULL,
    skipped integer DEFAULT 0 NOT NULL,
    failed integer DEFAULT 0 NOT NULL,
    cancelled integer DEFAULT 0 NOT NULL,
    blocked integer DEFAULT 0 NOT NULL,
    origin integer NOT NULL,
    state smallint NOT NULL,
    detached boolean NOT NULL,
    cancel boolean DEFAULT false NOT NULL,
    worker bigint DEFAULT 0 NOT NULL,
    epoch bigint DEFAULT 0 NOT NULL,
    created_at bigint NOT NULL,
    finished_at bigint DEFAULT 0 NOT NULL,
    project text NOT NULL,
    message text,
    targets text NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE dumped.jobcontrol_services (
    id integer NOT NULL,
    project text NOT NULL,
    name text NOT NULL,
    described boolean DEFAULT false NOT NULL,
    concurrency integer DEFAULT 0 NOT NULL,
    key_concurrency integer DEFAULT 0 NOT NULL,
    rate integer DEFAULT 0 NOT NULL,
    rate_per bigint DEFAULT 0 NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    paused boolean DEFAULT false NOT NULL,
    draining boolean DEFAULT false NOT NULL,
    manual boolean DEFAULT false NOT NULL,
    tokens double precision DEFAULT 0 NOT NULL,
    tokens_at bigint DEFAULT 0 NOT NULL,
    fallback text DEFAULT ''::text NOT NULL,
    key text
)
WITH (fillfactor='50');
ALTER TABLE dumped.jobcontrol_services ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME dumped.jobcontrol_services_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE dumped.jobcontrol_shared (
    run bigint NOT NULL,
    key bytea NOT NULL,
    version bigint NOT NULL,
    claim bigint NOT NULL,
    value text NOT NULL
);
CREATE TABLE dumped.jobcontrol_slots (
    build bigint NOT NULL,
    service integer NOT NULL,
    claim bigint NOT NULL,
    key text
);
CREATE TABLE dumped.jobcontrol_workers (
    id bigint NOT NULL,
    epoch bigint DEFAULT 1 NOT NULL,
    gone boolean DEFAULT false NOT NULL,
    pid bigint NOT NULL,
    start_time bigint NOT NULL,
    boot_id text NOT NULL,
    pid_space text NOT NULL,
    host text NOT NULL,
    started_at bigint NOT NULL,
    lease_until bigint NOT NULL
)
WITH (fillfactor='25');
ALTER TABLE dumped.jobcontrol_workers ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME dumped.jobcontrol_workers_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
ALTER TABLE ONLY dumped.jobcontrol_history ATTACH PARTITION dumped.jobcontrol_history_rest DEFAULT;
INSERT INTO dumped.jobcontrol_meta VALUES (3);
SELECT pg_catalog.setval('dumped.jobcontrol_claims', 1, false);
SELECT pg_catalog.setval('dumped.jobcontrol_definitions_id_seq', 1, false);
SELECT pg_catalog.setval('dumped.jobcontrol_heads_id_seq', 1, false);
SELECT pg_catalog.setval('dumped.jobcontrol_ids', 1, false);
SELECT pg_catalog.setval('dumped.jobcontrol_origins_id_seq', 1, false);
SELECT pg_catalog.setval('dumped.jobcontrol_rans', 1, false);
SELECT pg_catalog.setval('dumped.jobcontrol_services_id_seq', 1, false);
SELECT pg_catalog.setval('dumped.jobcontrol_workers_id_seq', 1, false);
ALTER TABLE ONLY dumped.jobcontrol_attempts
    ADD CONSTRAINT jobcontrol_attempts_pkey PRIMARY KEY (build, number);
ALTER TABLE ONLY dumped.jobcontrol_builds
    ADD CONSTRAINT jobcontrol_builds_pkey PRIMARY KEY (id);
ALTER TABLE ONLY dumped.jobcontrol_definitions
    ADD CONSTRAINT jobcontrol_definitions_hash_key UNIQUE (hash);
ALTER TABLE ONLY dumped.jobcontrol_definitions
    ADD CONSTRAINT jobcontrol_definitions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY dumped.jobcontrol_heads
    ADD CONSTRAINT jobcontrol_heads_job_project_key UNIQUE (job, project);
ALTER TABLE ONLY dumped.jobcontrol_heads
    ADD CONSTRAINT jobcontrol_heads_pkey PRIMARY KEY (id);
ALTER TABLE ONLY dumped.jobcontrol_logs
    ADD CONSTRAINT jobcontrol_logs_pkey PRIMARY KEY (build, number);
ALTER TABLE ONLY dumped.jobcontrol_origins
    ADD CONSTRAINT jobcontrol_origins_pkey PRIMARY KEY (id);
ALTER TABLE ONLY dumped.jobcontrol_origins
    ADD CONSTRAINT jobcontrol_origins_verb_author_file_no_cleanup_key UNIQUE (verb, author, file, no_cleanup);
ALTER TABLE ONLY dumped.jobcontrol_partitions
    ADD CONSTRAINT jobcontrol_partitions_pkey PRIMARY KEY (low);
ALTER TABLE ONLY dumped.jobcontrol_progress
    ADD CONSTRAINT jobcontrol_progress_pkey PRIMARY KEY (build, hash);
ALTER TABLE ONLY dumped.jobcontrol_run_keys
    ADD CONSTRAINT jobcontrol_run_keys_pkey PRIMARY KEY (key);
ALTER TABLE ONLY dumped.jobcontrol_runs
    ADD CONSTRAINT jobcontrol_runs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY dumped.jobcontrol_services
    ADD CONSTRAINT jobcontrol_services_pkey PRIMARY KEY (id);
ALTER TABLE ONLY dumped.jobcontrol_services
    ADD CONSTRAINT jobcontrol_services_project_name_key UNIQUE (project, name);
ALTER TABLE ONLY dumped.jobcontrol_shared
    ADD CONSTRAINT jobcontrol_shared_pkey PRIMARY KEY (run, key);
ALTER TABLE ONLY dumped.jobcontrol_slots
    ADD CONSTRAINT jobcontrol_slots_pkey PRIMARY KEY (build);
ALTER TABLE ONLY dumped.jobcontrol_workers
    ADD CONSTRAINT jobcontrol_workers_pkey PRIMARY KEY (id);
CREATE INDEX jobcontrol_builds_foreground ON dumped.jobcontrol_builds USING btree (id) WHERE ((open IS NOT NULL) AND (NOT detached));
CREATE INDEX jobcontrol_builds_interrupted ON dumped.jobcontrol_builds USING btree (id) WHERE (open = 7);
CREATE INDEX jobcontrol_builds_member ON dumped.jobcontrol_builds USING btree (run) WHERE (run <> id);
CREATE INDEX jobcontrol_builds_ready ON dumped.jobcontrol_builds USING btree (service, rank, phase, place, id) WHERE ((state = 4) AND detached AND (NOT suspect));
CREATE INDEX jobcontrol_builds_running ON dumped.jobcontrol_builds USING btree (head) WHERE (state = 5);
CREATE INDEX jobcontrol_builds_scheduled ON dumped.jobcontrol_builds USING btree (ready_at) WHERE ((state = 3) AND detached);
CREATE INDEX jobcontrol_builds_stopping ON dumped.jobcontrol_builds USING btree (id) WHERE (stopping IS NOT NULL);
CREATE INDEX jobcontrol_builds_suspect ON dumped.jobcontrol_builds USING btree (service, rank) WHERE ((state = 4) AND detached AND suspect);
CREATE UNIQUE INDEX jobcontrol_builds_unique ON dumped.jobcontrol_builds USING btree (unique_key) WHERE (unique_key IS NOT NULL);
CREATE INDEX jobcontrol_history_cleaning ON ONLY dumped.jobcontrol_history USING btree (worker) WHERE (cleaning AND (NOT cleaned));
CREATE INDEX jobcontrol_history_head ON ONLY dumped.jobcontrol_history USING btree (head, id);
CREATE INDEX jobcontrol_history_id ON ONLY dumped.jobcontrol_history USING btree (id);
CREATE INDEX jobcontrol_history_member ON ONLY dumped.jobcontrol_history USING btree (run) WHERE (run <> id);
CREATE INDEX jobcontrol_history_open ON ONLY dumped.jobcontrol_history USING btree (id) WHERE (open IS NOT NULL);
CREATE INDEX jobcontrol_history_rest_head_id_idx ON dumped.jobcontrol_history_rest USING btree (head, id);
CREATE INDEX jobcontrol_history_rest_id_idx ON dumped.jobcontrol_history_rest USING btree (id);
CREATE INDEX jobcontrol_history_rest_id_idx1 ON dumped.jobcontrol_history_rest USING btree (id) WHERE (open IS NOT NULL);
CREATE INDEX jobcontrol_history_result_of ON ONLY dumped.jobcontrol_history USING btree (result_of) WHERE (result_of IS NOT NULL);
CREATE INDEX jobcontrol_history_rest_result_of_idx ON dumped.jobcontrol_history_rest USING btree (result_of) WHERE (result_of IS NOT NULL);
CREATE INDEX jobcontrol_history_rest_run_idx ON dumped.jobcontrol_history_rest USING btree (run) WHERE (run <> id);
CREATE INDEX jobcontrol_history_rest_worker_idx ON dumped.jobcontrol_history_rest USING btree (worker) WHERE (cleaning AND (NOT cleaned));
CREATE INDEX jobcontrol_runs_open ON dumped.jobcontrol_runs USING btree (state) WHERE (state = ANY (ARRAY[1, 2, 7]));
ALTER INDEX dumped.jobcontrol_history_head ATTACH PARTITION dumped.jobcontrol_history_rest_head_id_idx;
ALTER INDEX dumped.jobcontrol_history_id ATTACH PARTITION dumped.jobcontrol_history_rest_id_idx;
ALTER INDEX dumped.jobcontrol_history_open ATTACH PARTITION dumped.jobcontrol_history_rest_id_idx1;
ALTER INDEX dumped.jobcontrol_history_result_of ATTACH PARTITION dumped.jobcontrol_history_rest_result_of_idx;
ALTER INDEX dumped.jobcontrol_history_member ATTACH PARTITION dumped.jobcontrol_history_rest_run_idx;
ALTER INDEX dumped.jobcontrol_history_cleaning ATTACH PARTITION dumped.jobcontrol_history_rest_worker_idx;
REVOKE ALL ON FUNCTION dumped.jobcontrol_extend_history(until bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION dumped.jobcontrol_needed_history(since bigint, until bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION dumped.jobcontrol_retire_history(part text, given bigint[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION dumped.jobcontrol_standing_history(since bigint, until bigint, kept bigint[]) FROM PUBLIC;
