//! The edge around announces, over real sockets and with the fast lane and without it: members and their refusals, proxies,
//! Unix sockets, TLS.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::config::{Config, Mode, Tls};
use crate::members::office::{Actor, AddMember, AddTorrent, Office};
use crate::server::{Server, StartError};

/// A torrent with one file of five bytes, and its info-hash.
const TORRENT: &[u8] =
    b"d4:infod6:lengthi5e4:name5:photo12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee";

const PEER: &str = "peer_id=-TR3000-bbbbbbbbbbbb&port=6881&uploaded=0&downloaded=0&left=0&numwant=0";

const OTHER_HASH: &str = "info_hash=zzzzzzzzzzzzzzzzzzzz";

/// Bytes of an entry in the journal.
const RECORD: u64 = 112;

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn config(fast_lane: bool) -> Config {
    let mut config = Config {
        admin: Some(local()),
        ..Config::default()
    };
    config.http.listen = vec![local()];
    config.http.lanes = 2.try_into().ok();
    config.http.fast_lane = fast_lane;
    config
}

/// Sends a request and reads one answer, head and body.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        assert!(
            stream.read_buf(&mut read).await.unwrap() > 0,
            "closed in {text:?}"
        );
    }
}

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: t\r\n{fields}\r\n")
}

async fn ask_at(address: SocketAddr, target: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    ask(&mut stream, &get(target, fields)).await
}

/// A tracker with members.
struct Club {
    server: Server,
    _folder: TempDir,
}

impl Club {
    async fn open(fast_lane: bool, change: impl Fn(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(fast_lane);
        config.mode = Mode::Private;
        config.data = Some(folder.path().join("data"));
        change(&mut config);
        Self {
            server: Server::start(config).await.unwrap(),
            _folder: folder,
        }
    }

    fn office(&self) -> &Arc<Office> {
        self.server.office().unwrap()
    }

    /// Adds a member, and tells its key.
    async fn member(&self, name: &str) -> String {
        let new = AddMember {
            name: name.to_owned(),
            ..AddMember::default()
        };
        let card = self.office().add_member(&Actor::Owner, new).await.unwrap();
        card.passkey.unwrap()
    }

    /// Registers the torrent, and tells its hash as it stands in a query.
    async fn torrent(&self) -> String {
        let card = self
            .office()
            .add_torrent(&Actor::Owner, TORRENT, AddTorrent::default())
            .await
            .unwrap();
        escaped(&card.info_hash_v1.unwrap())
    }

    async fn ask(&self, target: &str) -> String {
        ask_at(self.server.http_addresses()[0], target, "").await
    }

    async fn metrics(&self) -> String {
        ask_at(self.server.admin_address().unwrap(), "/metrics", "").await
    }
}

fn escaped(hash: &str) -> String {
    let pairs: Vec<_> = hash
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap())
        .collect();
    format!("info_hash=%{}", pairs.join("%"))
}

/// What a client shows of an answer: the failure, or the warning.
fn shown(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    for key in ["14:failure reason", "15:warning message"] {
        if let Some((_, rest)) = body.split_once(key) {
            let (length, text) = rest.split_once(':').unwrap();
            let kind = key.split([':', ' ']).nth(1).unwrap();
            return format!("{kind}: {}", &text[..length.parse().unwrap()]);
        }
    }
    "peers".to_owned()
}

#[expect(clippy::too_many_lines, reason = "a table of refusals")]
#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_says_why_and_a_farewell_is_never_a_failure() {
    for fast_lane in [true, false] {
        let deny = |config: &mut Config| config.clients.deny = vec!["qB<4.5".to_owned()];
        let club = Club::open(fast_lane, deny).await;
        let (key, hash) = (club.member("anna").await, club.torrent().await);
        let barred = club.member("ben").await;
        club.office()
            .disable(&Actor::Owner, "ben", "moved away")
            .await
            .unwrap();
        let old = PEER.replace("-TR3000-", "-qB4490-");
        for (target, words) in [
            (
                format!("/announce?{hash}&{PEER}"),
                "unknown key: take a fresh .torrent or link from your tracker",
            ),
            (
                "/announce".to_owned(),
                "unknown key: take a fresh .torrent or link from your tracker",
            ),
            (
                format!("/{}/announce?{hash}&{PEER}", "a".repeat(32)),
                "unknown key: take a fresh .torrent or link from your tracker",
            ),
            (
                format!("/x/announce?{hash}&{PEER}"),
                "unknown key: take a fresh .torrent or link from your tracker",
            ),
            (
                format!("/{barred}/announce?{hash}&{PEER}"),
                "disabled: moved away",
            ),
            (
                format!("/{key}/announce?{OTHER_HASH}&{PEER}"),
                "unregistered torrent: ask the tracker's owner to add it",
            ),
            (
                format!("/{key}/announce?{hash}&{old}"),
                "client not allowed here: qBittorrent 4.4.9",
            ),
            (
                format!("/{key}/announce?{hash}&{}", PEER.replace("6881", "0")),
                "port must be from 1 to 65535",
            ),
            (format!("/{key}/announce?{PEER}"), "info_hash is missing"),
        ] {
            assert_eq!(
                shown(&club.ask(&target).await),
                format!("failure: {words}"),
                "{target}"
            );
            if target.contains('?') {
                let farewell = format!("{target}&event=stopped");
                assert_eq!(
                    shown(&club.ask(&farewell).await),
                    format!("warning: {words}"),
                    "{farewell}"
                );
            }
        }
        let page = club.metrics().await;
        for line in [
            "unknown_key\"} 7",
            "disabled\"} 2",
            "unregistered\"} 2",
            "client\"} 2",
            "query\"} 4",
        ] {
            assert!(
                page.contains(&format!("tracker_errors_total{{reason=\"{line}\n")),
                "{line}: {page}"
            );
        }
        club.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unregistered_torrent_comes_back_soon_and_a_removed_one_is_told_why() {
    let club = Club::open(true, |_| ()).await;
    let (key, hash) = (club.member("anna").await, club.torrent().await);
    let answer = club.ask(&format!("/{key}/announce?{OTHER_HASH}&{PEER}")).await;
    assert!(
        answer.contains("8:intervali60e") && answer.contains("8:retry ini1e"),
        "{answer}"
    );
    let page = club.office().torrents("", 0, 10).await.unwrap();
    let card = page.torrents.first().unwrap();
    let hex = card.info_hash_v1.clone().unwrap();
    club.office()
        .remove_torrent(&Actor::Owner, &hex, "wrong album")
        .await
        .unwrap();
    let answer = club.ask(&format!("/{key}/announce?{hash}&{PEER}")).await;
    assert_eq!(shown(&answer), "failure: removed: wrong album");
    assert!(answer.contains("8:intervali3600e"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_leave_together_find_all_their_entries_in_the_journal() {
    for fast_lane in [true, false] {
        let club = Club::open(fast_lane, |_| ()).await;
        let (key, hash) = (club.member("anna").await, club.torrent().await);
        let many = (10..30).map(|number| {
            let peer = PEER.replace("bbbbbbbbbbbb", &format!("bbbbbbbbbb{number}"));
            get(&format!("/{key}/announce?{hash}&{peer}&event=started"), "")
        });
        let mut stream = TcpStream::connect(club.server.http_addresses()[0]).await.unwrap();
        let first = ask(&mut stream, &many.collect::<String>()).await;
        let data = club.server.config().data.unwrap();
        let entered: u64 = std::fs::read_dir(data)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("journal-"))
            .map(|entry| entry.metadata().unwrap().len())
            .sum();
        let answered = u64::try_from(first.matches("HTTP/1.1 200").count()).unwrap();
        assert!(
            answered > 0 && entered / RECORD >= answered,
            "{answered} answers, {entered} bytes"
        );
        club.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_are_for_members_too() {
    for fast_lane in [true, false] {
        let club = Club::open(fast_lane, |_| ()).await;
        let (key, hash) = (club.member("anna").await, club.torrent().await);
        let answer = club.ask(&format!("/{key}/scrape?{hash}&{OTHER_HASH}")).await;
        assert!(answer.contains("d5:filesd20:"), "{answer}");
        let answer = club.ask(&format!("/scrape?{hash}")).await;
        assert!(shown(&answer).starts_with("failure: unknown key"), "{answer}");
        let answer = club.ask(&format!("/{key}/scrape")).await;
        assert_eq!(
            shown(&answer),
            "failure: info_hash is missing: full scrapes are switched off"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_is_traced_shows_what_was_answered_and_why() {
    let club = Club::open(true, |_| ()).await;
    let (key, hash) = (club.member("anna").await, club.torrent().await);
    let mut listening = club.server.trace("anna").unwrap();
    club.ask(&format!("/{key}/announce?{hash}&{PEER}&event=started"))
        .await;
    club.ask(&format!("/{key}/announce?{OTHER_HASH}&{PEER}&event=stopped"))
        .await;
    club.office().disable(&Actor::Owner, "anna", "").await.unwrap();
    club.ask(&format!("/{key}/announce?{hash}&{PEER}")).await;
    club.ask(&format!("/{key}/announce")).await;
    for (event, client, answered, why) in [
        ("started", "Transmission 3.00", "peers", None),
        (
            "stopped",
            "Transmission 3.00",
            "warning",
            Some("unregistered torrent: ask the tracker's owner to add it"),
        ),
        ("announce", "Transmission 3.00", "failure", Some("disabled")),
        ("announce", "", "failure", Some("info_hash is missing")),
    ] {
        let Some(super::trace::Heard::Announce(traced)) = listening.next().await else {
            panic!("nothing was heard of {event}")
        };
        let found = (
            traced.event,
            traced.client.as_str(),
            traced.answered,
            traced.why.as_deref(),
        );
        assert_eq!(found, (event, client, answered, why));
        assert_eq!(traced.address, "127.0.0.0/24");
    }
    drop(listening);
    club.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_of_clients_change_while_the_tracker_runs() {
    let club = Club::open(true, |_| ()).await;
    let (key, hash) = (club.member("anna").await, club.torrent().await);
    let target = format!("/{key}/announce?{hash}&{PEER}");
    assert!(!club.ask(&target).await.contains("not allowed"));
    let mut config = club.server.config();
    config.clients.deny = vec!["Transmission".to_owned()];
    let said = club.server.reload(config.clone()).unwrap();
    assert!(
        said.iter().any(|line| line.starts_with("clients.deny")),
        "{said:?}"
    );
    assert_eq!(
        shown(&club.ask(&target).await),
        "failure: client not allowed here: Transmission 3.00"
    );
    config.clients.deny = vec!["what is this".to_owned()];
    club.server.reload(config).unwrap_err();
    assert!(club.ask(&target).await.contains("not allowed"));
}

#[tokio::test]
async fn only_a_trusted_proxy_speaks_for_others() {
    let target = format!("/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&{PEER}");
    for fast_lane in [true, false] {
        for (trusted, fields, ip) in [
            (
                "127.0.0.0/8",
                "X-Forwarded-For: 203.0.113.7, 198.51.100.9\r\n",
                [198, 51, 100, 9],
            ),
            (
                "127.0.0.0/8",
                "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 198.51.100.9,127.0.0.1\r\n",
                [198, 51, 100, 9],
            ),
            (
                "127.0.0.0/8",
                "forwarded: for=203.0.113.7, for=\"198.51.100.9:80\"\r\n",
                [198, 51, 100, 9],
            ),
            ("127.0.0.0/8", "", [127, 0, 0, 1]),
            ("10.0.0.0/8", "X-Forwarded-For: 198.51.100.9\r\n", [127, 0, 0, 1]),
        ] {
            let mut config = config(fast_lane);
            config.http.trusted_proxies = vec![trusted.parse().unwrap()];
            let server = Server::start(config).await.unwrap();
            let mut stream = TcpStream::connect(server.http_addresses()[0]).await.unwrap();
            let request = get(&target, fields);
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut read = Vec::new();
            let mut external = b"11:external ip4:".to_vec();
            external.extend(ip);
            while !read.windows(external.len()).any(|window| window == external) {
                let count = stream.read_buf(&mut read).await.unwrap();
                assert!(count > 0, "{fields:?}");
                let whole = read.ends_with(b"ee") || read.ends_with(b"e");
                let found = read.windows(external.len()).any(|window| window == external);
                assert!(!whole || found, "{fields:?}: {}", read.escape_ascii());
            }
            let page = ask_at(server.admin_address().unwrap(), "/metrics", "").await;
            let ignored = u8::from(trusted == "10.0.0.0/8");
            assert!(
                page.contains(&format!("tracker_forwarded_ignored_total {ignored}\n")),
                "{fields:?}"
            );
        }
    }
}

#[tokio::test]
async fn behind_a_unix_socket_the_proxy_says_who_asks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("announce.sock");
    for fast_lane in [true, false] {
        let mut config = config(fast_lane);
        config.http.unix = vec![path.clone()];
        let server = Server::start(config).await.unwrap();
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let target = format!("/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&{PEER}");
        let answer = ask(&mut stream, &get(&target, "")).await;
        assert_eq!(
            shown(&answer),
            "failure: this tracker's proxy hides your address: tell its owner"
        );
        for fields in [
            "X-Forwarded-For: 198.51.100.9\r\n",
            "Forwarded: for=\"[2001:db8::9]:4711\"\r\n",
        ] {
            let answer = ask(&mut stream, &get(&target, fields)).await;
            assert_eq!(shown(&answer), "peers", "{answer}");
        }
        // Pages stay on the same connection.
        let answer = ask(&mut stream, &get("/", "X-Forwarded-For: 198.51.100.9\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        let target = target.replace("6881", "6882");
        let answer = ask(&mut stream, &get(&target, "X-Forwarded-For: 198.51.100.9\r\n")).await;
        assert_eq!(shown(&answer), "peers");
        server.stop().await;
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_socket_that_is_in_use_is_refused_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("announce.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut config = config(true);
    config.http.unix = vec![path];
    let error = Server::start(config).await.unwrap_err();
    assert!(matches!(error, StartError::Socket { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("announce.sock: a program listens on it"),
        "{error}"
    );
}

fn given(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// A client that trusts one authority.
async fn connect_tls(
    address: SocketAddr,
    authority: &str,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(given(authority)).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

#[tokio::test]
async fn announces_and_pages_go_over_tls_and_a_renewed_certificate_needs_no_restart() {
    for fast_lane in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("certificate"), folder.path().join("key"));
        let renew = |name: &str| {
            std::fs::copy(given(&format!("{name}-key.pem")), &key).unwrap();
            std::fs::copy(given(&format!("{name}.pem")), &certificate).unwrap();
        };
        renew("one");
        let mut config = config(fast_lane);
        config.http.tls = Some(Tls {
            listen: vec![local()],
            certificate: certificate.clone(),
            key: key.clone(),
        });
        let server = Server::start(config).await.unwrap();
        let address = server.https_addresses()[0];
        let mut stream = connect_tls(address, "ca-one.pem").await.unwrap();
        let scrapes: Vec<_> = (0..100).map(|number| format!("info_hash={number:020}")).collect();
        for _ in 0..3 {
            let answer = ask(&mut stream, &get(&format!("/scrape?{}", scrapes.join("&")), "")).await;
            assert!(answer.contains("d5:filesd"), "{answer}");
            let answer = ask(&mut stream, &get("/nothing", "")).await;
            assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        }
        renew("two");
        let said = server.reload(server.config()).unwrap();
        assert_eq!(said, ["the renewed certificate is in force"]);
        connect_tls(address, "ca-one.pem").await.unwrap_err();
        connect_tls(address, "ca-two.pem").await.unwrap();
        // Who began with the old one goes on with it.
        assert!(
            ask(&mut stream, &get("/nothing", ""))
                .await
                .starts_with("HTTP/1.1 404")
        );
        // Noise ends in a close.
        let mut noise = TcpStream::connect(address).await.unwrap();
        noise.write_all(b"GET /announce HTTP/1.1\r\n\r\n").await.unwrap();
        let mut heard = Vec::new();
        let closing = tokio::time::timeout(Duration::from_secs(20), noise.read_to_end(&mut heard));
        drop(closing.await.expect("noise is not answered for ever"));
        server.stop().await;
    }
}
