-- name: list
SELECT id, name, digest, prefix, created_at, expires_at, revoked_at, team, models, rpm, tpm, concurrency
FROM keys
ORDER BY created_at, id

-- name: live
SELECT id, name, digest, prefix, created_at, expires_at, revoked_at, team, models, rpm, tpm, concurrency
FROM keys
WHERE (id = :name OR name = :name) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :at)
ORDER BY id = :name DESC
LIMIT 1

-- name: count
SELECT count(*) FROM keys WHERE revoked_at IS NULL

-- name: insert
INSERT INTO keys (id, name, digest, prefix, created_at, expires_at, revoked_at, team, models, rpm, tpm, concurrency)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: revoke
UPDATE keys SET revoked_at = :at WHERE id = :id

-- name: bump
UPDATE counters SET value = value + 1 WHERE name = 'keys'

-- name: version
SELECT value FROM counters WHERE name = 'keys'
