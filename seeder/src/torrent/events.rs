//! The words between a torrent's machine and its driver: what happened, what is wanted, and the facts for those who ask.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shared::bitfield::Bitfield;
use shared::geometry::{Block, Geometry, PieceIndex};
use shared::hash_span::HashSpan;
use shared::id::{InfoHash, InfoHashV2, PeerId};
use shared::merkle::{Hash, Layers, Trees};
use shared::peer_wire::{Handshake, Message};

/// One connection, unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub u64);

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    Incoming,
    Outgoing,
    /// We called the web seed (BEP 19) of this number, which answers requests and says nothing else.
    Web(u16),
}

/// Where a file lies in the space that pieces cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSpan {
    pub start: u64,
    pub length: u64,
    /// Nobody asks for padding; what it shares a piece with decides.
    pub padding: bool,
}

/// How much a file is wanted. What sorts higher is fetched first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Not at all; pieces that a wanted file touches are fetched all the same.
    Skip,
    Low,
    #[default]
    Normal,
    High,
}

/// What of a torrent is wanted, and in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// By file; files beyond the end of the list are [`Priority::Normal`].
    pub files: Arc<[Priority]>,
    /// From the first piece to the last, for those who look while it comes.
    pub sequential: bool,
}

/// What a torrent is about, once its metadata are known.
#[derive(Clone, Debug)]
pub struct Content {
    pub geometry: Geometry,
    /// What is verified on disk already.
    pub have: Bitfield,
    /// The raw `info` dictionary, which others may ask for (BEP 9).
    pub info: Bytes,
    pub private: bool,
    /// Every file of the torrent, padding among them, in its order.
    pub files: Arc<[FileSpan]>,
    /// The hash trees of v2 files; of none in a v1 torrent.
    pub trees: Trees,
}

/// By what the torrent knows itself and is known.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The hash in handshakes: v1, or v2 cut to 20 bytes.
    pub info_hash: InfoHash,
    /// The whole v2 hash, of a v2 or hybrid torrent.
    pub info_hash_v2: Option<InfoHashV2>,
    pub peer_id: PeerId,
    pub listen_port: u16,
}

/// Bounds and habits of one torrent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Peers that may ask for blocks at the same time, the optimistic one among them. Without a number they are as many as
    /// the measured upload can serve well.
    pub upload_slots: Option<usize>,
    /// Connections in all.
    pub connections_max: usize,
    /// Calls under way at the same time.
    pub dials_max: usize,
    /// Addresses remembered.
    pub addresses_max: usize,
    /// Requests that a peer may have waiting here; we tell it so (`reqq`).
    pub requests_in_max: usize,
    /// Requests that we leave waiting at a peer, if it allows as many.
    pub requests_out_max: usize,
    /// Bytes of blocks that may be on their way to the disk, or asked for; given back with [`Input::Credit`].
    pub disk_credit: u64,
    /// What is missing is fetched. Without this, what is there is given, and nothing is asked for.
    pub downloads: bool,
    /// What of the torrent is wanted at first.
    pub wishes: Wishes,
    /// A peer that says nothing for so long is gone.
    pub silence_max: Duration,
    /// The name told to peers.
    pub client: String,
    /// Hand out each piece once before any twice, until every piece was seen elsewhere (BEP 16).
    pub super_seed: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            upload_slots: None,
            connections_max: 100,
            dials_max: 16,
            addresses_max: 1_000,
            requests_in_max: 500,
            requests_out_max: 500,
            disk_credit: 64 * 1024 * 1024,
            downloads: true,
            wishes: Wishes::default(),
            // Keep-alives come every two minutes; one may be late.
            silence_max: Duration::from_secs(150),
            client: "Kinswarm".to_owned(),
            super_seed: false,
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Both handshakes are done, and theirs named this torrent.
    Connected {
        peer: PeerKey,
        address: SocketAddr,
        direction: Direction,
        handshake: Handshake,
    },
    /// The connection is gone. Not to be told for one that an [`Output::Disconnect`] ended, though it does no harm.
    Disconnected {
        peer: PeerKey,
    },
    Message {
        peer: PeerKey,
        message: Message,
    },
    /// So many bytes of blocks from [`Output::Serve`] have left for the socket.
    Served {
        peer: PeerKey,
        bytes: u64,
    },
    /// This block from [`Output::Serve`] could not be read; it leaves the line without being sent.
    Unserved {
        peer: PeerKey,
        block: Block,
    },
    /// The answer to [`Output::Verify`].
    Verified {
        piece: PieceIndex,
        good: bool,
    },
    /// Disk trouble: all blocks of this piece are forgotten, and nothing is asked for until [`Input::DiskReady`].
    StoreFailed {
        piece: PieceIndex,
    },
    DiskReady,
    /// The answer to [`Output::Unfinished`]: from now on there is so much credit, and nothing of it is under way.
    Disk {
        credit: u64,
    },
    /// The disk was closed though something is missing; nothing of it is under way. [`Output::Unfinished`] asks for it again.
    DiskClosed,
    /// So many bytes of blocks from [`Output::Store`] have left memory.
    Credit(u64),
    /// From trackers, from the magnet link, from the command line.
    Peers {
        addresses: Vec<SocketAddr>,
    },
    DialFailed {
        address: SocketAddr,
    },
    /// The answer to [`Output::Leaves`]; `None` where the piece could not be read.
    Leaves {
        peer: PeerKey,
        span: Box<HashSpan>,
        leaves: Option<Vec<Hash>>,
    },
    /// The metadata are good, but these trees lack their piece layers, by which pieces are checked: they are to be fetched.
    Layerless(Trees),
    /// [`Output::Metadata`] was good and the files are open.
    Content(Content),
    /// Somebody wants other files, or another order.
    Wishes(Wishes),
    /// These pieces are on disk no more, or no more what they were: they are claimed no longer, and fetched again where
    /// the torrent may write.
    Lost {
        pieces: Vec<PieceIndex>,
    },
    /// Other bounds from now on: connections, and peers that may ask for blocks at the same time (as many as the upload can
    /// serve, if none is said).
    Limits {
        connections: usize,
        upload_slots: Option<usize>,
    },
    /// Begin or end to super-seed (BEP 16). It ends by itself once every piece was seen elsewhere.
    SuperSeed(bool),
    /// These pieces, which may have been lost, are on disk and verified.
    Found {
        pieces: Vec<PieceIndex>,
    },
    /// The deadline is reached.
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Send {
        peer: PeerKey,
        message: Message,
    },
    /// Read these from disk and send them as `piece` messages, in this order, behind what was served before.
    Serve {
        peer: PeerKey,
        blocks: Vec<Block>,
    },
    /// Write this. Its bytes are given back with [`Input::Credit`], also where writing failed.
    Store {
        block: Block,
        data: Bytes,
    },
    /// All blocks of this piece were handed to `Store`: hash it and answer with [`Input::Verified`].
    Verify {
        piece: PieceIndex,
    },
    /// Call this peer: [`Input::Connected`] or [`Input::DialFailed`] follows.
    Dial {
        address: SocketAddr,
    },
    /// Close the connection. The machine has forgotten the peer already.
    Disconnect {
        peer: PeerKey,
        why: Why,
    },
    /// Somebody there is rude or lies: refuse them from now on, and tell the log why.
    Ban {
        address: IpAddr,
        why: Why,
    },
    /// This web seed lies: ask it for nothing from now on, and tell the log why.
    BanWebSeed {
        seed: u16,
        why: Why,
    },
    /// The whole `info` dictionary; its hash agrees with the torrent's. [`Input::Content`] is awaited.
    Metadata {
        info: Bytes,
    },
    /// Hash each block of this piece of a v2 file and answer with [`Input::Leaves`]: a peer asks for this part of its tree.
    Leaves {
        peer: PeerKey,
        span: Box<HashSpan>,
        piece: PieceIndex,
    },
    /// The piece layers that were missing, each proved. If [`Input::Layerless`] asked for them, [`Input::Content`] is awaited.
    Layers {
        layers: Layers,
    },
    /// Peers are few: ask the trackers sooner, if they allow it.
    WantPeers,
    /// Verified and told to everyone.
    PieceDone {
        piece: PieceIndex,
    },
    /// A peer at this address has everything: another copy of the torrent was seen.
    CopySeen {
        address: IpAddr,
    },
    /// Something that is wanted is missing again, after all of it was there: nothing is asked for until [`Input::Disk`].
    Unfinished,
    /// Every piece that is wanted is verified. Comes once for every time that something wanted was missing before.
    Finished,
}

/// Why a peer is let go, or an address banned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("it is this program itself")]
    Myself,
    #[error("its address is banned")]
    Banned,
    #[error("another connection to the same peer exists")]
    Duplicate,
    #[error("{0} connections are enough")]
    TooManyConnections(usize),
    #[error("it said nothing for {0} seconds")]
    Silent(u64),
    #[error("neither side needs anything from the other")]
    BothSeeds,
    #[error("so much has changed here that a new connection tells it sooner")]
    MuchToTell,
    #[error("its bitfield does not fit the torrent: {0}")]
    Bitfield(#[from] shared::bitfield::BitfieldError),
    #[error("it told its pieces twice")]
    SecondBitfield,
    #[error("it claims piece {0}, which the torrent does not have")]
    NoSuchPiece(u32),
    #[error("it used {0}, which belongs to an extension that was not agreed on")]
    NotAgreed(&'static str),
    #[error("it asked for bytes {begin}+{length} of piece {piece}, which do not exist or are too many")]
    BadRequest { piece: u32, begin: u32, length: u32 },
    #[error("it goes on asking for what it was refused, {0} times in ten seconds")]
    TooManyRequests(u32),
    #[error("it sent bytes {begin}+{length} of piece {piece}, for which nobody had asked")]
    Unrequested { piece: u32, begin: u32, length: usize },
    #[error("its extension message cannot be read: {0}")]
    Extension(#[from] shared::extension::ExtensionError),
    #[error("it sent metadata whose hash is wrong")]
    WrongMetadata,
    #[error("it sent metadata that do not fit the {0} bytes it had named")]
    MetadataSize(u32),
    #[error("it sent hashes that do not lead to the root of their file")]
    WrongHashes,
    #[error("it alone sent piece {0}, and the hash of it is wrong")]
    WrongPiece(u32),
    #[error("blocks that it sent of piece {0} are not those of the right piece")]
    WrongBlocks(u32),
    #[error("it sent {0} messages that told nothing, faster than anybody could want")]
    TooManyMessages(u32),
    #[error("of what it sent, {0} bytes came too late to be of use, more than was of use")]
    Wasteful(u64),
    #[error("neither side gave anything for {0} seconds, and others wait")]
    Useless(u64),
}

impl Why {
    /// The peer sent what cannot be an accident of the network: it is banned.
    pub(super) fn is_lie(&self) -> bool {
        matches!(
            self,
            Self::WrongPiece(_) | Self::WrongBlocks(_) | Self::WrongMetadata | Self::WrongHashes
        )
    }

    /// The peer broke a rule of the protocol; whoever makes a habit of it is banned.
    pub(super) fn is_rude(&self) -> bool {
        matches!(
            self,
            Self::Bitfield(_)
                | Self::SecondBitfield
                | Self::NoSuchPiece(_)
                | Self::NotAgreed(_)
                | Self::BadRequest { .. }
                | Self::TooManyRequests(_)
                | Self::TooManyMessages(_)
                | Self::Unrequested { .. }
                | Self::Extension(_)
                | Self::MetadataSize(_)
        )
    }
}

/// Facts for progress and for those who ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// False while a magnet link's metadata are missing; then the counts of pieces are zero.
    pub metadata: bool,
    pub have_count: u32,
    pub piece_count: u32,
    pub have_bytes: u64,
    pub total_bytes: u64,
    /// Pieces that somebody wants, verified or not, and their bytes.
    pub wanted_count: u32,
    pub wanted_bytes: u64,
    /// Those of them that are not verified. Where there are none, the torrent is finished, if not complete.
    pub left_count: u32,
    pub left_bytes: u64,
    pub peers: usize,
    /// Those of the peers who have everything.
    pub seeds: usize,
    /// Peers that may ask us for blocks.
    pub unchoked: usize,
    /// Addresses remembered.
    pub addresses: usize,
    /// Payload taken from and given to peers.
    pub downloaded: u64,
    pub uploaded: u64,
    /// Payload that was taken and thrown away: wrong, or there already.
    pub wasted: u64,
    /// Bytes a second over the last seconds.
    pub download_rate: u64,
    pub upload_rate: u64,
}
