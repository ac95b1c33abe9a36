-- What is stored later takes the place; the id tells whose it is, so that nobody deletes another's. All of a group is one
-- call, what is text and numbers of it as JSON: a call for each takes us five times as long. No key comes twice in one.
-- name: insert
INSERT INTO answers (
    id, key, expires_at, size, checksum, model, tenant, tags, stored_at, attempt_id, deployment,
    input_miss, input_hit, cache_write, output, reasoning, estimated, entry, body
)
SELECT
    id, key, expires_at, size, checksum, model, tenant, tags, stored_at, attempt_id, deployment,
    input_miss, input_hit, cache_write, output, reasoning, estimated, entry, body
FROM ROWS FROM (
    json_to_recordset($1) AS (
        id bigint, expires_at double precision, size bigint, checksum bigint, model text, tenant text, tags text,
        stored_at double precision, attempt_id text, deployment text, input_miss bigint, input_hit bigint,
        cache_write bigint, output bigint, reasoning bigint, estimated smallint, entry text
    ),
    unnest($2::bytea[]),
    unnest($3::bytea[])
) AS given (
    id, expires_at, size, checksum, model, tenant, tags, stored_at, attempt_id, deployment, input_miss, input_hit,
    cache_write, output, reasoning, estimated, entry, key, body
)
ON CONFLICT (key) DO UPDATE SET
    id = excluded.id,
    expires_at = excluded.expires_at,
    size = excluded.size,
    checksum = excluded.checksum,
    model = excluded.model,
    tenant = excluded.tenant,
    tags = excluded.tags,
    stored_at = excluded.stored_at,
    attempt_id = excluded.attempt_id,
    deployment = excluded.deployment,
    input_miss = excluded.input_miss,
    input_hit = excluded.input_hit,
    cache_write = excluded.cache_write,
    output = excluded.output,
    reasoning = excluded.reasoning,
    estimated = excluded.estimated,
    entry = excluded.entry,
    body = excluded.body

-- name: delete
DELETE FROM answers WHERE id = $1

-- name: stats
SELECT model, count(*), sum(size)::bigint, min(stored_at), max(expires_at)
FROM answers
WHERE expires_at > $1
GROUP BY model
ORDER BY sum(size) DESC, model

-- name: find
SELECT
    expires_at, size, checksum, model, tenant, tags, stored_at, attempt_id, deployment,
    input_miss, input_hit, cache_write, output, reasoning, estimated, entry, body
FROM answers
WHERE key = $1 AND expires_at > $2

-- Those that end last are mostly those that were stored last: few are passed over.
-- name: last_end
SELECT expires_at FROM answers WHERE stored_at < $1 ORDER BY expires_at DESC LIMIT 1

-- Rows of nodes that are no more end by themselves, and make room for newer ones.
-- name: sweep
DELETE FROM answers WHERE expires_at <= $1

-- name: trim
DELETE FROM answers WHERE key IN (
    SELECT key FROM (
        SELECT key, sum(size + $2::bigint) OVER (ORDER BY stored_at DESC, id DESC) AS bytes FROM answers
    ) AS younger
    WHERE bytes > $1::bigint
)

-- The text of tenants under one key is a range: from `key/` to before `key0`. The end leaves out what may still be overtaken.
-- name: changed
SELECT
    id, expires_at, size, checksum, model, tenant, tags, stored_at, attempt_id, deployment,
    input_miss, input_hit, cache_write, output, reasoning, estimated, entry, body
FROM answers
WHERE entry <> '' AND (stored_at, id) > ($1::float8, $2::bigint) AND stored_at <= $3
    AND tenant COLLATE "C" >= $4 AND tenant COLLATE "C" < $5 AND expires_at > $6 AND size <= $7
ORDER BY stored_at, id
LIMIT $8

-- Purging. One at a time, so that their numbers are in the order in which they are seen.
-- name: lock
SELECT pg_advisory_xact_lock($1::int, $2::int)

-- `deployments`: whole names, and beginnings that end in a slash.
-- name: purge
DELETE FROM answers
WHERE ($1::text IS NULL OR model = $1)
    AND ($2::text IS NULL OR tenant = $2 OR starts_with(tenant, $2 || '/'))
    AND ($3::text IS NULL OR tags LIKE '[%]' AND tags::jsonb ? $3)
    AND (
        cardinality($4::text[]) = 0
        OR deployment = ANY($4)
        OR EXISTS (SELECT 1 FROM unnest($4) AS d WHERE right(d, 1) = '/' AND starts_with(deployment, d))
    )

-- name: note_purge
INSERT INTO purges (id, at, model, tenant, tag, deployments, node)
SELECT coalesce(max(id), 0) + 1, $1, $2, $3, $4, $5, $6 FROM purges

-- name: trim_purges
DELETE FROM purges WHERE id <= (SELECT max(id) FROM purges) - $1::bigint

-- name: tell
SELECT pg_notify('penstock', 'purges')

-- name: purges_since
SELECT id, at, model, tenant, tag FROM purges WHERE id >= $1 ORDER BY id LIMIT $2

-- name: last_purge
SELECT id, at FROM purges ORDER BY id DESC LIMIT 1

-- name: heard_since
SELECT id, model, tenant, tag, deployments, node = $2 FROM purges WHERE id > $1 ORDER BY id
