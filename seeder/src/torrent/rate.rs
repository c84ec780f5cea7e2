//! Bytes a second over the last few seconds.

use shared::moment::Moment;

/// Long enough to be calm, short enough to see a link become free.
const WINDOW_SECS: u64 = 8;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    /// Bytes of the seconds up to `newest`, each at its number modulo the window.
    seconds: [u64; 8],
    newest: u64,
    /// The second of the first byte.
    first: Option<u64>,
    total: u64,
}

impl Rate {
    /// So many bytes have passed now.
    pub(super) fn add(&mut self, now: Moment, bytes: u64) {
        self.turn(now);
        self.first.get_or_insert(self.newest);
        self.total += bytes;
        if let Some(second) = self.seconds.get_mut((self.newest % WINDOW_SECS) as usize) {
            *second += bytes;
        }
    }

    /// Bytes since the beginning.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Bytes a second, measured since the first byte or over the window, whichever is shorter.
    pub(super) fn per_second(&self, now: Moment) -> u64 {
        let mut turned = *self;
        turned.turn(now);
        let span = self
            .first
            .map_or(1, |first| turned.newest.saturating_sub(first) + 1);
        turned.seconds.iter().sum::<u64>() / span.clamp(1, WINDOW_SECS)
    }

    fn turn(&mut self, now: Moment) {
        let passed = now.as_secs().saturating_sub(self.newest).min(WINDOW_SECS);
        self.newest = self.newest.max(now.as_secs());
        for back in 0..passed {
            let at = self.newest.saturating_sub(back) % WINDOW_SECS;
            if let Some(second) = self.seconds.get_mut(at as usize) {
                *second = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate_from_the_start_and_silence_lets_it_fall() {
        let mut rate = Rate::default();
        for second in 100..103 {
            rate.add(Moment::from_secs(second), 800);
        }
        assert_eq!(rate.per_second(Moment::from_secs(102)), 800);
        for second in 103..120 {
            rate.add(Moment::from_secs(second), 800);
        }
        assert_eq!(rate.per_second(Moment::from_secs(119)), 800);
        assert_eq!(rate.per_second(Moment::from_secs(123)), 400);
        assert_eq!(rate.per_second(Moment::from_secs(999)), 0);
        assert_eq!(rate.total(), 20 * 800);
    }
}
