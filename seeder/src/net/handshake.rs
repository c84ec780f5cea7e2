//! The first 68 bytes each way (BEP 3), plainly or behind an encrypted handshake.

use std::io;
use std::time::Duration;

use shared::id::InfoHash;
use shared::peer_wire::{HANDSHAKE_LENGTH, Handshake, PROTOCOL, Reserved, WireError};

use super::encryption::Refusal;
use super::line::Line;

/// How long everything up to the last byte of a handshake may take: a slow home line needs two seconds, a connection that says
/// nothing holds a place.
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(15);

/// Protocol name, reserved bytes and info-hash. Some clients send their peer id only after they have read ours.
const UNTIL_HASH: usize = HANDSHAKE_LENGTH - 20;

/// Why two sides did not come together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("encrypted handshake: {0}")]
    Encryption(#[from] Refusal),
    /// It did not so much as begin to answer in the way in which it was spoken to.
    #[error("it hung up before it had said a word")]
    HungUp,
    #[error("it speaks plainly, which is refused here")]
    PlainRefused,
    #[error("no torrent {0} here")]
    UnknownTorrent(InfoHash),
    #[error("it answered for torrent {0}")]
    OtherTorrent(InfoHash),
    #[error("no handshake in time")]
    TimedOut(#[from] tokio::time::error::Elapsed),
}

impl HandshakeError {
    /// The other side was there and closed the connection without a word, as it does for a torrent that it does not know.
    pub(crate) fn is_hang_up(&self) -> bool {
        let closed = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
        matches!(self, Self::HungUp) || matches!(self, Self::Io(error) if closed.contains(&error.kind()))
    }
}

/// We called and have said who we are: hears who they are. `names` are all the hashes of the torrent: a hybrid has two, and who
/// was called by the first may answer with the second (BEP 52).
pub(crate) async fn hear(line: &mut Line, names: &[InfoHash]) -> Result<Handshake, HandshakeError> {
    let mut bytes = [0; HANDSHAKE_LENGTH];
    let (first, rest) = bytes.split_at_mut(1);
    line.read_exact(first).await.map_err(|_| HandshakeError::HungUp)?;
    line.read_exact(rest).await?;
    let theirs = Handshake::decode(&bytes)?;
    if names.contains(&theirs.info_hash) {
        Ok(theirs)
    } else {
        Err(HandshakeError::OtherTorrent(theirs.info_hash))
    }
}

/// We were called: hears which torrent is meant, asks `answer` what to say, and hears the rest.
pub(crate) async fn welcome(
    line: &mut Line,
    answer: impl AsyncFnOnce(InfoHash, Reserved) -> Option<Handshake>,
) -> Result<Handshake, HandshakeError> {
    let mut bytes = [0; HANDSHAKE_LENGTH];
    let (head, tail) = bytes.split_at_mut(UNTIL_HASH);
    let (name, rest) = head.split_at_mut(PROTOCOL.len());
    line.read_exact(name).await?;
    if *name != PROTOCOL {
        return Err(WireError::Protocol.into());
    }
    line.read_exact(rest).await?;
    let (reserved, hash) = rest.split_first_chunk().ok_or(WireError::Protocol)?;
    let hash = InfoHash::from_slice(hash).ok_or(WireError::Protocol)?;
    let ours = answer(hash, Reserved(*reserved))
        .await
        .ok_or(HandshakeError::UnknownTorrent(hash))?;
    line.write_all(&ours.encode()).await?;
    line.read_exact(tail).await?;
    Ok(Handshake::decode(&bytes)?)
}
