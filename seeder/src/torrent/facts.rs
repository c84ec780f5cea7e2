//! What a torrent tells those who look: its peers, its pieces, and how many peers have each.

use std::net::SocketAddr;

use serde::Serialize;
use shared::bitfield::Bitfield;

use super::events::{Direction, PeerKey};
use super::machine::Torrent;
use super::session::{Pieces, Session};

/// One peer, as far as the rules know it.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "BEP 3 is four of them, and each changes by itself"
)]
pub struct PeerFacts {
    pub peer: PeerKey,
    pub address: SocketAddr,
    pub direction: Direction,
    /// The name that it gave itself, if it did.
    pub client: Option<String>,
    /// The share of the pieces that it has, 0 to 1.
    pub have: f32,
    pub downloaded: u64,
    pub uploaded: u64,
    /// Bytes a second over the last seconds.
    pub download_rate: u64,
    pub upload_rate: u64,
    /// It has something that we want, and has been told.
    pub we_are_interested: bool,
    pub is_interested: bool,
    pub chokes_us: bool,
    pub we_choke: bool,
    /// It owes us blocks and has sent none for long.
    pub snubbed: bool,
    /// Blocks that it waits for, and that we wait for.
    pub requests_in: usize,
    pub requests_out: usize,
}

/// Where one piece stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PieceState {
    /// Nobody wants it, and it is not there.
    Skipped,
    Missing,
    /// Some of its blocks are there or asked for.
    Begun,
    Verified,
}

impl Torrent {
    /// Everyone who is connected; web seeds are not peers to those who look.
    pub fn peer_facts(&self) -> Vec<PeerFacts> {
        let facts = |(peer, session): (&PeerKey, &Session)| self.facts_of(*peer, session);
        let peers = self.sessions.iter().filter(|(_, session)| !session.is_web());
        peers.map(facts).collect()
    }

    /// The web seeds that are asked.
    pub fn web_seed_facts(&self) -> Vec<PeerFacts> {
        let facts = |(peer, session): (&PeerKey, &Session)| self.facts_of(*peer, session);
        let webs = self.sessions.iter().filter(|(_, session)| session.is_web());
        webs.map(facts).collect()
    }

    /// By piece: how many of the peers have it. Nothing while metadata are missing.
    pub fn availability(&self) -> Vec<u16> {
        let Some(geometry) = self.geometry() else {
            return Vec::new();
        };
        let mut counts = vec![0_u16; geometry.piece_count() as usize];
        for session in self.sessions.values() {
            for (count, piece) in counts.iter_mut().zip(geometry.pieces()) {
                *count = count.saturating_add(session.has(piece).into());
            }
        }
        counts
    }

    /// By piece: where it stands. Nothing while metadata are missing.
    pub fn piece_states(&self) -> Vec<PieceState> {
        let Some(content) = &self.content else {
            return Vec::new();
        };
        let state = |piece| match &self.picker {
            _ if content.have.has(piece) => PieceState::Verified,
            Some(picker) if picker.is_begun(piece) => PieceState::Begun,
            _ if self.wanted.wants(piece) => PieceState::Missing,
            _ => PieceState::Skipped,
        };
        content.geometry.pieces().map(state).collect()
    }

    fn facts_of(&self, peer: PeerKey, session: &Session) -> PeerFacts {
        let now = self.latest();
        let pieces = self.geometry().map_or(0, shared::geometry::Geometry::piece_count);
        let has = match &session.pieces {
            Pieces::Known(bits) => Bitfield::count(bits),
            Pieces::Claimed(_) => 0,
        };
        PeerFacts {
            peer,
            address: session.address,
            direction: session.direction,
            client: session.extensions.client.clone(),
            have: share(has, pieces),
            downloaded: session.taken.total(),
            uploaded: session.given.total(),
            download_rate: session.taken.per_second(now),
            upload_rate: session.given.per_second(now),
            we_are_interested: session.we_are_interested,
            is_interested: session.is_interested,
            chokes_us: session.chokes_us,
            we_choke: session.unchoked.is_none(),
            snubbed: session.snubbed,
            requests_in: session.line.len(),
            requests_out: session.asked.len(),
        }
    }
}

fn share(part: u32, whole: u32) -> f32 {
    if whole == 0 {
        return 0.0;
    }
    let ratio = f64::from(part) / f64::from(whole);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a share of a list needs no more digits"
    )]
    let ratio = ratio as f32;
    ratio
}
