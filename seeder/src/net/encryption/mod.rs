//! Message stream encryption (MSE/PE): a key exchange in front of the handshake, and RC4 behind it where either side insists. It
//! hides the protocol from machines that slow it down; it proves nobody's name and keeps no secret.

mod rc4;

use sha1::{Digest as _, Sha1};
use shared::id::InfoHash;

pub(crate) use rc4::Rc4;

/// `HASH("req2", info-hash)`: what a caller names, hidden once more, instead of the torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mask(pub(crate) [u8; 20]);

impl Mask {
    pub(crate) fn of(torrent: InfoHash) -> Self {
        Self(hash(b"req2", &[&torrent.0]))
    }
}

fn hash(word: &[u8; 4], parts: &[&[u8]]) -> [u8; 20] {
    let mut sha1 = Sha1::new_with_prefix(word);
    parts.iter().for_each(|part| sha1.update(part));
    sha1.finalize().into()
}

/// Which handshakes this process takes part in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Encrypted handshakes before plain ones, plain payload where the other side allows it: it costs no cipher.
    #[default]
    Prefer,
    /// Encrypted handshakes and RC4 alone.
    Require,
    /// Plain handshakes alone.
    Off,
}
