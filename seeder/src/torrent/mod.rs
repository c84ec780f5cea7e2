//! One torrent as state machines: session, choker, picker, blame, metadata, dialer, announcer. Pure: the driver tells a
//! [`Torrent`] what happened, drains what it wants done, and calls again at its deadline.

mod allowed_fast;
pub mod announcer;
mod bits;
mod blame;
mod bounds;
pub mod bucket;
mod choker;
mod copies;
mod cost;
mod depth;
mod dialer;
mod download;
mod events;
mod exchange;
mod facts;
pub mod goals;
mod hashes;
mod layers;
mod line;
mod lost;
mod machine;
mod metadata;
mod order;
mod outward;
mod peers;
mod picker;
mod priority;
mod rate;
pub mod schedule;
mod session;
#[cfg(test)]
mod stories;
mod suggest;
mod superseed;
mod timer;
mod turnover;
mod upload;
mod wanted;
mod wishes;

pub use blame::Giver;
pub use events::{
    Content, Direction, FileSpan, Identity, Input, Output, PeerKey, Priority, Settings, Status, Why, Wishes,
};
pub use facts::{PeerFacts, PieceState};
pub use machine::Torrent;
