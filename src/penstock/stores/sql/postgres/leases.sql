-- name: begin
INSERT INTO leases (node) VALUES ($1) RETURNING id

-- A lease ends alone with its lock: what is being written under it is written, and nothing is opened under it any more.
-- name: lock_lease
SELECT pg_advisory_xact_lock($1::bigint)

-- name: lock_epochs
SELECT pg_advisory_xact_lock($1::int, $2::int)

-- name: share_epochs
SELECT pg_advisory_xact_lock_shared($1::int, $2::int)

-- name: end
UPDATE leases SET ended_at = clock_timestamp() WHERE id = $1 AND ended_at IS NULL RETURNING id

-- name: living
SELECT id, node, extract(epoch FROM begun_at)::float8 FROM leases WHERE ended_at IS NULL ORDER BY id

-- name: epoch
SELECT number, redis_id FROM epochs ORDER BY number DESC LIMIT 1

-- name: next_epoch
INSERT INTO epochs (number, redis_id) VALUES ($1, $2)

-- name: tell
SELECT pg_notify('penstock', $1)

-- Leases that ended with something open under them.
-- name: unsettled
SELECT DISTINCT a.lease
FROM attempts AS a
WHERE a.outcome = 'open' AND a.lease NOT IN (SELECT id FROM leases WHERE ended_at IS NULL)
ORDER BY a.lease

