//! The machine of one torrent. Every input has one arm and one call; what the calls do stands in `peers` (who is connected),
//! `download` (what we take), `upload` (what we give), `exchange` (metadata) and `timer`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rand::Rng;
use shared::bitfield::Bitfield;
use shared::geometry::Geometry;
#[cfg(debug_assertions)]
use shared::geometry::PieceIndex;
use shared::moment::Moment;
use shared::peer_wire::Message;

use super::blame::Blame;
use super::choker::{Choker, Mode};
use super::copies::CopiesTold;
use super::cost::{self, Price};
use super::depth::Shares;
use super::dialer::Dialer;
use super::events::{Content, Identity, Input, Output, PeerKey, Settings, Status};
use super::layers::LayerFetch;
use super::metadata::Fetch;
use super::outward::Outward;
use super::picker::Picker;
use super::rate::Rate;
use super::session::{Heard, Session};
use super::suggest::Hints;
use super::superseed::Offers;
use super::wanted::{Tally, Wanted};

/// One torrent: its peers, its pieces, and what it wants done.
#[derive(Debug)]
pub struct Torrent {
    pub(super) identity: Identity,
    pub(super) settings: Settings,
    /// `None` while a magnet link's metadata are missing.
    pub(super) content: Option<Content>,
    /// What of the content is wanted, and how far along that is.
    pub(super) wanted: Arc<Wanted>,
    pub(super) tally: Tally,
    /// `None` while metadata are missing, and while nothing is to be fetched.
    pub(super) picker: Option<Picker>,
    /// Metadata that are being fetched.
    pub(super) fetch: Option<Fetch>,
    /// Piece layers that are being fetched: without them a v2 torrent has no content, while a hybrid only cannot give them.
    pub(super) layers: Option<LayerFetch>,
    /// Pieces that are being read for their leaves.
    pub(super) leaves_wanted: usize,
    pub(super) sessions: BTreeMap<PeerKey, Session>,
    /// Those of the sessions that are web seeds.
    pub(super) webs: usize,
    pub(super) choker: Choker,
    pub(super) dialer: Dialer,
    /// What is shown to whom while we super-seed.
    pub(super) offers: Option<Offers>,
    /// What was suggested to whom while we want nothing.
    pub(super) hints: Option<Hints>,
    /// What was said of us as an upload-only peer, and where complete peers were told of.
    pub(super) told_upload_only: Option<bool>,
    pub(super) copies: CopiesTold,
    pub(super) outward: Outward,
    pub(super) blame: Blame,

    /// Bytes that may still be asked for, and bytes handed to `Store` that have not come back as credit.
    pub(super) credit: u64,
    pub(super) storing: u64,
    /// Somebody could not be asked for want of credit.
    pub(super) starved: bool,
    /// The disk is in trouble: nothing is asked for.
    pub(super) paused: bool,
    /// Blocks became free: others may take them.
    pub(super) freed: bool,
    /// Where the last sharing out of credit ended.
    pub(super) turn: Option<PeerKey>,
    /// What of the credit each peer may hold.
    pub(super) shares: Shares,
    /// When a peer last went to make room for another.
    pub(super) turned_over: Moment,

    /// When the last input came.
    now: Moment,
    pub(super) next_tick: Moment,
    /// When somebody useful was last there, and when trackers were last hurried.
    pub(super) supplied: Moment,
    pub(super) hurried: Option<Moment>,
    pub(super) taken: Rate,
    pub(super) given: Rate,
    pub(super) wasted: u64,
    outputs: VecDeque<Output>,
    /// Inputs since the last check.
    #[cfg(debug_assertions)]
    unchecked: usize,
}

impl Torrent {
    /// A torrent with its content, or without it a magnet link's, which asks its peers for the metadata first.
    pub fn new(now: Moment, identity: Identity, content: Option<Content>, settings: Settings) -> Self {
        let mut torrent = Self {
            choker: Choker::new(now, settings.upload_slots),
            dialer: Dialer::new(settings.addresses_max),
            offers: None,
            hints: None,
            told_upload_only: None,
            copies: CopiesTold::default(),
            outward: Outward::new(&identity),
            credit: settings.disk_credit,
            identity,
            settings,
            fetch: content.is_none().then(|| Fetch::new(&identity)),
            layers: None,
            leaves_wanted: 0,
            content: None,
            picker: None,
            wanted: Arc::default(),
            tally: Tally::default(),
            sessions: BTreeMap::new(),
            webs: 0,
            blame: Blame::default(),
            storing: 0,
            starved: false,
            paused: false,
            freed: false,
            turn: None,
            shares: Shares::default(),
            turned_over: now,
            now,
            next_tick: now,
            supplied: now,
            hurried: None,
            taken: Rate::default(),
            given: Rate::default(),
            wasted: 0,
            outputs: VecDeque::new(),
            #[cfg(debug_assertions)]
            unchecked: 0,
        };
        if let Some(content) = content {
            torrent.hold(content);
        }
        torrent.begin_giving();
        torrent
    }

    /// Tells the torrent what happened. Never blocks, never fails: trouble comes out of `poll`.
    pub fn handle(&mut self, now: Moment, input: Input, rng: &mut impl Rng) {
        self.now = now;
        self.prepare(rng);
        match input {
            Input::Connected {
                peer,
                address,
                direction,
                handshake,
            } => {
                self.connected(
                    now,
                    peer,
                    Session::new(now, address, direction, handshake, self.geometry()),
                );
            }
            Input::Disconnected { peer } => self.disconnected(now, peer, rng),
            Input::Message { peer, message } => self.heard(now, peer, message, rng),
            Input::Served { peer, bytes } => self.served(now, peer, bytes),
            Input::Unserved { peer, block } => self.unserved(now, peer, block),
            Input::Verified { piece, good } => self.verified(now, piece, good, rng),
            Input::StoreFailed { piece } => self.store_failed(now, piece),
            Input::DiskReady => self.disk_ready(),
            Input::Disk { credit } => self.disk_opened(credit),
            Input::DiskClosed => self.disk_closed(now, rng),
            Input::Credit(bytes) => self.credited(now, bytes, rng),
            Input::Peers { addresses } => self.learn_addresses(now, addresses),
            Input::DialFailed { address } => self.dialer.failed(now, address, rng),
            Input::Layerless(trees) => self.layerless(now, trees),
            Input::Leaves { peer, span, leaves } => {
                self.leaves_read(now, (peer, span), leaves.as_deref(), rng);
            }
            Input::Content(content) => self.open(now, content, rng),
            Input::Limits {
                connections,
                upload_slots,
            } => self.limit(now, connections, upload_slots, rng),
            Input::SuperSeed(on) => self.super_seed(now, on, rng),
            Input::Wishes(wishes) => self.wish(now, wishes, rng),
            Input::Lost { pieces } => self.lost(now, pieces, rng),
            Input::Found { pieces } => self.found(now, pieces, rng),
            Input::Tick => (),
        }
        self.settle(now, rng);
        #[cfg(debug_assertions)]
        self.check_now_and_then();
    }

    /// Takes the next thing to be done. Several inputs may be handled first; drain to `None` before waiting.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Facts for progress.
    pub fn status(&self) -> Status {
        let content = self.content.as_ref();
        let geometry = content.map(|content| &content.geometry);
        let have = content.map(|content| &content.have);
        Status {
            metadata: content.is_some(),
            have_count: have.map_or(0, Bitfield::count),
            piece_count: geometry.map_or(0, Geometry::piece_count),
            have_bytes: self.tally.have_bytes,
            total_bytes: geometry.map_or(0, Geometry::total_length),
            wanted_count: self.tally.wanted_count,
            wanted_bytes: self.tally.wanted_bytes,
            left_count: self.tally.left_count,
            left_bytes: self.tally.left_bytes,
            peers: self.connections(),
            seeds: self
                .sessions
                .values()
                .filter(|session| session.has_everything() && !session.is_web())
                .count(),
            unchoked: self
                .sessions
                .values()
                .filter(|session| session.unchoked.is_some())
                .count(),
            addresses: self.dialer.len(),
            downloaded: self.taken.total(),
            uploaded: self.given.total(),
            wasted: self.wasted,
            download_rate: self.taken.per_second(self.now),
            upload_rate: self.given.per_second(self.now),
        }
    }

    /// When the last input came.
    pub(super) fn latest(&self) -> Moment {
        self.now
    }

    /// What is verified; nothing while metadata are missing.
    pub fn have(&self) -> Option<&Bitfield> {
        self.content.as_ref().map(|content| &content.have)
    }

    /// Everything is verified.
    pub fn is_complete(&self) -> bool {
        self.have().is_some_and(Bitfield::is_complete)
    }

    pub(super) fn geometry(&self) -> Option<&Geometry> {
        self.content.as_ref().map(|content| &content.geometry)
    }

    /// While nothing is to be fetched, we give like those who have everything.
    pub(super) fn mode(&self) -> Mode {
        if self.picker.is_none() && self.content.is_some() {
            Mode::Seeding
        } else {
            Mode::Leeching
        }
    }

    /// Peers that are connected, web seeds not counted.
    pub(super) fn connections(&self) -> usize {
        self.sessions.len() - self.webs
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// The end of the queue, where requests that came together are served together.
    pub(super) fn last_output(&mut self) -> Option<&mut Output> {
        self.outputs.back_mut()
    }

    pub(super) fn send(&mut self, now: Moment, peer: PeerKey, message: Message) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            let understood = matches!(message, Message::Request(_) | Message::Cancel(_));
            if understood || !session.is_web() {
                session.said = now;
                self.push(Output::Send { peer, message });
            }
        }
    }

    /// One call for everything that a message can mean.
    fn heard(&mut self, now: Moment, peer: PeerKey, message: Message, rng: &mut impl Rng) {
        let geometry = self.content.as_ref().map(|content| &content.geometry);
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        let price = cost::price(&message);
        let heard = session.hear(now, message, geometry).and_then(|heard| {
            let costs = price == Price::Always || (price == Price::IfNothing && heard == Heard::Nothing);
            if costs && !session.is_web() {
                session.cost.charge(now)?;
            }
            Ok(heard)
        });
        match heard {
            Ok(Heard::Nothing) => (),
            Ok(Heard::Choked) => self.choked(peer),
            Ok(Heard::Unchoked | Heard::AllowedFast(_)) => self.refill(now, peer, rng),
            Ok(Heard::Interest) => self.interest_changed(now, peer),
            Ok(Heard::Suggested(piece)) => self.suggested(now, peer, piece, rng),
            Ok(Heard::Has(piece)) => self.heard_has(now, peer, piece, rng),
            Ok(Heard::Pieces) => self.heard_pieces(now, peer, rng),
            Ok(Heard::More(pieces)) => self.heard_more(now, peer, &pieces, rng),
            Ok(Heard::Request(block)) => self.requested(now, peer, block, rng),
            Ok(Heard::Cancelled(block)) => self.cancelled(now, peer, block),
            Ok(Heard::Lost(piece)) => self.peer_lost(now, peer, piece, rng),
            Ok(Heard::EarlyRequest(span)) => self.refuse(now, peer, span, rng),
            Ok(Heard::Arrived(delivery)) => self.arrived(now, peer, delivery, rng),
            Ok(Heard::Rejected(block)) => self.rejected(now, peer, block),
            Ok(Heard::Extensions) => self.extensions_told(now, peer),
            Ok(Heard::Metadata(message)) => self.metadata_message(now, peer, message, rng),
            Ok(Heard::Hashes(message)) => self.hash_message(now, peer, message, rng),
            Err(why) => self.dismiss(now, peer, why, rng),
        }
    }

    /// What several inputs have in common, done once at their end.
    fn settle(&mut self, now: Moment, rng: &mut impl Rng) {
        self.apply_changes();
        if std::mem::take(&mut self.freed) {
            self.refill_all(now, rng);
        }
        if now >= self.next_tick {
            self.tick(now, rng);
        }
        self.tell_upload_only(now);
        self.dial(now);
    }
}

#[cfg(debug_assertions)]
impl Torrent {
    /// A check goes through all pieces of all peers: in a small torrent it follows every input, in a large one every so
    /// many-th.
    fn check_now_and_then(&mut self) {
        let pieces = self.geometry().map_or(0, Geometry::piece_count) as usize;
        let every = 1 + (self.sessions.len() * pieces).saturating_sub(256) / 8;
        self.unchecked += 1;
        if self.unchecked >= every {
            self.unchecked = 0;
            self.check_invariants();
        }
    }

    /// What must hold between two inputs, whatever strangers say.
    fn check_invariants(&self) {
        let asked: usize = self.sessions.values().map(|session| session.asked.len()).sum();
        let blocks = self.sessions.values().flat_map(|session| &session.asked);
        let asked_bytes: u64 = blocks.map(|block| u64::from(block.length())).sum();
        assert_eq!(
            self.credit + asked_bytes + self.storing,
            self.settings.disk_credit,
            "credit was lost or made"
        );
        assert!(self.connections() <= self.settings.connections_max);
        let webs = self.sessions.values().filter(|session| session.is_web());
        assert_eq!(webs.count(), self.webs);
        assert!(
            self.picker.is_none() || !self.is_finished(),
            "a finished torrent picks nothing"
        );
        self.dialer.check_invariants();
        self.check_giving();
        let Some(picker) = &self.picker else {
            assert_eq!(asked, 0, "nothing is missing, but something is asked for");
            return;
        };
        picker.check_invariants();
        assert_eq!(
            asked,
            picker.owed(),
            "peers and picker disagree about what is owed"
        );
        assert_eq!(Some(picker.have()), self.have());
        if let Some(content) = &self.content
            && content.geometry.piece_count() <= 2_048
        {
            assert_eq!(self.tally, Tally::new(content, &self.wanted));
        }
        self.check_counts(picker);
    }

    fn check_counts(&self, picker: &Picker) {
        if picker.geometry().piece_count() > 2_048 {
            return;
        }
        for session in self.sessions.values() {
            let count = |wanted: &dyn Fn(PieceIndex) -> bool| {
                let pieces = picker.geometry().pieces().filter(|piece| session.has(*piece));
                pieces.filter(|piece| wanted(*piece)).count()
            };
            assert_eq!(session.wanted as usize, count(&|piece| picker.lacks(piece)));
            assert_eq!(
                session.pickable as usize,
                count(&|piece| picker.is_missing(piece))
            );
            assert_eq!(session.we_are_interested, session.wanted > 0);
            assert!(session.line.len() <= self.settings.requests_in_max);
        }
    }
}
