//! A download as a person watches it: a bar on a terminal, a plain line now and then elsewhere. Always on standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{DecimalBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use edge::output::plain;

use super::{session, tell};
use crate::engine::Event;
use crate::torrent::Status;

/// Plain lines land in somebody's log, so one in so many facts is told; facts come every second.
const LINE_EVERY: u32 = 10;

#[derive(Debug)]
pub struct Gauge {
    name: String,
    bar: ProgressBar,
    /// False where scripts read events instead.
    talks: bool,
    facts_seen: u32,
}

impl Gauge {
    /// Begins to show a download. The time counts from now.
    pub fn start(name: String, talks: bool) -> Self {
        let drawn = talks && io::stderr().is_terminal();
        let target = if drawn {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target).with_prefix(name.clone());
        bar.set_message("looking for peers");
        // A template is text of ours; were it ever wrong, the default bar would do.
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:25} {percent:>3} %  {wide_msg}") {
            bar.set_style(style);
        }
        if drawn {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self {
            name,
            bar,
            talks,
            facts_seen: 0,
        }
    }

    /// The metadata say how the torrent is really called.
    pub fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        self.bar.set_prefix(name.to_owned());
    }

    /// Shows how far the download has come, and why it waits, if it does.
    pub fn show(&mut self, facts: &Status, why: Option<&str>) {
        self.bar.set_length(facts.wanted_bytes);
        self.bar.set_position(done(facts));
        let sentence = match why {
            Some(why) => format!("{}: {}", sentence(facts), plain(why)),
            None => sentence(facts),
        };
        self.bar.set_message(sentence.clone());
        if self.talks && self.bar.is_hidden() && self.facts_seen.is_multiple_of(LINE_EVERY) {
            tell(format_args!("{}: {} %, {}", self.name, percent(facts), sentence));
        }
        self.facts_seen = self.facts_seen.wrapping_add(1);
    }

    /// Says something above the bar.
    pub fn say(&self, line: impl Display) {
        if self.talks {
            self.bar.suspend(|| tell(line));
        }
    }

    /// Tells of trouble above the bar, also those who read events: standard error is where people look for it.
    pub fn warn_of(&self, event: &Event) {
        self.bar.suspend(|| session::warn_of(event));
    }

    /// Takes the bar away and says how long it stood.
    pub fn finish(&self) -> Duration {
        let took = self.bar.elapsed();
        self.bar.finish_and_clear();
        took
    }
}

/// Bytes of what is wanted that are verified.
fn done(facts: &Status) -> u64 {
    facts.wanted_bytes.saturating_sub(facts.left_bytes)
}

/// How much of what is wanted is verified.
pub fn percent(facts: &Status) -> u64 {
    let hundredfold = done(facts).saturating_mul(100);
    hundredfold.checked_div(facts.wanted_bytes).unwrap_or(0)
}

/// Speed, peers and the time that is left, as far as they are known.
fn sentence(facts: &Status) -> String {
    let peers = if facts.peers == 1 {
        "1 peer".to_owned()
    } else {
        format!("{} peers", facts.peers)
    };
    if !facts.metadata {
        return format!("asking {peers} what the torrent holds");
    }
    let speed = format!("{}/s, {peers}", DecimalBytes(facts.download_rate));
    match facts.left_bytes.checked_div(facts.download_rate) {
        Some(seconds) => format!("{speed}, {} left", HumanDuration(Duration::from_secs(seconds))),
        None => speed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(have_bytes: u64, download_rate: u64, peers: usize) -> Status {
        Status {
            metadata: true,
            wanted_bytes: 100_000_000,
            left_bytes: 100_000_000 - have_bytes,
            download_rate,
            peers,
            ..Status::default()
        }
    }

    #[test]
    fn a_download_is_told_by_speed_peers_and_time_left() {
        let facts = facts(50_000_000, 5_000_000, 3);
        assert_eq!(percent(&facts), 50);
        assert_eq!(sentence(&facts), "5.00 MB/s, 3 peers, 10 seconds left");
    }

    #[test]
    fn nothing_is_promised_of_a_download_that_stands_still() {
        assert_eq!(sentence(&facts(0, 0, 0)), "0 B/s, 0 peers");
        let unknown = Status {
            metadata: false,
            peers: 1,
            ..Status::default()
        };
        assert_eq!(sentence(&unknown), "asking 1 peer what the torrent holds");
        assert_eq!(percent(&Status::default()), 0);
    }
}
