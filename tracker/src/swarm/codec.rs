//! Public swarms as bytes for a snapshot, and back. The bytes come from a disk: whatever they are, reading them ends, allocates
//! no more than a few times their length and never panics. Times are written as ages, because the next process counts anew.

use std::time::Duration;

use shared::id::InfoHash;

use super::family::{Record, V4, V6};
use super::group::Kind;
use super::home::Endpoint;
use super::peers::Peers;
use super::swarm::Swarm;
use super::swarms::SnapshotError;
use super::tick::Tick;

/// The form of a public chunk; a private one has numbers of its own, so that neither is taken for the other.
pub(super) const FORM: u8 = 1;

/// Takes things from the front of some bytes.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// So many bytes, or none if there are fewer.
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(super) fn u32(&mut self) -> Result<u32, SnapshotError> {
        self.take().map(u32::from_le_bytes).ok_or(SnapshotError::Cut)
    }

    pub(super) fn u16(&mut self) -> Result<u16, SnapshotError> {
        self.take().map(u16::from_le_bytes).ok_or(SnapshotError::Cut)
    }

    /// The first byte says which form follows.
    pub(super) fn form(&mut self, expected: u8) -> Result<(), SnapshotError> {
        match self.take() {
            Some([form]) if form == expected => Ok(()),
            Some([form]) => Err(SnapshotError::Version(form)),
            None => Err(SnapshotError::Cut),
        }
    }
}

/// Appends one swarm.
pub(super) fn write(hash: &InfoHash, swarm: &Swarm, now: Tick, out: &mut Vec<u8>) {
    out.extend_from_slice(hash.as_bytes());
    out.extend_from_slice(&swarm.completed().to_le_bytes());
    out.extend_from_slice(&swarm.stirred().age(now).to_le_bytes());
    for kind in Kind::ALL {
        write_peers(Some(swarm.v4()), kind, now, out);
        write_peers(swarm.v6(), kind, now, out);
    }
}

fn write_peers<R: Record>(peers: Option<&Peers<R>>, kind: Kind, now: Tick, out: &mut Vec<u8>) {
    let count = peers.map_or(0, |peers| peers.counts().of(kind));
    out.extend_from_slice(&count.to_le_bytes());
    for peer in peers.into_iter().flat_map(|peers| peers.of_kind(kind)) {
        out.extend_from_slice(peer.wire().as_ref());
        out.extend_from_slice(&peer.heard().age(now).to_le_bytes());
    }
}

/// One swarm's head; its peers follow.
pub(super) struct Head {
    pub(super) hash: InfoHash,
    pub(super) completed: u32,
    pub(super) stirred: Tick,
}

/// A peer as a snapshot holds it.
pub(super) struct Restored {
    pub(super) at: Endpoint,
    pub(super) kind: Kind,
    pub(super) heard: Tick,
}

pub(super) fn read_head(reader: &mut Reader<'_>, age: Duration, now: Tick) -> Result<Head, SnapshotError> {
    let hash = reader.take().map(InfoHash).ok_or(SnapshotError::Cut)?;
    let completed = reader.u32()?;
    let stirred = Tick::before(now, age.saturating_add(Tick::duration(reader.u16()?)));
    Ok(Head {
        hash,
        completed,
        stirred: stirred.unwrap_or(Tick::long_before(now)),
    })
}

/// Hands over the peers of one swarm. Those that are too old to tell are passed over.
pub(super) fn read_peers(
    reader: &mut Reader<'_>,
    age: Duration,
    now: Tick,
    mut each: impl FnMut(Restored),
) -> Result<(), SnapshotError> {
    for kind in Kind::ALL {
        for is_v6 in [false, true] {
            for _ in 0..reader.u32()? {
                let at = if is_v6 {
                    reader.take().map(Endpoint::V6)
                } else {
                    reader.take().map(Endpoint::V4)
                };
                let at = at.ok_or(SnapshotError::Cut)?;
                if let Some(heard) = Tick::before(now, age.saturating_add(Tick::duration(reader.u16()?))) {
                    each(Restored { at, kind, heard });
                }
            }
        }
    }
    Ok(())
}

/// Both families' records are as long as this says, or the form needs a new number.
const _: () = assert!(size_of::<V4>() == 8 && size_of::<V6>() == 20);
