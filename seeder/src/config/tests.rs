//! What settings say and mean, from every source.

use super::*;

fn config(text: &str) -> Result<Config, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    Config::try_from(&file).map_err(|error| error.to_string())
}

fn with_variables(pairs: &[(&str, &str)]) -> Result<Loaded<File>, ConfigError> {
    load(
        None,
        pairs.iter().map(|(name, value)| (name.into(), value.into())),
    )
}

#[test]
fn the_shipped_file_holds_every_setting_with_its_default() {
    let text = include_str!("../../../deploy/seeder.toml");
    assert_eq!(toml::from_str::<File>(text).unwrap(), File::default());
    let all = toml::Table::try_from(File::default()).unwrap();
    let shown: toml::Table = text.parse().unwrap();
    assert_eq!(shown, all);
    assert_eq!(File::default().explained(), text);
}

#[test]
fn defaults_mean_no_bound_no_goal_and_a_port_for_the_owner() {
    let config = config("").unwrap();
    assert_eq!(config.rates.upload, None);
    assert!(config.options.goals.is_none());
    assert_eq!(config.admin, Some("127.0.0.1:6980".parse().unwrap()));
    assert_eq!(config.data, None);
}

#[test]
fn a_variable_beats_the_file_and_a_misspelt_one_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seeder.toml");
    std::fs::write(&path, "[rates]\nupload = \"1M\"\ndownload = \"3M\"\n").unwrap();
    let variables = [
        ("SEEDER__RATES__UPLOAD", "2M"),
        ("SEEDER__RATES__UPLAOD", "9M"),
        ("SEEDER__LOG", "debug"),
    ];
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    let loaded = load(Some(&path), variables).unwrap();
    let config = Config::try_from(&loaded.file).unwrap();
    assert_eq!(config.rates.upload, Some(2_000_000));
    assert_eq!(config.rates.download, Some(3_000_000));
    assert_eq!(loaded.unread, ["SEEDER__RATES__UPLAOD"]);
}

#[test]
fn a_list_in_a_variable_has_commas() {
    let loaded = with_variables(&[("SEEDER__PEERS__LISTEN", "127.0.0.1:1, [::1]:2")]).unwrap();
    assert_eq!(
        loaded.file.peers.listen,
        ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()]
    );
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    for (text, why) in [
        ("[peers]\nencryption = \"maybe\"", "peers.encryption"),
        ("[peers]\nconnections = 0", "peers.connections"),
        ("[peers]\nlisten = []", "peers.listen"),
        ("[rates]\nupload = \"fast\"", "rates.upload"),
        ("[rates]\nschedule = [\"never\"]", "rates.schedule"),
        ("[goals]\nratio = -1.0", "goals.ratio"),
        ("[goals]\nratio = nan", "goals.ratio"),
        ("[disk]\nallocation = \"dense\"", "disk.allocation"),
        ("[disk]\ncheck = \"often\"", "disk.check"),
        ("[disk]\nbuffers_mib = 0", "disk.buffers_mib"),
        ("[admin]\nlisten = \"6980\"", "admin.listen"),
        ("[seeder]\nlog = \"=;=\"", "seeder.log"),
        ("[seeder]\nlgo = \"info\"", "line 2"),
    ] {
        let refused = config(text).unwrap_err();
        assert!(refused.contains(why), "{text}: {refused}");
    }
}
