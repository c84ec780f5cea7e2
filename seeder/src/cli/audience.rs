//! Who takes what we seed, as one line on a terminal. Elsewhere nothing is drawn: standard error is somebody's log there.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{DecimalBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::session;
use crate::engine::{Engine, Event, TorrentKey};

/// The line is read by eye.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Torrents that are asked each time; with more, a line would cost more than it tells.
const ASKED_MAX: usize = 100;

#[derive(Debug)]
pub struct Audience {
    line: ProgressBar,
    clock: Interval,
    torrents: Vec<TorrentKey>,
}

/// What all torrents together give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Given {
    peers: usize,
    rate: u64,
    bytes: u64,
}

impl Audience {
    /// Begins to watch, on a terminal and if somebody is to see it.
    pub fn watch(torrents: Vec<TorrentKey>, talks: bool) -> Self {
        let drawn = talks && io::stderr().is_terminal();
        let target = if drawn {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let line = ProgressBar::with_draw_target(None, target);
        // A template is text of ours; were it ever wrong, the default line would do.
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            line.set_style(style);
        }
        let mut clock = interval(LOOK_INTERVAL);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            line,
            clock,
            torrents,
        }
    }

    /// Returns when it is time to look again; never, where nothing is drawn.
    pub async fn due(&mut self) {
        if self.line.is_hidden() || self.torrents.len() > ASKED_MAX {
            std::future::pending::<()>().await;
        }
        self.clock.tick().await;
    }

    /// Asks what was given so far, and shows it.
    pub async fn look(&self, engine: &Engine) {
        let mut given = Given::default();
        for key in &self.torrents {
            if let Some(status) = engine.status(*key).await {
                given.peers += status.facts.peers;
                given.rate += status.facts.upload_rate;
                given.bytes += status.facts.uploaded;
            }
        }
        self.line.set_message(sentence(given));
        self.line.tick();
    }

    /// Tells of trouble above the line.
    pub fn warn_of(&self, event: &Event) {
        self.line.suspend(|| session::warn_of(event));
    }

    /// Does something to the terminal while the line is away.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.line.suspend(work)
    }

    /// Takes the line away.
    pub fn leave(&self) {
        self.line.finish_and_clear();
    }
}

fn sentence(given: Given) -> String {
    let Given { peers, rate, bytes } = given;
    let peers = if peers == 1 {
        "1 peer".to_owned()
    } else {
        format!("{peers} peers")
    };
    format!(
        "{peers}, {}/s, {} given; Ctrl-C ends it",
        DecimalBytes(rate),
        DecimalBytes(bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_one_sentence() {
        let given = Given {
            peers: 2,
            rate: 1_500_000,
            bytes: 94_000_000,
        };
        assert_eq!(
            sentence(given),
            "2 peers, 1.50 MB/s, 94.00 MB given; Ctrl-C ends it"
        );
        assert_eq!(
            sentence(Given {
                peers: 1,
                ..Given::default()
            }),
            "1 peer, 0 B/s, 0 B given; Ctrl-C ends it"
        );
    }
}
