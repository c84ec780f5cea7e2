//! What one member's announces come to, live: `tracker trace NAME` and the API listen here. It costs one atomic load an
//! announce while nobody listens, and a look at a short list while somebody listens to another; who listens too slowly misses
//! some, and is told how many.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::members::ids::{Date, MemberId};

/// So many announces wait for a slow listener.
const QUEUE: usize = 1_024;

/// One announce or scrape of a member, and what was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Traced {
    /// RFC 3339, UTC.
    pub time: String,
    /// Number of the member; the name is the listener's to add.
    #[serde(skip)]
    pub member: u32,
    /// Name and version, from the peer id.
    pub client: String,
    /// Info-hash as announced, in hexadecimal.
    pub torrent: Option<String>,
    /// Network of the client, shortened.
    pub address: String,
    /// `started`, `completed`, `stopped`, `paused`, `announce` or `scrape`.
    pub event: &'static str,
    pub uploaded: u64,
    pub downloaded: u64,
    pub left: u64,
    /// `peers`, `warning` or `failure`.
    pub answered: &'static str,
    /// Peers in the answer.
    pub peers: u32,
    /// Bytes that this announce added to the account.
    pub uploaded_credit: u64,
    pub downloaded_credit: u64,
    /// The sentence the client was given, where there was one.
    pub why: Option<String>,
}

/// Where announces are noted and listened to.
#[derive(Debug)]
pub struct Tracer {
    listeners: AtomicUsize,
    /// Whom they listen to; a member that two listen to stands here twice.
    members: ArcSwap<Vec<MemberId>>,
    sender: broadcast::Sender<Arc<Traced>>,
    closed: CancellationToken,
}

/// Somebody who listens to one member. Dropping it ends the tracing.
#[derive(Debug)]
pub struct Listening {
    tracer: Arc<Tracer>,
    member: MemberId,
    receiver: broadcast::Receiver<Arc<Traced>>,
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Announce(Arc<Traced>),
    /// So many announces of all members were missed.
    Missed(u64),
}

impl Tracer {
    /// One that nobody listens to yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            listeners: AtomicUsize::new(0),
            members: ArcSwap::default(),
            sender: broadcast::Sender::new(QUEUE),
            closed: CancellationToken::new(),
        })
    }

    /// Listens to one member from now on.
    pub fn listen(self: &Arc<Self>, member: MemberId) -> Listening {
        let receiver = self.sender.subscribe();
        self.members.rcu(|members| {
            let mut members = Vec::clone(members);
            members.push(member);
            members
        });
        self.listeners.fetch_add(1, Ordering::Relaxed);
        Listening {
            tracer: Arc::clone(self),
            member,
            receiver,
        }
    }

    /// Whether anybody listens to anybody.
    pub fn is_heard(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) > 0
    }

    /// Whether anybody listens to this member.
    pub fn hears(&self, member: MemberId) -> bool {
        self.is_heard() && self.members.load().contains(&member)
    }

    /// Sends all listeners home: the tracker stops.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Tells whoever listens. Ask [`Self::hears`] first: making a note allocates.
    pub fn note(&self, traced: Traced) {
        // Nobody may be left to hear it; that is no error.
        let _ = self.sender.send(Arc::new(traced));
    }
}

impl Listening {
    /// The member's next announce; none when the tracker has stopped.
    pub async fn next(&mut self) -> Option<Heard> {
        loop {
            let received = tokio::select! {
                received = self.receiver.recv() => received,
                () = self.tracer.closed.cancelled() => return None,
            };
            match received {
                Ok(traced) if traced.member == self.member.0 => return Some(Heard::Announce(traced)),
                Ok(_) => (),
                Err(RecvError::Lagged(count)) => return Some(Heard::Missed(count)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.tracer.listeners.fetch_sub(1, Ordering::Relaxed);
        self.tracer.members.rcu(|members| {
            let mut members = Vec::clone(members);
            if let Some(at) = members.iter().position(|member| *member == self.member) {
                members.swap_remove(at);
            }
            members
        });
    }
}

/// A date as it stands in traces: RFC 3339, UTC.
pub(crate) fn rfc3339(date: Date) -> String {
    jiff::Timestamp::from_second(i64::from(date.0)).map_or_else(|_| String::new(), |at| at.to_string())
}

/// An address without the part that names one machine: the /24 or the /48, for logs and traces.
pub(crate) fn shortened(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            format!("{}/48", std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(member: u32, uploaded: u64) -> Traced {
        Traced {
            time: rfc3339(Date(1_000_000_000)),
            member,
            client: "Transmission 3.00".to_owned(),
            torrent: None,
            address: shortened(IpAddr::from([192, 0, 2, 77])),
            event: "started",
            uploaded,
            downloaded: 0,
            left: 0,
            answered: "peers",
            peers: 0,
            uploaded_credit: 0,
            downloaded_credit: 0,
            why: None,
        }
    }

    #[tokio::test]
    async fn a_listener_hears_its_own_member_and_tracing_ends_with_it() {
        let tracer = Tracer::new();
        assert!(!tracer.is_heard());
        let mut listening = tracer.listen(MemberId(7));
        assert!(tracer.is_heard());
        tracer.note(traced(8, 1));
        tracer.note(traced(7, 2));
        assert_eq!(
            listening.next().await,
            Some(Heard::Announce(Arc::new(traced(7, 2))))
        );
        drop(listening);
        assert!(!tracer.is_heard());
    }

    #[test]
    fn only_announces_of_who_is_listened_to_are_worth_a_note() {
        let tracer = Tracer::new();
        let listening = [7, 7, 8].map(|member| tracer.listen(MemberId(member)));
        assert!(tracer.hears(MemberId(7)) && tracer.hears(MemberId(8)) && !tracer.hears(MemberId(9)));
        let [one, other, third] = listening;
        drop(one);
        assert!(tracer.hears(MemberId(7)));
        drop((other, third));
        assert!(!tracer.hears(MemberId(7)) && !tracer.hears(MemberId(8)));
    }

    #[tokio::test]
    async fn nobody_listens_to_a_tracker_that_stops() {
        let tracer = Tracer::new();
        let mut listening = tracer.listen(MemberId(7));
        tracer.close();
        assert_eq!(listening.next().await, None);
    }

    #[tokio::test]
    async fn who_listens_too_slowly_is_told_how_much_was_missed() {
        let tracer = Tracer::new();
        let mut listening = tracer.listen(MemberId(1));
        let more = u64::try_from(QUEUE).unwrap() + 5;
        (0..more).for_each(|number| tracer.note(traced(1, number)));
        assert_eq!(listening.next().await, Some(Heard::Missed(5)));
        assert_eq!(
            listening.next().await,
            Some(Heard::Announce(Arc::new(traced(1, 5))))
        );
    }

    #[test]
    fn a_trace_holds_no_whole_address_and_no_fraction_of_a_second() {
        let line = serde_json::to_string(&traced(1, 2)).unwrap();
        assert!(
            line.contains("\"192.0.2.0/24\"") && line.contains("\"2001-09-09T01:46:40Z\""),
            "{line}"
        );
        assert_eq!(shortened("2001:db8:1:2:3::4".parse().unwrap()), "2001:db8:1::/48");
        assert_eq!(shortened("::ffff:192.0.2.9".parse().unwrap()), "192.0.2.0/24");
    }
}
