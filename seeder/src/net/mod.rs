//! Sockets: who calls and is called, the exchange of handshakes, and one pipe a connection. Nothing here knows a rule.

pub(crate) mod dialer;
pub mod encryption;
pub(crate) mod handshake;
pub(crate) mod home;
mod inbox;
pub(crate) mod line;
pub(crate) mod listener;
pub(crate) mod pipe;
pub(crate) mod places;
#[cfg(test)]
mod tests;
pub(crate) mod throttle;
pub(crate) mod uploader;
pub(crate) mod web_seed;
