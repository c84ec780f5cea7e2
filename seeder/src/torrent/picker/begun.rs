//! One piece under way: which of its blocks are asked for, and whom the others came from.

use shared::geometry::Block;
use shared::moment::Moment;

use crate::torrent::blame::Sent;
use crate::torrent::events::PeerKey;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    /// By how many peers we are owed it; at least one.
    Asked(u8),
    Stored,
}

/// A piece that was begun.
#[derive(Debug)]
pub(super) struct Begun {
    blocks: Vec<State>,
    free: u32,
    /// Blocks that are not stored.
    left: u32,
    /// No block before this one is free.
    cursor: usize,
    /// The one peer that may be asked for it.
    pub(super) owner: Option<PeerKey>,
    pub(super) sent: Sent,
    pub(super) since: Moment,
    /// When a block of it came last.
    pub(super) moved: Moment,
}

impl Begun {
    pub(super) fn new(now: Moment, count: u32, owner: Option<PeerKey>) -> Self {
        Self {
            blocks: vec![State::Free; count as usize],
            free: count,
            left: count,
            cursor: 0,
            owner,
            sent: Sent::default(),
            since: now,
            moved: now,
        }
    }

    pub(super) fn has_free(&self) -> bool {
        self.free > 0
    }

    /// Every block is there.
    pub(super) fn is_stored(&self) -> bool {
        self.left == 0
    }

    /// Nobody owes us anything of it, and nothing of it is there.
    pub(super) fn is_untouched(&self) -> bool {
        self.free as usize == self.blocks.len()
    }

    pub(super) fn is_owed(&self) -> bool {
        self.left > self.free
    }

    pub(super) fn is_open_to(&self, peer: PeerKey) -> bool {
        self.owner.is_none_or(|owner| owner == peer)
    }

    pub(super) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    pub(super) fn states(&self) -> &[State] {
        &self.blocks
    }

    /// The number of the next free block, which is counted as asked for.
    pub(super) fn take_free(&mut self) -> Option<u32> {
        while self.free > 0 {
            let at = self.cursor;
            let state = self.blocks.get_mut(at)?;
            self.cursor += 1;
            if *state == State::Free {
                *state = State::Asked(1);
                self.free -= 1;
                return u32::try_from(at).ok();
            }
        }
        None
    }

    /// One more peer is asked for this block.
    pub(super) fn ask_again(&mut self, block: Block) {
        if let Some(State::Asked(times)) = self.blocks.get_mut(block.number() as usize) {
            *times = times.saturating_add(1);
        }
    }

    /// One peer owes us this block no more. Says whether it is free now.
    pub(super) fn release(&mut self, block: Block) -> bool {
        let at = block.number() as usize;
        let Some(state) = self.blocks.get_mut(at) else {
            return false;
        };
        match *state {
            State::Asked(0 | 1) => {
                *state = State::Free;
                self.free += 1;
                self.cursor = self.cursor.min(at);
                true
            }
            State::Asked(times) => {
                *state = State::Asked(times - 1);
                false
            }
            State::Free | State::Stored => false,
        }
    }

    /// A block is there. Says whether others owe it too, or nothing if it was there before.
    pub(super) fn store(&mut self, block: Block, owed: bool) -> Option<bool> {
        let state = self.blocks.get_mut(block.number() as usize)?;
        let others = match *state {
            State::Stored => return None,
            State::Free => {
                self.free = self.free.saturating_sub(1);
                false
            }
            State::Asked(times) => u32::from(times) > u32::from(owed),
        };
        *state = State::Stored;
        self.left = self.left.saturating_sub(1);
        Some(others)
    }

    /// Bytes of memory that it holds beside itself.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        self.blocks.capacity() * size_of::<State>() + self.sent.heap()
    }

    /// The counts are those of the blocks.
    #[cfg(debug_assertions)]
    pub(super) fn check_invariants(&self) {
        let count = |wanted: fn(&State) -> bool| self.blocks.iter().filter(|state| wanted(state)).count();
        assert_eq!(count(|state| *state == State::Free), self.free as usize);
        assert_eq!(count(|state| *state != State::Stored), self.left as usize);
        let before = self.blocks.iter().take(self.cursor);
        assert!(before.into_iter().all(|state| *state != State::Free));
    }

    /// How often we are owed blocks of it.
    #[cfg(debug_assertions)]
    pub(super) fn owed(&self) -> usize {
        let times = |state: &State| {
            if let State::Asked(times) = state {
                usize::from(*times)
            } else {
                0
            }
        };
        self.blocks.iter().map(times).sum()
    }
}
