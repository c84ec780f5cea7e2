//! The first 68 bytes each way (BEP 3). An encrypted handshake will stand in front of this exchange, once there is one.

use std::io;
use std::time::Duration;

use shared::id::InfoHash;
use shared::peer_wire::{HANDSHAKE_LENGTH, Handshake, PROTOCOL, Reserved, WireError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the whole exchange may take: a slow home line needs two seconds, a connection that says nothing holds a place.
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
    #[error("no torrent {0} here")]
    UnknownTorrent(InfoHash),
    #[error("it answered for torrent {0}")]
    OtherTorrent(InfoHash),
    #[error("no handshake in time")]
    TimedOut(#[from] tokio::time::error::Elapsed),
}

/// We called: says who we are, and hears who they are. `names` are all the hashes of the torrent: a hybrid has two, and who
/// was called by the first may answer with the second (BEP 52).
pub(crate) async fn call(
    stream: &mut TcpStream,
    ours: &Handshake,
    names: &[InfoHash],
) -> Result<Handshake, HandshakeError> {
    let exchange = async {
        stream.write_all(&ours.encode()).await?;
        let mut bytes = [0; HANDSHAKE_LENGTH];
        stream.read_exact(&mut bytes).await?;
        let theirs = Handshake::decode(&bytes)?;
        if names.contains(&theirs.info_hash) {
            Ok(theirs)
        } else {
            Err(HandshakeError::OtherTorrent(theirs.info_hash))
        }
    };
    tokio::time::timeout(HANDSHAKE_TIME, exchange).await?
}

/// We were called: hears which torrent is meant, asks `answer` what to say, and hears the rest.
pub(crate) async fn welcome(
    stream: &mut TcpStream,
    answer: impl AsyncFnOnce(InfoHash, Reserved) -> Option<Handshake>,
) -> Result<Handshake, HandshakeError> {
    let exchange = async {
        let mut bytes = [0; HANDSHAKE_LENGTH];
        let (head, tail) = bytes.split_at_mut(UNTIL_HASH);
        let (name, rest) = head.split_at_mut(PROTOCOL.len());
        stream.read_exact(name).await?;
        if *name != PROTOCOL {
            return Err(WireError::Protocol.into());
        }
        stream.read_exact(rest).await?;
        let (reserved, hash) = rest.split_first_chunk().ok_or(WireError::Protocol)?;
        let hash = InfoHash::from_slice(hash).ok_or(WireError::Protocol)?;
        let ours = answer(hash, Reserved(*reserved))
            .await
            .ok_or(HandshakeError::UnknownTorrent(hash))?;
        stream.write_all(&ours.encode()).await?;
        stream.read_exact(tail).await?;
        Ok(Handshake::decode(&bytes)?)
    };
    tokio::time::timeout(HANDSHAKE_TIME, exchange).await?
}
