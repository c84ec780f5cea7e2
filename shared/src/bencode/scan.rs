//! The scan: one loop over the bytes, a stack of our own, every number bounded before it is used.

use super::Value;

/// What a stranger's bencode may cost us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Lists and dictionaries inside each other.
    pub depth: usize,
    /// Values and keys in all; each costs 16 bytes of memory.
    pub tokens: usize,
    /// Bytes in all.
    pub bytes: usize,
}

impl Limits {
    /// A `.torrent`: 2,097,152 pieces of 20 bytes, their v2 layers of 32, and room for names; 3 million tokens, as libtorrent has it.
    pub const TORRENT: Self = Self {
        depth: 100,
        tokens: 3_000_000,
        bytes: 128 * 1024 * 1024,
    };
    /// A message between peers: handshakes and metadata messages are small, and a frame is bounded anyway.
    pub const MESSAGE: Self = Self {
        depth: 100,
        tokens: 4_096,
        bytes: 256 * 1024,
    };
    /// A tracker's reply: clients cap it at about 1 MB; a dictionary peer costs seven tokens.
    pub const REPLY: Self = Self {
        depth: 100,
        tokens: 200_000,
        bytes: 2 * 1024 * 1024,
    };
}

/// The bytes are not bencode, or cost more than the limits allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    #[error("{length} bytes of bencode are more than {limit}")]
    TooLarge { length: usize, limit: usize },
    #[error("bencode nested deeper than {limit} levels at byte {at}")]
    TooDeep { at: usize, limit: usize },
    #[error("bencode of more than {limit} values at byte {at}")]
    TooManyTokens { at: usize, limit: usize },
    #[error("bencode ends in the middle of a value, at byte {at}")]
    Truncated { at: usize },
    #[error("byte {byte:#04x} at {at} begins no bencoded value")]
    Unexpected { at: usize, byte: u8 },
    #[error("a dictionary key at byte {at} is not a string")]
    KeyNotString { at: usize },
    #[error("a dictionary key without a value before byte {at}")]
    MissingValue { at: usize },
    #[error("a bencoded integer at byte {at} is none")]
    BadInteger { at: usize },
    #[error("a bencoded integer at byte {at} does not fit 64 bits")]
    IntegerTooLarge { at: usize },
    #[error("a bencoded string length at byte {at} is none")]
    BadLength { at: usize },
    #[error("a bencoded string at byte {at} says it is longer than what is left")]
    StringTooLong { at: usize },
    #[error("bytes follow the bencoded value, from byte {at}")]
    Trailing { at: usize },
}

/// One value or key. Its first byte tells its kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    /// The first byte.
    pub(super) start: u32,
    /// The first byte of a string's content; `start` for everything else.
    pub(super) body: u32,
    /// The byte after the last.
    pub(super) end: u32,
    /// The token after this value and all that is in it.
    pub(super) next: u32,
}

/// Bytes that are well-formed bencode within the limits, and where everything in them is.
#[derive(Clone, Debug)]
pub struct Scan<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) tokens: Vec<Token>,
}

impl Scan<'_> {
    /// The outermost value.
    pub fn root(&self) -> Value<'_> {
        Value::root(self.bytes, &self.tokens)
    }

    /// Bytes of the outermost value.
    pub fn length(&self) -> usize {
        self.root().span().end
    }
}

/// Scans bytes that must be exactly one value.
pub fn scan<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Scan<'a>, ScanError> {
    let scan = scan_prefix(bytes, limits)?;
    let at = scan.length();
    if at < bytes.len() {
        Err(ScanError::Trailing { at })
    } else {
        Ok(scan)
    }
}

/// Scans the one value at the front; [`Scan::length`] says where it ends.
pub fn scan_prefix<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Scan<'a>, ScanError> {
    let limit = limits.bytes.min(u32::MAX as usize);
    if bytes.len() > limit {
        return Err(ScanError::TooLarge {
            length: bytes.len(),
            limit,
        });
    }
    let mut scanner = Scanner {
        bytes,
        limits,
        at: 0,
        tokens: Vec::new(),
        open: Vec::new(),
    };
    while !scanner.step()? {}
    Ok(Scan {
        bytes,
        tokens: scanner.tokens,
    })
}

/// A list or dictionary that is not closed yet.
struct Open {
    token: usize,
    expects: Expects,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expects {
    Item,
    Key,
    Value,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    limits: &'a Limits,
    at: usize,
    tokens: Vec<Token>,
    open: Vec<Open>,
}

impl Scanner<'_> {
    /// Reads one token; says whether the outermost value is complete.
    fn step(&mut self) -> Result<bool, ScanError> {
        let at = self.at;
        let byte = *self.bytes.get(at).ok_or(ScanError::Truncated { at })?;
        let expects = self.open.last().map_or(Expects::Item, |open| open.expects);
        match byte {
            b'0'..=b'9' => self.string()?,
            b'e' if expects == Expects::Value => return Err(ScanError::MissingValue { at }),
            b'e' if !self.open.is_empty() => self.close(),
            b'i' | b'l' | b'd' if expects == Expects::Key => return Err(ScanError::KeyNotString { at }),
            b'i' => self.integer()?,
            b'l' => return self.descend(Expects::Item),
            b'd' => return self.descend(Expects::Key),
            byte => return Err(ScanError::Unexpected { at, byte }),
        }
        if let Some(open) = self.open.last_mut() {
            open.expects = match open.expects {
                Expects::Item => Expects::Item,
                Expects::Key => Expects::Value,
                Expects::Value => Expects::Key,
            };
        }
        Ok(self.open.is_empty())
    }

    fn descend(&mut self, expects: Expects) -> Result<bool, ScanError> {
        if self.open.len() >= self.limits.depth {
            return Err(ScanError::TooDeep {
                at: self.at,
                limit: self.limits.depth,
            });
        }
        let token = self.tokens.len();
        self.push(self.at, self.at + 1)?;
        self.open.push(Open { token, expects });
        Ok(false)
    }

    fn close(&mut self) {
        self.at += 1;
        let (end, next) = (offset(self.at), offset(self.tokens.len()));
        let token = self.open.pop().and_then(|open| self.tokens.get_mut(open.token));
        if let Some(token) = token {
            (token.end, token.next) = (end, next);
        }
    }

    /// `4:spam`. The length is compared with what is there before anything is done with it.
    fn string(&mut self) -> Result<(), ScanError> {
        let at = self.at;
        let mut length = 0_usize;
        for (index, byte) in self.bytes.iter().enumerate().skip(at) {
            match byte {
                b'0'..=b'9' => {
                    let grown = length
                        .checked_mul(10)
                        .and_then(|l| l.checked_add(usize::from(byte - b'0')));
                    length = grown
                        .filter(|length| *length <= self.bytes.len())
                        .ok_or(ScanError::StringTooLong { at })?;
                }
                b':' => {
                    let body = index + 1;
                    let end = body.checked_add(length).filter(|end| *end <= self.bytes.len());
                    return self.push(body, end.ok_or(ScanError::StringTooLong { at })?);
                }
                _ => return Err(ScanError::BadLength { at }),
            }
        }
        Err(ScanError::Truncated { at: self.bytes.len() })
    }

    /// `i-3e`. Superfluous zeros pass here and show up as a [`super::Flaw`].
    fn integer(&mut self) -> Result<(), ScanError> {
        let at = self.at;
        let rest = self.bytes.get(at + 1..).unwrap_or_default();
        let (sign, digits) = match rest.split_first() {
            Some((b'-', digits)) => (1, digits),
            _ => (0, rest),
        };
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match digits.get(count) {
            None => Err(ScanError::Truncated { at: self.bytes.len() }),
            Some(b'e') if (1..=MAX_DIGITS).contains(&count) => self.push(at, at + 2 + sign + count),
            Some(b'e') if count > MAX_DIGITS => Err(ScanError::IntegerTooLarge { at }),
            Some(_) => Err(ScanError::BadInteger { at }),
        }
    }

    /// Notes a token from `self.at` to `end` and goes on behind it.
    fn push(&mut self, body: usize, end: usize) -> Result<(), ScanError> {
        let (at, limit) = (self.at, self.limits.tokens.min(u32::MAX as usize));
        if self.tokens.len() >= limit {
            return Err(ScanError::TooManyTokens { at, limit });
        }
        let next = offset(self.tokens.len() + 1);
        self.tokens.push(Token {
            start: offset(at),
            body: offset(body),
            end: offset(end),
            next,
        });
        self.at = end;
        Ok(())
    }
}

/// The longest digits that 64 bits can mean; whether they really fit is asked when the number is read.
const MAX_DIGITS: usize = 20;

/// Offsets fit because the scan refuses more than `u32::MAX` bytes and tokens.
fn offset(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(bytes: &[u8]) -> ScanError {
        scan(bytes, &Limits::TORRENT).unwrap_err()
    }

    #[test]
    fn ten_thousand_lists_are_refused_at_the_hundred_and_first() {
        assert_eq!(
            refused(&[b'l'; 10_000]),
            ScanError::TooDeep { at: 100, limit: 100 }
        );
        let fits = [[b'l'; 100], [b'e'; 100]].concat();
        assert!(scan(&fits, &Limits::TORRENT).is_ok());
    }

    #[test]
    fn a_length_prefix_of_ten_gigabytes_is_refused_without_an_allocation() {
        assert_eq!(refused(b"10000000000:x"), ScanError::StringTooLong { at: 0 });
        assert_eq!(
            refused(b"d1:a99999999999999999999999999:x"),
            ScanError::StringTooLong { at: 4 }
        );
        assert_eq!(refused(b"5:spam"), ScanError::StringTooLong { at: 0 });
    }

    #[test]
    fn half_values_and_wrong_bytes_are_refused_where_they_stand() {
        assert_eq!(refused(b""), ScanError::Truncated { at: 0 });
        assert_eq!(refused(b"d1:a"), ScanError::Truncated { at: 4 });
        assert_eq!(refused(b"1"), ScanError::Truncated { at: 1 });
        assert_eq!(refused(b"1x:a"), ScanError::BadLength { at: 0 });
        assert_eq!(refused(b"d1:ae"), ScanError::MissingValue { at: 4 });
        assert_eq!(refused(b"di1e1:ae"), ScanError::KeyNotString { at: 1 });
        assert_eq!(refused(b"e"), ScanError::Unexpected { at: 0, byte: b'e' });
        assert_eq!(refused(b"lxe"), ScanError::Unexpected { at: 1, byte: b'x' });
        assert_eq!(refused(b"-1:a"), ScanError::Unexpected { at: 0, byte: b'-' });
    }

    #[test]
    fn integers_need_digits_and_an_end() {
        for bytes in [&b"ie"[..], b"i-e", b"i--1e", b"i1.5e", b"i 1e", b"i+1e"] {
            assert_eq!(refused(bytes), ScanError::BadInteger { at: 0 });
        }
        assert_eq!(refused(b"i12"), ScanError::Truncated { at: 3 });
        assert_eq!(
            refused(b"i111111111111111111111e"),
            ScanError::IntegerTooLarge { at: 0 }
        );
    }

    #[test]
    fn tokens_and_bytes_are_bounded() {
        let limits = Limits {
            depth: 100,
            tokens: 3,
            bytes: 20,
        };
        assert!(scan(b"li1ei2ee", &limits).is_ok());
        assert_eq!(
            scan(b"li1ei2ei3ee", &limits).unwrap_err(),
            ScanError::TooManyTokens { at: 7, limit: 3 }
        );
        assert_eq!(
            scan(&[b'l'; 21], &limits).unwrap_err(),
            ScanError::TooLarge {
                length: 21,
                limit: 20
            }
        );
    }

    #[test]
    fn what_follows_the_value_is_an_error_unless_only_the_prefix_was_asked_for() {
        assert_eq!(refused(b"i1e\n"), ScanError::Trailing { at: 3 });
        assert_eq!(scan_prefix(b"i1e\n", &Limits::MESSAGE).unwrap().length(), 3);
    }
}
