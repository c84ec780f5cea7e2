//! What we take: interest, requests, arriving blocks, verified pieces. Disk credit is taken before a block is asked for, so
//! that what arrives can always be stored.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use shared::geometry::{BLOCK_LENGTH, Block, Geometry, PieceIndex};
use shared::moment::Moment;
use shared::peer_wire::{Message, Span};

use super::bits;
use super::depth::Shares;
use super::events::{Output, PeerKey, Why};
use super::machine::Torrent;
use super::picker::{Arrival, Arriving, Asker, Picker};
use super::session::{Delivery, Pieces, Session};

/// In the endgame a peer with fewer blocks to come than this is asked for what others owe us, so many at a time.
const ENDGAME_LOW: usize = 1;
const ENDGAME_ROOM: usize = 4;
/// A peer that owes us blocks and sends none for so long is snubbed, and sooner where memory is scarce.
const SNUB: Duration = Duration::from_secs(60);
const SNUB_STARVED: Duration = Duration::from_secs(10);
/// A queue is filled up when so large a part of it is free: one message after each block would be many.
const REFILL_PART: usize = 8;
/// What is asked of a web seed at a time, if the torrent's pieces are so long.
const RUN_MAX: usize = 256;
/// So long one peer may keep a piece for itself without giving anything of it.
const OWNER_PATIENCE: Duration = Duration::from_secs(20);
/// Where pieces are wanted one after the other: so much is fetched ahead, or as much as comes in so many seconds.
const AHEAD_BYTES: u64 = 16 << 20;
const AHEAD_SECS: u64 = 10;
const AHEAD_PIECES: usize = 5;

impl Torrent {
    /// One more piece at this peer.
    pub(super) fn peer_has(&mut self, now: Moment, peer: PeerKey, piece: PieceIndex, rng: &mut impl Rng) {
        self.apply_changes();
        if let (Some(picker), Some(session)) = (&mut self.picker, self.sessions.get_mut(&peer)) {
            if session.counts_as_seed() {
                // Those who have everything are not counted piece by piece.
                picker.fewer_but(piece);
            } else {
                picker.more(piece);
            }
            session.wanted += u32::from(picker.lacks(piece));
            session.pickable += u32::from(picker.is_missing(piece));
            self.show_interest(now, peer);
            self.refill(now, peer, rng);
        }
        self.part_if_both_seeds(now, peer);
    }

    /// Counts many more pieces at this peer than it told of first.
    pub(super) fn count_more(&mut self, peer: PeerKey, pieces: &[PieceIndex]) {
        self.apply_changes();
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        let Pieces::Known(bits) = &mut session.pieces else {
            return;
        };
        let before = bits.clone();
        for piece in pieces {
            bits.set(*piece);
        }
        if let Some(picker) = &mut self.picker {
            if session.counts_as_seed() {
                // Those who have everything are not counted piece by piece.
                picker.fewer_of(&before);
            } else {
                for piece in pieces {
                    picker.more(*piece);
                }
            }
        }
        self.count_wanted(peer);
    }

    /// All pieces of this peer at once.
    pub(super) fn peer_told(&mut self, now: Moment, peer: PeerKey, rng: &mut impl Rng) {
        self.apply_changes();
        self.count_pieces(peer);
        self.make_use_of(now, peer, rng);
    }

    /// What a peer has was counted: parts, or says whether that is of interest, and asks.
    pub(super) fn make_use_of(&mut self, now: Moment, peer: PeerKey, rng: &mut impl Rng) {
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
        session.lost_some = false;
        if !bits.is_complete() {
            picker.more_of(bits);
        }
        self.count_wanted(peer);
    }

    /// How much of what this peer has is of use.
    pub(super) fn count_wanted(&mut self, peer: PeerKey) {
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        (session.wanted, session.pickable) = match (&self.picker, &session.pieces) {
            (Some(picker), Pieces::Known(has)) => (
                bits::count_both(has, picker.lacking()),
                bits::count_both(has, picker.missing()),
            ),
            _ => (0, 0),
        };
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
        let slow = self.shares.is_slow(session.taken.per_second(now));
        let asker = Asker {
            peer,
            has,
            withheld: &session.withheld,
            suggested: &session.suggested,
            asked: &session.asked,
            pickable: session.pickable,
            last: session.last,
            runs: session.is_web(),
            slow,
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
            if now.since(session.progress) >= SNUB {
                session.depth.restart();
            }
            session.progress = now;
        }
        session.last = blocks.last().map(|block| block.piece());
        session.asked.extend(&blocks);
        for block in blocks {
            self.credit = self.credit.saturating_sub(block.length().into());
            self.send(now, peer, Message::Request(block.into()));
        }
        self.apply_changes();
    }

    /// Everyone who can be asked is asked, beginning where the last sharing ended for want of memory.
    pub(super) fn refill_all(&mut self, now: Moment, rng: &mut impl Rng) {
        let mut peers: Vec<PeerKey> = self.sessions.keys().copied().collect();
        if let Some(first) = peers.iter().position(|peer| Some(*peer) >= self.turn) {
            peers.rotate_left(first);
        }
        self.starved = false;
        for peer in peers {
            self.refill(now, peer, rng);
            if self.credit < u64::from(BLOCK_LENGTH) {
                self.turn = Some(peer);
                self.starved = true;
                break;
            }
        }
    }

    /// What of the memory each peer may hold follows from what the peers give.
    pub(super) fn share_out(&mut self, now: Moment) {
        let askable = self.sessions.values().filter(|session| {
            let gives = !session.chokes_us || !session.allowed_fast.is_empty();
            gives && session.we_are_interested && !session.snubbed
        });
        let rates = askable.map(|session| session.taken.per_second(now));
        let blocks = self.settings.disk_credit / u64::from(BLOCK_LENGTH);
        self.shares = Shares::new(usize::try_from(blocks).unwrap_or(usize::MAX), rates);
        let rate = self.taken.per_second(now);
        if let Some(picker) = &mut self.picker {
            let bytes = AHEAD_BYTES.max(rate.saturating_mul(AHEAD_SECS));
            let pieces = bytes / u64::from(picker.geometry().piece_length());
            picker.read_ahead(usize::try_from(pieces).unwrap_or(usize::MAX).max(AHEAD_PIECES));
        }
    }

    /// A peer that owes us blocks and sends none loses them to others, and gets one at a time until it sends again.
    pub(super) fn snub(&mut self, now: Moment, peer: PeerKey) {
        let patience = if self.starved { SNUB_STARVED } else { SNUB };
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        if session.asked.is_empty() || now.since(session.progress) < patience {
            return;
        }
        session.snubbed = true;
        self.cancel_requests(now, peer);
        if let Some(picker) = &mut self.picker {
            picker.disown(peer);
        }
        self.freed = true;
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
            session.last = None;
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
        session.depth.came(now);
        session.progress = now;
        session.snubbed = false;
        if delivery.owed {
            self.credit += length;
        }
        match self.keep(now, peer, &delivery) {
            Arrival::Fresh { others, last } => {
                if others {
                    self.cancel_at_others(now, delivery.block);
                }
                self.store(delivery, last);
            }
            Arrival::Useless => {
                self.wasted += length;
                // What comes while the disk is in trouble is not the peer's fault.
                let paused = self.paused;
                let session = self.sessions.get_mut(&peer).filter(|_| !paused);
                if let Some(Err(why)) = session.map(|session| session.cost.wasted(length)) {
                    self.dismiss(now, peer, why, rng);
                    return;
                }
            }
        }
        self.refill_if_low(now, peer, rng);
    }

    /// Finds out whether a block is of use.
    fn keep(&mut self, now: Moment, peer: PeerKey, delivery: &Delivery) -> Arrival {
        let (Some(picker), Some(session)) = (&mut self.picker, self.sessions.get_mut(&peer)) else {
            return Arrival::Useless;
        };
        let length = u64::from(delivery.block.length());
        if self.paused || self.credit < length {
            // It cannot be kept, so it is owed by nobody any more.
            picker.release_if(delivery.owed, delivery.block);
            return Arrival::Useless;
        }
        let giver = session.giver();
        let arriving = Arriving {
            block: delivery.block,
            data: &delivery.data,
            giver,
            owed: delivery.owed,
            watched: self.blame.watches(giver),
        };
        let arrival = picker.arrived(now, &arriving);
        if matches!(arrival, Arrival::Fresh { .. }) {
            session.useful = now;
            session.cost.used(length);
        }
        arrival
    }

    /// Asks for more when a part of the peer's queue is free.
    fn refill_if_low(&mut self, now: Moment, peer: PeerKey, rng: &mut impl Rng) {
        let Some(session) = self.sessions.get(&peer) else {
            return;
        };
        let owed = session.asked.len();
        let room = session.room(now, self.settings.requests_out_max, &self.shares, self.run());
        if room >= (room + owed) / REFILL_PART {
            self.refill(now, peer, rng);
        }
    }

    /// How many blocks a web seed is asked for at least: whole pieces, if they are not too long.
    fn run(&self) -> usize {
        let length = self.geometry().map_or(0, Geometry::piece_length);
        (length.div_ceil(BLOCK_LENGTH) as usize).min(RUN_MAX)
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
        let Some(sent) = picker.verified(piece, good) else {
            return;
        };
        if good {
            let liars = self.blame.right(piece, &sent);
            self.piece_done(now, piece);
            for liar in liars {
                self.ban(now, liar, Why::WrongBlocks(piece.number()), rng);
            }
        } else {
            let length = picker.geometry().length_of(piece);
            self.wasted += u64::from(length);
            self.freed = true;
            if let Some(culprit) = self.blame.wrong(piece, sent) {
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

    /// The disk takes blocks again, after nothing was to be written for a time.
    pub(super) fn disk_opened(&mut self, credit: u64) {
        let asked: u64 = self
            .sessions
            .values()
            .flat_map(|session| &session.asked)
            .map(|block| u64::from(block.length()))
            .sum();
        self.settings.disk_credit = credit.max(asked);
        self.credit = self.settings.disk_credit - asked;
        self.storing = 0;
        self.disk_ready();
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
        let room = session.room(now, self.settings.requests_out_max, &self.shares, self.run());
        let credit = usize::try_from(self.credit / u64::from(BLOCK_LENGTH)).unwrap_or(usize::MAX);
        self.starved |= credit < room;
        Some(room.min(credit)).filter(|room| *room > 0)
    }

    /// Who keeps a piece for itself and gives too little of it loses it to others.
    pub(super) fn hurry_owners(&mut self, now: Moment, rng: &mut impl Rng) {
        let Some(picker) = &self.picker else { return };
        let slow: BTreeSet<PeerKey> = picker.slow_owners(now, OWNER_PATIENCE);
        if slow.is_empty() {
            return;
        }
        for peer in &slow {
            self.cancel_requests(now, *peer);
            if let Some(picker) = &mut self.picker {
                picker.disown(*peer);
            }
        }
        let others = self.sessions.keys().filter(|peer| !slow.contains(peer));
        for peer in others.copied().collect::<Vec<_>>() {
            self.refill(now, peer, rng);
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
