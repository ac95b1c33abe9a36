-- The instant that decides a call's tariff decides its day on the bill, too. Calls that used and cost nothing are on no bill.
-- A call is looked for among the exchanges that arrived in [first, last).
-- name: charges
SELECT
    CAST(moment / 900 AS INTEGER) AS quarter,
    deployment,
    currency,
    count(*),
    sum(tokens),
    coalesce(sum(charged_nano), 0),
    coalesce(sum(charged_book_nano), 0),
    coalesce(sum(CASE WHEN estimated THEN charged_nano END), 0),
    coalesce(sum(CASE WHEN estimated THEN charged_book_nano END), 0),
    sum(charged_book_nano IS NULL)
FROM (
    SELECT
        a.*,
        CASE :billed_at WHEN 'start' THEN a.started_at ELSE a.ended_at END AS moment,
        a.input_miss + a.input_hit + a.cache_write + a.output AS tokens
    FROM exchanges AS e CROSS JOIN attempts AS a ON a.exchange_id = e.id
    WHERE e.at >= :first AND e.at < :last AND a.provider = :provider AND a.outcome <> 'open'
)
WHERE moment >= :since AND moment < :until AND (tokens > 0 OR charged_book_nano IS NULL OR charged_book_nano <> 0)
GROUP BY quarter, deployment, currency

-- name: extent
SELECT min(moment), max(moment)
FROM (
    SELECT CASE :billed_at WHEN 'start' THEN started_at ELSE ended_at END AS moment
    FROM attempts
    WHERE provider = :provider AND outcome <> 'open' AND (
        input_miss + input_hit + cache_write + output > 0 OR charged_book_nano IS NULL OR charged_book_nano <> 0
    )
)

-- name: unpriced
SELECT
    at, id, endpoint, model, deployment, key_id, key_name, team, user, tags, outcome, status, cache, streamed, attempts,
    input_miss, input_hit, cache_write, output, reasoning, estimated, baseline_nano, cost_nano, currency,
    duration_s, first_byte_s, overhead_s, degraded, avoided_nano, owner, parent
FROM exchanges AS e
WHERE (at, id) > (:at, :id) AND outcome <> 'open' AND (
    cost_nano IS NULL
    OR baseline_nano IS NULL
    OR EXISTS (
        SELECT 1 FROM attempts AS a
        WHERE a.exchange_id = e.id AND a.outcome <> 'open' AND a.charged_book_nano IS NULL
    )
)
ORDER BY at, id
LIMIT :limit

-- What has a charge keeps it, whoever gave it meanwhile.
-- name: rerate_attempt
UPDATE attempts SET
    charged_nano = :charged_nano,
    currency = :currency,
    fx_rate = :fx_rate,
    charged_book_nano = :charged_book_nano,
    price_source = :price_source
WHERE exchange_id = :exchange_id AND id = :id AND outcome <> 'open' AND charged_book_nano IS NULL

-- name: rerate_exchange
UPDATE exchanges SET
    cost_nano = :cost_nano,
    baseline_nano = coalesce(baseline_nano, :baseline_nano)
WHERE at = :at AND id = :id AND outcome <> 'open'

-- A currency's youngest; SQLite takes the bare columns from the row that has the maximum.
-- name: last_balances
SELECT provider, currency, max(at), total_nano, granted_nano, topped_up_nano
FROM balances
WHERE provider = :provider
GROUP BY currency
ORDER BY currency

-- name: keep_balance
INSERT OR REPLACE INTO balances (provider, currency, at, total_nano, granted_nano, topped_up_nano)
VALUES (?, ?, ?, ?, ?, ?)
