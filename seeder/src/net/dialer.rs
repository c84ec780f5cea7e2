//! Calls a peer, a bounded number of them at the same time in the whole process: in the way that we like best, and at once in
//! the other where it hangs up on that (DESIGN, decision 19).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use shared::id::InfoHash;
use shared::peer_wire::Handshake;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::encryption::{Policy, Secrecy};
use super::handshake::{self, HANDSHAKE_TIME, HandshakeError};
use super::line::Line;
use super::listener::prepare;

/// A host that is there answers within a second or two; the rest are firewalls that swallow the call.
const CONNECT_TIME: Duration = Duration::from_secs(8);

/// How to speak to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Encrypted,
    Plain,
}

/// What all calls of the process have in common.
#[derive(Debug)]
pub(crate) struct Dialer {
    half_open: Semaphore,
    secrecy: Arc<Secrecy>,
}

impl Dialer {
    pub(crate) fn new(half_open: usize, secrecy: Arc<Secrecy>) -> Self {
        Self {
            half_open: Semaphore::new(half_open),
            secrecy,
        }
    }

    #[cfg(test)]
    pub(super) fn secrecy(&self) -> &Secrecy {
        &self.secrecy
    }

    /// Waits for a turn among the calls that are under way; it is held while calling.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed; if it were, calling unbounded would be no disaster.
        self.half_open.acquire().await.ok()
    }

    /// Connects and exchanges handshakes.
    pub(crate) async fn dial(
        &self,
        address: SocketAddr,
        ours: Handshake,
        names: &[InfoHash],
    ) -> Result<(Line, Handshake), HandshakeError> {
        let (first, second) = self.ways(address);
        let called = self.call(first, address, &ours, names).await;
        match (called, second) {
            (Err(HandshakeError::HungUp), Some(second)) => {
                let reached = self.call(second, address, &ours, names).await?;
                self.secrecy.remember(address, second == Way::Plain);
                Ok(reached)
            }
            (called, _) => called,
        }
    }

    /// How this peer is spoken to first, and how where it hangs up on that.
    fn ways(&self, address: SocketAddr) -> (Way, Option<Way>) {
        match self.secrecy.policy() {
            Policy::Off => (Way::Plain, None),
            Policy::Require => (Way::Encrypted, None),
            Policy::Prefer if self.secrecy.is_plainspoken(address) => (Way::Plain, Some(Way::Encrypted)),
            Policy::Prefer => (Way::Encrypted, Some(Way::Plain)),
        }
    }

    async fn call(
        &self,
        way: Way,
        address: SocketAddr,
        ours: &Handshake,
        names: &[InfoHash],
    ) -> Result<(Line, Handshake), HandshakeError> {
        let stream = tokio::time::timeout(CONNECT_TIME, TcpStream::connect(address)).await??;
        prepare(&stream);
        let handshakes = async {
            let mut line = match way {
                // Transmission 3.00 cannot read first words that come with a handshake in which it chooses plain payload.
                Way::Encrypted if self.secrecy.policy() == Policy::Prefer => {
                    let mut line = self.secrecy.call(stream, ours.info_hash, &[]).await?;
                    line.write_all(&ours.encode()).await?;
                    line
                }
                Way::Encrypted => {
                    let first_words = ours.encode();
                    self.secrecy.call(stream, ours.info_hash, &first_words).await?
                }
                Way::Plain => {
                    let mut line = Line::plain(stream);
                    line.write_all(&ours.encode()).await?;
                    line
                }
            };
            let theirs = match handshake::hear(&mut line, names).await {
                // Who has answered an encrypted handshake hangs up for other reasons.
                Err(HandshakeError::HungUp) if way == Way::Encrypted => {
                    return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                }
                theirs => theirs?,
            };
            Ok((line, theirs))
        };
        tokio::time::timeout(HANDSHAKE_TIME, handshakes).await?
    }
}
