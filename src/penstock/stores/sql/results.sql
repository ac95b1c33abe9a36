-- name: insert
INSERT OR REPLACE INTO results (tenant, key, expires_at, body_digest, status, headers, exchange_id, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: get
SELECT expires_at, body_digest, status, headers, exchange_id, body
FROM results
WHERE tenant = :tenant AND key = :key AND expires_at > :now

-- name: sweep
DELETE FROM results WHERE expires_at <= ?
