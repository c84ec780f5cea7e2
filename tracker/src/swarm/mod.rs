//! Who else is here? All swarms behind one private map, what goes into a reply, and who is forgotten. Pure: the edge brings
//! the time, the dice and the sender's address, and takes away bytes and facts.
//!
//! ```text
//! Swarms ── one Swarm a torrent ── Peers of each family ┬ Few, Some: one array, seeders | downloaders | paused
//!   │ (DashMap, 1,024 shards)      (IPv4 inline)         └ Many: three Tables of small buckets
//!   └ Totals (atomics)
//!
//! PrivateSwarms ── one Swarm a torrent ── one array of sessions: seeders | downloaders | paused | asleep, and an Index if large
//!   ├ Stripes (a shard's part of the ledger)
//!   └ Totals
//! ```
//!
//! In public mode a peer is its address and port, six or eighteen bytes as they go over the wire, and two bytes of time; nothing
//! else is kept. In private mode it is a member's client, known by its peer id and found at an address of each family.

mod codec;
mod family;
mod group;
mod home;
mod peers;
mod policy;
pub mod private;
mod reply;
#[expect(clippy::module_inception, reason = "swarm.rs holds one, swarms.rs holds many")]
mod swarm;
mod swarms;
mod table;
mod tick;
mod totals;

#[cfg(test)]
mod model;

pub use policy::{Pace, Policy, SwarmLimits};
pub use reply::write_failure;
pub use swarms::{Announced, Outcome, Refusal, SHARD_COUNT, SnapshotError, Swarms, Swept, Visit};
pub use totals::Totals;
