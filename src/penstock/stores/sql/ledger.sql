-- Writing. A row that is there already stays, unless it is open: then the next one takes its place. So writing a group again
-- after a doubtful commit changes nothing.

-- name: insert_exchange
INSERT INTO exchanges (
    at, id, endpoint, model, deployment, key_id, key_name, team, user, tags, outcome, status, cache, streamed, attempts,
    input_miss, input_hit, cache_write, output, reasoning, estimated, baseline_nano, cost_nano, currency,
    duration_s, first_byte_s, overhead_s, degraded, avoided_nano, owner, parent
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (at, id) DO UPDATE SET
    endpoint = excluded.endpoint,
    model = excluded.model,
    deployment = excluded.deployment,
    key_id = excluded.key_id,
    key_name = excluded.key_name,
    team = excluded.team,
    user = excluded.user,
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

-- name: insert_attempt
INSERT INTO attempts (
    exchange_id, id, started_at, ended_at, provider, deployment, region, outcome, status, upstream_id,
    input_miss, input_hit, cache_write, output, reasoning, estimated, charged_nano, currency, fx_rate,
    charged_book_nano, price_source, held_nano, held_tokens, stops, overrun
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (exchange_id, id) DO UPDATE SET
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

-- name: insert_share
INSERT INTO shares (exchange_id, attempt_id, lever, amount_nano)
VALUES (?, ?, ?, ?)
ON CONFLICT (exchange_id, attempt_id, lever) DO NOTHING

-- Reading.

-- One row per grouping of `asked` (a JSON array), bucket and currency; a bucket is a value of the grouping, except that hours and
-- days come as quarters of an hour and tags as the whole set: stores/spend.py makes groups of them. The exchanges are read once,
-- whatever is asked. A difference with an unknown side is NULL and adds nothing.
-- name: spend
WITH asked AS MATERIALIZED (
    SELECT value AS grouping FROM json_each(:asked)
),
ended AS MATERIALIZED (
    SELECT
        e.at, e.model, e.deployment, e.endpoint, CASE e.key_name WHEN '' THEN e.key_id ELSE e.key_name END AS key, e.team, e.user,
        e.tags, e.currency, e.outcome, e.input_miss + e.input_hit + e.cache_write + e.output AS tokens,
        e.cost_nano, e.baseline_nano, e.avoided_nano,
        (
            SELECT sum(a.charged_book_nano) FROM attempts AS a WHERE a.exchange_id = e.id AND a.outcome NOT IN ('ok', 'open')
        ) AS wasted_nano,
        CASE WHEN 'lever' IN (SELECT grouping FROM asked) THEN coalesce(
            (SELECT max(s.lever) FROM shares AS s WHERE s.exchange_id = e.id AND s.lever <> 'direct'),
            (SELECT max(s.lever) FROM shares AS s WHERE s.exchange_id = e.id),
            ''
        ) END AS lever
    FROM exchanges AS e
    WHERE e.at >= :since AND e.at < :until AND e.outcome <> 'open'
)
SELECT
    grouping,
    CASE grouping
        WHEN 'model' THEN model
        WHEN 'deployment' THEN deployment
        WHEN 'endpoint' THEN endpoint
        WHEN 'key' THEN key
        WHEN 'team' THEN team
        WHEN 'user' THEN user
        WHEN 'tag' THEN tags
        WHEN 'lever' THEN lever
        ELSE CAST(at / 900 AS INTEGER)
    END AS bucket,
    count(*),
    sum(tokens),
    coalesce(sum(cost_nano), 0),
    coalesce(sum(baseline_nano), 0),
    coalesce(sum(baseline_nano - cost_nano), 0),
    coalesce(sum(wasted_nano), 0),
    sum(cost_nano IS NULL OR baseline_nano IS NULL),
    sum(outcome <> 'ok'),
    coalesce(sum(avoided_nano), 0),
    currency
FROM asked CROSS JOIN ended
GROUP BY grouping, bucket, currency

-- How long what went well took: to the end, and streams to the first byte.
-- name: speeds
SELECT model, cache IN ('exact', 'similar'), duration_s, CASE WHEN streamed THEN first_byte_s END
FROM exchanges
WHERE at >= :since AND at < :until AND outcome = 'ok'

-- Of the calls themselves: an exchange has the usage of what it was answered with, cached or not.
-- name: billed
SELECT
    coalesce(sum(a.input_miss), 0),
    coalesce(sum(a.input_hit), 0),
    coalesce(sum(a.cache_write), 0),
    coalesce(sum(a.output), 0),
    coalesce(sum(a.reasoning), 0),
    coalesce(sum(a.charged_book_nano), 0)
FROM exchanges AS e CROSS JOIN attempts AS a ON a.exchange_id = e.id
WHERE e.at >= :since AND e.at < :until AND a.outcome <> 'open'

-- name: outcomes
SELECT outcome, count(*)
FROM exchanges
WHERE at >= :since AND at < :until AND outcome <> 'open'
GROUP BY outcome

-- The first row's, which no later start may change.
-- name: currency
SELECT currency FROM exchanges ORDER BY at LIMIT 1

-- name: exchange
SELECT
    at, id, endpoint, model, deployment, key_id, key_name, team, user, tags, outcome, status, cache, streamed, attempts,
    input_miss, input_hit, cache_write, output, reasoning, estimated, baseline_nano, cost_nano, currency,
    duration_s, first_byte_s, overhead_s, degraded, avoided_nano, owner, parent
FROM exchanges
WHERE at BETWEEN :since AND :until AND id = :id

-- name: attempts_of
SELECT
    exchange_id, id, started_at, ended_at, provider, deployment, region, outcome, status, upstream_id,
    input_miss, input_hit, cache_write, output, reasoning, estimated, charged_nano, currency, fx_rate,
    charged_book_nano, price_source, held_nano, held_tokens, stops, overrun
FROM attempts
WHERE exchange_id = :id
ORDER BY started_at, id

-- Looks at every row: for the rare end of a process that could not say what became of its calls.
-- name: attempts_named
SELECT
    exchange_id, id, started_at, ended_at, provider, deployment, region, outcome, status, upstream_id,
    input_miss, input_hit, cache_write, output, reasoning, estimated, charged_nano, currency, fx_rate,
    charged_book_nano, price_source, held_nano, held_tokens, stops, overrun
FROM attempts
WHERE id IN (SELECT value FROM json_each(:ids))

-- name: shares_of
SELECT exchange_id, attempt_id, lever, amount_nano
FROM shares
WHERE exchange_id = :id
ORDER BY attempt_id, lever

-- name: fix_view
SELECT value FROM counters LIMIT 1

-- name: open_exchanges
SELECT id FROM exchanges WHERE outcome = 'open'
UNION
SELECT exchange_id FROM attempts WHERE outcome = 'open'

-- Where the next piece of a span begins, `rows` exchanges further on.
-- name: piece
SELECT at FROM exchanges WHERE at > :since AND at < :until ORDER BY at LIMIT 1 OFFSET :rows

-- What attempts of the exchanges of [since, until) were charged, for each of `asked`, a JSON array of [scope, since, until),
-- by value of its scope; tags come as the whole set. `first` and `last` are around all of them, `excluding` is a JSON array of
-- ids. An exchange is looked for within a day of the dispatch of its attempts. The charges are read once, in the order in which
-- they lie, and kept: sorted first, they would be looked up in the order of the values.
-- name: posted
WITH asked AS MATERIALIZED (
    SELECT key AS place, value ->> 0 AS scope, value ->> 1 AS since, value ->> 2 AS until FROM json_each(:asked)
),
charges AS MATERIALIZED (
    SELECT
        a.started_at, e.team, e.key_name, e.user, e.model, e.tags,
        (
            SELECT sum(s.amount_nano) FROM shares AS s WHERE s.exchange_id = a.exchange_id AND s.attempt_id = a.id
        ) AS amount_nano,
        a.input_miss + a.input_hit + a.cache_write + a.output AS tokens
    FROM exchanges AS e CROSS JOIN attempts AS a ON a.exchange_id = e.id
    WHERE e.at >= :since AND e.at < :until
        AND a.started_at >= :first AND a.started_at < :last AND a.outcome <> 'open'
        AND a.id NOT IN (SELECT value FROM json_each(:excluding))
)
SELECT
    q.place,
    CASE q.scope
        WHEN 'global' THEN ''
        WHEN 'team' THEN c.team
        WHEN 'key' THEN c.key_name
        WHEN 'user' THEN c.user
        WHEN 'model' THEN c.model
        WHEN 'tag' THEN c.tags
    END AS bucket,
    coalesce(sum(c.amount_nano), 0),
    sum(c.tokens)
FROM asked AS q CROSS JOIN charges AS c ON c.started_at >= q.since AND c.started_at < q.until
GROUP BY q.place, bucket
