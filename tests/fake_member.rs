//! A client of a member that does what a script says: it gives and takes made-up bytes, counts them as clients do, and
//! announces them over a connection of its own. An announce that was not answered in full is not announced.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a broken rig should stop the test and say why"
)]

use std::io;
use std::net::{IpAddr, SocketAddr};

use shared::announce::{AnnounceReply, AnnounceRequest, Answer, Event, Failure};
use shared::id::{InfoHash, PeerId};
use shared::scrape::{ScrapeAnswer, ScrapeRequest};

use crate::rig::{HttpAnswer, HttpRequest};

/// A client.
#[derive(Clone, Debug)]
pub struct FakeMember {
    /// What stands before `announce` in the path, such as `/KEY/`.
    path: String,
    /// The address it speaks from, if not the usual one.
    from: Option<IpAddr>,
    /// What it says next; counters are the client's own.
    pub says: AnnounceRequest,
}

impl FakeMember {
    /// A client of whoever holds this key, with nothing yet. Its port makes it another peer than its neighbours.
    pub fn new(key: &str, info_hash: InfoHash, name: &str, port: u16) -> Self {
        let mut peer_id = *b"-XX0001-............";
        for (place, byte) in peer_id.iter_mut().skip(8).zip(name.bytes()) {
            *place = byte;
        }
        let mut says = AnnounceRequest::new(info_hash, PeerId(peer_id), port);
        says.left = 1_000_000_000;
        says.numwant = Some(200);
        Self {
            path: format!("/{key}/"),
            from: None,
            says,
        }
    }

    /// One in public mode, where nobody has a key.
    pub fn stranger(info_hash: InfoHash, name: &str, port: u16) -> Self {
        Self {
            path: "/".to_owned(),
            ..Self::new("", info_hash, name, port)
        }
    }

    #[must_use]
    pub fn from(mut self, address: IpAddr) -> Self {
        self.from = Some(address);
        self
    }

    #[must_use]
    pub fn seeding(mut self) -> Self {
        self.says.left = 0;
        self
    }

    pub fn peer_id(&self) -> PeerId {
        self.says.peer_id
    }

    /// Some bytes go from this client to another.
    pub fn give(&mut self, other: &mut Self, bytes: u64) {
        self.says.uploaded += bytes;
        other.take(bytes);
    }

    pub fn take(&mut self, bytes: u64) {
        self.says.downloaded += bytes;
        self.says.left = self.says.left.saturating_sub(bytes);
    }

    /// The path and query of what it says.
    pub fn target(&self, event: Event) -> String {
        let says = AnnounceRequest {
            event,
            ..self.says.clone()
        };
        format!("{}announce?{}", self.path, says.to_query())
    }

    /// The request as it stands.
    pub fn request(&self, event: Event) -> HttpRequest {
        let request = HttpRequest::get(self.target(event)).header("User-Agent", "fake/1");
        match self.from {
            Some(address) => request.from(address),
            None => request,
        }
    }

    /// Announces once.
    pub fn try_announce(&self, tracker: SocketAddr, event: Event) -> io::Result<HttpAnswer> {
        self.request(event).try_send(tracker)
    }

    /// The whole answer to an announce, which must be one.
    #[track_caller]
    pub fn announce_raw(&self, tracker: SocketAddr, event: Event) -> Vec<u8> {
        let answer = self.try_announce(tracker, event).expect("the tracker answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.body
    }

    /// Announces to a tracker that must be pleased.
    #[track_caller]
    pub fn announce(&self, tracker: SocketAddr, event: Event) -> AnnounceReply {
        match read(&self.announce_raw(tracker, event)) {
            Answer::Reply(reply) => reply,
            Answer::Failure(failure) => panic!("refused: {failure:?}"),
        }
    }

    /// Announces to a tracker that must refuse.
    #[track_caller]
    pub fn refused(&self, tracker: SocketAddr, event: Event) -> Failure {
        match read(&self.announce_raw(tracker, event)) {
            Answer::Reply(reply) => panic!("not refused: {reply:?}"),
            Answer::Failure(failure) => failure,
        }
    }

    /// Seeders and leechers, as its own scrape shows them.
    #[track_caller]
    pub fn scrape(&self, tracker: SocketAddr) -> (u32, u32) {
        let asked = ScrapeRequest {
            info_hashes: vec![self.says.info_hash],
        };
        let answer = HttpRequest::get(format!("{}scrape?{}", self.path, asked.to_query())).send(tracker);
        match ScrapeAnswer::decode(&answer.body) {
            Ok(ScrapeAnswer::Files(files)) => files
                .first()
                .map(|(_, counts)| (counts.complete, counts.incomplete))
                .expect("one entry"),
            other => panic!("{other:?} in {}", answer.text()),
        }
    }
}

#[track_caller]
fn read(body: &[u8]) -> Answer {
    Answer::decode(body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
}
