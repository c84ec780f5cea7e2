//! `tracker serve`, `healthcheck` and what needs no tracker.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::rig::{House, Running, refused, run, text, tracker};

#[test]
fn where_it_listens_is_said_on_standard_output_and_a_signal_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut running = Running::public(folder.path(), &[]);
        let announce = running.line();
        assert!(
            announce.starts_with("listening http http://127.0.0.1:"),
            "{announce}"
        );
        assert!(announce.ends_with("/announce"), "{announce}");
        let admin = running.line();
        let address = admin.strip_prefix("listening admin http://").unwrap();
        assert_eq!(run(&["healthcheck", "--admin", address]).stdout, b"ok\n");
        assert_eq!(running.stop(signal), Some(0));
        refused(&run(&["healthcheck", "--admin", address]), 1, &[address]);
    }
}

#[test]
fn a_tracker_whose_addresses_nobody_reads_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let address = "127.0.0.1:0";
    let mut command = tracker(&["serve", "--public", "--http", address, "--admin", "off", "--data"]);
    command.arg(folder.path()).stdout(writer).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(log.next().unwrap().unwrap().contains("the data folder is ours"));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let rest: Vec<_> = log.map(Result::unwrap).collect();
    assert!(rest.iter().any(|line| line.contains("asked to stop")), "{rest:?}");
}

#[test]
fn scripts_read_the_addresses_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::public(folder.path(), &["--json"]);
    let http: serde_json::Value = serde_json::from_str(&running.line()).unwrap();
    let address = http.get("address").and_then(serde_json::Value::as_str).unwrap();
    assert_eq!(http.get("listening").unwrap(), "http");
    assert_eq!(
        http.get("announce").unwrap(),
        &format!("http://{address}/announce")
    );
    let admin: serde_json::Value = serde_json::from_str(&running.line()).unwrap();
    assert_eq!(admin.get("listening").unwrap(), "admin");
    assert_eq!(running.stop(Signal::TERM), Some(0));
}

#[test]
fn a_folder_has_one_tracker() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::public(folder.path(), &[]);
    running.line();
    let second = [
        "serve",
        "--public",
        "--http",
        "127.0.0.1:0",
        "--admin",
        "off",
        "--data",
    ];
    let second = tracker(&second).arg(folder.path()).output().unwrap();
    refused(
        &second,
        1,
        &["belongs to a running tracker", &running.child.id().to_string()],
    );
    assert_eq!(running.stop(Signal::TERM), Some(0));
}

#[test]
fn members_are_the_default_and_a_first_start_says_how_to_become_the_owner() {
    let house = House::new();
    let mut running = Running::start(&house.data(), &[]);
    let line = running.line();
    assert!(line.starts_with("listening http http://127.0.0.1:"), "{line}");
    assert!(line.ends_with("/{passkey}/announce"), "{line}");
    running.logged(&["public_url is not set", "127.0.0.1"]);
    running.logged(&["no owner yet"]);
    let curl = running.logged(&["curl", "/api/v1/owner", "\"code\":"]);
    assert!(curl.contains("application/json"), "{curl}");
    assert_eq!(running.stop(Signal::TERM), Some(0));
}

#[test]
fn the_code_of_the_first_start_makes_an_owner_once() {
    let house = House::new();
    let mut running = Running::start(&house.data(), &[]);
    running.line();
    let line = running.logged(&["curl"]);
    let redeem = |name: &str| {
        let line = line.trim().replace("NAME", name);
        let answer = std::process::Command::new("sh")
            .args(["-c", &format!("{line} -s")])
            .output()
            .unwrap();
        serde_json::from_slice::<serde_json::Value>(&answer.stdout).unwrap()
    };
    let anna = redeem("anna");
    assert_eq!(text(&anna, "role"), "owner");
    assert!(!text(&anna, "token").is_empty() && text(&anna, "passkey").len() == 32);
    assert!(redeem("bert").get("token").is_none());
    assert_eq!(running.stop(Signal::TERM), Some(0));
    let mut again = Running::start(&house.data(), &["--log", "info"]);
    again.line();
    again.signal(Signal::TERM);
    let mut said = String::new();
    while !said.contains("asked to stop") {
        said = again.logged(&[""]);
        assert!(!said.contains("no owner"), "{said}");
    }
}
