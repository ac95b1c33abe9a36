-- Edges: where a request came through, under what its edge keeps the answer, and what was purged, for edges to do likewise.

ALTER TABLE exchanges ADD COLUMN parent TEXT NOT NULL DEFAULT ''; -- '' = it came from its client

ALTER TABLE answers ADD COLUMN entry TEXT NOT NULL DEFAULT ''; -- '' = no edge asked for it

-- Of the answers that edges asked for alone: where there is no edge it is empty, and costs an insert nothing.
CREATE INDEX answers_of_edges ON answers (stored_at, id) WHERE entry <> '';

CREATE TABLE purges (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    model TEXT, -- NULL = of every one
    tenant TEXT, -- likewise
    tag TEXT -- likewise
) STRICT;
