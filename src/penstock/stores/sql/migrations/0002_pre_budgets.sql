-- Holds, rows that are still open, and budgets that were set while running.

ALTER TABLE attempts ADD COLUMN held_nano INTEGER DEFAULT 0; -- NULL = no price covers it
ALTER TABLE attempts ADD COLUMN held_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN stops INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN overrun INTEGER NOT NULL DEFAULT 0;

ALTER TABLE exchanges ADD COLUMN degraded TEXT NOT NULL DEFAULT '';
ALTER TABLE exchanges ADD COLUMN avoided_nano INTEGER DEFAULT 0; -- NULL = no price covers it

-- What is open is found at once, however much is settled. These hold open rows only: some hundred, on a page each.
CREATE INDEX open_exchanges ON exchanges (id) WHERE outcome = 'open';
CREATE INDEX open_attempts ON attempts (exchange_id) WHERE outcome = 'open';

CREATE TABLE budgets (
    name TEXT PRIMARY KEY,
    fields TEXT NOT NULL, -- JSON object
    removed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO counters (name, value) VALUES ('budgets', 0);
