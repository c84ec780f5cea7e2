//! Settings from every source, good and bad.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use edge::settings::ConfigError;

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
fn a_list_in_a_variable_may_be_written_as_in_the_file() {
    let pairs = [
        ("TRACKER__HTTP__TRUSTED_PROXIES", r#"["10.0.0.0/8", "fd00::/8"]"#),
        ("TRACKER__HTTP__LISTEN", "[::1]:2"),
    ];
    let file = loaded("", &pairs, Typed::default()).unwrap().file;
    assert_eq!((file.http.trusted_proxies.len(), file.http.listen.len()), (2, 1));
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

#[test]
fn settings_of_private_mode_are_checked_before_anything_starts() {
    for (text, words) in [
        (
            "[tracker]\npublic_url = \"tracker.example\"",
            &["public_url", "https://"][..],
        ),
        ("[tracker]\npublic_url = \"ftp://x\"", &["public_url", "ftp://x"]),
        ("[tracker]\npublic_url = \"https://x/?a=b\"", &["public_url", "?"]),
        (
            "[http]\ntrusted_proxies = [\"10.0.0.0/33\"]",
            &["line 2", "trusted_proxies"],
        ),
        (
            "[http]\ntls_listen = [\"[::]:443\"]",
            &["http.tls_certificate", "tls_listen"],
        ),
        (
            "[http]\ntls_key = \"key.pem\"",
            &["http.tls_key", "key.pem", "tls_listen"],
        ),
        (
            "[members]\nsession_days = 0",
            &["members.session_days", "1 to 3650"],
        ),
        (
            "[members]\nnetworks_alarm = 65",
            &["members.networks_alarm", "65"],
        ),
        (
            "[accounts]\ndownload_percent = 1001",
            &["accounts.download_percent", "1001"],
        ),
        (
            "[accounts]\ntariff_until = \"2026-12-31\"",
            &["tariff_until", "2026-12-31T23:59:59Z"],
        ),
        ("[clients]\nallow = [\"qB>=4.x\"]", &["clients.allow", "qB>=4.x"]),
        ("[torrents]\nsource = \"a\\nb\"", &["torrents.source"]),
        ("[snapshot]\nsecs = 1", &["snapshot.secs", "10"]),
        ("[announce]\nload_per_sec = 0", &["announce.load_per_sec"]),
    ] {
        refused(text, &[], words);
    }
}

#[test]
fn a_key_in_the_place_of_its_files_name_is_never_repeated() {
    let text = "[http]\ntls_listen = [\"[::]:443\"]\ntls_certificate = \"c\"\ntls_key = \"-----BEGIN PRIVATE KEY-----\"";
    let loaded = loaded(text, &[], Typed::default()).unwrap();
    let error = Config::try_from(&loaded.file).unwrap_err().to_string();
    assert!(
        error.contains("http.tls_key") && !error.contains("BEGIN"),
        "{error}"
    );
}

#[test]
fn a_value_may_stand_in_a_file_unless_the_setting_names_a_file_itself() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"127.0.0.1:1, [::1]:2\r\n").unwrap();
    let path = file.path().to_str().unwrap();
    let found = loaded("", &[("TRACKER__HTTP__LISTEN_FILE", path)], Typed::default()).unwrap();
    assert_eq!(found.file.http.listen.len(), 2);
    let pairs = [
        ("TRACKER__HTTP__LISTEN_FILE", path),
        ("TRACKER__HTTP__LISTEN", "[::1]:1"),
    ];
    refused("", &pairs, &["TRACKER__HTTP__LISTEN is set", "_FILE"]);
    let found = loaded("", &[("TRACKER__HTTP__TLS_KEY_FILE", path)], Typed::default()).unwrap();
    assert_eq!(found.unread, ["TRACKER__HTTP__TLS_KEY_FILE"]);
    refused(
        "",
        &[("TRACKER__HTTP__LISTEN_FILE", "/dev/zero")],
        &["/dev/zero", "longer"],
    );
}

#[test]
fn a_public_url_has_no_slash_at_its_end() {
    for url in ["https://tracker.example", "https://tracker.example/"] {
        let text = format!("[tracker]\npublic_url = \"{url}\"");
        let file = loaded(&text, &[], Typed::default()).unwrap().file;
        let config = Config::try_from(&file).unwrap();
        assert_eq!(config.public_url.as_deref(), Some("https://tracker.example"));
    }
}

/// Every setting with a value that is not its default.
const OTHER: &str = include_str!("other.toml");

#[test]
fn settings_survive_the_way_to_their_types_and_back() {
    let file = loaded(OTHER, &[], Typed::default()).unwrap().file;
    assert_eq!(Config::try_from(&file).unwrap().file(), file);
    let (all, default) = (
        toml::Table::try_from(&file).unwrap(),
        toml::Table::try_from(File::default()).unwrap(),
    );
    for (section, keys) in &all {
        for (key, value) in keys.as_table().unwrap() {
            assert_ne!(
                value, &default[section][key],
                "{section}.{key} is left at its default"
            );
        }
    }
}

#[test]
fn every_change_is_named_and_sorted_by_what_can_be_done_about_it() {
    let old = Config::try_from(&File::default()).unwrap();
    let new = Config::try_from(&loaded(OTHER, &[], Typed::default()).unwrap().file).unwrap();
    assert!(old.diff(&old).is_empty());
    let changes = old.diff(&new);
    let keys = |list: &[Change]| list.iter().map(|change| change.key.clone()).collect::<Vec<_>>();
    let (live, restart) = (keys(&changes.live), keys(&changes.restart));
    let settings: usize = toml::Table::try_from(File::default())
        .unwrap()
        .values()
        .map(|section| section.as_table().unwrap().len())
        .sum();
    assert_eq!(live.len() + restart.len(), settings);
    for key in [
        "clients.deny",
        "announce.interval_secs",
        "tracker.log",
        "tracker.public_url",
        "http.trusted_proxies",
        "limits.connections",
        "limits.connections_per_address",
    ] {
        assert!(live.contains(&key.to_owned()), "{key}");
    }
    for key in [
        "http.listen",
        "tracker.data",
        "tracker.public",
        "limits.peers",
        "admin.listen",
        "http.tls_key",
    ] {
        assert!(restart.contains(&key.to_owned()), "{key}");
    }
    let deny = changes
        .live
        .iter()
        .find(|change| change.key == "clients.deny")
        .unwrap();
    assert_eq!(deny.to_string(), "clients.deny: [] -> [\"XL\"]");
}
