-- name: insert
INSERT OR REPLACE INTO answers (
    id, key, expires_at, size, checksum, model, tenant, tags, stored_at, attempt_id, deployment,
    input_miss, input_hit, cache_write, output, reasoning, estimated, entry, body
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: delete
DELETE FROM answers WHERE id = ?

-- name: index
SELECT id, key, expires_at, size, model, tenant, deployment, tags FROM answers ORDER BY id

-- name: stats
SELECT model, count(*), sum(size), min(stored_at), max(expires_at)
FROM answers
WHERE expires_at > :now
GROUP BY model
ORDER BY sum(size) DESC, model

-- name: fetch
SELECT
    expires_at, size, checksum, model, tenant, tags, stored_at, attempt_id, deployment,
    input_miss, input_hit, cache_write, output, reasoning, estimated, entry, body
FROM answers
WHERE id = :id AND key = :key

-- The text of tenants under one key is a range: from `key/` to before `key0`. The end leaves out what may still be overtaken.
-- name: changed
SELECT
    id, expires_at, size, checksum, model, tenant, tags, stored_at, attempt_id, deployment,
    input_miss, input_hit, cache_write, output, reasoning, estimated, entry, body
FROM answers
WHERE entry <> '' AND (stored_at, id) > (:since, :id) AND stored_at <= :until
    AND tenant >= :first AND tenant < :last AND expires_at > :now
ORDER BY stored_at, id

-- name: note_purge
INSERT INTO purges (at, model, tenant, tag) VALUES (?, ?, ?, ?)

-- name: trim_purges
DELETE FROM purges WHERE id <= (SELECT max(id) FROM purges) - ?

-- name: purges_since
SELECT id, at, model, tenant, tag FROM purges WHERE id >= :id ORDER BY id LIMIT :rows

-- name: last_purge
SELECT id, at FROM purges ORDER BY id DESC LIMIT 1
