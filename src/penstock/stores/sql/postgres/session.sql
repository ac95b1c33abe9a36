-- name: lead
SELECT pg_try_advisory_lock($1::int, $2::int)

-- Its session lives, so it holds the lock.
-- name: still
SELECT $1::int IS NOT NULL AND $2::int IS NOT NULL

-- name: share
SELECT pg_advisory_lock_shared($1::int, $2::int)

-- name: alone
SELECT pg_try_advisory_lock($1::int, $2::int)

-- name: together
SELECT pg_try_advisory_lock_shared($1::int, $2::int)

-- Counts it, so that who misses the signal finds out.
-- name: tell
WITH told AS (
    INSERT INTO counters (name, value) VALUES ($1::text, 1)
    ON CONFLICT (name) DO UPDATE SET value = counters.value + 1
    RETURNING value
)
SELECT value, pg_notify('penstock', $1::text) FROM told

-- name: told
SELECT value FROM counters WHERE name = $1
