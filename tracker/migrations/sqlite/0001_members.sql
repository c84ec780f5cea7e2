-- Dates are seconds since 1970 in UTC. Numbers of members and torrents are never given twice (AUTOINCREMENT).

CREATE TABLE members (
    id                   INTEGER PRIMARY KEY AUTOINCREMENT,
    name                 TEXT    NOT NULL UNIQUE,
    role                 TEXT    NOT NULL,
    kind                 TEXT    NOT NULL,
    generation           INTEGER NOT NULL,
    old_generation_until INTEGER,
    created              INTEGER NOT NULL,
    invited_by           INTEGER REFERENCES members (id) ON DELETE SET NULL,
    invitation           INTEGER REFERENCES invitations (id) ON DELETE SET NULL,
    expires              INTEGER,
    disabled_since       INTEGER,
    disabled_reason      TEXT,
    scope                INTEGER,
    rotated              INTEGER,
    notes                TEXT    NOT NULL
) STRICT;

CREATE TABLE invitations (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    code_hash BLOB    NOT NULL UNIQUE,
    member    INTEGER REFERENCES members (id) ON DELETE SET NULL,
    created   INTEGER NOT NULL,
    expires   INTEGER,
    uses      INTEGER NOT NULL,
    used      INTEGER NOT NULL CHECK (used <= uses),
    revoked   INTEGER NOT NULL,
    note      TEXT    NOT NULL
) STRICT;

CREATE TABLE tokens (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    name      TEXT    NOT NULL,
    hash      BLOB    NOT NULL UNIQUE,
    scopes    TEXT    NOT NULL,
    created   INTEGER NOT NULL,
    expires   INTEGER,
    member    INTEGER REFERENCES members (id) ON DELETE CASCADE,
    last_used INTEGER,
    revoked   INTEGER NOT NULL
) STRICT;

-- The name of a revoked token may be used again.
CREATE UNIQUE INDEX tokens_name ON tokens (name) WHERE revoked = 0;

CREATE TABLE torrents (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    info_hash_v1     BLOB    UNIQUE,
    info_hash_v2     BLOB    UNIQUE,
    name             TEXT    NOT NULL,
    size             INTEGER NOT NULL,
    files            INTEGER NOT NULL,
    private          INTEGER NOT NULL,
    source           TEXT,
    added            INTEGER NOT NULL,
    added_by         INTEGER REFERENCES members (id) ON DELETE SET NULL,
    removed_since    INTEGER,
    removed_reason   TEXT,
    upload_percent   INTEGER,
    download_percent INTEGER,
    tariff_until     INTEGER,
    description      TEXT    NOT NULL,
    CHECK (info_hash_v1 IS NOT NULL OR info_hash_v2 IS NOT NULL)
) STRICT;

-- Apart from torrents, so that a list of them reads no files.
CREATE TABLE torrent_files (
    torrent INTEGER PRIMARY KEY REFERENCES torrents (id) ON DELETE CASCADE,
    bytes   BLOB    NOT NULL
) STRICT;

-- What a member gave and took in a torrent. Member 0 holds the sums of the forgotten, torrent 0 those of deleted torrents; hence
-- no foreign keys.
CREATE TABLE accounts (
    member          INTEGER NOT NULL,
    torrent         INTEGER NOT NULL,
    uploaded        INTEGER NOT NULL,
    downloaded      INTEGER NOT NULL,
    upload_credit   INTEGER NOT NULL,
    download_charge INTEGER NOT NULL,
    seeded_secs     INTEGER NOT NULL,
    completions     INTEGER NOT NULL,
    missing         INTEGER NOT NULL,
    first_seen      INTEGER NOT NULL,
    last_seen       INTEGER NOT NULL,
    client          BLOB    NOT NULL,
    PRIMARY KEY (member, torrent)
) STRICT, WITHOUT ROWID;

CREATE INDEX accounts_torrent ON accounts (torrent);

-- A client of a member in a torrent and its highest counters, which are unsigned: the same 64 bits. In the order in which flushes write.
CREATE TABLE sessions (
    torrent    INTEGER NOT NULL,
    member     INTEGER NOT NULL,
    peer_id    BLOB    NOT NULL,
    uploaded   INTEGER NOT NULL,
    downloaded INTEGER NOT NULL,
    missing    INTEGER NOT NULL,
    heard      INTEGER NOT NULL,
    ended      INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    PRIMARY KEY (torrent, member, peer_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_generation ON sessions (generation);

CREATE TABLE marks (
    id       INTEGER PRIMARY KEY,
    member   INTEGER NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    torrent  INTEGER REFERENCES torrents (id) ON DELETE SET NULL,
    kind     TEXT    NOT NULL,
    evidence TEXT    NOT NULL,
    date     INTEGER NOT NULL
) STRICT;

CREATE INDEX marks_member ON marks (member);

CREATE TABLE audit (
    id    INTEGER PRIMARY KEY,
    date  INTEGER NOT NULL,
    who   TEXT    NOT NULL,
    actor INTEGER,
    what  TEXT    NOT NULL,
    about INTEGER
) STRICT;

-- Numbers whose rows are gone. A flush may still bring changes of theirs.
CREATE TABLE gone_members (
    id INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE gone_torrents (
    id INTEGER PRIMARY KEY
) STRICT;

-- What there is one of. The secret stands here in a backup only.
CREATE TABLE tracker (
    id               INTEGER PRIMARY KEY CHECK (id = 1),
    generation       INTEGER NOT NULL,
    upload_percent   INTEGER,
    download_percent INTEGER,
    tariff_until     INTEGER,
    secret           BLOB
) STRICT;

INSERT INTO tracker (id, generation) VALUES (1, 0);
