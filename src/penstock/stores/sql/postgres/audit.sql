-- The instant that decides a call's tariff decides its day on the bill, too. Calls that used and cost nothing are on no bill.
-- A call is looked for within a day of its dispatch.
-- name: charges
SELECT
    floor(moment / 900)::bigint AS quarter,
    deployment,
    currency,
    count(*),
    sum(tokens)::bigint,
    coalesce(sum(charged_nano), 0)::bigint,
    coalesce(sum(charged_book_nano), 0)::bigint,
    coalesce(sum(charged_nano) FILTER (WHERE estimated <> 0), 0)::bigint,
    coalesce(sum(charged_book_nano) FILTER (WHERE estimated <> 0), 0)::bigint,
    count(*) FILTER (WHERE charged_book_nano IS NULL)
FROM (
    SELECT
        *,
        CASE $4::text WHEN 'start' THEN started_at ELSE ended_at END AS moment,
        input_miss + input_hit + cache_write + output AS tokens
    FROM attempts
    WHERE provider = $1 AND outcome <> 'open'
        AND started_at >= $2::float8 - 86400 AND started_at < $3::float8 + 86400
) AS calls
WHERE moment >= $2::float8 AND moment < $3::float8
    AND (tokens > 0 OR charged_book_nano IS NULL OR charged_book_nano <> 0)
GROUP BY quarter, deployment, currency

-- name: extent
SELECT min(moment), max(moment)
FROM (
    SELECT CASE $2::text WHEN 'start' THEN started_at ELSE ended_at END AS moment
    FROM attempts
    WHERE provider = $1 AND outcome <> 'open' AND (
        input_miss + input_hit + cache_write + output > 0 OR charged_book_nano IS NULL OR charged_book_nano <> 0
    )
) AS calls

-- name: unpriced
SELECT
    at, id, endpoint, model, deployment, key_id, key_name, team, "user", tags, outcome, status, cache, streamed, attempts,
    input_miss, input_hit, cache_write, output, reasoning, estimated, baseline_nano, cost_nano, currency,
    duration_s, first_byte_s, overhead_s, degraded, avoided_nano, owner, parent
FROM exchanges AS e
WHERE (at, id) > ($1::float8, $2::text) AND outcome <> 'open' AND (
    cost_nano IS NULL
    OR baseline_nano IS NULL
    OR EXISTS (
        SELECT 1 FROM attempts AS a
        WHERE a.month = e.month AND a.exchange_id = e.id AND a.outcome <> 'open' AND a.charged_book_nano IS NULL
    )
)
ORDER BY at, id
LIMIT $3

-- What has a charge keeps it, whoever gave it meanwhile.
-- name: rerate_attempt
UPDATE attempts SET
    charged_nano = $4,
    currency = $5,
    fx_rate = $6,
    charged_book_nano = $7,
    price_source = $8
WHERE month = $1 AND exchange_id = $2 AND id = $3 AND outcome <> 'open' AND charged_book_nano IS NULL

-- name: rerate_exchange
UPDATE exchanges SET
    cost_nano = $3,
    baseline_nano = coalesce(baseline_nano, $4)
WHERE month = $1 AND id = $2 AND outcome <> 'open'

-- name: insert_share
INSERT INTO shares (month, exchange_id, attempt_id, lever, amount_nano)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (month, exchange_id, attempt_id, lever) DO NOTHING

-- Nobody sums up while this transaction lasts; what it touches is not summed up any more.
-- name: lock
SELECT pg_advisory_xact_lock_shared($1::int, $2::int)

-- name: touch
INSERT INTO touched_quarters (quarter, at)
SELECT DISTINCT floor(at / 900)::bigint, extract(epoch FROM now()) FROM unnest($1::float8[]) AS given (at)
ON CONFLICT (quarter) DO UPDATE SET at = excluded.at

-- name: unsum
DELETE FROM summed_quarters
WHERE quarter IN (SELECT floor(at / 900)::bigint FROM unnest($1::float8[]) AS given (at)) AND NOT frozen

-- A currency's youngest.
-- name: last_balances
SELECT DISTINCT ON (currency) provider, currency, at, total_nano, granted_nano, topped_up_nano
FROM balances
WHERE provider = $1
ORDER BY currency, at DESC

-- name: keep_balance
INSERT INTO balances (provider, currency, at, total_nano, granted_nano, topped_up_nano)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (provider, currency, at) DO UPDATE SET
    total_nano = excluded.total_nano,
    granted_nano = excluded.granted_nano,
    topped_up_nano = excluded.topped_up_nano
