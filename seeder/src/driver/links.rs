//! A driver's connections: calls, greetings, what passes between a pipe and the machine, and the end of each.

use std::net::SocketAddr;
use std::sync::Arc;

use shared::geometry::Block;
use shared::peer_wire::{Handshake, Reserved, frame_limit};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{Driver, Job, Peer};
use crate::engine::Event;
use crate::net::line::Line;
use crate::net::pipe::{FromPeer, LINE_MAX, News, Pipe};
use crate::net::places::Place;
use crate::net::uploader::Outgoing;
use crate::torrent::{Direction, Input, PeerKey, Why};

impl Driver {
    pub(super) fn send(&mut self, peer: PeerKey, what: Outgoing) {
        let Some(there) = self.peers.get(&peer) else {
            return;
        };
        if there.line.try_send(what).is_err() {
            debug!(address = %there.address, "let go: it does not read");
            self.forget(peer);
            self.tell(Input::Disconnected { peer });
        }
    }

    pub(super) fn serve(&mut self, peer: PeerKey, blocks: Vec<Block>) {
        if let Some(opened) = &self.opened {
            let serve = Outgoing::Serve(Arc::clone(&opened.storage), blocks);
            self.send(peer, serve);
        }
    }

    pub(super) fn dial(&mut self, address: SocketAddr) {
        let (shared, spec, ours) = (Arc::clone(&self.shared), Arc::clone(&self.spec), self.handshake());
        self.jobs.spawn(async move {
            // Who only waits for his turn holds no place that somebody else could have.
            let turn = shared.dialer.turn().await;
            let Some(place) = shared.place(address.ip()) else {
                let refused = std::io::Error::other("no place for another connection");
                return Job::Dialed(address, Err(refused.into()));
            };
            let names = spec.info_hashes();
            let second = names.iter().find(|name| **name != ours.info_hash);
            let dialed = shared.dialer.dial(address, ours, &names).await;
            let dialed = match (dialed, second) {
                // A peer that knows a hybrid by its second hash alone hangs up at the first.
                (Err(error), Some(second)) if error.is_hang_up() => {
                    let ours = Handshake {
                        info_hash: *second,
                        ..ours
                    };
                    shared.dialer.dial(address, ours, &names).await
                }
                (dialed, _) => dialed,
            };
            drop(turn);
            Job::Dialed(address, dialed.map(|(line, theirs)| (line, theirs, place)))
        });
    }

    pub(super) fn handshake(&self) -> Handshake {
        let identity = self.spec.identity();
        Handshake {
            reserved: Reserved::ours(identity.info_hash_v2.is_some()),
            info_hash: identity.info_hash,
            peer_id: identity.peer_id,
        }
    }

    pub(super) fn disconnect(&mut self, peer: PeerKey, why: &Why) {
        self.web_dismissed(peer, why);
        // Who has all that we have is told so before we part: it may wait for just that, as for another copy of the torrent.
        let gone = match why {
            Why::BothSeeds => self.let_go(peer),
            _ => self.forget(peer),
        };
        if let Some(gone) = gone {
            debug!(address = %gone.address, %why, torrent = %self.spec.label, "disconnected");
        }
    }

    pub(super) fn forget(&mut self, peer: PeerKey) -> Option<Peer> {
        let gone = self.let_go(peer)?;
        gone.pipe.abort();
        Some(gone)
    }

    /// Its pipe ends once what stands in it has left.
    fn let_go(&mut self, peer: PeerKey) -> Option<Peer> {
        let gone = self.peers.remove(&peer)?;
        self.webs.left(peer);
        Some(gone)
    }

    pub(super) fn ban(&mut self, address: std::net::IpAddr, why: &Why) {
        warn!(%address, %why, torrent = %self.spec.label, "banned");
        self.shared.ban(address);
        self.shared.event(Event::Banned {
            key: self.spec.key,
            address,
            why: why.to_string(),
        });
    }

    pub(super) fn hear(&mut self, FromPeer { peer, news }: FromPeer) {
        if let News::Served(bytes) = news {
            self.spec.counters.add_uploaded(bytes);
        }
        // What a peer said before it was let go no longer matters.
        let Some(there) = self.peers.get(&peer) else {
            return;
        };
        match news {
            News::Messages(messages) => {
                self.web_spoke(peer, &messages);
                for message in messages {
                    self.tell(Input::Message { peer, message });
                }
            }
            News::Served(bytes) => self.tell(Input::Served { peer, bytes }),
            News::Unserved(block, trouble) => {
                self.report_trouble(block.piece(), &trouble);
                self.tell(Input::Unserved { peer, block });
            }
            News::Ended(end) => {
                debug!(address = %there.address, %end, "connection ended");
                self.peers.remove(&peer);
                self.web_ended(peer);
                self.tell(Input::Disconnected { peer });
            }
        }
    }

    pub(super) fn connect(
        &mut self,
        line: Line,
        (address, direction): (SocketAddr, Direction),
        handshake: Handshake,
        place: Place,
    ) {
        let (peer, encrypted) = (self.shared.next_peer(), line.is_encrypted());
        let (sender, waiting) = mpsc::channel(LINE_MAX);
        let geometry = self.opened.as_ref().map(|opened| opened.storage.geometry());
        let pipe = Pipe {
            peer,
            line,
            frame_limit: frame_limit(geometry),
            readers: Arc::clone(&self.shared.readers),
            tolls: self.shared.gates.tolls(&self.gate, address.ip()),
            news: self.news.0.clone(),
        };
        let pipe = self.pipes.spawn(async move {
            pipe.run(waiting).await;
            drop(place);
        });
        self.peers.insert(
            peer,
            Peer {
                address,
                encrypted,
                line: sender,
                pipe,
            },
        );
        self.tell(Input::Connected {
            peer,
            address,
            direction,
            handshake,
        });
    }
}
