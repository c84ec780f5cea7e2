//! An announce and scrape tracker: who else is here? Rules stand in `swarm` and `members`, sockets in `http` and `udp`.

pub mod address;
pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod folder;
pub mod http;
pub mod members;
pub mod metrics;
mod offline;
pub mod server;
pub mod snapshot;
pub mod swarm;
pub mod sweeper;
