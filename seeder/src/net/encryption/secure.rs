//! Encrypted handshakes over sockets: carries bytes between a stream and its machine, and lets other threads do the arithmetic.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use rand::rngs::StdRng;
use shared::id::InfoHash;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::caller::Caller;
use super::exchange::{PublicKey, Secret};
use super::host::Host;
use super::{Mask, Need, Policy, Refusal, Secured};
use crate::net::handshake::HandshakeError;
use crate::net::line::{Ciphers, Line};

/// One that speaks MSE sends its key within a second or two; one that does not may wait for words it knows.
const KEY_TIME: Duration = Duration::from_secs(6);

/// One read of a handshake: with the longest first words a machine holds ten times as much, and no more.
const READ_MAX: usize = 1_024;

/// Peers remembered as speaking plainly only; the oldest is forgotten for a new one, and is asked again.
const PLAINSPOKEN_MAX: usize = 256;

/// What all encrypted handshakes of the process have in common.
#[derive(Debug)]
pub(crate) struct Secrecy {
    policy: Policy,
    /// Key exchanges computed at the same time. Those who wait are bounded by the connections without a handshake.
    turns: Arc<Semaphore>,
    plainspoken: Mutex<VecDeque<SocketAddr>>,
}

impl Secrecy {
    pub(crate) fn new(policy: Policy, turns: usize) -> Self {
        Self {
            policy,
            turns: Arc::new(Semaphore::new(turns)),
            plainspoken: Mutex::default(),
        }
    }

    pub(crate) const fn policy(&self) -> Policy {
        self.policy
    }

    /// Has this peer hung up on an encrypted handshake, and taken a plain one?
    pub(crate) fn is_plainspoken(&self, address: SocketAddr) -> bool {
        let plainspoken = self.plainspoken.lock().unwrap_or_else(PoisonError::into_inner);
        plainspoken.contains(&address)
    }

    /// Remembers how a peer was reached.
    pub(crate) fn remember(&self, address: SocketAddr, plain: bool) {
        let mut plainspoken = self.plainspoken.lock().unwrap_or_else(PoisonError::into_inner);
        plainspoken.retain(|known| *known != address);
        if plain {
            if plainspoken.len() >= PLAINSPOKEN_MAX {
                plainspoken.pop_front();
            }
            plainspoken.push_back(address);
        }
    }

    /// Does arithmetic on a thread that may take its time.
    async fn compute<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut StdRng) -> T + Send + 'static,
    ) -> io::Result<T> {
        // The semaphore is never closed. The turn ends with the work, also where nobody waits for it any more.
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            job(&mut rand::make_rng())
        });
        work.await.map_err(io::Error::other)
    }

    /// An encrypted handshake with somebody we called. `first_words` travel with it.
    pub(crate) async fn call(
        &self,
        mut stream: TcpStream,
        torrent: InfoHash,
        first_words: &[u8],
    ) -> Result<Line, HandshakeError> {
        let policy = self.policy;
        let (secret, mut caller) = self
            .compute(move |dice| {
                let secret = Secret::new(dice);
                (secret, Caller::new(torrent, policy, &secret.public_key(), dice))
            })
            .await?;
        let key = tokio::time::timeout(KEY_TIME, hear_key(&mut stream, &mut caller));
        let theirs = key
            .await
            .map_err(|_| HandshakeError::HungUp)?
            .map_err(|_| HandshakeError::HungUp)?;
        let agreed = self.compute(move |_| secret.agree(&theirs)).await?;
        caller.agreed(&agreed.ok_or(Refusal::Key)?, first_words);
        while caller.advance()? == Need::Bytes {
            stream.write_all(&caller.say()).await?;
            caller.hear(&read(&mut stream).await?);
        }
        let secured = caller.finish().ok_or(Refusal::Keys)?;
        Ok(line(stream, secured))
    }

    /// An encrypted handshake with somebody who called us, and has said `heard` so far.
    pub(crate) async fn welcome(
        &self,
        mut stream: TcpStream,
        heard: &[u8],
        unmask: impl AsyncFnOnce(Mask) -> Option<InfoHash>,
    ) -> Result<Line, HandshakeError> {
        let (mut host, mut unmask) = (Host::new(self.policy), Some(unmask));
        host.hear(heard);
        loop {
            match host.advance()? {
                Need::Bytes => {
                    stream.write_all(&host.say()).await?;
                    host.hear(&read(&mut stream).await?);
                }
                Need::Agreement(theirs) => {
                    let agreed = self.compute(move |dice| {
                        let secret = Secret::new(dice);
                        Some((secret.public_key(), secret.agree(&theirs)?))
                    });
                    let (ours, secret) = agreed.await?.ok_or(Refusal::Key)?;
                    host.agreed(&ours, secret, &mut rand::make_rng::<StdRng>());
                }
                Need::Torrent(mask) => {
                    let unmask = unmask.take().ok_or(Refusal::Torrent)?;
                    host.means(unmask(mask).await.ok_or(Refusal::Torrent)?);
                }
                Need::Nothing => break,
            }
        }
        stream.write_all(&host.say()).await?;
        let secured = host.finish().ok_or(Refusal::Keys)?;
        Ok(line(stream, secured))
    }
}

/// Says our key and hears the host's.
async fn hear_key(stream: &mut TcpStream, caller: &mut Caller) -> Result<PublicKey, HandshakeError> {
    loop {
        if let Need::Agreement(key) = caller.advance()? {
            return Ok(key);
        }
        stream.write_all(&caller.say()).await?;
        caller.hear(&read(stream).await?);
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<BytesMut> {
    let mut bytes = BytesMut::with_capacity(READ_MAX);
    match stream.read_buf(&mut bytes).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(bytes),
    }
}

fn line(stream: TcpStream, secured: Secured) -> Line {
    let ciphers = secured
        .ciphers
        .map(|(reading, writing)| Ciphers { reading, writing });
    Line::new(stream, secured.early, ciphers)
}
