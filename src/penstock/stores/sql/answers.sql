-- name: insert
INSERT OR REPLACE INTO answers (
    id, key, expires_at, size, checksum, model, tenant, tags, stored_at, attempt_id, deployment,
    input_miss, input_hit, cache_write, output, reasoning, estimated, body
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: delete
DELETE FROM answers WHERE id = ?

-- name: index
SELECT id, key, expires_at, size, model, tenant, tags FROM answers ORDER BY id

-- name: stats
SELECT model, count(*), sum(size), min(stored_at), max(expires_at)
FROM answers
WHERE expires_at > :now
GROUP BY model
ORDER BY sum(size) DESC, model

-- name: fetch
SELECT
    expires_at, size, checksum, model, tenant, tags, stored_at, attempt_id, deployment,
    input_miss, input_hit, cache_write, output, reasoning, estimated, body
FROM answers
WHERE id = :id AND key = :key
