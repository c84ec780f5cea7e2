//! Both programs are gone within five seconds of SIGTERM, whatever state the world is in.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use tests::rig::{Running, ask_until};

use crate::album::{Album, LIMIT, Tracker};

/// The contract, and a second for a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(6);

#[track_caller]
fn stops(mut running: Running) {
    running.terminate();
    let status = running.wait_exit(STOP_LIMIT);
    assert!(
        status.code().is_some(),
        "it was killed instead of stopping: {status}\n{}",
        running.transcript()
    );
}

/// The first connection to a listener, which blocks no longer than any other step.
#[track_caller]
fn first_connection(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    ask_until("an announce", LIMIT, || listener.accept().ok()).0
}

#[test]
fn the_tracker_stops() {
    let tracker = Tracker::start("127.0.0.1:0");
    // One connection is open and silent, as browsers and clients leave them.
    let _open = TcpStream::connect(tracker.address).unwrap();
    stops(tracker.running);
}

#[test]
fn a_seed_stops_and_tells_its_tracker() {
    let tracker = Tracker::start("127.0.0.1:0");
    let album = Album::small();
    let torrent = album.create(&["--tracker", &tracker.announce]);
    let seeding = album.seed(&torrent, "127.0.0.1:0");
    album.get(&torrent, "127.0.0.1:0").run(LIMIT).succeeded();
    stops(seeding);
    let scrape = crate::contract::http_get(tracker.address, &crate::contract::scrape_path(&torrent));
    assert!(
        scrape.contains("8:completei0e"),
        "it left without a word: {scrape}"
    );
}

#[test]
fn a_seed_stops_when_its_tracker_accepts_and_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let album = Album::small();
    let announce = format!("http://{}/announce", silent.local_addr().unwrap());
    let torrent = album.create(&["--tracker", &announce]);
    let seeding = album.seed(&torrent, "127.0.0.1:0");
    // Its first announce is on its way once the connection stands.
    let connection = first_connection(&silent);
    stops(seeding);
    drop(connection);
}

#[test]
fn a_get_stops_while_it_waits_for_peers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let album = Album::small();
    let announce = format!("http://{}/announce", silent.local_addr().unwrap());
    let torrent = album.create(&["--tracker", &announce]);
    let getting = album.get(&torrent, "127.0.0.1:0").start();
    let connection = first_connection(&silent);
    stops(getting);
    drop(connection);
}
