//! Why a member's announce is refused: one sentence of at most 64 bytes, because clients cut longer ones (DESIGN decision
//! 10), when to come back, and the word that metrics have for it. Pure: the desk writes it, `http::desk` counts it.

use std::fmt::{self, Display};
use std::time::Duration;

use shared::announce::{QueryError, RetryIn};

/// Clients show no more of a `failure reason`.
pub const LENGTH_MAX: usize = 64;

/// Nothing here changes by itself, but the owner may change it, and then the client shall notice without a restart.
const OWNERS_TURN: Duration = Duration::from_secs(3_600);

/// A torrent that was announced before it was registered, as uploaders do, is registered within minutes.
const YOUNG: Duration = Duration::from_secs(60);

/// Whoever set up the proxy is at work on it, or will be soon.
const PROXY: Duration = Duration::from_secs(300);

/// A refusal that a client shows to its user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("unknown key: take a fresh .torrent or link from your tracker")]
    UnknownKey,
    #[error("this key was replaced: take a fresh .torrent or link")]
    ReplacedKey,
    #[error("this key has expired: ask the tracker's owner for a new one")]
    ExpiredKey,
    #[error("this key is for another torrent")]
    OtherTorrent,
    /// With the owner's words, cut to fit.
    #[error("{}", Cut("disabled", .0))]
    Disabled(String),
    #[error("unregistered torrent: ask the tracker's owner to add it")]
    Unregistered,
    /// With the owner's words, cut to fit.
    #[error("{}", Cut("removed", .0))]
    Removed(String),
    /// With the client's name.
    #[error("{}", Cut("client not allowed here", .0))]
    Client(String),
    #[error("info_hash is missing: full scrapes are switched off")]
    FullScrape,
    /// It came through a proxy or a Unix socket that does not say from where.
    #[error("this tracker's proxy hides your address: tell its owner")]
    NoAddress,
    #[error("{0}")]
    Query(QueryError),
}

impl Refusal {
    /// When to ask again. `young` says that the tracker, or what it has heard of this torrent, is minutes old; `interval` is
    /// the usual time between two announces.
    pub fn retry_in(&self, young: bool, interval: Duration) -> RetryIn {
        match self {
            Self::Unregistered if young => RetryIn::After(YOUNG),
            Self::UnknownKey
            | Self::ReplacedKey
            | Self::ExpiredKey
            | Self::Disabled(_)
            | Self::Removed(_)
            | Self::Client(_) => RetryIn::After(OWNERS_TURN),
            Self::Unregistered | Self::FullScrape | Self::Query(_) => RetryIn::After(interval),
            Self::NoAddress => RetryIn::After(PROXY),
            // A key of one torrent never becomes another's.
            Self::OtherTorrent => RetryIn::Never,
        }
    }

    /// The value of `reason` in `tracker_errors_total`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown_key",
            Self::ReplacedKey => "replaced_key",
            Self::ExpiredKey => "expired_key",
            Self::OtherTorrent => "other_torrent",
            Self::Disabled(_) => "disabled",
            Self::Unregistered => "unregistered",
            Self::Removed(_) => "removed",
            Self::Client(_) => "client",
            Self::FullScrape => "full_scrape",
            Self::NoAddress => "no_address",
            Self::Query(_) => "query",
        }
    }
}

/// A word of ours and words of others, without control characters, together not too long; cut between two characters.
struct Cut<'a>(&'a str, &'a str);

impl Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ours, theirs) = self;
        f.write_str(ours)?;
        let theirs = theirs.trim();
        if theirs.is_empty() {
            return Ok(());
        }
        f.write_str(": ")?;
        let room = LENGTH_MAX.saturating_sub(ours.len() + 2);
        let shown = theirs.chars().filter(|char| !char.is_control());
        let length: usize = shown.clone().map(char::len_utf8).sum();
        let room = if length > room {
            room.saturating_sub('…'.len_utf8())
        } else {
            room
        };
        let mut written = 0;
        for char in shown {
            written += char.len_utf8();
            if written > room {
                return f.write_str("…");
            }
            fmt::Write::write_char(f, char)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1_800);

    /// Every refusal with the longest words it can carry.
    fn all(words: &str) -> Vec<Refusal> {
        let queries = [
            QueryError::Missing("downloaded"),
            QueryError::Repeated("downloaded"),
            QueryError::Escape("info_hash"),
            QueryError::Length {
                name: "info_hash",
                length: usize::MAX,
            },
            QueryError::Number("downloaded"),
            QueryError::Port,
            QueryError::Flag("no_peer_id"),
            QueryError::Event,
            QueryError::TooMany(usize::MAX),
        ];
        let mut all = vec![
            Refusal::UnknownKey,
            Refusal::ReplacedKey,
            Refusal::ExpiredKey,
            Refusal::OtherTorrent,
            Refusal::Disabled(words.to_owned()),
            Refusal::Unregistered,
            Refusal::Removed(words.to_owned()),
            Refusal::Client(words.to_owned()),
            Refusal::FullScrape,
            Refusal::NoAddress,
        ];
        all.extend(queries.map(Refusal::Query));
        all
    }

    #[test]
    fn no_reason_is_longer_than_clients_show_whatever_the_owner_has_written() {
        let words = [
            "",
            "no",
            "x".repeat(900).as_str(),
            "ä".repeat(900).as_str(),
            "🎞".repeat(40).as_str(),
        ]
        .map(str::to_owned);
        for refusal in words.iter().flat_map(|words| all(words)) {
            let text = refusal.to_string();
            assert!(
                text.len() <= LENGTH_MAX && !text.is_empty(),
                "{} bytes: {text}",
                text.len()
            );
        }
    }

    #[test]
    fn the_owners_words_are_shown_as_far_as_they_fit() {
        for (words, shown) in [
            ("", "disabled"),
            (" moved away\n", "disabled: moved away"),
            ("a\u{1b}[31m\0b", "disabled: a[31mb"),
            (&"é".repeat(40), &format!("disabled: {}…", "é".repeat(25))),
            (&"e".repeat(54), &format!("disabled: {}", "e".repeat(54))),
            (&"e".repeat(55), &format!("disabled: {}…", "e".repeat(51))),
        ] {
            assert_eq!(Refusal::Disabled(words.to_owned()).to_string(), shown);
        }
    }

    #[test]
    fn every_reason_has_a_label_of_its_own_and_a_time_to_come_back() {
        let mut labels = std::collections::BTreeSet::new();
        for refusal in all("") {
            assert!(labels.insert(refusal.label()) || matches!(refusal, Refusal::Query(_)));
            if let RetryIn::After(wait) = refusal.retry_in(false, INTERVAL) {
                assert!((YOUNG..=OWNERS_TURN).contains(&wait), "{refusal:?}");
            }
        }
    }

    #[test]
    fn only_who_is_unregistered_comes_back_soon_while_all_is_young() {
        for refusal in all("") {
            let soon = refusal.retry_in(true, INTERVAL) == RetryIn::After(YOUNG);
            assert_eq!(soon, refusal == Refusal::Unregistered, "{refusal:?}");
        }
    }
}
