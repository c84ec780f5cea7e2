//! The program as people and scripts start it: every command, with a tracker that runs on the folder and without.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a broken program should stop the test"
)]

/// What was typed wrongly, and what is said about it.
mod mistakes;
/// Members, invitations, tokens, torrents.
mod people;
/// The program and a folder for it.
mod rig;
/// `serve` and `healthcheck`.
mod serving;
/// `config` and `reload`.
mod settings;
