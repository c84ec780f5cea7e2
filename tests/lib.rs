//! What the test binaries share.

pub mod measure;

pub mod fake_peer;
pub mod rig;
pub mod vectors;
pub mod world;
