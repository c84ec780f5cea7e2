//! One torrent as state machines: session, choker, picker, blame, metadata, dialer, announcer. Pure: the driver tells a
//! [`Torrent`] what happened, drains what it wants done, and calls again at its deadline.

pub mod announcer;
mod events;
mod torrent;

pub use events::{Content, Direction, Identity, Input, Output, PeerKey, Settings, Status, Why};
pub use torrent::Torrent;
