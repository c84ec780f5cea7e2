//! What travels inside `extended` messages: the extension handshake (BEP 10, with BEP 21's `upload_only`), the exchange
//! of metadata (BEP 9) and the word that a piece is gone (BEP 54). Readers take what is well-formed and ignore the rest, as BEP 10 asks; values of the wrong kind count as absent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use crate::bencode::{Limits, ScanError, Value, Writer, scan, scan_prefix};

/// The id of the extension handshake, the same for everyone.
pub const HANDSHAKE_ID: u8 = 0;

/// The id by which peers send us `ut_metadata` messages.
pub const UT_METADATA_ID: u8 = 1;

/// The id by which peers send us `lt_donthave` messages (BEP 54).
pub const LT_DONTHAVE_ID: u8 = 3;

/// Metadata travel in blocks of 16 KiB (BEP 9).
pub const METADATA_BLOCK_LENGTH: u32 = 16 * 1024;

/// The longest metadata that we take from strangers: room for 200,000 files with long names beside 300,000 pieces. A
/// torrent beyond that still works from its file.
pub const METADATA_SIZE_MAX: u32 = 16 * 1024 * 1024;

/// Names longer than this are cut; they only ever reach a log.
const CLIENT_LENGTH_MAX: usize = 64;

/// The payload of an `extended` message is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    #[error("not bencode: {0}")]
    Scan(#[from] ScanError),
    #[error("not a dictionary")]
    NotDictionary,
    #[error("no {0:?} in it, or not a number that fits")]
    Number(&'static str),
    #[error("{0} bytes where the four of a piece's number should be")]
    PieceNumber(usize),
}

/// What a peer can do, and what it wants us to know. `None` says nothing: a later handshake changes only what it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtensionHandshake {
    /// The id under which the sender takes `ut_metadata` messages; 0 turns them off.
    pub ut_metadata: Option<u8>,
    /// The id under which the sender takes `ut_pex` messages (BEP 11); 0 turns them off.
    pub ut_pex: Option<u8>,
    /// The id under which the sender takes `lt_donthave` messages (BEP 54); 0 turns them off.
    pub lt_donthave: Option<u8>,
    /// The sender's program and version.
    pub client: Option<String>,
    /// The port at which the sender listens.
    pub port: Option<u16>,
    /// How many requests the sender lets wait.
    pub reqq: Option<u32>,
    /// Bytes of the `info` dictionary; absent or 0 while the sender has none.
    pub metadata_size: Option<u32>,
    /// The sender wants no data (BEP 21).
    pub upload_only: Option<bool>,
    /// The receiver's address as the sender sees it.
    pub your_ip: Option<IpAddr>,
}

impl ExtensionHandshake {
    /// A later handshake changes what it names and leaves the rest (BEP 10).
    pub fn change(&mut self, later: Self) {
        let earlier = std::mem::take(self);
        *self = Self {
            ut_metadata: later.ut_metadata.or(earlier.ut_metadata),
            ut_pex: later.ut_pex.or(earlier.ut_pex),
            lt_donthave: later.lt_donthave.or(earlier.lt_donthave),
            client: later.client.or(earlier.client),
            port: later.port.or(earlier.port),
            reqq: later.reqq.or(earlier.reqq),
            metadata_size: later.metadata_size.or(earlier.metadata_size),
            upload_only: later.upload_only.or(earlier.upload_only),
            your_ip: later.your_ip.or(earlier.your_ip),
        };
    }

    /// The payload of the message with id [`HANDSHAKE_ID`].
    pub fn encode(&self) -> Bytes {
        let mut out = Writer::new();
        out.dict().key("m").dict();
        entry(&mut out, "lt_donthave", self.lt_donthave);
        entry(&mut out, "ut_metadata", self.ut_metadata);
        entry(&mut out, "ut_pex", self.ut_pex);
        out.end();
        entry(&mut out, "metadata_size", self.metadata_size);
        entry(&mut out, "p", self.port);
        entry(&mut out, "reqq", self.reqq);
        entry(&mut out, "upload_only", self.upload_only.map(u8::from));
        if let Some(client) = &self.client {
            out.key("v").bytes(client);
        }
        match self.your_ip {
            Some(IpAddr::V4(ip)) => _ = out.key("yourip").bytes(ip.octets()),
            Some(IpAddr::V6(ip)) => _ = out.key("yourip").bytes(ip.octets()),
            None => (),
        }
        out.end();
        out.finish().into()
    }

    /// Reads the payload. Numbers that do not fit their field count as absent.
    pub fn decode(payload: &[u8]) -> Result<Self, ExtensionError> {
        let scan = scan(payload, &Limits::MESSAGE)?;
        let root = scan.root();
        if !root.is_dict() {
            return Err(ExtensionError::NotDictionary);
        }
        let id = |name| root.get("m").and_then(|m| number(m, name));
        Ok(Self {
            ut_metadata: id("ut_metadata"),
            ut_pex: id("ut_pex"),
            lt_donthave: id("lt_donthave"),
            client: root.get("v").and_then(|value| value.bytes()).map(client),
            port: number(root, "p").filter(|port| *port != 0),
            reqq: number(root, "reqq"),
            metadata_size: number(root, "metadata_size"),
            upload_only: number::<i64>(root, "upload_only").map(|flag| flag != 0),
            your_ip: root
                .get("yourip")
                .and_then(|value| value.bytes())
                .and_then(address),
        })
    }
}

/// The sender has this piece no more (BEP 54).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DontHave(pub u32);

impl DontHave {
    /// The payload of the message, to be sent under the id that the receiver chose.
    pub fn encode(self) -> Bytes {
        Bytes::copy_from_slice(&self.0.to_be_bytes())
    }

    /// Reads the payload.
    pub fn decode(payload: &[u8]) -> Result<Self, ExtensionError> {
        let number = <[u8; 4]>::try_from(payload);
        let number = number.map_err(|_| ExtensionError::PieceNumber(payload.len()))?;
        Ok(Self(u32::from_be_bytes(number)))
    }
}

/// One message of the metadata exchange (BEP 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataMessage {
    Request {
        piece: u32,
    },
    Data {
        piece: u32,
        total_size: u32,
        data: Bytes,
    },
    Reject {
        piece: u32,
    },
    /// BEP 9 wants unknown kinds ignored.
    Unknown(i64),
}

impl MetadataMessage {
    /// The payload of the message, to be sent under the id that the receiver chose.
    pub fn encode(&self) -> Bytes {
        let (kind, piece, rest) = match self {
            Self::Request { piece } => (0, *piece, None),
            Self::Data {
                piece,
                total_size,
                data,
            } => (1, *piece, Some((*total_size, data))),
            Self::Reject { piece } => (2, *piece, None),
            Self::Unknown(kind) => (*kind, 0, None),
        };
        let mut out = Writer::new();
        out.dict().key("msg_type").int(kind).key("piece").int(piece);
        if let Some((total_size, _)) = rest {
            out.key("total_size").int(total_size);
        }
        out.end();
        let mut bytes = out.finish();
        if let Some((_, data)) = rest {
            bytes.extend_from_slice(data);
        }
        bytes.into()
    }

    /// Reads the payload. The data of a block are shared, not copied.
    pub fn decode(payload: &Bytes) -> Result<Self, ExtensionError> {
        let scan = scan_prefix(payload, &Limits::MESSAGE)?;
        let root = scan.root();
        if !root.is_dict() {
            return Err(ExtensionError::NotDictionary);
        }
        let kind = number::<i64>(root, "msg_type").ok_or(ExtensionError::Number("msg_type"))?;
        let piece = number::<u32>(root, "piece").ok_or(ExtensionError::Number("piece"));
        Ok(match kind {
            0 => Self::Request { piece: piece? },
            1 => {
                let total_size = number(root, "total_size").ok_or(ExtensionError::Number("total_size"))?;
                Self::Data {
                    piece: piece?,
                    total_size,
                    data: payload.slice(scan.length()..),
                }
            }
            2 => Self::Reject { piece: piece? },
            _ => Self::Unknown(kind),
        })
    }
}

fn entry(out: &mut Writer, key: &str, number: Option<impl Into<i128>>) {
    if let Some(number) = number {
        out.key(key).int(number);
    }
}

fn number<T: TryFrom<i64>>(dict: Value<'_>, key: &str) -> Option<T> {
    dict.get(key)?.int()?.try_into().ok()
}

/// The name as text fit for a log: no control characters, not longer than it need be.
fn client(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    text.chars()
        .filter(|c| !c.is_control())
        .take(CLIENT_LENGTH_MAX)
        .collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|octets| Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_handshake_of_bep_10_is_read() {
        let bytes = "d1:md11:LT_metadatai1e7:µT_PEXi2e11:ut_metadatai3ee1:pi6881e1:v13:µTorrent 1.2e";
        let handshake = ExtensionHandshake::decode(bytes.as_bytes()).unwrap();
        assert_eq!(handshake.ut_metadata, Some(3));
        assert_eq!(
            (handshake.port, handshake.client.as_deref()),
            (Some(6881), Some("µTorrent 1.2"))
        );
    }

    #[test]
    fn a_piece_that_is_gone_is_told_as_bep_54_says() {
        let handshake = ExtensionHandshake {
            lt_donthave: Some(LT_DONTHAVE_ID),
            upload_only: Some(true),
            ..ExtensionHandshake::default()
        };
        assert_eq!(
            handshake.encode(),
            &b"d1:md11:lt_donthavei3ee11:upload_onlyi1ee"[..]
        );
        assert_eq!(DontHave(0x0102_0304).encode(), &[1, 2, 3, 4][..]);
        assert_eq!(DontHave::decode(&[0, 0, 1, 0]), Ok(DontHave(256)));
        assert_eq!(DontHave::decode(&[0, 1, 0]), Err(ExtensionError::PieceNumber(3)));
    }

    #[test]
    fn numbers_that_do_not_fit_count_as_absent() {
        let bytes = b"d1:md11:ut_metadatai256ee13:metadata_sizei-1e1:pi65536e4:reqq3:abc6:yourip3:abce";
        assert_eq!(
            ExtensionHandshake::decode(bytes),
            Ok(ExtensionHandshake::default())
        );
        assert_eq!(
            ExtensionHandshake::decode(b"i1e"),
            Err(ExtensionError::NotDictionary)
        );
    }

    #[test]
    fn metadata_messages_are_written_as_bep_9_says() {
        let request = MetadataMessage::Request { piece: 0 };
        assert_eq!(request.encode(), &b"d8:msg_typei0e5:piecei0ee"[..]);
        let data = MetadataMessage::Data {
            piece: 0,
            total_size: 3425,
            data: Bytes::from_static(b"xx"),
        };
        assert_eq!(
            data.encode(),
            &b"d8:msg_typei1e5:piecei0e10:total_sizei3425eexx"[..]
        );
        assert_eq!(MetadataMessage::decode(&data.encode()), Ok(data));
    }

    #[test]
    fn a_metadata_message_without_a_piece_is_refused_and_an_unknown_kind_is_not() {
        let decode = |text: &'static [u8]| MetadataMessage::decode(&Bytes::from_static(text));
        assert_eq!(decode(b"d8:msg_typei0ee"), Err(ExtensionError::Number("piece")));
        assert_eq!(
            decode(b"d8:msg_typei0e5:piecei-1ee"),
            Err(ExtensionError::Number("piece"))
        );
        assert_eq!(decode(b"d8:msg_typei9ee"), Ok(MetadataMessage::Unknown(9)));
    }

    fn any_handshake() -> impl Strategy<Value = ExtensionHandshake> {
        let ids = any::<(Option<u8>, Option<u8>, Option<u8>)>();
        let rest = any::<(
            Option<u16>,
            Option<u32>,
            Option<u32>,
            Option<bool>,
            Option<IpAddr>,
        )>();
        (ids, rest, prop::option::of("[a-zA-Zµ ./0-9]{0,64}")).prop_map(|(ids, rest, client)| {
            ExtensionHandshake {
                ut_metadata: ids.0,
                ut_pex: ids.1,
                lt_donthave: ids.2,
                client,
                port: rest.0.filter(|port| *port != 0),
                reqq: rest.1,
                metadata_size: rest.2,
                upload_only: rest.3,
                your_ip: rest.4,
            }
        })
    }

    proptest! {
        #[test]
        fn handshakes_come_back_as_they_went(handshake in any_handshake()) {
            prop_assert_eq!(ExtensionHandshake::decode(&handshake.encode()), Ok(handshake));
        }

        #[test]
        fn metadata_messages_come_back_as_they_went(
            kind in 0..4, piece in any::<u32>(), total_size in any::<u32>(), data in prop::collection::vec(any::<u8>(), 0..50)
        ) {
            let message = match kind {
                0 => MetadataMessage::Request { piece },
                1 => MetadataMessage::Data { piece, total_size, data: data.into() },
                2 => MetadataMessage::Reject { piece },
                _ => MetadataMessage::Unknown(i64::from(piece) + 3),
            };
            prop_assert_eq!(MetadataMessage::decode(&message.encode()), Ok(message));
        }

        #[test]
        fn strangers_bytes_do_not_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), dict in any::<bool>()) {
            if dict {
                bytes.splice(0..0, *b"d1:m");
            }
            let _ = ExtensionHandshake::decode(&bytes);
            let _ = MetadataMessage::decode(&Bytes::from(bytes));
        }
    }
}
