//! What real clients send to a tracker: whole request heads, captured on loopback while each fetched the same torrent.

use std::path::Path;

use shared::announce::AnnounceRequest;
use shared::scrape::ScrapeRequest;

/// The torrent all of them fetched.
const INFO_HASH: &str = "5b2998f0c26a2dba2e180ee62fed031d2a2e4052";

/// The heads of one client's requests, in the order in which they came.
fn heads(client: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/announces");
    let text = std::fs::read_to_string(folder.join(client)).expect("the capture is there");
    let heads: Vec<_> = text.split_terminator("\r\n\r\n").map(str::to_owned).collect();
    assert!(!heads.is_empty(), "{client} is empty");
    heads
}

/// Path and query of a head's first line.
fn target(head: &str) -> (&str, &[u8]) {
    let line = head.lines().next().expect("a head has a first line");
    let target = line
        .strip_prefix("GET ")
        .and_then(|rest| rest.strip_suffix(" HTTP/1.1"))
        .expect("a GET");
    let (path, query) = target.split_once('?').expect("a query");
    (path, query.as_bytes())
}

/// One announce as a drawing: `started left=300000 up=0 down=0 want=80`.
fn draw(request: &AnnounceRequest) -> String {
    let event = request.event.as_str().unwrap_or("regular");
    let wanted = request
        .numwant
        .map_or_else(|| "-".to_owned(), |numwant| numwant.to_string());
    format!(
        "{event} left={} up={} down={} want={wanted}",
        request.left, request.uploaded, request.downloaded
    )
}

/// All announces of a client: the peer id's beginning, port and key of each, then the drawings.
#[track_caller]
fn check(client: &str, peer_id: &str, port: u16, drawings: &[&str]) {
    let mut drawn = Vec::new();
    for head in heads(client) {
        let (path, query) = target(&head);
        if path == "/scrape" {
            let asked = ScrapeRequest::parse(query, 1).expect("a scrape");
            assert_eq!(asked.info_hashes, [INFO_HASH.parse().expect("a hash")]);
            drawn.push("scrape".to_owned());
            continue;
        }
        let request = AnnounceRequest::parse(query).expect("an announce");
        assert_eq!(request.info_hash.to_string(), INFO_HASH);
        if request.port != port {
            continue; // Its own seeder, which helped it to complete.
        }
        assert!(
            request.peer_id.as_bytes().starts_with(peer_id.as_bytes()),
            "{:?}",
            request.peer_id
        );
        assert!(request.compact && request.key.is_some());
        assert_eq!(
            AnnounceRequest::parse(request.to_query().as_bytes()).as_ref(),
            Ok(&request)
        );
        drawn.push(draw(&request));
    }
    assert_eq!(drawn, drawings);
}

#[test]
fn transmission_announces_without_event_in_between_and_scrapes() {
    check(
        "transmission-3.00.txt",
        "-TR3000-",
        51_413,
        &[
            "started left=300000 up=0 down=0 want=80",
            "regular left=300000 up=0 down=0 want=80",
            "scrape",
            "regular left=300000 up=0 down=0 want=80",
        ],
    );
}

#[test]
fn aria2_escapes_whatever_it_can_and_uses_raw_bytes_as_its_key() {
    check(
        "aria2-1.36.txt",
        "A2-1-36-0-",
        6901,
        &[
            "started left=300000 up=0 down=0 want=50",
            "regular left=300000 up=0 down=0 want=50",
            "stopped left=300000 up=0 down=0 want=0",
        ],
    );
}

#[test]
fn libtorrent_escapes_as_little_as_it_can_and_completes() {
    check(
        "libtorrent-2.1.1.txt",
        "-LT2110-",
        6904,
        &[
            "started left=300000 up=0 down=0 want=200",
            "completed left=0 up=0 down=300000 want=200",
            "stopped left=0 up=0 down=300000 want=0",
        ],
    );
}

#[test]
fn qbittorrent_wants_many_and_says_farewell() {
    check(
        "qbittorrent-4.5.2.txt",
        "-qB4520-",
        6903,
        &[
            "started left=300000 up=0 down=0 want=200",
            "stopped left=300000 up=0 down=0 want=0",
        ],
    );
}

#[test]
fn rtorrent_leaves_the_number_of_peers_to_the_tracker() {
    check(
        "rtorrent-0.9.8.txt",
        "-lt0D80-",
        6902,
        &[
            "started left=300000 up=0 down=0 want=-",
            "stopped left=300000 up=0 down=0 want=-",
        ],
    );
}

#[test]
fn every_capture_has_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/announces");
    let tests = include_str!("announces.rs");
    for file in std::fs::read_dir(folder).expect("the captures are there") {
        let name = file
            .expect("a file")
            .file_name()
            .into_string()
            .expect("a plain name");
        assert!(tests.contains(&format!("\"{name}\"")), "{name} has no test");
    }
}
