//! Our programs alone, by what scripts rely on (DESIGN §2): real programs, real sockets, real disks, nothing of others.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken rig should stop the test"
)]

mod album;
mod contract;
mod crossing;
mod daemon;
mod damage;
mod disks;
mod extremes;
mod kills;
mod kills_of_the_tracker;
mod members;
mod operating;
mod pages_for_prometheus;
mod refusals;
mod routes;
mod rudeness;
mod stopping;
mod trouble;
mod web_seeds;
