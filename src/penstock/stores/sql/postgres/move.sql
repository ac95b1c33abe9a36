-- What `penstock migrate` writes: all rows of a piece in one statement, as arrays, and how far it has come in the same
-- transaction. A row that is there already is the same row.

-- name: exchanges
INSERT INTO exchanges (
    month, at, id, endpoint, model, deployment, key_id, key_name, team, "user", tags, outcome, status, cache,
    streamed, attempts, input_miss, input_hit, cache_write, output, reasoning, estimated, baseline_nano, cost_nano,
    currency, duration_s, first_byte_s, overhead_s, degraded, avoided_nano, owner, parent
)
SELECT * FROM unnest(
    $1::int[], $2::float8[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::text[], $13::int[], $14::text[], $15::smallint[], $16::int[], $17::bigint[],
    $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::smallint[], $23::bigint[], $24::bigint[],
    $25::text[], $26::float8[], $27::float8[], $28::float8[], $29::text[], $30::bigint[], $31::text[], $32::text[]
) AS given
ON CONFLICT DO NOTHING

-- name: attempts
INSERT INTO attempts (
    month, exchange_id, id, started_at, ended_at, provider, deployment, region, outcome, status, upstream_id,
    input_miss, input_hit, cache_write, output, reasoning, estimated, charged_nano, currency, fx_rate,
    charged_book_nano, price_source, held_nano, held_tokens, stops, overrun, lease
)
SELECT given.*, 0 FROM unnest(
    $1::int[], $2::text[], $3::text[], $4::float8[], $5::float8[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::int[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[],
    $17::smallint[], $18::bigint[], $19::text[], $20::text[], $21::bigint[], $22::text[], $23::bigint[],
    $24::bigint[], $25::smallint[], $26::smallint[]
) AS given
ON CONFLICT DO NOTHING

-- name: shares
INSERT INTO shares (
    month, exchange_id, attempt_id, lever, amount_nano
)
SELECT * FROM unnest(
    $1::int[], $2::text[], $3::text[], $4::text[], $5::bigint[]
) AS given
ON CONFLICT DO NOTHING

-- name: keys
INSERT INTO keys (
    id, name, digest, prefix, created_at, expires_at, revoked_at, team, models, rpm, tpm, concurrency
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::float8[], $6::float8[], $7::float8[], $8::text[], $9::text[],
    $10::bigint[], $11::bigint[], $12::bigint[]
) AS given
ON CONFLICT DO NOTHING

-- name: budgets
INSERT INTO budgets (
    name, fields, removed
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::smallint[]
) AS given
ON CONFLICT DO NOTHING

-- name: balances
INSERT INTO balances (
    provider, currency, at, total_nano, granted_nano, topped_up_nano
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::float8[], $4::bigint[], $5::bigint[], $6::bigint[]
) AS given
ON CONFLICT DO NOTHING

-- name: purges
INSERT INTO purges (
    id, at, model, tenant, tag, deployments, node
)
SELECT given.*, '{}', '' FROM unnest(
    $1::bigint[], $2::float8[], $3::text[], $4::text[], $5::text[]
) AS given
ON CONFLICT DO NOTHING

-- name: results
INSERT INTO results (
    tenant, key, expires_at, body_digest, status, headers, exchange_id, body
)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::float8[], $4::bytea[], $5::int[], $6::text[], $7::text[], $8::bytea[]
) AS given
ON CONFLICT DO NOTHING

-- name: answers
INSERT INTO answers (
    id, key, expires_at, size, checksum, model, tenant, tags, stored_at, attempt_id, deployment, input_miss,
    input_hit, cache_write, output, reasoning, estimated, entry, body
)
SELECT * FROM unnest(
    $1::bigint[], $2::bytea[], $3::float8[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[],
    $9::float8[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[],
    $17::smallint[], $18::text[], $19::bytea[]
) AS given
ON CONFLICT DO NOTHING

-- name: counter
INSERT INTO counters (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = greatest(counters.value, excluded.value) + 1

-- Whether anything is here that somebody might miss.
-- name: used
SELECT
    EXISTS (SELECT 1 FROM exchanges) OR EXISTS (SELECT 1 FROM attempts) OR EXISTS (SELECT 1 FROM shares)
    OR EXISTS (SELECT 1 FROM keys) OR EXISTS (SELECT 1 FROM budgets) OR EXISTS (SELECT 1 FROM balances)
    OR EXISTS (SELECT 1 FROM purges) OR EXISTS (SELECT 1 FROM results) OR EXISTS (SELECT 1 FROM answers)

-- name: moves
SELECT source, state, secret, ended_at IS NOT NULL, coalesce(to_char(ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), '')
FROM moves

-- name: unfinished
SELECT EXISTS (SELECT 1 FROM moves WHERE ended_at IS NULL)

-- name: begin
INSERT INTO moves (source, state, secret) VALUES ($1, $2, $3)
ON CONFLICT (source) DO UPDATE SET state = excluded.state, secret = excluded.secret, began_at = now()

-- Only of a move that has not ended: nobody has served from it.
-- name: forget
TRUNCATE
    exchanges, attempts, shares, keys, budgets, balances, purges, results, answers, summed_quarters, touched_quarters,
    spend_quarters, charge_quarters, move_marks

-- name: durable
SET LOCAL synchronous_commit = on

-- name: end
UPDATE moves SET ended_at = now() WHERE source = $1

-- name: marks
SELECT part, after, "rows" FROM move_marks

-- name: mark
INSERT INTO move_marks (part, after, "rows") VALUES ($1, $2, $3)
ON CONFLICT (part) DO UPDATE SET after = excluded.after, "rows" = excluded."rows"

-- name: analyze
ANALYZE exchanges, attempts, shares, answers

-- As what sql/move.sql adds up: part, month, rows, open ones, the sums, the first id and the last.
-- name: sums
SELECT
    'exchanges', month, count(*), count(*) FILTER (WHERE outcome = 'open'),
    sum(input_miss + input_hit + cache_write + output + reasoning), coalesce(sum(cost_nano), 0),
    coalesce(sum(baseline_nano), 0) + coalesce(sum(avoided_nano), 0),
    sum(num_nulls(cost_nano, baseline_nano, avoided_nano, first_byte_s)), min(id COLLATE "C"), max(id COLLATE "C")
FROM exchanges
GROUP BY month
UNION ALL
SELECT
    'attempts', month, count(*), count(*) FILTER (WHERE outcome = 'open'),
    sum(input_miss + input_hit + cache_write + output + reasoning + held_tokens), coalesce(sum(charged_book_nano), 0),
    coalesce(sum(charged_nano), 0) + coalesce(sum(held_nano), 0),
    sum(num_nulls(charged_nano, charged_book_nano, held_nano)), min(id COLLATE "C"), max(id COLLATE "C")
FROM attempts
GROUP BY month
UNION ALL
SELECT
    'shares', month, count(*), 0, 0, sum(amount_nano), 0, 0, min(attempt_id COLLATE "C"), max(attempt_id COLLATE "C")
FROM shares
GROUP BY month
UNION ALL
SELECT 'keys', 0, count(*), 0, 0, 0, 0, sum(num_nulls(expires_at, revoked_at)), min(id COLLATE "C"), max(id COLLATE "C")
FROM keys HAVING count(*) > 0
UNION ALL
SELECT 'budgets', 0, count(*), 0, 0, 0, 0, 0, min(name COLLATE "C"), max(name COLLATE "C") FROM budgets HAVING count(*) > 0
UNION ALL
SELECT
    'balances', 0, count(*), 0, 0, sum(total_nano), sum(granted_nano) + sum(topped_up_nano), 0,
    min(provider COLLATE "C"), max(provider COLLATE "C")
FROM balances HAVING count(*) > 0
UNION ALL
SELECT 'purges', 0, count(*), 0, 0, 0, 0, sum(num_nulls(model, tenant, tag)), min(id)::text, max(id)::text
FROM purges HAVING count(*) > 0
UNION ALL
SELECT 'results', 0, count(*), 0, 0, 0, sum(length(body)), 0, '', '' FROM results HAVING count(*) > 0
UNION ALL
SELECT 'answers', 0, count(*), 0, 0, 0, 0, 0, '', max(id)::text FROM answers HAVING count(*) > 0
