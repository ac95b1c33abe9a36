-- Writing. All rows of a group in one statement, as arrays: one plan, one answer, whatever they are many. A row that is there
-- already stays, unless it is open: then the next one takes its place. So a group that is written again after a doubtful
-- commit changes nothing. No row comes twice in one group.
--
-- What opens something is written only while its lease lives ($64; 0 = it needs none, and $66: it was let through before); what is
-- there goes on being written. The answer says what was refused. Quarters of an hour into which something is written $65
-- seconds late are not summed up any more (see sums.sql). What is looked up is looked up by key: a join would read all of a table.
-- name: write
WITH given_exchanges AS (
    SELECT * FROM unnest(
        $1::int[], $2::float8[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::text[], $13::int[], $14::text[], $15::smallint[], $16::int[], $17::bigint[],
        $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::smallint[], $23::bigint[], $24::bigint[],
        $25::text[], $26::float8[], $27::float8[], $28::float8[], $29::text[], $30::bigint[], $31::text[], $32::text[]
    ) AS given (
        month, at, id, endpoint, model, deployment, key_id, key_name, team, "user", tags, outcome, status, cache,
        streamed, attempts, input_miss, input_hit, cache_write, output, reasoning, estimated, baseline_nano,
        cost_nano, currency, duration_s, first_byte_s, overhead_s, degraded, avoided_nano, owner, parent
    )
),
given_attempts AS (
    SELECT * FROM unnest(
        $33::int[], $34::text[], $35::text[], $36::float8[], $37::float8[], $38::text[], $39::text[], $40::text[],
        $41::text[], $42::int[], $43::text[], $44::bigint[], $45::bigint[], $46::bigint[], $47::bigint[],
        $48::bigint[], $49::smallint[], $50::bigint[], $51::text[], $52::text[], $53::bigint[], $54::text[],
        $55::bigint[], $56::bigint[], $57::smallint[], $58::smallint[]
    ) AS given (
        month, exchange_id, id, started_at, ended_at, provider, deployment, region, outcome, status, upstream_id,
        input_miss, input_hit, cache_write, output, reasoning, estimated, charged_nano, currency, fx_rate,
        charged_book_nano, price_source, held_nano, held_tokens, stops, overrun
    )
),
given_shares AS (
    SELECT * FROM unnest(
        $59::int[], $60::text[], $61::text[], $62::text[], $63::bigint[]
    ) AS given (
        month, exchange_id, attempt_id, lever, amount_nano
    )
),
fence AS (
    SELECT $64::bigint = 0 OR EXISTS (SELECT 1 FROM leases WHERE id = $64 AND ended_at IS NULL) AS lives
),
refused_exchanges AS (
    SELECT id FROM given_exchanges AS g WHERE outcome = 'open' AND NOT ($66::bool OR (SELECT lives FROM fence))
        AND (SELECT 1 FROM exchanges AS e WHERE e.month = g.month AND e.id = g.id) IS NULL
),
refused_attempts AS (
    SELECT id FROM given_attempts AS g WHERE outcome = 'open' AND NOT ($66::bool OR (SELECT lives FROM fence))
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
        charged_book_nano, price_source, held_nano, held_tokens, stops, overrun, $64
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
        WHERE g.started_at < extract(epoch FROM now()) - $65::float8
    ) AS times (at)
    WHERE at < extract(epoch FROM now()) - $65::float8
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
FROM fence

-- Before the group, in the same transaction: whoever ends the lease, or sums up quarters, holds these alone.
-- name: begin
BEGIN;
SELECT pg_advisory_xact_lock_shared({lease_lock}), pg_advisory_xact_lock_shared({space}, {summing})

-- name: months
SELECT relid::text FROM pg_partition_tree('exchanges') WHERE isleaf

-- Reading.

-- name: currency
SELECT currency FROM exchanges ORDER BY at LIMIT 1

-- name: exchange
SELECT
    at, id, endpoint, model, deployment, key_id, key_name, team, "user", tags, outcome, status, cache, streamed,
    attempts, input_miss, input_hit, cache_write, output, reasoning, estimated, baseline_nano, cost_nano, currency,
    duration_s, first_byte_s, overhead_s, degraded, avoided_nano, owner, parent
FROM exchanges
WHERE month = $1 AND id = $2

-- name: attempts_of
SELECT
    exchange_id, id, started_at, ended_at, provider, deployment, region, outcome, status, upstream_id, input_miss,
    input_hit, cache_write, output, reasoning, estimated, charged_nano, currency, fx_rate, charged_book_nano,
    price_source, held_nano, held_tokens, stops, overrun
FROM attempts
WHERE month = $1 AND exchange_id = $2
ORDER BY started_at, id

-- name: shares_of
SELECT exchange_id, attempt_id, lever, amount_nano
FROM shares
WHERE month = $1 AND exchange_id = $2
ORDER BY attempt_id, lever

-- Looks at every row: for the rare end of a process that could not say what became of its calls.
-- name: attempts_named
SELECT
    exchange_id, id, started_at, ended_at, provider, deployment, region, outcome, status, upstream_id, input_miss,
    input_hit, cache_write, output, reasoning, estimated, charged_nano, currency, fx_rate, charged_book_nano,
    price_source, held_nano, held_tokens, stops, overrun
FROM attempts
WHERE id = ANY($1::text[])

-- What is open, and all attempts of it; `lease` 0 = under any lease or none.
-- name: open_exchanges
WITH opened AS (
    SELECT month, id FROM exchanges WHERE outcome = 'open' AND $1::bigint = 0
    UNION
    SELECT month, exchange_id FROM attempts WHERE outcome = 'open' AND ($1::bigint = 0 OR lease = $1)
    UNION
    SELECT e.month, e.id
    FROM exchanges AS e JOIN attempts AS a ON a.month = e.month AND a.exchange_id = e.id
    WHERE e.outcome = 'open' AND a.lease = $1
)
SELECT
    at, id, endpoint, model, deployment, key_id, key_name, team, "user", tags, outcome, status, cache, streamed,
    attempts, input_miss, input_hit, cache_write, output, reasoning, estimated, baseline_nano, cost_nano, currency,
    duration_s, first_byte_s, overhead_s, degraded, avoided_nano, owner, parent
FROM exchanges NATURAL JOIN opened
ORDER BY at, id

-- name: open_attempts
WITH opened AS (
    SELECT month, id AS exchange_id FROM exchanges WHERE outcome = 'open' AND $1::bigint = 0
    UNION
    SELECT month, exchange_id FROM attempts WHERE outcome = 'open' AND ($1::bigint = 0 OR lease = $1)
    UNION
    SELECT e.month, e.id
    FROM exchanges AS e JOIN attempts AS a ON a.month = e.month AND a.exchange_id = e.id
    WHERE e.outcome = 'open' AND a.lease = $1
)
SELECT
    exchange_id, id, started_at, ended_at, provider, deployment, region, outcome, status, upstream_id, input_miss,
    input_hit, cache_write, output, reasoning, estimated, charged_nano, currency, fx_rate, charged_book_nano,
    price_source, held_nano, held_tokens, stops, overrun
FROM attempts NATURAL JOIN opened
ORDER BY started_at, id
