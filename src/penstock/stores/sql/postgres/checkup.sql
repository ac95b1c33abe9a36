-- What `penstock doctor` asks.

-- name: server
SELECT
    current_setting('server_version_num')::int / 10000,
    current_setting('server_version'),
    current_setting('transaction_read_only') = 'off' AND NOT pg_is_in_recovery(),
    current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off',
    current_setting('max_connections')::int - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
    pg_database_size(current_database()),
    has_schema_privilege(current_schema(), 'CREATE')

-- name: clock
SELECT extract(epoch FROM clock_timestamp())::float8

-- name: moves
SELECT secret, ended_at IS NULL FROM moves
