-- name: list
SELECT id, name, digest, prefix, created_at, expires_at, revoked_at, team, models, rpm, tpm, concurrency
FROM keys
ORDER BY created_at, id

-- One writer at a time: that a name is free is known for as long as it takes.
-- name: lock
SELECT pg_advisory_xact_lock($1::int, $2::int)

-- name: live
SELECT id, name, digest, prefix, created_at, expires_at, revoked_at, team, models, rpm, tpm, concurrency
FROM keys
WHERE (id = $1 OR name = $1) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)
ORDER BY id = $1 DESC
LIMIT 1

-- name: insert
INSERT INTO keys (id, name, digest, prefix, created_at, expires_at, revoked_at, team, models, rpm, tpm, concurrency)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)

-- name: revoke
UPDATE keys SET revoked_at = $2 WHERE id = $1

-- name: bump
UPDATE counters SET value = value + 1 WHERE name = 'keys'

-- name: tell
SELECT pg_notify('penstock', 'keys')

-- name: version
SELECT value FROM counters WHERE name = 'keys'
