//! Pieces that are there no more, on either side (BEP 54).

use std::collections::BTreeSet;

use rand::Rng;
use shared::extension::DontHave;
use shared::geometry::PieceIndex;
use shared::moment::Moment;
use shared::peer_wire::Message;

use super::events::PeerKey;
use super::machine::Torrent;
use super::peers::TOLD_MAX;
use super::session::Pieces;

impl Torrent {
    /// Tells the peers that these pieces can be had here no longer, and takes back what waits of them. Called when they are
    /// out of `have` already. Who does not know the extension is told by refusals.
    pub(super) fn tell_lost(&mut self, now: Moment, pieces: &[PieceIndex]) {
        self.end_super_seeding(now);
        self.hints = None;
        let gone: BTreeSet<PieceIndex> = pieces.iter().copied().collect();
        let peers: Vec<PeerKey> = self.sessions.keys().copied().collect();
        for peer in peers {
            if gone.len() > TOLD_MAX {
                self.begin_anew(now, peer);
                continue;
            }
            let extensions = self.sessions.get(&peer).map(|session| &session.extensions);
            let id = extensions
                .and_then(|extensions| extensions.lt_donthave)
                .filter(|id| *id != 0);
            for piece in pieces.iter().filter(|_| id.is_some()) {
                let (id, payload) = (id.unwrap_or_default(), DontHave(piece.number()).encode());
                self.send(now, peer, Message::Extended { id, payload });
            }
            self.take_back(now, peer, |piece| !gone.contains(&piece));
        }
    }

    /// A peer had this piece and has it no more.
    pub(super) fn peer_lost(&mut self, now: Moment, peer: PeerKey, piece: PieceIndex, rng: &mut impl Rng) {
        self.apply_changes();
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        let counted_as_seed = session.counts_as_seed();
        if let Pieces::Known(bits) = &mut session.pieces {
            bits.unset(piece);
        }
        session.lost_some |= counted_as_seed;
        if let Some(picker) = &mut self.picker {
            if counted_as_seed {
                // From now on it counts piece by piece.
                if let Pieces::Known(bits) = &session.pieces {
                    picker.more_of(bits);
                }
            } else {
                picker.fewer(piece);
            }
            session.wanted -= u32::from(session.wanted > 0 && picker.lacks(piece));
            session.pickable -= u32::from(session.pickable > 0 && picker.is_missing(piece));
        }
        self.give_up_piece(peer, piece);
        self.show_interest(now, peer);
        self.refill(now, peer, rng);
    }

    /// Without the fast extension nobody refuses what was asked for of a piece that is gone.
    fn give_up_piece(&mut self, peer: PeerKey, piece: PieceIndex) {
        let late_max = self.settings.requests_out_max * 2;
        let Some(session) = self.sessions.get_mut(&peer).filter(|session| !session.fast()) else {
            return;
        };
        let of_piece = session.asked.iter().filter(|block| block.piece() == piece);
        for block in of_piece.copied().collect::<Vec<_>>() {
            session.give_up(block, late_max);
            self.credit += u64::from(block.length());
            if let Some(picker) = &mut self.picker {
                picker.release(block);
            }
            self.freed = true;
        }
    }
}
