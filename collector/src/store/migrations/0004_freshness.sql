-- When the metadata of bundles expires: on each sensor as it says, and of what is on offer.
ALTER TABLE agent ADD COLUMN fresh_until INTEGER;   -- NULL when it did not say

CREATE TABLE upkeep (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    at              INTEGER NOT NULL,               -- when the signatures were last looked at
    state           TEXT NOT NULL,                  -- signed | not_named | failed
    fresh_until     INTEGER,
    trouble         TEXT NOT NULL                   -- why it failed
) STRICT;
