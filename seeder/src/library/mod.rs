//! From folders to torrents: walking, leaving junk out, hashing on all cores, verifying.
