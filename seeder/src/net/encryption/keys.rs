//! What both sides derive from the secret they share and from the torrent they mean.

use sha1::{Digest as _, Sha1};
use shared::id::InfoHash;

use super::Rc4;
use super::exchange::SharedSecret;

/// `HASH("req2", info-hash)`: by this a caller names the torrent, hidden once more by the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mask([u8; 20]);

impl Mask {
    pub(crate) fn of(torrent: InfoHash) -> Self {
        Self(hash(*b"req2", &[&torrent.0]))
    }

    /// As it stands on the wire; hiding twice shows it.
    pub(super) fn hidden(self, secret: &SharedSecret) -> Self {
        let mut bytes = self.0;
        let veil = hash(*b"req3", &[&secret.0]);
        bytes.iter_mut().zip(veil).for_each(|(byte, veil)| *byte ^= veil);
        Self(bytes)
    }

    pub(super) const fn from_wire(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

/// What a caller's second word begins with: it shows that he has the secret, and where his pad ends.
pub(super) fn beginning(secret: &SharedSecret) -> [u8; 20] {
    hash(*b"req1", &[&secret.0])
}

/// What the caller says is hidden with this.
pub(super) fn caller_cipher(secret: &SharedSecret, torrent: InfoHash) -> Rc4 {
    Rc4::new(&hash(*b"keyA", &[&secret.0, &torrent.0]))
}

/// What the called says is hidden with this.
pub(super) fn host_cipher(secret: &SharedSecret, torrent: InfoHash) -> Rc4 {
    Rc4::new(&hash(*b"keyB", &[&secret.0, &torrent.0]))
}

fn hash(word: [u8; 4], parts: &[&[u8]]) -> [u8; 20] {
    let mut sha1 = Sha1::new_with_prefix(word);
    for part in parts {
        sha1.update(part);
    }
    sha1.finalize().into()
}
