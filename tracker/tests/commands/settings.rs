//! `tracker config`, `tracker reload` and SIGHUP: settings from every source, good and bad.

use rustix::process::Signal;

use crate::rig::{House, Running, refused, run, tracker};

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
fn the_file_that_we_ship_is_what_is_printed() {
    let printed = String::from_utf8(run(&["config", "print"]).stdout).unwrap();
    assert_eq!(printed, include_str!("../../../deploy/tracker.toml"));
}

#[test]
fn a_secret_may_stand_in_a_file_that_a_variable_names() {
    let house = House::new();
    let path = house.file("url");
    std::fs::write(&path, "https://tracker.example\n").unwrap();
    let printed = tracker(&["config", "print", "--json"])
        .env("TRACKER__TRACKER__PUBLIC_URL_FILE", &path)
        .output()
        .unwrap();
    let printed: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(printed["tracker"]["public_url"], "https://tracker.example");
    let missing = tracker(&["config", "check"])
        .env("TRACKER__TRACKER__PUBLIC_URL_FILE", "/nowhere")
        .output()
        .unwrap();
    refused(&missing, 2, &["PUBLIC_URL_FILE", "/nowhere"]);
}

#[test]
fn a_hangup_reads_the_settings_again_and_refuses_bad_ones_whole() {
    let house = House::new();
    let file = house.file("tracker.toml");
    std::fs::write(&file, "").unwrap();
    let mut running = Running::start(&house.data(), &["--config", &file]);
    running.line();
    assert!(house.words(&["reload"]).contains("nothing has changed"));
    std::fs::write(
        &file,
        "[clients]\ndeny = [\"XL\"]\n[http]\nlanes = 3\n[tracker]\nlog = \"info\"\n",
    )
    .unwrap();
    running.signal(Signal::HUP);
    running.logged(&["setting changed", "clients.deny"]);
    running.logged(&["setting needs a restart", "http.lanes"]);
    // One good line and one bad one: neither is taken over.
    std::fs::write(
        &file,
        "[clients]\ndeny = []\n[announce]\ninterval_secs = \"often\"\n",
    )
    .unwrap();
    running.signal(Signal::HUP);
    running.logged(&["the settings stay as they were", "interval_secs", "often"]);
    refused(&house.run(&["reload"]), 1, &["interval_secs", "line 4"]);
    std::fs::write(&file, "[clients]\ndeny = []\n").unwrap();
    let changes = house.object(&["reload"]);
    let changes = changes["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(
        changes[0]
            .as_str()
            .unwrap()
            .starts_with("clients.deny: [\"XL\"] -> []")
    );
    assert_eq!(running.stop(Signal::TERM), Some(0));
}
