-- name: lock
SELECT pg_advisory_xact_lock({space}, {parting})

-- name: make
CREATE TABLE IF NOT EXISTS {table}_{name} PARTITION OF {table} FOR VALUES IN ({month})

-- name: drop
DROP TABLE IF EXISTS {table}_{name}

-- What is written late into these is in the rows alone: their sums cannot be made again.
-- name: freeze
UPDATE summed_quarters SET frozen = true WHERE quarter < $1 AND NOT frozen

-- The months that have a partition of their own; 0 = the common one.
-- name: months
SELECT coalesce(substring(pg_get_expr(relpartbound, oid) FROM '\((\d+)\)')::int, 0)
FROM pg_class
WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'exchanges'::regclass)

-- Whether anything of a month is in no sum yet, or open.
-- name: unsummed
SELECT EXISTS (
    SELECT 1 FROM exchanges AS e
    WHERE e.month = $1
        AND (e.outcome = 'open' OR NOT EXISTS (SELECT 1 FROM summed_quarters AS s WHERE s.quarter = floor(e.at / 900)))
) OR EXISTS (
    SELECT 1 FROM attempts AS a
    WHERE a.month = $1
        AND (a.outcome = 'open' OR NOT EXISTS (SELECT 1 FROM summed_quarters AS s WHERE s.quarter = floor(a.started_at / 900)))
)
