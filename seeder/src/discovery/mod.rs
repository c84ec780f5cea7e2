//! Finding peers: trackers now; PEX, LSD and the DHT later.

pub mod trackers;
