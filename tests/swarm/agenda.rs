//! What is to come, in grains of time; what comes in the same grain comes in the order of its posting.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use seeder::torrent::Input;
use shared::moment::Moment;
use shared::peer_wire::Message;

const GRAIN_MS: u64 = 5;

#[derive(Debug)]
pub(super) enum Event {
    Start {
        node: usize,
    },
    Stop {
        node: usize,
    },
    Lose {
        node: usize,
        pieces: usize,
    },
    Tick {
        node: usize,
    },
    Call {
        from: usize,
        address: SocketAddr,
    },
    Tracked {
        node: usize,
    },
    /// What a process has begun, only that process hears the end of: `life` counts them.
    Told {
        node: usize,
        life: u32,
        input: Box<Input>,
    },
    /// A message is there.
    Word {
        conn: usize,
        end: usize,
        message: Message,
    },
    /// A block has left the uplink.
    Left {
        node: usize,
        conn: usize,
        end: usize,
        message: Message,
    },
    Closed {
        conn: usize,
        end: usize,
    },
}

#[derive(Debug, Default)]
pub(super) struct Agenda {
    grain: u64,
    /// The next grain first.
    coming: VecDeque<Vec<Event>>,
}

impl Agenda {
    pub(super) fn now(&self) -> Moment {
        Moment::from_millis(self.grain * GRAIN_MS)
    }

    /// The end of the grain in which this moment lies, and of the next grain at the earliest.
    pub(super) fn moment(&self, at: Moment) -> Moment {
        let grain = at.as_millis().div_ceil(GRAIN_MS).max(self.grain + 1);
        Moment::from_millis(grain * GRAIN_MS)
    }

    /// After this delay.
    pub(super) fn post(&mut self, delay: Duration, event: Event) {
        self.post_at(self.now() + delay, event);
    }

    pub(super) fn post_at(&mut self, at: Moment, event: Event) {
        let grain = self.moment(at).as_millis() / GRAIN_MS;
        let place = usize::try_from(grain - self.grain - 1).expect("soon");
        if self.coming.len() <= place {
            self.coming.resize_with(place + 1, Vec::new);
        }
        if let Some(events) = self.coming.get_mut(place) {
            events.push(event);
        }
    }

    /// Goes on to the next grain.
    pub(super) fn next(&mut self) -> Vec<Event> {
        self.grain += 1;
        self.coming.pop_front().unwrap_or_default()
    }
}
