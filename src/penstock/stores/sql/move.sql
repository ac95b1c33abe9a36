-- What `penstock migrate` reads of a store that moves: each table by its key, a piece at a time, from after a row on.
-- The last columns of a row are its key.

-- name: exchanges
SELECT
    at, id, endpoint, model, deployment, key_id, key_name, team, user, tags, outcome, status, cache, streamed,
    attempts, input_miss, input_hit, cache_write, output, reasoning, estimated, baseline_nano, cost_nano, currency,
    duration_s, first_byte_s, overhead_s, degraded, avoided_nano, owner, parent
FROM exchanges
WHERE (at, id) > (?1, ?2)
ORDER BY at, id
LIMIT ?3

-- name: attempts
SELECT
    exchange_id, id, started_at, ended_at, provider, deployment, region, outcome, status, upstream_id, input_miss,
    input_hit, cache_write, output, reasoning, estimated, charged_nano, currency, fx_rate, charged_book_nano,
    price_source, held_nano, held_tokens, stops, overrun
FROM attempts
WHERE (exchange_id, id) > (?1, ?2)
ORDER BY exchange_id, id
LIMIT ?3

-- name: shares
SELECT
    exchange_id, attempt_id, lever, amount_nano
FROM shares
WHERE (exchange_id, attempt_id, lever) > (?1, ?2, ?3)
ORDER BY exchange_id, attempt_id, lever
LIMIT ?4

-- name: keys
SELECT
    id, name, digest, prefix, created_at, expires_at, revoked_at, team, models, rpm, tpm, concurrency
FROM keys
WHERE id > ?1
ORDER BY id
LIMIT ?2

-- name: budgets
SELECT
    name, fields, removed
FROM budgets
WHERE name > ?1
ORDER BY name
LIMIT ?2

-- name: balances
SELECT
    provider, currency, at, total_nano, granted_nano, topped_up_nano
FROM balances
WHERE (provider, currency, at) > (?1, ?2, ?3)
ORDER BY provider, currency, at
LIMIT ?4

-- name: purges
SELECT
    id, at, model, tenant, tag
FROM purges
WHERE id > ?1
ORDER BY id
LIMIT ?2

-- name: results
SELECT
    tenant, key, expires_at, body_digest, status, headers, exchange_id, body
FROM results
WHERE (tenant, key) > (?1, ?2)
ORDER BY tenant, key
LIMIT ?3

-- The last one of a key first: it is the one that counts.
-- name: answers
SELECT
    id, key, expires_at, size, checksum, model, tenant, tags, stored_at, attempt_id, deployment, input_miss,
    input_hit, cache_write, output, reasoning, estimated, entry, body
FROM answers
WHERE id < ?1
ORDER BY id DESC
LIMIT ?2

-- What makes it this store and no other: the first that it ever held.
-- name: source
SELECT coalesce(
    (SELECT 'exchange ' || id FROM exchanges ORDER BY at, id LIMIT 1),
    (SELECT 'key ' || id FROM keys ORDER BY created_at, id LIMIT 1),
    ''
)

-- name: currencies
SELECT min(currency), max(currency) FROM exchanges

-- What changes with whatever is written: how many rows there are of each, how many of them are open, and counts of changes.
-- name: state
SELECT 'exchanges', count(*), coalesce(sum(outcome = 'open'), 0) FROM exchanges
UNION ALL SELECT 'attempts', count(*), coalesce(sum(outcome = 'open'), 0) FROM attempts
UNION ALL SELECT 'shares', count(*), 0 FROM shares
UNION ALL SELECT 'keys', count(*), (SELECT value FROM counters WHERE name = 'keys') FROM keys
UNION ALL SELECT 'budgets', count(*), (SELECT value FROM counters WHERE name = 'budgets') FROM budgets
UNION ALL SELECT 'balances', count(*), 0 FROM balances
UNION ALL SELECT 'purges', count(*), coalesce(max(id), 0) FROM purges
UNION ALL SELECT 'results', count(*), coalesce(CAST(max(expires_at) AS INTEGER), 0) FROM results
UNION ALL SELECT 'answers', count(*), coalesce(max(id), 0) FROM answers

-- To be compared, month by month of the ids: whose month, the id, whether it is open, tokens, amount, other amounts, how many
-- amounts no price covers. Added up as they come: to group them here would take memory for all.
-- name: each_exchange
SELECT
    id, id, outcome = 'open', input_miss + input_hit + cache_write + output + reasoning, coalesce(cost_nano, 0),
    coalesce(baseline_nano, 0) + coalesce(avoided_nano, 0),
    (cost_nano IS NULL) + (baseline_nano IS NULL) + (avoided_nano IS NULL) + (first_byte_s IS NULL)
FROM exchanges

-- name: each_attempt
SELECT
    exchange_id, id, outcome = 'open', input_miss + input_hit + cache_write + output + reasoning + held_tokens,
    coalesce(charged_book_nano, 0), coalesce(charged_nano, 0) + coalesce(held_nano, 0),
    (charged_nano IS NULL) + (charged_book_nano IS NULL) + (held_nano IS NULL)
FROM attempts

-- name: each_share
SELECT exchange_id, attempt_id, 0, 0, amount_nano, 0, 0 FROM shares

-- The same of what is little: rows, open ones, the sums, the first id and the last.
-- name: sums
SELECT 'keys', 0, count(*), 0, 0, 0, 0, sum((expires_at IS NULL) + (revoked_at IS NULL)), min(id), max(id)
FROM keys HAVING count(*) > 0
UNION ALL
SELECT 'budgets', 0, count(*), 0, 0, 0, 0, 0, min(name), max(name) FROM budgets HAVING count(*) > 0
UNION ALL
SELECT
    'balances', 0, count(*), 0, 0, sum(total_nano), sum(granted_nano) + sum(topped_up_nano), 0, min(provider), max(provider)
FROM balances HAVING count(*) > 0
UNION ALL
SELECT
    'purges', 0, count(*), 0, 0, 0, 0, sum((model IS NULL) + (tenant IS NULL) + (tag IS NULL)),
    CAST(min(id) AS TEXT), CAST(max(id) AS TEXT)
FROM purges HAVING count(*) > 0
UNION ALL
SELECT 'results', 0, count(*), 0, 0, 0, sum(length(body)), 0, '', '' FROM results HAVING count(*) > 0
UNION ALL
SELECT 'answers', 0, count(DISTINCT key), 0, 0, 0, 0, 0, '', CAST(max(id) AS TEXT) FROM answers HAVING count(*) > 0

-- name: counters
SELECT name, value FROM counters
