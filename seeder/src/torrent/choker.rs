//! Who may ask us for blocks (BEP 3). A round every ten seconds chooses anew; in between, slots that fall free are filled at
//! once, so that nobody waits for a timer. While we miss pieces, those who give us most are chosen; when we seed, everyone in
//! turn. One slot is optimistic: it goes round every thirty seconds, so that newcomers can show what they give.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use shared::moment::Moment;

use super::events::PeerKey;

pub(super) const ROUND: Duration = Duration::from_secs(10);
/// Rounds that an optimistic peer keeps its slot.
const OPTIMISTIC_ROUNDS: u64 = 3;
/// When we seed, a peer keeps its slot so long before others get their turn.
const TURN: Duration = Duration::from_secs(60);

/// What the choker needs to know of a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) peer: PeerKey,
    pub(super) interested: bool,
    /// Bytes a second that it gives us, or while we seed, that it takes.
    pub(super) rate: u64,
    /// It owes us blocks and has sent none for a minute: nothing is given for nothing.
    pub(super) snubbed: bool,
    /// Since when it has been unchoked.
    pub(super) unchoked: Option<Moment>,
    /// When it was choked last, or came.
    pub(super) choked: Moment,
}

impl Candidate {
    /// When we seed, how long others wait for its slot: no longer than a round for one that takes nothing.
    fn turn(&self) -> Duration {
        if self.rate > 0 { TURN } else { ROUND }
    }
}

/// What we are, as the choker sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Leeching,
    Seeding,
}

#[derive(Debug)]
pub(super) struct Choker {
    slots: usize,
    rounds: u64,
    next: Moment,
    optimistic: Option<PeerKey>,
}

impl Choker {
    pub(super) fn new(now: Moment, slots: usize) -> Self {
        Self {
            slots,
            rounds: 0,
            next: now + ROUND,
            optimistic: None,
        }
    }

    /// Chooses anew who is unchoked, if it is time.
    pub(super) fn round(
        &mut self,
        now: Moment,
        mode: Mode,
        candidates: &[Candidate],
        rng: &mut impl Rng,
    ) -> Option<BTreeSet<PeerKey>> {
        if now < self.next {
            return None;
        }
        self.next = now + ROUND;
        self.rounds += 1;
        let regular = self.slots.saturating_sub(usize::from(self.slots > 1));
        let mut chosen = choose(now, mode, candidates, regular);
        self.choose_optimistic(candidates, &chosen, rng);
        chosen.extend(self.optimistic);
        // Slots that are left over go to whoever else is interested.
        for peer in ranked(now, mode, candidates, true) {
            if chosen.len() < self.slots {
                chosen.insert(peer);
            }
        }
        Some(chosen)
    }

    /// Between rounds: who gets the slots that are free.
    pub(super) fn fill(&self, now: Moment, mode: Mode, candidates: &[Candidate]) -> Vec<PeerKey> {
        let taken = candidates
            .iter()
            .filter(|peer| peer.interested && peer.unchoked.is_some())
            .count();
        let waiting: Vec<Candidate> = candidates
            .iter()
            .filter(|peer| peer.unchoked.is_none())
            .copied()
            .collect();
        let mut peers = ranked(now, mode, &waiting, true);
        peers.truncate(self.slots.saturating_sub(taken));
        peers
    }

    /// Every third round, or when its holder has left or won a slot by itself, the optimistic slot goes to somebody new.
    fn choose_optimistic(
        &mut self,
        candidates: &[Candidate],
        chosen: &BTreeSet<PeerKey>,
        rng: &mut impl Rng,
    ) {
        let losers: Vec<&Candidate> = candidates
            .iter()
            .filter(|candidate| candidate.interested && !chosen.contains(&candidate.peer))
            .collect();
        let stays = losers
            .iter()
            .any(|candidate| Some(candidate.peer) == self.optimistic);
        if stays && !self.rounds.is_multiple_of(OPTIMISTIC_ROUNDS) {
            return;
        }
        let others: Vec<&&Candidate> = losers
            .iter()
            .filter(|candidate| Some(candidate.peer) != self.optimistic)
            .collect();
        let newcomer = others.choose(rng).map(|candidate| candidate.peer);
        self.optimistic = newcomer.or(self.optimistic.filter(|_| stays));
    }
}

/// The winners of the regular slots.
pub(super) fn choose(now: Moment, mode: Mode, candidates: &[Candidate], slots: usize) -> BTreeSet<PeerKey> {
    ranked(now, mode, candidates, false)
        .into_iter()
        .take(slots)
        .collect()
}

/// Interested peers, the best first. Snubbed ones have no claim while we leech.
fn ranked(now: Moment, mode: Mode, candidates: &[Candidate], with_snubbed: bool) -> Vec<PeerKey> {
    let claims =
        |peer: &&Candidate| peer.interested && (with_snubbed || mode == Mode::Seeding || !peer.snubbed);
    let mut peers: Vec<&Candidate> = candidates.iter().filter(claims).collect();
    peers.sort_by_key(|peer| rank(now, mode, peer));
    peers.into_iter().map(|peer| peer.peer).collect()
}

/// What sorts first is better. Ties go to who has waited longest, then to the older connection.
fn rank(now: Moment, mode: Mode, peer: &Candidate) -> (u8, std::cmp::Reverse<u64>, Moment, PeerKey) {
    let rate = std::cmp::Reverse(peer.rate);
    match (mode, peer.unchoked) {
        (Mode::Leeching, _) => (u8::from(peer.snubbed), rate, peer.choked, peer.peer),
        // Whoever has its turn keeps it, as long as it makes use of it; then come those who wait, in the order of their waiting; then those who had theirs.
        (Mode::Seeding, Some(since)) if now.since(since) < peer.turn() => (0, rate, since, peer.peer),
        (Mode::Seeding, None) => (1, std::cmp::Reverse(0), peer.choked, peer.peer),
        (Mode::Seeding, Some(since)) => (2, rate, since, peer.peer),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    const NOW: Moment = Moment::from_secs(1_000);

    /// Peers as `name:rate`, with marks behind: `-` not interested, `!` snubbed, `+` unchoked just now, `*` unchoked long
    /// ago. Those without a name so far have waited the longer the further to the right they stand.
    fn candidates(drawing: &str) -> Vec<Candidate> {
        let draw = |(place, word): (usize, &str)| {
            let (name, rest) = word.split_once(':').unwrap();
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            let unchoked = match rest {
                rest if rest.contains('+') => Some(Moment::from_secs(990)),
                rest if rest.contains('*') => Some(Moment::from_secs(900)),
                _ => None,
            };
            Candidate {
                peer: PeerKey(name.bytes().next().unwrap().into()),
                interested: !rest.contains('-'),
                rate: digits.parse().unwrap(),
                snubbed: rest.contains('!'),
                unchoked,
                choked: Moment::from_secs(500 - place as u64),
            }
        };
        drawing.split_whitespace().enumerate().map(draw).collect()
    }

    fn names(peers: impl IntoIterator<Item = PeerKey>) -> String {
        let name = |peer: PeerKey| char::from(u8::try_from(peer.0).unwrap());
        peers.into_iter().map(name).collect()
    }

    #[track_caller]
    fn check(mode: Mode, drawing: &str, slots: usize, unchoked: &str) {
        assert_eq!(
            names(choose(NOW, mode, &candidates(drawing), slots)),
            unchoked,
            "{drawing}"
        );
    }

    #[test]
    fn the_fastest_interested_peers_win_the_slots() {
        check(Mode::Leeching, "a:10- b:30 c:20 d:99-", 2, "bc");
        check(Mode::Leeching, "a:10 b:30 c:20 d:99", 2, "bd");
        check(Mode::Leeching, "", 2, "");
    }

    #[test]
    fn who_owes_us_blocks_gets_no_regular_slot() {
        check(Mode::Leeching, "a:10 b:30! c:20", 2, "ac");
        check(Mode::Seeding, "b:30! c:20", 2, "bc");
    }

    #[test]
    fn equals_are_served_in_the_order_of_their_waiting() {
        check(Mode::Leeching, "a:0 b:0 c:0", 2, "bc");
        check(Mode::Seeding, "a:0 b:0 c:0", 1, "c");
    }

    #[test]
    fn a_seeder_gives_everyone_a_turn_of_a_minute() {
        check(Mode::Seeding, "a:9+ b:0 c:0", 1, "a");
        check(Mode::Seeding, "a:9* b:0 c:0", 1, "c");
        check(Mode::Seeding, "a:9* b:0 c:5*", 2, "ab");
    }

    #[test]
    fn who_asks_for_nothing_loses_its_turn_after_a_round() {
        check(Mode::Seeding, "a:0+ b:0", 1, "b");
    }

    #[test]
    fn free_slots_are_filled_at_once_and_full_ones_left_alone() {
        let choker = Choker::new(NOW, 3);
        let fill = |drawing| names(choker.fill(NOW, Mode::Leeching, &candidates(drawing)));
        assert_eq!(fill("a:9+ b:5 c:7 d:6-"), "cb");
        assert_eq!(fill("a:9+ b:5+ c:7+ d:6"), "");
        // Somebody unchoked who wants nothing holds no slot.
        assert_eq!(fill("a:9+ b:5+ c:7+- d:6"), "d");
    }

    #[test]
    fn a_round_comes_every_ten_seconds_and_never_exceeds_the_slots() {
        let mut dice = SmallRng::seed_from_u64(5);
        let mut choker = Choker::new(Moment::START, 3);
        let peers = candidates("a:9 b:5 c:7 d:6 e:1 f:2-");
        assert_eq!(
            choker.round(Moment::from_secs(9), Mode::Leeching, &peers, &mut dice),
            None
        );
        for second in [10, 20, 30, 40, 50, 60] {
            let now = Moment::from_secs(second);
            let chosen = choker.round(now, Mode::Leeching, &peers, &mut dice).unwrap();
            assert_eq!(chosen.len(), 3);
            assert!(chosen.contains(&PeerKey(b'a'.into())) && chosen.contains(&PeerKey(b'c'.into())));
        }
    }

    #[test]
    fn the_optimistic_slot_goes_round_among_the_losers() {
        let mut dice = SmallRng::seed_from_u64(5);
        let mut choker = Choker::new(Moment::START, 2);
        let peers = candidates("a:9 b:5 c:7 d:6 e:1");
        let mut lucky = BTreeSet::new();
        let mut last = None;
        for round in 1..=60 {
            let now = Moment::from_secs(10 * round);
            let chosen = choker.round(now, Mode::Leeching, &peers, &mut dice).unwrap();
            let optimistic = chosen.into_iter().find(|peer| *peer != PeerKey(b'a'.into()));
            assert!(
                optimistic == last || round == 1 || round % 3 == 0,
                "changed in round {round}"
            );
            last = optimistic;
            lucky.extend(optimistic);
        }
        assert_eq!(names(lucky), "bcde");
    }
}
