-- History is a table for each week, or each day where there is much of it, which
-- is removed as a whole. {history_rest} has what was kept of those that were
-- removed, and what belongs to none.

-- The tables of history, but {history_rest}.
CREATE TABLE {partitions} (
  low  bigint PRIMARY KEY,       -- its builds ended at or after this time
  high bigint NOT NULL,          -- and before this
  name text NOT NULL             -- without schema
);

CREATE INDEX {.history_result_of} ON {history} (result_of) WHERE result_of IS NOT NULL;

-- Makes tables until the last one ends after the given time, and returns when it
-- ends. Who may call it need not own the tables.
CREATE FUNCTION {extend_history}(until bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  day  CONSTANT bigint := 86400000000;
  last record;
  low  bigint;
  high bigint;
  part text;
BEGIN
  LOCK TABLE {partitions} IN SHARE ROW EXCLUSIVE MODE; -- one at a time; who reads may go on
  LOOP
    SELECT p.high, p.name INTO last FROM {partitions} p ORDER BY p.low DESC LIMIT 1;
    IF last.high > until THEN
      RETURN last.high;
    END IF;
    low := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    low := greatest(low - low % day, coalesce(last.high, 0));
    high := low + 7 * day;
    -- Of the last tables one that has more than 300,000 builds a day.
    IF EXISTS (SELECT 1 FROM (SELECT p.* FROM {partitions} p ORDER BY p.low DESC LIMIT 10) p
        JOIN pg_class h ON h.oid = '{history}'::regclass JOIN pg_class c ON c.relnamespace = h.relnamespace AND c.relname = p.name
        WHERE c.reltuples > 300000.0 * (p.high - p.low) / day) THEN
      high := low + day;
    END IF;
    part := '{.history}';
    part := trim(both '"' from part) || '_' || to_char(to_timestamp(low / 1000000) AT TIME ZONE 'UTC', 'YYYYMMDD');
    INSERT INTO {partitions} VALUES (low, high, part);
    part := (SELECT format('%I.%I', n.nspname, part) FROM pg_class h JOIN pg_namespace n ON n.oid = h.relnamespace WHERE h.oid = '{history}'::regclass);
    EXECUTE format('CREATE TABLE %s (LIKE {history} INCLUDING ALL)', part);
    LOCK TABLE {history_rest} IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('WITH moved AS (DELETE FROM {history_rest} WHERE finished_at >= %s AND finished_at < %s RETURNING *) INSERT INTO %s SELECT * FROM moved',
      low, high, part);
    EXECUTE format('ALTER TABLE {history} ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%s)', part, low, high);
  END LOOP;
END
$$;

-- Builds that ended in a span of time and have to be kept, but those whose
-- result stands for another: see jobcontrol.Retention.
CREATE FUNCTION {needed_history}(since bigint, until bigint) RETURNS SETOF bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT b.id FROM {history} b WHERE b.finished_at >= since AND b.finished_at < until AND (b.open IS NOT NULL
    OR b.id IN (SELECT unnest(ARRAY[h.latest, h.finished, h.good, h.changed, h.good_result]) FROM {heads} h)
    OR b.run IN (SELECT r.id FROM {runs} r WHERE r.state IN (1, 2, 7))
    OR b.id IN (SELECT p.value::bigint FROM {builds} u, json_each_text(u.pins::json) p WHERE u.pins IS NOT NULL))
$$;

-- Builds that ended in a span of time and whose result stands for one that
-- ended outside of it, or for one of those given.
CREATE FUNCTION {standing_history}(since bigint, until bigint, kept bigint[]) RETURNS SETOF bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT b.id FROM {history} b WHERE b.finished_at >= since AND b.finished_at < until AND b.result IS NOT NULL AND b.id IN (
    SELECT x.result_of FROM {history} x WHERE x.result_of IS NOT NULL AND (x.finished_at < since OR x.finished_at >= until OR x.id = ANY(kept)))
$$;

-- Removes a table of history, and Runs of which nothing is left then. The builds
-- given, and those that are needed since, go to {history_rest}. It returns how
-- many builds and Runs are no more; nothing if the table is no more itself.
CREATE FUNCTION {retire_history}(part text, given bigint[]) RETURNS TABLE (builds bigint, runs bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  bounds record;
  tab    text;
  kept   bigint[];
  gone   bigint[];
BEGIN
  LOCK TABLE {partitions} IN SHARE ROW EXCLUSIVE MODE;
  DELETE FROM {partitions} p WHERE p.name = part RETURNING p.low, p.high INTO bounds;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  LOCK TABLE {history} IN ACCESS EXCLUSIVE MODE;
  SELECT array_agg(id) INTO kept FROM (
    SELECT unnest(given) AS id UNION SELECT {needed_history}(bounds.low, bounds.high)) k;
  tab := (SELECT format('%I.%I', n.nspname, part) FROM pg_class h JOIN pg_namespace n ON n.oid = h.relnamespace WHERE h.oid = '{history}'::regclass);
  EXECUTE format('ALTER TABLE {history} DETACH PARTITION %s', tab);
  EXECUTE format('WITH moved AS (DELETE FROM %s WHERE id = ANY($1) RETURNING *) INSERT INTO {history} SELECT * FROM moved', tab) USING kept;
  EXECUTE format('DELETE FROM {shared} s USING %s b WHERE b.id = s.run AND b.run = b.id', tab);
  EXECUTE format('WITH less AS (
      SELECT b.run, count(*) FILTER (WHERE state = 7) AS s, count(*) FILTER (WHERE state = 8) AS k, count(*) FILTER (WHERE state = 9) AS f,
        count(*) FILTER (WHERE state = 10) AS c, count(*) FILTER (WHERE state = 11) AS b
      FROM %s b WHERE b.run <> b.id GROUP BY b.run
    ), changed AS (
      UPDATE {runs} r SET successful = r.successful - s, skipped = r.skipped - k, failed = r.failed - f, cancelled = r.cancelled - c, blocked = r.blocked - b
      FROM less WHERE r.id = less.run
      RETURNING r.id, r.remaining + r.successful + r.skipped + r.failed + r.cancelled + r.blocked AS rest
    ) SELECT coalesce(array_agg(id), ''{}'') FROM changed WHERE rest = 0', tab) INTO gone;
  DELETE FROM {shared} s WHERE s.run = ANY(gone);
  DELETE FROM {runs} r WHERE r.id = ANY(gone);
  EXECUTE format('SELECT count(*) FROM %s', tab) INTO builds;
  runs := cardinality(gone);
  EXECUTE format('DROP TABLE %s', tab);
  RETURN NEXT;
END
$$;

REVOKE ALL ON FUNCTION {extend_history}(bigint), {needed_history}(bigint, bigint), {standing_history}(bigint, bigint, bigint[]),
  {retire_history}(text, bigint[]) FROM PUBLIC;
