-- Writing. A row that is there already stays: writing a group again after a doubtful commit changes nothing.

-- name: insert_exchange
INSERT INTO exchanges (
    at, id, endpoint, model, deployment, key_id, key_name, team, user, tags, outcome, status, cache, streamed, attempts,
    input_miss, input_hit, cache_write, output, reasoning, estimated, baseline_nano, cost_nano, currency,
    duration_s, first_byte_s, overhead_s
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (at, id) DO NOTHING

-- name: insert_attempt
INSERT INTO attempts (
    exchange_id, id, started_at, ended_at, provider, deployment, region, outcome, status, upstream_id,
    input_miss, input_hit, cache_write, output, reasoning, estimated, charged_nano, currency, fx_rate,
    charged_book_nano, price_source
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (exchange_id, id) DO NOTHING

-- name: insert_share
INSERT INTO shares (exchange_id, attempt_id, lever, amount_nano)
VALUES (?, ?, ?, ?)
ON CONFLICT (exchange_id, attempt_id, lever) DO NOTHING

-- Reading.

-- One row per bucket and currency; a bucket is a value of the grouping, except that hours and days come as quarters of an hour and
-- tags as the whole set: stores/spend.py makes groups of them. A difference with an unknown side is NULL and adds nothing.
-- name: spend
SELECT
    CASE :by
        WHEN 'model' THEN e.model
        WHEN 'deployment' THEN e.deployment
        WHEN 'endpoint' THEN e.endpoint
        WHEN 'key' THEN CASE e.key_name WHEN '' THEN e.key_id ELSE e.key_name END
        WHEN 'team' THEN e.team
        WHEN 'user' THEN e.user
        WHEN 'tag' THEN e.tags
        WHEN 'hour' THEN CAST(e.at / 900 AS INTEGER)
        WHEN 'day' THEN CAST(e.at / 900 AS INTEGER)
        WHEN 'lever' THEN coalesce(
            (SELECT max(s.lever) FROM shares AS s WHERE s.exchange_id = e.id AND s.lever <> 'direct'),
            (SELECT max(s.lever) FROM shares AS s WHERE s.exchange_id = e.id),
            ''
        )
    END AS bucket,
    count(*),
    sum(e.input_miss + e.input_hit + e.cache_write + e.output),
    coalesce(sum(e.cost_nano), 0),
    coalesce(sum(e.baseline_nano), 0),
    coalesce(sum(e.baseline_nano - e.cost_nano), 0),
    coalesce(sum((
        SELECT sum(a.charged_book_nano) FROM attempts AS a WHERE a.exchange_id = e.id AND a.outcome <> 'ok'
    )), 0),
    sum(e.cost_nano IS NULL OR e.baseline_nano IS NULL),
    sum(e.outcome <> 'ok'),
    e.currency
FROM exchanges AS e
WHERE e.at >= :since AND e.at < :until
GROUP BY bucket, e.currency

-- The first row's, which no later start may change.
-- name: currency
SELECT currency FROM exchanges ORDER BY at LIMIT 1

-- name: exchange
SELECT
    at, id, endpoint, model, deployment, key_id, key_name, team, user, tags, outcome, status, cache, streamed, attempts,
    input_miss, input_hit, cache_write, output, reasoning, estimated, baseline_nano, cost_nano, currency,
    duration_s, first_byte_s, overhead_s
FROM exchanges
WHERE at BETWEEN :since AND :until AND id = :id

-- name: attempts_of
SELECT
    exchange_id, id, started_at, ended_at, provider, deployment, region, outcome, status, upstream_id,
    input_miss, input_hit, cache_write, output, reasoning, estimated, charged_nano, currency, fx_rate,
    charged_book_nano, price_source
FROM attempts
WHERE exchange_id = :id
ORDER BY started_at, id

-- name: shares_of
SELECT exchange_id, attempt_id, lever, amount_nano
FROM shares
WHERE exchange_id = :id
ORDER BY attempt_id, lever
