//! Who is let in, with which key, from where, and what is remembered of it.

use super::*;
use crate::members::store::Role;

const NOW: Date = Date(1_800_000_000);
const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const ANN: MemberId = MemberId(1);
const DAY: Duration = Duration::from_hours(24);

const RULE: NetworkRule = NetworkRule {
    alarm: 3,
    window: Duration::from_hours(7 * 24),
};

fn secret() -> Secret {
    Secret::new(&[9; 32])
}

fn row(id: MemberId, name: &str) -> MemberRow {
    MemberRow {
        id,
        name: name.to_owned(),
        role: Role::Member,
        kind: Kind::Member,
        generation: 1,
        old_generation_until: None,
        created: NOW,
        invited_by: None,
        invitation: None,
        expires: None,
        disabled: None,
        scope: None,
        rotated: None,
        notes: String::new(),
    }
}

fn ann() -> MemberRow {
    row(ANN, "Ann")
}

fn with(rows: impl IntoIterator<Item = MemberRow>) -> Directory {
    let directory = Directory::new(secret(), RULE);
    directory.put(rows);
    directory
}

fn key_of(row: &MemberRow) -> Passkey {
    secret().derive(&fields_of(row))
}

fn key_at(generation: u32) -> Passkey {
    key_of(&MemberRow { generation, ..ann() })
}

fn one_torrent_key(generation: u32, torrent: u32) -> Passkey {
    secret().derive(&KeyFields {
        generation,
        scope: Some(TorrentId(torrent)),
        ..fields_of(&ann())
    })
}

/// What becomes of a key that is used for a torrent today.
#[track_caller]
fn check(row: MemberRow, key: Passkey, torrent: Option<u32>, wanted: Result<Option<&'static str>, Refusal>) {
    let directory = with([row]);
    let admitted = directory.admit(key.as_str().as_bytes(), torrent.map(TorrentId), HOME, NOW);
    assert_eq!(admitted.map(|admitted| admitted.warning), wanted);
}

#[test]
fn a_member_is_known_by_the_key_and_nobody_else_is() {
    let directory = with([ann(), row(MemberId(4), "Ben")]);
    let ben = directory.key(MemberId(4)).unwrap();
    let admitted = directory.admit(ben.as_str().as_bytes(), None, HOME, NOW).unwrap();
    assert_eq!(admitted.member, MemberId(4));
    let mut forged = ben.to_string();
    forged.replace_range(31.., if forged.ends_with('a') { "b" } else { "a" });
    let stranger = key_of(&row(MemberId(3), "Cleo"));
    let far = key_of(&row(MemberId(u32::MAX), "Dora"));
    for key in [forged.as_str(), stranger.as_str(), far.as_str(), "", "announce"] {
        let refused = directory.admit(key.as_bytes(), None, HOME, NOW);
        assert_eq!(refused, Err(Refusal::UnknownKey), "{key}");
        assert_eq!(directory.whose(key.as_bytes(), None), None);
    }
}

#[test]
fn the_old_key_works_with_a_warning_while_its_grace_lasts_and_not_a_second_longer() {
    let rotated = MemberRow {
        generation: 2,
        old_generation_until: Some(NOW + DAY),
        ..ann()
    };
    check(rotated.clone(), key_at(2), Some(1), Ok(None));
    check(rotated.clone(), key_at(1), Some(1), Ok(Some(OLD_KEY)));
    let over = MemberRow {
        old_generation_until: Some(NOW),
        ..rotated.clone()
    };
    check(over, key_at(1), Some(1), Err(Refusal::ReplacedKey));
    let at_once = MemberRow {
        old_generation_until: None,
        ..rotated
    };
    check(at_once, key_at(1), Some(1), Err(Refusal::ReplacedKey));
}

#[test]
fn keys_of_long_ago_are_replaced_not_unknown() {
    let row = MemberRow {
        generation: 9,
        old_generation_until: Some(NOW + DAY),
        ..ann()
    };
    for generation in 1..8 {
        check(row.clone(), key_at(generation), None, Err(Refusal::ReplacedKey));
        check(
            row.clone(),
            one_torrent_key(generation, 5),
            Some(5),
            Err(Refusal::ReplacedKey),
        );
    }
    check(row.clone(), key_at(10), None, Err(Refusal::UnknownKey));
    assert!(with([row]).whose(key_at(1).as_str().as_bytes(), None).is_some());
}

#[test]
fn a_key_for_one_torrent_is_good_for_that_one_alone() {
    check(ann(), one_torrent_key(1, 5), Some(5), Ok(None));
    check(ann(), one_torrent_key(1, 5), Some(6), Err(Refusal::OtherTorrent));
    check(ann(), one_torrent_key(1, 5), None, Err(Refusal::OtherTorrent));
    let rotated = MemberRow {
        generation: 2,
        old_generation_until: Some(NOW + DAY),
        ..ann()
    };
    check(rotated.clone(), one_torrent_key(1, 5), Some(5), Ok(Some(OLD_KEY)));
    check(rotated, one_torrent_key(2, 5), Some(5), Ok(None));
    let directory = with([ann()]);
    assert_eq!(directory.key_for(ANN, TorrentId(5)), Some(one_torrent_key(1, 5)));
}

#[test]
fn a_guest_of_one_torrent_sees_no_other() {
    let guest = MemberRow {
        kind: Kind::Guest,
        scope: Some(TorrentId(5)),
        ..ann()
    };
    let key = key_of(&guest);
    check(guest.clone(), key, Some(5), Ok(None));
    check(guest.clone(), key, Some(6), Err(Refusal::OtherTorrent));
    check(guest.clone(), key_of(&ann()), Some(5), Err(Refusal::UnknownKey));
    check(ann(), key, Some(5), Err(Refusal::OtherTorrent));
    let disabled = MemberRow {
        disabled: Some((NOW, "link taken back".to_owned())),
        ..guest
    };
    check(
        disabled,
        key,
        Some(5),
        Err(Refusal::Disabled("link taken back".to_owned())),
    );
}

#[test]
fn the_disabled_and_the_expired_are_told_so_whichever_key_they_use() {
    let disabled = MemberRow {
        generation: 2,
        disabled: Some((NOW, "ask Ann".to_owned())),
        expires: Some(NOW),
        ..ann()
    };
    for key in [key_at(1), key_at(2), one_torrent_key(2, 5)] {
        check(
            disabled.clone(),
            key,
            Some(5),
            Err(Refusal::Disabled("ask Ann".to_owned())),
        );
    }
    let expired = MemberRow {
        expires: Some(NOW),
        ..ann()
    };
    check(expired.clone(), key_at(1), None, Err(Refusal::ExpiredKey));
    let last_second = MemberRow {
        expires: Some(NOW + Duration::from_secs(1)),
        ..ann()
    };
    check(last_second, key_at(1), None, Ok(None));
    let directory = with([expired]);
    assert_eq!(directory.whose(key_at(1).as_str().as_bytes(), None), Some(ANN));
}

#[test]
fn a_change_of_the_row_keeps_totals_and_a_removal_ends_them() {
    let directory = with([ann()]);
    let credit = Credit {
        uploaded: 100,
        downloaded: 50,
        ..Credit::default()
    };
    let charged = Charged {
        upload_credit: 200,
        download_charge: 0,
    };
    directory.add_credit(ANN, &credit, &charged, NOW);
    directory.add_credit(ANN, &credit, &charged, Date(NOW.0 - 9));
    directory.add_credit(MemberId(77), &credit, &charged, NOW);
    directory.put([MemberRow {
        name: "Anna".to_owned(),
        generation: 2,
        ..ann()
    }]);
    let totals = MemberTotals {
        uploaded: 200,
        downloaded: 100,
        upload_credit: 400,
        download_charge: 0,
        last_seen: Some(NOW),
    };
    assert_eq!(directory.totals(ANN), Some(totals));
    assert_eq!((directory.id("anna"), directory.id("ann")), (Some(ANN), None));
    directory.remove(ANN);
    assert_eq!((directory.totals(ANN), directory.id("anna")), (None, None));
    let refused = directory.admit(key_at(2).as_str().as_bytes(), None, HOME, NOW);
    assert_eq!(refused, Err(Refusal::UnknownKey));
}

#[test]
fn names_are_found_whatever_their_case_and_the_blanks_around() {
    let directory = with([row(ANN, "Ännchen von Tharau")]);
    assert_eq!(directory.id("  ÄNNCHEN von tharau "), Some(ANN));
}

#[test]
fn the_census_counts_each_member_once() {
    let disabled = MemberRow {
        disabled: Some((NOW, String::new())),
        expires: Some(NOW),
        ..row(MemberId(2), "Ben")
    };
    let expired = MemberRow {
        expires: Some(NOW),
        ..row(MemberId(9), "Cleo")
    };
    let census = with([ann(), disabled, expired]).census(NOW);
    let wanted = Census {
        active: 1,
        disabled: 1,
        expired: 1,
    };
    assert_eq!(census, wanted);
}

/// Announces from these addresses, a minute apart; how many networks that makes, and whether it is too much.
#[track_caller]
fn seen(addresses: &[&str], wanted: (u32, bool)) {
    let directory = with([ann()]);
    let key = key_at(1);
    let mut date = NOW;
    for address in addresses {
        date = date + Duration::from_mins(1);
        let from = address.parse().unwrap();
        directory
            .admit(key.as_str().as_bytes(), None, from, date)
            .unwrap();
    }
    assert_eq!(directory.networks(ANN, date), wanted);
    assert_eq!(directory.alarms(date), usize::from(wanted.1));
}

#[test]
fn a_key_in_too_many_networks_raises_an_alarm() {
    seen(&["198.51.100.1", "203.0.113.1", "192.0.2.1"], (3, false));
    seen(
        &["198.51.100.1", "203.0.113.1", "192.0.2.1", "2001:db8::1"],
        (4, true),
    );
}

#[test]
fn one_network_is_one_however_many_its_addresses() {
    seen(
        &["198.51.100.1", "198.51.100.200", "::ffff:198.51.100.7"],
        (1, false),
    );
    seen(
        &["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:2:3:4:5:6"],
        (1, false),
    );
    seen(&["2001:db8:1:2::1", "2001:db8:1:3::1"], (2, false));
}

#[test]
fn home_is_no_network() {
    let home = [
        "127.0.0.1",
        "::1",
        "10.1.2.3",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "fd00::1",
        "fe80::1",
        "::ffff:10.1.2.3",
        "0.0.0.0",
        "::",
    ];
    seen(&home, (0, false));
}

#[test]
fn what_is_remembered_of_networks_is_bounded_and_forgotten_in_time() {
    let directory = with([ann()]);
    let key = key_at(1);
    for network in 0..10_000_u32 {
        let [_, a, b, c] = network.to_be_bytes();
        let from = IpAddr::from([60 + a, b, c, 1]);
        directory.admit(key.as_str().as_bytes(), None, from, NOW).unwrap();
    }
    assert_eq!(directory.networks(ANN, NOW), (2 * RULE.alarm, true));
    let later = NOW + RULE.window;
    assert_eq!(directory.alarms(later), 0);
    assert_eq!(
        directory.networks(ANN, NOW),
        (0, false),
        "what was too old is gone for good"
    );
}

#[test]
fn a_network_that_stays_is_not_forgotten_for_being_old() {
    let directory = with([ann()]);
    let key = key_at(1);
    let from = IpAddr::from([198, 51, 100, 1]);
    let mut date = NOW;
    for _ in 0..10 {
        directory
            .admit(key.as_str().as_bytes(), None, from, date)
            .unwrap();
        date = date + DAY;
    }
    assert_eq!(directory.networks(ANN, date), (1, false));
}

#[test]
fn the_refused_leave_no_network() {
    let disabled = MemberRow {
        disabled: Some((NOW, String::new())),
        ..ann()
    };
    let directory = with([disabled]);
    let from = IpAddr::from([198, 51, 100, 1]);
    assert!(
        directory
            .admit(key_at(1).as_str().as_bytes(), None, from, NOW)
            .is_err()
    );
    assert_eq!(directory.networks(ANN, NOW), (0, false));
}

#[test]
fn whoever_is_disabled_or_expired_is_not_welcome_and_a_forgotten_number_is_nobodys() {
    let expiring = MemberRow {
        expires: Some(NOW + Duration::from_secs(60)),
        ..ann()
    };
    let directory = with([expiring, row(MemberId(2), "Ben")]);
    assert_eq!(directory.is_welcome(ANN, NOW), Some(true));
    assert_eq!(
        directory.is_welcome(ANN, NOW + Duration::from_secs(60)),
        Some(false)
    );
    directory.put([MemberRow {
        disabled: Some((NOW, "away".to_owned())),
        ..row(MemberId(2), "Ben")
    }]);
    assert_eq!(directory.is_welcome(MemberId(2), NOW), Some(false));
    directory.remove(ANN);
    assert_eq!(directory.is_welcome(ANN, NOW), None);
}
