//! Bodies, paths and queries that mean no good.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::json;

use super::*;
use crate::api::CHANGES_MAX;

/// A body that gives its frames and then nothing, for ever.
struct Stalled(Vec<&'static [u8]>);

impl hyper::body::Body for Stalled {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.0.pop() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(bytes))))),
            None => Poll::Pending,
        }
    }
}

/// As many bytes as anybody reads.
fn endless() -> Body {
    let frames = futures_util::stream::repeat_with(|| {
        Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(&[b' '; 4_096])))
    });
    Body::new(StreamBody::new(frames))
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_or_not_it_says_so() {
    let house = House::open().await;
    let said = ask("POST", "/members")
        .here()
        .field("content-length", "70000")
        .text("{}");
    house.hear(said).await.is_problem(413, "64 KiB");
    house
        .hear(ask("POST", "/members").here().text(endless()))
        .await
        .is_problem(413, "64 KiB");
    house
        .hear(ask("POST", "/torrents").here().torrent(endless()))
        .await
        .is_problem(413, "32768 KiB");
    house
        .hear(ask("POST", "/owner").text(endless()))
        .await
        .is_problem(413, "64 KiB");
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let house = House::open().await;
    tokio::time::pause();
    let slow = || Body::new(Stalled(vec![b"{\"name\":"]));
    house
        .hear(ask("POST", "/members").here().text(slow()))
        .await
        .is_problem(408, "10 s");
    house
        .hear(ask("POST", "/torrents").here().torrent(slow()))
        .await
        .is_problem(408, "300 s");
    house
        .hear(ask("POST", "/invitations/redeem").text(slow()))
        .await
        .is_problem(408, "10 s");
}

#[tokio::test]
async fn a_strangers_body_is_not_read_where_a_key_is_needed() {
    let house = House::open().await;
    let answer = house
        .hear(ask("POST", "/members").text(Body::new(Stalled(vec![]))))
        .await;
    answer.is_problem(401, "scope members");
}

#[tokio::test]
async fn strangers_with_slow_bodies_hold_nobody_up() {
    let house = House::open().await;
    let slow = (0..CHANGES_MAX).map(|_| {
        let body = Body::new(Stalled(vec![b"{"]));
        house.hear(ask("POST", "/invitations/redeem").text(body))
    });
    let mut slow = std::pin::pin!(futures_util::future::join_all(slow));
    assert!(futures_util::poll!(&mut slow).is_pending());
    tokio::task::yield_now().await;
    house.member("Ada").await;
}

#[tokio::test]
async fn no_more_torrents_are_received_at_once_than_memory_allows() {
    let house = House::open().await;
    let places: Vec<_> = (0..4).map(|_| house.api.uploads.try_acquire().unwrap()).collect();
    let answer = house.hear(ask("POST", "/torrents").here().torrent(TORRENT)).await;
    answer.is_problem(503, "at once");
    assert!(answer.field("retry-after").is_some());
    drop(places);
    house.torrent().await;
}

#[tokio::test]
async fn bodies_of_other_kinds_and_broken_ones_are_told_apart() {
    let house = House::open().await;
    let post = || ask("POST", "/members").here();
    let deep = format!("{}{}", "[".repeat(60_000), "]".repeat(100));
    for (request, status, words) in [
        (
            post().field("content-type", "text/plain"),
            415,
            "application/json",
        ),
        (post(), 415, "application/json"),
        (post().text("{\"name\":"), 400, "not JSON"),
        (post().text(""), 400, "not JSON"),
        (post().text(&b"{\"name\":\"\xff\"}"[..]), 400, "not JSON"),
        (post().text(deep), 422, "list"),
        (post().text("{\"name\":1}"), 422, "string"),
        (
            post().text("{\"name\":\"Ada\",\"admin\":true}"),
            422,
            "unknown field",
        ),
        (post().text("{\"name\":\"Ada\",\"role\":\"king\"}"), 422, "king"),
        (
            post().text("{\"name\":\"Ada\",\"expires\":\"soon\"}"),
            422,
            "soon",
        ),
        (post().text("{\"name\":\"\"}"), 422, "name"),
        (
            ask("POST", "/torrents").here().text("{}"),
            415,
            "application/x-bittorrent",
        ),
        (
            ask("POST", "/torrents").here().torrent("d4:infolee"),
            422,
            "not a torrent",
        ),
        (
            ask("POST", "/torrents?privat=1").here().torrent(TORRENT),
            400,
            "unknown field",
        ),
        (
            ask("POST", "/torrents?private=perhaps").here().torrent(TORRENT),
            400,
            "query",
        ),
        (ask("GET", "/members?limit=-1").here(), 400, "query"),
        (ask("GET", "/members/%ff").here(), 400, "path"),
        (ask("DELETE", "/invitations/one").here(), 400, "path"),
        (ask("GET", "/torrents/xyz").here(), 422, ""),
    ] {
        let answer = house.hear(request).await;
        if status != 422 || !words.is_empty() {
            answer.is_problem(status, words);
        }
        assert!(answer.status.is_client_error());
    }
    let charset = post().field("content-type", "Application/JSON; charset=utf-8");
    let charset = Ask {
        body: json!({ "name": "Ada" }).to_string().into(),
        ..charset
    };
    House::good(&house.hear(charset).await);
}

#[tokio::test]
async fn hostile_bytes_never_bring_a_route_down() {
    let house = House::open().await;
    for rule in crate::api::table::TABLE
        .iter()
        .filter(|rule| rule.path != "/backup")
    {
        for name in ["%00", "..%2f..%2fetc", "%E2%80%AE", "'%3b--", &"x".repeat(4_000)] {
            let path = ["{name}", "{hash}", "{id}"]
                .iter()
                .fold(rule.path.to_owned(), |path, part| path.replace(part, name));
            for body in [
                &b"null"[..],
                b"[]",
                b"\"\"",
                b"{\"name\":\"\\u0000\",\"code\":\"\\ud83d\\ude00\"}",
                b"\xff\xfe",
            ] {
                let answer = house.hear(ask(rule.method, &path).here().text(body)).await;
                assert_ne!(answer.status, 500, "{} {path}: {}", rule.method, answer.words());
            }
        }
    }
}
