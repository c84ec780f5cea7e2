//! Finds a member's sessions in a large torrent without looking at all of them: chains of positions by member. A small torrent
//! needs none. The array of sessions is somebody else's; whoever moves one there says so here.

use crate::members::ids::MemberId;

const NONE: u32 = u32::MAX;

/// For each member that hashes alike, one chain of positions. A member's sessions are few, so chains are short.
#[derive(Debug, Default)]
pub(super) struct Index {
    heads: Vec<u32>,
    next: Vec<u32>,
}

impl Index {
    /// An index for about so many sessions, all still to be linked.
    pub(super) fn with_room_for(count: usize) -> Self {
        Self {
            heads: vec![NONE; count.next_power_of_two()],
            next: Vec::with_capacity(count),
        }
    }

    /// Has it grown so far that chains are long?
    pub(super) fn is_crowded(&self) -> bool {
        self.next.len() > self.heads.len() * 2
    }

    /// Notes that a member's session stands at a position: one that was unlinked, or the first behind all others.
    pub(super) fn link(&mut self, at: usize, member: MemberId) {
        let head = self.head_of(member);
        let (Some(head), Ok(position)) = (self.heads.get_mut(head), u32::try_from(at)) else {
            return;
        };
        let next = std::mem::replace(head, position);
        if at == self.next.len() {
            if self.next.len() == self.next.capacity() {
                self.next.reserve_exact(self.next.len() / 8 + 1);
            }
            self.next.push(next);
        } else if let Some(slot) = self.next.get_mut(at) {
            *slot = next;
        }
    }

    /// The session that stood there goes elsewhere.
    pub(super) fn unlink(&mut self, at: usize, member: MemberId) {
        let head = self.head_of(member);
        let Some(after) = self.next.get(at).copied() else {
            return;
        };
        let mut before = None;
        let mut position = self.heads.get(head).copied().unwrap_or(NONE);
        while position != NONE && position as usize != at {
            before = Some(position as usize);
            position = self.next.get(position as usize).copied().unwrap_or(NONE);
        }
        let slot = match before {
            None => self.heads.get_mut(head),
            Some(before) => self.next.get_mut(before),
        };
        if let Some(slot) = slot {
            *slot = after;
        }
    }

    /// The last position, already unlinked, is given up.
    pub(super) fn pop(&mut self) {
        self.next.pop();
    }

    /// Positions where the member's sessions stand, others among them.
    pub(super) fn chain(&self, member: MemberId) -> impl Iterator<Item = usize> {
        let head = self.heads.get(self.head_of(member)).copied();
        let step = |&at: &u32| self.next.get(at as usize).copied().filter(|&at| at != NONE);
        std::iter::successors(head.filter(|&at| at != NONE), step).map(|at| at as usize)
    }

    /// Members are numbered by the store, not by strangers, so that a multiplication scatters them well enough.
    fn head_of(&self, MemberId(member): MemberId) -> usize {
        let scattered = u64::from(member).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        usize::try_from(scattered).unwrap_or_default() & (self.heads.len().saturating_sub(1))
    }
}
