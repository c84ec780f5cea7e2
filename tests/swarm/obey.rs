//! What the machines of a swarm want done, and how each role does it.

use std::time::Duration;

use bytes::Bytes;
use seeder::torrent::{Input, Output, PeerKey};
use shared::geometry::Block;
use shared::peer_wire::Message;

use super::agenda::Event;
use super::{Role, Swarm};

/// The part of a liar's blocks that is rubbish.
const RUBBISH: f64 = 0.25;
const DISK: Duration = Duration::from_millis(15);

impl Swarm {
    /// Tells a machine what happened, and does what it wants.
    pub(super) fn tell(&mut self, node: usize, input: Input) {
        let now = self.now();
        let Some(member) = self.members.get_mut(node).filter(|member| member.running) else {
            return;
        };
        let Some(torrent) = &mut member.torrent else {
            return;
        };
        torrent.handle(now, input, &mut self.dice);
        while let Some(output) = self
            .member(node)
            .torrent
            .as_mut()
            .and_then(seeder::torrent::Torrent::poll)
        {
            self.record(node, &output);
            self.obey(node, output);
        }
        let deadline = self
            .member(node)
            .torrent
            .as_ref()
            .and_then(seeder::torrent::Torrent::deadline);
        let Some(deadline) = deadline else { return };
        let at = self.agenda.moment(deadline.min(now + Duration::from_secs(60)));
        if self.member(node).tick.is_none_or(|tick| at < tick || tick <= now) {
            self.member(node).tick = Some(at);
            self.agenda.post_at(at, Event::Tick { node });
        }
    }

    /// Mixes what a machine wanted into the trace: who, when, and what of it can be told by numbers.
    fn record(&mut self, node: usize, output: &Output) {
        let block = |block: &Block| u64::from(block.piece().number()) << 32 | u64::from(block.begin());
        let (kind, whom, what) = match output {
            Output::Send { peer, message } => (1, peer.0, said(message)),
            Output::Serve { peer, blocks } => (2, peer.0, blocks.iter().map(block).sum()),
            Output::Store { block: stored, .. } => (3, 0, block(stored)),
            Output::Verify { piece } => (4, 0, piece.number().into()),
            Output::Dial { address } => (5, u64::from(address.port()), 0),
            Output::Disconnect { peer, .. } => (6, peer.0, 0),
            Output::Ban { .. } => (7, 0, 0),
            Output::PieceDone { piece } => (8, 0, piece.number().into()),
            Output::Finished => (9, 0, 0),
            _ => (10, 0, 0),
        };
        for part in [node as u64, self.now().as_millis(), kind, whom, what] {
            self.trace = (self.trace ^ part).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
    }

    fn later(&mut self, node: usize, delay: Duration, input: Input) {
        let life = self.member(node).life;
        let input = Box::new(input);
        self.agenda.post(delay, Event::Told { node, life, input });
    }

    fn obey(&mut self, node: usize, output: Output) {
        match output {
            Output::Send { peer, message } => self.send(node, peer, message),
            Output::Serve { peer, blocks } => {
                if let Some((conn, end)) = self.place(node, peer) {
                    for block in blocks {
                        self.serve(node, conn, end, block);
                    }
                }
            }
            Output::Store { block, data } => self.store(node, block, &data),
            Output::Verify { piece } => {
                let member = self.member(node);
                let good = !member.wrong.iter().any(|block| block.piece() == piece);
                member.wrong.retain(|block| block.piece() != piece);
                member.spoiled += u32::from(!good);
                self.later(node, DISK, Input::Verified { piece, good });
            }
            Output::Dial { address } => {
                let delay = self.member(node).nature.link.latency * 4;
                self.agenda.post(delay, Event::Call { from: node, address });
            }
            Output::Disconnect { peer, .. } => self.hang_up(node, peer),
            Output::Ban { address, .. } => _ = self.member(node).banned.insert(address),
            Output::WantPeers => self.agenda.post(Duration::from_secs(1), Event::Tracked { node }),
            Output::Unfinished => {
                self.member(node).finished = None;
                self.later(node, DISK, Input::Disk { credit: 4 << 20 });
            }
            Output::PieceDone { piece } => _ = self.member(node).have.insert(piece),
            Output::Finished => {
                let now = self.now();
                self.member(node).finished = Some(now);
            }
            Output::CopySeen { .. }
            | Output::BanWebSeed { .. }
            | Output::Metadata { .. }
            | Output::Layers { .. }
            | Output::Leaves { .. } => (),
        }
    }

    fn send(&mut self, node: usize, peer: PeerKey, message: Message) {
        let gives = matches!(message, Message::Unchoke | Message::AllowedFast(_));
        if gives && self.role(node) == Role::FreeRider {
            return;
        }
        if let Some((conn, end)) = self.place(node, peer) {
            self.say(conn, end, message);
        }
    }

    pub(super) fn serve(&mut self, node: usize, conn: usize, end: usize, block: Block) {
        let role = self.role(node);
        if role == Role::Boaster {
            return;
        }
        assert!(
            self.member(node).have.contains(&block.piece()),
            "serves what it does not have"
        );
        let data = if role == Role::Liar && self.chance(RUBBISH) {
            self.rubbish.slice(..block.length() as usize)
        } else {
            self.bytes.slice(self.range(block))
        };
        let (piece, begin) = (block.piece().number(), block.begin());
        self.give(conn, end, Message::Piece { piece, begin, data });
    }

    fn store(&mut self, node: usize, block: Block, data: &Bytes) {
        let right = self.bytes.get(self.range(block)) == Some(&data[..]);
        let member = self.member(node);
        assert!(
            !member.have.contains(&block.piece()),
            "writes over what is verified"
        );
        if right {
            member.wrong.remove(&block);
        } else {
            member.wrong.insert(block);
        }
        self.later(node, DISK, Input::Credit(data.len() as u64));
    }
}

/// A message as a number.
fn said(message: &Message) -> u64 {
    match message {
        Message::Choke => 1,
        Message::Unchoke => 2,
        Message::Interested => 3,
        Message::NotInterested => 4,
        Message::Have(piece) => 5 << 56 | u64::from(*piece),
        Message::Request(span) => 6 << 56 | u64::from(span.piece) << 24 | u64::from(span.begin),
        Message::Cancel(span) => 7 << 56 | u64::from(span.piece) << 24 | u64::from(span.begin),
        Message::Reject(span) => 8 << 56 | u64::from(span.piece) << 24 | u64::from(span.begin),
        Message::AllowedFast(piece) => 9 << 56 | u64::from(*piece),
        _ => 10,
    }
}
