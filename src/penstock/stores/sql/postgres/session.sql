-- name: lead
SELECT pg_try_advisory_lock($1::int, $2::int)

-- Its session lives, so it holds the lock.
-- name: still
SELECT $1::int IS NOT NULL AND $2::int IS NOT NULL

-- name: share
SELECT pg_advisory_lock_shared($1::int, $2::int)

-- name: alone
SELECT pg_try_advisory_lock($1::int, $2::int)
