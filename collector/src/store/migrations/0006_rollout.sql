-- Bundles that went to a share of the towns first, and what came of it.
CREATE TABLE rollout (
    serial          INTEGER PRIMARY KEY,
    before          INTEGER NOT NULL,               -- the bundle that all other towns are offered meanwhile
    minutes         INTEGER NOT NULL,
    started_at      INTEGER NOT NULL,
    hits_before     INTEGER NOT NULL,               -- hits of the first towns in the hour before
    state           TEXT NOT NULL,                  -- canary | release_asked | released | stopped | replaced
    reason          TEXT NOT NULL,
    decided_at      INTEGER,
    decided_by      TEXT NOT NULL
) STRICT;

CREATE TABLE rollout_town (
    serial          INTEGER NOT NULL REFERENCES rollout(serial),
    comune          TEXT NOT NULL REFERENCES comune(id),
    PRIMARY KEY (serial, comune)
) STRICT, WITHOUT ROWID;
