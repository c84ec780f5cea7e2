//! What one peer may cost us. Messages that tell nothing new cost a point each, and so do refusals; points come back with
//! time, so that only who floods runs out of them. Payload that is of no use is held against payload that was.

use shared::moment::Moment;
use shared::peer_wire::Message;

use super::events::Why;

/// Points that a peer can save up.
const BUDGET: u32 = 4_000;
/// Points that come back in a second.
const PER_SECOND: u32 = 50;
/// Payload thrown away before anybody counts it.
const WASTE_MIN: u64 = 16 << 20;
/// Requests for less are hardly worth the reading.
const TINY: u32 = 1_024;

/// One peer's account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    points: u32,
    /// Up to when points were given back.
    since: Moment,
    wasted: u64,
    used: u64,
}

impl Cost {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            points: 0,
            since: now,
            wasted: 0,
            used: 0,
        }
    }

    /// A message told nothing that is worth its reading.
    pub(super) fn charge(&mut self, now: Moment) -> Result<(), Why> {
        let seconds = u32::try_from(now.since(self.since).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            self.points = self.points.saturating_sub(seconds.saturating_mul(PER_SECOND));
            self.since = now;
        }
        self.points += 1;
        if self.points > BUDGET {
            return Err(Why::TooManyMessages(self.points));
        }
        Ok(())
    }

    /// Payload came that was of use.
    pub(super) fn used(&mut self, bytes: u64) {
        self.used += bytes;
    }

    /// Payload came that nobody needed any more.
    pub(super) fn wasted(&mut self, bytes: u64) -> Result<(), Why> {
        self.wasted += bytes;
        if self.wasted > WASTE_MIN && self.wasted > self.used {
            return Err(Why::Wasteful(self.wasted));
        }
        Ok(())
    }
}

/// What a message costs before anybody knows what it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Price {
    Free,
    /// A point.
    Always,
    /// A point, if it turns out to tell nothing.
    IfNothing,
}

/// Blocks, pieces, suggestions and refusals are judged by what they tell; the rest costs.
pub(super) fn price(message: &Message) -> Price {
    match message {
        Message::Have(_) | Message::Reject(_) | Message::Suggest(_) => Price::IfNothing,
        Message::Request(span) if span.length < TINY => Price::Always,
        Message::Request(_) | Message::Piece { .. } => Price::Free,
        _ => Price::Always,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_runs_out_of_points_and_a_trickle_never_does() {
        let mut cost = Cost::new(Moment::from_secs(0));
        let flood = (0..10_000).take_while(|_| cost.charge(Moment::from_secs(1)).is_ok());
        assert_eq!(flood.count(), 4_000);
        let mut cost = Cost::new(Moment::from_secs(0));
        let mut trickle = (0..100_000).map(|number| cost.charge(Moment::from_secs(number / 50)));
        assert!(trickle.all(|charged| charged.is_ok()));
    }

    #[test]
    fn who_wastes_more_than_it_gives_goes_and_who_gives_much_may_waste_some() {
        let mut cost = Cost::new(Moment::from_secs(0));
        assert_eq!(cost.wasted(WASTE_MIN), Ok(()));
        assert_eq!(cost.wasted(1), Err(Why::Wasteful(WASTE_MIN + 1)));
        cost.used(WASTE_MIN * 2);
        assert_eq!(cost.wasted(1), Ok(()));
    }
}
