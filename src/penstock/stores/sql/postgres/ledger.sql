-- Writing: see migrations/0003_pre_write_group.sql.
-- name: write
SELECT lives, refused FROM write_group($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: months
SELECT relid::text FROM pg_partition_tree('exchanges') WHERE isleaf

-- Reading.

-- name: currency
SELECT currency FROM exchanges ORDER BY at LIMIT 1

-- How long what went well took, to the end and to the first byte of streams: quantiles by the nearest rank.
-- name: speeds
SELECT
    model, cached, part, count(*),
    percentile_disc(0.5) WITHIN GROUP (ORDER BY seconds),
    percentile_disc(0.95) WITHIN GROUP (ORDER BY seconds)
FROM (
    SELECT model, cache IN ('exact', 'similar') AS cached, 'end' AS part, duration_s AS seconds
    FROM exchanges
    WHERE at >= $1::float8 AND at < $2::float8 AND outcome = 'ok'
    UNION ALL
    SELECT model, cache IN ('exact', 'similar'), 'first_byte', first_byte_s
    FROM exchanges
    WHERE at >= $1::float8 AND at < $2::float8 AND outcome = 'ok' AND streamed <> 0 AND first_byte_s IS NOT NULL
) AS measured
GROUP BY model, cached, part

-- Looked up by key (OFFSET 0 keeps it so): a join would read the whole month of calls for a minute of exchanges.
-- name: billed
SELECT
    coalesce(sum(a.input_miss), 0),
    coalesce(sum(a.input_hit), 0),
    coalesce(sum(a.cache_write), 0),
    coalesce(sum(a.output), 0),
    coalesce(sum(a.reasoning), 0),
    coalesce(sum(a.charged_book_nano), 0)
FROM exchanges AS e CROSS JOIN LATERAL (
    SELECT input_miss, input_hit, cache_write, output, reasoning, charged_book_nano
    FROM attempts
    WHERE month = e.month AND exchange_id = e.id AND outcome <> 'open' OFFSET 0
) AS a
WHERE e.at >= $1::float8 AND e.at < $2::float8

-- name: outcomes
SELECT outcome, count(*)
FROM exchanges
WHERE at >= $1::float8 AND at < $2::float8 AND outcome <> 'open'
GROUP BY outcome

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
