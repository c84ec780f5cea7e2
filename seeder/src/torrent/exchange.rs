//! Metadata between peers: asking for ours while we are a magnet link, giving it once we have it.

use rand::Rng;
use shared::extension::MetadataMessage;
use shared::geometry::PieceIndex;
use shared::moment::Moment;
use shared::peer_wire::Message;

use super::events::{Content, Output, PeerKey, Why};
use super::machine::Torrent;
use super::metadata::{self, Part};
use super::peers::TOLD_MAX;

impl Torrent {
    /// The peer has told its abilities: it may be a source of metadata.
    pub(super) fn offer_metadata(&mut self, now: Moment, peer: PeerKey) {
        let Some(session) = self.sessions.get(&peer) else {
            return;
        };
        let takes = session.extensions.ut_metadata.is_some_and(|id| id != 0);
        if let (Some(fetch), true, Some(size)) = (&mut self.fetch, takes, session.extensions.metadata_size) {
            fetch.offer(now, peer, size);
            self.fetch_metadata(now);
        }
    }

    /// Asks for whatever metadata may be asked for now.
    pub(super) fn fetch_metadata(&mut self, now: Moment) {
        let wanted = self.fetch.as_mut().map(|fetch| fetch.wanted(now));
        for (peer, piece) in wanted.unwrap_or_default() {
            self.send_metadata(now, peer, &MetadataMessage::Request { piece });
        }
    }

    /// A message of the exchange.
    pub(super) fn metadata_message(
        &mut self,
        now: Moment,
        peer: PeerKey,
        message: MetadataMessage,
        rng: &mut impl Rng,
    ) {
        match message {
            MetadataMessage::Request { piece } => self.answer_metadata(now, peer, piece, rng),
            MetadataMessage::Reject { .. } => {
                if let Some(fetch) = &mut self.fetch {
                    fetch.rejected(now, peer);
                }
                self.fetch_metadata(now);
            }
            MetadataMessage::Data { .. } => {
                if let Err(why) = self.metadata_arrived(now, peer, message) {
                    self.dismiss(now, peer, why, rng);
                }
            }
            MetadataMessage::Unknown(_) => (),
        }
    }

    /// A block of metadata. An error says what is wrong with the peer.
    fn metadata_arrived(&mut self, now: Moment, peer: PeerKey, message: MetadataMessage) -> Result<(), Why> {
        let (
            MetadataMessage::Data {
                piece,
                total_size,
                data,
            },
            Some(fetch),
        ) = (message, &mut self.fetch)
        else {
            return Ok(());
        };
        match fetch.arrived(
            now,
            peer,
            Part {
                block: piece,
                total_size,
                data,
            },
        )? {
            Some(info) => {
                self.fetch = None;
                self.push(Output::Metadata { info });
            }
            None => self.fetch_metadata(now),
        }
        Ok(())
    }

    /// The metadata are good and the files are open: from a link a torrent has become.
    pub(super) fn open(&mut self, now: Moment, content: Content, rng: &mut impl Rng) {
        if self.content.is_some() {
            return;
        }
        self.fetch = None;
        self.hold(content);
        self.prepare(rng);
        let peers: Vec<PeerKey> = self.sessions.keys().copied().collect();
        for peer in peers {
            self.measure(now, peer, rng);
        }
    }

    /// Judges by the metadata what a peer has claimed, and tells it what we have.
    fn measure(&mut self, now: Moment, peer: PeerKey, rng: &mut impl Rng) {
        let Some(content) = &self.content else { return };
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        if let Err(why) = session.learn(&content.geometry) {
            self.dismiss(now, peer, why, rng);
            return;
        }
        // The time for a bitfield is over, so what was found on disk is told piece by piece.
        if content.have.count() as usize > TOLD_MAX {
            self.begin_anew(now, peer);
            return;
        }
        let have = content.geometry.pieces().filter(|piece| content.have.has(*piece));
        for number in have.map(PieceIndex::number).collect::<Vec<_>>() {
            self.send(now, peer, Message::Have(number));
        }
        self.tell_extensions(now, peer, None);
        self.peer_told(now, peer, rng);
    }

    fn answer_metadata(&mut self, now: Moment, peer: PeerKey, piece: u32, rng: &mut impl Rng) {
        let info = self.content.as_ref().map(|content| &content.info);
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        let answer = metadata::answer(info, &mut session.metadata_served, piece);
        let refused = matches!(answer, MetadataMessage::Reject { .. });
        if !refused || self.bears_refusal(now, peer, rng) {
            self.send_metadata(now, peer, &answer);
        }
    }

    fn send_metadata(&mut self, now: Moment, peer: PeerKey, message: &MetadataMessage) {
        let id = self
            .sessions
            .get(&peer)
            .and_then(|session| session.extensions.ut_metadata);
        if let Some(id) = id.filter(|id| *id != 0) {
            self.send(
                now,
                peer,
                Message::Extended {
                    id,
                    payload: message.encode(),
                },
            );
        }
    }
}
