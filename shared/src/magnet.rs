//! Magnet links (BEP 9, BEP 53): read and written. A link is a stranger's text: everything in it is counted and bounded.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::id::{InfoHash, InfoHashV2};
pub use crate::selection::Selection;

/// The longest link that is read.
const LENGTH_MAX: usize = 64 * 1024;

/// Most trackers, peers and web seeds that are kept, of each.
const LIST_MAX: usize = 100;

/// Longest name that is kept, in letters.
const NAME_MAX: usize = 512;

/// How a v2 hash is announced in a multihash: SHA-256, 32 bytes.
const SHA256_MULTIHASH: [u8; 2] = [0x12, 0x20];

/// Everything but what needs no escape anywhere in a link.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What a magnet link says. At least one of the hashes is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Magnet {
    pub info_hash_v1: Option<InfoHash>,
    pub info_hash_v2: Option<InfoHashV2>,
    /// A name for people; what the torrent is called on a disk comes from its metadata.
    pub name: Option<String>,
    pub trackers: Vec<String>,
    /// Peers to begin with (`x.pe`).
    pub peers: Vec<SocketAddr>,
    pub web_seeds: Vec<String>,
    /// Bytes of content, as far as the link's maker knew.
    pub exact_length: Option<u64>,
    /// The files that are wanted (`so`, BEP 53); without it all of them.
    pub only: Option<Selection>,
}

/// The text is not a magnet link that leads to a torrent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MagnetError {
    #[error("a magnet link begins with `magnet:?`")]
    NotAMagnet,
    #[error("a magnet link of {0} bytes is longer than {LENGTH_MAX}")]
    TooLong(usize),
    #[error("the magnet link names no torrent: it has no `xt=urn:btih:` and no `xt=urn:btmh:`")]
    NoHash,
    #[error("{0:?} in the magnet link is no info-hash")]
    BadHash(String),
    #[error("{0:?} in the magnet link's `so` is no list of file numbers such as `0,2,6-8`")]
    BadSelection(String),
    #[error("the magnet link names two different torrents")]
    TwoTorrents,
}

impl Magnet {
    /// The hash by which peers and trackers know the torrent: v1 where it is given, else v2 cut to 20 bytes.
    pub fn wire_hash(&self) -> InfoHash {
        let truncated = self.info_hash_v2.map(|hash| hash.truncated());
        self.info_hash_v1.or(truncated).unwrap_or(InfoHash([0; 20]))
    }

    fn parameter(&mut self, key: &str, value: &str) -> Result<(), MagnetError> {
        // `tr.1` and `xt.2` are `tr` and `xt`.
        let numbered = key
            .split_once('.')
            .filter(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()));
        match numbered.map_or(key, |(key, _)| key) {
            "xt" => return self.topic(&decoded(value)),
            "dn" => {
                let name = clean(&decoded(&value.replace('+', " ")));
                self.name = Some(name).filter(|name| !name.is_empty());
            }
            "xl" => self.exact_length = value.parse().ok(),
            "tr" => add(
                &mut self.trackers,
                decoded(value),
                &["http", "https", "udp", "ws", "wss"],
            ),
            "ws" => add(&mut self.web_seeds, decoded(value), &["http", "https", "ftp"]),
            "x.pe" => self.peer(&decoded(value)),
            "so" => self.select(&decoded(value))?,
            _ => (),
        }
        Ok(())
    }

    fn topic(&mut self, urn: &str) -> Result<(), MagnetError> {
        let lower = urn.to_ascii_lowercase();
        let bad = || MagnetError::BadHash(urn.chars().take(100).collect());
        if let Some(hash) = lower.strip_prefix("urn:btih:") {
            settle(&mut self.info_hash_v1, v1(hash).ok_or_else(bad)?)?;
        } else if let Some(hash) = lower.strip_prefix("urn:btmh:") {
            settle(&mut self.info_hash_v2, v2(hash).ok_or_else(bad)?)?;
        }
        Ok(())
    }

    fn select(&mut self, text: &str) -> Result<(), MagnetError> {
        let selection: Selection = text.parse()?;
        self.only.get_or_insert_default().join(selection);
        Ok(())
    }

    /// Addresses only: a name would have to be resolved, and nobody asked for that.
    fn peer(&mut self, text: &str) {
        let address = text
            .parse()
            .ok()
            .filter(|address: &SocketAddr| address.port() != 0);
        if let Some(address) =
            address.filter(|address| !self.peers.contains(address) && self.peers.len() < LIST_MAX)
        {
            self.peers.push(address);
        }
    }
}

impl FromStr for Magnet {
    type Err = MagnetError;

    fn from_str(text: &str) -> Result<Self, MagnetError> {
        let text = text.trim();
        if text.len() > LENGTH_MAX {
            return Err(MagnetError::TooLong(text.len()));
        }
        let (scheme, query) = text.split_once('?').ok_or(MagnetError::NotAMagnet)?;
        if !scheme.eq_ignore_ascii_case("magnet:") {
            return Err(MagnetError::NotAMagnet);
        }
        let mut magnet = Self::default();
        for (key, value) in query.split('&').filter_map(|parameter| parameter.split_once('=')) {
            magnet.parameter(&key.to_ascii_lowercase(), value)?;
        }
        if magnet.info_hash_v1.is_none() && magnet.info_hash_v2.is_none() {
            return Err(MagnetError::NoHash);
        }
        Ok(magnet)
    }
}

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = '?';
        let mut parameter = |f: &mut fmt::Formatter<'_>, key: &str, value: &dyn fmt::Display| {
            let joined = write!(f, "{separator}{key}={value}");
            separator = '&';
            joined
        };
        f.write_str("magnet:")?;
        if let Some(hash) = &self.info_hash_v1 {
            parameter(f, "xt", &format_args!("urn:btih:{hash}"))?;
        }
        if let Some(hash) = &self.info_hash_v2 {
            parameter(f, "xt", &format_args!("urn:btmh:1220{hash}"))?;
        }
        if let Some(name) = &self.name {
            parameter(f, "dn", &utf8_percent_encode(name, ESCAPED))?;
        }
        if let Some(length) = &self.exact_length {
            parameter(f, "xl", length)?;
        }
        if let Some(only) = &self.only {
            parameter(f, "so", only)?;
        }
        for url in &self.trackers {
            parameter(f, "tr", &utf8_percent_encode(url, ESCAPED))?;
        }
        for url in &self.web_seeds {
            parameter(f, "ws", &utf8_percent_encode(url, ESCAPED))?;
        }
        // libtorrent takes the address as it stands, without unescaping it.
        self.peers.iter().try_for_each(|peer| parameter(f, "x.pe", peer))
    }
}

/// 40 hexadecimal digits, or 32 of base 32.
fn v1(hash: &str) -> Option<InfoHash> {
    let bytes = match hash.len() {
        40 => HEXLOWER_PERMISSIVE.decode(hash.as_bytes()),
        32 => BASE32_NOPAD.decode(hash.to_ascii_uppercase().as_bytes()),
        _ => return None,
    };
    InfoHash::from_slice(&bytes.ok()?)
}

fn v2(hash: &str) -> Option<InfoHashV2> {
    let bytes = HEXLOWER_PERMISSIVE.decode(hash.as_bytes()).ok()?;
    InfoHashV2::from_slice(bytes.strip_prefix(&SHA256_MULTIHASH)?)
}

fn settle<T: PartialEq>(place: &mut Option<T>, hash: T) -> Result<(), MagnetError> {
    if place.as_ref().is_some_and(|known| *known != hash) {
        return Err(MagnetError::TwoTorrents);
    }
    *place = Some(hash);
    Ok(())
}

fn decoded(value: &str) -> String {
    percent_decode_str(value).decode_utf8_lossy().into_owned()
}

/// Without anything that could steer a terminal.
fn clean(text: &str) -> String {
    text.chars()
        .filter(|letter| !letter.is_control())
        .take(NAME_MAX)
        .collect()
}

fn add(list: &mut Vec<String>, url: String, schemes: &[&str]) {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    let known = schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme));
    if known && list.len() < LIST_MAX && !url.chars().any(char::is_control) && !list.contains(&url) {
        list.push(url);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "c9e15763f722f23e98a29decdfae341b98d53056";

    fn read(text: &str) -> Magnet {
        text.parse().unwrap()
    }

    #[test]
    fn a_link_with_everything_is_read() {
        let magnet = read(&format!(
            "magnet:?xt=urn:btih:{HEX}&dn=Summer+2024%21&xl=12&tr=http%3A%2F%2Fa.b%2Fannounce&tr.2=udp://c:6969\
             &ws=http://d/&x.pe=10.0.0.1:6881&x.pe=[fe80::1]:7&x.pe=host.name:1&so=0,2-5&zz&=&kt=x"
        ));
        assert_eq!(magnet.info_hash_v1.unwrap().to_string(), HEX);
        assert_eq!(magnet.name.as_deref(), Some("Summer 2024!"));
        assert_eq!(magnet.trackers, ["http://a.b/announce", "udp://c:6969"]);
        assert_eq!(
            magnet.peers,
            ["10.0.0.1:6881".parse().unwrap(), "[fe80::1]:7".parse().unwrap()]
        );
        assert_eq!((magnet.web_seeds.len(), magnet.exact_length), (1, Some(12)));
        assert_eq!(magnet.only, Some("0,2-5".parse().unwrap()));
        assert_eq!(read(&magnet.to_string()), magnet);
    }

    #[test]
    fn base_32_and_multihashes_are_hashes_too() {
        let base32 = BASE32_NOPAD.encode(&HEXLOWER_PERMISSIVE.decode(HEX.as_bytes()).unwrap());
        assert_eq!(
            read(&format!("MAGNET:?xt=urn:btih:{}", base32.to_lowercase()))
                .wire_hash()
                .to_string(),
            HEX
        );
        let v2 = "ab".repeat(32);
        let magnet = read(&format!("magnet:?xt.1=urn:btmh:1220{v2}"));
        assert_eq!(magnet.info_hash_v2.unwrap().to_string(), v2);
        assert_eq!(magnet.wire_hash().to_string(), "ab".repeat(20));
        assert_eq!(
            read(&format!("magnet:?xt=urn:btih:{HEX}&xt=urn:btmh:1220{v2}"))
                .wire_hash()
                .to_string(),
            HEX
        );
    }

    #[track_caller]
    fn refused(text: &str, why: MagnetError) {
        assert_eq!(text.parse::<Magnet>(), Err(why));
    }

    #[test]
    fn what_names_no_torrent_is_refused_by_name() {
        refused("http://example.org", MagnetError::NotAMagnet);
        refused("magnet?xt=1", MagnetError::NotAMagnet);
        refused("magnet:?dn=x&xt=urn:sha1:abc", MagnetError::NoHash);
        refused(
            "magnet:?xt=urn:btih:abc",
            MagnetError::BadHash("urn:btih:abc".into()),
        );
        refused(
            "magnet:?xt=urn:btmh:1120ab",
            MagnetError::BadHash("urn:btmh:1120ab".into()),
        );
        refused(
            &format!("magnet:?xt=urn:btih:{HEX}&so=1,7-4"),
            MagnetError::BadSelection("7-4".into()),
        );
        let other = "0".repeat(40);
        refused(
            &format!("magnet:?xt=urn:btih:{HEX}&xt=urn:btih:{other}"),
            MagnetError::TwoTorrents,
        );
        refused(
            &format!("magnet:?dn={}", "x".repeat(LENGTH_MAX)),
            MagnetError::TooLong(LENGTH_MAX + 11),
        );
    }

    #[test]
    fn hostile_lists_end_and_names_cannot_steer_a_terminal() {
        let peers: Vec<String> = (1..1_000).map(|port| format!("&x.pe=10.0.0.1:{port}")).collect();
        let trackers: Vec<String> = (1..500).map(|port| format!("&tr=http://a:{port}/")).collect();
        let link = format!(
            "magnet:?xt=urn:btih:{HEX}&dn=%1b[31mred%00&tr=file:///etc&tr=http://a%0a&x.pe=1.2.3.4:0"
        );
        let magnet = read(&(link + &peers.concat() + &trackers.concat()));
        assert_eq!((magnet.peers.len(), magnet.trackers.len()), (100, 100));
        assert_eq!(magnet.name.as_deref(), Some("[31mred"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            v1 in prop::option::of(any::<[u8; 20]>()), v2 in any::<[u8; 32]>(), name in prop::option::of("[^\\p{Cc}]{1,40}"),
            hosts in prop::collection::btree_set("[a-z0-9/?&=+ %]{1,20}", 0..4), exact_length in any::<Option<u64>>(), only in any::<Option<(u32, u32)>>(),
            peers in prop::collection::btree_set((any::<std::net::IpAddr>(), 1_u16..), 0..4),
        ) {
            let urls = |scheme: &str| hosts.iter().map(|host| format!("{scheme}://{host}")).collect();
            let magnet = Magnet {
                info_hash_v1: v1.map(InfoHash), info_hash_v2: Some(InfoHashV2(v2)), name, exact_length, only: only.map(|(first, more)| Selection::from(first..=first.saturating_add(more))),
                trackers: urls("udp"), web_seeds: urls("https"), peers: peers.into_iter().map(SocketAddr::from).collect(),
            };
            prop_assert_eq!(magnet.to_string().parse(), Ok(magnet));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,300}") {
            prop_assert_eq!(text.parse::<Magnet>().is_ok(), text.starts_with("magnet:?") && text.contains("xt=urn:bt"));
            let link = format!("magnet:?xt=urn:btih:{HEX}&dn={text}");
            if let Ok(magnet) = link.parse::<Magnet>() {
                prop_assert_eq!(magnet.to_string().parse(), Ok(magnet));
            }
        }
    }
}
