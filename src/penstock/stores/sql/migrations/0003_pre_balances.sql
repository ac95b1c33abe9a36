-- What providers said that their accounts hold, each time they were asked: to hold the ledger against.

CREATE TABLE balances (
    provider TEXT NOT NULL,
    currency TEXT NOT NULL,
    at REAL NOT NULL,
    total_nano INTEGER NOT NULL,
    granted_nano INTEGER NOT NULL,
    topped_up_nano INTEGER NOT NULL,
    PRIMARY KEY (provider, currency, at)
) STRICT, WITHOUT ROWID;
