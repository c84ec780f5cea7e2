//! Who sent a wrong piece. A lone contributor did it. Of several, nobody knows who: all are suspects, and get pieces for
//! themselves until enough of those were right, or one was wrong. Accused are addresses, since a connection is quickly changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Addresses remembered, suspects and banned each. Who changes addresses faster than this is not to be held by names.
const REMEMBERED_MAX: usize = 1_000;
/// Suspicion doubles with every accusation up to so many.
const ACCUSATIONS_MAX: u32 = 6;

/// Connections that may end by rudeness before the address is banned.
const RUDE_MAX: u32 = 5;

/// Whom a block came from, as far as blame is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Giver {
    /// A peer, by its address.
    Address(IpAddr),
    /// A web seed, by its number in the torrent's list.
    WebSeed(u16),
}

#[derive(Clone, Copy, Debug, Default)]
struct Suspect {
    accusations: u32,
    /// Right pieces that it must send alone before it is trusted again.
    owed: u32,
}

#[derive(Debug, Default)]
pub(super) struct Blame {
    suspects: BTreeMap<IpAddr, Suspect>,
    banned: BTreeSet<IpAddr>,
    /// How often each broke the protocol's rules.
    rude: BTreeMap<IpAddr, u32>,
}

impl Blame {
    /// A piece was wrong. Gives the culprit, if there is no doubt.
    pub(super) fn wrong(&mut self, contributors: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        if contributors.len() == 1 {
            return contributors.first().copied();
        }
        for address in contributors {
            self.accuse(*address);
        }
        None
    }

    /// A piece was right. That clears only who sent all of it.
    pub(super) fn right(&mut self, contributors: &BTreeSet<IpAddr>) {
        if let (1, Some(address)) = (contributors.len(), contributors.first())
            && let Some(suspect) = self.suspects.get_mut(address)
        {
            suspect.owed = suspect.owed.saturating_sub(1);
        }
    }

    /// It broke the rules of the protocol. Says whether that was once too often: a fault is forgiven, a habit is not.
    pub(super) fn was_rude(&mut self, address: IpAddr) -> bool {
        if self.rude.len() >= REMEMBERED_MAX && !self.rude.contains_key(&address) {
            self.rude.pop_first();
        }
        let times = self.rude.entry(address).or_default();
        *times += 1;
        *times >= RUDE_MAX
    }

    /// It gets pieces for itself only.
    pub(super) fn suspects(&self, address: IpAddr) -> bool {
        self.suspects
            .get(&address)
            .is_some_and(|suspect| suspect.owed > 0)
    }

    pub(super) fn ban(&mut self, address: IpAddr) {
        self.suspects.remove(&address);
        self.rude.remove(&address);
        if self.banned.len() >= REMEMBERED_MAX {
            self.banned.pop_first();
        }
        self.banned.insert(address);
    }

    pub(super) fn is_banned(&self, address: IpAddr) -> bool {
        self.banned.contains(&address)
    }

    /// Pieces that were begun together before the first of them was found wrong accuse nobody twice.
    fn accuse(&mut self, address: IpAddr) {
        if self.suspects.len() >= REMEMBERED_MAX && !self.suspects.contains_key(&address) {
            self.suspects.pop_first();
        }
        let suspect = self.suspects.entry(address).or_default();
        if suspect.owed == 0 {
            suspect.owed = 1 << suspect.accusations;
            suspect.accusations = (suspect.accusations + 1).min(ACCUSATIONS_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(name: char) -> IpAddr {
        IpAddr::from([10, 0, 0, name as u8])
    }

    fn set(names: &str) -> BTreeSet<IpAddr> {
        names.chars().map(ip).collect()
    }

    #[test]
    fn a_lone_contributor_of_a_wrong_piece_is_convicted_at_once() {
        assert_eq!(Blame::default().wrong(&set("a")), Some(ip('a')));
    }

    #[test]
    fn of_several_nobody_is_convicted_until_one_fails_alone() {
        let mut blame = Blame::default();
        assert_eq!(blame.wrong(&set("ab")), None);
        assert!(blame.suspects(ip('a')) && blame.suspects(ip('b')) && !blame.suspects(ip('c')));
        blame.right(&set("a"));
        assert!(!blame.suspects(ip('a')));
        blame.right(&set("bc"));
        assert!(blame.suspects(ip('b')), "a piece of two clears nobody");
        assert_eq!(blame.wrong(&set("b")), Some(ip('b')));
        blame.ban(ip('b'));
        assert!(blame.is_banned(ip('b')) && !blame.suspects(ip('b')));
    }

    #[test]
    fn trust_is_harder_to_earn_every_time() {
        let mut blame = Blame::default();
        blame.wrong(&set("ab"));
        blame.right(&set("a"));
        blame.wrong(&set("ac"));
        blame.right(&set("a"));
        assert!(blame.suspects(ip('a')));
        blame.right(&set("a"));
        assert!(!blame.suspects(ip('a')));
    }

    #[test]
    fn a_fault_is_forgiven_and_a_habit_is_not() {
        let mut blame = Blame::default();
        let verdicts: Vec<bool> = (0..5).map(|_| blame.was_rude(ip('a'))).collect();
        assert_eq!(verdicts, [false, false, false, false, true]);
    }

    #[test]
    fn the_lists_of_addresses_are_bounded() {
        let mut blame = Blame::default();
        for number in 0..3_000_u32 {
            let address = |part: u32| IpAddr::from((number * 2 + part).to_be_bytes());
            blame.wrong(&[address(0), address(1)].into());
            blame.ban(address(0));
        }
        assert!(blame.suspects.len() <= REMEMBERED_MAX && blame.banned.len() <= REMEMBERED_MAX);
    }
}
