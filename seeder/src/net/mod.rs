//! Sockets: who calls and is called, the exchange of handshakes, and one pipe a connection. Nothing here knows a rule.

pub(crate) mod dialer;
pub(crate) mod handshake;
mod inbox;
pub(crate) mod listener;
pub(crate) mod pipe;
pub(crate) mod uploader;
