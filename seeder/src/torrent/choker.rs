//! Who may ask us for blocks (BEP 3). A round every ten seconds chooses anew; in between, slots that fall free are filled at
//! once, so that nobody waits for a timer.
//!
//! While we miss pieces, those who give us most are chosen, and some slots are optimistic: they go round every thirty
//! seconds, to newcomers before others, so that these can show what they give. Who has taken much and given nothing, though
//! it could, gets a quarter of the slots at most, and only those that nobody else wants. When we seed, everyone has a
//! turn: a minute and a quota of bytes. Who waits is ranked by the time of its waiting, and those who have next to nothing
//! or next to all are ranked as if they had waited a minute more: the first can give soon, the last leave soon as seeds.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use shared::moment::Moment;

use super::events::PeerKey;

pub(super) const ROUND: Duration = Duration::from_secs(10);
/// Rounds that an optimistic peer keeps its slot.
const OPTIMISTIC_ROUNDS: u64 = 3;
/// One slot of so many is optimistic.
const OPTIMISTIC_SHARE: usize = 5;
/// One slot of so many may go to those who owe.
const DEBTORS_SHARE: usize = 4;
/// When we seed, a peer keeps its slot so long at least, and until it has got so much; but no longer than the longest turn.
const TURN: Duration = Duration::from_secs(60);
const TURN_BYTES: u64 = 8 * 1024 * 1024;
const TURN_MAX: Duration = Duration::from_secs(180);
/// What next to nothing or next to all is worth when we seed, in seconds of waiting.
const HELP: u64 = 60;
/// Who only took while we missed pieces too waits so much longer for its turn, in seconds.
const DEBT: u64 = 120;
/// Slots to begin with, while nothing is measured.
const SLOTS_FIRST: usize = 4;
const SLOTS_MIN: usize = 4;
const SLOTS_MAX: usize = 64;

/// What the choker needs to know of a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) peer: PeerKey,
    pub(super) interested: bool,
    /// Bytes a second that it gives us, or while we seed, that it takes.
    pub(super) rate: u64,
    /// The share of the torrent that it has, in thousandths.
    pub(super) has: u16,
    /// Bytes that we gave it since it was unchoked, and in all.
    pub(super) given_in_turn: u64,
    pub(super) given: u64,
    /// It took much more than it gave, and has what we want.
    pub(super) owes: bool,
    /// It owes us blocks and has sent none for a minute: nothing is given for nothing.
    pub(super) snubbed: bool,
    /// Since when it has been unchoked.
    pub(super) unchoked: Option<Moment>,
    /// When it was choked last, or came.
    pub(super) choked: Moment,
}

impl Candidate {
    /// When we seed: its turn is over as soon as others wait. A peer that takes nothing has a round to begin,
    /// and one that owes has no more than that.
    fn had_its_turn(&self, now: Moment, since: Moment) -> bool {
        let held = now.since(since);
        match self.rate {
            0 => held >= ROUND,
            _ if self.owes => held >= ROUND,
            _ => held >= TURN_MAX || (held >= TURN && self.given_in_turn >= TURN_BYTES),
        }
    }

    /// Seconds of waiting, and what is added to them for who is at the beginning or near the end.
    fn patience(&self, now: Moment) -> u64 {
        let from_half = u64::from(self.has.min(1_000).abs_diff(500));
        let debt = if self.owes { DEBT } else { 0 };
        (now.since(self.choked).as_secs() + HELP * from_half / 500).saturating_sub(debt)
    }

    fn is_newcomer(&self) -> bool {
        self.given == 0
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
    /// Slots that somebody has set.
    limit: Option<usize>,
    slots: usize,
    upload_rate: u64,
    rounds: u64,
    next: Moment,
    optimistic: BTreeSet<PeerKey>,
}

impl Choker {
    pub(super) fn new(now: Moment, limit: Option<usize>) -> Self {
        Self {
            limit,
            slots: limit.unwrap_or(SLOTS_FIRST),
            upload_rate: 0,
            rounds: 0,
            next: now + ROUND,
            optimistic: BTreeSet::new(),
        }
    }

    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// So many slots from now on, or as many as fit the upload. The next round comes at once.
    pub(super) fn limit(&mut self, now: Moment, limit: Option<usize>) {
        self.limit = limit;
        self.slots = limit.unwrap_or(self.slots.clamp(SLOTS_MIN, SLOTS_MAX));
        self.next = now;
    }

    /// It is time to choose anew.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        now >= self.next
    }

    /// What all peers together take, in bytes a second.
    pub(super) fn measured(&mut self, upload_rate: u64) {
        self.upload_rate = upload_rate;
    }

    /// Chooses anew who is unchoked.
    pub(super) fn round(
        &mut self,
        now: Moment,
        mode: Mode,
        candidates: &[Candidate],
        rng: &mut impl Rng,
    ) -> BTreeSet<PeerKey> {
        self.next = now + ROUND;
        self.rounds += 1;
        self.slots = self
            .limit
            .unwrap_or_else(|| fitting(self.slots, self.upload_rate));
        let mut chosen = BTreeSet::new();
        match mode {
            Mode::Leeching => {
                let optimistic = self.slots.div_ceil(OPTIMISTIC_SHARE);
                let regular = self.slots - optimistic.min(self.slots.saturating_sub(1));
                chosen = choose(now, candidates, regular);
                self.choose_optimistic(candidates, &chosen, optimistic, rng);
                let room = self.slots - chosen.len();
                chosen.extend(self.optimistic.iter().take(room));
            }
            Mode::Seeding => self.optimistic.clear(),
        }
        let others: Vec<Candidate> = without(candidates, |peer| chosen.contains(&peer.peer));
        let taken = candidates.iter().filter(|peer| chosen.contains(&peer.peer));
        chosen.extend(self.rest(now, mode, &others, taken));
        chosen
    }

    /// Between rounds: who gets the slots that are free.
    pub(super) fn fill(&self, now: Moment, mode: Mode, candidates: &[Candidate]) -> Vec<PeerKey> {
        let holds = |peer: &Candidate| peer.interested && peer.unchoked.is_some();
        let waiting = without(candidates, |peer| peer.unchoked.is_some());
        self.rest(now, mode, &waiting, candidates.iter().filter(|peer| holds(peer)))
    }

    /// Slots that are left over go to whoever else is interested.
    fn rest<'a>(
        &self,
        now: Moment,
        mode: Mode,
        others: &[Candidate],
        taken: impl Iterator<Item = &'a Candidate> + Clone,
    ) -> Vec<PeerKey> {
        let mut free = self.slots.saturating_sub(taken.clone().count());
        let indebted = |peer: &Candidate| mode == Mode::Leeching && peer.owes;
        let mut credit = self
            .slots
            .div_ceil(DEBTORS_SHARE)
            .saturating_sub(taken.filter(|peer| indebted(peer)).count());
        let mut peers = Vec::new();
        for peer in ranked(now, mode, others) {
            let owes = indebted(&peer);
            if free > 0 && (!owes || credit > 0) {
                free -= 1;
                credit -= usize::from(owes);
                peers.push(peer.peer);
            }
        }
        peers
    }

    /// Every third round, or when a holder has left or won a slot by itself, optimistic slots go to somebody new.
    fn choose_optimistic(
        &mut self,
        candidates: &[Candidate],
        chosen: &BTreeSet<PeerKey>,
        count: usize,
        rng: &mut impl Rng,
    ) {
        let losers: Vec<&Candidate> = candidates
            .iter()
            .filter(|candidate| candidate.interested && !chosen.contains(&candidate.peer))
            .collect();
        let before = std::mem::take(&mut self.optimistic);
        // Who has taken enough to show what it gives, and gives nothing, makes room at once.
        let stay = |peer: &PeerKey| losers.iter().any(|loser| loser.peer == *peer && !loser.owes);
        if !self.rounds.is_multiple_of(OPTIMISTIC_ROUNDS) {
            self.optimistic = before
                .iter()
                .filter(|peer| stay(peer))
                .take(count)
                .copied()
                .collect();
        }
        for class in [
            |loser: &Candidate| loser.is_newcomer(),
            |loser: &Candidate| !loser.is_newcomer() && !loser.owes && !loser.snubbed,
            |loser: &Candidate| !loser.is_newcomer() && (loser.owes || loser.snubbed),
        ] {
            // Those who had it before come again only where there is nobody else of their class.
            for again in [false, true] {
                let of_class = losers.iter().filter(|loser| {
                    class(loser)
                        && before.contains(&loser.peer) == again
                        && !self.optimistic.contains(&loser.peer)
                });
                let of_class: Vec<PeerKey> = of_class.map(|loser| loser.peer).collect();
                let room = count.saturating_sub(self.optimistic.len());
                self.optimistic.extend(of_class.sample(rng, room));
            }
        }
    }
}

/// As many slots as let each peer have more, the more there are: the sixteenth is opened at a megabyte a second, the
/// fiftieth at ten. The number moves slowly, so that a pause chokes nobody.
fn fitting(slots: usize, upload_rate: u64) -> usize {
    if upload_rate == 0 {
        return slots;
    }
    let fits = usize::try_from((upload_rate / 4_096).isqrt()).unwrap_or(SLOTS_MAX);
    let step = (slots / 4).max(2);
    fits.clamp(SLOTS_MIN, SLOTS_MAX)
        .clamp(slots.saturating_sub(1), slots + step)
}

fn without(candidates: &[Candidate], unwanted: impl Fn(&Candidate) -> bool) -> Vec<Candidate> {
    candidates
        .iter()
        .filter(|candidate| !unwanted(candidate))
        .copied()
        .collect()
}

/// The winners of the regular slots while we leech: those who give, the fastest first.
fn choose(now: Moment, candidates: &[Candidate], slots: usize) -> BTreeSet<PeerKey> {
    let gives = without(candidates, |peer| peer.rate == 0 || peer.snubbed);
    let winners = ranked(now, Mode::Leeching, &gives).into_iter().take(slots);
    winners.map(|peer| peer.peer).collect()
}

/// Interested peers, the best first.
fn ranked(now: Moment, mode: Mode, candidates: &[Candidate]) -> Vec<Candidate> {
    let mut peers = without(candidates, |peer| !peer.interested);
    peers.sort_by_key(|peer| rank(now, mode, peer));
    peers
}

/// What sorts first is better. Ties go to who has waited longest, then to the older connection.
fn rank(now: Moment, mode: Mode, peer: &Candidate) -> (u8, std::cmp::Reverse<u64>, Moment, PeerKey) {
    let (class, better, since) = match (mode, peer.unchoked) {
        (Mode::Leeching, _) if peer.snubbed => (3, peer.rate, peer.choked),
        (Mode::Leeching, _) if peer.rate > 0 => (0, peer.rate, peer.choked),
        (Mode::Leeching, _) => (1 + u8::from(peer.owes), 0, peer.choked),
        // Whoever has its turn keeps it; then come those who wait, then those who had theirs.
        (Mode::Seeding, Some(since)) if !peer.had_its_turn(now, since) => (0, 0, since),
        (Mode::Seeding, None) => (1, peer.patience(now), peer.choked),
        (Mode::Seeding, Some(since)) => (2, peer.rate, since),
    };
    (class, std::cmp::Reverse(better), since, peer.peer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    const NOW: Moment = Moment::from_secs(1_000);

    /// Peers as `name:rate`, with marks behind: `-` not interested, `!` snubbed, `?` owes, `+` unchoked a round ago, `*`
    /// unchoked long ago, `%` with the quota had, `n` a newcomer, `<` has nothing, `>` has nearly all (others have half).
    /// Those who are choked have waited a second longer each, from left to right.
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
                has: if rest.contains('<') {
                    0
                } else if rest.contains('>') {
                    990
                } else {
                    500
                },
                given_in_turn: if rest.contains('%') { TURN_BYTES } else { 1 },
                given: u64::from(!rest.contains('n')),
                owes: rest.contains('?'),
                snubbed: rest.contains('!'),
                unchoked,
                choked: Moment::from_secs(900 - place as u64),
            }
        };
        drawing.split_whitespace().enumerate().map(draw).collect()
    }

    fn names(peers: impl IntoIterator<Item = PeerKey>) -> String {
        let name = |peer: PeerKey| char::from(u8::try_from(peer.0).unwrap());
        peers.into_iter().map(name).collect()
    }

    fn choker(slots: usize) -> Choker {
        Choker::new(Moment::START, Some(slots))
    }

    /// Who is unchoked after a round of seeding.
    #[track_caller]
    fn seeds(drawing: &str, slots: usize, unchoked: &str) {
        let mut dice = SmallRng::seed_from_u64(5);
        let chosen = choker(slots).round(NOW, Mode::Seeding, &candidates(drawing), &mut dice);
        assert_eq!(names(chosen), unchoked, "{drawing}");
    }

    /// Who wins the regular slots of a leecher.
    #[track_caller]
    fn wins(drawing: &str, slots: usize, unchoked: &str) {
        assert_eq!(
            names(choose(NOW, &candidates(drawing), slots)),
            unchoked,
            "{drawing}"
        );
    }

    /// Who gets the free slots, in which order.
    #[track_caller]
    fn fills(mode: Mode, drawing: &str, slots: usize, expected: &str) {
        let peers = choker(slots).fill(NOW, mode, &candidates(drawing));
        assert_eq!(names(peers), expected, "{drawing}");
    }

    #[test]
    fn the_fastest_interested_peers_win_the_slots() {
        wins("a:10- b:30 c:20 d:99-", 2, "bc");
        wins("a:10 b:30 c:20 d:99", 2, "bd");
        wins("", 2, "");
    }

    #[test]
    fn who_gives_nothing_or_owes_us_blocks_wins_no_regular_slot() {
        wins("a:10 b:30! c:20", 3, "ac");
        wins("a:10 b:0 c:0n", 3, "a");
    }

    #[test]
    fn free_slots_are_filled_at_once_and_full_ones_left_alone() {
        fills(Mode::Leeching, "a:9+ b:5 c:7 d:6-", 3, "cb");
        fills(Mode::Leeching, "a:9+ b:5+ c:7+ d:6", 3, "");
        // Somebody unchoked who wants nothing holds no slot.
        fills(Mode::Leeching, "a:9+ b:5+ c:7+- d:6", 3, "d");
        fills(Mode::Leeching, "a:0 b:0 c:0", 2, "cb");
    }

    #[test]
    fn who_took_much_and_gave_nothing_gets_what_nobody_else_wants_and_not_more_than_a_quarter() {
        fills(Mode::Leeching, "a:0? b:0? c:0 d:1", 3, "dcb");
        fills(Mode::Leeching, "a:0? b:0? c:0? d:1", 4, "dc");
        fills(Mode::Leeching, "a:0?+ b:0? c:0?", 4, "");
        fills(Mode::Leeching, "a:0? b:0? c:0? d:0?", 8, "dc");
        // A seed is owed nothing.
        fills(Mode::Seeding, "a:0? b:0? c:0?", 4, "cba");
    }

    #[test]
    fn a_seeder_gives_everyone_a_turn_of_a_minute_and_a_quota() {
        seeds("a:9+% b:0 c:0", 1, "a");
        seeds("a:9*% b:0 c:0", 1, "c");
        seeds("a:9*% b:0 c:5*%", 2, "ab");
        // A slow peer has more time for its quota.
        seeds("a:9* b:0 c:0", 1, "a");
        seeds("a:0+ b:0", 1, "b");
    }

    #[test]
    fn a_seeder_prefers_the_first_and_the_last_steps_but_lets_nobody_wait_for_ever() {
        seeds("a:0< b:0 c:0", 1, "a");
        seeds("a:0> b:0 c:0", 1, "a");
        let mut waiting = candidates("a:0< b:0");
        waiting[1].choked = Moment::from_secs(839);
        let mut dice = SmallRng::seed_from_u64(5);
        let chosen = choker(1).round(NOW, Mode::Seeding, &waiting, &mut dice);
        assert_eq!(names(chosen), "b");
    }

    #[test]
    fn the_optimistic_slot_goes_round_among_the_losers_and_newcomers_come_first() {
        let mut dice = SmallRng::seed_from_u64(5);
        let mut choker = choker(2);
        let mut peers = candidates("a:9 b:5 c:7 d:6 e:1n");
        let (mut lucky, mut last) = (String::new(), String::new());
        for round in 1..=60 {
            let now = Moment::from_secs(10 * round);
            assert!(choker.is_due(now) && !choker.is_due(Moment::from_secs(10 * round - 1)));
            let chosen = choker.round(now, Mode::Leeching, &peers, &mut dice);
            assert_eq!(chosen.len(), 2);
            let optimistic = names(chosen).replace('a', "");
            assert!(
                optimistic == last || round == 1 || round % 3 == 0,
                "changed in round {round}"
            );
            if round == 1 {
                assert_eq!(optimistic, "e");
                peers[4].given = 1;
            }
            last.clone_from(&optimistic);
            if !lucky.contains(&optimistic) {
                lucky += &optimistic;
            }
        }
        assert_eq!(lucky.len(), 4);
    }

    #[test]
    fn who_owes_gets_an_optimistic_slot_only_where_nobody_else_would() {
        let mut dice = SmallRng::seed_from_u64(5);
        for _ in 0..20 {
            let chosen = choker(2).round(NOW, Mode::Leeching, &candidates("a:9 b:0? c:0!"), &mut dice);
            assert_eq!(chosen.len(), 2);
            let chosen = choker(2).round(NOW, Mode::Leeching, &candidates("a:9 b:0? c:0 d:0!"), &mut dice);
            assert_eq!(names(chosen), "ac");
        }
    }

    #[test]
    fn slots_follow_the_upload_slowly_and_a_limit_at_once() {
        let after = |slots, rate, rounds| (0..rounds).fold(slots, |slots, _| fitting(slots, rate));
        assert_eq!(after(8, 0, 10), 8);
        assert_eq!(after(8, 1 << 20, 1), 10);
        assert_eq!(after(8, 1 << 20, 10), 16);
        assert_eq!(after(8, 10 << 20, 20), 50);
        assert_eq!(after(8, 50_000, 20), 4);
        assert_eq!(after(8, u64::MAX, 50), 64);
        assert_eq!(after(4, 10 << 20, 3), 10);
        assert_eq!(after(16, 50_000, 1), 15);
        let mut choker = Choker::new(NOW, None);
        choker.limit(NOW, Some(2));
        assert!(choker.is_due(NOW));
        assert_eq!(choker.slots(), 2);
        choker.limit(NOW, None);
        assert_eq!(choker.slots(), 4);
    }

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        let moment = || (0_u64..1_000).prop_map(Moment::from_secs);
        (
            any::<(bool, bool, bool)>(),
            (0_u64..5, 0_u16..=1_000, 0_u64..3),
            prop::option::of(moment()),
            moment(),
        )
            .prop_map(
                |((interested, owes, snubbed), (rate, has, given), unchoked, choked)| Candidate {
                    peer: PeerKey(0),
                    interested,
                    rate,
                    has,
                    given_in_turn: given,
                    given,
                    owes,
                    snubbed,
                    unchoked,
                    choked,
                },
            )
    }

    proptest! {
        #[test]
        fn slots_are_never_exceeded_and_none_stays_free_while_an_honest_peer_waits(
            mut peers in prop::collection::vec(any_candidate(), 0..30), slots in 0_usize..12, seeding: bool, seed: u64,
        ) {
            for (peer, number) in peers.iter_mut().zip(0..) {
                peer.peer = PeerKey(number);
            }
            let mode = if seeding { Mode::Seeding } else { Mode::Leeching };
            let mut choker = choker(slots);
            let mut dice = SmallRng::seed_from_u64(seed);
            for round in 1..5 {
                let now = NOW + ROUND * round;
                let chosen = choker.round(now, mode, &peers, &mut dice);
                prop_assert!(chosen.len() <= slots);
                for peer in &mut peers {
                    let honest = seeding || !peer.owes;
                    let waits = peer.interested && honest && !chosen.contains(&peer.peer);
                    prop_assert!(!waits || chosen.len() == slots);
                    prop_assert!(peer.interested || !chosen.contains(&peer.peer));
                    peer.unchoked = chosen.contains(&peer.peer).then_some(peer.unchoked.unwrap_or(now));
                }
                prop_assert_eq!(choker.fill(now, mode, &peers), []);
            }
        }

        #[test]
        fn regular_slots_go_to_those_who_give_most(
            mut peers in prop::collection::vec(any_candidate(), 0..30), slots in 0_usize..12,
        ) {
            for (peer, number) in peers.iter_mut().zip(0..) {
                peer.peer = PeerKey(number);
            }
            let gives = |peer: &&Candidate| peer.interested && peer.rate > 0 && !peer.snubbed;
            let chosen = choose(NOW, &peers, slots);
            let (winners, losers): (Vec<&Candidate>, Vec<&Candidate>) = peers.iter().partition(|peer| chosen.contains(&peer.peer));
            prop_assert!(winners.iter().all(gives));
            prop_assert_eq!(winners.len(), slots.min(peers.iter().filter(gives).count()));
            let least = winners.iter().map(|peer| peer.rate).min();
            let most = losers.iter().copied().filter(gives).map(|peer| peer.rate).max();
            prop_assert!(winners.is_empty() || most.is_none() || least >= most);
        }

        #[test]
        fn while_we_take_no_newcomer_waits_longer_than_those_before_it_try(
            count in 1_u64..20, slots in 1_usize..9, seed: u64,
        ) {
            let mut dice = SmallRng::seed_from_u64(seed);
            let mut choker = choker(slots);
            // Four who give fast, and newcomers who have got nothing yet.
            let mut peers = candidates(&"a:9 ".repeat(usize::try_from(count).unwrap() + 4));
            for (number, peer) in (0..).zip(&mut peers) {
                peer.peer = PeerKey(number);
                (peer.rate, peer.given) = if number < 4 { (9, 1) } else { (0, 0) };
            }
            for round in 1..=count * OPTIMISTIC_ROUNDS + OPTIMISTIC_ROUNDS {
                let now = NOW + ROUND * u32::try_from(round).unwrap();
                let chosen = choker.round(now, Mode::Leeching, &peers, &mut dice);
                for peer in peers.iter_mut().filter(|peer| chosen.contains(&peer.peer)) {
                    peer.given += 1;
                }
            }
            let waits = peers.iter().filter(|peer| peer.is_newcomer()).count();
            prop_assert!(slots == 1 || waits == 0, "{waits} of {count} newcomers had no turn");
        }

        #[test]
        fn when_we_seed_everyone_has_a_turn(
            count in 1_u64..20, slots in 1_usize..5, shares in prop::collection::vec(0_u16..=1_000, 20),
            debts in prop::collection::vec(any::<bool>(), 20),
        ) {
            let mut dice = SmallRng::seed_from_u64(1);
            let mut choker = choker(slots);
            let mut peers = candidates(&"a:9 ".repeat(usize::try_from(count).unwrap()));
            let mut served: BTreeSet<PeerKey> = BTreeSet::new();
            for (number, peer) in (0..).zip(&mut peers) {
                let place = usize::try_from(number).unwrap();
                (peer.peer, peer.has, peer.owes) = (PeerKey(number), shares[place], debts[place]);
            }
            // No turn is longer than three minutes, and neither preference nor debt is worth more than one.
            for round in 1..=count * 40 + 40 {
                let now = NOW + ROUND * u32::try_from(round).unwrap();
                let chosen = choker.round(now, Mode::Seeding, &peers, &mut dice);
                served.extend(&chosen);
                for peer in &mut peers {
                    if peer.unchoked.is_some() && !chosen.contains(&peer.peer) {
                        peer.choked = now;
                    }
                    peer.unchoked = chosen.contains(&peer.peer).then_some(peer.unchoked.unwrap_or(now));
                }
            }
            prop_assert_eq!(served.len() as u64, count);
        }
    }
}
