//! Which program a peer id belongs to, and which programs the owner wants here. Pure. A peer id says what its program
//! likes; lists keep out old versions with known faults, not liars.

use std::cmp::Ordering;
use std::fmt::{self, Display};

use shared::id::PeerId;

/// Codes of two letters in peer ids such as `-TR3000-…` (BEP 20, "Azureus style").
const CODES: [(&[u8; 2], &str); 34] = [
    (b"AG", "Ares"),
    (b"AZ", "Vuze"),
    (b"BC", "BitComet"),
    (b"BG", "BiglyBT (old)"),
    (b"BI", "BiglyBT"),
    (b"BM", "BitMagnet"),
    (b"BT", "BitTorrent"),
    (b"BW", "BitWombat"),
    (b"CD", "Enhanced CTorrent"),
    (b"DE", "Deluge"),
    (b"FD", "Free Download Manager"),
    (b"FG", "FlashGet"),
    (b"FL", "Flud"),
    (b"FW", "FrostWire"),
    (b"GT", "anacrolix/torrent"),
    (b"KG", "KGet"),
    (b"KS", "Kinswarm"),
    (b"KT", "KTorrent"),
    (b"LP", "Lphant"),
    (b"LT", "libtorrent"),
    (b"PI", "PicoTorrent"),
    (b"SD", "Thunder"),
    (b"SP", "BitSpirit"),
    (b"TL", "Tribler"),
    (b"TR", "Transmission"),
    (b"TX", "Tixati"),
    (b"UM", "µTorrent for Mac"),
    (b"UT", "µTorrent"),
    (b"UW", "µTorrent Web"),
    (b"WW", "WebTorrent"),
    (b"XL", "Xunlei"),
    (b"lt", "rTorrent"),
    (b"qB", "qBittorrent"),
    (b"rQ", "rqbit"),
];

/// Codes of one letter in peer ids such as `T03I-----…` ("Shadow style").
const LETTERS: [(u8, &str); 6] = [
    (b'A', "ABC"),
    (b'M', "BitTorrent"),
    (b'O', "Osprey"),
    (b'Q', "BTQueue"),
    (b'S', "Shadow"),
    (b'T', "BitTornado"),
];

/// Parts of a version at most.
const PARTS: usize = 5;

/// A version as numbers from left to right; what is missing on the right is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    parts: [u16; PARTS],
    length: usize,
}

/// A program, as far as its peer id tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    code: [u8; 2],
    code_length: usize,
    name: Option<&'static str>,
    version: Version,
}

/// What the owner's lists say: anyone not denied, if somebody is allowed only those.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientRules {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

/// Why a line of a list makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{rule:?} is no rule for clients: write a code such as TR, a version such as TR<2.90 or qB>=4.5, or the beginning of a peer id such as -XX00"
)]
pub struct ClientRuleError {
    pub rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// A program by code or name, and the versions meant.
    Program {
        code: Vec<u8>,
        versions: Option<(Comparison, Version)>,
    },
    /// The beginning of a peer id.
    Prefix(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Below,
    UpTo,
    Exactly,
    From,
    Above,
}

impl Version {
    fn push(&mut self, part: u16) {
        if let Some(place) = self.parts.get_mut(self.length) {
            *place = part;
            self.length += 1;
        }
    }

    fn of(parts: &[u16]) -> Self {
        let mut version = Self::default();
        for &part in parts {
            version.push(part);
        }
        version
    }

    fn parse(text: &str) -> Option<Self> {
        let mut version = Self::default();
        for part in text.split('.') {
            if version.length == PARTS || part.is_empty() || part.len() > 4 {
                return None;
            }
            version.push(part.parse().ok()?);
        }
        Some(version)
    }

    fn cmp(self, other: Self) -> Ordering {
        self.parts.cmp(&other.parts)
    }

    /// The parts in use; zeros behind the second say nothing.
    fn shown(&self) -> &[u16] {
        let used = self.parts.get(..self.length).unwrap_or_default();
        let zeros = used.iter().rev().take_while(|&&part| part == 0).count();
        used.get(..(used.len() - zeros).max(used.len().min(2)))
            .unwrap_or_default()
    }
}

impl Client {
    /// Reads a peer id. Anything is read as something: a client without a known style has neither name nor version.
    pub fn of(peer_id: &PeerId) -> Self {
        let id = peer_id.as_bytes();
        azureus(id)
            .or_else(|| dashed(id))
            .or_else(|| shadow(id))
            .unwrap_or(Self {
                code: [0; 2],
                code_length: 0,
                name: None,
                version: Version::default(),
            })
    }

    /// Reads the beginning of a peer id, as accounts keep it.
    pub fn of_beginning(beginning: [u8; 8]) -> Self {
        let mut id = [b'-'; 20];
        for (to, from) in id.iter_mut().zip(beginning) {
            *to = from;
        }
        Self::of(&PeerId(id))
    }

    fn code(&self) -> &[u8] {
        self.code.get(..self.code_length).unwrap_or_default()
    }
}

impl Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => f.write_str(name)?,
            None if self.code_length == 0 => return f.write_str("unknown client"),
            None => write!(f, "{}", self.code().escape_ascii())?,
        }
        // Transmission wrote its minor number with two digits, up to 3.00.
        if self.code() == b"TR" && self.version.length == 2 {
            let [major, minor, ..] = self.version.parts;
            return write!(f, " {major}.{minor:02}");
        }
        for (place, part) in self.version.shown().iter().enumerate() {
            write!(f, "{}{part}", if place == 0 { ' ' } else { '.' })?;
        }
        Ok(())
    }
}

/// `-TR3000-…`: two letters and four signs, each a number.
fn azureus(id: &[u8; 20]) -> Option<Client> {
    let [b'-', a, b, v0, v1, v2, v3, ..] = *id else {
        return None;
    };
    let code = [a, b];
    if !code.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    Some(Client {
        code,
        code_length: 2,
        name: CODES
            .iter()
            .find_map(|(known, name)| (**known == code).then_some(*name)),
        version: azureus_version(code, [v0, v1, v2, v3]),
    })
}

fn azureus_version(code: [u8; 2], signs: [u8; 4]) -> Version {
    let [a, b, c, d] = signs.map(|sign| number(sign).unwrap_or(0));
    match &code {
        // 2.94 is `2940`, 3.00 is `3000`, and 4.0.5 is `4050`.
        b"TR" if a < 4 => Version::of(&[a, b * 10 + c]),
        b"TR" => Version::of(&[a, b, c]),
        // 1.71 is `0171`.
        b"BC" => Version::of(&[b, c * 10 + d]),
        _ => {
            let mut version = Version::default();
            // The last sign may be a mark such as `s` or `W` for a kind of release; a sign that is no number ends it.
            let last_is_mark = !signs.last().is_some_and(u8::is_ascii_digit);
            for &sign in signs.get(..if last_is_mark { 3 } else { 4 }).unwrap_or_default() {
                match number(sign) {
                    Some(part) => version.push(part),
                    None => break,
                }
            }
            version
        }
    }
}

/// One sign of a version: a digit, or a letter that goes on from ten.
fn number(sign: u8) -> Option<u16> {
    char::from(sign)
        .to_digit(36)
        .and_then(|number| u16::try_from(number).ok())
}

/// `A2-1-36-0-…` (aria2) and `M7-10-5--…` (BitTorrent's own): numbers between dashes.
fn dashed(id: &[u8; 20]) -> Option<Client> {
    let (name, code, code_length, rest) = match id {
        [b'A', b'2', b'-', rest @ ..] => ("aria2", *b"A2", 2, rest.as_slice()),
        [b'M', rest @ ..] if rest.get(1..3)?.contains(&b'-') => ("BitTorrent", [b'M', 0], 1, rest.as_slice()),
        _ => return None,
    };
    let mut version = Version::default();
    for part in rest.split(|&byte| byte == b'-').take(3) {
        let Some(part) = decimal(part) else { break };
        version.push(part);
    }
    Some(Client {
        code,
        code_length,
        name: Some(name),
        version,
    })
}

fn decimal(digits: &[u8]) -> Option<u16> {
    std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit()))?
        .parse()
        .ok()
}

/// `T03I-----…`: a known letter, up to five signs of a version, then three dashes at the latest behind it.
fn shadow(id: &[u8; 20]) -> Option<Client> {
    let (letter, rest) = id.split_first()?;
    let name = LETTERS
        .iter()
        .find_map(|(known, name)| (known == letter).then_some(*name))?;
    let end = rest.windows(3).position(|three| three == b"---")?;
    let signs = rest.get(..end).filter(|signs| (1..=5).contains(&signs.len()))?;
    let mut version = Version::default();
    for &sign in signs {
        version.push(number(sign)?);
    }
    Some(Client {
        code: [*letter, 0],
        code_length: 1,
        name: Some(name),
        version,
    })
}

impl ClientRules {
    /// Reads the owner's two lists.
    pub fn parse(allow: &[String], deny: &[String]) -> Result<Self, ClientRuleError> {
        let read = |list: &[String]| {
            list.iter()
                .map(|rule| Rule::parse(rule))
                .collect::<Result<_, _>>()
        };
        Ok(Self {
            allow: read(allow)?,
            deny: read(deny)?,
        })
    }

    /// The client's name, if it is not wanted here.
    pub fn refuse(&self, peer_id: &PeerId) -> Option<Client> {
        if self.allow.is_empty() && self.deny.is_empty() {
            return None;
        }
        let client = Client::of(peer_id);
        let met = |rules: &[Rule]| rules.iter().any(|rule| rule.meets(peer_id, &client));
        let refused = met(&self.deny) || !self.allow.is_empty() && !met(&self.allow);
        refused.then_some(client)
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, ClientRuleError> {
        let refused = || ClientRuleError {
            rule: text.chars().take(80).collect(),
        };
        // A star at the end says what is true anyway.
        let rule = text.trim().trim_end_matches('*');
        let (program, condition) = rule.split_at(rule.find(['<', '>', '=']).unwrap_or(rule.len()));
        let code = code_of(program.trim());
        match (code, condition) {
            (Some(code), "") => Ok(Self::Program { code, versions: None }),
            (Some(code), condition) => {
                let versions = Comparison::parse(condition).ok_or_else(refused)?;
                Ok(Self::Program {
                    code,
                    versions: Some(versions),
                })
            }
            (None, _)
                if (3..=20).contains(&rule.len()) && rule.bytes().all(|byte| byte.is_ascii_graphic()) =>
            {
                Ok(Self::Prefix(rule.as_bytes().to_vec()))
            }
            (None, _) => Err(refused()),
        }
    }

    fn meets(&self, peer_id: &PeerId, client: &Client) -> bool {
        match self {
            Self::Prefix(prefix) => peer_id.as_bytes().starts_with(prefix),
            Self::Program { code, versions } => {
                client.code() == code
                    && versions.is_none_or(|(comparison, bound)| comparison.holds(client.version.cmp(bound)))
            }
        }
    }
}

/// The code behind what the owner has written: a code itself, or a name.
fn code_of(program: &str) -> Option<Vec<u8>> {
    let known = CODES
        .iter()
        .map(|(code, name)| (code.to_vec(), *name))
        .chain(LETTERS.iter().map(|&(letter, name)| (vec![letter], name)))
        .chain([(b"A2".to_vec(), "aria2")]);
    for (code, name) in known {
        if code == program.as_bytes() || name.eq_ignore_ascii_case(program) {
            return Some(code);
        }
    }
    let is_code = program.len() == 2 && program.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_code.then(|| program.as_bytes().to_vec())
}

impl Comparison {
    fn parse(condition: &str) -> Option<(Self, Version)> {
        let signs = [
            ("<=", Self::UpTo),
            (">=", Self::From),
            ("==", Self::Exactly),
            ("<", Self::Below),
            (">", Self::Above),
            ("=", Self::Exactly),
        ];
        let (rest, comparison) = signs
            .into_iter()
            .find_map(|(sign, comparison)| Some((condition.strip_prefix(sign)?, comparison)))?;
        Some((comparison, Version::parse(rest.trim())?))
    }

    fn holds(self, found: Ordering) -> bool {
        match self {
            Self::Below => found.is_lt(),
            Self::UpTo => found.is_le(),
            Self::Exactly => found.is_eq(),
            Self::From => found.is_ge(),
            Self::Above => found.is_gt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> PeerId {
        let mut bytes = [b'x'; 20];
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        PeerId(bytes)
    }

    #[test]
    fn clients_are_known_by_the_names_people_know() {
        for (peer_id, name) in [
            ("-TR3000-", "Transmission 3.00"),
            ("-TR2940-", "Transmission 2.94"),
            ("-TR4050-", "Transmission 4.0.5"),
            ("-qB4520-", "qBittorrent 4.5.2"),
            ("-LT20B0-", "libtorrent 2.0.11"),
            ("-lt0D80-", "rTorrent 0.13.8"),
            ("-DE211s-", "Deluge 2.1.1"),
            ("-UT355W-", "µTorrent 3.5.5"),
            ("-BC0171-", "BitComet 1.71"),
            ("-AZ5770-", "Vuze 5.7.7"),
            ("-KS0100-", "Kinswarm 0.1"),
            ("-ZZ1234-", "ZZ 1.2.3.4"),
            ("A2-1-36-0-", "aria2 1.36"),
            ("M7-10-5--", "BitTorrent 7.10.5"),
            ("T03I-----", "BitTornado 0.3.18"),
            ("S58B-----", "Shadow 5.8.11"),
            ("\0\0\0", "unknown client"),
            ("hello", "unknown client"),
        ] {
            assert_eq!(Client::of(&id(peer_id)).to_string(), name, "{peer_id}");
        }
    }

    #[test]
    fn a_beginning_is_enough_to_know_the_client() {
        assert_eq!(
            Client::of_beginning(*b"-TR3000-").to_string(),
            "Transmission 3.00"
        );
        assert_eq!(Client::of_beginning([0; 8]).to_string(), "unknown client");
    }

    /// Rules, a peer id, and whether it may stay.
    #[track_caller]
    fn check(allow: &[&str], deny: &[&str], peer_id: &str, stays: bool) {
        let list = |rules: &[&str]| rules.iter().map(|&rule| rule.to_owned()).collect::<Vec<_>>();
        let rules = ClientRules::parse(&list(allow), &list(deny)).unwrap();
        assert_eq!(
            rules.refuse(&id(peer_id)).is_none(),
            stays,
            "{allow:?} {deny:?} {peer_id}"
        );
    }

    #[test]
    fn lists_know_codes_names_versions_and_prefixes() {
        check(&[], &[], "-TR2840-", true);
        check(&[], &["TR<2.90"], "-TR2840-", false);
        check(&[], &["TR<2.90"], "-TR2940-", true);
        check(&[], &["TR<2.90"], "-TR4050-", true);
        check(&[], &["transmission <= 2.94"], "-TR2940-", false);
        check(&["qB>=4.5"], &[], "-qB4500-", true);
        check(&["qB>=4.5"], &[], "-qB4490-", false);
        check(&["qB>=4.5"], &[], "-TR3000-", false);
        check(&["qB>=4.5", "TR"], &["-TR300Z"], "-TR300Z-", false);
        check(&["qB>=4.5", "TR"], &["-TR300Z"], "-TR3000-", true);
        check(&["aria2>1.35"], &[], "A2-1-36-0-", true);
        check(&["A2=1.36"], &[], "A2-1-36-0-", true);
        check(&["lt > 0.13.7"], &[], "-lt0D80-", true);
        check(&["exbc"], &[], "exbc\0\u{9}", true);
    }

    #[test]
    fn a_rule_that_means_nothing_is_named() {
        for rule in [
            "",
            "TR<",
            "TR<two",
            "TR<1.2.3.4.5.6",
            "qB>=4..5",
            "x",
            "mit Leerzeichen",
            "TR!3",
        ] {
            let parsed = ClientRules::parse(&[], &[rule.to_owned()]);
            // What is no code may still be the beginning of a peer id.
            if rule == "TR!3" {
                assert!(parsed.is_ok());
            } else {
                assert_eq!(parsed.unwrap_err().rule, rule);
            }
        }
    }

    proptest! {
        #[test]
        fn any_peer_id_has_a_short_name(bytes: [u8; 20]) {
            prop_assert!(Client::of(&PeerId(bytes)).to_string().len() < 60);
        }

        #[test]
        fn any_text_is_a_rule_or_an_error(text: String) {
            let _ = ClientRules::parse(&[text], &[]);
        }
    }
}
