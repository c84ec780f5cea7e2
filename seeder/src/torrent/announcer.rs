//! When to announce to whom, and with which event (BEP 3, 12, 31). One tracker of every tier is asked at a time; who fails
//! is followed by the next of its tier at once, who answers moves to the tier's front. The edge does the asking.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use shared::announce::{Event, RetryIn};
use shared::moment::Moment;

/// Trackers of one torrent, all tiers together. A torrent may name as many as it likes; more are not asked.
const TRACKERS_MAX: usize = 100;
/// Peers asked for; what all clients do.
const NUMWANT: u32 = 50;
/// Where a tracker names no interval, as BEP 3's trackers mean it.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(30 * 60);
/// No tracker makes us ask more often than this, nor wait longer than that.
const INTERVAL_MIN: Duration = Duration::from_secs(10);
const INTERVAL_MAX: Duration = Duration::from_secs(6 * 3_600);
/// Where a tracker names no least interval, it is asked early at most so often.
const MIN_INTERVAL_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// Trackers that are restarted or answer 503 in a burst are back within a minute, so the first wait is short.
const BACK_OFF_FIRST: Duration = Duration::from_secs(15);
const BACK_OFF_MAX: Duration = Duration::from_secs(30 * 60);

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The torrent runs and misses so many bytes.
    Start { left: u64 },
    /// The last missing byte is there.
    Completed,
    /// The torrent stops: every tracker that knows of it is told.
    Stop,
    /// The tracker answered; zero where it named no interval.
    Answered {
        tracker: Arc<str>,
        interval: Duration,
        min_interval: Option<Duration>,
    },
    /// The tracker refused or did not answer.
    Failed {
        tracker: Arc<str>,
        retry_in: Option<RetryIn>,
    },
    /// Peers are few: ask as early as the trackers allow.
    WantPeers,
    /// Somebody insists: ask now, whatever the trackers allow.
    Insist,
    /// Other tiers from now on. Trackers that stay are not asked anew; those that go are told goodbye.
    Trackers(Arc<[Vec<Arc<str>>]>),
    /// The deadline is reached.
    Tick,
}

/// Announce this. [`Input::Answered`] or [`Input::Failed`] must follow, unless the event is `stopped`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    pub tracker: Arc<str>,
    pub event: Event,
    pub numwant: u32,
}

/// The announcer of one torrent.
#[derive(Debug)]
pub struct Announcer {
    tiers: Vec<Tier>,
    state: State,
    /// The download was completed while we ran: those who saw us begin are told.
    completed: bool,
    outputs: Vec<Announce>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Stopped,
}

#[derive(Debug, Default)]
struct Tier {
    /// Never empty. The first is the one that answered last.
    trackers: Vec<Tracker>,
    /// The tracker that is being asked, and the event it is told.
    asking: Option<(Arc<str>, Event)>,
    /// When the tier's turn comes.
    next: Moment,
    /// Not sooner than this, also where peers are wanted.
    earliest: Moment,
}

#[derive(Debug)]
struct Tracker {
    url: Arc<str>,
    /// It has answered a `started`.
    knows_us: bool,
    /// It needs not be told `completed` any more.
    knows_completion: bool,
    failures: u32,
    /// `None`: never again.
    retry: Option<Moment>,
    /// When it last answered.
    last: Option<Moment>,
}

/// Where one tracker stands, for those who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerState {
    pub url: Arc<str>,
    pub tier: usize,
    pub asked_now: bool,
    pub failures: u32,
    pub last: Option<Moment>,
    /// When it will be asked, if it is its tier's turn to be; `None` if never again.
    pub next: Option<Moment>,
}

impl Announcer {
    /// Reads the tiers of a torrent: each is shuffled once, a URL counts only at its first place.
    pub fn new(tiers: &[Vec<Arc<str>>], rng: &mut impl Rng) -> Self {
        Self {
            tiers: read_tiers(tiers, rng),
            state: State::Waiting,
            completed: false,
            outputs: Vec::new(),
        }
    }

    /// Tells the announcer what happened.
    pub fn handle(&mut self, now: Moment, input: Input, rng: &mut impl Rng) {
        match input {
            Input::Start { left } => self.start(now, left),
            Input::Completed => self.complete(now),
            Input::Stop => self.stop(),
            Input::Answered {
                tracker,
                interval,
                min_interval,
            } => {
                let interval = until_next(interval, min_interval);
                self.answered(now, &tracker, interval, rng);
            }
            Input::Failed { tracker, retry_in } => self.failed(now, &tracker, retry_in, rng),
            Input::WantPeers => self.hurry(now),
            Input::Insist => self.insist(now),
            Input::Trackers(tiers) => self.replace(now, &tiers, rng),
            Input::Tick => (),
        }
        if self.state == State::Running {
            self.announce(now);
        }
    }

    /// Takes the next announce to be made. Drain it to `None`.
    pub fn poll(&mut self) -> Option<Announce> {
        (!self.outputs.is_empty()).then(|| self.outputs.remove(0))
    }

    /// When to call [`Self::handle`] with [`Input::Tick`] if nothing happens before.
    pub fn deadline(&self) -> Option<Moment> {
        if self.state != State::Running {
            return None;
        }
        let idle = self.tiers.iter().filter(|tier| tier.asking.is_none());
        idle.filter_map(Tier::due).min()
    }

    fn start(&mut self, now: Moment, left: u64) {
        self.state = State::Running;
        self.completed = left == 0;
        for tier in &mut self.tiers {
            tier.next = now;
            tier.earliest = now;
            for tracker in &mut tier.trackers {
                tracker.knows_us = false;
                tracker.knows_completion = left == 0;
            }
        }
    }

    /// `completed` is never too early.
    fn complete(&mut self, now: Moment) {
        if self.state == State::Running && !self.completed {
            self.completed = true;
            for tier in &mut self.tiers {
                tier.next = now;
            }
        }
    }

    fn stop(&mut self) {
        if self.state != State::Running {
            return;
        }
        self.state = State::Stopped;
        self.outputs.clear();
        for tier in &mut self.tiers {
            let asked = tier.asking.take().map(|(url, _)| url);
            for tracker in &tier.trackers {
                // One that is just being told `started` may know us by now.
                if tracker.knows_us || asked.as_ref() == Some(&tracker.url) {
                    self.outputs.push(goodbye(Arc::clone(&tracker.url)));
                }
            }
        }
    }

    fn answered(&mut self, now: Moment, url: &str, wait: Wait, rng: &mut impl Rng) {
        let Some((tier, event)) = self.asked(url) else {
            return;
        };
        if let Some(place) = tier.trackers.iter().position(|tracker| &*tracker.url == url) {
            let mut tracker = tier.trackers.remove(place);
            tracker.failures = 0;
            tracker.retry = Some(Moment::START);
            tracker.knows_us = true;
            tracker.last = Some(now);
            // A `started` that found nothing missing needs no `completed`; one that did is followed by it below.
            tracker.knows_completion |= event == Event::Completed;
            tier.trackers.insert(0, tracker);
        }
        tier.next = now + wait.spread(event, rng);
        tier.earliest = now + wait.least;
        if self.completed {
            self.tell_completion(now);
        }
    }

    /// Trackers that saw us begin and were busy when we completed are told now.
    fn tell_completion(&mut self, now: Moment) {
        for tier in &mut self.tiers {
            let first = tier.trackers.first();
            if first.is_some_and(|tracker| tracker.knows_us && !tracker.knows_completion) {
                tier.next = now;
            }
        }
    }

    fn failed(&mut self, now: Moment, url: &str, retry_in: Option<RetryIn>, rng: &mut impl Rng) {
        let Some((tier, _)) = self.asked(url) else { return };
        if let Some(tracker) = tier.trackers.iter_mut().find(|tracker| &*tracker.url == url) {
            tracker.failures = tracker.failures.saturating_add(1);
            tracker.retry = match retry_in {
                Some(RetryIn::Never) => None,
                Some(RetryIn::After(wait)) => Some(now + wait.clamp(INTERVAL_MIN, INTERVAL_MAX)),
                None => Some(now + back_off(tracker.failures, rng)),
            };
        }
        tier.next = now;
    }

    fn hurry(&mut self, now: Moment) {
        for tier in &mut self.tiers {
            tier.next = tier.next.min(tier.earliest.max(now));
        }
    }

    fn insist(&mut self, now: Moment) {
        for tier in &mut self.tiers {
            tier.next = now;
            for tracker in &mut tier.trackers {
                tracker.retry = Some(now);
            }
        }
    }

    fn replace(&mut self, now: Moment, tiers: &[Vec<Arc<str>>], rng: &mut impl Rng) {
        let mut known = BTreeMap::new();
        for tier in self.tiers.drain(..) {
            for tracker in tier.trackers {
                let asking = tier.asking.clone().filter(|(url, _)| *url == tracker.url);
                known.insert(
                    Arc::clone(&tracker.url),
                    (tracker, asking, tier.next, tier.earliest),
                );
            }
        }
        self.tiers = read_tiers(tiers, rng);
        for tier in &mut self.tiers {
            let mut is_new = true;
            tier.next = now;
            for tracker in &mut tier.trackers {
                if let Some((old, asking, next, earliest)) = known.remove(&tracker.url) {
                    is_new &= !old.knows_us;
                    *tracker = old;
                    tier.asking = tier.asking.take().or(asking);
                    (tier.next, tier.earliest) = (next, earliest);
                } else {
                    tracker.knows_completion = self.completed;
                }
            }
            if is_new {
                tier.next = now;
            }
        }
        if self.state == State::Running {
            let gone = known.into_values();
            let goodbyes = gone.filter(|(tracker, asking, ..)| tracker.knows_us || asking.is_some());
            self.outputs
                .extend(goodbyes.map(|(tracker, ..)| goodbye(tracker.url)));
        }
    }

    /// Where each tracker stands.
    pub fn trackers(&self) -> impl Iterator<Item = TrackerState> + '_ {
        let of_tier = |(number, tier): (usize, &'_ Tier)| {
            let asked = tier.asking.as_ref().map(|(url, _)| Arc::clone(url));
            let (next, running) = (tier.next, self.state == State::Running);
            let states = tier.trackers.iter().map(move |tracker| TrackerState {
                url: Arc::clone(&tracker.url),
                tier: number,
                asked_now: asked.as_ref() == Some(&tracker.url),
                failures: tracker.failures,
                last: tracker.last,
                next: tracker.retry.filter(|_| running).map(|retry| retry.max(next)),
            });
            states.collect::<Vec<_>>()
        };
        self.tiers.iter().enumerate().flat_map(of_tier)
    }

    /// Ends the question that was put to this tracker.
    fn asked(&mut self, url: &str) -> Option<(&mut Tier, Event)> {
        let asks = |tier: &&mut Tier| tier.asking.as_ref().is_some_and(|(asked, _)| &**asked == url);
        let tier = self.tiers.iter_mut().find(asks)?;
        let (_, event) = tier.asking.take()?;
        Some((tier, event))
    }

    fn announce(&mut self, now: Moment) {
        for tier in &mut self.tiers {
            if tier.asking.is_some() || tier.due().is_none_or(|due| due > now) {
                continue;
            }
            let ready = |tracker: &&mut Tracker| tracker.retry.is_some_and(|retry| retry <= now);
            if let Some(tracker) = tier.trackers.iter_mut().find(ready) {
                let event = tracker.event(self.completed);
                tier.asking = Some((tracker.url.clone(), event));
                self.outputs.push(Announce {
                    tracker: tracker.url.clone(),
                    event,
                    numwant: NUMWANT,
                });
            }
        }
    }
}

impl Tier {
    /// When one of the trackers can be asked; never, if all have refused for good.
    fn due(&self) -> Option<Moment> {
        let soonest = self.trackers.iter().filter_map(|tracker| tracker.retry).min()?;
        Some(soonest.max(self.next))
    }
}

impl Tracker {
    fn new(url: Arc<str>) -> Self {
        Self {
            url,
            knows_us: false,
            knows_completion: false,
            failures: 0,
            retry: Some(Moment::START),
            last: None,
        }
    }

    fn event(&mut self, completed: bool) -> Event {
        if !self.knows_us {
            // Whoever learns of us as a seeder has no completion to count.
            self.knows_completion |= completed;
            Event::Started
        } else if completed && !self.knows_completion {
            Event::Completed
        } else {
            Event::None
        }
    }
}

/// How long a tracker wants to be left alone.
#[derive(Clone, Copy)]
struct Wait {
    interval: Duration,
    least: Duration,
}

/// Strangers' numbers within our bounds.
fn until_next(interval: Duration, min_interval: Option<Duration>) -> Wait {
    let interval = if interval.is_zero() {
        INTERVAL_DEFAULT
    } else {
        interval
    };
    let interval = interval.clamp(INTERVAL_MIN, INTERVAL_MAX);
    let least = min_interval
        .unwrap_or(MIN_INTERVAL_DEFAULT)
        .min(interval)
        .max(INTERVAL_MIN);
    Wait { interval, least }
}

impl Wait {
    /// Ten thousand torrents that start together must not come back together: the first time they come back anywhere
    /// between half of the interval and all of it, and later a little before its end. Never sooner than allowed.
    fn spread(self, event: Event, rng: &mut impl Rng) -> Duration {
        let share = if event == Event::Started { 0.5 } else { 0.95 };
        let from = self.interval.mul_f64(share).max(self.least);
        if from >= self.interval {
            return self.interval;
        }
        rng.random_range(from..=self.interval)
    }
}

fn goodbye(tracker: Arc<str>) -> Announce {
    Announce {
        tracker,
        event: Event::Stopped,
        numwant: 0,
    }
}

/// Each tier is shuffled once, and a URL counts only at its first place.
fn read_tiers(tiers: &[Vec<Arc<str>>], rng: &mut impl Rng) -> Vec<Tier> {
    let mut seen = BTreeSet::new();
    let mut kept = Vec::new();
    for urls in tiers {
        let is_first = |url: &&Arc<str>| seen.len() < TRACKERS_MAX && seen.insert(Arc::clone(url));
        let mut urls: Vec<_> = urls.iter().filter(is_first).cloned().collect();
        urls.shuffle(rng);
        if !urls.is_empty() {
            kept.push(Tier {
                trackers: urls.into_iter().map(Tracker::new).collect(),
                ..Tier::default()
            });
        }
    }
    kept
}

/// Doubles with every failure, and differs by up to a quarter so that not all come back at once.
fn back_off(failures: u32, rng: &mut impl Rng) -> Duration {
    let doubled = BACK_OFF_FIRST * 2_u32.pow(failures.saturating_sub(1).min(7));
    doubled.min(BACK_OFF_MAX).mul_f64(rng.random_range(1.0..1.25))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    struct Story {
        announcer: Announcer,
        dice: SmallRng,
    }

    impl Story {
        /// Tiers are separated by `|`, trackers by blanks.
        fn new(tiers: &str, left: u64) -> Self {
            let mut dice = SmallRng::seed_from_u64(1);
            let tiers = tiers
                .split('|')
                .map(|tier| tier.split_whitespace().map(Arc::from).collect())
                .collect::<Vec<_>>();
            let mut story = Self {
                announcer: Announcer::new(&tiers, &mut dice),
                dice,
            };
            story.at(0, Input::Start { left });
            story
        }

        fn at(&mut self, secs: u64, input: Input) -> &mut Self {
            self.announcer
                .handle(Moment::from_secs(secs), input, &mut self.dice);
            self
        }

        fn answered(&mut self, secs: u64, tracker: &str) -> &mut Self {
            let (tracker, interval) = (Arc::from(tracker), Duration::from_secs(30 * 60));
            self.at(
                secs,
                Input::Answered {
                    tracker,
                    interval,
                    min_interval: Some(Duration::from_secs(60)),
                },
            )
        }

        fn failed(&mut self, secs: u64, tracker: &str, retry_in: Option<RetryIn>) -> &mut Self {
            self.at(
                secs,
                Input::Failed {
                    tracker: Arc::from(tracker),
                    retry_in,
                },
            )
        }

        /// What is announced now, as `tracker:event`.
        #[track_caller]
        fn says(&mut self, expected: &str) -> &mut Self {
            let mut said = Vec::new();
            while let Some(announce) = self.announcer.poll() {
                said.push(format!("{}:{:?}", announce.tracker, announce.event).to_lowercase());
            }
            assert_eq!(said.join(" "), expected);
            self
        }
    }

    #[test]
    fn a_torrent_is_started_announced_in_turns_and_stopped() {
        let mut story = Story::new("a", 5);
        story.says("a:started").answered(1, "a").says("");
        let next = story.announcer.deadline().unwrap().as_secs();
        assert!((901..=1_801).contains(&next), "{next}");
        story
            .at(900, Input::Tick)
            .says("")
            .at(1_801, Input::Tick)
            .says("a:none");
        story
            .answered(1_802, "a")
            .at(1_900, Input::Stop)
            .says("a:stopped");
        assert_eq!(story.announcer.deadline(), None);
    }

    #[test]
    fn every_tier_has_one_tracker_asked() {
        Story::new("a|b|c", 5).says("a:started b:started c:started");
    }

    #[test]
    fn the_next_of_the_tier_follows_at_once_and_who_answers_comes_first_from_then_on() {
        let mut story = Story::new("a b", 5);
        let first = story.announcer.poll().unwrap().tracker;
        let second = if &*first == "a" { "b" } else { "a" };
        story.failed(1, &first, None).says(&format!("{second}:started"));
        story
            .answered(2, second)
            .at(1_802, Input::Tick)
            .says(&format!("{second}:none"));
    }

    #[test]
    fn a_lone_tracker_that_fails_is_asked_again_later_and_later() {
        let mut story = Story::new("a", 5);
        story.says("a:started").failed(0, "a", None).says("");
        let first = story.announcer.deadline().unwrap();
        assert!((15..20).contains(&first.as_secs()), "{first:?}");
        story.at(20, Input::Tick).says("a:started").failed(20, "a", None);
        let second = story.announcer.deadline().unwrap();
        assert!((50..60).contains(&second.as_secs()), "{second:?}");
    }

    #[test]
    fn a_tracker_says_when_to_come_back_or_never() {
        let mut story = Story::new("a", 5);
        story
            .says("a:started")
            .failed(0, "a", Some(RetryIn::After(Duration::from_secs(2 * 60))));
        assert_eq!(story.announcer.deadline(), Some(Moment::from_secs(120)));
        story
            .at(120, Input::Tick)
            .says("a:started")
            .failed(121, "a", Some(RetryIn::Never));
        assert_eq!(story.announcer.deadline(), None);
        story
            .at(9_999, Input::WantPeers)
            .says("")
            .at(9_999, Input::Stop)
            .says("");
    }

    #[test]
    fn completion_is_told_at_once_and_once_to_those_who_saw_the_beginning() {
        let mut story = Story::new("a|b", 5);
        story.says("a:started b:started").answered(1, "a");
        // `b` is still busy with our `started`, so it hears of the completion after that.
        story
            .at(2, Input::Completed)
            .says("a:completed")
            .answered(3, "a")
            .says("");
        story
            .answered(4, "b")
            .says("b:completed")
            .answered(5, "b")
            .says("");
        story.at(1_805, Input::Tick).says("a:none b:none");
    }

    #[test]
    fn a_seeder_never_completes() {
        let mut story = Story::new("a", 0);
        story
            .says("a:started")
            .at(1, Input::Completed)
            .answered(2, "a")
            .says("");
    }

    #[test]
    fn a_tracker_that_meets_us_complete_hears_started_only() {
        let mut story = Story::new("a", 5);
        story
            .says("a:started")
            .failed(0, "a", None)
            .at(10, Input::Completed)
            .at(30, Input::Tick)
            .says("a:started");
        story.answered(31, "a").says("");
    }

    #[test]
    fn wanting_peers_asks_early_but_not_earlier_than_allowed() {
        let mut story = Story::new("a", 5);
        story
            .says("a:started")
            .answered(0, "a")
            .at(5, Input::WantPeers)
            .says("");
        assert_eq!(story.announcer.deadline(), Some(Moment::from_secs(60)));
        story.at(60, Input::Tick).says("a:none");
    }

    #[test]
    fn a_tracker_is_asked_once_however_often_it_is_named() {
        Story::new("a a|a", 5).says("a:started");
        assert_eq!(
            Announcer::new(&[vec![]], &mut SmallRng::seed_from_u64(1)).deadline(),
            None
        );
    }

    #[test]
    fn absurd_intervals_are_bounded() {
        let mut story = Story::new("a", 5);
        let answer = |interval| Input::Answered {
            tracker: Arc::from("a"),
            interval,
            min_interval: None,
        };
        story.says("a:started").at(0, answer(Duration::MAX));
        let longest = story.announcer.deadline().unwrap();
        assert!(
            (3 * 3_600..=6 * 3_600).contains(&longest.as_secs()),
            "{longest:?}"
        );
        story
            .at(21_600, Input::Tick)
            .says("a:none")
            .at(21_600, answer(Duration::from_millis(1)));
        assert_eq!(story.announcer.deadline(), Some(Moment::from_secs(21_610)));
    }

    #[test]
    fn torrents_that_start_together_do_not_come_back_together() {
        let mut dice = SmallRng::seed_from_u64(7);
        let seconds: BTreeSet<u64> = (0..1_000)
            .map(|_| {
                let wait = until_next(Duration::from_secs(1_800), Some(Duration::from_secs(60)));
                wait.spread(Event::Started, &mut dice).as_secs()
            })
            .collect();
        assert!(seconds.len() > 500, "{}", seconds.len());
        assert!(seconds.first().unwrap() >= &900 && seconds.last().unwrap() <= &1_800);
        let strict = until_next(Duration::from_secs(1_800), Some(Duration::from_secs(1_800)));
        assert_eq!(
            strict.spread(Event::Started, &mut dice),
            Duration::from_secs(1_800)
        );
    }

    #[test]
    fn who_insists_is_obeyed_whatever_the_trackers_allow() {
        let mut story = Story::new("a|b", 5);
        story.says("a:started b:started").answered(1, "a");
        story.failed(1, "b", Some(RetryIn::Never));
        story.at(5, Input::Insist).says("a:none b:started");
    }

    #[test]
    fn trackers_that_stay_are_not_asked_anew_and_those_that_go_hear_goodbye() {
        let mut story = Story::new("a|b", 5);
        story
            .says("a:started b:started")
            .answered(1, "a")
            .answered(1, "b")
            .says("");
        let tiers = [vec![Arc::from("b")], vec![Arc::from("c")]];
        story
            .at(9, Input::Trackers(Arc::new(tiers)))
            .says("a:stopped c:started");
        let states: Vec<_> = story.announcer.trackers().collect();
        assert_eq!(
            (&*states[0].url, states[0].last),
            ("b", Some(Moment::from_secs(1)))
        );
        assert!(states[1].asked_now && states[1].last.is_none());
    }
}
