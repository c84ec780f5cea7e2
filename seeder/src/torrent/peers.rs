//! Who is connected: greeting, dismissing, banning, calling. One connection a peer, none to ourselves, none to the banned.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use shared::extension::{self, ExtensionHandshake};
use shared::moment::Moment;
use shared::peer_wire::Message;

use super::blame::Giver;
use super::events::{Direction, Output, PeerKey, Why};
use super::machine::Torrent;
use super::session::{Pieces, Session};

/// Two connections that were made within this time crossed each other; a later one is a second one.
const CROSSING: Duration = Duration::from_secs(10);
/// A caller may know us by so many addresses: some of IPv4, some of IPv6.
const CALLS_MAX: usize = 8;
/// Addresses taken from one answer of a tracker.
const ADDRESSES_AT_ONCE_MAX: usize = 200;
/// So many pieces are told one by one. A connection has no room for many more, and a new one begins with all of them.
pub(super) const TOLD_MAX: usize = 1_000;

impl Torrent {
    /// Both handshakes are done.
    pub(super) fn connected(&mut self, now: Moment, peer: PeerKey, session: Session) {
        if let Err(why) = self.admit(now, peer, &session) {
            self.push(Output::Disconnect { peer, why });
            return;
        }
        if session.direction == Direction::Outgoing {
            self.dialer.connected(now, session.address, peer);
        }
        let address = session.address;
        self.webs += usize::from(session.is_web());
        self.sessions.insert(peer, session);
        self.hide_from(peer);
        self.tell_pieces(now, peer);
        self.tell_extensions(now, peer, Some(address.ip()));
        self.fetch_layers(now);
    }

    /// The connection has ended by itself.
    pub(super) fn disconnected(&mut self, now: Moment, peer: PeerKey, rng: &mut impl Rng) {
        self.forget(now, peer, rng);
    }

    /// Ends a connection, and bans whom it is plainly right to ban.
    pub(super) fn dismiss(&mut self, now: Moment, peer: PeerKey, why: Why, rng: &mut impl Rng) {
        let Some(giver) = self.forget(now, peer, rng) else {
            return;
        };
        let ban = why.is_lie() || (why.is_rude() && self.blame.was_rude(giver));
        self.push(Output::Disconnect {
            peer,
            why: why.clone(),
        });
        if ban {
            self.ban(now, giver, why, rng);
        }
    }

    /// Bans an address, or a web seed, and ends all its connections.
    pub(super) fn ban(&mut self, now: Moment, giver: Giver, why: Why, rng: &mut impl Rng) {
        if self.blame.is_banned(giver) {
            return;
        }
        self.blame.ban(giver);
        match giver {
            Giver::Address(address) => {
                self.dialer.shun_all(address);
                self.push(Output::Ban { address, why });
            }
            Giver::WebSeed(seed) => self.push(Output::BanWebSeed { seed, why }),
        }
        let its = |(peer, session): (&PeerKey, &Session)| (session.giver() == giver).then_some(*peer);
        let peers: Vec<PeerKey> = self.sessions.iter().filter_map(its).collect();
        for peer in peers {
            self.forget(now, peer, rng);
            self.push(Output::Disconnect {
                peer,
                why: Why::Banned,
            });
        }
        if let Giver::Address(address) = giver {
            self.dialer.shun_all(address);
        }
    }

    pub(super) fn learn_addresses(&mut self, now: Moment, addresses: Vec<SocketAddr>) {
        for address in addresses.into_iter().take(ADDRESSES_AT_ONCE_MAX) {
            if !self.blame.is_banned(Giver::Address(address.ip())) {
                self.dialer.add(now, address);
            }
        }
    }

    /// Calls as many as there is room for.
    pub(super) fn dial(&mut self, now: Moment) {
        while self.may_dial() {
            let outward = self.outward;
            let Some(address) = self.dialer.next(now, |address| outward.priority(address)) else {
                break;
            };
            if self.blame.is_banned(Giver::Address(address.ip())) {
                self.dialer.shun(address);
            } else {
                self.push(Output::Dial { address });
            }
        }
    }

    pub(super) fn may_dial(&self) -> bool {
        let calling = self.dialer.calling();
        calling < self.settings.dials_max && calling + self.connections() < self.settings.connections_max
    }

    /// The peer has named its port, its abilities, the size of its metadata.
    pub(super) fn extensions_told(&mut self, now: Moment, peer: PeerKey) {
        let Some(session) = self.sessions.get(&peer) else {
            return;
        };
        if let Some(address) = session.listens_at() {
            self.dialer.connected(now, address, peer);
        }
        if let Some(ours) = session.extensions.your_ip {
            self.outward.heard(session.address.ip(), ours);
        }
        self.offer_metadata(now, peer);
        self.part_if_both_seeds(now, peer);
    }

    /// Two that both want nothing keep each other from better company. Partial seeds (BEP 21) are such, unless they ask.
    pub(super) fn part_if_both_seeds(&mut self, now: Moment, peer: PeerKey) -> bool {
        self.note_copy(now, peer);
        let useless = self.takes_nothing() && self.sessions.get(&peer).is_some_and(Session::wants_nothing);
        if useless {
            self.forget_for_long(now, peer);
            self.push(Output::Disconnect {
                peer,
                why: Why::BothSeeds,
            });
        }
        useless
    }

    /// May this one come in? Web seeds are called because they are wanted; only one that lied is refused.
    fn admit(&mut self, now: Moment, peer: PeerKey, session: &Session) -> Result<(), Why> {
        if session.is_web() {
            let banned = self.blame.is_banned(session.giver());
            return if banned { Err(Why::Banned) } else { Ok(()) };
        }
        if session.handshake.peer_id == self.identity.peer_id {
            self.dialer.shun(session.address);
            return Err(Why::Myself);
        }
        if self.blame.is_banned(session.giver()) {
            self.dialer.shun(session.address);
            return Err(Why::Banned);
        }
        self.admit_once(now, peer, session)?;
        if self.connections() >= self.settings.connections_max && !self.make_room(now, session.calls_from()) {
            // The call is over, and may be made again when there is room.
            self.dialer.put_off(now, session.address);
            return Err(Why::TooManyConnections(self.settings.connections_max));
        }
        Ok(())
    }

    /// One connection a peer. Where two crossed, both sides keep the one that the smaller peer id has made. Where one side called
    /// several addresses of the other at once, it keeps the first that answered, and only it knows which that is.
    fn admit_once(&mut self, now: Moment, peer: PeerKey, new: &Session) -> Result<(), Why> {
        let theirs = new.handshake.peer_id;
        if !self.sessions.contains_key(&peer) && self.called_side_by_side(now, new) {
            return Ok(());
        }
        let same = |(_, old): &(&PeerKey, &Session)| old.handshake.peer_id == theirs && !old.is_web();
        let Some((old_peer, old)) = self.sessions.iter().find(same) else {
            return Ok(());
        };
        let old_peer = *old_peer;
        let crossed = old.direction != new.direction && now.since(old.connected) < CROSSING;
        let ours_counts = self.identity.peer_id < theirs;
        if crossed && ours_counts == (new.direction == Direction::Outgoing) {
            if let Some(address) = old.listens_at() {
                self.dialer.connected(now, address, peer);
            }
            self.release_peer(old_peer);
            self.push(Output::Disconnect {
                peer: old_peer,
                why: Why::Duplicate,
            });
            return Ok(());
        }
        if new.direction == Direction::Outgoing {
            self.dialer.connected(now, new.address, old_peer);
        }
        Err(Why::Duplicate)
    }

    /// The same peer calls a few times in a breath, and we have not called it.
    fn called_side_by_side(&self, now: Moment, new: &Session) -> bool {
        let theirs = new.handshake.peer_id;
        let mut same = self
            .sessions
            .values()
            .filter(|old| old.handshake.peer_id == theirs && !old.is_web());
        let incoming =
            |old: &Session| old.direction == Direction::Incoming && now.since(old.connected) < CROSSING;
        new.direction == Direction::Incoming && same.clone().count() < CALLS_MAX && same.all(incoming)
    }

    /// Takes the peer out of everything; says who it was.
    fn forget(&mut self, now: Moment, peer: PeerKey, rng: &mut impl Rng) -> Option<Giver> {
        let session = self.release_peer(peer)?;
        let useful = session.taken.total() + session.given.total() > 0;
        self.dialer.lost(now, peer, useful, rng);
        self.fill_slots(now);
        Some(session.giver())
    }

    /// Ends a connection so that the next one begins with all that we have.
    pub(super) fn begin_anew(&mut self, now: Moment, peer: PeerKey) {
        // Web seeds are told nothing.
        if self.sessions.get(&peer).is_some_and(|session| !session.is_web()) {
            self.release_peer(peer);
            self.dialer.again(now, peer);
            self.fill_slots(now);
            let why = Why::MuchToTell;
            self.push(Output::Disconnect { peer, why });
        }
    }

    pub(super) fn forget_for_long(&mut self, now: Moment, peer: PeerKey) {
        self.release_peer(peer);
        self.dialer.rest(now, peer);
        self.fill_slots(now);
    }

    /// Gives back all that hung on this peer.
    fn release_peer(&mut self, peer: PeerKey) -> Option<Session> {
        self.give_up_requests(peer);
        self.forget_offers(peer);
        self.withdraw_hints(peer);
        if let Some(fetch) = &mut self.fetch {
            fetch.gone(peer);
        }
        if let Some(layers) = &mut self.layers {
            layers.gone(peer);
        }
        let session = self.sessions.remove(&peer)?;
        self.webs -= usize::from(session.is_web());
        if let (Some(picker), Pieces::Known(bits)) = (&mut self.picker, &session.pieces)
            && !session.counts_as_seed()
        {
            picker.fewer_of(bits);
        }
        if let Some(picker) = &mut self.picker {
            picker.disown(peer);
            self.freed = true;
        }
        Some(session)
    }

    /// BEP 6 wants the pieces told before all else.
    fn tell_pieces(&mut self, now: Moment, peer: PeerKey) {
        let fast = self.sessions.get(&peer).is_some_and(Session::fast);
        let hidden = self.is_hidden_from(peer);
        let message = match self.have() {
            Some(have) if have.is_complete() && fast && !hidden => Message::HaveAll,
            Some(have) if !have.is_empty() && !hidden => {
                Message::Bitfield(Bytes::copy_from_slice(have.as_bytes()))
            }
            _ if fast => Message::HaveNone,
            _ => return,
        };
        self.send(now, peer, message);
    }

    /// The extension handshake: the first, or a later one that tells of metadata we have got since.
    pub(super) fn tell_extensions(&mut self, now: Moment, peer: PeerKey, your_ip: Option<IpAddr>) {
        let extended = |session: &Session| session.handshake.reserved.extended();
        if !self.sessions.get(&peer).is_some_and(extended) {
            return;
        }
        let info_length = self.content.as_ref().map(|content| content.info.len());
        let handshake = ExtensionHandshake {
            ut_metadata: Some(extension::UT_METADATA_ID),
            client: Some(self.settings.client.clone()),
            port: Some(self.identity.listen_port).filter(|port| *port != 0),
            reqq: u32::try_from(self.settings.requests_in_max).ok(),
            metadata_size: info_length.and_then(|length| u32::try_from(length).ok()),
            upload_only: self.told_upload_only,
            your_ip,
            ut_pex: None,
            lt_donthave: Some(extension::LT_DONTHAVE_ID),
        };
        let payload = handshake.encode();
        self.send(
            now,
            peer,
            Message::Extended {
                id: extension::HANDSHAKE_ID,
                payload,
            },
        );
    }
}
