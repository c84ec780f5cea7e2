//! Running seeders as their owner operates them: the commands that talk to one over its control socket.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tests::rig::{Deadline, Finished, Program, Running, ask_until, digests};

use crate::album::{Album, LIMIT, Tracker, info_hash};

/// The owner of a state folder.
pub(crate) struct Owner {
    pub(crate) data: PathBuf,
}

impl Owner {
    pub(crate) fn of(data: PathBuf) -> Self {
        Self { data }
    }

    /// Where its seeder answers.
    pub(crate) fn socket(&self) -> PathBuf {
        self.data.join("control.sock")
    }

    pub(crate) fn program(&self, words: &[&str]) -> Program {
        Program::seeder().args(words).arg("--data").arg(&self.data)
    }

    #[track_caller]
    pub(crate) fn tries(&self, words: &[&str]) -> Finished {
        self.program(words).run(LIMIT)
    }

    #[track_caller]
    pub(crate) fn does(&self, words: &[&str]) -> Finished {
        self.tries(words).succeeded()
    }

    /// `list --json`, as soon as somebody answers.
    #[track_caller]
    pub(crate) fn list(&self) -> Vec<Value> {
        let finished = ask_until("a seeder that answers", LIMIT, || {
            Some(self.tries(&["list", "--json"])).filter(|finished| finished.code == Some(0))
        });
        let objects = finished
            .stdout
            .iter()
            .map(|line| serde_json::from_str(line).unwrap());
        objects.collect()
    }

    #[track_caller]
    pub(crate) fn show(&self, torrent: &str) -> Value {
        self.does(&["show", torrent, "--json"]).json()
    }

    /// Waits until a torrent is as it should be.
    #[track_caller]
    pub(crate) fn wait(&self, torrent: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        ask_until(what, LIMIT, || Some(self.show(torrent)).filter(|shown| is(shown)))
    }

    #[track_caller]
    pub(crate) fn wait_stage(&self, torrent: &str, stage: &str) -> Value {
        self.wait(torrent, stage, |shown| shown["stage"] == stage)
    }

    /// `seeder run` on this folder.
    #[track_caller]
    pub(crate) fn run(&self) -> Running {
        let running = self
            .program(&["run", "--listen", "127.0.0.1:0", "--admin", "off"])
            .start();
        self.list();
        running
    }
}

#[track_caller]
pub(crate) fn complains(finished: &Finished, code: i32, words: &[&str]) {
    let said = finished.stderr.join("\n");
    assert_eq!(finished.code, Some(code), "{finished:?}");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
}

/// A torrent of a folder with another name than the album's.
#[track_caller]
pub(crate) fn second_torrent(album: &Album, name: &str) -> PathBuf {
    let content = album.place(&format!("home/{name}"));
    fs::create_dir_all(&content).unwrap();
    fs::write(content.join("note.txt"), name).unwrap();
    let file = album.place(&format!("{name}.torrent"));
    let creating = Program::seeder()
        .arg("create")
        .arg(&content)
        .arg("--output")
        .arg(&file);
    creating.arg("--json").run(LIMIT).succeeded();
    file
}

#[track_caller]
pub(crate) fn seeds(owner: &Owner, album: &Album, torrents: &[&Path]) -> Running {
    let running = owner
        .program(&["seed", "--json", "--listen", "127.0.0.1:0"])
        .args(torrents)
        .arg("--content")
        .arg(album.place("home"))
        .start();
    // It says so when it has all of them.
    running.wait_for_json("listen", LIMIT);
    running
}

#[test]
fn without_a_running_seeder_every_command_says_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    let owner = Owner::of(folder.path().join("nobody"));
    for words in [
        &["list"][..],
        &["show", "x"],
        &["pause", "x"],
        &["recheck", "--all"],
        &["limit", "--up", "1M"],
        &["top", "--once"],
    ] {
        complains(
            &owner.tries(words),
            1,
            &["no seeder runs on", "nobody", "seeder run", "--data DIR"],
        );
    }
    assert!(!folder.path().join("nobody").exists(), "asking made a folder");
}

#[test]
fn a_torrent_rests_and_goes_on_when_it_is_told_to() {
    let album = Album::small();
    let torrent = album.create(&[]);
    let owner = Owner::of(album.place("state"));
    let _seeding = seeds(&owner, &album, &[&torrent]);
    let listed = owner.list();
    assert_eq!((listed.len(), &listed[0]["name"]), (1, &"Holidays".into()));
    assert_eq!(listed[0]["info_hash_v1"], info_hash(&torrent).to_string());
    owner.wait_stage("Holidays", "seeding");
    owner.does(&["pause", "holi"]);
    let shown = owner.wait_stage("Holidays", "paused");
    assert_eq!(shown["paused"], true);
    owner.does(&["resume", "--all"]);
    owner.wait_stage("Holidays", "seeding");
    let drawn = owner.does(&["list"]).stdout.join("\n");
    assert!(
        drawn.contains("Holidays  seeding") && drawn.contains("100 %"),
        "{drawn}"
    );
}

#[test]
fn an_announce_that_is_asked_for_reaches_the_tracker() {
    let tracker = Tracker::start("127.0.0.1:0");
    let album = Album::small();
    let torrent = album.create(&["--tracker", &tracker.announce]);
    let owner = Owner::of(album.place("state"));
    let _seeding = seeds(&owner, &album, &[&torrent]);
    owner.list();
    let asked = |shown: &Value| shown["trackers"][0]["last"].is_i64();
    let shown = owner.wait("Holidays", "the first announce", asked);
    assert_eq!(shown["trackers"][0]["url"], tracker.announce);
    owner.does(&["announce", "Holidays"]);
}

#[test]
fn a_recheck_finds_what_was_damaged_and_names_the_file() {
    let album = Album::small();
    let torrent = album.create(&[]);
    let owner = Owner::of(album.place("state"));
    let _seeding = seeds(&owner, &album, &[&torrent]);
    owner.list();
    let whole = owner.wait_stage("Holidays", "seeding");
    let victim = album.content().join("IMG_0000.jpg");
    let mut bytes = fs::read(&victim).unwrap();
    bytes[1_000] ^= 1;
    fs::write(&victim, bytes).unwrap();
    owner.does(&["recheck", "Holidays"]);
    let fewer = |shown: &Value| shown["have_count"].as_u64() < whole["have_count"].as_u64();
    owner.wait("Holidays", "a piece that is not good", fewer);
}

#[test]
fn a_name_that_may_mean_several_lists_them() {
    let album = Album::small();
    let (first, second) = (album.create(&[]), second_torrent(&album, "Holidays 2020"));
    let owner = Owner::of(album.place("state"));
    let _seeding = seeds(&owner, &album, &[&first, &second]);
    assert_eq!(owner.list().len(), 2);
    let short: String = info_hash(&second).to_string().chars().take(12).collect();
    complains(
        &owner.tries(&["show", "Holi"]),
        1,
        &["may mean several", "Holidays 2020", &short],
    );
    complains(
        &owner.tries(&["pause", "Musik"]),
        1,
        &["no torrent is called \"Musik\"", "seeder list"],
    );
    assert_eq!(owner.show("Holidays")["name"], "Holidays");
    assert_eq!(owner.show(&short)["name"], "Holidays 2020");
}

#[test]
fn two_processes_on_one_state_folder_are_asked_as_one() {
    let album = Album::small();
    let (first, second) = (album.create(&[]), second_torrent(&album, "Films"));
    let owner = Owner::of(album.place("state"));
    let one = seeds(&owner, &album, &[&first]);
    owner.list();
    let _other = seeds(&owner, &album, &[&second]);
    ask_until("both processes", LIMIT, || {
        (owner.list().len() == 2).then_some(())
    });
    owner.does(&["pause", "Films", "Holidays"]);
    owner.wait_stage("Films", "paused");
    owner.wait_stage("Holidays", "paused");
    one.kill();
    let left = owner.list();
    assert_eq!((left.len(), &left[0]["name"]), (1, &"Films".into()));
}

#[test]
fn limits_and_goals_are_set_shown_and_taken_away() {
    let album = Album::small();
    let torrent = album.create(&[]);
    let owner = Owner::of(album.place("state"));
    let _seeding = seeds(&owner, &album, &[&torrent]);
    owner.list();
    owner.does(&[
        "limit", "Holidays", "--up", "200k", "--ratio", "2.5", "--slots", "3",
    ]);
    let options = owner.show("Holidays")["options"].clone();
    assert_eq!(
        (&options["upload"], &options["ratio"]),
        (&200_000.into(), &2.5.into())
    );
    assert_eq!(options["upload_slots"], 3);
    let options = owner.does(&["limit", "Holidays", "--up", "off", "--json"]).json();
    assert_eq!(
        (&options["upload"], &options["ratio"]),
        (&Value::Null, &2.5.into())
    );
    let rule = "mo-fr 08:00-22:00 up=500k";
    let rates = owner
        .does(&["limit", "--down", "2M", "--schedule", rule, "--json"])
        .json();
    assert_eq!(
        (&rates["download"], &rates["schedule"][0]),
        (&2_000_000.into(), &rule.into())
    );
    complains(&owner.tries(&["limit", "--up", "fast"]), 2, &["fast", "500k"]);
}

#[test]
fn a_limit_of_two_hundred_kilobytes_a_second_holds() {
    const RATE: f64 = 200_000.0;
    let album = Album::of(&[6_000_000]);
    let torrent = album.create(&["--piece-length", "16KiB"]);
    let owner = Owner::of(album.place("state"));
    let seeding = owner
        .program(&["seed", "--json", "--listen", "127.0.0.1:0", "--limit-up", "200k"])
        .arg(&torrent)
        .arg("--content")
        .arg(album.place("home"))
        .start();
    let listen = seeding.wait_for_json("listen", LIMIT)["listen"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let _getting = album
        .get(&torrent, "127.0.0.1:0")
        .args(["--peer", &listen])
        .start();
    let getter = Owner::of(album.place("get-state"));
    getter.list();
    let until = |bytes: u64| {
        let arrived = |listed: Vec<Value>| listed[0]["downloaded"].as_u64().filter(|got| *got >= bytes);
        ask_until("bytes", LIMIT, || arrived(getter.list()))
    };
    // What a bucket holds at first comes at once; then the time is taken.
    let first = until(600_000);
    let clock = Deadline::after(Duration::from_secs(600));
    let begun = clock.left().unwrap();
    let last = until(first + 2_400_000);
    let took = begun.checked_sub(clock.left().unwrap()).unwrap();
    let rate = f64::from(u32::try_from(last - first).unwrap()) / took.as_secs_f64();
    assert!(
        (RATE * 0.85..RATE * 1.15).contains(&rate),
        "{rate} bytes a second"
    );
}

#[test]
fn only_the_files_that_were_asked_for_are_fetched() {
    let album = Album::of(&[700_000, 300_000, 500_000]);
    let torrent = album.create(&["--piece-length", "16KiB"]);
    let owner = Owner::of(album.place("state"));
    let seeding = seeds(&owner, &album, &[&torrent]);
    let listen = seeding.wait_for_json("listen", LIMIT)["listen"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let get = |only: &str| {
        album
            .get(&torrent, "127.0.0.1:0")
            .args(["--peer", &listen, "--only", only])
    };
    complains(&get("*.nef").run(LIMIT), 1, &["*.nef", "inspect"]);
    get("IMG_0001.jpg").run(LIMIT).succeeded();
    let arrived = digests(&album.place("into/Holidays"));
    let expected = digests(&album.content());
    let wanted = Path::new("Summer 2019/IMG_0001.jpg");
    assert_eq!(arrived.get(wanted), expected.get(wanted));
    assert!(!arrived.contains_key(Path::new("IMG_0000.jpg")), "{arrived:?}");
}

#[test]
fn one_frame_of_top_shows_the_torrents() {
    let album = Album::small();
    let torrent = album.create(&[]);
    let owner = Owner::of(album.place("state"));
    let _seeding = seeds(&owner, &album, &[&torrent]);
    owner.list();
    owner.wait_stage("Holidays", "seeding");
    let frame = owner.does(&["top", "--once"]).stdout;
    assert!(
        frame.iter().any(|line| line.starts_with("> Holidays")),
        "{frame:?}"
    );
    complains(&owner.tries(&["top"]), 2, &["--once"]);
}

#[test]
fn what_was_added_to_a_run_is_there_after_a_restart() {
    let album = Album::small();
    let (first, second) = (album.create(&[]), second_torrent(&album, "Films"));
    let owner = Owner::of(album.place("state"));
    let mut running = owner.run();
    owner
        .program(&["add", "--json"])
        .arg(&first)
        .arg(&second)
        .arg("--content")
        .arg(album.place("home"))
        .run(LIMIT)
        .succeeded();
    owner.wait_stage("Films", "seeding");
    owner.does(&["limit", "Holidays", "--up", "200k", "--copies", "3"]);
    owner.does(&["pause", "Films"]);
    running.terminate();
    running.wait_exit(LIMIT);
    let _again = owner.run();
    owner.wait_stage("Films", "paused");
    let options = owner.wait_stage("Holidays", "seeding")["options"].clone();
    assert_eq!(
        (&options["upload"], &options["copies"]),
        (&200_000.into(), &3.into())
    );
    owner.does(&["remove", "Films"]);
    assert_eq!(owner.list().len(), 1);
    assert!(album.place("home/Films/note.txt").exists());
    let refused = owner.tries(&["remove", "Holidays", "--delete-content", "--yes"]);
    complains(&refused, 1, &["only given"]);
    assert!(album.content().exists());
}

#[test]
fn a_run_fetches_what_is_added_and_deletes_it_only_when_told_twice() {
    let album = Album::small();
    let torrent = album.create(&[]);
    let seeder = Owner::of(album.place("seed-state"));
    let seeding = seeds(&seeder, &album, &[&torrent]);
    let listen = seeding.wait_for_json("listen", LIMIT)["listen"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let owner = Owner::of(album.place("state"));
    let _running = owner.run();
    let magnet = format!("magnet:?xt=urn:btih:{}&x.pe={listen}", info_hash(&torrent));
    owner
        .program(&["add", &magnet])
        .arg("--into")
        .arg(album.place("into"))
        .run(LIMIT)
        .succeeded();
    owner.wait_stage(&info_hash(&torrent).to_string(), "seeding");
    album.check_arrived();
    complains(
        &owner.tries(&["remove", "Holidays", "--delete-content"]),
        2,
        &["--yes"],
    );
    assert!(album.place("into/Holidays").exists());
    owner.does(&["remove", "Holidays", "--delete-content", "--yes"]);
    assert!(owner.list().is_empty());
    assert!(!album.place("into/Holidays").exists());
}

#[test]
fn folders_may_be_named_as_they_are_seen_from_here() {
    let album = Album::small();
    album.create(&[]);
    let here = |words: &[&str]| Program::seeder().args(words).directory(album.place(""));
    let seed = [
        "seed",
        "--json",
        "--listen",
        "127.0.0.1:0",
        "--data",
        "seed-state",
    ];
    let seeding = here(&seed)
        .args(["Holidays.torrent", "--content", "home"])
        .start();
    let listen = seeding.wait_for_json("listen", LIMIT)["listen"][0].clone();
    let get = [
        "get",
        "--listen",
        "127.0.0.1:0",
        "--data",
        "get-state",
        "--into",
        "into",
    ];
    here(&get)
        .args(["Holidays.torrent", "--peer", listen.as_str().unwrap()])
        .run(LIMIT)
        .succeeded();
    album.check_arrived();
    let share = [
        "share",
        "--json",
        "--listen",
        "127.0.0.1:0",
        "--tracker-listen",
        "127.0.0.1:0",
    ];
    let sharing = here(&share)
        .args(["home/Holidays", "--data", "share-state"])
        .start();
    assert!(
        sharing.wait_for_json("magnet", LIMIT)["torrent"]
            .as_str()
            .unwrap()
            .starts_with('/')
    );
}
