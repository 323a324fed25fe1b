-- Who signed a bundle and which file it is: its number counts among bundles of the same signers only. Empty when that was
-- not kept.
ALTER TABLE bundle ADD COLUMN signers TEXT NOT NULL DEFAULT '';
ALTER TABLE bundle ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';
ALTER TABLE bundle ADD COLUMN withdrawn_at INTEGER;     -- when a bundle of other signers with a lower number took its place

-- What became of the last bundles on each sensor, and when.
CREATE TABLE course (
    agent           TEXT NOT NULL REFERENCES agent(id),
    serial          INTEGER NOT NULL,
    began_at        INTEGER NOT NULL,               -- the first of the times below
    offered_at      INTEGER,
    fetched_at      INTEGER,
    applied_at      INTEGER,
    refused_at      INTEGER,
    reason          TEXT NOT NULL DEFAULT '',       -- why refused
    PRIMARY KEY (agent, serial)
) STRICT, WITHOUT ROWID;
