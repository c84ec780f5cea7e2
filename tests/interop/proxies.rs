//! Behind nginx, over TCP and over a Unix socket, and TLS without anybody in front: whose address counts, and certificates that
//! are renewed while the tracker runs.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::announce::Event;
use shared::id::InfoHash;
use tempfile::TempDir;
use tests::fake_member::FakeMember;
use tests::our_tracker::{OurTracker, Setup};
use tests::rig::{Program, Running, Stream, ask_until};

use crate::scene::LIMIT;

/// Where nginx comes from when it speaks to the tracker.
const PROXY: &str = "127.0.0.5";

/// nginx in front of one upstream, at an address of its own.
struct Nginx {
    address: SocketAddr,
    _running: Running,
}

impl Nginx {
    fn start(folder: &Path, upstream: &str) -> Self {
        // nginx takes no port 0: this one was free a moment ago, at an address that nobody else uses.
        let address = TcpListener::bind("127.0.0.6:0").unwrap().local_addr().unwrap();
        let bind = if upstream.contains("unix:") {
            String::new()
        } else {
            format!("proxy_bind {PROXY};")
        };
        let configuration = format!(
            "daemon off; master_process off; pid {0}/nginx.pid; error_log stderr info; events {{ }}\n\
             http {{ access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/f;\n\
             uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
             server {{ listen {address}; location / {{ proxy_pass http://{upstream}; {bind} proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}\n",
            folder.display()
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let running = Program::named("/usr/sbin/nginx")
            .called("nginx")
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(folder)
            .start();
        ask_until("nginx", LIMIT, || std::net::TcpStream::connect(address).ok());
        Self {
            address,
            _running: running,
        }
    }
}

struct House {
    tracker: OurTracker,
    torrent: InfoHash,
    key: String,
    folder: TempDir,
}

impl House {
    fn open(settings: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tracker = Setup::default()
            .settings(&settings(folder.path()))
            .start(folder.path());
        let torrent = tracker.register("holiday");
        let key = tracker.add_member("anna");
        Self {
            tracker,
            torrent,
            key,
            folder,
        }
    }

    fn client(&self, name: &str, port: u16) -> FakeMember {
        self.tracker.client(&self.key, self.torrent, name, port)
    }

    /// Where the tracker says that peers are.
    fn peers(&self) -> Vec<SocketAddr> {
        let asker = self.client("asker", 9_000);
        let peers = asker.announce(self.tracker.address(), Event::Started).peers;
        asker.announce(self.tracker.address(), Event::Stopped);
        peers
    }
}

/// An announce through nginx by a client that lies about its address.
#[track_caller]
fn through_nginx(house: &House, upstream: &str) {
    let nginx = Nginx::start(house.folder.path(), upstream);
    let from: IpAddr = "127.0.0.9".parse().unwrap();
    let lies = house.client("liar", 7_000).request(Event::Started).from(from);
    let answer = lies.header("X-Forwarded-For", "5.5.5.5").send(nginx.address);
    assert!(!answer.text().contains("failure"), "{}", answer.text());
    assert_eq!(
        house.peers(),
        [SocketAddr::new(from, 7_000)],
        "the right-most hop that is no proxy counts"
    );
}

#[test]
fn nginx_names_the_client_and_what_clients_say_themselves_does_not_count() {
    let house = House::open(|_| format!("[http]\ntrusted_proxies = [\"{PROXY}/32\"]\n"));
    through_nginx(&house, &house.tracker.address().to_string());
    assert!(house.tracker.metric("tracker_forwarded_ignored_total") < 0.5);
}

#[test]
fn nginx_over_a_unix_socket_names_the_client() {
    let house =
        House::open(|folder| format!("[http]\nunix = [\"{}\"]\n", folder.join("tracker.sock").display()));
    let socket = house.folder.path().join("tracker.sock");
    through_nginx(&house, &format!("unix:{}:", socket.display()));
}

#[test]
fn a_forwarded_address_from_a_stranger_is_ignored_counted_and_warned_about_once() {
    let house = House::open(|_| String::new());
    for (name, port) in [("a", 7_000), ("b", 7_001)] {
        let request = house.client(name, port).request(Event::Started);
        request
            .header("X-Forwarded-For", "5.5.5.5")
            .send(house.tracker.address())
            .succeeded();
    }
    let request = house.client("c", 7_002).request(Event::Started);
    request
        .header("Forwarded", "for=5.5.5.5")
        .send(house.tracker.address())
        .succeeded();
    assert!(
        house.peers().iter().all(|peer| peer.ip().is_loopback()),
        "{:?}",
        house.peers()
    );
    assert!(house.tracker.metric("tracker_forwarded_ignored_total") >= 3.0);
    let said = house.tracker.said();
    let warnings = said
        .iter()
        .filter(|line| line.contains("WARN") && line.to_lowercase().contains("forwarded"));
    assert_eq!(warnings.count(), 1, "{said:#?}");
}

/// A certificate for 127.0.0.1, and its key.
#[track_caller]
fn certificate(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let (certificate, key) = (
        folder.join(format!("{name}.pem")),
        folder.join(format!("{name}.key")),
    );
    Program::named("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-out",
        ])
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .run(LIMIT)
        .succeeded();
    (certificate, key)
}

/// Whose certificate is shown at an address.
fn shown_at(address: &str) -> Option<String> {
    let ended = Program::named("openssl")
        .args(["s_client", "-connect", address])
        .run(LIMIT);
    let subject = ended.stdout.iter().find(|line| line.starts_with("subject="))?;
    Some(subject.rsplit('=').next()?.trim().to_owned())
}

fn install(folder: &Path, name: &str) {
    let (certificate, key) = certificate(folder, name);
    fs::rename(key, folder.join("tls.key")).unwrap();
    fs::rename(certificate, folder.join("tls.pem")).unwrap();
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_never() {
    let house = House::open(|folder| {
        install(folder, "first");
        format!(
            "[http]\ntls_listen = [\"127.0.0.1:0\"]\ntls_certificate = \"{0}/tls.pem\"\ntls_key = \"{0}/tls.key\"\n",
            folder.display()
        )
    });
    let address = house.tracker.running().wait_for(Stream::Out, LIMIT, |line| {
        let facts: serde_json::Value = serde_json::from_str(line).ok()?;
        let announce = facts["announce"].as_str()?.strip_prefix("https://")?;
        Some(announce.split('/').next()?.to_owned())
    });
    assert_eq!(shown_at(&address).as_deref(), Some("first"));
    // aria2 is a program that fetches files: here, what a tracker answers.
    let announce = |port: u16, name: &str| {
        let target = house.client(name, port);
        let url = format!("https://{address}{}", target.target(Event::Started));
        Program::named("aria2c")
            .args(["--no-conf=true", "--allow-overwrite=true", "--ca-certificate"])
            .arg(house.folder.path().join("tls.pem"))
            .arg(format!("--dir={}", house.folder.path().display()))
            .args(["--out=answer", &url])
            .run(LIMIT)
            .succeeded();
        fs::read_to_string(house.folder.path().join("answer")).unwrap_or_default()
    };
    assert!(announce(7_000, "a").contains("8:interval"));

    install(house.folder.path(), "second");
    ask_until("the second certificate", LIMIT, || {
        (shown_at(&address).as_deref() == Some("second")).then_some(())
    });
    assert!(announce(7_001, "b").contains("8:interval"));

    fs::write(house.folder.path().join("tls.pem"), "no certificate").unwrap();
    house
        .tracker
        .running()
        .wait_for(Stream::Err, Duration::from_secs(120), |line| {
            (line.contains("tls.pem") && (line.contains("WARN") || line.contains("ERROR"))).then_some(())
        });
    assert_eq!(shown_at(&address).as_deref(), Some("second"));
}
