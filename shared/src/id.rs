//! The identifiers of the field, each a type of its own: nothing that names a torrent fits where a peer is meant.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;

/// The identifier was not the stated number of hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {digits} hexadecimal digits")]
pub struct InvalidId {
    pub value: String,
    pub digits: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// The raw bytes, as they stand on the wire.
            pub fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }

            /// Takes raw bytes of exactly the right length.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                HEXLOWER_PERMISSIVE.encode_display(&self.0).fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
                bytes
                    .and_then(|bytes| Self::from_slice(&bytes))
                    .ok_or_else(|| InvalidId { value: text.chars().take(80).collect(), digits: 2 * $length })
            }
        }
    };
}

id!(
    /// The SHA-1 of a v1 `info` dictionary (BEP 3), or a v2 hash cut to 20 bytes where the wire has no more room (BEP 52).
    InfoHash,
    20
);
id!(
    /// The SHA-256 of a v2 `info` dictionary (BEP 52).
    InfoHashV2,
    32
);
id!(
    /// The 20 bytes by which a peer names itself (BEP 3, BEP 20).
    PeerId,
    20
);

impl InfoHashV2 {
    /// The first 20 bytes, as trackers and handshakes carry a v2 torrent (BEP 52).
    pub fn truncated(&self) -> InfoHash {
        let mut bytes = [0; 20];
        for (to, from) in bytes.iter_mut().zip(self.0) {
            *to = from;
        }
        InfoHash(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_out_in_lower_case_and_comes_back_in_either() {
        let hash: InfoHash = "00112233445566778899AABBCCDDEEFF01234567".parse().unwrap();
        assert_eq!(hash.to_string(), "00112233445566778899aabbccddeeff01234567");
        assert_eq!(hash.to_string().parse(), Ok(hash));
    }

    #[test]
    fn a_hash_of_the_wrong_length_is_refused_by_name() {
        let error = "abcd".parse::<InfoHash>().unwrap_err();
        assert_eq!(error.to_string(), "\"abcd\" is not 40 hexadecimal digits");
    }

    #[test]
    fn a_v2_hash_is_cut_to_its_first_twenty_bytes() {
        let long = InfoHashV2(std::array::from_fn(|i| u8::try_from(i).unwrap()));
        assert_eq!(
            long.truncated().0,
            std::array::from_fn(|i| u8::try_from(i).unwrap())
        );
    }
}
