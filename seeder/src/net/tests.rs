//! Calls over real sockets: who comes together how, and what noise does to a listener.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use shared::id::{InfoHash, PeerId};
use shared::peer_wire::{Handshake, Reserved};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::dialer::Dialer;
use super::encryption::{Mask, Policy, Secrecy};
use super::handshake::HandshakeError;
use super::line::Line;
use super::listener::{Reception, bind, listen};

const TORRENT: InfoHash = InfoHash(*b"twenty bytes of hash");
const PATIENCE: Duration = Duration::from_secs(60);

const fn handshake(name: u8) -> Handshake {
    Handshake {
        reserved: Reserved::OURS,
        info_hash: TORRENT,
        peer_id: PeerId([name; 20]),
    }
}

/// Receives for one torrent.
#[derive(Clone)]
struct Door {
    secrecy: Arc<Secrecy>,
    visitors: mpsc::Sender<(Line, Handshake)>,
}

impl Reception for Door {
    fn admits(&self, _: IpAddr) -> bool {
        true
    }

    fn secrecy(&self) -> &Secrecy {
        &self.secrecy
    }

    async fn answer(&self, hash: InfoHash, _: Reserved) -> Option<Handshake> {
        (hash == TORRENT).then_some(handshake(b'H'))
    }

    async fn unmask(&self, mask: Mask) -> Option<InfoHash> {
        (mask == Mask::of(TORRENT)).then_some(TORRENT)
    }

    async fn receive(&self, line: Line, _: SocketAddr, handshake: Handshake) {
        let _ = self.visitors.send((line, handshake)).await;
    }
}

/// A listener of this policy, for as long as the guard lives.
struct Host {
    address: SocketAddr,
    visitors: mpsc::Receiver<(Line, Handshake)>,
    _stop: DropGuard,
}

fn host(policy: Policy) -> Host {
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, visitors) = mpsc::channel(4);
    let stop = CancellationToken::new();
    let door = Door {
        secrecy: Arc::new(Secrecy::new(policy, 2)),
        visitors: sender,
    };
    tokio::spawn(listen(listener, door, stop.clone()));
    Host {
        address,
        visitors,
        _stop: stop.drop_guard(),
    }
}

fn dialer(policy: Policy) -> Dialer {
    Dialer::new(4, Arc::new(Secrecy::new(policy, 2)))
}

async fn dial(dialer: &Dialer, address: SocketAddr) -> Result<(Line, Handshake), HandshakeError> {
    let called = dialer.dial(address, handshake(b'C'), &[TORRENT]);
    tokio::time::timeout(PATIENCE, called).await.unwrap()
}

/// What becomes of a call where these policies meet; bytes must cross both ways.
async fn check(ours: Policy, theirs: Policy, expected: &str) {
    let mut host = host(theirs);
    let met = match dial(&dialer(ours), host.address).await {
        Err(_) => "nothing",
        Ok((mut outer, answer)) => {
            assert_eq!(answer, handshake(b'H'));
            let (mut line, visitor) = host.visitors.recv().await.unwrap();
            assert_eq!(visitor, handshake(b'C'));
            assert_eq!(outer.is_encrypted(), line.is_encrypted());
            for (from, to) in [(0, 1), (1, 0)] {
                let ends = [&mut outer, &mut line];
                ends[from].write_all(b"bytes").await.unwrap();
                let mut heard = [0; 5];
                ends[to].read_exact(&mut heard).await.unwrap();
                assert_eq!(&heard, b"bytes");
            }
            if outer.is_encrypted() { "hidden" } else { "plain" }
        }
    };
    assert_eq!(met, expected, "{ours:?} calls {theirs:?}");
}

#[tokio::test]
async fn policies_meet_where_they_can() {
    use Policy::{Off, Prefer, Require};
    check(Prefer, Prefer, "plain").await;
    check(Prefer, Require, "hidden").await;
    check(Prefer, Off, "plain").await;
    check(Require, Prefer, "hidden").await;
    check(Require, Require, "hidden").await;
    check(Require, Off, "nothing").await;
    check(Off, Prefer, "plain").await;
    check(Off, Require, "nothing").await;
    check(Off, Off, "plain").await;
}

#[tokio::test]
async fn who_hung_up_on_encryption_is_called_plainly_the_next_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let peer = tokio::spawn(async move {
        let mut plain = Vec::new();
        // It speaks plainly only, and hangs up on the rest.
        while plain.iter().filter(|plain| **plain).count() < 2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut first = [0; 68];
            stream.read_exact(&mut first).await.unwrap();
            let speaks_plainly = Handshake::decode(&first).is_ok();
            plain.push(speaks_plainly);
            if speaks_plainly {
                stream.write_all(&handshake(b'P').encode()).await.unwrap();
            }
        }
        plain
    });
    let dialer = dialer(Policy::Prefer);
    for _ in 0..2 {
        let (line, theirs) = dial(&dialer, address).await.unwrap();
        assert_eq!(theirs.peer_id, PeerId([b'P'; 20]));
        assert!(!line.is_encrypted());
    }
    assert_eq!(peer.await.unwrap(), [false, true, true]);
}

#[tokio::test]
async fn who_spoke_plainly_once_and_insists_now_is_reached_at_once() {
    let mut host = host(Policy::Require);
    let dialer = dialer(Policy::Prefer);
    dialer.secrecy().remember(host.address, true);
    let (line, _) = dial(&dialer, host.address).await.unwrap();
    assert!(line.is_encrypted());
    assert!(!dialer.secrecy().is_plainspoken(host.address));
    assert!(host.visitors.recv().await.is_some());
}

#[tokio::test]
async fn words_right_behind_the_handshake_are_heard() {
    for policy in [Policy::Prefer, Policy::Require] {
        let mut host = host(policy);
        let (mut ours, _) = dial(&dialer(Policy::Prefer), host.address).await.unwrap();
        ours.write_all(&[0, 0, 0, 1, 2]).await.unwrap();
        let (mut line, _) = host.visitors.recv().await.unwrap();
        let (mut incoming, _outgoing) = line.halves();
        let mut heard = bytes::BytesMut::with_capacity(64);
        while heard.len() < 5 {
            incoming.read(&mut heard, 64).await.unwrap();
        }
        assert_eq!(heard, [0, 0, 0, 1, 2].as_slice());
    }
}

/// What strangers throw at a port: noise, noise that begins like a handshake, and the front of one.
fn rubbish() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..3_000);
    (any::<bool>(), noise).prop_map(|(plain, noise)| {
        let front: &[u8] = if plain { b"\x13BitTorrent protocol" } else { b"" };
        [front, &noise].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn noise_at_a_port_ends_itself_and_nobody_else(noise in rubbish()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut host = host(Policy::Prefer);
            let mut stranger = TcpStream::connect(host.address).await.unwrap();
            // The listener may have hung up in the middle of it.
            let _ = stranger.write_all(&noise).await;
            let _ = stranger.shutdown().await;
            let mut answer = Vec::new();
            let ended = tokio::time::timeout(PATIENCE, stranger.read_to_end(&mut answer)).await;
            assert!(ended.is_ok(), "it is still waited for");
            dial(&dialer(Policy::Prefer), host.address).await.unwrap();
            assert!(host.visitors.recv().await.is_some());
        });
    }
}
