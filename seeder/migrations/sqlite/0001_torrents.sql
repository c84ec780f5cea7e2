-- The torrents of `seeder run`, in the order in which they were added.
CREATE TABLE torrents (
    id INTEGER PRIMARY KEY,
    -- A whole .torrent file, or the text of a magnet link.
    source BLOB NOT NULL,
    is_magnet INTEGER NOT NULL,
    -- A path, byte for byte.
    root BLOB NOT NULL,
    -- 1: what is missing is fetched. 0: nothing is ever written.
    writes INTEGER NOT NULL,
    -- Seconds since 1970.
    added INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    -- The goal that was reached, in words.
    reached TEXT,
    -- JSON: tiers of announce URLs; how it is treated.
    trackers TEXT NOT NULL,
    options TEXT NOT NULL,
    -- 1: all that is wanted was there once. What is missing since then was taken away by others.
    done INTEGER NOT NULL
) STRICT;

-- What changes often, apart from what is long.
CREATE TABLE counters (
    torrent INTEGER PRIMARY KEY REFERENCES torrents (id) ON DELETE CASCADE,
    uploaded INTEGER NOT NULL,
    downloaded INTEGER NOT NULL,
    seeding_seconds INTEGER NOT NULL,
    -- JSON: where complete peers were seen, and when.
    copies TEXT NOT NULL
) STRICT;
