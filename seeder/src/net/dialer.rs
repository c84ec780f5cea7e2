//! Calls a peer, a bounded number of them at the same time in the whole process.

use std::net::SocketAddr;
use std::time::Duration;

use shared::id::InfoHash;
use shared::peer_wire::Handshake;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::handshake::{self, HandshakeError};
use super::line::Line;

/// A host that is there answers within a second or two; the rest are firewalls that swallow the call.
const CONNECT_TIME: Duration = Duration::from_secs(8);

/// Connects and exchanges handshakes.
pub(crate) async fn dial(
    address: SocketAddr,
    ours: Handshake,
    names: &[InfoHash],
    half_open: &Semaphore,
) -> Result<(Line, Handshake), HandshakeError> {
    // The semaphore is never closed; if it were, calling unbounded would be no disaster.
    let _place = half_open.acquire().await;
    let mut stream = tokio::time::timeout(CONNECT_TIME, TcpStream::connect(address)).await??;
    super::listener::prepare(&stream);
    let theirs = handshake::call(&mut stream, &ours, names).await?;
    Ok((Line::plain(stream), theirs))
}
