-- By the bytes of the name, as every other store.
-- name: list
SELECT name, fields, removed FROM budgets ORDER BY name COLLATE "C"

-- name: put
INSERT INTO budgets (name, fields, removed) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET fields = excluded.fields, removed = excluded.removed

-- name: delete
DELETE FROM budgets WHERE name = $1 RETURNING name

-- name: bump
UPDATE counters SET value = value + 1 WHERE name = 'budgets'

-- name: tell
SELECT pg_notify('penstock', 'budgets')

-- name: version
SELECT value FROM counters WHERE name = 'budgets'
