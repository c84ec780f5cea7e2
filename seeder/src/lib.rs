//! A full peer: makes torrents, seeds them, downloads them. Rules stand in `torrent`, everything that waits elsewhere.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod discovery;
pub mod disk;
pub mod driver;
pub mod engine;
pub mod library;
pub mod metrics;
pub mod net;
pub mod state;
mod store;
pub mod torrent;
pub mod units;
pub mod web;
