//! What the test binaries share.

pub mod measure;
pub mod rivals;

pub mod clients;
pub mod extremes;
pub mod fake_member;
pub mod fake_peer;
pub mod fake_web_seed;
pub mod our_tracker;
pub mod rig;
pub mod scene;
pub mod swarm;
pub mod vectors;
pub mod world;
