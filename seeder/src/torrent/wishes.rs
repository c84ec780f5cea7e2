//! What is there and what is wanted, as both change: wishes, verified pieces, lost and found ones, and the end of it all.

use std::sync::Arc;

use rand::Rng;
use shared::geometry::{Block, PieceIndex};
use shared::moment::Moment;
use shared::peer_wire::Message;

use super::events::{Content, Output, PeerKey, Wishes};
use super::layers::LayerFetch;
use super::machine::Torrent;
use super::peers::TOLD_MAX;
use super::picker::Picker;
use super::session::Pieces;
use super::wanted::{Tally, Wanted};

impl Torrent {
    /// Somebody wants other files, or another order.
    pub(super) fn wish(&mut self, now: Moment, wishes: Wishes, rng: &mut impl Rng) {
        self.settings.wishes = wishes;
        if !self.measure_wishes() {
            return;
        }
        if let Some(picker) = &mut self.picker {
            let dropped = picker.want(Arc::clone(&self.wanted), rng);
            self.drop_requests(now, &dropped);
        }
        self.take_stock(now, rng);
        self.freed = true;
    }

    /// These pieces are there no more.
    pub(super) fn lost(&mut self, now: Moment, mut pieces: Vec<PieceIndex>, rng: &mut impl Rng) {
        let Some(content) = &mut self.content else { return };
        pieces.retain(|piece| content.have.unset(*piece));
        for piece in &pieces {
            let length = content.geometry.length_of(*piece);
            self.tally.lose(length, self.wanted.wants(*piece));
            if let Some(picker) = &mut self.picker {
                picker.lost(*piece);
            }
        }
        if pieces.is_empty() {
            return;
        }
        self.tell_lost(now, &pieces);
        self.take_stock(now, rng);
        self.freed = true;
    }

    /// These pieces are there, though nobody sent them.
    pub(super) fn found(&mut self, now: Moment, mut pieces: Vec<PieceIndex>, rng: &mut impl Rng) {
        let Some(content) = &self.content else { return };
        pieces.retain(|piece| !content.have.has(*piece));
        self.drop_requests(now, &pieces);
        if pieces.len() > TOLD_MAX {
            for peer in self.sessions.keys().copied().collect::<Vec<_>>() {
                self.begin_anew(now, peer);
            }
        }
        for piece in &pieces {
            if let Some(picker) = &mut self.picker {
                picker.found(*piece);
            }
            self.gain(now, *piece);
        }
        self.take_stock(now, rng);
    }

    /// The content is known: so is what is wanted of it.
    pub(super) fn hold(&mut self, content: Content) {
        self.layers = LayerFetch::new(content.trees.clone());
        self.content = Some(content);
        self.measure_wishes();
    }

    /// A piece was verified.
    pub(super) fn piece_done(&mut self, now: Moment, piece: PieceIndex) {
        self.gain(now, piece);
        let peers: Vec<PeerKey> = self.sessions.keys().copied().collect();
        for peer in &peers {
            if let Some(session) = self.sessions.get_mut(peer).filter(|session| session.has(piece)) {
                session.wanted = session.wanted.saturating_sub(1);
                session.allowed_fast.remove(&piece);
            }
            self.show_interest(now, *peer);
        }
        if self.is_finished() {
            self.finish(now);
        }
    }

    /// Makes the picker where something is to be fetched, if there is none.
    pub(super) fn prepare(&mut self, rng: &mut impl Rng) {
        let Some(content) = &self.content else { return };
        if self.picker.is_some() || self.is_finished() || !self.settings.downloads {
            return;
        }
        let mut picker = Picker::new(
            content.geometry.clone(),
            content.have.clone(),
            Arc::clone(&self.wanted),
            rng,
        );
        for session in self.sessions.values() {
            if let Pieces::Known(bits) = &session.pieces
                && !bits.is_complete()
            {
                picker.more_of(bits);
            }
        }
        self.picker = Some(picker);
        if self.settings.disk_credit == 0 {
            self.wait_for_disk();
        }
    }

    /// Nothing is asked for before the disk is open.
    fn wait_for_disk(&mut self) {
        self.paused = true;
        self.push(Output::Unfinished);
    }

    /// The disk was closed, for others need what was lent for it: what was begun is forgotten, and the disk asked for again.
    pub(super) fn disk_closed(&mut self, now: Moment, rng: &mut impl Rng) {
        if self.picker.is_none() {
            return;
        }
        for peer in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.cancel_requests(now, peer);
        }
        self.picker = None;
        self.take_stock(now, rng);
    }

    /// Every piece that is wanted is verified.
    pub fn is_finished(&self) -> bool {
        self.content.is_some() && self.tally.left_count == 0
    }

    /// Something is to be fetched.
    pub(super) fn is_hungry(&self) -> bool {
        !self.paused && (self.content.is_none() || (self.settings.downloads && !self.is_finished()))
    }

    /// After pieces or wishes have changed: begins to fetch again or ends it, and tells every peer what it is to us now.
    fn take_stock(&mut self, now: Moment, rng: &mut impl Rng) {
        let rested = self.picker.is_none();
        self.prepare(rng);
        if rested && self.picker.is_some() && self.settings.disk_credit > 0 {
            // The disk is let go where nothing is to be written.
            self.wait_for_disk();
        }
        if let Some(picker) = &mut self.picker {
            // Everyone is counted anew.
            picker.take_changes();
        }
        let peers: Vec<PeerKey> = self.sessions.keys().copied().collect();
        for peer in peers {
            self.count_wanted(peer);
            self.show_interest(now, peer);
        }
        if self.picker.is_some() && self.is_finished() {
            self.finish(now);
        }
    }

    fn finish(&mut self, now: Moment) {
        let peers: Vec<PeerKey> = self.sessions.keys().copied().collect();
        for peer in &peers {
            self.cancel_requests(now, *peer);
        }
        self.picker = None;
        self.push(Output::Finished);
        for peer in peers {
            self.count_wanted(peer);
            self.part_if_both_seeds(now, peer);
        }
    }

    /// One piece more, which everyone hears of.
    fn gain(&mut self, now: Moment, piece: PieceIndex) {
        if let Some(content) = &mut self.content {
            content.have.set(piece);
            let length = content.geometry.length_of(piece);
            self.tally.gain(length, self.wanted.wants(piece));
        }
        self.push(Output::PieceDone { piece });
        for peer in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.send(now, peer, Message::Have(piece.number()));
        }
    }

    /// Says what of the content is wanted, and how far along that is. False while there is no content.
    fn measure_wishes(&mut self) -> bool {
        let Some(content) = &self.content else {
            return false;
        };
        let wanted = Wanted::new(&content.geometry, &content.files, &self.settings.wishes);
        self.tally = Tally::new(content, &wanted);
        self.wanted = Arc::new(wanted);
        true
    }

    /// Nobody need send blocks of these pieces.
    fn drop_requests(&mut self, now: Moment, pieces: &[PieceIndex]) {
        let late_max = self.settings.requests_out_max * 2;
        let mut told: Vec<(PeerKey, Block)> = Vec::new();
        for (peer, session) in &mut self.sessions {
            let dropped = session
                .asked
                .iter()
                .filter(|block| pieces.contains(&block.piece()));
            for block in dropped.copied().collect::<Vec<_>>() {
                session.give_up(block, late_max);
                told.push((*peer, block));
            }
        }
        for (peer, block) in told {
            self.credit += u64::from(block.length());
            if let Some(picker) = &mut self.picker {
                picker.release(block);
            }
            self.send(now, peer, Message::Cancel(block.into()));
        }
    }
}
