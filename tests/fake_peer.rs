//! A peer that does what a script says, on a real socket: honest, lying, rude or silent. It uses our codec for what is not
//! the point of a test, and raw bytes for what is. Everything it waits for has a deadline.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a broken rig should stop the test and say why"
)]

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use sha1::{Digest, Sha1};
use shared::id::{InfoHash, PeerId};
use shared::peer_wire::{HANDSHAKE_LENGTH, Handshake, Message, Reserved, Span};
use socket2::{Domain, Socket, Type};

use crate::rig::Deadline;

/// What one message may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who does not mind to be taken for another.
const NAMELESS: PeerId = PeerId(*b"-XX0001-abcdefghijkl");

/// A peer at this address, and nobody else.
fn named_after(address: SocketAddr) -> PeerId {
    let digest = Sha1::digest(address.to_string());
    let mut id = NAMELESS.0;
    id.iter_mut()
        .skip(8)
        .zip(digest)
        .for_each(|(place, byte)| *place = byte);
    PeerId(id)
}

/// One connection, after both handshakes.
#[derive(Debug)]
pub struct FakePeer {
    stream: TcpStream,
}

impl FakePeer {
    /// Dials a peer and shakes hands.
    #[track_caller]
    pub fn dial(address: SocketAddr, info_hash: InfoHash) -> Self {
        let stream = TcpStream::connect(address).expect("the peer listens");
        Self::shake(stream, info_hash, NAMELESS).expect("the peer shakes hands")
    }

    /// The same from a loopback address of its own, under a name of its own: somebody from another household.
    #[track_caller]
    pub fn dial_from(from: IpAddr, address: SocketAddr, info_hash: InfoHash) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        let bound = socket.bind(&SocketAddr::new(from, 0).into());
        bound.expect("an address of this machine");
        socket.connect(&address.into()).expect("the peer listens");
        let stream = TcpStream::from(socket);
        let name = named_after(stream.local_addr().expect("it is bound"));
        Self::shake(stream, info_hash, name).expect("the peer shakes hands")
    }

    fn shake(mut stream: TcpStream, info_hash: InfoHash, peer_id: PeerId) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let handshake = Handshake {
            reserved: Reserved::OURS,
            info_hash,
            peer_id,
        };
        stream.write_all(&handshake.encode())?;
        let mut theirs = [0; HANDSHAKE_LENGTH];
        stream.read_exact(&mut theirs)?;
        let theirs = Handshake::decode(&theirs).map_err(io::Error::other)?;
        assert_eq!(theirs.info_hash, info_hash, "it speaks of another torrent");
        Ok(Self { stream })
    }

    pub fn say(&mut self, message: &Message) -> io::Result<()> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.say_raw(&bytes)
    }

    pub fn say_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next message, or the reason why there is none.
    pub fn hear(&mut self) -> io::Result<Message> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix)?;
        let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap();
        assert!(length < 1 << 20, "a message of {length} bytes");
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame)?;
        Message::decode(Bytes::from(frame)).map_err(io::Error::other)
    }

    /// Hears messages until the other side has closed the connection.
    #[track_caller]
    pub fn hear_it_close(&mut self) {
        let deadline = Deadline::after(PATIENCE);
        while deadline.left().is_some() {
            match self.hear() {
                Ok(_) => (),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return,
            }
        }
        panic!("the connection was not closed within {PATIENCE:?}");
    }
}

/// What a seed of ours does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Sends what was asked for.
    Honest,
    /// Claims every piece and sends rubbish.
    Liar,
}

/// One thing that a seed was told or asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Which of its connections, from 0.
    pub connection: usize,
    pub what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The other side asked for a block.
    Asked(Span),
    /// The other side says that it has verified a piece.
    Has(u32),
}

/// A seed that serves a torrent from memory and keeps a diary.
#[derive(Debug)]
pub struct FakeSeed {
    address: SocketAddr,
    diary: Arc<Diary>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Diary {
    pages: Mutex<Vec<Heard>>,
    accepted: AtomicUsize,
    news: Condvar,
}

/// What it serves.
#[derive(Clone, Debug)]
pub struct Stock {
    pub info_hash: InfoHash,
    pub content: Bytes,
    pub piece_length: u32,
    pub habit: Habit,
}

impl Stock {
    fn piece_count(&self) -> u32 {
        u32::try_from(self.content.len())
            .unwrap()
            .div_ceil(self.piece_length)
    }

    fn block(&self, span: Span) -> Bytes {
        let start =
            usize::try_from(u64::from(span.piece) * u64::from(self.piece_length) + u64::from(span.begin))
                .unwrap();
        let length = usize::try_from(span.length).unwrap();
        match self.habit {
            Habit::Honest => self.content.slice(start..start + length),
            Habit::Liar => Bytes::from(vec![0x55; length]),
        }
    }
}

impl FakeSeed {
    /// Listens at an address, on a port that the system picks. Peers are served one after the other.
    #[track_caller]
    pub fn start(at: IpAddr, stock: Stock) -> Self {
        let listener = TcpListener::bind((at, 0)).expect("a free port");
        let address = listener.local_addr().unwrap();
        let (diary, stop) = (Arc::new(Diary::default()), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (diary, stop) = (Arc::clone(&diary), Arc::clone(&stop));
            move || {
                let going_on = |_: &TcpStream| !stop.load(Ordering::Relaxed);
                for (connection, stream) in listener.incoming().flatten().take_while(going_on).enumerate() {
                    diary.accepted.store(connection + 1, Ordering::SeqCst);
                    // A peer that goes away is the point of several tests.
                    let _ = serve(stream, connection, &stock, &diary);
                }
            }
        });
        Self {
            address,
            diary,
            stop,
            thread: Some(thread),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has taken so far; the next one has this number.
    pub fn connections(&self) -> usize {
        self.diary.accepted.load(Ordering::SeqCst)
    }

    /// All it has heard so far.
    pub fn diary(&self) -> Vec<Heard> {
        self.diary.pages.lock().unwrap().clone()
    }

    /// Waits until the diary says what is wanted.
    #[track_caller]
    pub fn wait_until(&self, what: &str, limit: Duration, wanted: impl Fn(&[Heard]) -> bool) {
        let deadline = Deadline::after(limit);
        let mut pages = self.diary.pages.lock().unwrap();
        while !wanted(&pages) {
            let left = deadline
                .left()
                .unwrap_or_else(|| panic!("waited {limit:?} in vain: {what}"));
            pages = self.diary.news.wait_timeout(pages, left).unwrap().0;
        }
    }
}

impl Drop for FakeSeed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The listener is woken by one more connection; a peer that is still served ends when its program does.
        if let Ok(stream) = TcpStream::connect(self.address) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(self.thread.take());
    }
}

fn serve(stream: TcpStream, connection: usize, stock: &Stock, diary: &Diary) -> io::Result<()> {
    let name = named_after(stream.local_addr()?);
    let mut peer = FakePeer::shake(stream, stock.info_hash, name)?;
    peer.say(&Message::Bitfield(bitfield(stock.piece_count())))?;
    peer.say(&Message::Unchoke)?;
    loop {
        let what = match peer.hear()? {
            Message::Request(span) => {
                let data = stock.block(span);
                peer.say(&Message::Piece {
                    piece: span.piece,
                    begin: span.begin,
                    data,
                })?;
                What::Asked(span)
            }
            Message::Have(piece) => What::Has(piece),
            _ => continue,
        };
        diary.pages.lock().unwrap().push(Heard { connection, what });
        diary.news.notify_all();
    }
}

/// Every piece, with the spare bits clear.
fn bitfield(piece_count: u32) -> Bytes {
    let mut bits = vec![0xff; usize::try_from(piece_count.div_ceil(8)).unwrap()];
    let spare = (8 - piece_count % 8) % 8;
    if let Some(last) = bits.last_mut() {
        *last <<= spare;
    }
    Bytes::from(bits)
}
