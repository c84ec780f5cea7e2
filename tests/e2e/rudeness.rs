//! Strangers who lie, dawdle and shout. Both programs go on serving, in little memory.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shared::peer_wire::Message;
use socket2::{Domain, Socket, Type};
use tests::fake_peer::{FakePeer, FakeSeed, Habit, Stock};
use tests::rig::{Running, Stream};

use crate::album::{Album, LIMIT, Tracker, info_hash};
use crate::contract::peer_address;

/// What either program may ever have taken, in KiB. Debug builds are generous; 10 GB would not go unseen.
const MEMORY_KIB_MAX: u64 = 256 * 1024;

const IDLE: u16 = 1_000;

/// A seed, its address and its torrent.
fn seeding(album: &Album) -> (Running, SocketAddr, std::path::PathBuf) {
    let torrent = album.create(&[]);
    let running = album.seed(&torrent, "127.0.0.1:0");
    let address = peer_address(&running).parse().unwrap();
    (running, address, torrent)
}

/// An honest getter still gets everything.
#[track_caller]
fn still_serves(album: &Album, torrent: &std::path::Path, address: SocketAddr) {
    album
        .get(torrent, "127.0.0.1:0")
        .args(["--peer", &address.to_string()])
        .run(LIMIT * 2)
        .succeeded();
    album.check_arrived();
}

#[track_caller]
fn check_memory(running: &Running) {
    let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < MEMORY_KIB_MAX, "it took {peak} KiB");
}

#[test]
fn a_peer_that_claims_every_piece_and_sends_rubbish_is_banned_and_named() {
    let album = Album::of(&[6_000_000, 2_000_000]);
    let (seeding, honest, torrent) = seeding(&album);
    let facts = crate::album::inspect(&torrent);
    let liar = FakeSeed::start(
        // Another address, so that a ban does not hit the honest one.
        IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66)),
        Stock {
            info_hash: info_hash(&torrent),
            content: Bytes::from(vec![
                0;
                usize::try_from(facts["content_size"].as_u64().unwrap())
                    .unwrap()
            ]),
            piece_length: u32::try_from(facts["piece_length"].as_u64().unwrap()).unwrap(),
            habit: Habit::Liar,
        },
    );
    let getting = album
        .get(&torrent, "127.0.0.1:0")
        .args([
            "--peer",
            &liar.address().to_string(),
            "--peer",
            &honest.to_string(),
        ])
        .start();
    let told = getting.wait_for(Stream::Err, LIMIT, |line| {
        (line.contains("127.0.0.66") && line.to_lowercase().contains("ban")).then(|| line.to_owned())
    });
    println!("{told}");
    getting.finish(LIMIT * 2).succeeded();
    album.check_arrived();
    drop(seeding);
}

#[test]
fn ten_thousand_nested_lists_in_an_extension_handshake_hurt_nobody() {
    let album = Album::small();
    let (seeding, address, torrent) = seeding(&album);
    let mut rude = FakePeer::dial(address, info_hash(&torrent));
    let payload = format!("d1:m{}{}e", "l".repeat(10_000), "e".repeat(10_000));
    rude.say(&Message::Extended {
        id: 0,
        payload: Bytes::from(payload),
    })
    .unwrap();
    rude.hear_it_close();
    still_serves(&album, &torrent, address);
    check_memory(&seeding);
}

#[test]
fn a_length_of_ten_gigabytes_in_an_extension_handshake_takes_no_memory() {
    let album = Album::small();
    let (seeding, address, torrent) = seeding(&album);
    let mut rude = FakePeer::dial(address, info_hash(&torrent));
    rude.say(&Message::Extended {
        id: 0,
        payload: Bytes::from_static(b"d1:v10000000000:xe"),
    })
    .unwrap();
    rude.hear_it_close();
    still_serves(&album, &torrent, address);
    check_memory(&seeding);
}

#[test]
fn the_longest_length_prefix_takes_no_memory() {
    let album = Album::small();
    let (seeding, address, torrent) = seeding(&album);
    let mut rude = FakePeer::dial(address, info_hash(&torrent));
    rude.say_raw(&[0xff; 4]).unwrap();
    rude.hear_it_close();
    still_serves(&album, &torrent, address);
    check_memory(&seeding);
}

#[test]
fn a_handshake_sent_one_byte_a_minute_is_ended() {
    let album = Album::small();
    let (_seeding, address, torrent) = seeding(&album);
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(&[19]).unwrap();
    still_serves(&album, &torrent, address);
    is_ended(slow);
}

#[test]
fn a_head_sent_one_byte_a_minute_is_ended() {
    let tracker = Tracker::with("127.0.0.1:0", &[("TRACKER__HTTP__HEAD_SECS", "1")]);
    for start in [
        "G",
        "GET /announce?info_hash=",
        "GET / HTTP/1.1\r\nHost: x\r\nX-A: b",
        "POST /",
    ] {
        let mut slow = TcpStream::connect(tracker.address).unwrap();
        slow.write_all(start.as_bytes()).unwrap();
        is_ended(slow);
    }
    check_memory(&tracker.running);
}

/// The other side closes it, though nothing more is sent.
#[track_caller]
fn is_ended(mut stream: TcpStream) {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::ConnectionReset,
            "it was left open for {LIMIT:?}: {error}"
        );
    }
}

#[test]
fn a_thousand_idle_connections_leave_the_tracker_serving() {
    let tracker = Tracker::start("127.0.0.1:0");
    let idle = idle_connections(tracker.address);
    let album = Album::small();
    let torrent = album.create(&["--tracker", &tracker.announce]);
    let _seeding = album.seed(&torrent, "127.0.0.1:0");
    album.get(&torrent, "127.0.0.1:0").run(LIMIT).succeeded();
    album.check_arrived();
    check_memory(&tracker.running);
    drop(idle);
}

#[test]
fn a_thousand_idle_connections_leave_the_seeder_serving() {
    let album = Album::small();
    let (seeding, address, torrent) = seeding(&album);
    let idle = idle_connections(address);
    still_serves(&album, &torrent, address);
    check_memory(&seeding);
    drop(idle);
}

/// A thousand connections from ten addresses that say nothing. Some may be refused; that is one way of going on serving.
fn idle_connections(to: SocketAddr) -> Vec<Socket> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, wanted).expect("files enough for a thousand connections");
    (0..IDLE)
        .map(|number| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let from = Ipv4Addr::new(127, 0, 1, u8::try_from(number % 10).unwrap() + 1);
            socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
            socket.connect(&to.into()).unwrap();
            socket
        })
        .collect()
}

#[test]
fn a_tracker_that_answers_nonsense_does_not_stop_a_download() {
    let album = Album::small();
    let torrent_without = album.create(&[]);
    let seeding = album.seed(&torrent_without, "127.0.0.1:0");
    let address = peer_address(&seeding);
    let nested = "l".repeat(10_000) + &"e".repeat(10_000);
    let answers = [
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{nested}",
            nested.len()
        ),
        "HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\nd5:peers10000000000:".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nle".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let announce = format!("http://{}/announce", listener.local_addr().unwrap());
    let magnet = format!(
        "magnet:?xt=urn:btih:{}&tr={announce}",
        info_hash(&torrent_without)
    );
    std::thread::spawn(move || {
        for (stream, answer) in listener.incoming().flatten().zip(answers.iter().cycle()) {
            nonsense(stream, answer);
        }
    });
    for _ in 0..4 {
        album.forget_arrived();
        let got = album
            .get(&magnet, "127.0.0.1:0")
            .args(["--peer", &address])
            .start();
        got.finish(LIMIT).succeeded();
        album.check_arrived();
    }
}

fn nonsense(mut stream: TcpStream, answer: &str) {
    let mut head = [0; 4096];
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = stream.read(&mut head);
    let _ = stream.write_all(answer.as_bytes());
}
