-- Times are microseconds since the Unix epoch, UTC. Identifiers are lower-case hexadecimal text.
-- A migration is never changed after it has landed: write the next one.

CREATE TABLE comune (
    id              TEXT PRIMARY KEY,               -- ComuneId
    name            TEXT NOT NULL UNIQUE,           -- as the operator typed it
    created_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE invitation (
    secret_sha256   TEXT PRIMARY KEY,               -- the secret itself is never kept
    comune          TEXT NOT NULL REFERENCES comune(id),
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    used_at         INTEGER                         -- NULL until a sensor enrolled with it
) STRICT;

CREATE TABLE agent (
    id              TEXT PRIMARY KEY,               -- AgentId
    comune          TEXT NOT NULL REFERENCES comune(id),
    host_name       TEXT NOT NULL,
    version         TEXT NOT NULL,
    enrolled_at     INTEGER NOT NULL,
    last_seen_at    INTEGER,                        -- last message of a session
    connected       INTEGER NOT NULL DEFAULT 0,     -- 1 while a session is open; all 0 at start
    address         TEXT,                           -- remote address of the last session
    skew_micros     INTEGER NOT NULL DEFAULT 0,     -- agent's clock minus the collector's
    bundle_in_force INTEGER NOT NULL DEFAULT 0,
    bundle_offered  INTEGER NOT NULL DEFAULT 0,
    bundle_outcome  TEXT NOT NULL DEFAULT '',       -- fetched | applied | refused
    bundle_reason   TEXT NOT NULL DEFAULT '',       -- why refused
    bundle_at       INTEGER,
    spooled         INTEGER NOT NULL DEFAULT 0,     -- records that wait on the agent
    sources         TEXT NOT NULL DEFAULT '[]'      -- JSON array of SourceStatus
) STRICT;

CREATE TABLE certificate (
    serial          TEXT PRIMARY KEY,               -- hexadecimal, as X.509 has it
    identity        TEXT NOT NULL,                  -- SAN URI
    agent           TEXT REFERENCES agent(id),      -- NULL for a desk
    issued_at       INTEGER NOT NULL,
    not_after       INTEGER NOT NULL,
    revoked_at      INTEGER,
    revoked_reason  TEXT NOT NULL DEFAULT ''
) STRICT;

-- What is committed of each spool: (agent, epoch, sequence) makes a repeat harmless for ever.
CREATE TABLE progress (
    agent           TEXT NOT NULL REFERENCES agent(id),
    epoch           TEXT NOT NULL,
    stored          INTEGER NOT NULL,
    PRIMARY KEY (agent, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE hit (
    id              INTEGER PRIMARY KEY,            -- order of arrival
    comune          TEXT NOT NULL REFERENCES comune(id),
    agent           TEXT NOT NULL REFERENCES agent(id),
    hit_id          TEXT NOT NULL,                  -- HitId
    at              INTEGER NOT NULL,
    last_at         INTEGER NOT NULL,
    received_at     INTEGER NOT NULL,
    count           INTEGER NOT NULL,
    direction       TEXT NOT NULL,
    kind            TEXT NOT NULL,
    value           TEXT NOT NULL,
    seen_in         TEXT NOT NULL,
    indicator       TEXT NOT NULL,                  -- indicator.id of the serial in `bundle`
    bundle          INTEGER NOT NULL,
    host            TEXT,
    remote          TEXT,
    input           TEXT NOT NULL,
    evidence        TEXT NOT NULL,
    hit_json        TEXT NOT NULL,                  -- the Hit as DESIGN's contract has it
    UNIQUE (agent, hit_id)
) STRICT;
CREATE INDEX hit_by_time ON hit (at);
CREATE INDEX hit_by_comune ON hit (comune, at);
CREATE INDEX hit_by_value ON hit (value);
CREATE INDEX hit_by_indicator ON hit (indicator);

-- Records that did not arrive: gaps in a sequence and losses that an agent reports.
CREATE TABLE loss (
    id              INTEGER PRIMARY KEY,
    agent           TEXT NOT NULL REFERENCES agent(id),
    noticed_at      INTEGER NOT NULL,
    count           INTEGER NOT NULL,
    reason          TEXT NOT NULL,                  -- gap, or LossReason
    first_at        INTEGER,
    last_at         INTEGER
) STRICT;

-- One row for each (origin address, role, town). Role `remote`: the party outside; `host`: the town's own
-- host behind an outbound hit.
CREATE TABLE origin (
    address         TEXT NOT NULL,
    role            TEXT NOT NULL CHECK (role IN ('remote', 'host')),
    comune          TEXT NOT NULL REFERENCES comune(id),
    first_at        INTEGER NOT NULL,
    last_at         INTEGER NOT NULL,
    inbound         INTEGER NOT NULL DEFAULT 0,     -- hits by direction
    outbound        INTEGER NOT NULL DEFAULT 0,
    internal        INTEGER NOT NULL DEFAULT 0,
    transit         INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (address, role, comune)
) STRICT, WITHOUT ROWID;
CREATE INDEX origin_by_time ON origin (last_at);

CREATE TABLE origin_indicator (
    address         TEXT NOT NULL,
    role            TEXT NOT NULL,
    comune          TEXT NOT NULL,
    indicator       TEXT NOT NULL,
    PRIMARY KEY (address, role, comune, indicator)
) STRICT, WITHOUT ROWID;

-- Bundles that were verified and offered, and their indicators as the hit pages show them.
CREATE TABLE bundle (
    serial          INTEGER PRIMARY KEY,
    issuer          TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    received_at     INTEGER NOT NULL,
    indicators      INTEGER NOT NULL,
    pushed_by       TEXT NOT NULL                   -- identity of the desk
) STRICT;

CREATE TABLE indicator (
    id              TEXT PRIMARY KEY,
    json            TEXT NOT NULL,                  -- the newest Indicator with this id
    first_bundle    INTEGER NOT NULL,
    last_bundle     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE operator (
    name            TEXT PRIMARY KEY,
    password_hash   TEXT NOT NULL,                  -- argon2id, PHC string
    created_at      INTEGER NOT NULL,
    disabled_at     INTEGER
) STRICT;

CREATE TABLE console_session (
    token_sha256    TEXT PRIMARY KEY,               -- the cookie's token itself is never kept
    operator        TEXT NOT NULL REFERENCES operator(name),
    csrf_token      TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    last_used_at    INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL
) STRICT;

-- Failed sign-ins, to slow down guessing by name and by address.
CREATE TABLE sign_in_failure (
    subject         TEXT NOT NULL,                  -- `name:NAME` or `address:ADDRESS`
    failed_at       INTEGER NOT NULL
) STRICT;
CREATE INDEX sign_in_failure_by_subject ON sign_in_failure (subject, failed_at);

-- What people did, for the record.
CREATE TABLE audit (
    id              INTEGER PRIMARY KEY,
    at              INTEGER NOT NULL,
    actor           TEXT NOT NULL,                  -- operator, desk or `command line`
    action          TEXT NOT NULL,
    subject         TEXT NOT NULL
) STRICT;
