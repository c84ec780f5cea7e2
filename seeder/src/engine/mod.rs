//! All torrents of the process: one port, one table; idle torrents sleep in it, active ones have a driver.

/// One torrent of this engine. Never used twice while the engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TorrentKey(pub u64);
