//! Connections and what they carry. Small messages leave at once, unless a block of the same connection is before them; their
//! bytes are added to the next block's.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use seeder::torrent::{Direction, Input, PeerKey};
use shared::geometry::Block;
use shared::id::InfoHash;
use shared::moment::Moment;
use shared::peer_wire::{Handshake, Message, Reserved};

use super::agenda::Event;
use super::{Role, Swarm};

/// A small message and its part of a packet's head.
const SMALL: u64 = 12;

/// One end of a connection: who is there, and what waits to leave from it.
#[derive(Debug)]
pub(super) struct End {
    pub(super) node: usize,
    pub(super) key: PeerKey,
    waiting: VecDeque<Message>,
    /// When the last message to this end will be there: nothing overtakes.
    arrived: Moment,
}

/// Whose turn it is, and how long blocks were under way.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    turns: VecDeque<(usize, usize)>,
    /// The connection of the block that is under way.
    carries: Option<(usize, usize)>,
    /// Bytes of small messages that no block has paid for.
    owes: u64,
    pub(super) busy: Duration,
    /// When the downlink is free again.
    down_free: Moment,
}

fn time(bytes: u64, rate: u64) -> Duration {
    Duration::from_micros(bytes * 1_000_000 / rate.max(1))
}

fn block_bytes(message: &Message) -> u64 {
    match message {
        Message::Piece { data, .. } => data.len() as u64,
        _ => 0,
    }
}

impl Swarm {
    pub(super) fn call(&mut self, from: usize, address: SocketAddr) {
        let to = (0..self.members.len()).find(|node| Self::address(*node) == address);
        let runs = |node: usize| self.members.get(node).is_some_and(|member| member.running);
        let Some(to) = to.filter(|to| runs(*to) && runs(from)) else {
            self.tell(from, Input::DialFailed { address });
            return;
        };
        let [ours, theirs] = self.connect(from, to);
        let caller = SocketAddr::new(Self::address(from).ip(), 50_000);
        self.greet(from, ours, to, (address, Direction::Outgoing));
        self.greet(to, theirs, from, (caller, Direction::Incoming));
    }

    /// The end of the member only: HTTP knows no greeting.
    pub(super) fn call_web(&mut self, node: usize, web: usize) {
        let [ours, theirs] = self.connect(node, web);
        self.greet(node, ours, web, (Self::address(web), Direction::Web(0)));
        if let Some((conn, end)) = self.place(web, theirs) {
            self.say(conn, end, Message::HaveAll);
            self.say(conn, end, Message::Unchoke);
        }
    }

    fn connect(&mut self, from: usize, to: usize) -> [PeerKey; 2] {
        let (conn, now) = (self.conns.len(), self.now());
        let keys = [PeerKey(conn as u64 * 2), PeerKey(conn as u64 * 2 + 1)];
        let end = |node, key| End {
            node,
            key,
            waiting: VecDeque::new(),
            arrived: now,
        };
        self.conns.push(Some([end(from, keys[0]), end(to, keys[1])]));
        self.member(from).conns.insert(keys[0], conn);
        self.member(to).conns.insert(keys[1], conn);
        keys
    }

    fn greet(
        &mut self,
        node: usize,
        peer: PeerKey,
        other: usize,
        (address, direction): (SocketAddr, Direction),
    ) {
        let handshake = Handshake {
            reserved: Reserved::OURS,
            info_hash: InfoHash([9; 20]),
            peer_id: Self::peer_id(other),
        };
        self.tell(
            node,
            Input::Connected {
                peer,
                address,
                direction,
                handshake,
            },
        );
    }

    /// Which connection this is, and which of its ends is ours.
    pub(super) fn place(&self, node: usize, peer: PeerKey) -> Option<(usize, usize)> {
        let conn = *self.members.get(node)?.conns.get(&peer)?;
        Some((conn, usize::from(peer.0 % 2 == 1)))
    }

    fn end(&mut self, conn: usize, end: usize) -> Option<&mut End> {
        self.conns.get_mut(conn)?.as_mut()?.get_mut(end)
    }

    /// Something small is to leave from this end.
    pub(super) fn say(&mut self, conn: usize, end: usize, message: Message) {
        let Some(ours) = self.end(conn, end) else { return };
        let (node, is_first) = (ours.node, ours.waiting.is_empty());
        let uplink = &mut self.member(node).uplink;
        uplink.owes += SMALL;
        if is_first && uplink.carries != Some((conn, end)) {
            self.carry(node, conn, end, message);
        } else {
            self.queue(node, conn, end, message);
        }
    }

    /// A block is to leave from this end, when it is its turn.
    pub(super) fn give(&mut self, conn: usize, end: usize, message: Message) {
        let Some(ours) = self.end(conn, end) else { return };
        let node = ours.node;
        self.queue(node, conn, end, message);
        if self.member(node).uplink.carries.is_none() {
            self.next_block(node);
        }
    }

    /// Who has something waiting stands in the turns once.
    fn queue(&mut self, node: usize, conn: usize, end: usize, message: Message) {
        let Some(ours) = self.end(conn, end) else { return };
        let is_first = ours.waiting.is_empty();
        ours.waiting.push_back(message);
        if is_first {
            self.member(node).uplink.turns.push_back((conn, end));
        }
    }

    /// A web seed is told that a block is not wanted any more.
    fn ungive(&mut self, conn: usize, end: usize, block: Block) {
        if let Some(ours) = self.end(conn, end) {
            ours.waiting.retain(|message| {
                !matches!(message, Message::Piece { piece, begin, .. }
                    if *piece == block.piece().number() && *begin == block.begin())
            });
            let (node, is_empty) = (ours.node, ours.waiting.is_empty());
            let turns = &mut self.member(node).uplink.turns;
            turns.retain(|turn| !is_empty || *turn != (conn, end));
        }
    }

    /// Puts the next block on the uplink, and before it what is small.
    fn next_block(&mut self, node: usize) {
        self.member(node).uplink.carries = None;
        while let Some((conn, end)) = self.member(node).uplink.turns.pop_front() {
            while let Some(message) = self.end(conn, end).and_then(|ours| ours.waiting.pop_front()) {
                let Message::Piece { data, .. } = &message else {
                    self.carry(node, conn, end, message);
                    continue;
                };
                let length = data.len() as u64;
                let member = self.member(node);
                let bytes = length + SMALL + std::mem::take(&mut member.uplink.owes);
                let takes = time(bytes, member.nature.link.up);
                member.uplink.busy += takes;
                member.uplink.carries = Some((conn, end));
                if self.end(conn, end).is_some_and(|ours| !ours.waiting.is_empty()) {
                    self.member(node).uplink.turns.push_back((conn, end));
                }
                self.agenda.post(
                    takes,
                    Event::Left {
                        node,
                        conn,
                        end,
                        message,
                    },
                );
                return;
            }
        }
    }

    /// The uplink is free again.
    pub(super) fn left(&mut self, node: usize, conn: usize, end: usize, message: Message) {
        let length = block_bytes(&message);
        let key = self.end(conn, end).map(|ours| ours.key);
        self.carry(node, conn, end, message);
        self.next_block(node);
        if let Some(peer) = key {
            self.count(conn, end, length);
            self.tell(node, Input::Served { peer, bytes: length });
        }
    }

    /// Who got how much from whom.
    fn count(&mut self, conn: usize, end: usize, length: u64) {
        let (Some(from), Some(to)) = (
            self.end(conn, end).map(|end| end.node),
            self.end(conn, 1 - end).map(|end| end.node),
        ) else {
            return;
        };
        let leeches = self.member(from).finished.is_none();
        let to = self.member(to);
        if leeches {
            to.from_leechers += length;
        } else {
            to.from_seeds += length;
        }
    }

    /// What has left arrives later, in order.
    fn carry(&mut self, node: usize, conn: usize, end: usize, message: Message) {
        let now = self.now();
        let length = block_bytes(&message);
        let latency = self.member(node).nature.link.latency;
        let Some(to) = self.end(conn, 1 - end).map(|to| to.node) else {
            return;
        };
        let member = self.member(to);
        let mut at = now + latency + member.nature.link.latency;
        if length > 0 {
            at = at.max(member.uplink.down_free) + time(length, member.nature.link.down);
            member.uplink.down_free = at;
        }
        if let Some(to) = self.end(conn, 1 - end) {
            at = at.max(to.arrived);
            to.arrived = at;
        }
        let end = 1 - end;
        self.agenda.post_at(at, Event::Word { conn, end, message });
    }

    pub(super) fn hear(&mut self, conn: usize, end: usize, message: Message) {
        let Some(End { node, key, .. }) = self.end(conn, end) else {
            return;
        };
        let (node, peer) = (*node, *key);
        if self.role(node) != Role::Web {
            self.tell(node, Input::Message { peer, message });
            return;
        }
        if let Message::Request(span) | Message::Cancel(span) = message
            && let Some(block) = self.geometry.range(span.piece, span.begin, span.length)
        {
            match message {
                Message::Request(_) => self.serve(node, conn, end, block),
                _ => self.ungive(conn, end, block),
            }
        }
    }

    /// We close; the other side hears of it after all that is under way.
    pub(super) fn hang_up(&mut self, node: usize, peer: PeerKey) {
        if let Some((conn, end)) = self.place(node, peer) {
            self.member(node).conns.remove(&peer);
            let now = self.now();
            let at = self.end(conn, 1 - end).map_or(now, |to| to.arrived);
            self.agenda.post_at(at, Event::Closed { conn, end: 1 - end });
        }
    }

    /// One end hears that the connection is gone; so it is.
    pub(super) fn closed(&mut self, conn: usize, end: usize) {
        if let Some(End { node, key, .. }) = self.end(conn, end) {
            let (node, peer) = (*node, *key);
            if self.member(node).conns.remove(&peer).is_some() {
                self.tell(node, Input::Disconnected { peer });
            }
        }
        let open = |end: &End| {
            let member = self.members.get(end.node);
            member.is_some_and(|member| member.conns.contains_key(&end.key))
        };
        let ends = self.conns.get(conn).and_then(Option::as_ref);
        if !ends.is_some_and(|ends| ends.iter().any(open))
            && let Some(place) = self.conns.get_mut(conn)
        {
            *place = None;
        }
    }
}
