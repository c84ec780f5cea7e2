//! Settings from every source, good and bad.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use super::*;

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|&(name, value)| (name.into(), value.into()))
        .collect()
}

fn loaded(text: &str, pairs: &[(&str, &str)], typed: Typed) -> Result<Loaded, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    load(Some(file.path()), variables(pairs).into_iter(), typed)
}

#[track_caller]
fn refused(text: &str, pairs: &[(&str, &str)], words: &[&str]) {
    let error = loaded(text, pairs, Typed::default())
        .and_then(|loaded| Config::try_from(&loaded.file).map(|_| ()))
        .unwrap_err()
        .to_string();
    for word in words {
        assert!(error.contains(word), "{error:?} does not say {word:?}");
    }
}

#[test]
fn nothing_said_is_the_documented_defaults() {
    let loaded = load(None, std::iter::empty(), Typed::default()).unwrap();
    assert_eq!(
        loaded,
        Loaded {
            file: File::default(),
            unread: Vec::new()
        }
    );
    let config = Config::try_from(&loaded.file).unwrap();
    assert_eq!(
        config.http.listen,
        ["0.0.0.0:6969".parse().unwrap(), "[::]:6969".parse().unwrap()]
    );
    assert_eq!(config.admin, Some("127.0.0.1:6970".parse().unwrap()));
}

#[test]
fn flags_beat_variables_and_variables_beat_the_file() {
    let text = "[http]\nlisten = [\"127.0.0.1:1\"]\nlanes = 1\nidle_secs = 7";
    let pairs = [
        ("TRACKER__HTTP__LISTEN", "127.0.0.1:2,[::1]:2"),
        ("TRACKER__HTTP__LANES", "2"),
    ];
    let file = loaded(text, &pairs, Typed::default()).unwrap().file;
    assert_eq!(
        file.http.listen,
        ["127.0.0.1:2".parse().unwrap(), "[::1]:2".parse().unwrap()]
    );
    assert_eq!((file.http.lanes, file.http.idle_secs), (2, 7));
    let typed = Typed {
        http: vec!["127.0.0.1:3".parse().unwrap()],
        ..Typed::default()
    };
    let file = loaded(text, &pairs, typed).unwrap().file;
    assert_eq!(file.http.listen, ["127.0.0.1:3".parse().unwrap()]);
}

#[test]
fn every_kind_of_setting_can_come_from_a_variable() {
    let pairs = [
        ("TRACKER__TRACKER__DATA", "/srv/tracker"),
        ("TRACKER__TRACKER__PUBLIC", "true"),
        ("TRACKER__ADMIN__LISTEN", "off"),
        ("TRACKER__ANNOUNCE__EXTERNAL_ADDRESSES", "192.0.2.1,2001:db8::1"),
    ];
    let file = loaded("", &pairs, Typed::default()).unwrap().file;
    assert_eq!(file.tracker.data, PathBuf::from("/srv/tracker"));
    assert!(file.tracker.public);
    assert_eq!(Config::try_from(&file).unwrap().admin, None);
    assert_eq!(file.announce.external_addresses.len(), 2);
}

#[test]
fn a_misspelt_key_is_an_error_with_its_line() {
    refused(
        "[http]\nlanes = 1\nlisen = []\n",
        &[],
        &["line 3", "lisen", "listen"],
    );
    refused("[htp]\n", &[], &["line 1", "htp"]);
}

#[test]
fn values_that_do_not_fit_are_named() {
    refused("[http]\nlanes = \"many\"\n", &[], &["line 2", "many"]);
    refused(
        "[admin]\nlisten = \"here\"\n",
        &[],
        &["admin.listen", "here", "off"],
    );
    refused(
        "[http]\nhead_secs = 0\n",
        &[],
        &["http.head_secs", "0", "from 1 to 3600"],
    );
    refused(
        "[announce]\nmin_interval_secs = 9999\n",
        &[],
        &["announce.min_interval_secs", "9999"],
    );
    refused("[http]\nlisten = []\n", &[], &["http.listen", "at least one"]);
}

#[test]
fn a_variable_that_does_not_fit_is_named_with_its_value() {
    for (name, value) in [
        ("TRACKER__HTTP__LANES", "many"),
        ("TRACKER__HTTP__LANES", "1.7"),
        ("TRACKER__LIMITS__PEERS", "-1"),
        ("TRACKER__LIMITS__PEERS", "99999999999999999999"),
        ("TRACKER__TRACKER__PUBLIC", "perhaps"),
        ("TRACKER__HTTP__LISTEN", "127.0.0.1:1,localhost:2"),
    ] {
        refused("", &[(name, value)], &[name, value]);
    }
    let strange = [(
        "TRACKER__TRACKER__DATA".into(),
        OsString::from_vec(b"/srv/\xff".to_vec()),
    )];
    let error = load(None, strange.into_iter(), Typed::default()).unwrap_err();
    assert!(error.to_string().contains("UTF-8"), "{error}");
}

#[test]
fn a_list_in_a_variable_may_have_spaces_or_be_empty() {
    let pairs = [
        ("TRACKER__HTTP__LISTEN", "127.0.0.1:1, [::1]:2"),
        ("TRACKER__ANNOUNCE__EXTERNAL_ADDRESSES", ""),
    ];
    let text = "[announce]\nexternal_addresses = [\"192.0.2.1\"]";
    let file = loaded(text, &pairs, Typed::default()).unwrap().file;
    assert_eq!(
        (file.http.listen.len(), file.announce.external_addresses.len()),
        (2, 0)
    );
}

#[test]
fn a_log_filter_that_is_none_is_refused_before_the_tracker_starts() {
    refused(
        "[tracker]\nlog = \"a=b=c\"\n",
        &[],
        &["tracker.log", "a=b=c", "debug"],
    );
}

#[test]
fn variables_that_nothing_reads_are_reported() {
    let pairs = [
        ("TRACKER__HTTP__LISEN", "x"),
        ("TRACKER_HTTP_LISTEN", "x"),
        ("TRACKER__CONFIG", "x"),
    ];
    let unread = loaded("", &pairs, Typed::default()).unwrap().unread;
    assert_eq!(unread, ["TRACKER__HTTP__LISEN", "TRACKER_HTTP_LISTEN"]);
}

#[test]
fn the_file_we_ship_shows_every_setting_with_its_default() {
    let text = include_str!("../../../deploy/tracker.toml");
    assert_eq!(toml::from_str::<File>(text).unwrap(), File::default());
    let all = toml::Table::try_from(File::default()).unwrap();
    let shown: toml::Table = text.parse().unwrap();
    assert_eq!(shown, all);
    assert_eq!(File::default().explained(), text);
}

#[test]
fn what_is_printed_can_be_read() {
    let mut file = File::default();
    file.tracker.public_url = "https://tracker.example/\"quoted\"".to_owned();
    file.http.listen.truncate(1);
    file.http.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    file.clients.deny = vec!["-XL*".to_owned(), "qB<4.5".to_owned()];
    file.accounts.tariff_until = "2026-12-31T23:59:59Z".to_owned();
    assert_eq!(
        loaded(&file.explained(), &[], Typed::default()).unwrap().file,
        file
    );
}
