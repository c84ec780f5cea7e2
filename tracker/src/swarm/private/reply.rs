//! What a member's client is told: the counts of the whole torrent, and peers that announced the same hash, each with all its
//! addresses. Written under the shard's lock; nothing is allocated but what `out` lacks, and one list if there is IPv6.

use rand::Rng;
use shared::compact::{LENGTH_V6, decode_v4, decode_v6};

use super::record::Record;
use super::swarm::{Swarm, Wish};
use crate::members::ids::Which;
use crate::swarm::home::Asker;
use crate::swarm::policy::{EARLY, Policy, Told};
use crate::swarm::reply::{Head, insert_length, string, write_peer, write_warning};

/// How one reply is to be written.
pub(super) struct Reply<'a> {
    pub(super) asker: &'a Asker,
    pub(super) policy: &'a Policy,
    pub(super) which: Which,
    pub(super) wish: Wish,
    pub(super) told: Told,
    /// In what form the peers are given.
    pub(super) form: Form,
    pub(super) early: bool,
    pub(super) warning: Option<&'a str>,
}

/// How peers are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Six or eighteen bytes (BEP 23, 7).
    Compact,
    /// Dictionaries with peer ids (BEP 3).
    Dictionaries,
    /// Dictionaries without.
    Nameless,
}

impl Reply<'_> {
    /// Writes the reply; returns how many peers are in it.
    pub(super) fn write(&self, swarm: &Swarm, rng: &mut impl Rng, out: &mut Vec<u8>) -> u32 {
        let head = Head {
            counts: swarm.counts(),
            completed: swarm.completed(),
            external_ip: self.asker.external_ip(self.policy),
            told: self.told,
        };
        head.write(out);
        let given = if self.form == Form::Compact {
            self.write_compact(swarm, rng, out)
        } else {
            self.write_dictionaries(swarm, rng, out)
        };
        if let Some(warning) = self
            .warning
            .filter(|_| !self.early)
            .or(self.early.then_some(EARLY))
        {
            write_warning(warning, out);
        }
        out.push(b'e');
        given
    }

    /// `peers` always, `peers6` where there is anybody to put into it or the asker came by IPv6.
    fn write_compact(&self, swarm: &Swarm, rng: &mut impl Rng, out: &mut Vec<u8>) -> u32 {
        out.extend_from_slice(b"5:peers");
        let start = out.len();
        let mut peers6: Vec<[u8; LENGTH_V6]> = Vec::new();
        let given = swarm.choose(self.wish, rng, &mut |peer| {
            let (v4, v6) = self.addresses(peer);
            if let Some(wire) = v4 {
                out.extend_from_slice(&wire);
            }
            if let Some(wire) = v6 {
                peers6.push(wire);
            }
            v4.is_some() || v6.is_some()
        });
        insert_length(start, out);
        if !peers6.is_empty() || self.asker.is_v6() {
            out.extend_from_slice(b"6:peers6");
            string(peers6.as_flattened(), out);
        }
        given
    }

    fn write_dictionaries(&self, swarm: &Swarm, rng: &mut impl Rng, out: &mut Vec<u8>) -> u32 {
        out.extend_from_slice(b"5:peersl");
        let given = swarm.choose(self.wish, rng, &mut |peer| {
            let id = (self.form == Form::Dictionaries).then_some(&peer.peer_id);
            let (v4, v6) = self.addresses(peer);
            if let Some(wire) = v4 {
                write_peer(decode_v4(wire).into(), id, out);
            }
            if let Some(wire) = v6 {
                write_peer(decode_v6(wire).into(), id, out);
            }
            v4.is_some() || v6.is_some()
        });
        out.push(b'e');
        given
    }

    /// What a peer that announced the same hash goes by where the asker stands.
    fn addresses(&self, peer: &Record) -> (Option<[u8; 6]>, Option<[u8; LENGTH_V6]>) {
        let which = Some(self.which);
        let v4 = peer.v4(which).and_then(|wire| self.asker.given_v4(wire));
        let v6 = peer.v6(which).and_then(|wire| self.asker.given_v6(wire));
        (v4, v6)
    }
}
