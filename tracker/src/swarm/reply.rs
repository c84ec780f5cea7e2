//! Replies as bytes, written by hand with their keys in order: no tree is built and nothing is allocated but what `out` lacks.

use std::net::{IpAddr, SocketAddr};

use rand::Rng;
use shared::announce::RetryIn;
use shared::id::{InfoHash, PeerId};

use super::group::{Counts, Kind};
use super::home::Asker;
use super::peers::Wants;
use super::policy::{EARLY, Policy, Told};
use super::swarm::Swarm;

/// What the swarm has to say to one asker.
pub(super) struct Seats<'a> {
    pub(super) asker: &'a Asker,
    pub(super) policy: &'a Policy,
    pub(super) kind: Kind,
    pub(super) wants: Wants,
    /// Peers at most.
    pub(super) count: u32,
    pub(super) compact: bool,
    /// It came too early; `count` is 0 then.
    pub(super) early: bool,
    /// The swarm is small and young.
    pub(super) brisk: bool,
}

/// What every reply begins with.
pub(super) struct Head {
    pub(super) counts: Counts,
    pub(super) completed: u32,
    pub(super) external_ip: IpAddr,
    pub(super) told: Told,
}

impl Head {
    /// Opens the dictionary and writes all keys before `peers`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"d8:complete");
        int(self.counts.seeders.into(), out);
        out.extend_from_slice(b"10:downloaded");
        int(self.completed.into(), out);
        out.extend_from_slice(b"11:external ip");
        match self.external_ip {
            IpAddr::V4(ip) => string(&ip.octets(), out),
            IpAddr::V6(ip) => string(&ip.octets(), out),
        }
        out.extend_from_slice(b"10:incomplete");
        int(self.counts.leechers().into(), out);
        write_intervals(self.told, out);
    }
}

/// The last key of a reply: a sentence of at most 64 characters, or clients cut it.
pub(super) fn write_warning(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"15:warning message");
    string(text.as_bytes(), out);
}

impl Seats<'_> {
    /// Writes a reply; returns how many peers are in it.
    pub(super) fn write(&self, swarm: Option<&Swarm>, rng: &mut impl Rng, out: &mut Vec<u8>) -> u32 {
        let head = Head {
            counts: swarm.map(Swarm::counts).unwrap_or_default(),
            completed: swarm.map_or(0, Swarm::completed),
            external_ip: self.asker.external_ip(self.policy),
            told: if self.early {
                self.policy.tell_early(self.brisk)
            } else {
                self.policy.tell(self.brisk, rng)
            },
        };
        head.write(out);
        let given = match swarm {
            Some(swarm) if self.compact => self.write_compact(swarm, rng, out),
            Some(swarm) => self.write_dictionaries(swarm, rng, out),
            None => {
                out.extend_from_slice(if self.compact { b"5:peers0:" } else { b"5:peersle" });
                0
            }
        };
        if self.early {
            write_warning(EARLY, out);
        }
        out.push(b'e');
        given
    }

    /// `peers` always, `peers6` where there is anybody to put into it or the asker came by IPv6 (BEP 7, 23).
    fn write_compact(&self, swarm: &Swarm, rng: &mut impl Rng, out: &mut Vec<u8>) -> u32 {
        let (count_v4, count_v6) = self.shares(swarm);
        out.extend_from_slice(b"5:peers");
        let start = out.len();
        let mut given = swarm.v4().choose(self.wants, count_v4, rng, &mut |wire| {
            self.asker
                .given_v4(wire)
                .map(|wire| out.extend_from_slice(&wire))
                .is_some()
        });
        insert_length(start, out);
        if count_v6 > 0 || self.asker.is_v6() {
            out.extend_from_slice(b"6:peers6");
            let start = out.len();
            if let Some(v6) = swarm.v6() {
                given += v6.choose(self.wants, count_v6, rng, &mut |wire| {
                    self.asker
                        .given_v6(wire)
                        .map(|wire| out.extend_from_slice(&wire))
                        .is_some()
                });
            }
            insert_length(start, out);
        }
        given
    }

    /// The long form of BEP 3, both families in one list, without peer ids: none are kept.
    fn write_dictionaries(&self, swarm: &Swarm, rng: &mut impl Rng, out: &mut Vec<u8>) -> u32 {
        let (count_v4, count_v6) = self.shares(swarm);
        out.extend_from_slice(b"5:peersl");
        let mut given = swarm.v4().choose(self.wants, count_v4, rng, &mut |wire| {
            let peer = self.asker.given_v4(wire).map(shared::compact::decode_v4);
            peer.map(|peer| write_peer(peer.into(), None, out)).is_some()
        });
        if let Some(v6) = swarm.v6() {
            given += v6.choose(self.wants, count_v6, rng, &mut |wire| {
                let peer = self.asker.given_v6(wire).map(shared::compact::decode_v6);
                peer.map(|peer| write_peer(peer.into(), None, out)).is_some()
            });
        }
        out.push(b'e');
        given
    }

    /// How many peers of each family. The asker's own comes first, but at least a quarter is the other's, if it has so many:
    /// who came by IPv4 may well have both, and who came by IPv6 nearly always has.
    fn shares(&self, swarm: &Swarm) -> (u32, u32) {
        let useful = |counts: Counts| match self.wants {
            Wants::Everyone => counts.total(),
            Wants::Downloaders => counts.downloaders,
        };
        let (v4, v6) = (useful(swarm.counts_v4()), useful(swarm.counts_v6()));
        let share = |own: u32, other: u32| {
            // The asker itself is in `own`, though not if it is a seeder; one seat does not matter.
            let others = other.min((self.count / 4).max(self.count.saturating_sub(own.saturating_sub(1))));
            (self.count - others, others)
        };
        if self.asker.is_v6() {
            let (v6, v4) = share(v6, v4);
            (v4, v6)
        } else {
            share(v4, v6)
        }
    }
}

/// Writes a refusal that clients of every kind understand: why, and when to come back. BEP 31's `retry in` counts whole
/// minutes; libtorrent reads `interval` and assumes half an hour without it.
pub fn write_failure(reason: &str, retry_in: Option<RetryIn>, policy: &Policy, out: &mut Vec<u8>) {
    out.extend_from_slice(b"d14:failure reason");
    string(reason.as_bytes(), out);
    let interval = match retry_in {
        Some(RetryIn::After(wait)) => wait.as_secs(),
        Some(RetryIn::Never) | None => policy.interval.as_secs(),
    };
    let min = policy.min_interval.as_secs().min(interval);
    write_intervals(Told { interval, min }, out);
    match retry_in {
        None => (),
        Some(RetryIn::Never) => out.extend_from_slice(b"8:retry in5:never"),
        Some(RetryIn::After(wait)) => {
            out.extend_from_slice(b"8:retry in");
            int(wait.as_secs().div_ceil(60), out);
        }
    }
    out.push(b'e');
}

/// One torrent of a scrape.
pub(super) fn write_file(hash: &InfoHash, counts: Counts, completed: u32, out: &mut Vec<u8>) {
    string(hash.as_bytes(), out);
    out.extend_from_slice(b"d8:complete");
    int(counts.seeders.into(), out);
    out.extend_from_slice(b"10:downloaded");
    int(completed.into(), out);
    out.extend_from_slice(b"11:downloaders");
    int(counts.downloaders.into(), out);
    out.extend_from_slice(b"10:incomplete");
    int(counts.leechers().into(), out);
    out.push(b'e');
}

fn write_intervals(told: Told, out: &mut Vec<u8>) {
    out.extend_from_slice(b"8:interval");
    int(told.interval, out);
    out.extend_from_slice(b"12:min interval");
    int(told.min, out);
}

/// One peer in the long form of BEP 3.
pub(super) fn write_peer(at: SocketAddr, id: Option<&PeerId>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"d2:ip");
    string(at.ip().to_string().as_bytes(), out);
    if let Some(id) = id {
        out.extend_from_slice(b"7:peer id");
        string(id.as_bytes(), out);
    }
    out.extend_from_slice(b"4:port");
    int(at.port().into(), out);
    out.push(b'e');
}

fn int(number: u64, out: &mut Vec<u8>) {
    out.push(b'i');
    digits(number, out);
    out.push(b'e');
}

pub(super) fn string(bytes: &[u8], out: &mut Vec<u8>) {
    digits(bytes.len() as u64, out);
    out.push(b':');
    out.extend_from_slice(bytes);
}

/// Turns what was appended since `start` into a string: its length goes in front.
pub(super) fn insert_length(start: usize, out: &mut Vec<u8>) {
    let end = out.len();
    digits((end - start) as u64, out);
    out.push(b':');
    let length = out.len() - end;
    if let Some(string) = out.get_mut(start..) {
        string.rotate_right(length);
    }
}

fn digits(mut number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0' + u8::try_from(number % 10).unwrap_or_default());
        number /= 10;
        if number == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_failure_tells_old_and_new_clients_when_to_come_back() {
        let mut out = Vec::new();
        write_failure(
            "full",
            Some(RetryIn::After(Duration::from_secs(90))),
            &Policy::default(),
            &mut out,
        );
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "d14:failure reason4:full8:intervali90e12:min intervali90e8:retry ini2ee"
        );
    }

    #[test]
    fn a_length_is_put_before_what_it_counts() {
        let mut out = b"x".to_vec();
        out.extend_from_slice(b"123456789012");
        insert_length(1, &mut out);
        assert_eq!(out, b"x12:123456789012");
    }

    #[test]
    fn numbers_are_written_in_full() {
        let mut out = Vec::new();
        int(0, &mut out);
        int(u64::MAX, &mut out);
        assert_eq!(out, b"i0ei18446744073709551615e");
    }
}
