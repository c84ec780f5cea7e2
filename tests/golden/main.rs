//! Bytes that real programs have sent and written, kept as they were. What reads them here must go on reading them.

#![allow(clippy::expect_used, reason = "a broken rig should stop the test")]

mod announces;
mod handshakes;
