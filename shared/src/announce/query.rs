//! Query strings as trackers see them: raw bytes behind percent signs, where `+` is a plus. Nothing here allocates while
//! it reads, because the tracker reads one with every announce.

use std::fmt::Write as _;

use crate::id::InfoHash;

/// Why a query cannot be used. Each message names its parameter and is short enough (64 characters) for clients that cut
/// a `failure reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is given twice")]
    Repeated(&'static str),
    #[error("{0} has a broken percent escape")]
    Escape(&'static str),
    #[error("{name} must be 20 bytes, not {length}")]
    Length { name: &'static str, length: usize },
    #[error("{0} is not a whole number in range")]
    Number(&'static str),
    #[error("port must be from 1 to 65535")]
    Port,
    #[error("{0} must be 0 or 1")]
    Flag(&'static str),
    #[error("event is none of started, completed, stopped, paused")]
    Event,
    #[error("info_hash is given more than {0} times")]
    TooMany(usize),
}

/// The parameters of a query, undecoded, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Parameters<'a> {
    rest: &'a [u8],
}

impl<'a> Parameters<'a> {
    /// Reads what stands behind the `?`; the `?` itself is forgiven.
    pub(crate) fn new(query: &'a [u8]) -> Self {
        Self {
            rest: query.strip_prefix(b"?").unwrap_or(query),
        }
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (parameter, rest) = cut(self.rest, b'&');
            self.rest = rest;
            if !parameter.is_empty() {
                return Some(cut(parameter, b'='));
            }
        }
        None
    }
}

/// What stands before and behind the first `separator`.
fn cut(bytes: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let at = bytes
        .iter()
        .position(|&byte| byte == separator)
        .unwrap_or(bytes.len());
    let (before, behind) = bytes.split_at(at);
    (before, behind.get(1..).unwrap_or_default())
}

/// The bytes behind percent escapes, one at a time; `None` for an escape that is none.
#[derive(Debug)]
pub(crate) struct Unescaped<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

/// Decodes percent escapes, in either case of hexadecimal digits; everything else stands for itself.
pub(crate) fn unescape(raw: &[u8]) -> Unescaped<'_> {
    Unescaped { bytes: raw.iter() }
}

impl Iterator for Unescaped<'_> {
    type Item = Option<u8>;

    fn next(&mut self) -> Option<Option<u8>> {
        let byte = *self.bytes.next()?;
        if byte != b'%' {
            return Some(Some(byte));
        }
        let digits = (
            self.bytes.next().copied().and_then(digit),
            self.bytes.next().copied().and_then(digit),
        );
        Some(match digits {
            (Some(high), Some(low)) => Some(high << 4 | low),
            _ => None,
        })
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Twenty raw bytes, as hashes and peer ids are.
pub(crate) fn twenty(name: &'static str, raw: &[u8]) -> Result<[u8; 20], QueryError> {
    let mut bytes = [0; 20];
    let mut length = 0;
    for byte in unescape(raw) {
        let byte = byte.ok_or(QueryError::Escape(name))?;
        if let Some(place) = bytes.get_mut(length) {
            *place = byte;
        }
        length += 1;
    }
    if length == 20 {
        Ok(bytes)
    } else {
        Err(QueryError::Length { name, length })
    }
}

/// One `info_hash`.
pub(crate) fn info_hash(raw: &[u8]) -> Result<InfoHash, QueryError> {
    twenty("info_hash", raw).map(InfoHash)
}

/// Appends bytes so that every parser reads them back: all but RFC 3986's unreserved characters behind percent signs.
pub(crate) fn escape(bytes: &[u8], out: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}"); // Writing to a string cannot fail.
        }
    }
}

/// A URL with more parameters: behind `?`, or behind `&` where it has a query already; a fragment is left out.
pub fn join_query(url: &str, query: &str) -> String {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let separator = match url.find('?') {
        None => "?",
        Some(_) if url.ends_with(['?', '&']) => "",
        Some(_) => "&",
    };
    format!("{url}{separator}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(raw: &str) -> Option<Vec<u8>> {
        unescape(raw.as_bytes()).collect()
    }

    #[test]
    fn escapes_come_in_either_case_and_a_plus_is_a_plus() {
        assert_eq!(unescaped("a%2Bb%2bc+d%00"), Some(b"a+b+c+d\0".to_vec()));
    }

    #[test]
    fn a_broken_escape_is_seen_wherever_it_stands() {
        for raw in ["%", "%1", "%g0", "%0g", "abc%"] {
            assert_eq!(unescaped(raw), None, "{raw}");
        }
    }

    #[test]
    fn parameters_without_name_value_or_sense_are_read_as_they_are() {
        let all: Vec<_> = Parameters::new(b"?a=1&&b&=c&d==&").collect();
        let expected: [(&[u8], &[u8]); 4] = [(b"a", b"1"), (b"b", b""), (b"", b"c"), (b"d", b"=")];
        assert_eq!(all, expected);
    }

    #[test]
    fn parameters_are_joined_to_urls_with_and_without_a_query() {
        for (url, joined) in [
            ("http://t/a", "http://t/a?x=1"),
            ("http://t/a?k=2", "http://t/a?k=2&x=1"),
            ("http://t/a?", "http://t/a?x=1"),
            ("http://t/a?k=2#there", "http://t/a?k=2&x=1"),
        ] {
            assert_eq!(join_query(url, "x=1"), joined);
        }
    }

    #[test]
    fn the_vector_of_bittorrent_tracker_is_read_and_written() {
        let raw = b"%A2%A1U7T%2B%22%92Z%D1%04%86%BFz%8B%2A%9CB%F0%D1";
        let hash = info_hash(raw).unwrap();
        assert_eq!(hash.to_string(), "a2a15537542b22925ad10486bf7a8b2a9c42f0d1");
        let mut written = String::new();
        escape(hash.as_bytes(), &mut written);
        assert_eq!(written.as_bytes(), raw);
    }

    #[test]
    fn every_refusal_fits_into_a_failure_reason() {
        let longest = "requirecrypto";
        for error in [
            QueryError::Missing(longest),
            QueryError::Repeated(longest),
            QueryError::Escape(longest),
            QueryError::Length {
                name: longest,
                length: 123_456,
            },
            QueryError::Number(longest),
            QueryError::Port,
            QueryError::Flag(longest),
            QueryError::Event,
            QueryError::TooMany(1_000_000),
        ] {
            assert!(error.to_string().len() <= 64, "{error}");
        }
    }
}
