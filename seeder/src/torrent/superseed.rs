//! Super-seeding (BEP 16): who comes sees no pieces. Each peer is shown two at a time, such as nobody was shown before, and
//! the next when a piece that it was shown is seen at another peer, so that hardly more than one copy leaves. It ends by
//! itself when every piece is somewhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::{Rng, RngExt};
use shared::bitfield::Bitfield;
use shared::geometry::{Geometry, PieceIndex};
use shared::moment::Moment;
use shared::peer_wire::Message;

use super::events::PeerKey;
use super::machine::Torrent;
use super::peers::TOLD_MAX;
use super::session::Session;

/// Pieces that a peer may have been shown and not passed on.
const OPEN_MAX: usize = 2;
/// A peer that has not passed a piece on for so long, since nobody takes it, or that does not fetch it, is waited for no
/// longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// A peer has so long to say what it has.
const HELLO: Duration = Duration::from_secs(2);

/// What one peer was shown.
#[derive(Debug, Default)]
struct Shown {
    pieces: BTreeSet<PieceIndex>,
    /// Those that were not seen at another peer, and when they were shown.
    open: BTreeMap<PieceIndex, Moment>,
}

/// What is shown to whom while we super-seed.
#[derive(Debug)]
pub(super) struct Offers {
    /// Pieces that somebody else has, or has had.
    held: Bitfield,
    /// Pieces that nobody was shown; those that are held are skipped.
    fresh: Vec<PieceIndex>,
    /// Pieces that were shown and that nobody has yet.
    out: BTreeSet<PieceIndex>,
    /// Who came since; those who were there before know everything.
    peers: BTreeMap<PeerKey, Shown>,
}

impl Offers {
    fn new(geometry: &Geometry) -> Self {
        Self {
            held: Bitfield::none(geometry),
            fresh: geometry.pieces().collect(),
            out: BTreeSet::new(),
            peers: BTreeMap::new(),
        }
    }

    /// Somebody has this piece: who else was shown it has done its part. So has the peer itself, if there is nobody
    /// (`alone`) to whom it could pass the piece on.
    fn seen(&mut self, peer: PeerKey, piece: PieceIndex, alone: bool) {
        self.held.set(piece);
        self.out.remove(&piece);
        let done = self
            .peers
            .iter_mut()
            .filter(|(other, _)| alone || **other != peer);
        for (_, shown) in done {
            shown.open.remove(&piece);
        }
    }

    /// The same, of all pieces of a peer at once. There may be millions of them, and few are open.
    fn seen_all(&mut self, peer: PeerKey, has: &Session, geometry: &Geometry, alone: bool) {
        for piece in geometry.pieces().filter(|piece| has.has(*piece)) {
            self.held.set(piece);
        }
        self.out.retain(|piece| !has.has(*piece));
        for (other, shown) in &mut self.peers {
            if alone || *other != peer {
                shown.open.retain(|piece, _| !has.has(*piece));
            }
        }
    }

    /// The next piece for a peer that has these, if there is one that is worth its while.
    fn next(&mut self, now: Moment, peer: PeerKey, has: &Session, rng: &mut impl Rng) -> Option<PieceIndex> {
        let shown = self.peers.get_mut(&peer)?;
        // What its owner never passes on must not hold up the rest. Who is slow is not who does nothing.
        let fetches = has.line.len() > 0;
        shown
            .open
            .retain(|piece, since| now.since(*since) < PATIENCE || (fetches && !has.has(*piece)));
        if shown.open.len() >= OPEN_MAX {
            return None;
        }
        let piece = take_fresh(&mut self.fresh, &self.held, rng).or_else(|| self.given_up(peer))?;
        self.out.insert(piece);
        let shown = self.peers.get_mut(&peer)?;
        shown.open.insert(piece, now);
        shown.pieces.insert(piece);
        Some(piece)
    }
}

impl Offers {
    /// A piece that nobody has, and that nobody who was shown it is expected to fetch.
    fn given_up(&self, peer: PeerKey) -> Option<PieceIndex> {
        let is_open = |piece| self.peers.values().any(|shown| shown.open.contains_key(piece));
        let was_shown = |piece| {
            self.peers
                .get(&peer)
                .is_some_and(|shown| shown.pieces.contains(piece))
        };
        let mut pieces = self.out.iter();
        pieces.find(|piece| !is_open(piece) && !was_shown(piece)).copied()
    }
}

/// A piece that nobody was shown and nobody has; so this peer has not got it either.
fn take_fresh(fresh: &mut Vec<PieceIndex>, held: &Bitfield, rng: &mut impl Rng) -> Option<PieceIndex> {
    while !fresh.is_empty() {
        let piece = fresh.swap_remove(rng.random_range(0..fresh.len()));
        if !held.has(piece) {
            return Some(piece);
        }
    }
    None
}

impl Torrent {
    /// Something is hidden from somebody still.
    pub fn is_super_seeding(&self) -> bool {
        self.offers.is_some()
    }

    /// Begins to super-seed, if that is wished for and there is everything to give.
    pub(super) fn begin_giving(&mut self) {
        let content = self.content.as_ref().filter(|_| self.settings.super_seed);
        let complete = content.filter(|content| content.have.is_complete());
        self.offers = complete.map(|content| Offers::new(&content.geometry));
        self.told_upload_only = self.is_upload_only().then_some(true);
    }

    /// Begins or ends to super-seed. Who is there already has been told everything, and stays told.
    pub(super) fn super_seed(&mut self, now: Moment, on: bool, rng: &mut impl Rng) {
        if !on {
            self.end_super_seeding(now);
        } else if self.offers.is_none() && self.is_complete() {
            self.settings.super_seed = true;
            self.offers = self.geometry().map(Offers::new);
            let peers: Vec<PeerKey> = self.sessions.keys().copied().collect();
            for peer in peers {
                self.seen_all(now, peer, false, rng);
            }
        }
    }

    /// Somebody came: while we super-seed, it is shown nothing at first.
    pub(super) fn hide_from(&mut self, peer: PeerKey) {
        if let Some(offers) = &mut self.offers {
            offers.peers.insert(peer, Shown::default());
        }
    }

    /// Whether this peer may know that we have this piece.
    pub(super) fn may_know(&self, peer: PeerKey, piece: PieceIndex) -> bool {
        let shown = self.offers.as_ref().and_then(|offers| offers.peers.get(&peer));
        shown.is_none_or(|shown| shown.pieces.contains(&piece))
    }

    pub(super) fn is_hidden_from(&self, peer: PeerKey) -> bool {
        let offers = self.offers.as_ref();
        offers.is_some_and(|offers| offers.peers.contains_key(&peer))
    }

    pub(super) fn forget_offers(&mut self, peer: PeerKey) {
        if let Some(offers) = &mut self.offers {
            offers.peers.remove(&peer);
        }
    }

    /// One more piece at this peer.
    pub(super) fn heard_has(&mut self, now: Moment, peer: PeerKey, piece: PieceIndex, rng: &mut impl Rng) {
        self.peer_has(now, peer, piece, rng);
        self.needs_no_hint(piece);
        let alone = self.offers.is_some() && self.takers() < 2;
        if let Some(offers) = &mut self.offers {
            offers.seen(peer, piece, alone);
            self.offer_all(now, rng);
        }
    }

    /// Many more pieces at this peer.
    pub(super) fn heard_more(
        &mut self,
        now: Moment,
        peer: PeerKey,
        pieces: &[PieceIndex],
        rng: &mut impl Rng,
    ) {
        self.count_more(peer, pieces);
        self.need_no_hint(peer);
        let alone = self.offers.is_some() && self.takers() < 2;
        self.seen_all(now, peer, alone, rng);
        self.make_use_of(now, peer, rng);
    }

    /// All pieces of this peer at once.
    pub(super) fn heard_pieces(&mut self, now: Moment, peer: PeerKey, rng: &mut impl Rng) {
        self.seen_all(now, peer, false, rng);
        self.need_no_hint(peer);
        self.peer_told(now, peer, rng);
    }

    /// Peers that still take something.
    fn takers(&self) -> usize {
        let takes = |session: &&Session| !session.wants_nothing();
        self.sessions.values().filter(takes).count()
    }

    /// Who claims everything proves nothing by it, and ends nothing: where it is a seed indeed, others will soon have what we
    /// have shown to nobody.
    fn seen_all(&mut self, now: Moment, peer: PeerKey, alone: bool, rng: &mut impl Rng) {
        let session = self
            .sessions
            .get(&peer)
            .filter(|session| !session.has_everything());
        if let (Some(offers), Some(session), Some(content)) = (&mut self.offers, session, &self.content) {
            offers.seen_all(peer, session, &content.geometry, alone);
            self.offer_all(now, rng);
        }
    }

    /// Shows everyone as much as it may see, and ends when there is nothing left to hide.
    pub(super) fn offer_all(&mut self, now: Moment, rng: &mut impl Rng) {
        let Some(offers) = &mut self.offers else { return };
        if offers.held.is_complete() {
            self.end_super_seeding(now);
            return;
        }
        let mut told = Vec::new();
        for (peer, session) in &self.sessions {
            // Who says nothing of its pieces has none; who does say something says it first.
            let known = session.told || now.since(session.connected) >= HELLO;
            let takes = known && !session.wants_nothing() && !session.is_web();
            while takes && let Some(piece) = offers.next(now, *peer, session, rng) {
                told.push((*peer, piece));
            }
        }
        for (peer, piece) in told {
            self.send(now, peer, Message::Have(piece.number()));
        }
    }

    /// Everyone is told everything.
    pub(super) fn end_super_seeding(&mut self, now: Moment) {
        self.settings.super_seed = false;
        let (Some(offers), Some(content)) = (self.offers.take(), &self.content) else {
            return;
        };
        let have: Vec<PieceIndex> = content
            .geometry
            .pieces()
            .filter(|piece| content.have.has(*piece))
            .collect();
        for (peer, shown) in offers.peers {
            if have.len() - shown.pieces.len().min(have.len()) > TOLD_MAX {
                self.begin_anew(now, peer);
                continue;
            }
            for piece in have.iter().filter(|piece| !shown.pieces.contains(piece)) {
                self.send(now, peer, Message::Have(piece.number()));
            }
        }
    }
}
