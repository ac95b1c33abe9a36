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

-- name: fetch
SELECT
    expires_at, size, checksum, model, tenant, tags, stored_at, attempt_id, deployment,
    input_miss, input_hit, cache_write, output, reasoning, estimated, body
FROM answers
WHERE id = :id AND key = :key
