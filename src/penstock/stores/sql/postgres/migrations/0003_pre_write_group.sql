-- How a group of rows gets in, as one call: the locks first, then all rows in one statement with a view that begins behind
-- them, which a function that is VOLATILE has. A call that is not in a transaction is one.
--
-- Rows are JSON, by the names of their columns. A row that is there already stays, unless it is open: then the next one
-- takes its place. So a group that is written again after a doubtful commit changes nothing. No row comes twice in one group.
--
-- What opens something is written only while its lease lives ($4; 0 = it needs none, and $6: it was let through before); what is
-- there goes on being written. The answer says what was refused. Quarters of an hour into which something is written $5
-- seconds late are not summed up any more (see sums.sql). What is looked up is looked up by key: a join would read all of a
-- table. Whoever ends the lease, or sums up quarters, holds the locks ($7; $8 and $9) alone.

CREATE FUNCTION write_group(
    json, json, json, bigint, double precision, boolean, bigint, integer, integer
) RETURNS TABLE (lives boolean, refused text[]) LANGUAGE plpgsql VOLATILE AS $write$
#variable_conflict use_column
BEGIN
    PERFORM pg_advisory_xact_lock_shared($7), pg_advisory_xact_lock_shared($8, $9);
    RETURN QUERY
WITH given_exchanges AS (
    SELECT * FROM json_to_recordset($1) AS given (
        month integer, at double precision, id text, endpoint text, model text, deployment text, key_id text,
        key_name text, team text, "user" text, tags text, outcome text, status integer, cache text,
        streamed smallint, attempts integer, input_miss bigint, input_hit bigint, cache_write bigint,
        output bigint, reasoning bigint, estimated smallint, baseline_nano bigint, cost_nano bigint,
        currency text, duration_s double precision, first_byte_s double precision, overhead_s double precision,
        degraded text, avoided_nano bigint, owner text, parent text
    )
),
given_attempts AS (
    SELECT * FROM json_to_recordset($2) AS given (
        month integer, exchange_id text, id text, started_at double precision, ended_at double precision,
        provider text, deployment text, region text, outcome text, status integer, upstream_id text,
        input_miss bigint, input_hit bigint, cache_write bigint, output bigint, reasoning bigint,
        estimated smallint, charged_nano bigint, currency text, fx_rate text, charged_book_nano bigint,
        price_source text, held_nano bigint, held_tokens bigint, stops smallint, overrun smallint
    )
),
given_shares AS (
    SELECT * FROM json_to_recordset($3) AS given (
        month integer, exchange_id text, attempt_id text, lever text, amount_nano bigint
    )
),
fence AS (
    SELECT $4 = 0 OR EXISTS (SELECT 1 FROM leases WHERE id = $4 AND ended_at IS NULL) AS lives
),
refused_exchanges AS (
    SELECT id FROM given_exchanges AS g WHERE outcome = 'open' AND NOT ($6 OR (SELECT lives FROM fence))
        AND (SELECT 1 FROM exchanges AS e WHERE e.month = g.month AND e.id = g.id) IS NULL
),
refused_attempts AS (
    SELECT id FROM given_attempts AS g WHERE outcome = 'open' AND NOT ($6 OR (SELECT lives FROM fence))
        AND (
            SELECT 1 FROM attempts AS a WHERE a.month = g.month AND a.exchange_id = g.exchange_id AND a.id = g.id
        ) IS NULL
),
exchanges_written AS (
    INSERT INTO exchanges (
        month, at, id, endpoint, model, deployment, key_id, key_name, team, "user", tags, outcome, status, cache,
        streamed, attempts, input_miss, input_hit, cache_write, output, reasoning, estimated, baseline_nano,
        cost_nano, currency, duration_s, first_byte_s, overhead_s, degraded, avoided_nano, owner, parent
    )
    SELECT
        month, at, id, endpoint, model, deployment, key_id, key_name, team, "user", tags, outcome, status, cache,
        streamed, attempts, input_miss, input_hit, cache_write, output, reasoning, estimated, baseline_nano,
        cost_nano, currency, duration_s, first_byte_s, overhead_s, degraded, avoided_nano, owner, parent
    FROM given_exchanges
    WHERE outcome <> 'open' OR id NOT IN (SELECT id FROM refused_exchanges)
    ON CONFLICT (month, id) DO UPDATE SET
        at = excluded.at,
        endpoint = excluded.endpoint,
        model = excluded.model,
        deployment = excluded.deployment,
        key_id = excluded.key_id,
        key_name = excluded.key_name,
        team = excluded.team,
        "user" = excluded."user",
        tags = excluded.tags,
        outcome = excluded.outcome,
        status = excluded.status,
        cache = excluded.cache,
        streamed = excluded.streamed,
        attempts = excluded.attempts,
        input_miss = excluded.input_miss,
        input_hit = excluded.input_hit,
        cache_write = excluded.cache_write,
        output = excluded.output,
        reasoning = excluded.reasoning,
        estimated = excluded.estimated,
        baseline_nano = excluded.baseline_nano,
        cost_nano = excluded.cost_nano,
        currency = excluded.currency,
        duration_s = excluded.duration_s,
        first_byte_s = excluded.first_byte_s,
        overhead_s = excluded.overhead_s,
        degraded = excluded.degraded,
        avoided_nano = excluded.avoided_nano,
        owner = excluded.owner,
        parent = excluded.parent
    WHERE exchanges.outcome = 'open'
),
attempts_written AS (
    INSERT INTO attempts (
        month, exchange_id, id, started_at, ended_at, provider, deployment, region, outcome, status, upstream_id,
        input_miss, input_hit, cache_write, output, reasoning, estimated, charged_nano, currency, fx_rate,
        charged_book_nano, price_source, held_nano, held_tokens, stops, overrun, lease
    )
    SELECT
        month, exchange_id, id, started_at, ended_at, provider, deployment, region, outcome, status, upstream_id,
        input_miss, input_hit, cache_write, output, reasoning, estimated, charged_nano, currency, fx_rate,
        charged_book_nano, price_source, held_nano, held_tokens, stops, overrun, $4
    FROM given_attempts
    WHERE outcome <> 'open' OR id NOT IN (SELECT id FROM refused_attempts)
    ON CONFLICT (month, exchange_id, id) DO UPDATE SET
        started_at = excluded.started_at,
        ended_at = excluded.ended_at,
        provider = excluded.provider,
        deployment = excluded.deployment,
        region = excluded.region,
        outcome = excluded.outcome,
        status = excluded.status,
        upstream_id = excluded.upstream_id,
        input_miss = excluded.input_miss,
        input_hit = excluded.input_hit,
        cache_write = excluded.cache_write,
        output = excluded.output,
        reasoning = excluded.reasoning,
        estimated = excluded.estimated,
        charged_nano = excluded.charged_nano,
        currency = excluded.currency,
        fx_rate = excluded.fx_rate,
        charged_book_nano = excluded.charged_book_nano,
        price_source = excluded.price_source,
        held_nano = excluded.held_nano,
        held_tokens = excluded.held_tokens,
        stops = excluded.stops,
        overrun = excluded.overrun
    WHERE attempts.outcome = 'open'
),
shares_written AS (
    INSERT INTO shares (month, exchange_id, attempt_id, lever, amount_nano)
    SELECT month, exchange_id, attempt_id, lever, amount_nano FROM given_shares
    ON CONFLICT (month, exchange_id, attempt_id, lever) DO NOTHING
),
late AS (
    SELECT floor(at / 900)::bigint AS quarter FROM (
        SELECT at FROM given_exchanges
        UNION ALL
        SELECT started_at FROM given_attempts
        UNION ALL
        SELECT (SELECT e.at FROM exchanges AS e WHERE e.month = g.month AND e.id = g.exchange_id)
        FROM given_attempts AS g
        WHERE g.started_at < extract(epoch FROM now()) - $5
    ) AS times (at)
    WHERE at < extract(epoch FROM now()) - $5
    GROUP BY quarter
),
touched AS (
    INSERT INTO touched_quarters (quarter, at)
    SELECT quarter, extract(epoch FROM now()) FROM late ORDER BY quarter
    ON CONFLICT (quarter) DO UPDATE SET at = excluded.at
),
unsummed AS (
    DELETE FROM summed_quarters WHERE quarter IN (SELECT quarter FROM late) AND NOT frozen
)
SELECT lives, ARRAY(SELECT id FROM refused_exchanges UNION ALL SELECT id FROM refused_attempts)
FROM fence;
END
$write$;
