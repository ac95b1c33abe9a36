-- The first schema. Times are epoch seconds, amounts nano-units, ids ours.
--
-- Ledger tables are clustered on what they are read by, and have no second index: an insert touches one B-tree, at its
-- right-hand end, because ids and times grow. `at` before `id` makes a span of time one contiguous piece.

CREATE TABLE exchanges (
    at REAL NOT NULL,
    id TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    deployment TEXT NOT NULL,
    key_id TEXT NOT NULL,
    key_name TEXT NOT NULL,
    team TEXT NOT NULL,
    user TEXT NOT NULL,
    tags TEXT NOT NULL, -- JSON object; '' = none
    outcome TEXT NOT NULL,
    status INTEGER NOT NULL,
    cache TEXT NOT NULL,
    streamed INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_miss INTEGER NOT NULL,
    input_hit INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    baseline_nano INTEGER, -- NULL = no price covers it
    cost_nano INTEGER, -- likewise
    currency TEXT NOT NULL,
    duration_s REAL NOT NULL,
    first_byte_s REAL,
    overhead_s REAL NOT NULL,
    PRIMARY KEY (at, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    exchange_id TEXT NOT NULL,
    id TEXT NOT NULL,
    started_at REAL NOT NULL,
    ended_at REAL NOT NULL,
    provider TEXT NOT NULL,
    deployment TEXT NOT NULL,
    region TEXT NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER NOT NULL,
    upstream_id TEXT NOT NULL,
    input_miss INTEGER NOT NULL,
    input_hit INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    charged_nano INTEGER,
    currency TEXT NOT NULL,
    fx_rate TEXT NOT NULL,
    charged_book_nano INTEGER,
    price_source TEXT NOT NULL,
    PRIMARY KEY (exchange_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE shares (
    exchange_id TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    lever TEXT NOT NULL,
    amount_nano INTEGER NOT NULL,
    PRIMARY KEY (exchange_id, attempt_id, lever)
) STRICT, WITHOUT ROWID;

-- The id is given by the process and kept in its index; a second B-tree on the random key would cost more than the row.
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    expires_at REAL NOT NULL,
    size INTEGER NOT NULL, -- bytes of body
    checksum INTEGER NOT NULL, -- CRC-32 of body
    model TEXT NOT NULL,
    tenant TEXT NOT NULL,
    tags TEXT NOT NULL, -- JSON array
    stored_at REAL NOT NULL,
    attempt_id TEXT NOT NULL,
    deployment TEXT NOT NULL,
    input_miss INTEGER NOT NULL,
    input_hit INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE results (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    expires_at REAL NOT NULL,
    body_digest BLOB NOT NULL,
    status INTEGER NOT NULL,
    headers TEXT NOT NULL, -- JSON object
    exchange_id TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT;

CREATE INDEX results_by_expiry ON results (expires_at);

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL,
    revoked_at REAL,
    team TEXT NOT NULL,
    models TEXT NOT NULL, -- JSON array
    rpm INTEGER,
    tpm INTEGER,
    concurrency INTEGER
) STRICT;

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO counters (name, value) VALUES ('keys', 0);
