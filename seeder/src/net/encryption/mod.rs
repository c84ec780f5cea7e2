//! Message stream encryption (MSE/PE): a key exchange in front of the handshake, and RC4 behind it where either side insists. It
//! hides the protocol from machines that slow it down; it proves nobody's name and keeps no secret.
//!
//! ```text
//! caller                                                      host
//!   key, pad                                              ->
//!                                                         <-    key, pad
//!   beginning, hidden mask, {VC, offer, pad, first words} ->
//!                                                         <-    {VC, choice, pad}
//!                              {} is hidden; what follows is as chosen
//! ```
//!
//! `caller` and `host` are machines that know neither sockets nor threads: they are given bytes, and say what they need next.

mod caller;
mod exchange;
mod host;
mod keys;
mod rc4;
mod secure;
#[cfg(test)]
mod tests;

use bytes::BytesMut;
use shared::announce::Crypto;

pub(crate) use keys::Mask;
pub(crate) use rc4::Rc4;
pub(crate) use secure::Secrecy;

use exchange::PublicKey;

/// Longer pads are not MSE's.
const PAD_MAX: usize = 512;

/// Eight zeros, by which both sides see that they have the same keys.
const VC: [u8; 8] = [0; 8];

/// A caller's first words are at most so long here: a handshake takes 68 bytes, the messages behind it little more.
const FIRST_WORDS_MAX: usize = 8 * 1024;

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

impl Policy {
    /// What trackers are told of it.
    pub(crate) const fn announced(self) -> Crypto {
        match self {
            Self::Prefer => Crypto::Supported,
            Self::Require => Crypto::Required,
            Self::Off => Crypto::Unsaid,
        }
    }

    /// What is offered to those we call.
    const fn offer(self) -> u32 {
        match self {
            Self::Prefer => Method::Plain.bit() | Method::Rc4.bit(),
            Self::Require | Self::Off => Method::Rc4.bit(),
        }
    }

    /// What is taken of an offer.
    fn choose(self, offer: u32) -> Option<Method> {
        let common = offer & self.offer();
        [Method::Plain, Method::Rc4]
            .into_iter()
            .find(|method| common & method.bit() != 0)
    }
}

/// How bytes travel once the handshake is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Plain,
    Rc4,
}

impl Method {
    const fn bit(self) -> u32 {
        match self {
            Self::Plain => 1,
            Self::Rc4 => 2,
        }
    }
}

/// What a side of the handshake needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// More of the other side's bytes.
    Bytes,
    /// What our secret and this key come to.
    Agreement(PublicKey),
    /// The torrent that is meant.
    Torrent(Mask),
    /// Nothing: it is done.
    Nothing,
}

/// What stands when the handshake is done.
#[derive(Debug)]
struct Secured {
    /// Of what is read, and of what is written.
    ciphers: Option<(Rc4, Rc4)>,
    /// What the other side has said behind the handshake.
    early: BytesMut,
}

/// Why an encrypted handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it speaks plainly")]
    Plain,
    #[error("its key would tell everyone the secret")]
    Key,
    #[error("its pad has no end")]
    Pad,
    #[error("it has other keys than we have, or another torrent")]
    Keys,
    #[error("no torrent here has this mask")]
    Torrent,
    #[error("no way to go on that both sides allow: it says {0:#x}")]
    Method(u32),
    #[error("{0} bytes of first words")]
    FirstWords(usize),
}

/// Where a mark stands in what was heard so far; nobody may hide it behind more than a pad.
fn find(heard: &[u8], mark: &[u8]) -> Result<Option<usize>, Refusal> {
    let window = heard.get(..PAD_MAX + mark.len()).unwrap_or(heard);
    match window.windows(mark.len()).position(|part| part == mark) {
        None if heard.len() >= PAD_MAX + mark.len() => Err(Refusal::Pad),
        found => Ok(found),
    }
}

/// Takes so many bytes off the front and shows them, once they are all there.
fn reveal(heard: &mut BytesMut, count: usize, cipher: &mut Rc4) -> Option<BytesMut> {
    (heard.len() >= count).then(|| {
        let mut bytes = heard.split_to(count);
        cipher.apply(&mut bytes);
        bytes
    })
}
