//! The announcing task against small trackers of our own on the loopback.

use std::time::Duration;

use shared::announce::{AnnounceRequest, Crypto};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A tracker that answers every request with these bytes, or holds its tongue; what it was asked arrives on the channel.
struct Fake {
    url: String,
    asked: mpsc::UnboundedReceiver<String>,
}

impl Fake {
    async fn start(answer: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/secretpasskey/announce", listener.local_addr().unwrap());
        let (tell, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tell, answer) = (tell.clone(), answer.clone());
                tokio::spawn(serve(stream, tell, answer));
            }
        });
        Self { url, asked }
    }

    async fn answering(body: &[u8]) -> Self {
        Self::start(Some(ok(body))).await
    }

    async fn request(&mut self) -> AnnounceRequest {
        let head = self.asked.recv().await.unwrap();
        let target = head.split(' ').nth(1).unwrap();
        AnnounceRequest::parse(target.split_once('?').unwrap().1.as_bytes()).unwrap()
    }
}

async fn serve(mut stream: TcpStream, tell: mpsc::UnboundedSender<String>, answer: Option<Vec<u8>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let _ = tell.send(String::from_utf8(head).unwrap());
    match answer {
        Some(answer) => stream.write_all(&answer).await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

const KEY: TorrentKey = TorrentKey(1);
const HASH: InfoHash = InfoHash([7; 20]);
const ONE_PEER: &[u8] = b"d8:completei2e10:incompletei1e8:intervali1800e5:peers6:\x7f\0\0\x01\x1a\xe1e";

fn start() -> (Trackers, mpsc::Receiver<TrackerEvent>) {
    let settings = Settings {
        peer_id: PeerId(*b"-KS0100-abcdefghijkl"),
        listen: vec!["0.0.0.0:4001".parse().unwrap(), "[::]:4002".parse().unwrap()],
        clock: Clock::start(),
        crypto: Crypto::Supported,
    };
    Trackers::start(settings).unwrap()
}

fn swarm(urls: &[&str]) -> Swarm {
    Swarm {
        key: KEY,
        info_hashes: vec![HASH],
        tiers: urls.iter().map(|url| vec![Arc::from(*url)]).collect(),
        counters: Arc::new(Counters::new(5)),
    }
}

/// The reason why the first announce to this URL failed.
async fn failure(url: &str) -> String {
    let (trackers, mut events) = start();
    trackers.add(swarm(&[url])).await;
    match events.recv().await.unwrap().result {
        Outcome::Failed { reason } => reason,
        answered @ Outcome::Answered { .. } => panic!("{answered:?}"),
    }
}

#[tokio::test]
async fn a_torrent_is_announced_with_our_real_port_and_numbers() {
    let mut tracker = Fake::answering(ONE_PEER).await;
    let (trackers, mut events) = start();
    trackers.add(swarm(&[&tracker.url])).await;
    let asked = tracker.request().await;
    assert_eq!(
        (asked.info_hash, asked.port, asked.left, asked.event),
        (HASH, 4001, 5, Event::Started)
    );
    assert!(asked.compact && asked.key.is_some());
    assert_eq!(asked.crypto, Crypto::Supported);
    let heard = events.recv().await.unwrap();
    assert_eq!(
        (heard.key, heard.info_hash, &*heard.url),
        (KEY, HASH, &*tracker.url)
    );
    let Outcome::Answered {
        event,
        peers,
        seeders,
        leechers,
        ..
    } = heard.result
    else {
        panic!("{:?}", heard.result)
    };
    assert_eq!((event, seeders, leechers), (Event::Started, Some(2), Some(1)));
    assert_eq!(peers, ["127.0.0.1:6881".parse().unwrap()]);
}

#[tokio::test]
async fn leaving_is_said_and_waited_for_and_the_key_stays_the_same() {
    let mut tracker = Fake::answering(ONE_PEER).await;
    let (trackers, mut events) = start();
    trackers.add(swarm(&[&tracker.url])).await;
    let hello = tracker.request().await;
    events.recv().await.unwrap();
    trackers.stop().await;
    let goodbye = tracker.request().await;
    assert_eq!(
        (goodbye.event, goodbye.numwant, goodbye.key),
        (Event::Stopped, Some(0), hello.key)
    );
}

/// Time is paused: it jumps ahead whenever all wait, so the test takes no longer than its work.
#[tokio::test(start_paused = true)]
async fn a_tracker_that_never_answers_does_not_keep_us_from_stopping() {
    let mut dead = Fake::start(None).await;
    let (trackers, _events) = start();
    trackers.add(swarm(&[&dead.url])).await;
    dead.request().await;
    let clock = Clock::start();
    trackers.stop().await;
    assert!(clock.now().since(shared::moment::Moment::START) < Duration::from_secs(5));
    // Nor does the goodbye overtake the greeting that is still on its way.
    assert!(dead.asked.try_recv().is_err());
}

#[tokio::test]
async fn answers_that_nobody_takes_stop_nothing() {
    let mut tracker = Fake::answering(ONE_PEER).await;
    let (trackers, _untaken) = start();
    for key in 0..200 {
        trackers
            .add(Swarm {
                key: TorrentKey(key),
                ..swarm(&[&tracker.url])
            })
            .await;
    }
    trackers.stop().await;
    assert_eq!(tracker.request().await.event, Event::Started);
}

#[tokio::test]
async fn a_refusal_is_passed_on_in_the_trackers_words() {
    let refusing = Fake::answering(b"d14:failure reason12:unregisterede").await;
    assert_eq!(failure(&refusing.url).await, "unregistered");
    let with_status = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 27\r\n\r\nd14:failure reason6:bannede".to_vec();
    assert_eq!(failure(&Fake::start(Some(with_status)).await.url).await, "banned");
    let busy = b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy".to_vec();
    assert_eq!(
        failure(&Fake::start(Some(busy)).await.url).await,
        "the tracker answered HTTP 503 Service Unavailable"
    );
}

#[tokio::test]
async fn what_is_no_tracker_is_named_without_its_passkey() {
    let rubbish = failure(&Fake::answering(b"<html>").await.url).await;
    assert!(
        rubbish.starts_with("the tracker's answer cannot be read"),
        "{rubbish}"
    );
    let endless = failure(&Fake::answering(&vec![b'x'; 2 * 1024 * 1024]).await.url).await;
    assert_eq!(endless, "the tracker's answer is longer than 1048576 bytes");
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let closed = failure(&format!("http://127.0.0.1:{port}/secretpasskey/announce")).await;
    assert!(
        closed.starts_with("cannot connect: ") && !closed.contains("secret"),
        "{closed}"
    );
}

#[tokio::test]
async fn urls_that_cannot_be_announced_to_say_why() {
    assert_eq!(
        failure("udp://127.0.0.1:1/announce").await,
        "udp:// trackers are not supported yet"
    );
    assert!(
        failure("magnet:?x")
            .await
            .starts_with("magnet:// is not a tracker's scheme")
    );
    assert!(failure("no url").await.starts_with("not a URL"));
    assert_eq!(
        failure("http://127.0.0.1:1/reboot?now=1").await,
        "it leads into the local network, where only a path that ends with /announce is asked"
    );
}

#[tokio::test]
async fn a_redirect_is_followed_but_not_in_circles() {
    let tracker = Fake::answering(ONE_PEER).await;
    let to = |url: &str| {
        format!("HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n")
    };
    let moved = Fake::start(Some(to(&tracker.url).into_bytes())).await;
    let (trackers, mut events) = start();
    trackers.add(swarm(&[&moved.url])).await;
    assert!(matches!(
        events.recv().await.unwrap().result,
        Outcome::Answered { .. }
    ));
    let circle = Fake::start(Some(to("/again/announce").into_bytes())).await;
    assert_eq!(failure(&circle.url).await, "the tracker redirects in circles");
    let elsewhere = Fake::start(Some(to("/reboot?now=1").into_bytes())).await;
    assert_eq!(
        failure(&elsewhere.url).await,
        "the tracker redirects to what is no announce"
    );
}

/// So many torrents of one tracker, each by its own hash.
async fn add_many(trackers: &Trackers, count: u64, urls: &[&str]) {
    for key in 0..count {
        let mut hash = [0; 20];
        hash[..8].copy_from_slice(&key.to_be_bytes());
        trackers
            .add(Swarm {
                key: TorrentKey(key),
                info_hashes: vec![InfoHash(hash)],
                ..swarm(urls)
            })
            .await;
    }
}

/// Takes what is told, and counts it, until so much was.
async fn take(events: &mut mpsc::Receiver<TrackerEvent>, count: u64) -> (u64, u64) {
    let (mut answered, mut failed) = (0, 0);
    while answered + failed < count {
        match events.recv().await.unwrap().result {
            Outcome::Answered { .. } => answered += 1,
            Outcome::Failed { .. } => failed += 1,
        }
    }
    (answered, failed)
}

#[tokio::test]
async fn thousands_that_start_and_stop_together_share_a_few_connections_and_each_is_told() {
    const COUNT: usize = 2_000;
    let tracker = fake::Counting::start().await;
    let (trackers, mut events) = start();
    let adding = trackers.clone();
    let url = tracker.url.clone();
    let added = tokio::spawn(async move { add_many(&adding, COUNT as u64, &[&url]).await });
    assert_eq!(take(&mut events, COUNT as u64).await, (COUNT as u64, 0));
    added.await.unwrap();
    // Eight at a time, on connections that are kept.
    let (connections, at_once) = tracker.connections();
    assert!(
        at_once <= http::PER_HOST && connections <= 2 * http::PER_HOST,
        "{connections}, {at_once}"
    );
    assert_eq!(tracker.count(Event::Started), COUNT);
    trackers.stop().await;
    let goodbyes = tracker.count(Event::Stopped);
    let (_, at_once) = tracker.connections();
    assert!(at_once <= hosts::GOODBYES_PER_HOST, "{at_once}");
    // A machine that is busy with other tests may not say all of them in the three seconds that there are.
    assert!(goodbyes > 0 && goodbyes <= COUNT, "{goodbyes}");
    let mut hashes: Vec<InfoHash> = tracker.told().iter().map(|told| told.info_hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), COUNT);
}

/// Time is paused: it jumps ahead whenever all wait.
#[tokio::test(start_paused = true)]
async fn a_tracker_that_is_down_is_called_by_one_for_all_and_every_torrent_hears_why() {
    const COUNT: u64 = 1_000;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    let url = format!("http://{address}/announce");
    // Whoever calls is hung up on.
    let (tell, mut calls) = mpsc::unbounded_channel();
    let hanging_up = tokio::spawn(async move {
        while let Ok((stream, _)) = gone.accept().await {
            drop(stream);
            let _ = tell.send(());
        }
    });
    let (trackers, mut events) = start();
    let (adding, dead) = (trackers.clone(), url.clone());
    let added = tokio::spawn(async move { add_many(&adding, COUNT, &[&dead]).await });
    let clock = Clock::start();
    // Some five minutes of every torrent's asking again.
    assert_eq!(take(&mut events, COUNT * 4).await, (0, COUNT * 4));
    added.await.unwrap();
    let minutes = clock.now().as_secs() / 60 + 1;
    let called = std::iter::from_fn(|| calls.try_recv().ok()).count() as u64;
    assert!(called <= 16 + 4 * minutes, "{called} calls in {minutes} minutes");
    // Once it is back, all are heard.
    hanging_up.abort();
    assert!(hanging_up.await.is_err());
    let back = fake::Counting::at(address).await;
    let (mut answered, mut failed) = (0, 0);
    while answered < COUNT {
        match take(&mut events, 1).await {
            (1, _) => answered += 1,
            _ => failed += 1,
        }
    }
    assert!(failed <= COUNT * 3, "{failed}");
    assert!(back.count(Event::Started) as u64 >= COUNT);
}

#[tokio::test]
async fn a_silent_host_is_passed_over_for_the_next_of_the_tier_and_called_by_who_insists() {
    let other = fake::Counting::start().await;
    let (trackers, mut events) = start();
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let dead = format!("http://{port}/announce");
    add_many(&trackers, 40, &[&dead]).await;
    assert_eq!(take(&mut events, 40).await, (0, 40));
    // A torrent with both: whichever is first in its tier, the one that lives has heard of it at once.
    let both = Swarm {
        key: TorrentKey(99),
        tiers: [vec![Arc::from(dead.as_str()), Arc::from(other.url.as_str())]].into(),
        ..swarm(&[])
    };
    trackers.add(both).await;
    other.until(|told| told.len() == 1).await;
    let back = fake::Counting::at(port).await;
    trackers.insist(TorrentKey(7)).await;
    back.until(|told| told.len() == 1).await;
}
