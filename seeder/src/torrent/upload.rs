//! What we give: slots, requests, what was sent. Requests are answered when they arrive, and leave in one batch those that
//! came in one.

use std::collections::BTreeSet;

use rand::Rng;
use shared::geometry::Block;
use shared::moment::Moment;
use shared::peer_wire::{Message, Span};

use super::choker::{Candidate, Mode};
use super::events::{Output, PeerKey, Why};
use super::machine::Torrent;
use super::session::Session;

impl Torrent {
    /// A peer asks for a block.
    pub(super) fn requested(&mut self, now: Moment, peer: PeerKey, block: Block, rng: &mut impl Rng) {
        let have = self
            .content
            .as_ref()
            .is_some_and(|content| content.have.has(block.piece()));
        let most = self.settings.requests_in_max;
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        if !have || session.unchoked.is_none() || session.serving.len() >= most {
            self.refuse(now, peer, block.into(), rng);
            return;
        }
        session.serving.push_back(block.length());
        if let Some(Output::Serve { peer: last, blocks }) = self.last_output()
            && *last == peer
        {
            blocks.push(block);
        } else {
            self.push(Output::Serve {
                peer,
                blocks: vec![block],
            });
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
    }

    /// A block could not be read. The peer may ask elsewhere.
    pub(super) fn unserved(&mut self, now: Moment, peer: PeerKey, block: Block) {
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        session.drop_serving(block.length());
        if session.fast() {
            self.send(now, peer, Message::Reject(block.into()));
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
        let candidates = self.candidates(now);
        let mode = self.mode();
        let Some(chosen) = self.choker.round(now, mode, &candidates, rng) else {
            return;
        };
        debug_assert!(chosen.len() <= self.settings.upload_slots.unwrap_or(8));
        self.apply_round(now, &candidates, &chosen);
        for session in self.sessions.values_mut() {
            session.refused = 0;
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
        let seeding = self.mode() == Mode::Seeding;
        let candidate = |(peer, session): (&PeerKey, &Session)| {
            let rate = if seeding { session.given } else { session.taken };
            session.candidate(*peer, rate.per_second(now))
        };
        self.sessions.iter().map(candidate).collect()
    }

    fn unchoke(&mut self, now: Moment, peer: PeerKey) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.unchoked = Some(now);
            self.send(now, peer, Message::Unchoke);
        }
    }

    /// What was asked for before is still sent; what comes after is refused.
    fn choke(&mut self, now: Moment, peer: PeerKey) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            session.unchoked = None;
            session.choked = now;
            self.send(now, peer, Message::Choke);
        }
    }
}
