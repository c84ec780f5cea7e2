//! Members, invitations, tokens and torrents: the same commands over the folder itself and through a tracker that runs on it.

use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use serde_json::Value;

use crate::rig::{House, Running, announce, number, refused, run, text};

/// Every command that changes or shows something, once; nothing in here knows who answers.
fn everything(house: &House) {
    members(house);
    invitations(house);
    tokens(house);
    torrents(house);
    let file = house.file("all.sqlite");
    let card = house.object(&["backup", &file]);
    assert_eq!(text(&card, "path"), file);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds the secret");
    refused(&house.run(&["backup", &file]), 1, &[&file]);
}

fn members(house: &House) {
    let anna = house.object(&["member", "add", "anna", "--owner"]);
    assert_eq!((text(&anna, "name"), text(&anna, "role")), ("anna", "owner"));
    let key = text(&anna, "passkey").to_owned();
    assert_eq!(key.len(), 32);
    let url = text(&anna, "announce_url");
    assert!(url.ends_with(&format!("/{key}/announce")), "{url}");

    let bert = house.object(&["member", "add", "Bert Ü.", "--expires", "2090-12-31"]);
    assert_eq!(text(&bert, "expires"), "2090-12-31T23:59:59Z");
    let names: Vec<_> = house.lines(&["member", "list"]);
    assert_eq!(names.len(), 2);
    assert!(
        names.iter().all(|card| card.get("passkey").is_none()),
        "lists hold no keys"
    );
    let drawn = house.words(&["member", "list"]);
    assert!(drawn.starts_with("NAME     ROLE "), "{drawn}");
    assert!(drawn.contains("Bert Ü.  member"), "{drawn}");

    let shown = house.object(&["member", "show", "anna"]);
    assert_eq!((number(&shown, "uploaded"), number(&shown, "downloaded")), (0, 0));
    assert_eq!(shown["last_seen"], Value::Null);
    assert_eq!(shown["torrents"], Value::Array(Vec::new()));
    assert!(house.words(&["member", "show", "anna"]).contains(&key));

    let rotated = house.object(&["member", "rotate", "anna", "--grace", "1h"]);
    assert_ne!(text(&rotated, "passkey"), key);
    assert!(rotated["old_key_until"].is_string());
    let disabled = house.object(&["member", "disable", "Bert Ü.", "--reason", "call me"]);
    assert_eq!(text(&disabled, "state"), "disabled");
    assert!(house.words(&["member", "list"]).contains("disabled: call me"));
    assert_eq!(
        text(&house.object(&["member", "enable", "Bert Ü."]), "state"),
        "active"
    );
    assert_eq!(
        house.object(&["member", "expire", "Bert Ü.", "never"])["expires"],
        Value::Null
    );
    refused(
        &house.run(&["member", "forget", "Bert Ü."]),
        2,
        &["Bert Ü.", "--yes"],
    );
    assert_eq!(
        house.object(&["member", "forget", "Bert Ü.", "--yes"])["forgotten"],
        "Bert Ü."
    );
    refused(&house.run(&["member", "show", "Bert Ü."]), 1, &["Bert Ü."]);
}

fn invitations(house: &House) {
    let made = house.object(&[
        "invite", "create", "--by", "anna", "--uses", "2", "--note", "cousins",
    ]);
    assert!(!text(&made, "code").is_empty());
    let words = house.words(&["invite", "create"]);
    assert!(words.contains("/api/v1/invitations/redeem"), "{words}");
    let listed = house.lines(&["invite", "list"]);
    assert_eq!(listed.len(), 2);
    assert!(
        listed.iter().all(|card| card.get("code").is_none()),
        "codes are told once"
    );
    let id = number(&made, "id").to_string();
    assert_eq!(
        house.object(&["invite", "revoke", &id])["revoked"],
        number(&made, "id")
    );
    let drawn = house.words(&["invite", "list"]);
    assert!(
        drawn.contains("taken back") && drawn.contains("cousins"),
        "{drawn}"
    );
    refused(&house.run(&["invite", "revoke", "4711"]), 1, &["4711"]);
}

fn tokens(house: &House) {
    let made = house.object(&[
        "token",
        "create",
        "bot",
        "--scope",
        "read,torrents",
        "--member",
        "anna",
    ]);
    assert!(!text(&made, "token").is_empty());
    assert_eq!(made["scopes"], serde_json::json!(["read", "torrents"]));
    let listed = house.object(&["token", "list"]);
    assert_eq!(
        (text(&listed, "name"), listed.get("token")),
        ("bot", None),
        "told once"
    );
    assert_eq!(house.object(&["token", "revoke", "bot"])["revoked"], "bot");
    refused(&house.run(&["token", "revoke", "nobody"]), 1, &["nobody"]);
}

fn torrents(house: &House) {
    let file = house.torrent("holiday");
    let output = house.run(&["torrent", "add", &file, "--source", "family", "--json"]);
    let warned = String::from_utf8(output.stderr).unwrap();
    assert!(
        warned.contains("warning: ") && warned.contains("private"),
        "{warned}"
    );
    let added: Value = serde_json::from_slice(&output.stdout).unwrap();
    let hash = text(&added, "info_hash_v1").to_owned();
    assert_eq!((hash.len(), &added["info_hash_v2"]), (40, &Value::Null));
    let private = house.torrent("secret");
    assert_eq!(
        house.object(&["torrent", "add", &private, "--private"])["private"],
        true
    );
    refused(
        &house.run(&["torrent", "add", &private, "--private"]),
        1,
        &[&private],
    );

    assert_eq!(house.lines(&["torrent", "list"]).len(), 2);
    assert_eq!(house.lines(&["torrent", "list", "--search", "holi"]).len(), 1);
    let shown = house.object(&["torrent", "show", &hash[..10]]);
    assert_eq!(
        (text(&shown, "name"), text(&shown, "source")),
        ("holiday", "family")
    );

    house.object(&["torrent", "set", &hash, "--freeleech", "--until", "2090-12-31"]);
    let drawn = house.words(&["torrent", "list"]);
    assert!(drawn.contains("freeleech until 2090-12-31"), "{drawn}");
    house.object(&["torrent", "set", &hash, "--normal"]);
    assert!(!house.words(&["torrent", "list"]).contains("freeleech"));
    house.object(&["torrent", "set", "--upload-percent", "200"]);

    let mine = house.file("mine.torrent");
    house.words(&["torrent", "show", &hash, "--output", &mine, "--for", "anna"]);
    let bytes = std::fs::read(&mine).unwrap();
    let url = house.object(&["member", "show", "anna"]);
    let url = text(&url, "announce_url");
    assert!(bytes.windows(url.len()).any(|window| window == url.as_bytes()));
    let mode = std::fs::metadata(&mine).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds a key");

    house.words(&["torrent", "remove", &hash, "--reason", "a better one is there"]);
    assert!(
        house
            .words(&["torrent", "list"])
            .contains("removed: a better one is there")
    );
    refused(&house.run(&["torrent", "show", "0123456789"]), 1, &["0123456789"]);
}

#[test]
fn every_command_works_on_a_folder_without_a_tracker() {
    everything(&House::new());
}

#[test]
fn every_command_works_through_the_tracker_that_runs_on_the_folder() {
    let house = House::new();
    let mut running = Running::start(&house.data(), &[]);
    let address = running.address();
    running.line();
    everything(&house);
    let url = house.object(&["member", "show", "anna"]);
    let url = text(&url, "announce_url");
    assert!(
        url.starts_with(&format!("http://{address}/")),
        "the real port: {url}"
    );
    assert_eq!(running.stop(Signal::TERM), Some(0));
}

#[test]
fn what_a_running_tracker_counts_is_shown_at_once_and_also_after_it_was_killed() {
    let house = House::new();
    let mut running = Running::start(&house.data(), &[]);
    let address = running.address();
    let key = text(&house.object(&["member", "add", "anna"]), "passkey").to_owned();
    let torrent = house.object(&["torrent", "add", &house.torrent("holiday")]);
    let hash = text(&torrent, "info_hash_v1").to_owned();
    let said = announce(
        address,
        &key,
        &hash,
        "uploaded=0&downloaded=0&left=16384&event=started",
    );
    assert!(said.contains("8:interval"), "{said}");
    announce(
        address,
        &key,
        &hash,
        "uploaded=77&downloaded=16384&left=0&event=stopped",
    );
    let counted = |when: &str| {
        let shown = house.object(&["member", "show", "anna"]);
        let numbers = (number(&shown, "uploaded"), number(&shown, "downloaded"));
        assert_eq!(numbers, (77, 16_384), "{when}: {shown}");
        assert!(shown["last_seen"].is_string());
        let account = &shown["torrents"][0];
        assert_eq!(text(account, "torrent"), "holiday");
        assert_eq!((number(account, "uploaded"), number(account, "left")), (77, 0));
    };
    counted("from memory");
    running.signal(Signal::KILL);
    drop(running);
    counted("from the folder");
    let drawn = house.words(&["member", "show", "anna"]);
    assert!(
        drawn.contains("16.0 KiB (16384 bytes)") && drawn.contains("holiday"),
        "{drawn}"
    );
}

#[test]
fn a_backup_in_an_empty_folder_is_the_same_tracker() {
    let house = House::new();
    let key = text(&house.object(&["member", "add", "anna"]), "passkey").to_owned();
    let file = house.file("backup");
    let words = house.words(&["backup", &file]);
    assert!(
        words.contains("secret") && words.contains("tracker.sqlite"),
        "{words}"
    );
    let restored = House::new();
    std::fs::create_dir(restored.data()).unwrap();
    std::fs::copy(&file, restored.data().join("tracker.sqlite")).unwrap();
    assert_eq!(
        text(&restored.object(&["member", "show", "anna"]), "passkey"),
        key
    );
}

#[test]
fn an_announce_url_that_is_a_guess_comes_with_a_warning() {
    let house = House::new();
    let warning = "public_url is not set: http://";
    for words in [
        &["member", "add", "anna"][..],
        &["member", "show", "anna"],
        &["invite", "create"],
    ] {
        let said = house.run(words);
        let stderr = String::from_utf8_lossy(&said.stderr);
        assert!(
            said.status.success() && stderr.contains(warning),
            "{words:?}: {stderr}"
        );
    }
    let config = house.file("tracker.toml");
    std::fs::write(&config, "[tracker]\npublic_url = \"https://tracker.example\"\n").unwrap();
    let said = house.run(&["member", "show", "anna", "--config", &config]);
    assert_eq!(String::from_utf8_lossy(&said.stderr), "");
}

#[test]
fn two_commands_at_once_wait_for_each_other() {
    let house = House::new();
    house.object(&["member", "add", "first"]);
    let names: Vec<String> = (0..6).map(|number| format!("m{number}")).collect();
    let adding: Vec<_> = names
        .iter()
        .map(|name| {
            let mut command = crate::rig::tracker(&["member", "add", name, "--data"]);
            command.arg(house.data()).stdout(std::process::Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    for mut child in adding {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(house.lines(&["member", "list"]).len(), 7);
}

#[test]
fn who_invited_whom_is_drawn_as_a_tree() {
    use std::io::{Read as _, Write as _};

    let house = House::new();
    let mut running = Running::start(&house.data(), &[]);
    let address = running.address();
    house.object(&["member", "add", "anna"]);
    for (host, guest) in [("anna", "bert"), ("bert", "clara"), ("anna", "dora")] {
        let made = house.object(&["invite", "create", "--by", host]);
        let body = format!(r#"{{"code":"{}","name":"{guest}"}}"#, text(&made, "code"));
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /api/v1/invitations/redeem HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
    let drawn = house.words(&["invite", "list"]);
    let tree = "\nanna\n├── bert\n│   └── clara\n└── dora\n";
    assert!(drawn.ends_with(tree), "{drawn}");
    assert_eq!(running.stop(Signal::TERM), Some(0));
}

#[test]
fn a_trace_shows_what_a_client_was_told() {
    use std::io::{BufRead as _, BufReader};

    let house = House::new();
    let mut running = Running::start(&house.data(), &[]);
    let address = running.address();
    let key = text(&house.object(&["member", "add", "anna"]), "passkey").to_owned();
    let mut trace = crate::rig::tracker(&["trace", "anna", "--data"]);
    trace.arg(house.data());
    trace
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut trace = trace.spawn().unwrap();
    // It watches once it says so.
    let mut said = BufReader::new(trace.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().contains("watching anna"));
    let nowhere = "07".repeat(20);
    announce(
        address,
        &key,
        &nowhere,
        "uploaded=0&downloaded=0&left=1&event=started",
    );
    let mut lines = BufReader::new(trace.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    for word in [
        "Transmission 4.0.5",
        "started",
        "070707070707",
        "failure",
        "unregistered",
    ] {
        assert!(line.contains(word), "{line:?} does not say {word:?}");
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&trace), Signal::INT).unwrap();
    assert_eq!(trace.wait().unwrap().code(), Some(0));
    refused(&house.run(&["trace", "nobody"]), 1, &["nobody"]);
    assert_eq!(running.stop(Signal::TERM), Some(0));
    refused(
        &house.run(&["trace", "anna"]),
        1,
        &["no tracker runs", "tracker serve"],
    );
}

#[test]
fn a_folder_that_no_tracker_ever_used_is_not_made_by_looking_at_it() {
    let house = House::new();
    for looking in [
        &["member", "list"][..],
        &["member", "show", "anna"],
        &["torrent", "list"],
        &["invite", "list"],
        &["token", "list"],
        &["backup", "b"],
    ] {
        refused(&house.run(looking), 1, &["holds no tracker's state", "--data"]);
        assert!(!house.data().exists());
    }
}

#[test]
fn completions_and_the_manual_name_the_commands() {
    for args in [&["completions", "bash"][..], &["man"]] {
        let printed = String::from_utf8(run(args).stdout).unwrap();
        for command in ["healthcheck", "member", "invite", "torrent", "token", "trace"] {
            assert!(printed.contains(command), "{args:?} does not name {command}");
        }
    }
}
