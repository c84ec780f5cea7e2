//! Private mode: a peer is a member's client, known by its peer id, and what it reports is entered into the member's account
//! under the same lock that places it. Sessions whose peer has gone sleep in their torrent, so that counters go on where they
//! stopped. Nothing here waits: journal entries are queued through `Scribe`, changed accounts stay in a stripe beside the shard
//! until `Books` collects them.

mod index;
mod record;
mod reply;
mod stripe;
mod swarm;
mod swarms;
mod visit;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub(in crate::swarm) use record::{Families, Standing};
pub use swarms::{MemberAnnounced, MemberVisit, PrivateSwarms, Stay};
