//! The same over real sockets: the owner's over `control.sock`, anyone's over the port.

use std::time::Duration;

use axum::http::Method;
use edge::client::{Client, ClientError, Payload};
use edge::control;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::api::bodies::Stats;
use crate::api::{Admin, Ports};

/// A house with its doors open.
struct Open {
    house: House,
    ports: Ports,
}

impl Open {
    async fn new() -> Self {
        let house = House::open().await;
        let admin = Admin {
            listen: "127.0.0.1:0".parse().unwrap(),
            hosts: Vec::new(),
            token: Token::open(house.folder.path()).unwrap(),
        };
        let ports = Ports::open(&house.api, house.folder.path(), Some(admin), house.stop.clone());
        Self {
            ports: ports.unwrap(),
            house,
        }
    }

    async fn client(&self) -> Client {
        Client::connect(self.house.folder.path()).await.unwrap()
    }

    async fn call(&self) -> TcpStream {
        TcpStream::connect(self.ports.admin_address().unwrap())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn the_control_socket_needs_no_token_and_goes_with_the_program() {
    let open = Open::new().await;
    let client = open.client().await;
    let answer = client
        .send(Method::GET, "/stats", Payload::Nothing)
        .await
        .unwrap();
    assert_eq!(answer.read::<Stats>().unwrap().engine.torrents, 0);
    let refused = client
        .send(Method::GET, "/torrents/00000000", Payload::Nothing)
        .await
        .unwrap();
    let refused = refused.read::<Value>().unwrap_err().to_string();
    assert!(refused.contains("there is no torrent"), "{refused}");
    open.ports.close().await;
    let gone = client.send(Method::GET, "/stats", Payload::Nothing).await;
    assert!(matches!(gone, Err(ClientError::Absent)));
}

#[tokio::test]
async fn a_second_process_of_a_folder_has_a_socket_of_its_own() {
    let open = Open::new().await;
    let folder = open.house.folder.path();
    let stop = CancellationToken::new();
    let second = Ports::open(&open.house.api, folder, None, stop).unwrap();
    let own = format!("control-{}.sock", std::process::id());
    assert_eq!(
        control::names(folder).unwrap(),
        [control::NAME.to_owned(), own.clone()]
    );
    let client = Client::connect_to(folder, &own).await.unwrap();
    let answer = client
        .send(Method::GET, "/stats", Payload::Nothing)
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    second.close().await;
    assert_eq!(control::names(folder).unwrap(), [control::NAME]);
}

#[tokio::test]
async fn events_are_told_as_they_happen_and_the_stream_ends_with_the_program() {
    let open = Open::new().await;
    let client = open.client().await;
    let mut lines = client.follow("/events").await.unwrap();
    let mut next = async || {
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next()).await;
        line.unwrap()
            .unwrap()
            .map(|line| serde_json::from_slice::<Value>(&line).unwrap())
    };
    assert_eq!(next().await.unwrap()["event"], "listening");
    let hash = open.house.with_torrent().await;
    let added = loop {
        let line = next().await.unwrap();
        if line["event"] == "added" {
            break line;
        }
    };
    assert_eq!((&added["name"], &added["info_hash"]), (&"a".into(), &hash.into()));
    open.ports.close().await;
    while next().await.is_some() {}
}

#[tokio::test]
async fn a_browser_gets_server_sent_events() {
    let open = Open::new().await;
    let mut stream = open.call().await;
    let ask = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nAuthorization: Bearer {}\r\n\r\n",
        open.house.token
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut heard = String::new();
    while !heard.contains("event: listening\ndata: {\"event\":\"listening\"}\n\n") {
        let mut some = [0; 1_024];
        let count = stream.read(&mut some).await.unwrap();
        assert!(count > 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(some.get(..count).unwrap()));
    }
    assert!(heard.contains("Content-Type: text/event-stream"), "{heard}");
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_missed_and_nothing_is_kept_for_it() {
    let house = House::open().await;
    let request = request("GET", "/api/v1/events").extension(Local);
    let response = house
        .router
        .clone()
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let mut body = response.into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "{\"event\":\"listening\"}\n"
    );
    let key = crate::engine::TorrentKey(0);
    for _ in 0..10_000 {
        house.api.engine.tell(crate::engine::Event::Changed { key });
    }
    let line = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let line: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(line["event"], "missed");
    assert!(line["count"].as_u64().unwrap() > 5_000, "{line}");
}

#[tokio::test(start_paused = true)]
async fn whoever_never_ends_a_head_or_a_body_is_cut_off() {
    let open = Open::new().await;
    let mut heads = open.call().await;
    heads
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        .await
        .unwrap();
    let mut heard = Vec::new();
    // A reset is as good an end.
    let _ = heads.read_to_end(&mut heard).await;
    assert!(!heard.starts_with(b"HTTP/1.1 200"));

    let mut bodies = open.call().await;
    let ask = format!(
        "PATCH /api/v1/limits HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900\r\nAuthorization: Bearer {}\r\n\r\n{{",
        open.house.token
    );
    bodies.write_all(ask.as_bytes()).await.unwrap();
    let mut heard = String::new();
    bodies.read_to_string(&mut heard).await.unwrap();
    assert!(heard.starts_with("HTTP/1.1 408 "), "{heard}");
}
