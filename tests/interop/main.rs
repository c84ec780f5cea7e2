//! Other people's clients against ours, on hosts that are network namespaces: each leeches from our seeder and seeds for our
//! `get`, by .torrent file and by magnet link, through our tracker. What arrives is compared by SHA-256.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a broken rig should stop the test, and what others say is worth reading"
)]

use tests::{clients, scene};

mod members;

mod accounts;
mod aria2;
mod creators;
mod encryption;
mod homes;
mod libtorrent;
mod photographs;
mod proxies;
mod qbittorrent;
mod refusals;
mod rtorrent;
mod transmission;
mod web_seeds;
