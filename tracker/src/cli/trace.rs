//! `tracker trace`: one member's announces as they happen.

use std::fmt::Write as _;

use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

use super::ask::{self, encode};
use super::{Common, Failure};
use edge::command::{print, tell};
use edge::human::size;
use edge::output::plain;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The member
    name: String,
}

pub(super) fn run(args: Args, common: Common) -> Result<(), Failure> {
    ask::run_with_tracker(&common, async |api| {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
        let mut lines = api
            .follow(&format!("/members/{}/trace", encode(&args.name)))
            .await?;
        tell(format_args!("watching {}; Ctrl-C ends it", args.name));
        loop {
            let line = tokio::select! {
                line = lines.next() => line.map_err(Failure::failed)?,
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
            };
            let Some(line) = line else {
                return Err(Failure::Failed("the tracker has stopped".to_owned()));
            };
            let text = String::from_utf8_lossy(&line);
            if common.json {
                print(text)?;
            } else {
                print(words(&text))?;
            }
        }
    })
}

/// One announce, or a note that some were missed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    time: String,
    client: String,
    torrent: Option<String>,
    address: String,
    event: String,
    uploaded: u64,
    downloaded: u64,
    left: u64,
    answered: String,
    peers: u32,
    uploaded_credit: u64,
    downloaded_credit: u64,
    why: Option<String>,
    missed: Option<u64>,
}

fn words(text: &str) -> String {
    let Ok(line) = serde_json::from_str::<Line>(text) else {
        return plain(text);
    };
    if let Some(missed) = line.missed {
        return format!("({missed} announces went by too fast to be shown)");
    }
    let answered = match (line.answered.as_str(), line.peers) {
        ("peers", 1) => "1 peer".to_owned(),
        ("peers", peers) => format!("{peers} peers"),
        (other, _) => other.to_owned(),
    };
    let torrent: String = line.torrent.as_deref().unwrap_or("–").chars().take(12).collect();
    let mut said = format!(
        "{}  {}  {}  {}  {}  up {}  down {}  left {}  -> {answered}",
        line.time,
        line.address,
        line.client,
        torrent,
        line.event,
        size(line.uploaded),
        size(line.downloaded),
        size(line.left),
    );
    if line.uploaded_credit > 0 || line.downloaded_credit > 0 {
        let _ = write!(
            said,
            ", credited up {} down {}",
            size(line.uploaded_credit),
            size(line.downloaded_credit)
        );
    }
    if let Some(why) = &line.why {
        let _ = write!(said, ": {why}");
    }
    plain(&said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_who_what_and_why() {
        let line = r#"{"time":"2026-11-22T20:14:00Z","client":"Transmission 4.0.5","torrent":"00112233445566778899aabbccddeeff00112233","address":"192.0.2.0/24","event":"started","uploaded":0,"downloaded":0,"left":2048,"answered":"failure","peers":0,"uploaded_credit":0,"downloaded_credit":0,"why":"your key has expired"}"#;
        let drawn = "2026-11-22T20:14:00Z  192.0.2.0/24  Transmission 4.0.5  001122334455  started  up 0 B  down 0 B  \
                     left 2.0 KiB  -> failure: your key has expired";
        assert_eq!(words(line), drawn);
    }

    #[test]
    fn what_was_missed_is_said() {
        assert!(words(r#"{"missed":7}"#).contains('7'));
        assert_eq!(words("not\u{1b} json"), "not\\u{1b} json");
    }
}
