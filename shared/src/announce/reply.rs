//! What a tracker answers, as a client reads it. Trackers are strangers: keys in any order, numbers out of range, texts of
//! any length and peers that nobody can dial all occur, and none of them costs more than a bounded amount.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::bencode::{Limits, ScanError, Value, scan};
use crate::compact;

/// More peers than this are not taken from one reply.
pub const PEERS_MAX: usize = 2_000;

/// Texts are cut here; clients show far less.
const TEXT_MAX: usize = 512;

/// No tracker keeps us away longer.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Where a tracker says nothing about the next announce.
const INTERVAL_DEFAULT: Duration = Duration::from_secs(30 * 60);

/// A tracker's answer to an announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Reply(AnnounceReply),
    Failure(Failure),
}

/// The tracker knows us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceReply {
    /// When to announce again, at most a day; half an hour where the tracker does not say.
    pub interval: Duration,
    /// Not sooner than this.
    pub min_interval: Option<Duration>,
    /// Seeders.
    pub complete: Option<u32>,
    /// Leechers.
    pub incomplete: Option<u32>,
    /// Those of the leechers that still want something (BEP 21).
    pub downloaders: Option<u32>,
    /// How often the torrent was completed.
    pub downloaded: Option<u32>,
    /// Peers that can be dialled, of either family, at most [`PEERS_MAX`].
    pub peers: Vec<SocketAddr>,
    /// Our own address, as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
    pub warning: Option<String>,
    /// To be sent with the next announce.
    pub tracker_id: Option<Vec<u8>>,
}

/// The tracker refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub reason: String,
    /// Whether trying again makes sense (BEP 31).
    pub retry_in: Option<RetryIn>,
    pub interval: Option<Duration>,
    pub min_interval: Option<Duration>,
}

/// What `retry in` asks for (BEP 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryIn {
    Never,
    /// At most a day.
    After(Duration),
}

/// The answer is none that a tracker gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("the tracker's answer is no bencode: {0}")]
    Bencode(#[from] ScanError),
    #[error("the tracker's answer holds neither what was asked for nor a failure reason")]
    Empty,
}

impl Answer {
    /// Reads the body of an answer: compact or dictionary peers, both families, or a failure.
    pub fn decode(bytes: &[u8]) -> Result<Self, AnswerError> {
        let scan = scan(bytes, &Limits::REPLY)?;
        let root = scan.root();
        if let Some(failure) = Failure::read(&root) {
            return Ok(Self::Failure(failure));
        }
        AnnounceReply::read(&root)
            .map(Self::Reply)
            .ok_or(AnswerError::Empty)
    }
}

impl AnnounceReply {
    fn read(root: &Value<'_>) -> Option<Self> {
        let interval = seconds(root, "interval");
        let (peers, peers6) = (root.get("peers"), root.get("peers6"));
        if interval.is_none() && peers.is_none() && peers6.is_none() {
            return None;
        }
        Some(Self {
            interval: interval.unwrap_or(INTERVAL_DEFAULT),
            min_interval: seconds(root, "min interval"),
            complete: count(root, "complete"),
            incomplete: count(root, "incomplete"),
            downloaders: count(root, "downloaders"),
            downloaded: count(root, "downloaded"),
            peers: read_peers(peers, peers6),
            external_ip: root
                .get("external ip")
                .and_then(|value| packed_ip(value.bytes()?)),
            warning: text(root, "warning message"),
            tracker_id: root.get("tracker id").and_then(tracker_id),
        })
    }
}

impl Failure {
    /// Reads a failure; none where the dictionary holds no reason.
    pub(crate) fn read(root: &Value<'_>) -> Option<Self> {
        Some(Self {
            reason: text(root, "failure reason")?,
            retry_in: root.get("retry in").and_then(retry_in),
            interval: seconds(root, "interval"),
            min_interval: seconds(root, "min interval"),
        })
    }
}

fn retry_in(value: Value<'_>) -> Option<RetryIn> {
    let text = value.text().map(str::trim);
    if text.is_some_and(|text| text.eq_ignore_ascii_case("never")) {
        return Some(RetryIn::Never);
    }
    // Some trackers send the number as a string.
    let minutes = value.int().or_else(|| text?.parse().ok())?;
    let minutes = u64::try_from(minutes).ok()?.min(INTERVAL_MAX.as_secs() / 60);
    Some(RetryIn::After(Duration::from_secs(minutes * 60)))
}

fn seconds(root: &Value<'_>, key: &str) -> Option<Duration> {
    let secs = u64::try_from(root.get(key)?.int()?.max(0)).ok()?;
    Some(Duration::from_secs(secs).min(INTERVAL_MAX))
}

pub(crate) fn count(root: &Value<'_>, key: &str) -> Option<u32> {
    let number = root.get(key)?.int()?;
    (number >= 0).then(|| u32::try_from(number).unwrap_or(u32::MAX))
}

/// A text without control characters, cut to a bearable length.
fn text(root: &Value<'_>, key: &str) -> Option<String> {
    let bytes = root.get(key)?.bytes()?;
    let bytes = bytes.get(..4 * TEXT_MAX).unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    Some(
        text.chars()
            .filter(|char| !char.is_control())
            .take(TEXT_MAX)
            .collect(),
    )
}

fn tracker_id(value: Value<'_>) -> Option<Vec<u8>> {
    value
        .bytes()
        .filter(|bytes| bytes.len() <= super::request::TRACKER_ID_MAX)
        .map(<[u8]>::to_vec)
}

fn packed_ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
        .map(|ip| ip.to_canonical())
}

fn read_peers(peers: Option<Value<'_>>, peers6: Option<Value<'_>>) -> Vec<SocketAddr> {
    let compact = peers.and_then(|value| value.bytes()).unwrap_or_default();
    let compact6 = peers6.and_then(|value| value.bytes()).unwrap_or_default();
    let dictionaries = peers.and_then(|value| value.list()).into_iter().flatten();
    compact::peers_v4(compact)
        .map(SocketAddr::V4)
        .chain(dictionaries.filter_map(|peer| dictionary_peer(&peer)))
        .chain(compact::peers_v6(compact6).map(SocketAddr::V6))
        .map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port()))
        .filter(compact::can_be_dialled)
        .take(PEERS_MAX)
        .collect()
}

/// One peer of the long form (BEP 3). Names of hosts are passed over: a tracker shall not make us ask the DNS.
fn dictionary_peer(peer: &Value<'_>) -> Option<SocketAddr> {
    let ip = peer.get("ip")?.text()?.parse().ok()?;
    let port = u16::try_from(peer.get("port")?.int()?).ok()?;
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn reply(bytes: &[u8]) -> AnnounceReply {
        match Answer::decode(bytes) {
            Ok(Answer::Reply(reply)) => reply,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn failure(bytes: &[u8]) -> Failure {
        match Answer::decode(bytes) {
            Ok(Answer::Failure(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }

    fn peers(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_compact_reply_with_all_its_keys_is_read() {
        let mut bytes =
            b"d8:completei3e10:downloadedi9e11:external ip4:\x01\x02\x03\x0410:incompletei5e8:intervali1800e\
              12:min intervali900e5:peers12:\x0a\x00\x00\x01\x1a\xe1\x0a\x00\x00\x02\x1a\xe16:peers618:"
                .to_vec();
        bytes.extend([0x20; 16]);
        bytes.extend(b"\x00\x0510:tracker id2:ab15:warning message4:slowe");
        let reply = reply(&bytes);
        assert_eq!(
            (reply.complete, reply.incomplete, reply.downloaded),
            (Some(3), Some(5), Some(9))
        );
        assert_eq!(
            (reply.interval.as_secs(), reply.min_interval.unwrap().as_secs()),
            (1800, 900)
        );
        let six = "[2020:2020:2020:2020:2020:2020:2020:2020]:5";
        assert_eq!(reply.peers, peers(&["10.0.0.1:6881", "10.0.0.2:6881", six]));
        assert_eq!(reply.external_ip, Some("1.2.3.4".parse().unwrap()));
        assert_eq!(
            (reply.tracker_id.as_deref(), reply.warning.as_deref()),
            (Some(&b"ab"[..]), Some("slow"))
        );
    }

    #[test]
    fn dictionary_peers_are_read_and_host_names_passed_over() {
        let reply = reply(
            b"d8:intervali60e5:peersld2:ip9:127.0.0.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti7eed2:ip3:::14:porti8ee\
              d2:ip4:host4:porti9eed2:ip7:1.2.3.44:porti99999eei5eee",
        );
        assert_eq!(reply.peers, peers(&["127.0.0.1:7", "[::1]:8"]));
    }

    #[test]
    fn keys_may_be_unsorted_and_peers_missing() {
        let reply = reply(b"d8:intervali60e8:completei1ee");
        assert_eq!((reply.complete, reply.peers.len()), (Some(1), 0));
    }

    #[test]
    fn numbers_out_of_range_are_bounded() {
        let reply =
            reply(b"d8:completei99999999999e10:incompletei-3e8:intervali99999999e12:min intervali-5ee");
        assert_eq!((reply.complete, reply.incomplete), (Some(u32::MAX), None));
        assert_eq!(
            (reply.interval, reply.min_interval),
            (INTERVAL_MAX, Some(Duration::ZERO))
        );
    }

    #[test]
    fn a_failure_says_why_and_when_to_come_back() {
        let failure_ = failure(b"d14:failure reason4:full8:intervali60e8:retry ini2ee");
        assert_eq!(
            (failure_.reason.as_str(), failure_.interval),
            ("full", Some(Duration::from_secs(60)))
        );
        assert_eq!(failure_.retry_in, Some(RetryIn::After(Duration::from_secs(120))));
        assert_eq!(
            failure(b"d14:failure reason2:no8:retry in5:nevere").retry_in,
            Some(RetryIn::Never)
        );
        assert_eq!(
            failure(b"d14:failure reason0:8:retry in2:15e").retry_in,
            Some(RetryIn::After(Duration::from_secs(900)))
        );
    }

    #[test]
    fn a_long_reason_with_escape_codes_is_made_bearable() {
        let reason = "\x1b[31mno\n".repeat(1_000);
        let failure = failure(format!("d14:failure reason{}:{reason}e", reason.len()).as_bytes());
        assert!(failure.reason.chars().count() <= TEXT_MAX && failure.reason.starts_with("[31mno[31m"));
    }

    #[test]
    fn a_reply_brings_a_bounded_number_of_peers() {
        let mut bytes = b"d8:intervali60e5:peers60000:".to_vec();
        bytes.resize(bytes.len() + 60_000, 1);
        bytes.push(b'e');
        assert_eq!(reply(&bytes).peers.len(), PEERS_MAX);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert_eq!(Answer::decode(b"de"), Err(AnswerError::Empty));
        assert_eq!(Answer::decode(b"le"), Err(AnswerError::Empty));
        assert!(matches!(Answer::decode(b"<html>"), Err(AnswerError::Bencode(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes: Vec<u8>) {
            let _ = Answer::decode(&bytes);
        }
    }
}
