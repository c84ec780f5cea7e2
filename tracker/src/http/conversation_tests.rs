//! Conversations over a stream in memory, with a clock that stands still until everyone waits: slowness costs no time.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::Instant;

use super::conversation::{Backlog, Conversation, End};
use super::desk::{Admission, Caller, Desk, House, ScrapeRules, Settings};
use super::forwarded::Trust;
use super::lane::{Front, Lane, Times};
use crate::clock::Clock;
use crate::members::clients::ClientRules;
use crate::metrics::Counters;
use crate::swarm::{Policy, SwarmLimits, Swarms};

const HEAD: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(30);
const WRITE: Duration = Duration::from_secs(20);
const SCRAPE: &[u8] = b"GET /scrape?info_hash=aaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\n\r\n";

fn lane() -> Lane {
    let house = House::Public {
        swarms: Arc::new(Swarms::new(SwarmLimits::default(), [1, 2, 3, 4])),
        admission: Admission::Everyone,
    };
    let settings = Settings {
        policy: Policy::default(),
        scrape: ScrapeRules {
            hashes_max: 100,
            full: false,
        },
        clients: ClientRules::default(),
        line: None,
    };
    let desk = Desk {
        house,
        settings: ArcSwap::from_pointee(settings),
        clock: Clock::start(),
    };
    let times = Times {
        head: HEAD,
        idle: IDLE,
        write: WRITE,
    };
    let front = Front {
        desk: Arc::new(desk),
        trust: Arc::new(Trust::new(Vec::new())),
        times,
        head_bytes: 16 * 1024,
    };
    Lane::new(&front, Arc::new(Counters::default()))
}

/// How a conversation ended and when, and what stood unread in front of the end.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    end: End,
    after: Duration,
    left: Vec<u8>,
}

async fn attend(stream: DuplexStream) -> Ended {
    attend_on(&lane(), stream).await
}

async fn attend_on(lane: &Lane, stream: DuplexStream) -> Ended {
    let begin = Instant::now();
    let caller = Caller::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut conversation = Conversation::new(lane, stream, caller, Backlog::default());
    let end = conversation.talk(lane).await;
    Ended {
        end,
        after: begin.elapsed(),
        left: conversation.backlog.read,
    }
}

/// Says these pieces, each after a pause, and then only listens.
async fn say(client: &mut DuplexStream, pieces: &[&[u8]], pause: Duration) -> io::Result<()> {
    for piece in pieces {
        tokio::time::sleep(pause).await;
        client.write_all(piece).await?;
    }
    Ok(())
}

async fn slowly(pieces: &[&[u8]], pause: Duration) -> (Ended, String) {
    let (mut client, server) = duplex(64 * 1024);
    let talking = async {
        let _ = say(&mut client, pieces, pause).await;
        let mut heard = Vec::new();
        let _ = client.read_to_end(&mut heard).await;
        String::from_utf8(heard).unwrap()
    };
    tokio::join!(attend(server), talking)
}

#[tokio::test(start_paused = true)]
async fn a_head_sent_one_byte_a_minute_is_ended() {
    let bytes: Vec<&[u8]> = SCRAPE.chunks(1).collect();
    let (ended, _) = slowly(&bytes, Duration::from_mins(1)).await;
    assert_eq!((ended.end, ended.after), (End::Closed, HEAD));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_keep_coming_do_not_move_the_deadline_of_a_head() {
    let bytes: Vec<&[u8]> = SCRAPE.chunks(1).collect();
    let (ended, heard) = slowly(&bytes, Duration::from_secs(1)).await;
    assert_eq!((ended.end, ended.after), (End::Closed, HEAD));
    assert!(heard.starts_with("HTTP/1.1 408 "), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn every_head_has_its_own_time_and_silence_in_between_another() {
    let (first, second) = SCRAPE.split_at(20);
    // 9 s for each half of a head is too slow for one head, but not for a head and a pause.
    let (ended, heard) = slowly(&[SCRAPE, SCRAPE, first, second], Duration::from_secs(9)).await;
    assert_eq!(heard.matches("HTTP/1.1 200 OK").count(), 3);
    assert_eq!(
        (ended.end, ended.after),
        (End::Closed, Duration::from_secs(36) + IDLE)
    );
    let (ended, heard) = slowly(&[SCRAPE, first, second], Duration::from_secs(11)).await;
    assert_eq!(heard.matches("HTTP/1.1 200 OK").count(), 0);
    assert_eq!(ended.after, HEAD);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_left_without_a_word() {
    let (ended, heard) = slowly(&[], Duration::ZERO).await;
    assert_eq!((ended.end, ended.after, heard.as_str()), (End::Closed, HEAD, ""));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_its_answers_is_left() {
    let (mut client, server) = duplex(64);
    let asking = async { while client.write_all(SCRAPE).await.is_ok() {} };
    let (ended, ()) = tokio::join!(attend(server), asking);
    assert_eq!((ended.end, ended.after), (End::Closed, WRITE));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_pauses_lets_the_others_have_their_turn() {
    let (mut client, server) = duplex(1024 * 1024);
    client.write_all(&SCRAPE.repeat(2_000)).await.unwrap();
    client.shutdown().await.unwrap();
    let others = Cell::new(0);
    let waiting = async {
        loop {
            tokio::task::yield_now().await;
            others.set(others.get() + 1);
        }
    };
    tokio::select! {
        _ = attend(server) => (),
        () = waiting => (),
    }
    // So many requests fill the lane's buffer several times. Which of the two is polled first, and so may come one turn
    // short, is `select!`'s own choice; without turns there would be one at most.
    assert!(others.get() >= 2, "{} turns", others.get());
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_stops_sends_the_answer_that_is_under_way_and_reads_nothing_more() {
    let lane = lane();
    let (mut client, server) = duplex(64);
    let client = async {
        client.write_all(SCRAPE).await.unwrap();
        client.write_all(SCRAPE).await.unwrap();
        // The lane has answered, and the stream took no more than its beginning.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut heard = Vec::new();
        let ((), read) = tokio::join!(lane.finish(), client.read_to_end(&mut heard));
        read.unwrap();
        String::from_utf8(heard).unwrap()
    };
    let (ended, heard) = tokio::join!(attend_on(&lane, server), client);
    assert_eq!(ended.end, End::Closed);
    assert_eq!(heard.matches("HTTP/1.1 200 OK").count(), 1);
    assert!(heard.ends_with("eeee"), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_foreign_is_given_back_whole_and_after_the_answers_before_it() {
    let foreign = b"POST /api HTTP/1.1\r\n\r\n";
    let (mut client, server) = duplex(64 * 1024);
    client
        .write_all(&[SCRAPE, SCRAPE, foreign].concat())
        .await
        .unwrap();
    let ended = attend(server).await;
    assert_eq!((ended.end, ended.left.as_slice()), (End::Foreign, &foreign[..]));
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard.matches("HTTP/1.1 200 OK").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_given_back_when_the_buffer_is_full() {
    let (mut client, server) = duplex(64 * 1024);
    client
        .write_all(&[b"GET /announce?".as_slice(), &vec![b'a'; 40_000]].concat())
        .await
        .unwrap();
    let ended = attend(server).await;
    assert_eq!((ended.end, ended.left.len()), (End::Foreign, 16 * 1024));
}

/// Requests, broken ones and noise, as one stream of bytes.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop_oneof![
        Just(SCRAPE.to_vec()),
        Just(b"GET /announce?info_hash=%00 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_vec()),
        Just(b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
        "[ -~\r\n]{0,60}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_cut_anywhere_end_in_answers_and_a_close(bytes in noise(), cut in 1_usize..50) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let whole = runtime.block_on(slowly(&[&bytes], Duration::ZERO));
        let pieces: Vec<_> = bytes.chunks(cut).collect();
        let cut = runtime.block_on(slowly(&pieces, Duration::from_millis(1)));
        // However it was cut, as much of it was answered and the same is left.
        prop_assert_eq!(whole.1, cut.1);
        prop_assert_eq!(whole.0.end, cut.0.end);
        prop_assert!(whole.0.left.starts_with(&cut.0.left));
    }
}
