-- name: insert
INSERT INTO results (tenant, key, expires_at, body_digest, status, headers, exchange_id, body)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant, key) DO UPDATE SET
    expires_at = excluded.expires_at,
    body_digest = excluded.body_digest,
    status = excluded.status,
    headers = excluded.headers,
    exchange_id = excluded.exchange_id,
    body = excluded.body

-- name: get
SELECT expires_at, body_digest, status, headers, exchange_id, body
FROM results
WHERE tenant = $1 AND key = $2 AND expires_at > $3

-- name: sweep
DELETE FROM results WHERE expires_at <= $1
