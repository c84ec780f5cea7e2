//! One peer's protocol state: what it said, what it may say, and what is open between the two sides. It judges messages by
//! the rules of BEP 3, 6, 9 and 10 and turns numbers into blocks and pieces; what follows from them is the torrent's affair.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use shared::bitfield::Bitfield;
use shared::extension::{self, DontHave, ExtensionHandshake, MetadataMessage};
use shared::geometry::{Block, Geometry, PieceIndex};
use shared::moment::Moment;
use shared::peer_wire::{Handshake, Message, REQUEST_LENGTH_MAX, Span};

use super::blame::Giver;
use super::choker::Candidate;
use super::cost::Cost;
use super::depth::{Depth, Shares};
use super::events::{Direction, PeerKey, Why};
use super::hashes::Allowance;
use super::line::Line;
use super::rate::Rate;

/// Requests waiting at a peer that has not said how many it allows; libtorrent's own number.
const REQQ_DEFAULT: u32 = 250;
/// Pieces claimed one by one before the metadata are known. Later ones are heard of again only through other peers.
const EARLY_CLAIMS_MAX: usize = 4_096;
/// A piece that was refused, by a peer that does not choke us, is left alone for so long: its file is damaged or gone there.
const WITHHELD_TIME: Duration = Duration::from_secs(30);
/// Refused pieces that are remembered. Who refuses more is asked only now and then.
const WITHHELD_MAX: usize = 1_000;
const REST: Duration = Duration::from_secs(1);
/// Who got so many bytes more than it gave, and could give, owes: this, or a small part of a small torrent.
const TRUST: u64 = 1024 * 1024;
const TRUST_PART: u64 = 128;
/// Suggestions of one peer that are open, on either side.
pub(super) const SUGGESTED_MAX: usize = 16;
/// BEP 6 suggests sets of ten.
const ALLOWED_FAST_MAX: usize = 32;

/// What a peer has.
#[derive(Debug)]
pub(super) enum Pieces {
    /// There are no metadata to measure it by.
    Claimed(Claims),
    Known(Bitfield),
}

/// What a peer says it has, before anybody can judge it.
#[derive(Debug, Default)]
pub(super) struct Claims {
    everything: bool,
    bits: Option<Bytes>,
    pieces: Vec<u32>,
}

/// A block as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) block: Block,
    pub(super) data: Bytes,
    /// This very peer was asked for it, and not told to stop.
    pub(super) owed: bool,
}

/// What a message meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It changes nothing for the torrent.
    Nothing,
    Choked,
    Unchoked,
    /// The peer wants something of us now, or nothing any more.
    Interest,
    Has(PieceIndex),
    /// A piece that it would give before others.
    Suggested(PieceIndex),
    /// All its pieces at once.
    Pieces,
    /// Pieces that it got since, not yet noted: each counts as if it had said `have`.
    More(Vec<PieceIndex>),
    Request(Block),
    /// A block that it asked for and wants no more.
    Cancelled(Block),
    /// A piece that it had and has no more.
    Lost(PieceIndex),
    /// A request that nobody can judge without metadata.
    EarlyRequest(Span),
    Arrived(Delivery),
    Rejected(Block),
    AllowedFast(PieceIndex),
    Extensions,
    Metadata(MetadataMessage),
    /// One of BEP 52's three, as it came.
    Hashes(Message),
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "BEP 3 is four of them, and each changes by itself"
)]
pub(super) struct Session {
    pub(super) address: SocketAddr,
    pub(super) direction: Direction,
    pub(super) handshake: Handshake,
    pub(super) connected: Moment,
    pub(super) heard: Moment,
    pub(super) said: Moment,
    pub(super) pieces: Pieces,
    /// It has told its pieces; a bitfield can only add to them now.
    pub(super) told: bool,
    /// Pieces that it has and we do not, and those of them that nobody has begun.
    pub(super) wanted: u32,
    pub(super) pickable: u32,

    pub(super) we_are_interested: bool,
    pub(super) chokes_us: bool,
    /// Blocks that it owes us, for which disk credit is taken.
    pub(super) asked: BTreeSet<Block>,
    /// Blocks that were cancelled or given up, and may come all the same.
    late: VecDeque<Block>,
    pub(super) allowed_fast: BTreeSet<PieceIndex>,
    /// Missing pieces that it would give before others.
    pub(super) suggested: Vec<PieceIndex>,
    /// The piece that it was asked for last.
    pub(super) last: Option<PieceIndex>,
    /// When it last sent a block that we wanted, or was asked for the first.
    pub(super) progress: Moment,
    pub(super) depth: Depth,
    /// What it has cost us.
    pub(super) cost: Cost,
    /// When payload last passed in either direction, or the peer came.
    pub(super) useful: Moment,
    pub(super) snubbed: bool,
    /// Pieces that it refused without choking us, and until when it is not asked for them.
    pub(super) withheld: BTreeMap<PieceIndex, Moment>,
    /// It refused too much: it is asked for nothing before this.
    rests_until: Moment,
    pub(super) taken: Rate,

    pub(super) is_interested: bool,
    /// Since when it may ask us.
    pub(super) unchoked: Option<Moment>,
    pub(super) choked: Moment,
    /// What it asked for and has not got.
    pub(super) line: Line,
    /// Pieces that it may ask for although it is choked, and how many bytes of them.
    pub(super) fast_set: BTreeSet<PieceIndex>,
    pub(super) fast_left: u64,
    /// What it had got when it was unchoked.
    pub(super) given_before: u64,
    /// It had everything once and has lost something since; its pieces are counted one by one.
    pub(super) lost_some: bool,
    /// It has owed, and not given since.
    pub(super) owed: bool,
    /// Requests refused since the last round of the choker.
    pub(super) refused: u32,
    pub(super) given: Rate,

    pub(super) extensions: ExtensionHandshake,
    /// Blocks of metadata that it got.
    pub(super) metadata_served: u32,
    /// Hashes of v2 trees that it may take.
    pub(super) hashes: Allowance,
}

impl Session {
    pub(super) fn new(
        now: Moment,
        address: SocketAddr,
        direction: Direction,
        handshake: Handshake,
        geometry: Option<&Geometry>,
    ) -> Self {
        let pieces = geometry.map_or(Pieces::Claimed(Claims::default()), |geometry| {
            Pieces::Known(Bitfield::none(geometry))
        });
        Self {
            address,
            direction,
            handshake,
            connected: now,
            heard: now,
            said: now,
            pieces,
            told: false,
            wanted: 0,
            pickable: 0,
            we_are_interested: false,
            chokes_us: true,
            asked: BTreeSet::new(),
            late: VecDeque::new(),
            allowed_fast: BTreeSet::new(),
            suggested: Vec::new(),
            last: None,
            progress: now,
            depth: Depth::default(),
            cost: Cost::new(now),
            useful: now,
            snubbed: false,
            withheld: BTreeMap::new(),
            rests_until: now,
            taken: Rate::default(),
            is_interested: false,
            unchoked: None,
            choked: now,
            line: Line::default(),
            fast_set: BTreeSet::new(),
            fast_left: 0,
            given_before: 0,
            lost_some: false,
            owed: false,
            refused: 0,
            given: Rate::default(),
            extensions: ExtensionHandshake::default(),
            metadata_served: 0,
            hashes: Allowance::new(now),
        }
    }

    pub(super) fn fast(&self) -> bool {
        self.handshake.reserved.fast()
    }

    pub(super) fn has(&self, piece: PieceIndex) -> bool {
        matches!(&self.pieces, Pieces::Known(bits) if bits.has(piece))
    }

    pub(super) fn has_everything(&self) -> bool {
        matches!(&self.pieces, Pieces::Known(bits) if bits.is_complete())
    }

    /// It takes nothing from us, now or later.
    pub(super) fn wants_nothing(&self) -> bool {
        self.has_everything() || (self.extensions.upload_only == Some(true) && !self.is_interested)
    }

    /// Blocks travel between it and us, or are about to.
    pub(super) fn is_busy(&self) -> bool {
        let gives = !self.asked.is_empty() && !self.snubbed;
        gives || (self.unchoked.is_some() && self.is_interested)
    }

    /// The address by which both sides rank the connection: where it listens, or else where it came from.
    pub(super) fn calls_from(&self) -> SocketAddr {
        self.listens_at().unwrap_or(self.address)
    }

    /// Where it can be called, if it has said at which port it listens.
    pub(super) fn listens_at(&self) -> Option<SocketAddr> {
        match self.direction {
            Direction::Outgoing => Some(self.address),
            Direction::Web(_) => None,
            Direction::Incoming => self
                .extensions
                .port
                .map(|port| SocketAddr::new(self.address.ip(), port)),
        }
    }

    /// Hears a message. An error ends the connection.
    pub(super) fn hear(
        &mut self,
        now: Moment,
        message: Message,
        geometry: Option<&Geometry>,
    ) -> Result<Heard, Why> {
        self.heard = now;
        match message {
            Message::KeepAlive | Message::Port(_) | Message::Unknown(_) => Ok(Heard::Nothing),
            Message::Cancel(span) => Ok(cancel(span, geometry)),
            Message::Choke => Ok(self.choke(true)),
            Message::Unchoke => Ok(self.choke(false)),
            Message::Interested => Ok(self.interest(true)),
            Message::NotInterested => Ok(self.interest(false)),
            Message::Have(piece) => self.have(piece, geometry),
            Message::Bitfield(bits) => self.bitfield(bits, geometry),
            Message::HaveAll => self.have_all_or_none(true, geometry),
            Message::HaveNone => self.have_all_or_none(false, geometry),
            Message::Request(span) => request(span, geometry),
            Message::Piece { piece, begin, data } => self.piece(piece, begin, data, geometry),
            Message::Suggest(piece) => self.suggest(piece, geometry),
            Message::Reject(span) => self.reject(span, geometry),
            Message::AllowedFast(piece) => self.allow_fast(piece, geometry),
            message @ (Message::HashRequest(_) | Message::Hashes { .. } | Message::HashReject(_)) => {
                Ok(Heard::Hashes(message))
            }
            Message::Extended { id, payload } => self.extended(id, &payload, geometry),
        }
    }

    /// Measures the claims of a peer by the metadata that have come since.
    pub(super) fn learn(&mut self, geometry: &Geometry) -> Result<(), Why> {
        if let Pieces::Claimed(claims) = &self.pieces {
            self.pieces = Pieces::Known(claims.measured(geometry)?);
        }
        Ok(())
    }

    /// How many more blocks it may be asked for now.
    pub(super) fn room(&self, now: Moment, requests_max: usize, shares: &Shares, run: usize) -> usize {
        if now < self.rests_until {
            return 0;
        }
        let reqq = self.extensions.reqq.unwrap_or(REQQ_DEFAULT).max(1);
        let most = requests_max.min(reqq as usize);
        let depth = match self.direction {
            _ if self.snubbed => 1,
            // What is asked of the web goes in long runs, or each block would be a call.
            Direction::Web(_) => self.depth.blocks(now, &self.taken, shares).max(run),
            Direction::Incoming | Direction::Outgoing => self.depth.blocks(now, &self.taken, shares),
        };
        depth.min(most).saturating_sub(self.asked.len())
    }

    /// As whom it answers for its blocks.
    pub(super) fn giver(&self) -> Giver {
        match self.direction {
            Direction::Web(seed) => Giver::WebSeed(seed),
            Direction::Incoming | Direction::Outgoing => Giver::Address(self.address.ip()),
        }
    }

    /// Bytes of memory that it holds, lists that strangers fill at their bounds.
    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        let bits = match &self.pieces {
            Pieces::Known(bits) => bits.as_bytes().len(),
            Pieces::Claimed(_) => 0,
        };
        // A tree of entries is up to twice as large as they are.
        let asked = 2 * REQQ_DEFAULT as usize * (2 * size_of::<Block>());
        let late = 4 * REQQ_DEFAULT as usize * size_of::<Block>();
        let withheld = WITHHELD_MAX * 2 * (size_of::<PieceIndex>() + size_of::<Moment>());
        let fast = (ALLOWED_FAST_MAX * 2 + SUGGESTED_MAX) * size_of::<PieceIndex>();
        size_of::<Self>() + bits + asked + late + withheld + fast
    }

    /// It is no peer, but a server that answers requests.
    pub(super) fn is_web(&self) -> bool {
        matches!(self.direction, Direction::Web(_))
    }

    /// It refused a block of this piece. If it does not choke us, it has something against the piece.
    pub(super) fn withholds(&mut self, now: Moment, piece: PieceIndex) {
        if self.chokes_us {
            return;
        }
        if self.withheld.len() < WITHHELD_MAX {
            self.withheld.insert(piece, now + WITHHELD_TIME);
        } else {
            self.rests_until = now + REST;
        }
    }

    /// What it refused some time ago, it may be asked for again.
    pub(super) fn forgive(&mut self, now: Moment) {
        self.withheld.retain(|_, until| now < *until);
    }

    /// It owes us nothing any more. What it sends all the same is known for some time.
    pub(super) fn give_up_all(&mut self, late_max: usize) -> Vec<Block> {
        let blocks: Vec<Block> = std::mem::take(&mut self.asked).into_iter().collect();
        for block in &blocks {
            self.expect_late(*block, late_max);
        }
        blocks
    }

    /// It owes us this block no more; says whether it did.
    pub(super) fn give_up(&mut self, block: Block, late_max: usize) -> bool {
        let owed = self.asked.remove(&block);
        if owed {
            self.expect_late(block, late_max);
        }
        owed
    }

    fn expect_late(&mut self, block: Block, late_max: usize) {
        if self.late.len() >= late_max {
            self.late.pop_front();
        }
        self.late.push_back(block);
    }

    /// So many bytes have left for the socket.
    pub(super) fn sent(&mut self, now: Moment, bytes: u64) {
        self.given.add(now, bytes);
        self.said = now;
        self.useful = now;
        self.line.sent(bytes);
    }

    /// It counts as one who has everything, and not piece by piece.
    pub(super) fn counts_as_seed(&self) -> bool {
        self.has_everything() && !self.lost_some
    }

    /// The share of the pieces that it has, in thousandths.
    fn has_thousandths(&self, geometry: Option<&Geometry>) -> u16 {
        let (Pieces::Known(bits), Some(geometry)) = (&self.pieces, geometry) else {
            return 0;
        };
        let share = u64::from(bits.count()) * 1_000 / u64::from(geometry.piece_count().max(1));
        u16::try_from(share).unwrap_or(1_000)
    }

    /// What the choker needs to know.
    pub(super) fn candidate(&self, peer: PeerKey, rate: u64, geometry: Option<&Geometry>) -> Candidate {
        let given = self.given.total();
        Candidate {
            peer,
            interested: self.is_interested,
            rate,
            has: self.has_thousandths(geometry),
            given_in_turn: given.saturating_sub(self.given_before),
            given,
            owes: self.owed || self.owes(geometry),
            snubbed: self.snubbed,
            unchoked: self.unchoked,
            choked: self.choked,
        }
    }

    /// It took much more than it gave, and has what we want.
    fn owes(&self, geometry: Option<&Geometry>) -> bool {
        self.wanted > 0 && self.took_too_much(geometry)
    }

    fn took_too_much(&self, geometry: Option<&Geometry>) -> bool {
        let trust = geometry.map_or(TRUST, |geometry| {
            let two = u64::from(geometry.piece_length()) * 2;
            (geometry.total_length() / TRUST_PART).max(two).min(TRUST)
        });
        self.given.total() > self.taken.total().saturating_add(trust)
    }

    /// While we miss pieces: who owes once owes until it has given, also when we seed later.
    pub(super) fn note_debt(&mut self, geometry: Option<&Geometry>) {
        self.owed = (self.owed || self.wanted > 0) && self.took_too_much(geometry);
    }

    fn choke(&mut self, choke: bool) -> Heard {
        let before = std::mem::replace(&mut self.chokes_us, choke);
        match (before, choke) {
            (false, true) => Heard::Choked,
            (true, false) => Heard::Unchoked,
            _ => Heard::Nothing,
        }
    }

    fn interest(&mut self, interested: bool) -> Heard {
        let before = std::mem::replace(&mut self.is_interested, interested);
        if before == interested {
            Heard::Nothing
        } else {
            Heard::Interest
        }
    }

    fn have(&mut self, number: u32, geometry: Option<&Geometry>) -> Result<Heard, Why> {
        self.told = true;
        match (&mut self.pieces, geometry) {
            (Pieces::Known(bits), Some(geometry)) => {
                let piece = geometry.piece(number).ok_or(Why::NoSuchPiece(number))?;
                Ok(if bits.set(piece) {
                    Heard::Has(piece)
                } else {
                    Heard::Nothing
                })
            }
            (Pieces::Claimed(claims), _) => {
                if claims.pieces.len() < EARLY_CLAIMS_MAX {
                    claims.pieces.push(number);
                }
                Ok(Heard::Nothing)
            }
            (Pieces::Known(_), None) => Ok(Heard::Nothing),
        }
    }

    fn bitfield(&mut self, bytes: Bytes, geometry: Option<&Geometry>) -> Result<Heard, Why> {
        if std::mem::replace(&mut self.told, true) {
            return self.late_bitfield(bytes, geometry);
        }
        let claims = Claims {
            bits: Some(bytes),
            ..Claims::default()
        };
        self.claim(claims, geometry)
    }

    /// BEP 3 wants the bitfield first or never, but aria2 sends one later in place of many `have`s.
    fn late_bitfield(&mut self, bytes: Bytes, geometry: Option<&Geometry>) -> Result<Heard, Why> {
        match (&mut self.pieces, geometry) {
            (Pieces::Known(known), Some(geometry)) => {
                let told = Bitfield::from_bytes(geometry, &bytes)?;
                let new = |piece: &PieceIndex| told.has(*piece) && !known.has(*piece);
                let new: Vec<PieceIndex> = geometry.pieces().filter(new).collect();
                Ok(if new.is_empty() {
                    Heard::Nothing
                } else {
                    Heard::More(new)
                })
            }
            (Pieces::Claimed(claims), _) => {
                claims.bits = Some(bytes);
                Ok(Heard::Nothing)
            }
            (Pieces::Known(_), None) => Ok(Heard::Nothing),
        }
    }

    fn have_all_or_none(&mut self, everything: bool, geometry: Option<&Geometry>) -> Result<Heard, Why> {
        self.agreed_on_fast(if everything { "have all" } else { "have none" })?;
        self.tell_once()?;
        self.claim(
            Claims {
                everything,
                ..Claims::default()
            },
            geometry,
        )
    }

    fn claim(&mut self, claims: Claims, geometry: Option<&Geometry>) -> Result<Heard, Why> {
        self.pieces = match geometry {
            Some(geometry) => Pieces::Known(claims.measured(geometry)?),
            None => Pieces::Claimed(claims),
        };
        Ok(Heard::Pieces)
    }

    fn tell_once(&mut self) -> Result<(), Why> {
        if std::mem::replace(&mut self.told, true) {
            Err(Why::SecondBitfield)
        } else {
            Ok(())
        }
    }

    fn agreed_on_fast(&self, message: &'static str) -> Result<(), Why> {
        if self.fast() {
            Ok(())
        } else {
            Err(Why::NotAgreed(message))
        }
    }

    fn piece(
        &mut self,
        piece: u32,
        begin: u32,
        data: Bytes,
        geometry: Option<&Geometry>,
    ) -> Result<Heard, Why> {
        let length = data.len();
        let unrequested = Why::Unrequested { piece, begin, length };
        let block = geometry
            .zip(u32::try_from(length).ok())
            .and_then(|(geometry, length)| geometry.arriving(piece, begin, length));
        let block = block.ok_or_else(|| unrequested.clone())?;
        let owed = self.asked.remove(&block);
        if !owed && !self.was_late(block) {
            return Err(unrequested);
        }
        Ok(Heard::Arrived(Delivery { block, data, owed }))
    }

    fn was_late(&mut self, block: Block) -> bool {
        let place = self.late.iter().position(|late| *late == block);
        place.is_some_and(|place| self.late.remove(place).is_some())
    }

    fn reject(&mut self, span: Span, geometry: Option<&Geometry>) -> Result<Heard, Why> {
        self.agreed_on_fast("reject")?;
        let block = geometry.and_then(|geometry| geometry.arriving(span.piece, span.begin, span.length));
        let Some(block) = block else {
            return Ok(Heard::Nothing);
        };
        if self.asked.remove(&block) {
            return Ok(Heard::Rejected(block));
        }
        self.was_late(block);
        Ok(Heard::Nothing)
    }

    fn allow_fast(&mut self, number: u32, geometry: Option<&Geometry>) -> Result<Heard, Why> {
        self.agreed_on_fast("allowed fast")?;
        let Some(geometry) = geometry else {
            return Ok(Heard::Nothing);
        };
        let piece = geometry.piece(number).ok_or(Why::NoSuchPiece(number))?;
        if self.allowed_fast.len() < ALLOWED_FAST_MAX {
            self.allowed_fast.insert(piece);
        }
        Ok(Heard::AllowedFast(piece))
    }

    fn suggest(&self, number: u32, geometry: Option<&Geometry>) -> Result<Heard, Why> {
        self.agreed_on_fast("suggest")?;
        let Some(geometry) = geometry else {
            return Ok(Heard::Nothing);
        };
        let piece = geometry.piece(number).ok_or(Why::NoSuchPiece(number))?;
        Ok(Heard::Suggested(piece))
    }

    fn lose(&mut self, number: u32, geometry: Option<&Geometry>) -> Result<Heard, Why> {
        let (Pieces::Known(bits), Some(geometry)) = (&mut self.pieces, geometry) else {
            return Ok(Heard::Nothing);
        };
        let piece = geometry.piece(number).ok_or(Why::NoSuchPiece(number))?;
        Ok(if bits.has(piece) {
            Heard::Lost(piece)
        } else {
            Heard::Nothing
        })
    }

    fn extended(&mut self, id: u8, payload: &Bytes, geometry: Option<&Geometry>) -> Result<Heard, Why> {
        if !self.handshake.reserved.extended() {
            return Err(Why::NotAgreed("extended"));
        }
        match id {
            extension::HANDSHAKE_ID => {
                self.extensions.change(ExtensionHandshake::decode(payload)?);
                Ok(Heard::Extensions)
            }
            extension::UT_METADATA_ID => Ok(Heard::Metadata(MetadataMessage::decode(payload)?)),
            extension::LT_DONTHAVE_ID => self.lose(DontHave::decode(payload)?.0, geometry),
            _ => Ok(Heard::Nothing),
        }
    }
}

impl Claims {
    fn measured(&self, geometry: &Geometry) -> Result<Bitfield, Why> {
        let mut bits = match &self.bits {
            Some(bytes) => Bitfield::from_bytes(geometry, bytes)?,
            None if self.everything => Bitfield::all(geometry),
            None => Bitfield::none(geometry),
        };
        for number in &self.pieces {
            bits.set(geometry.piece(*number).ok_or(Why::NoSuchPiece(*number))?);
        }
        Ok(bits)
    }
}

/// A cancel of what does not exist means nothing.
fn cancel(span: Span, geometry: Option<&Geometry>) -> Heard {
    let block = geometry.and_then(|geometry| geometry.range(span.piece, span.begin, span.length));
    block.map_or(Heard::Nothing, Heard::Cancelled)
}

fn request(span: Span, geometry: Option<&Geometry>) -> Result<Heard, Why> {
    let Some(geometry) = geometry else {
        return Ok(Heard::EarlyRequest(span));
    };
    let Span { piece, begin, length } = span;
    let block = geometry
        .range(piece, begin, length)
        .filter(|_| length <= REQUEST_LENGTH_MAX);
    block
        .map(Heard::Request)
        .ok_or(Why::BadRequest { piece, begin, length })
}
