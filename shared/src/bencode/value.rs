//! Views into scanned bencode: nothing is copied, and any key or string may be bytes that are no text.

use std::ops::Range;

use super::scan::Token;

/// One value of a [`super::Scan`].
#[derive(Clone, Copy)]
pub struct Value<'a> {
    bytes: &'a [u8],
    tokens: &'a [Token],
    token: Token,
    index: usize,
}

/// How a value departs from the one canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("unsorted dictionary keys")]
    UnsortedKeys,
    #[error("a duplicate dictionary key")]
    DuplicateKey,
    #[error("an integer with a superfluous zero or sign")]
    LooseInteger,
    #[error("a string length with a superfluous zero")]
    LooseLength,
}

/// A [`Flaw`] and the byte at which it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flaw} at byte {at}")]
pub struct Blemish {
    pub flaw: Flaw,
    pub at: usize,
}

impl<'a> Value<'a> {
    pub(super) fn root(bytes: &'a [u8], tokens: &'a [Token]) -> Self {
        let nothing = Token {
            start: 0,
            body: 0,
            end: 0,
            next: 0,
        };
        Self {
            bytes,
            tokens,
            token: tokens.first().copied().unwrap_or(nothing),
            index: 0,
        }
    }

    fn at(&self, index: usize) -> Option<Self> {
        let token = *self.tokens.get(index)?;
        Some(Self {
            token,
            index,
            ..*self
        })
    }

    /// Where the value stands in the bytes that were scanned.
    pub fn span(&self) -> Range<usize> {
        self.token.start as usize..self.token.end as usize
    }

    /// The value as it was written.
    pub fn raw(&self) -> &'a [u8] {
        self.bytes.get(self.span()).unwrap_or_default()
    }

    fn kind(&self) -> u8 {
        self.raw().first().copied().unwrap_or_default()
    }

    /// The content, if it is a string.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        let body = self.token.body as usize..self.token.end as usize;
        self.kind()
            .is_ascii_digit()
            .then(|| self.bytes.get(body).unwrap_or_default())
    }

    /// The content, if it is a string and UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The number, if it is an integer and fits. Superfluous zeros do not hurt.
    pub fn int(&self) -> Option<i64> {
        let digits = self.raw().strip_prefix(b"i")?.strip_suffix(b"e")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Is it a dictionary?
    pub fn is_dict(&self) -> bool {
        self.kind() == b'd'
    }

    /// What is in the list; `None` if it is no list.
    pub fn list(&self) -> Option<Items<'a>> {
        (self.kind() == b'l').then(|| self.children())
    }

    /// Keys and values of the dictionary, as written; `None` if it is no dictionary.
    pub fn dict(&self) -> Option<Entries<'a>> {
        self.is_dict().then(|| Entries(self.children()))
    }

    fn children(&self) -> Items<'a> {
        Items {
            parent: *self,
            next: self.index + 1,
        }
    }

    /// The value of the first such key, if this is a dictionary that has it.
    pub fn get(&self, key: &str) -> Option<Self> {
        self.dict()?
            .find(|(name, _)| *name == key.as_bytes())
            .map(|(_, value)| value)
    }

    /// The first departure from canonical form in this value or inside it.
    pub fn blemish(&self) -> Option<Blemish> {
        (self.index..self.token.next as usize)
            .filter_map(|index| self.at(index))
            .find_map(|value| value.own_blemish())
    }

    fn own_blemish(&self) -> Option<Blemish> {
        let raw = self.raw();
        match raw {
            [b'i', b'0', b'0'..=b'9', ..] | [b'i', b'-', b'0', ..] => Some(Flaw::LooseInteger),
            [b'0', b'0'..=b'9', ..] => Some(Flaw::LooseLength),
            [b'd', ..] => return self.key_blemish(),
            _ => None,
        }
        .map(|flaw| Blemish {
            flaw,
            at: self.span().start,
        })
    }

    fn key_blemish(&self) -> Option<Blemish> {
        let mut last: Option<&[u8]> = None;
        for (key, value) in self.dict()? {
            let flaw = match last.map(|last| last.cmp(key)) {
                Some(std::cmp::Ordering::Greater) => Some(Flaw::UnsortedKeys),
                Some(std::cmp::Ordering::Equal) => Some(Flaw::DuplicateKey),
                _ => None,
            };
            if let Some(flaw) = flaw {
                return Some(Blemish {
                    flaw,
                    at: value.span().start,
                });
            }
            last = Some(key);
        }
        None
    }
}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.raw().escape_ascii())
    }
}

/// The values of a list in order.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    parent: Value<'a>,
    next: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let inside = self.next < self.parent.token.next as usize;
        let value = inside.then(|| self.parent.at(self.next)).flatten()?;
        self.next = value.token.next as usize;
        Some(value)
    }
}

/// The keys and values of a dictionary in the order in which they were written.
#[derive(Clone, Debug)]
pub struct Entries<'a>(Items<'a>);

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.0.next()?;
        Some((key.bytes()?, self.0.next()?))
    }
}

#[cfg(test)]
mod tests {
    use crate::bencode::{Limits, scan};

    use super::*;

    #[test]
    fn values_are_found_by_key_and_keep_their_span() {
        let bytes = b"d8:announce3:url4:infod6:lengthi5eee";
        let scan = scan(bytes, &Limits::TORRENT).unwrap();
        let info = scan.root().get("info").unwrap();
        assert_eq!((info.span(), info.raw()), (22..35, &b"d6:lengthi5ee"[..]));
        assert_eq!(info.get("length").and_then(|length| length.int()), Some(5));
        assert_eq!(
            scan.root().get("announce").and_then(|url| url.text()),
            Some("url")
        );
        assert!(scan.root().get("length").is_none());
        assert!(info.list().is_none() && info.bytes().is_none() && info.int().is_none());
    }

    #[test]
    fn lists_in_lists_are_walked_level_by_level() {
        let scan = scan(b"lli1ei2eedi3e", &Limits::TORRENT);
        assert!(scan.is_err());
        let scan = super::super::scan(b"lli1ei2eed1:xle1:yi3eei4ee", &Limits::TORRENT).unwrap();
        let items: Vec<_> = scan.root().list().unwrap().collect();
        assert_eq!(items.len(), 3);
        assert_eq!(
            items[0]
                .list()
                .unwrap()
                .filter_map(|item| item.int())
                .sum::<i64>(),
            3
        );
        assert_eq!(
            items[1].dict().unwrap().map(|(key, _)| key).collect::<Vec<_>>(),
            [b"x", b"y"]
        );
        assert_eq!(items[2].int(), Some(4));
    }

    #[test]
    fn numbers_that_do_not_fit_are_no_numbers() {
        let int = |bytes: &[u8]| scan(bytes, &Limits::MESSAGE).unwrap().root().int();
        assert_eq!(int(b"i9223372036854775807e"), Some(i64::MAX));
        assert_eq!(int(b"i9223372036854775808e"), None);
        assert_eq!(int(b"i-9223372036854775808e"), Some(i64::MIN));
        assert_eq!((int(b"i007e"), int(b"i-0e")), (Some(7), Some(0)));
    }

    #[track_caller]
    fn check(bytes: &[u8], flaw: Option<Flaw>) {
        let found = scan(bytes, &Limits::MESSAGE)
            .unwrap()
            .root()
            .blemish()
            .map(|blemish| blemish.flaw);
        assert_eq!(found, flaw, "{}", bytes.escape_ascii());
    }

    #[test]
    fn every_departure_from_canonical_form_is_seen_however_deep() {
        check(b"d1:ai0e1:bi-5e2:bali10eee", None);
        check(b"ld1:bi1e1:ai1eee", Some(Flaw::UnsortedKeys));
        check(b"d1:ad1:ai1e1:ai1eee", Some(Flaw::DuplicateKey));
        check(b"d2:aai1e1:ai1ee", Some(Flaw::UnsortedKeys));
        check(b"li007ee", Some(Flaw::LooseInteger));
        check(b"li-0ee", Some(Flaw::LooseInteger));
        check(b"li-05ee", Some(Flaw::LooseInteger));
        check(b"l01:ae", Some(Flaw::LooseLength));
        check(b"d01:ai1ee", Some(Flaw::LooseLength));
    }
}
