//! The HTTP edge as clients meet it: real sockets on port 0, each test with the fast lane and without it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config::{Admission, Config, Http, Mode};
use crate::server::{Server, StartError};

const PEER: &str = "peer_id=-XX0001-bbbbbbbbbbbb&port=6881&uploaded=0&downloaded=0&left=0";

fn announce() -> String {
    format!("/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&{PEER}")
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: t\r\n\r\n")
}

fn config(fast_lane: bool) -> Config {
    Config {
        http: Http {
            listen: vec![local()],
            lanes: 2.try_into().ok(),
            fast_lane,
            ..Http::default()
        },
        admin: Some(local()),
        ..Config::default()
    }
}

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// One tracker with the fast lane and one without.
async fn both() -> [Server; 2] {
    both_with(|_| ()).await
}

async fn both_with(change: impl Fn(&mut Config)) -> [Server; 2] {
    let start = async |fast_lane| {
        let mut config = config(fast_lane);
        change(&mut config);
        Server::start(config).await.unwrap()
    };
    [start(true).await, start(false).await]
}

/// A client that checks the framing of every answer it reads.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// One answer: its status, its fields in lower case, its body.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: String,
    fields: Vec<String>,
    body: String,
}

impl Client {
    async fn to(server: &Server) -> Self {
        Self::at(server.http_addresses()[0]).await
    }

    async fn at(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            read: Vec::new(),
        }
    }

    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.say(request).await;
        self.hear().await
    }

    /// Reads exactly one answer.
    async fn hear(&mut self) -> Answer {
        let head_end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            assert!(
                self.more().await,
                "closed in a head: {:?}",
                String::from_utf8_lossy(&self.read)
            );
        };
        let head = String::from_utf8(self.read.drain(..head_end + 4).collect()).unwrap();
        let mut lines = head.trim_end().lines();
        let status = lines.next().unwrap().to_owned();
        let mut fields: Vec<_> = lines.map(str::to_lowercase).collect();
        fields.sort();
        let length = fields
            .iter()
            .find_map(|field| field.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        while self.read.len() < length {
            assert!(self.more().await, "closed in a body");
        }
        let body = String::from_utf8_lossy(&self.read.drain(..length).collect::<Vec<_>>()).into_owned();
        Answer { status, fields, body }
    }

    async fn more(&mut self) -> bool {
        self.stream
            .read_buf(&mut self.read)
            .await
            .is_ok_and(|count| count > 0)
    }

    /// True when the tracker closes without another byte.
    async fn is_closed(&mut self) -> bool {
        self.read.is_empty() && !self.more().await
    }
}

impl Answer {
    fn is_ok(&self) -> bool {
        self.status.ends_with(" 200 OK") && self.fields.contains(&"content-type: text/plain".to_owned())
    }
}

#[tokio::test]
async fn a_connection_is_kept_and_asked_again() {
    for server in both().await {
        let mut client = Client::to(&server).await;
        for _ in 0..3 {
            let answer = client.ask(get(&announce())).await;
            assert!(
                answer.is_ok() && answer.body.starts_with("d8:completei1e"),
                "{answer:?}"
            );
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_hundred_requests_at_once_are_answered_in_their_order() {
    for server in both().await {
        let mut client = Client::to(&server).await;
        let hash = |number: u32| format!("{number:020}");
        let requests: String = (0..100)
            .map(|number| get(&format!("/scrape?info_hash={}", hash(number))))
            .collect();
        client.say(requests).await;
        for number in 0..100 {
            let answer = client.hear().await;
            assert!(answer.body.contains(&hash(number)), "{number}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn more_answers_than_the_socket_takes_are_sent_as_it_takes_them() {
    for server in both().await {
        let client = Client::to(&server).await;
        let hashes: Vec<_> = (0..100).map(|number| format!("info_hash={number:020}")).collect();
        let request = get(&format!("/scrape?{}", hashes.join("&")));
        let count = 400;
        let all = request.repeat(count);
        let (mut reader, mut writer) = client.stream.into_split();
        let writing = tokio::spawn(async move { writer.write_all(all.as_bytes()).await.map(|()| writer) });
        let mut heard = Vec::new();
        let mut answers = 0;
        while answers < count {
            heard.clear();
            assert!(
                reader.read_buf(&mut heard).await.unwrap() > 0,
                "closed after {answers} answers"
            );
            answers += heard.split(|&byte| byte == b'H').count() - 1;
        }
        assert_eq!(answers, count);
        drop(writing.await.unwrap().unwrap());
    }
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    for server in both().await {
        let mut client = Client::to(&server).await;
        client.stream.set_nodelay(true).unwrap();
        for request in [get("/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa"), get(&announce())] {
            for byte in request.as_bytes() {
                client.say([*byte]).await;
                tokio::task::yield_now().await;
            }
            assert!(client.hear().await.is_ok());
        }
    }
}

#[tokio::test]
async fn what_the_lane_does_not_know_is_answered_on_the_same_connection() {
    for server in both().await {
        let mut client = Client::to(&server).await;
        client.say(get(&announce()) + &get("/") + &get(&announce())).await;
        assert!(client.hear().await.is_ok());
        assert!(client.hear().await.status.contains("404"));
        assert!(client.hear().await.is_ok());
    }
}

#[tokio::test]
async fn a_client_that_closes_its_half_is_answered_all_the_same() {
    for server in both().await {
        for _ in 0..20 {
            let mut client = Client::to(&server).await;
            client.say(get(&announce()) + &get("/") + &get(&announce())).await;
            client.stream.shutdown().await.unwrap();
            for status in ["200", "404", "200"] {
                assert!(client.hear().await.status.contains(status));
            }
            assert!(client.is_closed().await);
        }
    }
}

/// Requests whose answers may not depend on the lane. No peers are asked for and nobody is told when to come back, so
/// that chance has no part in them.
fn requests() -> Vec<String> {
    let announce = announce() + "&numwant=0";
    let line = |line: &str| format!("{line}\r\nHost: t\r\n\r\n");
    let mut requests: Vec<_> = [
        "GET /announce HTTP/1.1",
        "GET /announce? HTTP/1.1",
        "GET /announce?info_hash=short HTTP/1.1",
        "GET /scrape HTTP/1.1",
        "GET /scrape HTTP/1.0",
        "GET /scrape?info_hash=aaaaaaaaaaaaaaaaaaaa HTTP/1.1",
        "GET /scrape?info_hash=aaaaaaaaaaaaaaaaaaaa HTTP/1.0",
        "GET /scrape?info_hash=%zz HTTP/1.1",
        "GET http://t/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa HTTP/1.1",
        "GET / HTTP/1.1",
        "GET /announce/ HTTP/1.1",
        "GET //announce HTTP/1.1",
        "GET /%61nnounce HTTP/1.1",
        "GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/announce HTTP/1.1",
        "POST /announce HTTP/1.1",
        "PUT /scrape HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "DELETE / HTTP/1.0",
        "BREW /announce HTTP/1.1",
    ]
    .map(line)
    .to_vec();
    let refusal = announce.replace("port=6881", "port=0");
    for fields in [
        "",
        "Connection: close\r\n",
        "Connection: keep-alive\r\n",
        "Content-Length: 0\r\n",
        "Content-Length: 3\r\n",
        "Expect: 100-continue\r\nContent-Length: 3\r\n",
        "Upgrade: websocket\r\nConnection: upgrade\r\n",
        "User-Agent: Transmission/3.00\r\nAccept: */*\r\nAccept-Encoding: deflate, gzip\r\n",
    ] {
        for version in ["1.0", "1.1"] {
            requests.push(format!("GET {refusal} HTTP/{version}\r\n{fields}\r\n"));
        }
    }
    requests
}

#[tokio::test]
async fn the_answer_does_not_depend_on_the_lane() {
    let [fast, slow] = both().await;
    for request in requests() {
        let (mut one, mut other) = (Client::to(&fast).await, Client::to(&slow).await);
        let (first, second) = (one.ask(&request).await, other.ask(&request).await);
        assert_eq!(first, second, "{request:?}");
        let closing = |answer: &Answer| answer.fields.contains(&"connection: close".to_owned());
        let old = request.contains("HTTP/1.0") && !request.contains("keep-alive");
        if closing(&first) || old {
            assert!(
                one.is_closed().await && other.is_closed().await,
                "{request:?} keeps its connection"
            );
        }
    }
}

#[tokio::test]
async fn nothing_but_get_reaches_a_swarm() {
    for server in both().await {
        for method in ["HEAD", "POST", "PUT"] {
            let mut client = Client::to(&server).await;
            client
                .say(format!(
                    "{method} {} HTTP/1.1\r\nConnection: close\r\n\r\n",
                    announce()
                ))
                .await;
            while client.more().await {}
            assert!(client.read.starts_with(b"HTTP/1.1 405 "), "{method}");
        }
        let mut client = Client::to(&server).await;
        let answer = client.ask(get("/scrape?info_hash=aaaaaaaaaaaaaaaaaaaa")).await;
        assert!(answer.body.contains("8:completei0e"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_wrong_parameter_is_named() {
    for server in both().await {
        let mut client = Client::to(&server).await;
        for (from, to, reason) in [
            ("info_hash=aaaaaaaaaaaaaaaaaaaa", "", "info_hash is missing"),
            ("port=6881", "port=65536", "port must be from 1 to 65535"),
            ("left=0", "left=soon", "left is not a whole number in range"),
            ("left=0", "left=0&event=arrived", "event is none of"),
            (
                "peer_id=-XX",
                "peer_id=%-XX",
                "peer_id has a broken percent escape",
            ),
        ] {
            let answer = client.ask(get(&announce().replace(from, to))).await;
            assert!(
                answer.is_ok() && answer.body.starts_with("d14:failure reason"),
                "{answer:?}"
            );
            assert!(answer.body.contains(reason), "{answer:?}");
            assert!(
                answer.body.contains("8:intervali") && answer.body.contains("8:retry in"),
                "{answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_torrent_that_is_not_ours_is_refused_and_asked_to_come_back_soon() {
    let ours = shared::id::InfoHash(*b"aaaaaaaaaaaaaaaaaaaa");
    for server in both_with(|config| config.mode = Mode::Public(Admission::Only([ours].into()))).await {
        let mut client = Client::to(&server).await;
        assert!(client.ask(get(&announce())).await.body.starts_with("d8:complete"));
        let other = announce().replace("aaaaaaaaaaaaaaaaaaaa", "zzzzzzzzzzzzzzzzzzzz");
        let answer = client.ask(get(&other)).await;
        assert!(answer.body.starts_with("d14:failure reason"), "{answer:?}");
        for words in [
            "unregistered torrent",
            "8:intervali60e",
            "12:min intervali60e",
            "8:retry ini1e",
        ] {
            assert!(answer.body.contains(words), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn who_finds_a_full_tracker_is_told_to_come_back_in_a_quarter_of_an_hour() {
    for server in both_with(|config| config.limits.swarms = 1).await {
        let mut client = Client::to(&server).await;
        assert!(client.ask(get(&announce())).await.body.starts_with("d8:complete"));
        let other = announce().replace("aaaaaaaaaaaaaaaaaaaa", "zzzzzzzzzzzzzzzzzzzz");
        let body = client.ask(get(&other)).await.body;
        for words in ["tracker is full", "8:intervali900e", "8:retry ini15e"] {
            assert!(body.contains(words), "{body:?}");
        }
        let mut owner = Client::at(server.admin_address().unwrap()).await;
        let page = owner.ask(get("/metrics")).await.body;
        assert!(
            page.contains("tracker_errors_total{reason=\"limit\"} 1"),
            "{page}"
        );
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    for server in both().await {
        // As long as all that the tracker reads of it, so that it closes with nothing unread.
        let mut client = Client::to(&server).await;
        let answer = client
            .ask(format!("GET /announce?{:a<1$}", "", 16 * 1024 - 14))
            .await;
        assert!(answer.status.contains("431"), "{answer:?}");
        assert!(client.is_closed().await);
        // The tracker may close before it has read all.
        let mut client = Client::to(&server).await;
        let request = format!("GET /announce?{} HTTP/1.1\r\n\r\n", "a".repeat(70_000));
        let _ = client.stream.write_all(request.as_bytes()).await;
        while client.more().await {}
        assert!(!client.read.starts_with(b"HTTP/1.1 200"));
        assert!(Client::to(&server).await.ask(get(&announce())).await.is_ok());
    }
}

#[tokio::test]
async fn noise_ends_in_an_answer_or_a_close_and_hurts_nobody() {
    for server in both().await {
        for noise in [
            &b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\0\0\0\0\0\0\0\0",
            b"\r\n\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /announce\r\n\r\n",
            b"GET /announce HTTP/9.9\r\n\r\n",
            b"GET /announce HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"GET /announce HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"GET /announce HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"GET /announce?\xff\xfe HTTP/1.1\r\n\r\n",
            b"POST /announce HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ] {
            let mut client = Client::to(&server).await;
            client.say(noise).await;
            client.stream.shutdown().await.unwrap();
            while client.more().await {}
            let answer = String::from_utf8_lossy(&client.read).into_owned();
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1."),
                "{noise:?} gets {answer:?}"
            );
        }
        assert!(Client::to(&server).await.ask(get(&announce())).await.is_ok());
    }
}

#[tokio::test]
async fn who_finds_no_room_is_told_so_and_finds_it_later() {
    for server in both_with(|config| config.limits.connections = 2).await {
        let mut first = Client::to(&server).await;
        let mut second = Client::to(&server).await;
        assert!(first.ask(get(&announce())).await.is_ok() && second.ask(get(&announce())).await.is_ok());
        let mut third = Client::to(&server).await;
        let answer = third.ask(get(&announce())).await;
        assert!(
            answer.status.contains("503") && answer.body.starts_with("d14:failure reason"),
            "{answer:?}"
        );
        assert!(third.is_closed().await);
        drop(first);
        // The tracker learns of the farewell when it next looks at its sockets.
        while !Client::to(&server).await.ask(get(&announce())).await.is_ok() {}
    }
}

#[tokio::test]
async fn there_is_room_for_more_as_soon_as_the_owner_says_so() {
    for server in both_with(|config| config.limits.connections = 1).await {
        let mut first = Client::to(&server).await;
        assert!(first.ask(get(&announce())).await.is_ok());
        assert!(!Client::to(&server).await.ask(get(&announce())).await.is_ok());
        let mut config = server.config();
        config.limits.connections = 2;
        let said = server.reload(config).unwrap();
        assert_eq!(said, ["limits.connections: 1 -> 2"]);
        assert!(Client::to(&server).await.ask(get(&announce())).await.is_ok());
        assert_eq!(server.reload(server.config()).unwrap(), [""; 0]);
    }
}

#[tokio::test]
async fn hundreds_of_idle_connections_are_in_nobodys_way() {
    for server in both().await {
        let mut idle = Vec::new();
        for _ in 0..400 {
            idle.push(Client::to(&server).await);
        }
        assert!(Client::to(&server).await.ask(get(&announce())).await.is_ok());
    }
}

#[tokio::test]
async fn ipv6_clients_are_told_their_address() {
    for fast_lane in [true, false] {
        let v6 = "[::1]:0".parse().unwrap();
        let mut config = config(fast_lane);
        config.http.listen = vec![v6];
        let server = Server::start(config).await;
        if let Ok(server) = server {
            let answer = Client::to(&server).await.ask(get(&announce())).await;
            assert!(
                answer.body.contains("11:external ip16:") && answer.body.contains("6:peers60:"),
                "{answer:?}"
            );
        } else {
            assert!(
                std::net::TcpListener::bind("[::1]:0").is_err(),
                "there is IPv6 on this machine"
            );
        }
    }
}

#[tokio::test]
async fn a_tracker_that_stops_answers_what_it_has_read_and_leaves_its_port() {
    for server in both().await {
        let address = server.http_addresses()[0];
        let (mut idle, mut halfway) = (Client::at(address).await, Client::at(address).await);
        assert!(idle.ask(get(&announce())).await.is_ok());
        assert!(halfway.ask(get(&announce())).await.is_ok());
        halfway.say("GET /announ").await;
        tokio::time::timeout(Duration::from_secs(5), server.stop())
            .await
            .unwrap();
        assert!(idle.is_closed().await);
        while halfway.more().await {}
        assert!(TcpStream::connect(address).await.is_err());
        assert!(std::net::TcpListener::bind(address).is_ok());
    }
}

#[tokio::test]
async fn a_second_tracker_on_the_same_port_or_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = Some(folder.path().join("made/when/missing"));
    let first = Server::start(Config {
        data: data.clone(),
        ..config(true)
    })
    .await
    .unwrap();
    let mut port = config(true);
    port.http.listen = first.http_addresses().to_vec();
    assert!(matches!(
        Server::start(port).await,
        Err(StartError::Listen { .. })
    ));
    let second = Server::start(Config {
        data: data.clone(),
        ..config(true)
    })
    .await
    .unwrap_err();
    assert!(
        second.to_string().contains(&std::process::id().to_string()),
        "{second}"
    );
    first.stop().await;
    Server::start(Config { data, ..config(true) })
        .await
        .unwrap()
        .stop()
        .await;
}

#[tokio::test]
async fn the_owner_sees_what_happened() {
    for server in both().await {
        let mut client = Client::to(&server).await;
        client.ask(get(&announce())).await;
        client.ask(get("/announce?port=0")).await;
        client.ask(get("/nowhere")).await;
        let mut rude = Client::to(&server).await;
        assert!(rude.ask("\x16\x03\x01\r\n\r\n").await.status.contains("400"));
        assert!(rude.is_closed().await);
        let mut owner = Client::at(server.admin_address().unwrap()).await;
        assert_eq!(owner.ask(get("/health")).await.body, "ok\n");
        let page = owner.ask(get("/metrics")).await;
        let kind = "content-type: text/plain; version=0.0.4; charset=utf-8".to_owned();
        assert!(page.fields.contains(&kind), "{:?}", page.fields);
        for line in [
            "tracker_requests_total{ip_version=\"4\",protocol=\"http\",type=\"announce\"} 2",
            "tracker_errors_total{reason=\"query\"} 1",
            "tracker_errors_total{reason=\"path\"} 1",
            "tracker_errors_total{reason=\"malformed\"} 1",
            "tracker_request_duration_seconds_count 2",
            "tracker_torrents 1",
            "tracker_peers{family=\"v4\",role=\"seeder\"} 1",
            "tracker_active_connections{protocol=\"http\"} 1",
        ] {
            assert!(
                page.body.lines().any(|found| found == line),
                "{line} is not in\n{}",
                page.body
            );
        }
        let samples = page.body.lines().filter(|line| !line.starts_with('#'));
        for sample in samples {
            assert!(
                sample.starts_with("tracker_") || sample.starts_with("process_"),
                "{sample}"
            );
        }
    }
}
