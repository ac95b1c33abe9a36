-- name: take
INSERT INTO results (tenant, key, expires_at, body_digest, status, headers, exchange_id, body)
VALUES (?1, ?2, ?3, x'', 0, '{}', '', x'')
ON CONFLICT (tenant, key) DO UPDATE SET expires_at = excluded.expires_at, status = 0
WHERE results.expires_at <= ?4

-- name: status
SELECT status FROM results WHERE tenant = ? AND key = ?

-- name: told
UPDATE results SET expires_at = ?, status = 1 WHERE tenant = ? AND key = ?

-- name: give_back
DELETE FROM results WHERE tenant = ? AND key = ? AND status = 0
