//! What we give: slots, requests, what was sent. Requests are taken when they arrive, and leave in one batch those that came
//! in one; few bytes are under way to a peer, the rest waits in its line.

use std::collections::BTreeSet;

use rand::Rng;
use shared::geometry::{Block, PieceIndex};
use shared::moment::Moment;
use shared::peer_wire::{Message, Span};

use super::allowed_fast::allowed_fast;
use super::choker::{Candidate, Mode};
use super::events::{Output, PeerKey, Why};
use super::machine::Torrent;
use super::session::{Pieces, Session};

/// Who has no more pieces than this is new enough for a set of its own (BEP 6).
const NEW_PIECES_MAX: u32 = 10;
/// One piece of so many is given to a newcomer that is choked, and one at least. A small torrent with a slow uplink would
/// else give its neighbours several copies of the same few pieces, while nobody gets the others.
const FAST_SHARE: u32 = 100;

/// For so many slots one choked peer may fetch such pieces at a time: an uplink that is shared among many gives nobody a
/// first piece soon, and so nothing to pass on.
const GUESTS_SHARE: usize = 4;

impl Torrent {
    /// A peer asks for a block.
    pub(super) fn requested(&mut self, now: Moment, peer: PeerKey, block: Block, rng: &mut impl Rng) {
        if !self.may_have(peer, block) {
            self.refuse(now, peer, block.into(), rng);
            return;
        }
        if let Some(session) = self.sessions.get_mut(&peer) {
            if session.unchoked.is_none() {
                session.fast_left = session.fast_left.saturating_sub(block.length().into());
            }
            session.line.push(block);
        }
        self.serve(now, peer);
        self.suggest(now, peer, Some(block));
    }

    fn may_have(&self, peer: PeerKey, block: Block) -> bool {
        let (piece, have) = (block.piece(), self.have());
        let Some(session) = self.sessions.get(&peer) else {
            return false;
        };
        let free = session.fast_set.contains(&piece) && session.fast_left >= u64::from(block.length());
        have.is_some_and(|have| have.has(piece))
            && (session.unchoked.is_some() || free)
            && session.line.len() < self.settings.requests_in_max
            && self.may_know(peer, piece)
    }

    /// Hands to the driver what may leave to this peer now.
    fn serve(&mut self, now: Moment, peer: PeerKey) {
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        let mut blocks = session.line.take(session.given.per_second(now));
        if blocks.is_empty() {
            return;
        }
        match self.last_output() {
            Some(Output::Serve {
                peer: last,
                blocks: before,
            }) if *last == peer => before.append(&mut blocks),
            _ => self.push(Output::Serve { peer, blocks }),
        }
    }

    /// A peer wants a block no more. BEP 6 wants an answer to every request, also to this one.
    pub(super) fn cancelled(&mut self, now: Moment, peer: PeerKey, block: Block) {
        let session = self.sessions.get_mut(&peer);
        let rejects = session.is_some_and(|session| session.line.cancel(block) && session.fast());
        if rejects {
            self.send(now, peer, Message::Reject(block.into()));
        }
    }

    /// What waits in the line of this peer is not sent, but for the pieces that stay. Others may have it.
    pub(super) fn take_back(&mut self, now: Moment, peer: PeerKey, stays: impl Fn(PieceIndex) -> bool) {
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        let (back, fast) = (session.line.take_back(stays), session.fast());
        self.hint_again(&back);
        for block in back.into_iter().filter(|_| fast) {
            self.send(now, peer, Message::Reject(block.into()));
        }
    }

    /// Says no, where the fast extension lets us.
    pub(super) fn refuse(&mut self, now: Moment, peer: PeerKey, span: Span, rng: &mut impl Rng) {
        let fast = self.sessions.get(&peer).is_some_and(Session::fast);
        if self.bears_refusal(now, peer, rng) && fast {
            self.send(now, peer, Message::Reject(span));
        }
    }

    /// Counts a refusal. Who does not listen to them is let go; the count begins anew with every round of the choker.
    pub(super) fn bears_refusal(&mut self, now: Moment, peer: PeerKey, rng: &mut impl Rng) -> bool {
        // A full queue may still be under way when a choke reaches the peer; a second one may not.
        let most = u32::try_from(self.settings.requests_in_max)
            .unwrap_or(u32::MAX)
            .saturating_mul(2);
        let Some(session) = self.sessions.get_mut(&peer) else {
            return false;
        };
        session.refused += 1;
        let refused = session.refused;
        if refused > most {
            self.dismiss(now, peer, Why::TooManyRequests(refused), rng);
        }
        refused <= most
    }

    /// So many bytes of blocks have left for the socket.
    pub(super) fn served(&mut self, now: Moment, peer: PeerKey, bytes: u64) {
        self.given.add(now, bytes);
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.sent(now, bytes);
        }
        self.serve(now, peer);
    }

    /// A block could not be read. The peer may ask elsewhere.
    pub(super) fn unserved(&mut self, now: Moment, peer: PeerKey, block: Block) {
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        session.line.unsent(block);
        if session.fast() {
            self.send(now, peer, Message::Reject(block.into()));
        }
        self.serve(now, peer);
    }

    /// The peer wants something of us, or nothing any more.
    pub(super) fn interest_changed(&mut self, now: Moment, peer: PeerKey) {
        if !self.part_if_both_seeds(now, peer) {
            self.fill_slots(now);
            self.allow_some(now, peer);
        }
    }

    /// A newcomer that must wait for a slot may begin with a few pieces all the same (BEP 6). Whatever it does with them, it
    /// gets each of them twice at most.
    fn allow_some(&mut self, now: Moment, peer: PeerKey) {
        let fetches = |session: &&Session| {
            let mut set = session.fast_set.iter();
            session.unchoked.is_none() && set.any(|piece| !session.has(*piece))
        };
        let guests = self.sessions.values().filter(fetches).count();
        if guests >= (self.choker.slots() / GUESTS_SHARE).max(1) {
            return;
        }
        let (Some(content), Some(session)) = (&self.content, self.sessions.get_mut(&peer)) else {
            return;
        };
        let is_new = matches!(&session.pieces, Pieces::Known(bits) if bits.count() <= NEW_PIECES_MAX);
        let waits = session.is_interested && session.unchoked.is_none() && session.fast();
        if !waits || !is_new || !session.fast_set.is_empty() || self.offers.is_some() {
            return;
        }
        let set = allowed_fast(&content.geometry, self.identity.info_hash, session.address.ip());
        let most = content.geometry.piece_count().div_ceil(FAST_SHARE) as usize;
        let set = set.into_iter().filter(|piece| content.have.has(*piece));
        let set: Vec<PieceIndex> = set.take(most).collect();
        session.fast_set = set.iter().copied().collect();
        let bytes = set
            .iter()
            .map(|piece| u64::from(content.geometry.length_of(*piece)));
        session.fast_left = bytes.sum::<u64>() * 2;
        for piece in set {
            self.send(now, peer, Message::AllowedFast(piece.number()));
        }
    }

    /// Gives free slots to those who wait for one.
    pub(super) fn fill_slots(&mut self, now: Moment) {
        let candidates = self.candidates(now);
        for peer in self.choker.fill(now, self.mode(), &candidates) {
            self.unchoke(now, peer);
        }
    }

    /// A round of the choker, if it is time for one.
    pub(super) fn choke_round(&mut self, now: Moment, rng: &mut impl Rng) {
        if !self.choker.is_due(now) {
            return;
        }
        let (candidates, mode) = (self.candidates(now), self.mode());
        self.choker.measured(self.given.per_second(now));
        let chosen = self.choker.round(now, mode, &candidates, rng);
        debug_assert!(chosen.len() <= self.choker.slots());
        self.apply_round(now, &candidates, &chosen);
        let geometry = self.content.as_ref().map(|content| &content.geometry);
        for session in self.sessions.values_mut() {
            session.refused = 0;
            if mode == Mode::Leeching {
                session.note_debt(geometry);
            }
        }
    }

    fn apply_round(&mut self, now: Moment, candidates: &[Candidate], chosen: &BTreeSet<PeerKey>) {
        for candidate in candidates {
            match (chosen.contains(&candidate.peer), candidate.unchoked) {
                (false, Some(_)) => self.choke(now, candidate.peer),
                (true, None) => self.unchoke(now, candidate.peer),
                _ => (),
            }
        }
    }

    fn candidates(&self, now: Moment) -> Vec<Candidate> {
        let (seeding, geometry) = (self.mode() == Mode::Seeding, self.geometry());
        let candidate = |(peer, session): (&PeerKey, &Session)| {
            let rate = if seeding { session.given } else { session.taken };
            session.candidate(*peer, rate.per_second(now), geometry)
        };
        self.sessions.iter().map(candidate).collect()
    }

    fn unchoke(&mut self, now: Moment, peer: PeerKey) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.unchoked = Some(now);
            session.given_before = session.given.total();
            self.send(now, peer, Message::Unchoke);
            self.suggest(now, peer, None);
        }
    }

    /// What the driver has is still sent; what waits is refused after the choke (BEP 6), but for the peer's fast set.
    fn choke(&mut self, now: Moment, peer: PeerKey) {
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        session.unchoked = None;
        session.choked = now;
        self.let_finish(now, peer);
        let stays = self.sessions.get(&peer).map(|session| session.fast_set.clone());
        let stays = stays.unwrap_or_default();
        self.withdraw_hints(peer);
        self.send(now, peer, Message::Choke);
        self.take_back(now, peer, |piece| stays.contains(&piece));
    }

    /// When we seed, a peer that loses its slot in the middle of a piece may have the rest of it: half a piece is of use to
    /// nobody, and of a slow seed nobody else may have it for long.
    fn let_finish(&mut self, now: Moment, peer: PeerKey) {
        let seeding = self.mode() == Mode::Seeding;
        let (Some(content), Some(session)) = (&self.content, self.sessions.get_mut(&peer)) else {
            return;
        };
        let Pieces::Known(has) = &session.pieces else {
            return;
        };
        session.fast_set.retain(|piece| !has.has(*piece));
        let begun = session
            .line
            .last()
            .filter(|piece| !has.has(*piece) && content.have.has(*piece));
        let Some(piece) = begun.filter(|_| seeding && session.handshake.reserved.fast()) else {
            return;
        };
        if session.fast_set.len() < NEW_PIECES_MAX as usize && session.fast_set.insert(piece) {
            session.fast_left = content.geometry.length_of(piece).into();
            self.send(now, peer, Message::AllowedFast(piece.number()));
        }
    }

    /// All that anybody wants is here: we seed, if perhaps not everything.
    pub(super) fn takes_nothing(&self) -> bool {
        self.content.is_some() && (self.is_finished() || !self.settings.downloads)
    }

    /// We tell peers that we want no data (BEP 21); not while we super-seed, when nobody is to know what we have.
    pub(super) fn is_upload_only(&self) -> bool {
        self.takes_nothing() && self.offers.is_none()
    }

    /// Tells everyone when this changes.
    pub(super) fn tell_upload_only(&mut self, now: Moment) {
        let is = self.is_upload_only();
        if is == self.told_upload_only.unwrap_or_default() {
            return;
        }
        self.told_upload_only = Some(is);
        if !is {
            self.dialer.wake(now);
        }
        let peers: Vec<PeerKey> = self.sessions.keys().copied().collect();
        for peer in peers {
            self.tell_extensions(now, peer, None);
            self.part_if_both_seeds(now, peer);
        }
    }
}

#[cfg(debug_assertions)]
impl Torrent {
    pub(super) fn check_giving(&self) {
        assert!(self.offers.is_none() || self.is_complete());
        self.check_hints();
        assert_eq!(self.is_upload_only(), self.told_upload_only.unwrap_or_default());
        for session in self.sessions.values() {
            session.line.check_invariants();
            assert!(session.fast_set.len() <= NEW_PIECES_MAX as usize);
            assert!(!session.lost_some || matches!(session.pieces, Pieces::Known(_)));
        }
    }
}
