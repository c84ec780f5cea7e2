//! The peer wire protocol: handshake, core messages (BEP 3), the fast extension (BEP 6) and the envelope of the extension
//! protocol (BEP 10), and the hashes of v2 (BEP 52). It knows how bytes are cut into messages; what a message may say, and when, is the session's rule.

use bytes::{Buf, BufMut, Bytes};

use crate::geometry::{BLOCK_LENGTH, Block, Geometry, PIECE_COUNT_MAX};
pub use crate::hash_span::HashSpan;
use crate::hash_span::SPAN_LENGTH;
use crate::id::{InfoHash, PeerId};

/// Bytes of a handshake.
pub const HANDSHAKE_LENGTH: usize = 68;

/// The first 20 bytes of every plain handshake, by which a listener tells it from an encrypted one.
pub const PROTOCOL: [u8; 20] = *b"\x13BitTorrent protocol";

/// Bytes of a `piece` message in front of its data: length prefix, id, piece and begin.
pub const PIECE_HEADER_LENGTH: usize = 13;

/// The longest request that is answered, as all clients have it; a longer one ends the connection.
pub const REQUEST_LENGTH_MAX: u32 = 128 * 1024;

/// The longest extended message. The greatest that we ask for is a 16 KiB block of metadata in its envelope; a peer
/// exchange of 200 peers takes 4 KiB. The rest is room for handshakes with long lists of extensions.
pub const EXTENDED_LENGTH_MAX: u32 = 32 * 1024;

/// The bytes are not what the peer wire protocol allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the handshake is not BitTorrent's")]
    Protocol,
    #[error("announced a message of {length} bytes, where {limit} is the most")]
    TooLong { length: u32, limit: u32 },
    #[error("message {id} with {actual} bytes, where it has {expected}")]
    Length { id: u8, actual: usize, expected: usize },
    #[error("message {id} names a part of a hash tree that no tree has")]
    HashSpan { id: u8 },
}

/// The eight reserved bytes of a handshake, which say what its sender can do beyond BEP 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved(pub [u8; 8]);

impl Reserved {
    /// What we can do: the extension protocol and the fast extension.
    pub const OURS: Self = Self([0, 0, 0, 0, 0, 0x10, 0, 0x04]);

    /// The same, and v2 where the torrent has it.
    pub const fn ours(v2: bool) -> Self {
        let mut bytes = Self::OURS.0;
        if v2 {
            bytes[7] |= 0x10;
        }
        Self(bytes)
    }

    /// The extension protocol (BEP 10).
    pub const fn extended(self) -> bool {
        self.0[5] & 0x10 != 0
    }

    /// The fast extension (BEP 6).
    pub const fn fast(self) -> bool {
        self.0[7] & 0x04 != 0
    }

    /// The DHT's `port` message (BEP 5).
    pub const fn dht(self) -> bool {
        self.0[7] & 0x01 != 0
    }

    /// The sender would take a hybrid's connection up to v2 (BEP 52).
    pub const fn v2(self) -> bool {
        self.0[7] & 0x10 != 0
    }
}

/// The first thing that both sides say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    pub reserved: Reserved,
    pub info_hash: InfoHash,
    pub peer_id: PeerId,
}

impl Handshake {
    /// The bytes as they stand on the wire.
    pub fn encode(&self) -> [u8; HANDSHAKE_LENGTH] {
        let mut bytes = [0; HANDSHAKE_LENGTH];
        let mut out = bytes.as_mut_slice();
        out.put_slice(&PROTOCOL);
        out.put_slice(&self.reserved.0);
        out.put_slice(&self.info_hash.0);
        out.put_slice(&self.peer_id.0);
        bytes
    }

    /// Reads a whole handshake.
    pub fn decode(bytes: &[u8; HANDSHAKE_LENGTH]) -> Result<Self, WireError> {
        let mut rest = bytes.as_slice();
        if take::<20>(&mut rest) != PROTOCOL {
            return Err(WireError::Protocol);
        }
        Ok(Self {
            reserved: Reserved(take(&mut rest)),
            info_hash: InfoHash(take(&mut rest)),
            peer_id: PeerId(take(&mut rest)),
        })
    }
}

/// A range of bytes as a stranger names it. It becomes a [`Block`] only through a [`Geometry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub piece: u32,
    pub begin: u32,
    pub length: u32,
}

impl From<Block> for Span {
    fn from(block: Block) -> Self {
        Self {
            piece: block.piece().number(),
            begin: block.begin(),
            length: block.length(),
        }
    }
}

/// One message between two peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    KeepAlive,
    Choke,
    Unchoke,
    Interested,
    NotInterested,
    Have(u32),
    Bitfield(Bytes),
    Request(Span),
    Piece {
        piece: u32,
        begin: u32,
        data: Bytes,
    },
    Cancel(Span),
    /// The sender's DHT port (BEP 5).
    Port(u16),
    /// BEP 6, as the next four.
    Suggest(u32),
    HaveAll,
    HaveNone,
    Reject(Span),
    AllowedFast(u32),
    /// BEP 10: `id` 0 is the extension handshake, others are what the receiver chose.
    Extended {
        id: u8,
        payload: Bytes,
    },
    /// BEP 52, as the next two. Rare and long, so that they stand elsewhere.
    HashRequest(Box<HashSpan>),
    /// The hashes of the span and then their uncles, from the lowest up; each 32 bytes, and as many as were asked for.
    Hashes {
        span: Box<HashSpan>,
        hashes: Bytes,
    },
    HashReject(Box<HashSpan>),
    /// A message of an extension that we do not speak. Tolerated and dropped.
    Unknown(u8),
}

mod ids {
    pub(super) const CHOKE: u8 = 0;
    pub(super) const UNCHOKE: u8 = 1;
    pub(super) const INTERESTED: u8 = 2;
    pub(super) const NOT_INTERESTED: u8 = 3;
    pub(super) const HAVE: u8 = 4;
    pub(super) const BITFIELD: u8 = 5;
    pub(super) const REQUEST: u8 = 6;
    pub(super) const PIECE: u8 = 7;
    pub(super) const CANCEL: u8 = 8;
    pub(super) const PORT: u8 = 9;
    pub(super) const SUGGEST: u8 = 13;
    pub(super) const HAVE_ALL: u8 = 14;
    pub(super) const HAVE_NONE: u8 = 15;
    pub(super) const REJECT: u8 = 16;
    pub(super) const ALLOWED_FAST: u8 = 17;
    pub(super) const EXTENDED: u8 = 20;
    pub(super) const HASH_REQUEST: u8 = 21;
    pub(super) const HASHES: u8 = 22;
    pub(super) const HASH_REJECT: u8 = 23;
}

impl Message {
    /// Writes the message with its length prefix.
    pub fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::KeepAlive => out.put_u32(0),
            Self::Choke => plain(out, ids::CHOKE),
            Self::Unchoke => plain(out, ids::UNCHOKE),
            Self::Interested => plain(out, ids::INTERESTED),
            Self::NotInterested => plain(out, ids::NOT_INTERESTED),
            Self::Have(piece) => number(out, ids::HAVE, *piece),
            Self::Bitfield(bits) => body(out, ids::BITFIELD, bits),
            Self::Request(span) => range(out, ids::REQUEST, *span),
            Self::Piece { piece, begin, data } => {
                out.put_slice(&piece_header(*piece, *begin, length_of(data)));
                out.put_slice(data);
            }
            Self::Cancel(span) => range(out, ids::CANCEL, *span),
            Self::Port(port) => body(out, ids::PORT, &port.to_be_bytes()),
            Self::Suggest(piece) => number(out, ids::SUGGEST, *piece),
            Self::HaveAll => plain(out, ids::HAVE_ALL),
            Self::HaveNone => plain(out, ids::HAVE_NONE),
            Self::Reject(span) => range(out, ids::REJECT, *span),
            Self::AllowedFast(piece) => number(out, ids::ALLOWED_FAST, *piece),
            Self::Extended { id, payload } => {
                out.put_u32(length_of(payload).saturating_add(2));
                out.put_slice(&[ids::EXTENDED, *id]);
                out.put_slice(payload);
            }
            Self::HashRequest(span) => hashes(out, ids::HASH_REQUEST, span, &[]),
            Self::Hashes { span, hashes: data } => hashes(out, ids::HASHES, span, data),
            Self::HashReject(span) => hashes(out, ids::HASH_REJECT, span, &[]),
            Self::Unknown(id) => plain(out, *id),
        }
    }

    /// Reads what stands after a length prefix. Data stay where they are: `frame` is shared, not copied.
    pub fn decode(mut frame: Bytes) -> Result<Self, WireError> {
        if !frame.has_remaining() {
            return Ok(Self::KeepAlive);
        }
        let id = frame.get_u8();
        match id {
            ids::CHOKE..=ids::NOT_INTERESTED | ids::HAVE_ALL | ids::HAVE_NONE => {
                exactly(id, &frame, 0)?;
                Ok(bare(id))
            }
            ids::HAVE | ids::SUGGEST | ids::ALLOWED_FAST => {
                exactly(id, &frame, 4)?;
                Ok(numbered(id, frame.get_u32()))
            }
            ids::REQUEST | ids::CANCEL | ids::REJECT => {
                exactly(id, &frame, 12)?;
                let span = Span {
                    piece: frame.get_u32(),
                    begin: frame.get_u32(),
                    length: frame.get_u32(),
                };
                Ok(ranged(id, span))
            }
            ids::PORT => {
                exactly(id, &frame, 2)?;
                Ok(Self::Port(frame.get_u16()))
            }
            ids::BITFIELD => Ok(Self::Bitfield(frame)),
            ids::PIECE => {
                at_least(id, &frame, 8)?;
                Ok(Self::Piece {
                    piece: frame.get_u32(),
                    begin: frame.get_u32(),
                    data: frame,
                })
            }
            ids::EXTENDED => {
                at_least(id, &frame, 1)?;
                Ok(Self::Extended {
                    id: frame.get_u8(),
                    payload: frame,
                })
            }
            ids::HASH_REQUEST | ids::HASHES | ids::HASH_REJECT => spanned(id, frame),
            _ => Ok(Self::Unknown(id)),
        }
    }
}

/// What stands in front of a block's data on the wire, for writers that send the data from elsewhere.
pub fn piece_header(piece: u32, begin: u32, data_length: u32) -> [u8; PIECE_HEADER_LENGTH] {
    let mut header = [0; PIECE_HEADER_LENGTH];
    let mut out = header.as_mut_slice();
    out.put_u32(data_length.saturating_add(9));
    out.put_u8(ids::PIECE);
    out.put_u32(piece);
    out.put_u32(begin);
    header
}

/// Reads a length prefix, and refuses it before anything is allocated for it.
pub fn frame_length(prefix: [u8; 4], limit: u32) -> Result<u32, WireError> {
    let length = u32::from_be_bytes(prefix);
    if length > limit {
        return Err(WireError::TooLong { length, limit });
    }
    Ok(length)
}

/// The longest message, after its prefix, that a peer has reason to send in this torrent: a block as we ask for it, an
/// extended message, or the bitfield. Without metadata the bitfield may be that of the largest torrent.
pub fn frame_limit(geometry: Option<&Geometry>) -> u32 {
    let piece_count = geometry.map_or(PIECE_COUNT_MAX, Geometry::piece_count);
    let bitfield = 1 + piece_count.div_ceil(8);
    let block = 9 + BLOCK_LENGTH;
    bitfield.max(block).max(EXTENDED_LENGTH_MAX)
}

fn length_of(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}

fn plain(out: &mut impl BufMut, id: u8) {
    out.put_u32(1);
    out.put_u8(id);
}

fn number(out: &mut impl BufMut, id: u8, piece: u32) {
    body(out, id, &piece.to_be_bytes());
}

fn range(out: &mut impl BufMut, id: u8, span: Span) {
    out.put_u32(13);
    out.put_u8(id);
    out.put_u32(span.piece);
    out.put_u32(span.begin);
    out.put_u32(span.length);
}

fn hashes(out: &mut impl BufMut, id: u8, span: &HashSpan, data: &[u8]) {
    let head = u32::try_from(SPAN_LENGTH).unwrap_or(u32::MAX);
    out.put_u32(length_of(data).saturating_add(head).saturating_add(1));
    out.put_u8(id);
    span.put(out);
    out.put_slice(data);
}

fn body(out: &mut impl BufMut, id: u8, payload: &[u8]) {
    out.put_u32(length_of(payload).saturating_add(1));
    out.put_u8(id);
    out.put_slice(payload);
}

/// Takes the first `N` bytes off. The callers have counted; missing bytes would read as zeros.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let mut taken = [0; N];
    if rest.len() >= N {
        rest.copy_to_slice(&mut taken);
    }
    taken
}

fn exactly(id: u8, rest: &Bytes, expected: usize) -> Result<(), WireError> {
    let actual = rest.len();
    if actual == expected {
        Ok(())
    } else {
        Err(WireError::Length { id, actual, expected })
    }
}

fn at_least(id: u8, rest: &Bytes, expected: usize) -> Result<(), WireError> {
    let actual = rest.len();
    if actual >= expected {
        Ok(())
    } else {
        Err(WireError::Length { id, actual, expected })
    }
}

fn bare(id: u8) -> Message {
    match id {
        ids::CHOKE => Message::Choke,
        ids::UNCHOKE => Message::Unchoke,
        ids::INTERESTED => Message::Interested,
        ids::NOT_INTERESTED => Message::NotInterested,
        ids::HAVE_ALL => Message::HaveAll,
        ids::HAVE_NONE => Message::HaveNone,
        _ => Message::Unknown(id),
    }
}

fn numbered(id: u8, piece: u32) -> Message {
    match id {
        ids::HAVE => Message::Have(piece),
        ids::SUGGEST => Message::Suggest(piece),
        ids::ALLOWED_FAST => Message::AllowedFast(piece),
        _ => Message::Unknown(id),
    }
}

fn ranged(id: u8, span: Span) -> Message {
    match id {
        ids::REQUEST => Message::Request(span),
        ids::CANCEL => Message::Cancel(span),
        ids::REJECT => Message::Reject(span),
        _ => Message::Unknown(id),
    }
}

fn spanned(id: u8, mut frame: Bytes) -> Result<Message, WireError> {
    at_least(id, &frame, SPAN_LENGTH)?;
    let span = HashSpan::take(&mut frame).ok_or(WireError::HashSpan { id })?;
    let expected = if id == ids::HASHES {
        span.answer_length() as usize * 32
    } else {
        0
    };
    exactly(id, &frame, expected)?;
    let span = Box::new(span);
    Ok(match id {
        ids::HASH_REQUEST => Message::HashRequest(span),
        ids::HASHES => Message::Hashes { span, hashes: frame },
        _ => Message::HashReject(span),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        bytes
    }

    /// Writes the message, looks at the bytes after the prefix, and reads it back.
    #[track_caller]
    fn check(message: Message, after_prefix: &[u8]) {
        let bytes = encoded(&message);
        assert_eq!(&bytes[4..], after_prefix);
        assert_eq!(
            u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize,
            after_prefix.len()
        );
        assert_eq!(Message::decode(Bytes::copy_from_slice(after_prefix)), Ok(message));
    }

    #[test]
    fn messages_are_written_as_the_beps_say() {
        let span = Span {
            piece: 1,
            begin: 2,
            length: 3,
        };
        check(Message::KeepAlive, &[]);
        check(Message::Choke, &[0]);
        check(Message::NotInterested, &[3]);
        check(Message::Have(258), &[4, 0, 0, 1, 2]);
        check(Message::Bitfield(Bytes::from_static(&[0x80])), &[5, 0x80]);
        check(Message::Request(span), &[6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
        let data = Bytes::from_static(b"xy");
        check(
            Message::Piece {
                piece: 1,
                begin: 2,
                data,
            },
            b"\x07\0\0\0\x01\0\0\0\x02xy",
        );
        check(Message::Port(6_881), &[9, 0x1a, 0xe1]);
        check(Message::HaveAll, &[14]);
        check(Message::HaveNone, &[15]);
        check(Message::Reject(span), &[16, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
        check(Message::AllowedFast(7), &[17, 0, 0, 0, 7]);
        check(
            Message::Extended {
                id: 0,
                payload: Bytes::from_static(b"de"),
            },
            b"\x14\0de",
        );
    }

    #[test]
    fn a_handshake_is_68_bytes_and_names_its_abilities() {
        let handshake = Handshake {
            reserved: Reserved::OURS,
            info_hash: InfoHash([7; 20]),
            peer_id: PeerId([9; 20]),
        };
        let bytes = handshake.encode();
        assert_eq!(&bytes[..28], b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x04");
        assert_eq!(Handshake::decode(&bytes), Ok(handshake));
        let ours = handshake.reserved;
        assert!(ours.extended() && ours.fast() && !ours.dht() && !ours.v2());
        let mut other = bytes;
        other[1] = b'b';
        assert_eq!(Handshake::decode(&other), Err(WireError::Protocol));
    }

    #[test]
    fn a_message_of_the_wrong_length_is_refused_by_number() {
        let error = Message::decode(Bytes::from_static(&[4, 0, 0])).unwrap_err();
        assert_eq!(
            error,
            WireError::Length {
                id: 4,
                actual: 2,
                expected: 4
            }
        );
        assert!(Message::decode(Bytes::from_static(&[7, 0, 0, 0, 0])).is_err());
        assert!(Message::decode(Bytes::from_static(&[20])).is_err());
        assert!(Message::decode(Bytes::from_static(&[0, 0])).is_err());
    }

    #[test]
    fn messages_of_other_extensions_are_tolerated() {
        for id in [10, 11, 12, 18, 19, 24, 255] {
            assert_eq!(
                Message::decode(Bytes::copy_from_slice(&[id, 1, 2, 3])),
                Ok(Message::Unknown(id))
            );
        }
    }

    #[expect(clippy::unnecessary_box_returns, reason = "messages hold it so")]
    fn hash_span(base: u32, index: u32, length: u32, layers: u32) -> Box<HashSpan> {
        HashSpan::new([0xaa; 32], base, index, length, layers)
            .unwrap()
            .into()
    }

    #[test]
    fn hash_messages_are_written_as_bep_52_says() {
        let numbers = [0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, 2];
        let bytes = |id: u8, rest: &[u8]| [&[id], &[0xaa; 32][..], &numbers, rest].concat();
        let span = hash_span(1, 4, 2, 2);
        check(Message::HashRequest(span.clone()), &bytes(21, &[]));
        check(Message::HashReject(span.clone()), &bytes(23, &[]));
        let hashes = Bytes::from(vec![7; 4 * 32]);
        let message = Message::Hashes {
            span,
            hashes: hashes.clone(),
        };
        check(message, &bytes(22, &hashes));
    }

    #[test]
    fn hashes_that_are_too_few_or_of_no_tree_are_refused() {
        let mut bytes = encoded(&Message::HashRequest(hash_span(1, 4, 2, 2))).split_off(4);
        bytes[0] = 22;
        let error = Message::decode(Bytes::from(bytes.clone())).unwrap_err();
        assert!(matches!(
            error,
            WireError::Length {
                id: 22,
                expected: 128,
                ..
            }
        ));
        bytes[0] = 21;
        bytes[44] = 3;
        let error = Message::decode(Bytes::from(bytes.clone())).unwrap_err();
        assert_eq!(error, WireError::HashSpan { id: 21 });
        bytes.pop();
        assert!(Message::decode(Bytes::from(bytes)).is_err());
    }

    #[test]
    fn every_answer_to_what_we_ask_fits_the_smallest_limit() {
        let span = hash_span(0, 0, crate::hash_span::HASHES_USUAL, crate::hash_span::LAYERS_MAX);
        assert!(1 + 48 + 32 * span.answer_length() <= EXTENDED_LENGTH_MAX);
    }

    #[test]
    fn a_ten_gigabyte_prefix_is_refused_before_it_costs_anything() {
        let limit = frame_limit(None);
        assert_eq!(limit, 256 * 1024 + 1);
        let error = frame_length([0xff; 4], limit).unwrap_err();
        assert_eq!(
            error.to_string(),
            "announced a message of 4294967295 bytes, where 262145 is the most"
        );
        assert_eq!(frame_length([0, 0, 0x40, 9], limit), Ok(16_393));
    }

    #[test]
    fn a_small_torrent_allows_no_long_messages() {
        let geometry = Geometry::v1(16_384, 100).unwrap();
        assert_eq!(frame_limit(Some(&geometry)), EXTENDED_LENGTH_MAX);
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let span = any::<(u32, u32, u32)>();
        let data = prop::collection::vec(any::<u8>(), 0..100).prop_map(Bytes::from);
        prop_oneof![
            Just(Message::KeepAlive),
            prop::sample::select(vec![0, 1, 2, 3, 14, 15]).prop_map(bare),
            (prop::sample::select(vec![4, 13, 17]), any::<u32>()).prop_map(|(id, n)| numbered(id, n)),
            (prop::sample::select(vec![6, 8, 16]), span)
                .prop_map(|(id, (piece, begin, length))| ranged(id, Span { piece, begin, length })),
            any::<u16>().prop_map(Message::Port),
            data.clone().prop_map(Message::Bitfield),
            (any::<u32>(), any::<u32>(), data.clone()).prop_map(|(piece, begin, data)| Message::Piece {
                piece,
                begin,
                data
            }),
            (any::<u8>(), data).prop_map(|(id, payload)| Message::Extended { id, payload }),
            (0_u8..3, 0_u32..=30, 0_u32..9, 0_u32..100, 0_u32..=30).prop_map(
                |(kind, base, shift, index, layers)| {
                    let span = hash_span(base, index << shift, 1 << shift, layers);
                    let hashes = Bytes::from(vec![5; span.answer_length() as usize * 32]);
                    match kind {
                        0 => Message::HashRequest(span),
                        1 => Message::HashReject(span),
                        _ => Message::Hashes { span, hashes },
                    }
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(message in any_message()) {
            let bytes = encoded(&message);
            let length = frame_length(bytes[..4].try_into().unwrap(), u32::MAX).unwrap();
            prop_assert_eq!(length as usize, bytes.len() - 4);
            prop_assert_eq!(Message::decode(Bytes::copy_from_slice(&bytes[4..])), Ok(message));
        }

        #[test]
        fn whatever_is_read_is_written_the_same(mut bytes in prop::collection::vec(any::<u8>(), 0..128), hashes in any::<bool>()) {
            if let (true, Some(id)) = (hashes, bytes.first_mut()) {
                *id = 21 + *id % 3;
            }
            if let Ok(message) = Message::decode(Bytes::from(bytes.clone()))
                && !matches!(message, Message::Unknown(_))
            {
                prop_assert_eq!(&encoded(&message)[4..], &bytes[..]);
            }
        }

        #[test]
        fn any_68_bytes_are_a_handshake_or_an_error(bytes in any::<[u8; 32]>()) {
            let mut whole = [0; HANDSHAKE_LENGTH];
            whole[..20].copy_from_slice(&PROTOCOL);
            whole[20..52].copy_from_slice(&bytes);
            prop_assert_eq!(Handshake::decode(&whole).unwrap().encode(), whole);
        }
    }
}
