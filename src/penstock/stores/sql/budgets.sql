-- name: list
SELECT name, fields, removed FROM budgets ORDER BY name

-- name: put
INSERT OR REPLACE INTO budgets (name, fields, removed) VALUES (?, ?, ?)

-- name: delete
DELETE FROM budgets WHERE name = ?

-- name: bump
UPDATE counters SET value = value + 1 WHERE name = 'budgets'

-- name: version
SELECT value FROM counters WHERE name = 'budgets'
