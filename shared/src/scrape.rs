//! Scrape, both directions (BEP 48): the counts of several torrents without joining any.

use std::fmt::Write as _;

use crate::announce::query::{self, Parameters, QueryError, escape};
use crate::announce::reply::count;
use crate::announce::{AnswerError, Failure};
use crate::bencode::{Limits, Value, scan};
use crate::id::InfoHash;

/// Which torrents are asked about. None at all is a full scrape, which the tracker may refuse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrapeRequest {
    pub info_hashes: Vec<InfoHash>,
}

impl ScrapeRequest {
    /// Reads the query of a scrape that asks about at most `limit` torrents.
    pub fn parse(query: &[u8], limit: usize) -> Result<Self, QueryError> {
        let mut info_hashes = Vec::new();
        for (name, raw) in Parameters::new(query) {
            if name == b"info_hash" {
                if info_hashes.len() == limit {
                    return Err(QueryError::TooMany(limit));
                }
                info_hashes.push(query::info_hash(raw)?);
            }
        }
        Ok(Self { info_hashes })
    }

    /// Writes the query, the client's side of [`Self::parse`].
    pub fn to_query(&self) -> String {
        let mut out = String::new();
        for hash in &self.info_hashes {
            let separator = if out.is_empty() { "" } else { "&" };
            let _ = write!(out, "{separator}info_hash="); // Writing to a string cannot fail.
            escape(hash.as_bytes(), &mut out);
        }
        out
    }
}

/// What a tracker knows about one torrent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TorrentCounts {
    /// Seeders.
    pub complete: u32,
    /// Leechers.
    pub incomplete: u32,
    /// How often the torrent was completed.
    pub downloaded: u32,
    /// Those of the leechers that still want something, where the tracker says so (BEP 21).
    pub downloaders: Option<u32>,
}

/// A tracker's answer to a scrape, as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScrapeAnswer {
    /// The torrents the tracker knows, at most [`FILES_MAX`].
    Files(Vec<(InfoHash, TorrentCounts)>),
    Failure(Failure),
}

/// More torrents than this are not taken from one answer.
pub const FILES_MAX: usize = 10_000;

impl ScrapeAnswer {
    /// Reads the body of an answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, AnswerError> {
        let scan = scan(bytes, &Limits::REPLY)?;
        let root = scan.root();
        if let Some(failure) = Failure::read(&root) {
            return Ok(Self::Failure(failure));
        }
        let files = root
            .get("files")
            .and_then(|files| files.dict())
            .ok_or(AnswerError::Empty)?;
        let known = files
            .filter_map(|(hash, counts)| Some((InfoHash::from_slice(hash)?, TorrentCounts::read(&counts))));
        Ok(Self::Files(known.take(FILES_MAX).collect()))
    }
}

impl TorrentCounts {
    fn read(file: &Value<'_>) -> Self {
        Self {
            complete: count(file, "complete").unwrap_or_default(),
            incomplete: count(file, "incomplete").unwrap_or_default(),
            downloaded: count(file, "downloaded").unwrap_or_default(),
            downloaders: count(file, "downloaders"),
        }
    }
}

/// Where a tracker answers scrapes: the last segment of the path begins with `announce`, which becomes `scrape`.
/// A tracker whose URL is of another kind has none.
pub fn scrape_url(announce: &str) -> Option<String> {
    let path = announce
        .find(['?', '#'])
        .map_or(announce, |end| announce.get(..end).unwrap_or_default());
    let host = path.find("://")? + 3;
    let segment = host + path.get(host..)?.rfind('/')? + 1;
    let rest = announce.get(segment..)?.strip_prefix("announce")?;
    Some(format!("{}scrape{rest}", announce.get(..segment)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scrape_url_follows_the_announce_url() {
        for (announce, scrape) in [
            ("http://example.com/announce", Some("http://example.com/scrape")),
            (
                "http://example.com/x/announce",
                Some("http://example.com/x/scrape"),
            ),
            (
                "http://example.com/announce.php",
                Some("http://example.com/scrape.php"),
            ),
            (
                "http://example.com/announce?x2%0644",
                Some("http://example.com/scrape?x2%0644"),
            ),
            (
                "http://example.com/announce?x=2/4",
                Some("http://example.com/scrape?x=2/4"),
            ),
            ("http://example.com/x%064announce", None),
            ("http://example.com/a", None),
            ("http://announce", None),
            ("announce", None),
        ] {
            assert_eq!(scrape_url(announce).as_deref(), scrape, "{announce}");
        }
    }

    #[test]
    fn an_answer_gives_the_counts_of_every_known_torrent() {
        let answer = ScrapeAnswer::decode(
            b"d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei1e10:downloadedi2e11:downloadersi3e10:incompletei4ee\
              3:odddee5:flagsdee",
        );
        let counts = TorrentCounts {
            complete: 1,
            incomplete: 4,
            downloaded: 2,
            downloaders: Some(3),
        };
        assert_eq!(
            answer,
            Ok(ScrapeAnswer::Files(vec![(InfoHash([b'a'; 20]), counts)]))
        );
    }

    #[test]
    fn an_answer_may_be_a_refusal_or_none_at_all() {
        let refusal = ScrapeAnswer::decode(b"d14:failure reason2:noe").unwrap();
        assert!(matches!(refusal, ScrapeAnswer::Failure(failure) if failure.reason == "no"));
        assert_eq!(ScrapeAnswer::decode(b"d8:intervali1ee"), Err(AnswerError::Empty));
    }

    #[test]
    fn many_torrents_are_asked_about_at_once_and_too_many_are_refused() {
        let request = ScrapeRequest {
            info_hashes: (0..3).map(|n| InfoHash([n; 20])).collect(),
        };
        let query = request.to_query();
        assert_eq!(ScrapeRequest::parse(query.as_bytes(), 3), Ok(request));
        let error = ScrapeRequest::parse(query.as_bytes(), 2).unwrap_err();
        assert_eq!(error.to_string(), "info_hash is given more than 2 times");
    }
}
