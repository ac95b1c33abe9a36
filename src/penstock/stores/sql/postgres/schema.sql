-- name: begin
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)

-- name: known
SELECT to_regclass('schema_migrations') IS NOT NULL

-- name: foreign
SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')

-- name: applied
SELECT name FROM schema_migrations

-- name: note
INSERT INTO schema_migrations (name) VALUES ($1)

-- name: lock
SELECT pg_advisory_lock($1::int, $2::int)

-- name: unlock
SELECT pg_advisory_unlock($1::int, $2::int)

-- name: writable
SELECT current_setting('transaction_read_only') = 'off'
