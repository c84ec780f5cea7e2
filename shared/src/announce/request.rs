//! What a client tells a tracker.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use crate::announce::query::{self, Parameters, QueryError, escape, unescape};
use crate::id::{InfoHash, PeerId};

/// Numbers above this are taken for this: clients without metadata send `left` beyond what fits.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// A `trackerid` longer than this is cut; trackers make them, so an honest one gets its own back.
pub(super) const TRACKER_ID_MAX: usize = 256;

/// Why a client announces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Event {
    /// One of the regular announces in between.
    #[default]
    None,
    Started,
    Completed,
    Stopped,
    /// A partial seed: still incomplete, but wants nothing now (BEP 21). Sent with every announce.
    Paused,
}

impl Event {
    /// The value on the wire; none for the regular announce.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Started => Some("started"),
            Self::Completed => Some("completed"),
            Self::Stopped => Some("stopped"),
            Self::Paused => Some("paused"),
        }
    }

    fn parse(raw: &[u8]) -> Result<Self, QueryError> {
        match raw {
            b"" | b"empty" => Ok(Self::None),
            b"started" => Ok(Self::Started),
            b"completed" => Ok(Self::Completed),
            b"stopped" => Ok(Self::Stopped),
            b"paused" => Ok(Self::Paused),
            _ => Err(QueryError::Event),
        }
    }
}

/// Whether a client takes part in encrypted handshakes. Trackers pass over it, unless they would rather match peers by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Crypto {
    #[default]
    Unsaid,
    Supported,
    /// It speaks to nobody in plain.
    Required,
}

impl Crypto {
    const fn as_query(self) -> &'static str {
        match self {
            Self::Unsaid => "",
            Self::Supported => "&supportcrypto=1",
            Self::Required => "&requirecrypto=1",
        }
    }
}

/// What a client keeps to be known again when its address changes. Cut to 32 bytes; it is only ever compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    bytes: [u8; Self::LENGTH_MAX],
    length: u8,
}

impl Key {
    const LENGTH_MAX: usize = 32;

    /// A client's own key, written as eight hexadecimal digits.
    pub fn from_number(number: u32) -> Self {
        Self::from_bytes(format!("{number:08X}").into_bytes().into_iter())
    }

    /// The bytes as sent.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    fn from_bytes(source: impl Iterator<Item = u8>) -> Self {
        let mut key = Self {
            bytes: [0; Self::LENGTH_MAX],
            length: 0,
        };
        for (place, byte) in key.bytes.iter_mut().zip(source) {
            *place = byte;
            key.length += 1;
        }
        key
    }
}

/// One announce, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceRequest {
    pub info_hash: InfoHash,
    pub peer_id: PeerId,
    /// Where the peer listens; never 0.
    pub port: u16,
    pub uploaded: u64,
    pub downloaded: u64,
    /// Bytes still missing; `i64::MAX` while the client does not know (it sends `-1` or more than fits).
    pub left: u64,
    pub event: Event,
    /// How many peers are wanted; none where the client leaves it to the tracker.
    pub numwant: Option<u32>,
    /// Peers as six or eighteen bytes each; also where nothing is said (BEP 23).
    pub compact: bool,
    /// Peers in dictionaries may go without their ids.
    pub no_peer_id: bool,
    /// Whether the client takes part in encrypted handshakes.
    pub crypto: Crypto,
    pub key: Option<Key>,
    /// The address the client claims (`ip=`). Whether it is believed is the tracker's rule, not the parser's.
    pub ip: Option<IpAddr>,
    /// A claimed endpoint of either family (`ipv4=`, `ipv6=`, BEP 7).
    pub ipv4: Option<SocketAddrV4>,
    pub ipv6: Option<SocketAddrV6>,
    /// What the tracker gave as `tracker id` before.
    pub tracker_id: Option<Vec<u8>>,
}

impl AnnounceRequest {
    /// A regular announce with everything optional left out.
    pub fn new(info_hash: InfoHash, peer_id: PeerId, port: u16) -> Self {
        Self {
            info_hash,
            peer_id,
            port,
            uploaded: 0,
            downloaded: 0,
            left: 0,
            event: Event::None,
            numwant: None,
            compact: true,
            no_peer_id: false,
            crypto: Crypto::Unsaid,
            key: None,
            ip: None,
            ipv4: None,
            ipv6: None,
            tracker_id: None,
        }
    }

    /// Reads the query of an announce. Unknown parameters are passed over; where an optional one repeats, the last counts.
    pub fn parse(query: &[u8]) -> Result<Self, QueryError> {
        let mut required = Required::default();
        let mut request = Self::new(InfoHash([0; 20]), PeerId([0; 20]), 0);
        let (mut ipv4, mut ipv6) = (None, None);
        for (name, raw) in Parameters::new(query) {
            match name {
                b"ipv4" => ipv4 = Some(raw),
                b"ipv6" => ipv6 = Some(raw),
                _ if required.take(name, raw)? => (),
                _ => request.take_optional(name, raw)?,
            }
        }
        request.info_hash = InfoHash(required.info_hash.ok_or(QueryError::Missing("info_hash"))?);
        request.peer_id = PeerId(required.peer_id.ok_or(QueryError::Missing("peer_id"))?);
        request.port = required.port.ok_or(QueryError::Missing("port"))?;
        request.uploaded = required.uploaded.ok_or(QueryError::Missing("uploaded"))?;
        request.downloaded = required.downloaded.ok_or(QueryError::Missing("downloaded"))?;
        request.left = required.left.ok_or(QueryError::Missing("left"))?;
        request.ipv4 = ipv4.and_then(|raw| endpoint_v4(raw, request.port));
        request.ipv6 = ipv6.and_then(|raw| endpoint_v6(raw, request.port));
        Ok(request)
    }

    fn take_optional(&mut self, name: &[u8], raw: &[u8]) -> Result<(), QueryError> {
        match name {
            b"event" => self.event = Event::parse(raw)?,
            b"numwant" => self.numwant = numwant(raw)?,
            b"compact" => self.compact = flag("compact", raw)?.unwrap_or(true),
            b"no_peer_id" => self.no_peer_id = flag("no_peer_id", raw)?.unwrap_or(false),
            b"supportcrypto" if raw == b"1" => self.crypto = self.crypto.max(Crypto::Supported),
            b"requirecrypto" if raw == b"1" => self.crypto = Crypto::Required,
            b"key" => self.key = Some(Key::from_bytes(unescape(raw).map_while(|byte| byte))),
            b"ip" => self.ip = text(raw).as_ref().and_then(Text::parse),
            b"trackerid" => {
                self.tracker_id = Some(
                    unescape(raw)
                        .map_while(|byte| byte)
                        .take(TRACKER_ID_MAX)
                        .collect(),
                );
            }
            _ => (),
        }
        Ok(())
    }

    /// Writes the query of an announce, the client's side of [`Self::parse`].
    pub fn to_query(&self) -> String {
        let mut out = String::with_capacity(384);
        out.push_str("info_hash=");
        escape(self.info_hash.as_bytes(), &mut out);
        out.push_str("&peer_id=");
        escape(self.peer_id.as_bytes(), &mut out);
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "&port={}&uploaded={}&downloaded={}",
            self.port, self.uploaded, self.downloaded
        );
        let _ = write!(out, "&left={}&compact={}", self.left, u8::from(self.compact));
        if self.no_peer_id {
            out.push_str("&no_peer_id=1");
        }
        if let Some(event) = self.event.as_str() {
            let _ = write!(out, "&event={event}");
        }
        if let Some(numwant) = self.numwant {
            let _ = write!(out, "&numwant={numwant}");
        }
        out.push_str(self.crypto.as_query());
        self.write_identity(&mut out);
        out
    }

    fn write_identity(&self, out: &mut String) {
        let named = [
            ("key", self.key.map(|key| key.as_bytes().to_vec())),
            ("ip", self.ip.map(|ip| ip.to_string().into_bytes())),
            ("ipv4", self.ipv4.map(|at| at.to_string().into_bytes())),
            ("ipv6", self.ipv6.map(|at| at.to_string().into_bytes())),
            ("trackerid", self.tracker_id.clone()),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                let _ = write!(out, "&{name}=");
                escape(&value, out);
            }
        }
    }
}

/// The parameters without which there is no announce, each allowed once.
#[derive(Default)]
struct Required {
    info_hash: Option<[u8; 20]>,
    peer_id: Option<[u8; 20]>,
    port: Option<u16>,
    uploaded: Option<u64>,
    downloaded: Option<u64>,
    left: Option<u64>,
}

impl Required {
    /// Takes a parameter if it is one of these.
    fn take(&mut self, name: &[u8], raw: &[u8]) -> Result<bool, QueryError> {
        match name {
            b"info_hash" => once(&mut self.info_hash, "info_hash", query::twenty("info_hash", raw)),
            b"peer_id" => once(&mut self.peer_id, "peer_id", query::twenty("peer_id", raw)),
            b"port" => once(&mut self.port, "port", port(raw)),
            b"uploaded" => once(&mut self.uploaded, "uploaded", number("uploaded", raw)),
            b"downloaded" => once(&mut self.downloaded, "downloaded", number("downloaded", raw)),
            b"left" if raw == b"-1" => once(&mut self.left, "left", Ok(NUMBER_MAX)),
            b"left" => once(&mut self.left, "left", number("left", raw)),
            _ => Ok(false),
        }
    }
}

fn once<T>(
    slot: &mut Option<T>,
    name: &'static str,
    value: Result<T, QueryError>,
) -> Result<bool, QueryError> {
    if slot.is_some() {
        return Err(QueryError::Repeated(name));
    }
    *slot = Some(value?);
    Ok(true)
}

/// A decimal number, cut to what fits: a counter that ran over is no reason to refuse a client.
fn number(name: &'static str, raw: &[u8]) -> Result<u64, QueryError> {
    if raw.is_empty() || raw.len() > 24 {
        return Err(QueryError::Number(name));
    }
    raw.iter().try_fold(0_u64, |sum, &byte| {
        let digit = byte
            .is_ascii_digit()
            .then(|| u64::from(byte - b'0'))
            .ok_or(QueryError::Number(name))?;
        Ok(sum.saturating_mul(10).saturating_add(digit).min(NUMBER_MAX))
    })
}

fn port(raw: &[u8]) -> Result<u16, QueryError> {
    let port = number("port", raw).map_err(|_| QueryError::Port)?;
    u16::try_from(port)
        .ok()
        .filter(|&port| port != 0)
        .ok_or(QueryError::Port)
}

/// `-1` and nothing at all leave the choice to the tracker.
fn numwant(raw: &[u8]) -> Result<Option<u32>, QueryError> {
    match raw {
        b"" | b"-1" => Ok(None),
        _ => number("numwant", raw).map(|number| Some(u32::try_from(number).unwrap_or(u32::MAX))),
    }
}

fn flag(name: &'static str, raw: &[u8]) -> Result<Option<bool>, QueryError> {
    match raw {
        b"" => Ok(None),
        b"0" => Ok(Some(false)),
        b"1" => Ok(Some(true)),
        _ => Err(QueryError::Flag(name)),
    }
}

/// A short decoded text; an address fits, anything longer is none.
struct Text {
    bytes: [u8; 64],
    length: usize,
}

impl Text {
    fn parse<T: std::str::FromStr>(&self) -> Option<T> {
        std::str::from_utf8(self.bytes.get(..self.length)?)
            .ok()?
            .parse()
            .ok()
    }
}

fn text(raw: &[u8]) -> Option<Text> {
    let mut text = Text {
        bytes: [0; 64],
        length: 0,
    };
    for byte in unescape(raw) {
        *text.bytes.get_mut(text.length)? = byte?;
        text.length += 1;
    }
    Some(text)
}

/// `1.2.3.4:5` or an address alone, which listens where the announce says. Anything else is passed over (BEP 7).
fn endpoint_v4(raw: &[u8], port: u16) -> Option<SocketAddrV4> {
    let text = text(raw)?;
    text.parse()
        .or_else(|| text.parse::<Ipv4Addr>().map(|ip| SocketAddrV4::new(ip, port)))
}

/// `[::1]:5` or an address alone.
fn endpoint_v6(raw: &[u8], port: u16) -> Option<SocketAddrV6> {
    let text = text(raw)?;
    text.parse().or_else(|| {
        text.parse::<Ipv6Addr>()
            .map(|ip| SocketAddrV6::new(ip, port, 0, 0))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "info_hash=aaaaaaaaaaaaaaaaaaaa";
    const REST: &str = "&peer_id=-KW0001-bbbbbbbbbbbb&port=16881&uploaded=1&downloaded=2&left=3";

    fn parse(more: &str) -> Result<AnnounceRequest, QueryError> {
        AnnounceRequest::parse(format!("{HASH}{REST}{more}").as_bytes())
    }

    #[track_caller]
    fn refused(query: &str, reason: &str) {
        let error = AnnounceRequest::parse(query.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), reason, "{query}");
    }

    #[test]
    fn a_plain_announce_is_read() {
        let request = parse("").unwrap();
        assert_eq!(request.info_hash, InfoHash([b'a'; 20]));
        assert_eq!(
            (request.port, request.uploaded, request.downloaded, request.left),
            (16881, 1, 2, 3)
        );
        assert_eq!(
            (request.event, request.numwant, request.compact),
            (Event::None, None, true)
        );
    }

    #[test]
    fn every_missing_parameter_is_named() {
        let whole = format!("{HASH}{REST}");
        for name in ["info_hash", "peer_id", "port", "uploaded", "downloaded", "left"] {
            let without: Vec<_> = whole.split('&').filter(|part| !part.starts_with(name)).collect();
            refused(&without.join("&"), &format!("{name} is missing"));
        }
        refused("", "info_hash is missing");
    }

    #[test]
    fn two_hashes_in_one_announce_are_refused() {
        refused(&format!("{HASH}&{HASH}{REST}"), "info_hash is given twice");
    }

    #[test]
    fn ids_of_the_wrong_length_or_spelling_are_refused_by_name() {
        refused(
            &format!("info_hash=short{REST}"),
            "info_hash must be 20 bytes, not 5",
        );
        refused(
            &format!("info_hash=%zzaaaaaaaaaaaaaaaaaaa{REST}"),
            "info_hash has a broken percent escape",
        );
        refused(&format!("{HASH}&peer_id="), "peer_id must be 20 bytes, not 0");
    }

    #[test]
    fn numbers_that_are_none_are_refused_by_name() {
        for (name, value) in [
            ("uploaded", "-1"),
            ("downloaded", "ten"),
            ("left", ""),
            ("left", "-2"),
        ] {
            let whole = format!("{HASH}{REST}");
            let parts: Vec<_> = whole.split('&').filter(|part| !part.starts_with(name)).collect();
            refused(
                &format!("{}&{name}={value}", parts.join("&")),
                &format!("{name} is not a whole number in range"),
            );
        }
        for port in ["0", "65536", "-1", "x", ""] {
            refused(
                &format!("{HASH}&peer_id=cccccccccccccccccccc&port={port}"),
                "port must be from 1 to 65535",
            );
        }
    }

    #[test]
    fn a_client_that_does_not_know_what_is_left_is_a_leecher() {
        for left in [
            "-1",
            "9223372036854775808",
            "18446744073709551615",
            "99999999999999999999",
        ] {
            let query = format!("{HASH}{}", REST.replace("left=3", &format!("left={left}")));
            assert_eq!(
                AnnounceRequest::parse(query.as_bytes()).unwrap().left,
                NUMBER_MAX,
                "{left}"
            );
        }
    }

    #[test]
    fn an_event_may_be_present_and_empty() {
        assert_eq!(parse("&event=").unwrap().event, Event::None);
        assert_eq!(parse("&event=paused").unwrap().event, Event::Paused);
        assert_eq!(parse("&event=resurrected"), Err(QueryError::Event));
    }

    #[test]
    fn numwant_below_zero_is_the_trackers_choice() {
        assert_eq!(parse("&numwant=-1").unwrap().numwant, None);
        assert_eq!(parse("&numwant=0").unwrap().numwant, Some(0));
        assert_eq!(parse("&numwant=99999999999").unwrap().numwant, Some(u32::MAX));
        assert_eq!(parse("&numwant=lots"), Err(QueryError::Number("numwant")));
    }

    #[test]
    fn addresses_are_read_where_they_are_addresses() {
        let request = parse("&ip=10.1.2.3&ipv4=10.0.0.9&ipv6=%5Bfd00%3A%3A1%5D%3A99").unwrap();
        assert_eq!(request.ip, Some("10.1.2.3".parse().unwrap()));
        assert_eq!(request.ipv4, Some("10.0.0.9:16881".parse().unwrap()));
        assert_eq!(request.ipv6, Some("[fd00::1]:99".parse().unwrap()));
        assert_eq!(parse("&ip=host.example&ipv6=%FF").unwrap(), parse("").unwrap());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut request = AnnounceRequest::new(
            InfoHash(*b"\0%&=+ #\xff~aaaaaaaaaaa"),
            PeerId(*b"-KW0001-\0\x80aaaaaaaaaa"),
            1,
        );
        assert_eq!(
            AnnounceRequest::parse(request.to_query().as_bytes()),
            Ok(request.clone())
        );
        request.left = 7;
        request.event = Event::Stopped;
        request.numwant = Some(0);
        request.no_peer_id = true;
        request.compact = false;
        request.key = Some(Key::from_number(0xDEAD));
        request.ip = Some("::1".parse().unwrap());
        request.ipv4 = Some("127.0.0.1:5".parse().unwrap());
        request.ipv6 = Some("[::1]:5".parse().unwrap());
        request.tracker_id = Some(b"a&b".to_vec());
        assert_eq!(AnnounceRequest::parse(request.to_query().as_bytes()), Ok(request));
    }

    fn any_event() -> impl Strategy<Value = Event> {
        use Event::{Completed, None, Paused, Started, Stopped};
        prop::sample::select(vec![None, Started, Completed, Stopped, Paused])
    }

    prop_compose! {
        fn any_request()(
            (info_hash, peer_id, port) in (any::<[u8; 20]>(), any::<[u8; 20]>(), 1..=u16::MAX),
            (uploaded, downloaded, left) in (0..=NUMBER_MAX, 0..=NUMBER_MAX, 0..=NUMBER_MAX),
            (event, numwant, key) in (any_event(), any::<Option<u32>>(), any::<Option<u32>>()),
            (compact, no_peer_id) in any::<(bool, bool)>(),
            crypto in prop::sample::select(vec![Crypto::Unsaid, Crypto::Supported, Crypto::Required]),
            (ip, ipv4, ipv6) in any::<(Option<IpAddr>, Option<SocketAddrV4>, Option<(Ipv6Addr, u16)>)>(),
            tracker_id in prop::option::of(prop::collection::vec(any::<u8>(), 0..TRACKER_ID_MAX)),
        ) -> AnnounceRequest {
            AnnounceRequest {
                uploaded, downloaded, left, event, numwant, compact, no_peer_id, crypto, ip, ipv4, tracker_id,
                key: key.map(Key::from_number),
                ipv6: ipv6.map(|(ip, port)| SocketAddrV6::new(ip, port, 0, 0)),
                ..AnnounceRequest::new(InfoHash(info_hash), PeerId(peer_id), port)
            }
        }
    }

    proptest! {
        #[test]
        fn every_announce_survives_its_query(request in any_request()) {
            prop_assert_eq!(AnnounceRequest::parse(request.to_query().as_bytes()), Ok(request));
        }

        #[test]
        fn no_query_does_harm(query in "(info_hash|peer_id|port|left|event|key|ip|ipv6|&|=|%|%0|[0-9a-f]|-|\\PC)*") {
            let refusal = AnnounceRequest::parse(query.as_bytes()).map_err(|error| error.to_string());
            prop_assert!(refusal.is_err_and(|reason| reason.len() <= 64));
        }
    }
}
