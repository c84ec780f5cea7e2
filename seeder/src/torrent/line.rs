//! What one peer has asked for and not got: few bytes of it are with the driver, on their way to the socket; the rest waits
//! here, where a cancel, a choke or a loss still finds it.

use std::collections::VecDeque;

use shared::geometry::{Block, PieceIndex};

/// So many bytes may be under way to any peer, for no cancel finds them there, and our own requests wait behind them where
/// the uplink is slow. A fast peer has as much as it takes in a second, and so whole batches of the uploader.
const WINDOW_MIN: u64 = 32 * 1024;

#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: VecDeque<Block>,
    /// Blocks that the driver has, the first of them perhaps sent in part.
    leaving: VecDeque<Block>,
    leaving_bytes: u64,
    sent_in_part: u64,
    /// The piece of which something went to the driver last.
    last: Option<PieceIndex>,
}

impl Line {
    /// Blocks that the peer still waits for.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.leaving.len()
    }

    pub(super) fn push(&mut self, block: Block) {
        self.waiting.push_back(block);
    }

    /// What may leave now, at this rate in bytes a second.
    pub(super) fn take(&mut self, rate: u64) -> Vec<Block> {
        let mut blocks = Vec::new();
        while self.leaving_bytes < WINDOW_MIN.max(rate)
            && let Some(block) = self.waiting.pop_front()
        {
            self.leaving_bytes += u64::from(block.length());
            self.leaving.push_back(block);
            self.last = Some(block.piece());
            blocks.push(block);
        }
        blocks
    }

    /// So many bytes have left for the socket.
    pub(super) fn sent(&mut self, bytes: u64) {
        let mut rest = self.sent_in_part.saturating_add(bytes);
        while let Some(length) = self.leaving.front().map(|block| u64::from(block.length())) {
            if rest < length {
                break;
            }
            rest -= length;
            self.leaving_bytes = self.leaving_bytes.saturating_sub(length);
            self.leaving.pop_front();
        }
        self.sent_in_part = if self.leaving.is_empty() { 0 } else { rest };
    }

    /// The driver could not read this block: it will not be sent.
    pub(super) fn unsent(&mut self, block: Block) {
        if let Some(place) = self.leaving.iter().position(|leaving| *leaving == block) {
            self.leaving.remove(place);
            self.leaving_bytes = self.leaving_bytes.saturating_sub(u64::from(block.length()));
            self.sent(0);
        }
    }

    /// The piece in whose middle the peer may be.
    pub(super) fn last(&self) -> Option<PieceIndex> {
        self.last
    }

    /// The peer wants this no more. Says whether it was still to be had back.
    pub(super) fn cancel(&mut self, block: Block) -> bool {
        let place = self.waiting.iter().position(|waiting| *waiting == block);
        place.is_some_and(|place| self.waiting.remove(place).is_some())
    }

    /// Takes back what waits, but for the pieces that stay.
    pub(super) fn take_back(&mut self, stays: impl Fn(PieceIndex) -> bool) -> Vec<Block> {
        let (kept, back): (Vec<Block>, Vec<Block>) =
            self.waiting.drain(..).partition(|block| stays(block.piece()));
        self.waiting = kept.into();
        back
    }

    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) {
        let bytes: u64 = self.leaving.iter().map(|block| u64::from(block.length())).sum();
        assert_eq!(bytes, self.leaving_bytes, "bytes under way were lost or made");
        assert!(self.leaving.front().map_or(self.sent_in_part == 0, |first| {
            self.sent_in_part < u64::from(first.length())
        }));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::geometry::Geometry;

    use super::*;

    const BLOCK: u64 = 16_384;

    fn block(number: u32) -> Block {
        let geometry = Geometry::v1(65_536, 6_553_600).unwrap();
        geometry
            .block(geometry.piece(number / 4).unwrap(), number % 4)
            .unwrap()
    }

    fn line(blocks: u32) -> Line {
        let mut line = Line::default();
        (0..blocks).for_each(|number| line.push(block(number)));
        line
    }

    #[test]
    fn a_window_leaves_and_the_rest_waits_until_some_of_it_is_sent() {
        let mut line = line(40);
        assert_eq!(line.take(0).len(), 2);
        assert_eq!(line.take(0).len(), 0);
        line.sent(BLOCK * 3 / 2);
        assert_eq!(line.take(0), [block(2)]);
        line.sent(BLOCK / 2);
        assert_eq!(line.take(0), [block(3)]);
        assert_eq!(line.len(), 38);
        assert_eq!(line.last(), Some(block(3).piece()));
        line.check_invariants();
    }

    #[test]
    fn a_fast_peer_has_a_second_of_its_rate_under_way() {
        assert_eq!(line(100).take(BLOCK * 50).len(), 50);
    }

    #[test]
    fn what_waits_can_be_had_back_and_what_has_left_cannot() {
        let mut line = line(40);
        line.take(0);
        assert!(!line.cancel(block(1)));
        assert!(line.cancel(block(30)) && !line.cancel(block(30)));
        let piece = block(36).piece();
        let back = line.take_back(|other| other == piece);
        assert_eq!(back.len(), 40 - 2 - 1 - 4);
        assert_eq!(line.len(), 2 + 4);
    }

    #[test]
    fn a_block_that_cannot_be_read_makes_room_for_another() {
        let mut line = line(3);
        line.take(0);
        line.unsent(block(1));
        assert_eq!(line.take(0), [block(2)]);
        line.check_invariants();
    }

    proptest! {
        #[test]
        fn no_order_of_events_loses_a_block(steps in prop::collection::vec((0_u8..6, 0_u32..60, 0_u64..40_000), 0..80)) {
            let mut line = Line::default();
            for (what, number, bytes) in steps {
                match what {
                    0 | 1 => line.push(block(number)),
                    2 => _ = line.take(bytes),
                    // More cannot be sent than is under way.
                    3 => line.sent(bytes.min((line.leaving_bytes - line.sent_in_part).saturating_sub(1))),
                    4 => _ = line.cancel(block(number)),
                    _ => _ = line.take_back(|piece| piece.number().is_multiple_of(2)),
                }
                line.check_invariants();
            }
        }
    }
}
