//! An entry of the journal as bytes: one length for all, so that a damaged one hides no other. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use shared::announce::Event;
use shared::id::PeerId;

use crate::members::ids::{Date, MemberId, TorrentId, Which};
use crate::members::ledger::{Entry, SessionKey};
use crate::members::rules::{Mark, Report};

/// The length of every record. A page of the page cache holds thirty-six.
pub(crate) const RECORD_BYTES: usize = 112;

/// The first byte. Never zero, so that a hole full of zeros is no record whatever its checksum.
const VERSION: u8 = 1;

const SECOND_HASH: u8 = 1;
const IPV6: u8 = 2;
const KNOWN_BEFORE: u8 = 4;
const ENDED_BEFORE: u8 = 8;

const EVENTS: [Event; 5] = [
    Event::None,
    Event::Started,
    Event::Completed,
    Event::Stopped,
    Event::Paused,
];

/// One record as it lies in a file.
pub(crate) type Record = [u8; RECORD_BYTES];

/// Writes an entry down.
pub(crate) fn encode(entry: &Entry) -> Record {
    let (session, report) = (&entry.session, &entry.report);
    let mut flags = 0;
    if entry.which == Which::Second {
        flags |= SECOND_HASH;
    }
    let address = match entry.address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => {
            flags |= IPV6;
            v6
        }
    };
    if let Some(before) = &entry.before {
        flags |= KNOWN_BEFORE;
        if before.ended {
            flags |= ENDED_BEFORE;
        }
    }
    let before = entry.before.unwrap_or(NO_MARK);
    let event = EVENTS.iter().position(|event| *event == report.event);
    let mut out = Pen {
        record: [0; RECORD_BYTES],
        at: 0,
    };
    out.put(&[
        VERSION,
        flags,
        event.and_then(|at| u8::try_from(at).ok()).unwrap_or_default(),
        0,
    ]);
    out.put(&session.torrent.0.to_le_bytes());
    out.put(&session.member.0.to_le_bytes());
    out.put(session.peer_id.as_bytes());
    out.put(&address.octets());
    out.put(&entry.address.port().to_le_bytes());
    out.put(&report.date.0.to_le_bytes());
    for number in [
        report.uploaded,
        report.downloaded,
        report.left,
        before.uploaded,
        before.downloaded,
        before.left,
    ] {
        out.put(&number.to_le_bytes());
    }
    out.put(&before.heard.0.to_le_bytes());
    out.put(&[0; 2]);
    let checksum = crc32fast::hash(out.record.get(..out.at).unwrap_or_default());
    out.put(&checksum.to_le_bytes());
    out.record
}

/// Reads a record; none where it is damaged or of another version.
pub(crate) fn decode(record: &[u8]) -> Option<Entry> {
    if record.first() != Some(&VERSION) {
        return None;
    }
    let (body, checksum) = record.get(..RECORD_BYTES)?.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let mut eye = Eye(body);
    let [_, flags, event, _] = eye.take()?;
    let session = SessionKey {
        torrent: TorrentId(u32::from_le_bytes(eye.take()?)),
        member: MemberId(u32::from_le_bytes(eye.take()?)),
        peer_id: PeerId(eye.take()?),
    };
    let address = Ipv6Addr::from(eye.take::<16>()?);
    let ip = match address.to_ipv4_mapped() {
        Some(v4) if flags & IPV6 == 0 => IpAddr::V4(v4),
        _ => IpAddr::V6(address),
    };
    let address = SocketAddr::new(ip, u16::from_le_bytes(eye.take()?));
    let date = Date(u32::from_le_bytes(eye.take()?));
    let report = Report {
        uploaded: eye.number()?,
        downloaded: eye.number()?,
        left: eye.number()?,
        event: *EVENTS.get(usize::from(event))?,
        date,
    };
    let before = Mark {
        uploaded: eye.number()?,
        downloaded: eye.number()?,
        left: eye.number()?,
        heard: Date(u32::from_le_bytes(eye.take()?)),
        ended: flags & ENDED_BEFORE != 0,
    };
    Some(Entry {
        session,
        which: if flags & SECOND_HASH == 0 {
            Which::First
        } else {
            Which::Second
        },
        address,
        before: (flags & KNOWN_BEFORE != 0).then_some(before),
        report,
    })
}

/// What stands in the place of a mark at first sight.
const NO_MARK: Mark = Mark {
    uploaded: 0,
    downloaded: 0,
    left: 0,
    heard: Date(0),
    ended: false,
};

/// Fills a record from front to back.
struct Pen {
    record: Record,
    at: usize,
}

impl Pen {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if let Some(room) = self.record.get_mut(self.at..end) {
            room.copy_from_slice(bytes);
        }
        self.at = end;
    }
}

/// Reads a record from front to back.
struct Eye<'a>(&'a [u8]);

impl Eye<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn mark() -> impl Strategy<Value = Mark> {
        (any::<[u64; 3]>(), any::<u32>(), any::<bool>()).prop_map(
            |([uploaded, downloaded, left], heard, ended)| Mark {
                uploaded,
                downloaded,
                left,
                heard: Date(heard),
                ended,
            },
        )
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let session = (any::<u32>(), any::<u32>(), any::<[u8; 20]>());
        let address = prop_oneof![
            any::<[u8; 4]>().prop_map(|ip| IpAddr::from(Ipv4Addr::from(ip))),
            any::<[u8; 16]>().prop_map(|ip| IpAddr::from(Ipv6Addr::from(ip))),
            any::<[u8; 4]>().prop_map(|ip| IpAddr::from(Ipv4Addr::from(ip).to_ipv6_mapped())),
        ];
        let report = (any::<[u64; 3]>(), prop::sample::select(&EVENTS[..]), any::<u32>());
        (
            session,
            any::<bool>(),
            address,
            any::<u16>(),
            prop::option::of(mark()),
            report,
        )
            .prop_map(
                |(
                    (torrent, member, peer_id),
                    second,
                    ip,
                    port,
                    before,
                    ([uploaded, downloaded, left], event, date),
                )| Entry {
                    session: SessionKey {
                        torrent: TorrentId(torrent),
                        member: MemberId(member),
                        peer_id: PeerId(peer_id),
                    },
                    which: if second { Which::Second } else { Which::First },
                    address: SocketAddr::new(ip, port),
                    before,
                    report: Report {
                        uploaded,
                        downloaded,
                        left,
                        event,
                        date: Date(date),
                    },
                },
            )
    }

    proptest! {
        #[test]
        fn every_entry_comes_back_as_it_was(entry in entry()) {
            prop_assert_eq!(decode(&encode(&entry)), Some(entry));
        }

        #[test]
        fn one_wrong_byte_and_it_is_no_record(entry in entry(), at in 0..RECORD_BYTES, flip in 1..=255_u8) {
            let mut record = encode(&entry);
            record[at] ^= flip;
            prop_assert_eq!(decode(&record), None);
        }
    }

    #[test]
    fn zeros_and_stumps_are_no_records() {
        assert_eq!(decode(&[0; RECORD_BYTES]), None);
        assert_eq!(decode(&[VERSION; RECORD_BYTES - 1]), None);
        assert_eq!(decode(&[]), None);
    }
}
