//! The program as people and scripts start it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a broken program should stop the test"
)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn tracker(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
    command
        .args(args)
        .env_remove("TRACKER__CONFIG")
        .stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    tracker(args).output().unwrap()
}

#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
    assert!(output.stdout.is_empty());
}

/// A tracker that runs; killed if a test forgets it.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    fn start(data: &Path, more: &[&str]) -> Self {
        let mut command = tracker(&[
            "serve",
            "--public",
            "--http",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ]);
        command.arg("--data").arg(data).args(more).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// Asks it to stop, and returns its exit code.
    fn stop(mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn private_mode_says_what_to_do_instead() {
    refused(&run(&["serve"]), 2, &["members", "--public"]);
}

#[test]
fn where_it_listens_is_said_on_standard_output_and_a_signal_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut running = Running::start(folder.path(), &[]);
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
    let mut running = Running::start(folder.path(), &["--json"]);
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
    let mut running = Running::start(folder.path(), &[]);
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
fn settings_are_printed_and_a_misspelt_one_is_an_error_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tracker.toml");
    let printed = run(&["config", "print"]).stdout;
    std::fs::write(&file, &printed).unwrap();
    let path = file.to_str().unwrap();
    assert_eq!(run(&["config", "print", "--config", path]).stdout, printed);
    assert!(run(&["config", "check", "--config", path]).status.success());
    std::fs::write(&file, "[http]\nfast_lain = true\n").unwrap();
    refused(
        &run(&["config", "check", "--config", path]),
        2,
        &["line 2", "fast_lain", "fast_lane"],
    );
}

#[test]
fn a_misspelt_variable_is_a_warning() {
    let checked = tracker(&["config", "check"])
        .env("TRACKER__HTTP__LISEN", "x")
        .output()
        .unwrap();
    assert!(checked.status.success());
    assert!(String::from_utf8_lossy(&checked.stderr).contains("TRACKER__HTTP__LISEN"));
}

#[test]
fn completions_and_the_manual_name_the_commands() {
    for args in [&["completions", "bash"][..], &["man"]] {
        let printed = String::from_utf8(run(args).stdout).unwrap();
        assert!(printed.contains("healthcheck"), "{args:?}");
    }
}
