-- The first schema. Times are epoch seconds, amounts nano-units, ids ours.
--
-- Ledger tables are parted by the month that an exchange's id begins with (0 = its id says none): an exchange lies in one
-- month with all that belongs to it, whenever its calls end, and a month is dropped whole. The months' partitions are made
-- by the writer; what no partition is for lies in the `other` ones.

CREATE TABLE exchanges (
    month integer NOT NULL, -- year * 12 + month - 1
    id text NOT NULL,
    at double precision NOT NULL,
    endpoint text NOT NULL,
    model text NOT NULL,
    deployment text NOT NULL,
    key_id text NOT NULL,
    key_name text NOT NULL,
    team text NOT NULL,
    "user" text NOT NULL,
    tags text NOT NULL, -- JSON object; '' = none
    outcome text NOT NULL,
    status integer NOT NULL,
    cache text NOT NULL,
    streamed smallint NOT NULL,
    attempts integer NOT NULL,
    input_miss bigint NOT NULL,
    input_hit bigint NOT NULL,
    cache_write bigint NOT NULL,
    output bigint NOT NULL,
    reasoning bigint NOT NULL,
    estimated smallint NOT NULL,
    baseline_nano bigint, -- NULL = no price covers it
    cost_nano bigint, -- likewise
    currency text NOT NULL,
    duration_s double precision NOT NULL,
    first_byte_s double precision,
    overhead_s double precision NOT NULL,
    degraded text NOT NULL,
    avoided_nano bigint, -- NULL = no price covers it
    owner text NOT NULL, -- '' = it has ended
    parent text NOT NULL, -- '' = it came from its client
    PRIMARY KEY (month, id)
) PARTITION BY LIST (month);

CREATE INDEX exchanges_by_time ON exchanges (at);
CREATE INDEX open_exchanges ON exchanges (id) WHERE outcome = 'open';
CREATE TABLE exchanges_other PARTITION OF exchanges DEFAULT;

CREATE TABLE attempts (
    month integer NOT NULL, -- its exchange's
    exchange_id text NOT NULL,
    id text NOT NULL,
    started_at double precision NOT NULL,
    ended_at double precision NOT NULL,
    provider text NOT NULL,
    deployment text NOT NULL,
    region text NOT NULL,
    outcome text NOT NULL,
    status integer NOT NULL,
    upstream_id text NOT NULL,
    input_miss bigint NOT NULL,
    input_hit bigint NOT NULL,
    cache_write bigint NOT NULL,
    output bigint NOT NULL,
    reasoning bigint NOT NULL,
    estimated smallint NOT NULL,
    charged_nano bigint,
    currency text NOT NULL,
    fx_rate text NOT NULL,
    charged_book_nano bigint,
    price_source text NOT NULL,
    held_nano bigint, -- NULL = no price covers it
    held_tokens bigint NOT NULL,
    stops smallint NOT NULL,
    overrun smallint NOT NULL,
    lease bigint NOT NULL, -- under which it was opened; 0 = under none
    PRIMARY KEY (month, exchange_id, id)
) PARTITION BY LIST (month);

CREATE INDEX attempts_by_time ON attempts (started_at);
CREATE INDEX open_attempts ON attempts (exchange_id) WHERE outcome = 'open';
CREATE TABLE attempts_other PARTITION OF attempts DEFAULT;

CREATE TABLE shares (
    month integer NOT NULL, -- its exchange's
    exchange_id text NOT NULL,
    attempt_id text NOT NULL,
    lever text NOT NULL,
    amount_nano bigint NOT NULL,
    PRIMARY KEY (month, exchange_id, attempt_id, lever)
) PARTITION BY LIST (month);

CREATE TABLE shares_other PARTITION OF shares DEFAULT;

-- Quarters of an hour (epoch seconds / 900) whose rows are summed up below, and will hardly change.
CREATE TABLE summed_quarters (
    quarter bigint PRIMARY KEY,
    frozen boolean NOT NULL DEFAULT false -- its rows are dropped: the sums are all there is, and stay
);

-- Quarters into which something was written late: they are not summed up until that has been so for a while.
CREATE TABLE touched_quarters (
    quarter bigint PRIMARY KEY,
    at double precision NOT NULL -- by this server's clock
);

CREATE TABLE spend_quarters (
    grouping text NOT NULL,
    quarter bigint NOT NULL,
    bucket text NOT NULL,
    currency text NOT NULL,
    requests bigint NOT NULL,
    tokens numeric NOT NULL,
    cost_nano numeric NOT NULL,
    baseline_nano numeric NOT NULL,
    saved_nano numeric NOT NULL,
    wasted_nano numeric NOT NULL,
    unpriced bigint NOT NULL,
    errors bigint NOT NULL,
    avoided_nano numeric NOT NULL,
    PRIMARY KEY (grouping, quarter, bucket, currency)
);

CREATE TABLE charge_quarters (
    scope text NOT NULL,
    quarter bigint NOT NULL, -- of the attempt's dispatch
    bucket text NOT NULL,
    lease bigint NOT NULL,
    amount_nano numeric NOT NULL,
    tokens numeric NOT NULL,
    PRIMARY KEY (scope, quarter, bucket, lease)
);

-- A lease is a life of a node in which it may open attempts. Whoever ends one holds its lock alone.
CREATE TABLE leases (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node text NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
);

CREATE INDEX living_leases ON leases (id) WHERE ended_at IS NULL;

CREATE TABLE epochs (
    number bigint PRIMARY KEY,
    redis_id text NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO epochs (number, redis_id) VALUES (0, '');

-- The id is the writing process' own; the key is what all processes know it by.
CREATE TABLE answers (
    id bigint NOT NULL UNIQUE,
    key bytea PRIMARY KEY,
    expires_at double precision NOT NULL,
    size bigint NOT NULL, -- bytes of body
    checksum bigint NOT NULL, -- CRC-32 of body
    model text NOT NULL,
    tenant text NOT NULL,
    tags text NOT NULL, -- JSON array
    stored_at double precision NOT NULL,
    attempt_id text NOT NULL,
    deployment text NOT NULL,
    input_miss bigint NOT NULL,
    input_hit bigint NOT NULL,
    cache_write bigint NOT NULL,
    output bigint NOT NULL,
    reasoning bigint NOT NULL,
    estimated smallint NOT NULL,
    entry text NOT NULL, -- '' = no edge asked for it
    body bytea NOT NULL
);

ALTER TABLE answers ALTER COLUMN body SET STORAGE EXTERNAL; -- compressing costs more than the room
CREATE INDEX answers_by_expiry ON answers (expires_at);
CREATE INDEX answers_of_edges ON answers (stored_at, id) WHERE entry <> '';

CREATE TABLE purges (
    id bigint PRIMARY KEY,
    at double precision NOT NULL,
    model text, -- NULL = of every one
    tenant text, -- likewise
    tag text, -- likewise
    deployments text[] NOT NULL, -- none = of every one
    node text NOT NULL -- whose purge it was
);

CREATE TABLE results (
    tenant text NOT NULL,
    key text NOT NULL,
    expires_at double precision NOT NULL,
    body_digest bytea NOT NULL,
    status integer NOT NULL,
    headers text NOT NULL, -- JSON object
    exchange_id text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (tenant, key)
);

CREATE INDEX results_by_expiry ON results (expires_at);

CREATE TABLE keys (
    id text PRIMARY KEY,
    name text NOT NULL,
    digest text NOT NULL UNIQUE,
    prefix text NOT NULL,
    created_at double precision NOT NULL,
    expires_at double precision,
    revoked_at double precision,
    team text NOT NULL,
    models text NOT NULL, -- JSON array
    rpm bigint,
    tpm bigint,
    concurrency bigint
);

CREATE TABLE budgets (
    name text PRIMARY KEY,
    fields text NOT NULL, -- JSON object
    removed smallint NOT NULL
);

CREATE TABLE balances (
    provider text NOT NULL,
    currency text NOT NULL,
    at double precision NOT NULL,
    total_nano bigint NOT NULL,
    granted_nano bigint NOT NULL,
    topped_up_nano bigint NOT NULL,
    PRIMARY KEY (provider, currency, at)
);

CREATE TABLE counters (
    name text PRIMARY KEY,
    value bigint NOT NULL
);

INSERT INTO counters (name, value) VALUES ('keys', 0), ('budgets', 0);
