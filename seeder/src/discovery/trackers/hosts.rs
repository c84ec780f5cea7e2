//! The hosts that trackers live on: which announces may travel to which of them, and what is known of those that are silent.
//! Ten thousand torrents of a tracker that is down ask it once in a while, one for all of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt as _};
use shared::moment::Moment;

use super::http::PER_HOST;
use super::task::Id;
use crate::torrent::announcer::Announce;

/// So many goodbyes to one host travel at once when the process ends: it has three seconds for all of them.
pub(super) const GOODBYES_PER_HOST: usize = 32;
/// One call that is lost says little. After so many without a word in between nobody is there.
const MISSES_MAX: u32 = 3;
/// A tracker that is restarted is back within a minute; one that is gone is asked about twice an hour.
const PAUSE_FIRST: Duration = Duration::from_secs(15);
const PAUSE_MAX: Duration = Duration::from_secs(30 * 60);

/// One host, while something waits for it, travels to it, or is known of it.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) travelling: usize,
    pub(super) waiting: VecDeque<(Id, Announce)>,
    /// Calls in a row on which nobody was heard.
    misses: u32,
    silence: Option<Silence>,
}

/// Nobody answers there.
#[derive(Clone, Debug)]
pub(super) struct Silence {
    /// It is called again then, by one for all.
    pub(super) until: Moment,
    pub(super) reason: Arc<str>,
    /// In a row.
    pauses: u32,
}

/// One announce that travels, by one family or both.
pub(super) struct Attempt {
    pub(super) id: Id,
    pub(super) host: Arc<str>,
    pub(super) announce: Announce,
    /// Families that have not answered.
    pub(super) pending: usize,
    pub(super) answered: bool,
    pub(super) failure: Option<super::http::Heard>,
}

impl Attempt {
    pub(super) fn new(id: Id, host: Arc<str>, announce: Announce) -> Self {
        Self {
            id,
            host,
            announce,
            pending: 0,
            answered: false,
            failure: None,
        }
    }
}

impl Host {
    /// The next announce that may travel. Two of one torrent never travel to one tracker at once: `stopped` must not overtake.
    pub(super) fn next<'a>(
        &mut self,
        now: Moment,
        leaving: bool,
        travelling: impl Iterator<Item = &'a Attempt> + Clone,
    ) -> Option<(Id, Announce)> {
        let most = match &self.silence {
            Some(silence) if now < silence.until => 0,
            Some(_) => 1,
            None if leaving => GOODBYES_PER_HOST,
            None => PER_HOST,
        };
        if self.travelling >= most {
            return None;
        }
        let is_free = |(id, announce): &(Id, Announce)| {
            let clash = |other: &Attempt| other.id.2 == id.2 && other.announce.tracker == announce.tracker;
            !travelling.clone().any(clash)
        };
        let place = self.waiting.iter().position(is_free)?;
        self.travelling += 1;
        self.waiting.remove(place)
    }

    /// An announce that need not leave, since nobody would hear it, and why.
    pub(super) fn hopeless(&mut self, now: Moment) -> Option<(Id, Announce, Silence)> {
        let silence = self.silence.clone().filter(|silence| now < silence.until)?;
        let (id, announce) = self.waiting.pop_front()?;
        Some((id, announce, silence))
    }

    /// Somebody was heard there.
    pub(super) fn spoke(&mut self) {
        self.misses = 0;
        self.silence = None;
    }

    /// Nobody was. Calls that left before the silence was known say nothing new.
    pub(super) fn missed(&mut self, now: Moment, reason: &str, dice: &mut impl Rng) {
        self.misses = self.misses.saturating_add(1);
        let known = self.silence.as_ref();
        if self.misses < MISSES_MAX || known.is_some_and(|silence| now < silence.until) {
            return;
        }
        let pauses = known.map_or(0, |silence| silence.pauses);
        let pause = (PAUSE_FIRST * 2_u32.pow(pauses.min(7))).min(PAUSE_MAX);
        self.silence = Some(Silence {
            until: now + pause.mul_f64(dice.random_range(1.0..1.25)),
            reason: reason.into(),
            pauses: pauses.saturating_add(1),
        });
    }

    /// Somebody insists: the next call is made, whatever is known.
    pub(super) fn try_again(&mut self, now: Moment) {
        if let Some(silence) = &mut self.silence {
            silence.until = silence.until.min(now);
        }
    }

    /// Nothing is to be done or to be remembered.
    pub(super) fn is_forgotten(&self) -> bool {
        self.travelling == 0 && self.waiting.is_empty() && self.silence.is_none() && self.misses == 0
    }

    /// Nothing is to be done.
    pub(super) fn is_idle(&self) -> bool {
        self.travelling == 0 && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn a_silent_host_is_called_by_one_after_longer_and_longer_pauses_until_it_speaks() {
        let mut dice = SmallRng::seed_from_u64(1);
        let (mut host, mut now, mut pauses) = (Host::default(), Moment::START, Vec::new());
        for _ in 0..12 {
            host.missed(now, "gone", &mut dice);
            if let Some(silence) = &host.silence {
                pauses.push(silence.until.since(now).as_secs());
                // Seven others were under way.
                (0..7).for_each(|_| host.missed(now, "gone", &mut dice));
                now = silence_end(&host);
            }
        }
        assert_eq!(pauses.len(), 10, "two calls may be lost");
        assert!(
            (15..19).contains(&pauses[0]) && (30..38).contains(&pauses[1]),
            "{pauses:?}"
        );
        assert!(pauses.iter().all(|pause| *pause <= 30 * 60 * 5 / 4), "{pauses:?}");
        assert!(pauses[9] >= 30 * 60, "{pauses:?}");
        host.spoke();
        assert!(host.is_forgotten());
    }

    fn silence_end(host: &Host) -> Moment {
        host.silence.as_ref().map(|silence| silence.until).unwrap()
    }
}
