//! Suggestions (BEP 6), both ways. Peers know only what their neighbours have: those of a slow seed would fetch from it
//! what others, whom they do not see, have got already, while other pieces have not left it once. So while we want nothing
//! ourselves, each of those whom we give to is told of pieces that nobody was told of yet. It loses nothing by that: what it
//! asks for is its own affair. We follow a suggestion where the piece is as rare as any that its giver has.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use shared::bitfield::Bitfield;
use shared::geometry::{BLOCK_LENGTH, Block, Geometry, PieceIndex};
use shared::moment::Moment;
use shared::peer_wire::Message;

use super::bits;
use super::choker::Mode;
use super::events::PeerKey;
use super::machine::Torrent;
use super::session::{Pieces, SUGGESTED_MAX, Session};

/// A peer knows of so many pieces beyond those that it has asked for, so that it need not wait for the next.
const OPEN_MIN: usize = 2;

/// What was suggested to whom.
#[derive(Debug)]
pub(super) struct Hints {
    /// Pieces that somebody has who misses others, that somebody has asked us for, or was told of; and those that we have not.
    told: Bitfield,
    /// Where the next that nobody was told of is looked for.
    cursor: u32,
    /// What was suggested, by the peers that have neither asked for it nor lost their slot.
    open: BTreeMap<PeerKey, BTreeSet<PieceIndex>>,
}

impl Hints {
    /// One of these pieces that nobody was told of.
    fn next(&mut self, geometry: &Geometry) -> Option<PieceIndex> {
        if self.told.is_complete() {
            return None;
        }
        let count = geometry.piece_count();
        let mut places = (self.cursor..count).chain(0..self.cursor);
        let piece = places.find_map(|at| geometry.piece(at).filter(|piece| !self.told.has(*piece)))?;
        self.cursor = (piece.number() + 1) % count.max(1);
        self.told.set(piece);
        Some(piece)
    }

    /// Somebody has this piece, or will have it soon.
    fn is_out(&mut self, piece: PieceIndex) {
        self.told.set(piece);
        self.open.retain(|_, open| {
            open.remove(&piece);
            !open.is_empty()
        });
    }

    /// What this peer was told of and did not ask for, others may be told of.
    fn withdraw(&mut self, peer: PeerKey) {
        for piece in self.open.remove(&peer).unwrap_or_default() {
            self.told.unset(piece);
        }
    }
}

impl Torrent {
    /// A peer has a slot, or has asked for a block: it is told of what it may ask for next.
    pub(super) fn suggest(&mut self, now: Moment, peer: PeerKey, asked: Option<Block>) {
        if self.mode() != Mode::Seeding || self.offers.is_some() {
            self.hints = None;
            return;
        }
        self.begin_hinting();
        let (Some(hints), Some(content), Some(session)) =
            (&mut self.hints, &self.content, self.sessions.get(&peer))
        else {
            return;
        };
        if let Some(block) = asked {
            hints.is_out(block.piece());
        }
        if session.unchoked.is_none() || !session.fast() || session.wants_nothing() {
            return;
        }
        // Who has many requests open is soon through with what it knows of.
        let piece_blocks = content.geometry.piece_length().div_ceil(BLOCK_LENGTH).max(1) as usize;
        let room = (OPEN_MIN + session.line.len() / piece_blocks).min(SUGGESTED_MAX);
        let mut open = hints.open.remove(&peer).unwrap_or_default();
        let mut new = Vec::new();
        while open.len() < room
            && let Some(piece) = hints.next(&content.geometry)
        {
            open.insert(piece);
            new.push(piece);
        }
        if !open.is_empty() {
            hints.open.insert(peer, open);
        }
        for piece in new {
            self.send(now, peer, Message::Suggest(piece.number()));
        }
    }

    /// What somebody has who misses others needs no hint. Two seeds begin at different places.
    fn begin_hinting(&mut self) {
        let Some(content) = self.content.as_ref().filter(|_| self.hints.is_none()) else {
            return;
        };
        let mut told = Bitfield::all(&content.geometry);
        for piece in bits::all(&content.geometry, &content.have) {
            told.unset(piece);
        }
        for session in self.sessions.values().filter(|session| !session.has_everything()) {
            if let Pieces::Known(has) = &session.pieces {
                told.include(has);
            }
        }
        let id = self.identity.peer_id.0;
        let drawn = id.last_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        self.hints = Some(Hints {
            told,
            cursor: drawn % content.geometry.piece_count().max(1),
            open: BTreeMap::new(),
        });
    }

    /// Somebody has this piece now.
    pub(super) fn needs_no_hint(&mut self, piece: PieceIndex) {
        if let Some(hints) = &mut self.hints {
            hints.is_out(piece);
        }
    }

    /// A peer has told all its pieces. Who claims everything proves nothing, and takes nothing.
    pub(super) fn need_no_hint(&mut self, peer: PeerKey) {
        let session = self
            .sessions
            .get(&peer)
            .filter(|session| !session.has_everything());
        if let (Some(hints), Some(Pieces::Known(has))) = (&mut self.hints, session.map(|it| &it.pieces)) {
            hints.told.include(has);
            for open in hints.open.values_mut() {
                open.retain(|piece| !has.has(*piece));
            }
        }
    }

    /// What was asked for and not given, others may be told of.
    pub(super) fn hint_again(&mut self, blocks: &[Block]) {
        let Some(hints) = &mut self.hints else { return };
        for piece in blocks.iter().map(|block| block.piece()) {
            let has = |session: &Session| session.has(piece) && !session.has_everything();
            if hints.told.has(piece) && !self.sessions.values().any(has) {
                hints.told.unset(piece);
            }
        }
    }

    /// A peer has no slot any more, or has gone.
    pub(super) fn withdraw_hints(&mut self, peer: PeerKey) {
        if let Some(hints) = &mut self.hints {
            hints.withdraw(peer);
        }
    }

    /// A peer suggests a piece. What we do not miss, or what is more than we can heed, costs it a point.
    pub(super) fn suggested(&mut self, now: Moment, peer: PeerKey, piece: PieceIndex, rng: &mut impl Rng) {
        let (Some(picker), Some(session)) = (&self.picker, self.sessions.get_mut(&peer)) else {
            return;
        };
        session.suggested.retain(|piece| picker.is_missing(*piece));
        let heeded = picker.is_missing(piece)
            && session.suggested.len() < SUGGESTED_MAX
            && !session.suggested.contains(&piece);
        if heeded {
            session.suggested.push(piece);
        } else if let Err(why) = session.cost.charge(now) {
            self.dismiss(now, peer, why, rng);
        }
    }
}

#[cfg(debug_assertions)]
impl Torrent {
    pub(super) fn check_hints(&self) {
        let suggested = |session: &Session| session.suggested.len();
        assert!(
            self.sessions
                .values()
                .map(suggested)
                .all(|count| count <= SUGGESTED_MAX)
        );
        let Some(hints) = &self.hints else { return };
        for (peer, open) in &hints.open {
            let holds = self
                .sessions
                .get(peer)
                .is_some_and(|session| session.unchoked.is_some());
            assert!(
                holds && open.len() <= SUGGESTED_MAX,
                "{peer:?} has no slot, and hints"
            );
            assert!(open.iter().all(|piece| hints.told.has(*piece)));
        }
    }
}
