//! What we take: interest, requests, arriving blocks, verified pieces. Disk credit is taken before a block is asked for, so
//! that what arrives can always be stored.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use shared::geometry::{BLOCK_LENGTH, Block, PieceIndex};
use shared::moment::Moment;
use shared::peer_wire::{Message, Span};

use super::events::{Output, PeerKey, Why};
use super::machine::Torrent;
use super::picker::{Arrival, Asker, Picker};
use super::session::{Delivery, Pieces, Session};

/// In the endgame a peer with fewer blocks to come than this is asked for what others owe us, so many at a time.
const ENDGAME_LOW: usize = 1;
const ENDGAME_ROOM: usize = 4;

impl Torrent {
    /// One more piece at this peer.
    pub(super) fn peer_has(&mut self, now: Moment, peer: PeerKey, piece: PieceIndex, rng: &mut impl Rng) {
        self.apply_changes();
        if let (Some(picker), Some(session)) = (&mut self.picker, self.sessions.get_mut(&peer)) {
            if session.has_everything() {
                // Those who have everything are not counted piece by piece.
                let pieces = picker.geometry().pieces();
                pieces
                    .filter(|other| *other != piece)
                    .for_each(|other| picker.fewer(other));
            } else {
                picker.more(piece);
            }
            session.wanted += u32::from(!picker.have().has(piece));
            session.pickable += u32::from(picker.is_missing(piece));
            self.show_interest(now, peer);
            self.refill(now, peer, rng);
        }
        self.part_if_both_seeds(now, peer);
    }

    /// All pieces of this peer at once.
    pub(super) fn peer_told(&mut self, now: Moment, peer: PeerKey, rng: &mut impl Rng) {
        self.apply_changes();
        self.count_pieces(peer);
        if !self.part_if_both_seeds(now, peer) {
            self.show_interest(now, peer);
            self.refill(now, peer, rng);
        }
    }

    /// Adds what a peer has told to the counts. Once a peer, before any single piece.
    pub(super) fn count_pieces(&mut self, peer: PeerKey) {
        let (Some(picker), Some(session)) = (&mut self.picker, self.sessions.get_mut(&peer)) else {
            return;
        };
        let Pieces::Known(bits) = &session.pieces else {
            return;
        };
        if bits.is_complete() {
            session.wanted = picker.geometry().piece_count() - picker.have().count();
            session.pickable = u32::try_from(picker.missing_count()).unwrap_or(u32::MAX);
            return;
        }
        for piece in picker.geometry().pieces().filter(|piece| bits.has(*piece)) {
            picker.more(piece);
            session.wanted += u32::from(!picker.have().has(piece));
            session.pickable += u32::from(picker.is_missing(piece));
        }
    }

    /// Tells the peer whether it has something that we lack, if that has changed.
    pub(super) fn show_interest(&mut self, now: Moment, peer: PeerKey) {
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        let interested = session.wanted > 0;
        if std::mem::replace(&mut session.we_are_interested, interested) != interested {
            let message = if interested {
                Message::Interested
            } else {
                Message::NotInterested
            };
            self.send(now, peer, message);
        }
    }

    /// Asks the peer for as much as it, the disk and the rules allow.
    pub(super) fn refill(&mut self, now: Moment, peer: PeerKey, rng: &mut impl Rng) {
        self.apply_changes();
        let Some(room) = self.room(now, peer) else { return };
        let (Some(picker), Some(session)) = (&mut self.picker, self.sessions.get_mut(&peer)) else {
            return;
        };
        session.forgive(now);
        let Pieces::Known(has) = &session.pieces else {
            return;
        };
        let alone = self.blame.suspects(session.address.ip());
        let asker = Asker {
            peer,
            has,
            withheld: &session.withheld,
            alone,
            asked: &session.asked,
            pickable: session.pickable,
        };
        let blocks = if session.chokes_us {
            pick_allowed(now, picker, session, &asker, room)
        } else {
            pick_any(now, picker, &asker, room, rng)
        };
        if blocks.is_empty() {
            return;
        }
        if session.asked.is_empty() {
            session.progress = now;
        }
        session.asked.extend(&blocks);
        for block in blocks {
            self.credit = self.credit.saturating_sub(block.length().into());
            self.send(now, peer, Message::Request(block.into()));
        }
        self.apply_changes();
    }

    /// Everyone who can be asked is asked, beginning where the last sharing ended.
    pub(super) fn refill_all(&mut self, now: Moment, rng: &mut impl Rng) {
        let mut peers: Vec<PeerKey> = self.sessions.keys().copied().collect();
        if let Some(first) = peers.iter().position(|peer| Some(*peer) > self.turn) {
            peers.rotate_left(first);
        }
        self.turn = peers.first().copied();
        self.starved = false;
        for peer in peers {
            self.refill(now, peer, rng);
        }
    }

    /// The peer chokes us. With the fast extension it will say itself which blocks it refuses.
    pub(super) fn choked(&mut self, peer: PeerKey) {
        if self.sessions.get(&peer).is_some_and(|session| !session.fast()) {
            self.give_up_requests(peer);
        }
    }

    /// The peer refuses a block.
    pub(super) fn rejected(&mut self, now: Moment, peer: PeerKey, block: Block) {
        self.credit += u64::from(block.length());
        if let Some(picker) = &mut self.picker {
            picker.release(block);
        }
        self.freed = true;
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.withholds(now, block.piece());
        }
    }

    /// The peer owes us nothing any more: others may be asked for it.
    pub(super) fn give_up_requests(&mut self, peer: PeerKey) -> Vec<Block> {
        let late_max = self.settings.requests_out_max * 2;
        let Some(session) = self.sessions.get_mut(&peer) else {
            return Vec::new();
        };
        let blocks = session.give_up_all(late_max);
        for block in &blocks {
            self.credit += u64::from(block.length());
            if let Some(picker) = &mut self.picker {
                picker.release(*block);
            }
        }
        self.freed |= !blocks.is_empty();
        blocks
    }

    /// The same, and the peer is told.
    pub(super) fn cancel_requests(&mut self, now: Moment, peer: PeerKey) {
        for block in self.give_up_requests(peer) {
            self.send(now, peer, Message::Cancel(block.into()));
        }
    }

    /// A block has arrived.
    pub(super) fn arrived(&mut self, now: Moment, peer: PeerKey, delivery: Delivery, rng: &mut impl Rng) {
        let length = u64::from(delivery.block.length());
        self.taken.add(now, length);
        self.supplied = now;
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        session.taken.add(now, length);
        session.progress = now;
        session.snubbed = false;
        let ip = session.address.ip();
        if delivery.owed {
            self.credit += length;
        }
        let arrival = match &mut self.picker {
            Some(picker) if !self.paused && self.credit >= length => {
                picker.arrived(delivery.block, ip, delivery.owed)
            }
            Some(picker) => {
                // It cannot be kept, so it is owed by nobody any more.
                picker.release_if(delivery.owed, delivery.block);
                Arrival::Useless
            }
            None => Arrival::Useless,
        };
        match arrival {
            Arrival::Fresh { others, last } => {
                if others {
                    self.cancel_at_others(now, delivery.block);
                }
                self.store(delivery, last);
            }
            Arrival::Useless => self.wasted += length,
        }
        self.refill(now, peer, rng);
    }

    fn store(&mut self, delivery: Delivery, last: bool) {
        let Delivery { block, data, .. } = delivery;
        let length = u64::from(block.length());
        self.credit = self.credit.saturating_sub(length);
        self.storing += length;
        self.push(Output::Store { block, data });
        if last {
            self.push(Output::Verify { piece: block.piece() });
        }
    }

    /// The block is there: nobody else need send it.
    fn cancel_at_others(&mut self, now: Moment, block: Block) {
        let late_max = self.settings.requests_out_max * 2;
        let mut told = Vec::new();
        for (peer, session) in &mut self.sessions {
            if session.give_up(block, late_max) {
                self.credit += u64::from(block.length());
                told.push(*peer);
            }
        }
        for peer in told {
            self.send(now, peer, Message::Cancel(Span::from(block)));
        }
    }

    /// The hash of a piece is known.
    pub(super) fn verified(&mut self, now: Moment, piece: PieceIndex, good: bool, rng: &mut impl Rng) {
        let Some(picker) = &mut self.picker else { return };
        let Some(contributors) = picker.verified(piece, good) else {
            return;
        };
        if good {
            self.blame.right(&contributors);
            self.piece_done(now, piece);
        } else {
            let length = picker.geometry().length_of(piece);
            self.wasted += u64::from(length);
            self.freed = true;
            if let Some(culprit) = self.blame.wrong(&contributors) {
                self.ban(now, culprit, Why::WrongPiece(piece.number()), rng);
            }
        }
    }

    /// Disk trouble: the piece is missing again, and nothing is asked for until the disk is ready.
    pub(super) fn store_failed(&mut self, now: Moment, piece: PieceIndex) {
        self.paused = true;
        let peers: Vec<PeerKey> = self.sessions.keys().copied().collect();
        for peer in peers {
            self.cancel_requests(now, peer);
        }
        if let Some(picker) = &mut self.picker {
            picker.forget(piece);
        }
    }

    pub(super) fn disk_ready(&mut self) {
        self.paused = false;
        self.freed = true;
    }

    /// Blocks have left memory.
    pub(super) fn credited(&mut self, now: Moment, bytes: u64, rng: &mut impl Rng) {
        let bytes = bytes.min(self.storing);
        self.storing -= bytes;
        self.credit += bytes;
        if self.starved {
            self.refill_all(now, rng);
        }
    }

    /// What the picker began or gave up changes what there is to pick from each peer.
    pub(super) fn apply_changes(&mut self) {
        let Some(picker) = &mut self.picker else { return };
        for (piece, missing) in picker.take_changes() {
            for session in self.sessions.values_mut().filter(|session| session.has(piece)) {
                session.pickable = if missing {
                    session.pickable + 1
                } else {
                    session.pickable.saturating_sub(1)
                };
            }
        }
    }

    /// How many blocks the peer may be asked for now; `None` if it may not be asked.
    fn room(&mut self, now: Moment, peer: PeerKey) -> Option<usize> {
        let session = self.sessions.get(&peer)?;
        let silent = session.chokes_us && session.allowed_fast.is_empty();
        if self.paused || silent || !session.we_are_interested {
            return None;
        }
        let room = session.room(now, self.settings.requests_out_max);
        let credit = usize::try_from(self.credit / u64::from(BLOCK_LENGTH)).unwrap_or(usize::MAX);
        self.starved |= credit < room;
        Some(room.min(credit)).filter(|room| *room > 0)
    }

    /// Tells everyone of a verified piece, and the world if it was the last.
    fn piece_done(&mut self, now: Moment, piece: PieceIndex) {
        if let Some(content) = &mut self.content {
            content.have.set(piece);
        }
        self.push(Output::PieceDone { piece });
        let peers: Vec<PeerKey> = self.sessions.keys().copied().collect();
        for peer in &peers {
            self.send(now, *peer, Message::Have(piece.number()));
            if let Some(session) = self.sessions.get_mut(peer).filter(|session| session.has(piece)) {
                session.wanted = session.wanted.saturating_sub(1);
            }
            self.show_interest(now, *peer);
        }
        if self.is_complete() {
            self.finish(now, &peers);
        }
    }

    fn finish(&mut self, now: Moment, peers: &[PeerKey]) {
        self.picker = None;
        self.push(Output::Finished);
        for peer in peers {
            debug_assert!(
                self.sessions
                    .get(peer)
                    .is_none_or(|session| session.asked.is_empty())
            );
            self.part_if_both_seeds(now, *peer);
        }
    }

    /// Pieces that suspects keep for themselves are given to others when nothing else is left to do.
    pub(super) fn hurry_owners(&mut self, now: Moment, patience: Duration, rng: &mut impl Rng) {
        let Some(picker) = self.picker.as_ref().filter(|picker| picker.is_endgame()) else {
            return;
        };
        let slow: BTreeSet<PeerKey> = picker.slow_owners(now, patience);
        for peer in &slow {
            self.cancel_requests(now, *peer);
            if let Some(picker) = &mut self.picker {
                picker.disown(*peer);
            }
        }
        if !slow.is_empty() {
            let others: Vec<PeerKey> = self
                .sessions
                .keys()
                .filter(|peer| !slow.contains(peer))
                .copied()
                .collect();
            for peer in others {
                self.refill(now, peer, rng);
            }
        }
    }
}

/// What a peer that chokes us gives all the same.
fn pick_allowed(
    now: Moment,
    picker: &mut Picker,
    session: &Session,
    asker: &Asker<'_>,
    room: usize,
) -> Vec<Block> {
    let mut blocks = Vec::new();
    for piece in session.allowed_fast.iter().filter(|piece| session.has(**piece)) {
        blocks.extend(picker.pick_from(now, *piece, asker, room - blocks.len()));
    }
    blocks
}

/// What is missing, or in the endgame, what others owe us.
fn pick_any(
    now: Moment,
    picker: &mut Picker,
    asker: &Asker<'_>,
    room: usize,
    rng: &mut impl Rng,
) -> Vec<Block> {
    let blocks = picker.pick(now, asker, room, rng);
    if blocks.is_empty() && asker.asked.len() < ENDGAME_LOW {
        return picker.pick_again(asker, room.min(ENDGAME_ROOM), rng);
    }
    blocks
}
