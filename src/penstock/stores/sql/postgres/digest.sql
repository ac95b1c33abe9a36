-- name: take
INSERT INTO results (tenant, key, expires_at, body_digest, status, headers, exchange_id, body)
VALUES ($1, $2, $3, ''::bytea, 0, '{}', '', ''::bytea)
ON CONFLICT (tenant, key) DO UPDATE SET expires_at = excluded.expires_at, status = 0
WHERE results.expires_at <= $4
RETURNING 1

-- name: status
SELECT status FROM results WHERE tenant = $1 AND key = $2

-- name: told
UPDATE results SET expires_at = $1, status = 1 WHERE tenant = $2 AND key = $3

-- name: give_back
DELETE FROM results WHERE tenant = $1 AND key = $2 AND status = 0
