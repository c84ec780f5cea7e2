//! Scrape, both directions (BEP 48): the counts of several torrents without joining any.

use std::fmt::Write as _;

use crate::announce::query::{self, Parameters, QueryError, escape};
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
