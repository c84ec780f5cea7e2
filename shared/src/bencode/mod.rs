//! Bencode (BEP 3): the scan that everything from strangers passes first, the views into what it found, and the writer.
//! The scan is one loop without recursion and bounds depth, tokens and size; only what it has passed goes to
//! `serde_bencode`, which by itself overflows the stack at 8,000 levels and ignores trailing bytes.

mod scan;
mod value;
mod writer;

use serde::de::DeserializeOwned;

pub use scan::{Limits, Scan, ScanError, scan, scan_prefix};
pub use value::{Blemish, Entries, Flaw, Items, Value};
pub use writer::Writer;

/// The bytes are no bencode, or not of the shape that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error("bencode of the wrong shape: {0}")]
    Shape(String),
}

/// Reads one whole message. Nothing may follow it.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limits: &Limits) -> Result<T, DecodeError> {
    scan(bytes, limits)?;
    serde_bencode::from_bytes(bytes).map_err(|error| DecodeError::Shape(error.to_string()))
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Reply {
        interval: i64,
        #[serde(default, with = "serde_bytes")]
        peers: Vec<u8>,
    }

    #[test]
    fn a_message_is_decoded_and_nothing_may_follow() {
        let reply: Reply = decode(b"d8:intervali60e5:peers2:\xff\x00e", &Limits::MESSAGE).unwrap();
        assert_eq!(
            reply,
            Reply {
                interval: 60,
                peers: vec![0xff, 0]
            }
        );
        let trailing = decode::<Reply>(b"d8:intervali60ee!", &Limits::MESSAGE);
        assert_eq!(trailing, Err(DecodeError::Scan(ScanError::Trailing { at: 16 })));
    }

    #[test]
    fn the_wrong_shape_is_an_error_with_words() {
        let error = decode::<Reply>(b"d8:interval2:abe", &Limits::MESSAGE).unwrap_err();
        assert!(matches!(error, DecodeError::Shape(_)), "{error}");
    }
}
