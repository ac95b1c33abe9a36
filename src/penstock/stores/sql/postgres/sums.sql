-- Summing up. A quarter of an hour is summed up when it is $2 seconds old, nothing that began in it is open, and nothing was
-- written into it late for a while. What is written later takes its sums out of use (see ledger.sql); then it is read row by
-- row until it is summed up again.

-- The next quarters to sum up, oldest first. `from` is the first that may have rows.
-- name: candidates
WITH first AS (
    SELECT least((SELECT min(at) FROM exchanges), (SELECT min(started_at) FROM attempts)) AS at
),
quarters AS (
    SELECT generate_series(
        greatest(floor(first.at / 900)::bigint, $4::bigint), floor((extract(epoch FROM now()) - $1::float8) / 900)::bigint - 1
    ) AS quarter
    FROM first WHERE first.at IS NOT NULL
)
SELECT quarter FROM quarters AS q
WHERE NOT EXISTS (SELECT 1 FROM summed_quarters AS s WHERE s.quarter = q.quarter)
    AND NOT EXISTS (
        SELECT 1 FROM touched_quarters AS t
        WHERE t.quarter = q.quarter AND t.at > extract(epoch FROM now()) - $2::float8
    )
    AND q.quarter NOT IN (SELECT floor(at / 900)::bigint FROM exchanges WHERE outcome = 'open')
    AND q.quarter NOT IN (SELECT floor(started_at / 900)::bigint FROM attempts WHERE outcome = 'open')
ORDER BY quarter
LIMIT $3

-- What was touched of these since they were looked at.
-- name: touched
SELECT quarter FROM touched_quarters WHERE quarter = ANY($1::bigint[]) AND at > $2::float8

-- name: now
SELECT extract(epoch FROM now())::float8

-- name: lock
SELECT pg_advisory_xact_lock($1::int, $2::int)

-- name: forget_spend
DELETE FROM spend_quarters
WHERE grouping IN ('model', 'deployment', 'endpoint', 'key', 'team', 'user', 'tag', 'lever', 'time')
    AND quarter = ANY($1::bigint[])

-- name: forget_charges
DELETE FROM charge_quarters
WHERE scope IN ('global', 'team', 'key', 'user', 'model', 'tag') AND quarter = ANY($1::bigint[])

-- name: done
INSERT INTO summed_quarters (quarter) SELECT unnest($1::bigint[]) ON CONFLICT DO NOTHING

-- name: untouch
DELETE FROM touched_quarters WHERE quarter = ANY($1::bigint[])

-- One row per grouping, quarter, bucket and currency; a bucket is as in `spend`. What belongs to an exchange is looked up by
-- its key, here and below (OFFSET 0 keeps it so): a join would read the whole ledger for each day of it.
-- name: sum_spend
INSERT INTO spend_quarters (
    grouping, quarter, bucket, currency, requests, tokens, cost_nano, baseline_nano, saved_nano, wasted_nano, unpriced,
    errors, avoided_nano
)
WITH e AS (
    SELECT
        floor(at / 900)::bigint AS quarter, month, id, model, deployment, endpoint,
        CASE key_name WHEN '' THEN key_id ELSE key_name END AS key, team, "user", tags, currency, outcome,
        input_miss + input_hit + cache_write + output AS tokens, cost_nano, baseline_nano, avoided_nano
    FROM exchanges
    WHERE at >= $1::float8 AND at < $2::float8 AND floor(at / 900)::bigint = ANY($3::bigint[]) AND outcome <> 'open'
),
wasted AS (
    SELECT e.month, e.id AS exchange_id, sum(a.charged_book_nano) AS amount
    FROM e CROSS JOIN LATERAL (
        SELECT charged_book_nano FROM attempts
        WHERE month = e.month AND exchange_id = e.id AND outcome NOT IN ('ok', 'open') OFFSET 0
    ) AS a
    GROUP BY e.month, e.id
),
levers AS (
    SELECT e.month, e.id AS exchange_id,
        coalesce(max(s.lever COLLATE "C") FILTER (WHERE s.lever <> 'direct'), max(s.lever COLLATE "C")) AS lever
    FROM e CROSS JOIN LATERAL (
        SELECT lever FROM shares WHERE month = e.month AND exchange_id = e.id OFFSET 0
    ) AS s
    GROUP BY e.month, e.id
),
whole AS (
    SELECT e.*, coalesce(w.amount, 0) AS wasted, coalesce(l.lever, '') AS lever, '' AS time
    FROM e
    LEFT JOIN wasted AS w ON w.month = e.month AND w.exchange_id = e.id
    LEFT JOIN levers AS l ON l.month = e.month AND l.exchange_id = e.id
)
SELECT
    CASE
        WHEN GROUPING(model) = 0 THEN 'model'
        WHEN GROUPING(deployment) = 0 THEN 'deployment'
        WHEN GROUPING(endpoint) = 0 THEN 'endpoint'
        WHEN GROUPING(key) = 0 THEN 'key'
        WHEN GROUPING(team) = 0 THEN 'team'
        WHEN GROUPING("user") = 0 THEN 'user'
        WHEN GROUPING(tags) = 0 THEN 'tag'
        WHEN GROUPING(lever) = 0 THEN 'lever'
        ELSE 'time'
    END,
    quarter, coalesce(model, deployment, endpoint, key, team, "user", tags, lever, time), currency,
    count(*), sum(tokens), coalesce(sum(cost_nano), 0), coalesce(sum(baseline_nano), 0),
    coalesce(sum(baseline_nano - cost_nano), 0), sum(wasted),
    count(*) FILTER (WHERE cost_nano IS NULL OR baseline_nano IS NULL), count(*) FILTER (WHERE outcome <> 'ok'),
    coalesce(sum(avoided_nano), 0)
FROM whole
GROUP BY quarter, currency, GROUPING SETS ((model), (deployment), (endpoint), (key), (team), ("user"), (tags), (lever), (time))

-- One row per scope, quarter of the dispatch, bucket and lease; a bucket is as in `charges`.
-- name: sum_charges
INSERT INTO charge_quarters (scope, quarter, bucket, lease, amount_nano, tokens)
WITH a AS (
    SELECT
        floor(a.started_at / 900)::bigint AS quarter, a.month, a.exchange_id, a.id, a.lease, '' AS all, e.team, e.key_name,
        e."user", e.model, e.tags, a.input_miss + a.input_hit + a.cache_write + a.output AS tokens
    FROM attempts AS a CROSS JOIN LATERAL (
        SELECT team, key_name, "user", model, tags FROM exchanges WHERE month = a.month AND id = a.exchange_id OFFSET 0
    ) AS e
    WHERE a.started_at >= $1::float8 AND a.started_at < $2::float8 AND a.outcome <> 'open'
        AND floor(a.started_at / 900)::bigint = ANY($3::bigint[])
),
charged AS (
    SELECT a.month, a.exchange_id, a.id AS attempt_id, sum(s.amount_nano) AS amount
    FROM a CROSS JOIN LATERAL (
        SELECT amount_nano FROM shares
        WHERE month = a.month AND exchange_id = a.exchange_id AND attempt_id = a.id OFFSET 0
    ) AS s
    GROUP BY a.month, a.exchange_id, a.id
),
whole AS (
    SELECT a.*, coalesce(c.amount, 0) AS amount
    FROM a LEFT JOIN charged AS c ON c.month = a.month AND c.exchange_id = a.exchange_id AND c.attempt_id = a.id
)
SELECT
    CASE
        WHEN GROUPING("all") = 0 THEN 'global'
        WHEN GROUPING(team) = 0 THEN 'team'
        WHEN GROUPING(key_name) = 0 THEN 'key'
        WHEN GROUPING("user") = 0 THEN 'user'
        WHEN GROUPING(model) = 0 THEN 'model'
        ELSE 'tag'
    END,
    quarter, coalesce("all", team, key_name, "user", model, tags), lease, sum(amount), sum(tokens)
FROM whole
GROUP BY quarter, lease, GROUPING SETS (("all"), (team), (key_name), ("user"), (model), (tags))

-- Reading.

-- Which quarters of [since, until) are summed up, as runs of neighbours.
-- name: runs
SELECT min(quarter), max(quarter) + 1
FROM (
    SELECT quarter, quarter - row_number() OVER (ORDER BY quarter) AS run
    FROM summed_quarters
    WHERE quarter >= $1::bigint AND quarter < $2::bigint
) AS numbered
GROUP BY run
ORDER BY 1

-- name: spend_sums
SELECT
    CASE WHEN $1 = 'time' THEN quarter::text ELSE bucket END AS bucket,
    sum(requests), sum(tokens), sum(cost_nano), sum(baseline_nano), sum(saved_nano), sum(wasted_nano), sum(unpriced),
    sum(errors), sum(avoided_nano), currency
FROM unnest($2::bigint[], $3::bigint[]) AS run (first, past)
JOIN spend_quarters AS q ON q.grouping = $1 AND q.quarter >= run.first AND q.quarter < run.past
GROUP BY 1, currency

-- Row by row, over spans of time: what is not summed up.
-- name: spend_rows
SELECT
    CASE $1
        WHEN 'model' THEN e.model
        WHEN 'deployment' THEN e.deployment
        WHEN 'endpoint' THEN e.endpoint
        WHEN 'key' THEN CASE e.key_name WHEN '' THEN e.key_id ELSE e.key_name END
        WHEN 'team' THEN e.team
        WHEN 'user' THEN e."user"
        WHEN 'tag' THEN e.tags
        WHEN 'lever' THEN coalesce(
            (
                SELECT max(s.lever COLLATE "C") FROM shares AS s
                WHERE s.month = e.month AND s.exchange_id = e.id AND s.lever <> 'direct'
            ),
            (SELECT max(s.lever COLLATE "C") FROM shares AS s WHERE s.month = e.month AND s.exchange_id = e.id),
            ''
        )
        ELSE floor(e.at / 900)::bigint::text
    END AS bucket,
    count(*),
    sum(e.input_miss + e.input_hit + e.cache_write + e.output),
    coalesce(sum(e.cost_nano), 0),
    coalesce(sum(e.baseline_nano), 0),
    coalesce(sum(e.baseline_nano - e.cost_nano), 0),
    coalesce(sum((
        SELECT sum(a.charged_book_nano) FROM attempts AS a
        WHERE a.month = e.month AND a.exchange_id = e.id AND a.outcome NOT IN ('ok', 'open')
    )), 0),
    count(*) FILTER (WHERE e.cost_nano IS NULL OR e.baseline_nano IS NULL),
    count(*) FILTER (WHERE e.outcome <> 'ok'),
    coalesce(sum(e.avoided_nano), 0),
    e.currency
FROM unnest($2::float8[], $3::float8[]) AS span (since, until)
JOIN exchanges AS e ON e.at >= span.since AND e.at < span.until
WHERE e.outcome <> 'open'
GROUP BY bucket, e.currency

-- Of which leases: `any`, `one` ($2), or `dead` (those that do not live, and none). Quarters in runs [first, past) per query.
-- name: charge_sums
SELECT run.place, q.bucket, sum(q.amount_nano), sum(q.tokens)
FROM unnest($3::int[], $4::text[], $5::bigint[], $6::bigint[]) AS run (place, scope, first, past)
JOIN charge_quarters AS q ON q.scope = run.scope AND q.quarter >= run.first AND q.quarter < run.past
WHERE CASE $1
    WHEN 'one' THEN q.lease = $2::bigint
    WHEN 'dead' THEN q.lease NOT IN (SELECT id FROM leases WHERE ended_at IS NULL)
    ELSE true
END
GROUP BY run.place, q.bucket

-- name: fix_view
SELECT 1 FROM counters LIMIT 1

-- Row by row: the charges of attempts dispatched in spans of time, for each query; with `open` those that are open count
-- what they hold, else not at all.
-- name: charge_rows
WITH spans AS MATERIALIZED (
    SELECT place, scope, since, until FROM unnest($3::int[], $4::text[], $5::float8[], $6::float8[]) AS span (place, scope, since, until)
),
around AS MATERIALIZED (
    SELECT DISTINCT since, until FROM unnest($7::float8[], $8::float8[]) AS span (since, until)
),
charges AS MATERIALIZED (
    SELECT
        a.started_at, e.team, e.key_name, e."user", e.model, e.tags,
        CASE a.outcome
            WHEN 'open' THEN coalesce(a.held_nano, 0)
            ELSE coalesce((
                SELECT sum(s.amount_nano) FROM shares AS s
                WHERE s.month = a.month AND s.exchange_id = a.exchange_id AND s.attempt_id = a.id
            ), 0)
        END AS amount_nano,
        CASE a.outcome
            WHEN 'open' THEN a.held_tokens
            ELSE a.input_miss + a.input_hit + a.cache_write + a.output
        END AS tokens
    FROM around
    JOIN attempts AS a ON a.started_at >= around.since AND a.started_at < around.until
    JOIN exchanges AS e ON e.month = a.month AND e.id = a.exchange_id
    WHERE (a.outcome <> 'open' OR $9::bool) AND a.id <> ALL($10::text[])
        AND CASE $1
            WHEN 'one' THEN a.lease = $2::bigint
            WHEN 'dead' THEN a.lease NOT IN (SELECT id FROM leases WHERE ended_at IS NULL)
            ELSE true
        END
)
SELECT
    q.place,
    CASE q.scope
        WHEN 'global' THEN ''
        WHEN 'team' THEN c.team
        WHEN 'key' THEN c.key_name
        WHEN 'user' THEN c."user"
        WHEN 'model' THEN c.model
        WHEN 'tag' THEN c.tags
    END AS bucket,
    sum(c.amount_nano),
    sum(c.tokens)
FROM spans AS q CROSS JOIN charges AS c
WHERE c.started_at >= q.since AND c.started_at < q.until
GROUP BY q.place, bucket
