//! Who sent a wrong piece. One that sent all of it did. Of several, it is known once the piece is right: whose blocks were not
//! those of the right piece. For that the blocks of those who have not shown yet what they are worth are remembered by
//! digest, and a piece that was wrong is fetched again from one peer alone: then it is right, or that one is found out.
//! Accused are addresses, since a connection is quickly changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sha1::{Digest, Sha1};
use shared::geometry::{Block, PieceIndex};

/// Givers remembered: known, banned and rude ones each. Who changes addresses faster than this is not to be held by names.
const REMEMBERED_MAX: usize = 1_000;
/// Who had part in so many right pieces is believed, until it has part in a wrong one.
const TRUST: u32 = 4;
/// Blocks remembered of pieces that were wrong, a mebibyte of memory.
const TRACES_MAX: usize = 1 << 16;
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

/// What came of one piece, and from whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    givers: Vec<Giver>,
    traces: Vec<Trace>,
}

/// A block as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trace {
    number: u32,
    /// Its place among the givers.
    giver: u16,
    digest: u64,
}

impl Sent {
    /// Notes whom a block came from, and if there is reason, what it was.
    pub(super) fn note(&mut self, giver: Giver, block: Block, data: Option<&[u8]>) {
        let known = self.givers.iter().position(|known| *known == giver);
        let place = known.unwrap_or(self.givers.len());
        if known.is_none() {
            self.givers.push(giver);
        }
        if let (Some(data), Ok(giver)) = (data, u16::try_from(place)) {
            self.traces.push(Trace {
                number: block.number(),
                giver,
                digest: digest(data),
            });
        }
    }

    /// Who sent blocks of this piece that are not those of the right one.
    fn liars(&self, right: &BTreeMap<u32, u64>) -> BTreeSet<Giver> {
        let lies = self
            .traces
            .iter()
            .filter(|trace| right.get(&trace.number).is_some_and(|it| *it != trace.digest));
        let who = lies.filter_map(|trace| self.givers.get(usize::from(trace.giver)));
        who.copied().collect()
    }

    /// Bytes of memory that it holds beside itself.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        self.givers.capacity() * size_of::<Giver>() + self.traces.capacity() * size_of::<Trace>()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// Right pieces that it had part in since it was accused.
    right: u32,
    accused: bool,
}

#[derive(Debug, Default)]
pub(super) struct Blame {
    records: BTreeMap<Giver, Record>,
    /// Wrong pieces whose right form is awaited, each with what came of it.
    disputes: BTreeMap<PieceIndex, Vec<Sent>>,
    banned: BTreeSet<Giver>,
    /// How often each broke the protocol's rules.
    rude: BTreeMap<Giver, u32>,
}

impl Blame {
    /// Its blocks are worth remembering.
    pub(super) fn watches(&self, giver: Giver) -> bool {
        let record = self.records.get(&giver);
        record.is_none_or(|record| record.accused || record.right < TRUST)
    }

    /// A piece was wrong. Gives the culprit, if there is no doubt.
    pub(super) fn wrong(&mut self, piece: PieceIndex, sent: Sent) -> Option<Giver> {
        if let [giver] = sent.givers[..] {
            // Memory and disks err too, so who was right so often is asked once more.
            if self.watches(giver) {
                return Some(giver);
            }
            self.accuse(giver);
            return None;
        }
        for giver in &sent.givers {
            self.accuse(*giver);
        }
        let traces: usize = self
            .disputes
            .values()
            .flatten()
            .map(|sent| sent.traces.len())
            .sum();
        if traces + sent.traces.len() <= TRACES_MAX {
            self.disputes.entry(piece).or_default().push(sent);
        }
        None
    }

    /// A piece was right. Gives those who are now known to have sent wrong blocks of it before.
    pub(super) fn right(&mut self, piece: PieceIndex, sent: &Sent) -> BTreeSet<Giver> {
        for giver in &sent.givers {
            let record = self.record(*giver);
            record.right = record.right.saturating_add(1);
        }
        let Some(dispute) = self.disputes.remove(&piece) else {
            return BTreeSet::new();
        };
        let truth: BTreeMap<u32, u64> = sent
            .traces
            .iter()
            .map(|trace| (trace.number, trace.digest))
            .collect();
        let liars: BTreeSet<Giver> = dispute.iter().flat_map(|sent| sent.liars(&truth)).collect();
        if !liars.is_empty() {
            for giver in dispute.iter().flat_map(|sent| &sent.givers) {
                self.acquit(*giver);
            }
        }
        liars
    }

    /// It broke the rules of the protocol. Says whether that was once too often: a fault is forgiven, a habit is not.
    pub(super) fn was_rude(&mut self, giver: Giver) -> bool {
        if self.rude.len() >= REMEMBERED_MAX && !self.rude.contains_key(&giver) {
            self.rude.pop_first();
        }
        let times = self.rude.entry(giver).or_default();
        *times += 1;
        *times >= RUDE_MAX
    }

    pub(super) fn ban(&mut self, giver: Giver) {
        self.records.remove(&giver);
        self.rude.remove(&giver);
        if self.banned.len() >= REMEMBERED_MAX {
            self.banned.pop_first();
        }
        self.banned.insert(giver);
    }

    pub(super) fn is_banned(&self, giver: Giver) -> bool {
        self.banned.contains(&giver)
    }

    fn accuse(&mut self, giver: Giver) {
        *self.record(giver) = Record {
            right: 0,
            accused: true,
        };
    }

    /// The wrong piece is explained, so it accuses this one no longer, unless another does.
    fn acquit(&mut self, giver: Giver) {
        let mut others = self.disputes.values().flatten();
        let accused = others.any(|sent| sent.givers.contains(&giver));
        if let Some(record) = self.records.get_mut(&giver) {
            record.accused = accused;
        }
    }

    fn record(&mut self, giver: Giver) -> &mut Record {
        if self.records.len() >= REMEMBERED_MAX && !self.records.contains_key(&giver) {
            let harmless = self.records.iter().find(|(_, record)| !record.accused);
            let goes = harmless.or_else(|| self.records.first_key_value());
            if let Some(goes) = goes.map(|(giver, _)| *giver) {
                self.records.remove(&goes);
            }
        }
        self.records.entry(giver).or_default()
    }

    /// Bytes of memory that it holds beside itself.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let sent = self.disputes.values().flatten().map(Sent::heap).sum::<usize>();
        let names = self.records.len() + self.banned.len() + self.rude.len();
        sent + names * 2 * (size_of::<Giver>() + size_of::<Record>())
    }
}

/// Short, since a liar gains nothing by a wrong block that looks right to this alone.
fn digest(data: &[u8]) -> u64 {
    let hash = Sha1::digest(data);
    hash.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use shared::geometry::Geometry;

    use super::*;

    fn ip(name: char) -> Giver {
        Giver::Address(IpAddr::from([10, 0, 0, name as u8]))
    }

    fn piece(number: u32) -> PieceIndex {
        Geometry::v1(65_536, 655_360).unwrap().piece(number).unwrap()
    }

    /// Blocks in order, each as who sent it and whether it was right: `a+ b-`.
    fn sent(blame: &Blame, drawing: &str) -> Sent {
        let geometry = Geometry::v1(65_536, 655_360).unwrap();
        let mut sent = Sent::default();
        for (number, word) in (0..).zip(drawing.split_whitespace()) {
            let block = geometry.block(geometry.piece(0).unwrap(), number).unwrap();
            let (who, how) = word.split_at(1);
            let giver = ip(who.chars().next().unwrap());
            let data = [u8::try_from(number).unwrap(), u8::from(how == "+")];
            let lone = drawing.split_whitespace().all(|word| word.starts_with(who));
            let noted = (lone || blame.watches(giver)).then_some(&data[..]);
            sent.note(giver, block, noted);
        }
        sent
    }

    fn wrong(blame: &mut Blame, number: u32, drawing: &str) -> Option<Giver> {
        let sent = sent(blame, drawing);
        blame.wrong(piece(number), sent)
    }

    fn right(blame: &mut Blame, number: u32, drawing: &str) -> Vec<Giver> {
        let sent = sent(blame, drawing);
        blame.right(piece(number), &sent).into_iter().collect()
    }

    #[test]
    fn who_alone_sent_a_wrong_piece_is_convicted_at_once() {
        assert_eq!(wrong(&mut Blame::default(), 0, "a+ a-"), Some(ip('a')));
    }

    #[test]
    fn of_several_exactly_those_are_convicted_whose_blocks_were_wrong() {
        let mut blame = Blame::default();
        assert_eq!(wrong(&mut blame, 0, "a+ b- c+ b+"), None);
        assert_eq!(right(&mut blame, 0, "a+ a+ a+ a+"), [ip('b')]);
        let mut blame = Blame::default();
        assert_eq!(wrong(&mut blame, 0, "a+ b- c- d+"), None);
        assert_eq!(right(&mut blame, 0, "e+ e+ e+ e+"), [ip('b'), ip('c')]);
    }

    #[test]
    fn a_web_seed_is_convicted_by_its_number() {
        let mut blame = Blame::default();
        let mut sent = Sent::default();
        let block = |number| {
            let geometry = Geometry::v1(65_536, 655_360).unwrap();
            geometry.block(piece(0), number).unwrap()
        };
        sent.note(Giver::WebSeed(3), block(0), Some(b"wrong"));
        sent.note(ip('a'), block(1), Some(b"right"));
        assert_eq!(blame.wrong(piece(0), sent), None);
        let mut again = Sent::default();
        again.note(ip('a'), block(0), Some(b"true"));
        again.note(ip('a'), block(1), Some(b"right"));
        let liars = blame.right(piece(0), &again);
        assert_eq!(liars, [Giver::WebSeed(3)].into());
    }

    #[test]
    fn a_liar_that_was_honest_first_has_one_wrong_piece_and_no_second() {
        let mut blame = Blame::default();
        for number in 1..5 {
            right(&mut blame, number, "a+ b+");
        }
        assert!(!blame.watches(ip('b')));
        assert_eq!(wrong(&mut blame, 0, "a+ b-"), None);
        assert_eq!(right(&mut blame, 0, "a+ a+"), [], "nobody looked");
        assert!(blame.watches(ip('a')) && blame.watches(ip('b')));
        assert_eq!(wrong(&mut blame, 6, "a+ b-"), None);
        assert_eq!(right(&mut blame, 6, "a+ a+"), [ip('b')]);
        blame.ban(ip('b'));
        assert!(blame.is_banned(ip('b')) && !blame.is_banned(ip('a')));
        for number in 1..5 {
            right(&mut blame, number, "a+ a+");
        }
        assert!(!blame.watches(ip('a')), "the wrong piece is explained");
    }

    #[test]
    fn who_was_right_often_may_err_once() {
        let mut blame = Blame::default();
        for number in 1..5 {
            right(&mut blame, number, "a+ a+");
        }
        assert_eq!(wrong(&mut blame, 0, "a- a-"), None);
        assert_eq!(wrong(&mut blame, 0, "a- a-"), Some(ip('a')));
    }

    #[test]
    fn a_fault_is_forgiven_and_a_habit_is_not() {
        let mut blame = Blame::default();
        let verdicts: Vec<bool> = (0..5).map(|_| blame.was_rude(ip('a'))).collect();
        assert_eq!(verdicts, [false, false, false, false, true]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut blame = Blame::default();
        let geometry = Geometry::v1(16_384 * 64, 16_384 * 64 * 3_000).unwrap();
        for number in 0..3_000_u32 {
            let giver = |part: u32| Giver::Address((number * 2 + part).to_be_bytes().into());
            let piece = geometry.piece(number).unwrap();
            let mut sent = Sent::default();
            for block in geometry.blocks(piece) {
                sent.note(giver(block.number() % 2), block, Some(b"wrong"));
            }
            blame.wrong(piece, sent);
            blame.ban(giver(0));
        }
        assert!(blame.records.len() <= REMEMBERED_MAX && blame.banned.len() <= REMEMBERED_MAX);
        assert!(blame.heap() < 3 << 20, "{}", blame.heap());
    }
}
