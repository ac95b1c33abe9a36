-- What `penstock migrate` brought here, from which store, and how far it has come.

CREATE TABLE moves (
    source text PRIMARY KEY, -- what that store begins with
    state text NOT NULL, -- JSON: what it held when the move began
    secret text NOT NULL, -- by which to know whether keys are hashed with the same one; '' = it has none
    began_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
);

CREATE TABLE move_marks (
    part text PRIMARY KEY,
    after text NOT NULL, -- JSON array: the key of the last row that is here
    "rows" bigint NOT NULL
);
