-- Spools of a sensor: one that comes back after another took over tells of a copied or restored state folder.
CREATE TABLE epoch (
    agent           TEXT NOT NULL REFERENCES agent(id),
    epoch           TEXT NOT NULL,
    began_at        INTEGER NOT NULL,
    PRIMARY KEY (agent, epoch)
) STRICT, WITHOUT ROWID;
ALTER TABLE agent ADD COLUMN epoch TEXT NOT NULL DEFAULT '';    -- of the last greeting

-- Signs that two machines use one sensor's identity.
CREATE TABLE twin (
    agent           TEXT NOT NULL REFERENCES agent(id),
    sign            TEXT NOT NULL,                  -- two_connections | epoch_came_back | old_certificate
    first_at        INTEGER NOT NULL,
    last_at         INTEGER NOT NULL,
    count           INTEGER NOT NULL,
    PRIMARY KEY (agent, sign)
) STRICT, WITHOUT ROWID;

-- A sensor that takes another's place.
ALTER TABLE invitation ADD COLUMN replaces TEXT REFERENCES agent(id);
ALTER TABLE agent ADD COLUMN replaces TEXT REFERENCES agent(id);
