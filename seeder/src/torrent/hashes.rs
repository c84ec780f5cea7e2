//! Hashes between peers (BEP 52): asking for the piece layers that we lack, giving what we know of our trees. What one peer
//! may take is bounded by time, so that nobody makes us compute and send without end.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use shared::hash_span::HashSpan;
use shared::merkle::{Hash, Trees};
use shared::moment::Moment;
use shared::peer_wire::Message;

use super::events::{Direction, Output, PeerKey, Why};
use super::layers::LayerFetch;
use super::machine::Torrent;
use super::session::Session;

/// Hashes that a peer may take at once: 1 MiB of them.
const ALLOWANCE_MAX: u32 = 32 * 1024;
/// And for each second that passes.
const ALLOWANCE_A_SECOND: u32 = 8 * 1024;

/// A block that has to be read and hashed counts as so many hashes: 64 MiB at once, 16 MiB a second.
const LEAF_COST: u32 = 8;
/// Pieces that are read for their leaves at the same time.
const LEAVES_WANTED_MAX: usize = 4;

/// What one peer may still take.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    since: Moment,
}

impl Allowance {
    pub(super) const fn new(now: Moment) -> Self {
        Self {
            left: ALLOWANCE_MAX,
            since: now,
        }
    }

    /// Takes so many hashes, if so many are left.
    fn take(&mut self, now: Moment, count: u32) -> bool {
        let seconds = now.since(self.since).as_secs();
        if seconds > 0 {
            let more = u32::try_from(seconds)
                .unwrap_or(u32::MAX)
                .saturating_mul(ALLOWANCE_A_SECOND);
            self.left = self.left.saturating_add(more).min(ALLOWANCE_MAX);
            self.since = self.since + Duration::from_secs(seconds);
        }
        let rest = self.left.checked_sub(count);
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }
}

impl Torrent {
    /// Pieces cannot be checked before these trees have their layers.
    pub(super) fn layerless(&mut self, now: Moment, trees: Trees) {
        if self.content.is_none() {
            self.fetch = None;
            self.layers = LayerFetch::new(trees);
            self.fetch_layers(now);
        }
    }

    /// Asks for whatever layers may be asked for now.
    pub(super) fn fetch_layers(&mut self, now: Moment) {
        let Some(mut fetch) = self.layers.take() else {
            return;
        };
        for (peer, session) in &self.sessions {
            if self.speaks_v2(session) {
                fetch.offer(now, *peer);
            }
        }
        let wanted = fetch.wanted(now);
        self.layers = Some(fetch);
        for (peer, span) in wanted {
            self.send(now, peer, Message::HashRequest(Box::new(span)));
        }
    }

    /// A message of BEP 52.
    pub(super) fn hash_message(&mut self, now: Moment, peer: PeerKey, message: Message, rng: &mut impl Rng) {
        match message {
            Message::HashRequest(span) => self.answer_hashes(now, peer, span, rng),
            Message::Hashes { span, hashes } => {
                if let Err(why) = self.hashes_arrived(now, peer, &span, &hashes) {
                    self.dismiss(now, peer, why, rng);
                }
            }
            Message::HashReject(span) => {
                if let Some(fetch) = &mut self.layers {
                    fetch.rejected(now, peer, &span);
                }
                self.fetch_layers(now);
            }
            _ => (),
        }
    }

    /// The connection is one of v2: under the v2 hash, or taken up to it.
    fn speaks_v2(&self, session: &Session) -> bool {
        let Some(hash) = self.identity.info_hash_v2 else {
            return false;
        };
        let handshake = &session.handshake;
        let taken_up = session.direction == Direction::Incoming && handshake.reserved.v2();
        !matches!(session.direction, Direction::Web(_))
            && (handshake.info_hash == hash.truncated() || taken_up)
    }

    fn hashes_arrived(
        &mut self,
        now: Moment,
        peer: PeerKey,
        span: &HashSpan,
        bytes: &Bytes,
    ) -> Result<(), Why> {
        let Some(fetch) = &mut self.layers else {
            return Ok(());
        };
        let hashes = bytes.as_chunks().0.to_vec();
        let Some(layers) = fetch.arrived(peer, span, hashes)? else {
            self.fetch_layers(now);
            return Ok(());
        };
        self.layers = None;
        if let Some(content) = &mut self.content {
            // Each part was proved, so that nothing is refused here.
            _ = content.trees.fill(layers.clone());
        }
        self.push(Output::Layers { layers });
        Ok(())
    }

    fn answer_hashes(&mut self, now: Moment, peer: PeerKey, span: Box<HashSpan>, rng: &mut impl Rng) {
        let (Some(session), Some(content)) = (self.sessions.get_mut(&peer), &self.content) else {
            return self.refuse_hashes(now, peer, span, rng);
        };
        let Some(tree) = content.trees.get(span.root()) else {
            return self.refuse_hashes(now, peer, span, rng);
        };
        let piece = tree
            .piece_of(&span)
            .and_then(|piece| content.geometry.piece(piece));
        if let Some(piece) = piece {
            let cost = content.geometry.block_count(piece).saturating_mul(LEAF_COST);
            let may = content.have.has(piece) && self.leaves_wanted < LEAVES_WANTED_MAX;
            if may && session.hashes.take(now, cost) {
                self.leaves_wanted += 1;
                return self.push(Output::Leaves { peer, span, piece });
            }
        } else if session.hashes.take(now, span.answer_length())
            && let Some(hashes) = tree.answer(&span)
        {
            return self.give_hashes(now, peer, span, &hashes);
        }
        self.refuse_hashes(now, peer, span, rng);
    }

    /// The blocks of a piece were hashed for a peer.
    pub(super) fn leaves_read(
        &mut self,
        now: Moment,
        (peer, span): (PeerKey, Box<HashSpan>),
        leaves: Option<&[Hash]>,
        rng: &mut impl Rng,
    ) {
        self.leaves_wanted = self.leaves_wanted.saturating_sub(1);
        let tree = self
            .content
            .as_ref()
            .and_then(|content| content.trees.get(span.root()));
        match tree
            .zip(leaves)
            .and_then(|(tree, leaves)| tree.answer_from(&span, leaves))
        {
            Some(hashes) => self.give_hashes(now, peer, span, &hashes),
            None => self.refuse_hashes(now, peer, span, rng),
        }
    }

    /// Says no. Who goes on asking all the same is let go.
    fn refuse_hashes(&mut self, now: Moment, peer: PeerKey, span: Box<HashSpan>, rng: &mut impl Rng) {
        if self.bears_refusal(now, peer, rng) {
            self.send(now, peer, Message::HashReject(span));
        }
    }

    fn give_hashes(&mut self, now: Moment, peer: PeerKey, span: Box<HashSpan>, hashes: &[Hash]) {
        let hashes = Bytes::from(hashes.as_flattened().to_vec());
        self.send(now, peer, Message::Hashes { span, hashes });
    }
}
