//! `seeder run` as a service: its settings, its port as the owner and as strangers meet it, its signals, its end.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tests::rig::{HttpAnswer, HttpRequest, Program, Running, Stream, ask_until};

use crate::album::{Album, LIMIT, Tracker, info_hash};
use crate::operating::{Owner, complains, second_torrent, seeds};

/// The contract, and a second for a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(6);

/// A daemon with settings in a file.
struct House {
    owner: Owner,
    settings: PathBuf,
    running: Running,
    admin: SocketAddr,
}

impl House {
    #[track_caller]
    fn open(album: &Album, settings: &str) -> Self {
        let owner = Owner::of(album.place("state"));
        let file = album.place("seeder.toml");
        fs::write(&file, settings).unwrap();
        let running = owner
            .program(&[
                "run",
                "--json",
                "--listen",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
            ])
            .arg("--config")
            .arg(&file)
            .start();
        let told = running.wait_for_json("admin", LIMIT);
        assert_eq!(told["event"], "listening");
        assert!(told["listen"][0].as_str().unwrap().parse::<SocketAddr>().is_ok());
        Self {
            admin: told["admin"].as_str().unwrap().parse().unwrap(),
            settings: file,
            owner,
            running,
        }
    }

    fn token(&self) -> String {
        let token = fs::read_to_string(self.owner.data.join("api-token")).unwrap();
        token.trim().to_owned()
    }

    #[track_caller]
    fn ask(&self, request: HttpRequest) -> HttpAnswer {
        request.send(self.admin)
    }

    #[track_caller]
    fn ask_as_owner(&self, request: HttpRequest) -> HttpAnswer {
        self.ask(request.bearer(&self.token()))
    }

    #[track_caller]
    fn limits(&self) -> Value {
        self.owner.does(&["limit", "--json"]).json()
    }

    /// Writes other settings and says so.
    #[track_caller]
    fn settle(&self, settings: &str) {
        fs::write(&self.settings, settings).unwrap();
        self.running.signal_reload();
    }

    #[track_caller]
    fn add(&self, torrent: &Path, content: &Path) {
        let adding = self.owner.program(&["add"]).arg(torrent).arg("--content");
        adding.arg(content).run(LIMIT).succeeded();
    }

    #[track_caller]
    fn stop(&mut self) {
        self.running.terminate();
        let status = self.running.wait_exit(STOP_LIMIT);
        assert_eq!(status.code(), Some(0), "{}", self.running.transcript());
    }
}

#[test]
fn the_owners_port_tells_strangers_how_it_is_and_nothing_else() {
    let album = Album::small();
    let house = House::open(&album, "");
    assert_eq!(house.ask(HttpRequest::get("/health")).succeeded().text(), "ok\n");
    let metrics = house.ask(HttpRequest::get("/metrics")).succeeded().text();
    assert!(
        metrics.contains("seeder_torrents{state=\"seeding\"} 0"),
        "{metrics}"
    );
    let stats = || HttpRequest::get("/api/v1/stats");
    assert_eq!(house.ask(stats()).status, 401);
    assert_eq!(
        house
            .ask(stats().bearer("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"))
            .status,
        401
    );
    let told = house.ask_as_owner(stats()).succeeded().json();
    assert_eq!(
        (&told["pid"], &told["remembers"]),
        (&house.running.pid().into(), &true.into())
    );
    let mode = fs::metadata(house.owner.data.join("api-token")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_page_of_another_site_may_neither_ask_nor_read() {
    let album = Album::small();
    let house = House::open(&album, "");
    let asking = HttpRequest::new("OPTIONS", "/api/v1/torrents")
        .header("Origin", "http://evil.example")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization");
    let reading = HttpRequest::get("/metrics").header("Origin", "http://evil.example");
    let simple = HttpRequest::post("/api/v1/torrents")
        .header("Origin", "http://evil.example")
        .header("Content-Type", "text/plain")
        .body(b"{}".to_vec());
    for (request, status) in [(asking, 405), (reading, 200), (simple, 401)] {
        let answer = house.ask(request);
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[test]
fn settings_that_can_change_are_taken_over_on_sighup_and_bad_ones_are_not() {
    let album = Album::small();
    let house = House::open(&album, "[rates]\nupload = \"1M\"\n");
    assert_eq!(house.limits()["upload"], 1_000_000);
    house.settle("[rates]\nupload = \"2M\"\n\n[peers]\nconnections = 40\n");
    let taken = ask_until("the new rate", LIMIT, || {
        Some(house.limits()).filter(|limits| limits["upload"] == 2_000_000)
    });
    assert_eq!(taken["connections"], 40);
    house.settle("[rates]\nupload = \"fast\"\n");
    house.running.wait_for(Stream::Err, LIMIT, |line| {
        (line.contains("rates.upload") && line.contains("stay as they were")).then_some(())
    });
    assert_eq!(house.limits()["upload"], 2_000_000);
    house.settle("[rates]\nupload = \"3M\"\n\n[seeder]\nlog = \"warn\"\n\n[web_seed]\nprivate = true\n");
    house.running.wait_for(Stream::Err, LIMIT, |line| {
        line.contains("need a restart").then_some(())
    });
    ask_until("the last rate", LIMIT, || {
        (house.limits()["upload"] == 3_000_000).then_some(())
    });
}

#[test]
fn settings_that_mean_nothing_keep_it_from_starting() {
    let album = Album::small();
    let file = album.place("seeder.toml");
    fs::write(&file, "[goals]\nratoi = 2\n").unwrap();
    let run = |words: &[&str]| {
        let program = Owner::of(album.place("state")).program(words);
        program.arg("--config").arg(&file).run(LIMIT)
    };
    complains(&run(&["run"]), 2, &["seeder.toml", "line 2", "ratoi"]);
    assert!(!album.place("state").exists(), "it made a folder nonetheless");
}

#[test]
fn a_second_run_on_one_folder_is_refused() {
    let album = Album::small();
    let house = House::open(&album, "");
    let second = house
        .owner
        .tries(&["run", "--listen", "127.0.0.1:0", "--admin", "off"]);
    complains(&second, 1, &["state", "belongs to a running seeder", "stop it"]);
    let port = house.admin.to_string();
    let other = Owner::of(album.place("other-state"));
    let same_port = other.tries(&["run", "--listen", "127.0.0.1:0", "--admin", &port]);
    complains(&same_port, 1, &[&port, "off"]);
}

#[test]
fn it_stops_in_time_and_says_goodbye_though_another_tracker_is_dead() {
    let tracker = Tracker::start("127.0.0.1:0");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = format!("http://{}/announce", silent.local_addr().unwrap());
    let album = Album::small();
    let first = album.create(&["--tracker", &tracker.announce]);
    let second = second_torrent(&album, "Films");
    let mut house = House::open(&album, "");
    house.add(&first, &album.place("home"));
    house.add(&second, &album.place("home"));
    let films = info_hash(&second);
    let trackers = HttpRequest::new("PATCH", format!("/api/v1/torrents/{films}"));
    house
        .ask_as_owner(trackers.json(&json!({ "trackers": [[dead]] })))
        .succeeded();
    let scrape = || {
        let path = crate::contract::scrape_path(&first);
        crate::contract::http_get(tracker.address, &path)
    };
    ask_until("the announce", LIMIT, || {
        scrape().contains("8:completei1e").then_some(())
    });
    let _connection = ask_until("the other announce", LIMIT, || {
        silent.set_nonblocking(true).unwrap();
        silent.accept().ok()
    });
    house.stop();
    assert!(scrape().contains("8:completei0e"), "it left without a word");
}

#[test]
fn a_torrent_is_added_to_the_process_that_remembers_it() {
    let album = Album::small();
    let (first, second) = (album.create(&[]), second_torrent(&album, "Films"));
    // The seed is there first, and has the usual socket.
    let seeding = seeds(&Owner::of(album.place("state")), &album, &[&first]);
    let mut house = House::open(&album, "");
    house.add(&second, &album.place("home"));
    drop(seeding);
    let names = |house: &House| {
        let listed = house.owner.list();
        listed.iter().map(|row| row["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&house), ["Films"]);
    house.stop();
    let again = House::open(&album, "");
    assert_eq!(names(&again), ["Films"]);
}

#[test]
fn of_several_that_forget_one_must_be_named() {
    let album = Album::small();
    let (first, second) = (album.create(&[]), second_torrent(&album, "Films"));
    let third = second_torrent(&album, "Music");
    let owner = Owner::of(album.place("state"));
    let one = seeds(&owner, &album, &[&first]);
    let other = seeds(&owner, &album, &[&second]);
    ask_until("both", LIMIT, || (owner.list().len() == 2).then_some(()));
    // The rig starts programs under another, which becomes them.
    let pids = [one.pid().to_string(), other.pid().to_string()];
    let add = |words: &[&str]| {
        let adding = owner.program(&["add"]).arg(&third).arg("--content");
        adding.arg(album.place("home")).args(words).run(LIMIT)
    };
    complains(&add(&[]), 2, &["several seeders", "--pid", &pids[0], &pids[1]]);
    complains(&add(&["--pid", "1"]), 1, &["--pid 1", &pids[0]]);
    let added = add(&["--pid", &pids[1]]).succeeded();
    assert!(added.stderr.join("\n").contains("forgets it"), "{added:?}");
    let theirs = owner.does(&["list", "--json", "--pid", &pids[1]]).stdout;
    assert_eq!(theirs.len(), 2, "{theirs:?}");
}

#[test]
fn events_are_a_stream_that_a_script_can_follow() {
    let album = Album::small();
    let torrent = album.create(&[]);
    let mut house = House::open(&album, "");
    let request = HttpRequest::get("/api/v1/events").bearer(&house.token());
    let mut stream = request.begin(house.admin).unwrap();
    let mut heard = Vec::new();
    let mut until = |words: &str| {
        ask_until(words, LIMIT, || {
            let mut part = [0; 4_096];
            let length = std::io::Read::read(&mut stream, &mut part).unwrap();
            heard.extend_from_slice(&part[..length]);
            let text = String::from_utf8_lossy(&heard).into_owned();
            text.contains(words).then_some(text)
        })
    };
    until("listening");
    house.add(&torrent, &album.place("home"));
    let text = until("\"added\"");
    assert!(text.contains("application/x-ndjson"), "{text}");
    assert!(text.contains(&info_hash(&torrent).to_string()), "{text}");
    house.stop();
}

#[test]
fn variables_and_flags_stand_above_the_file_and_misspelt_ones_are_told_of() {
    let album = Album::small();
    let file = album.place("seeder.toml");
    fs::write(&file, "[rates]\nupload = \"1M\"\ndownload = \"1M\"\n").unwrap();
    let print = Program::seeder()
        .args(["config", "print", "--json", "--config"])
        .arg(&file)
        .env("SEEDER__RATES__DOWNLOAD", "2M")
        .env("SEEDER__RATES__DOWNLAOD", "3M")
        .run(LIMIT)
        .succeeded();
    let settings = print.json();
    assert_eq!(
        (&settings["rates"]["upload"], &settings["rates"]["download"]),
        (&"1M".into(), &"2M".into())
    );
    assert!(print.stderr.join("\n").contains("SEEDER__RATES__DOWNLAOD"));
}

#[test]
fn what_is_logged_is_said_by_the_flag_before_the_settings() {
    let album = Album::small();
    let file = album.place("seeder.toml");
    fs::write(&file, "[seeder]\nlog = \"error\"\n").unwrap();
    let run = |words: &[&str]| {
        let owner = Owner::of(album.place("state"));
        let program = owner.program(&["run", "--json", "--listen", "127.0.0.1:0", "--admin", "off"]);
        let mut running = program.args(words).arg("--config").arg(&file).start();
        running.wait_for_json("listen", LIMIT);
        running.terminate();
        running.wait_exit(STOP_LIMIT);
        running.has_said("asked to stop")
    };
    assert!(!run(&[]));
    assert!(run(&["--log", "info"]));
}
