//! What the test binaries share.

pub mod measure;

pub mod rig;
