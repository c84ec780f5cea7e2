//! The office with a real store in a folder of its own: what is allowed, what is refused, and that memory and store agree.

use std::net::IpAddr;

use shared::id::InfoHash;
use shared::metainfo::Metainfo;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::members::ids::{TorrentId, Which};
use crate::members::keys::{KeyFields, KeyKind};
use crate::members::refusal::Refusal;
use crate::members::register::Found;
use crate::members::store::NewTorrent;

const NOW: Date = Date(1_800_000_000);
const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const SECRET: [u8; 32] = [5; 32];
const HOUR: Duration = Duration::from_hours(1);

struct Desk {
    office: Arc<Office>,
    folder: TempDir,
}

impl Desk {
    async fn new() -> Self {
        Self::with(OfficeSettings::default()).await
    }

    async fn with(settings: OfficeSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let office = open(&folder, settings).await;
        Self { office, folder }
    }

    /// What a start on the same folder knows.
    async fn again(self) -> Self {
        let settings = OfficeSettings::clone(&self.office.settings());
        self.office.store.close().await;
        drop(self.office);
        Self {
            office: open(&self.folder, settings).await,
            folder: self.folder,
        }
    }

    async fn add(&self, name: &str) -> MemberCard {
        let new = AddMember {
            name: name.to_owned(),
            ..AddMember::default()
        };
        self.office.add_member(&Actor::Owner, new).await.unwrap()
    }

    async fn torrent(&self, file: &[u8]) -> Result<TorrentCard, OfficeError> {
        self.office
            .add_torrent(&Actor::Owner, file, AddTorrent::default())
            .await
    }

    async fn invite(&self, uses: u32, expires: Option<Date>) -> InvitationCard {
        let new = AddInvitation {
            expires,
            uses,
            note: "for the cousins".to_owned(),
        };
        self.office.create_invitation(&Actor::Owner, new).await.unwrap()
    }

    fn admit(&self, card: &MemberCard) -> Result<Option<&'static str>, Refusal> {
        let key = card.passkey.as_deref().unwrap();
        let admitted = self
            .office
            .directory
            .admit(key.as_bytes(), None, HOME, self.now());
        admitted.map(|admitted| admitted.warning)
    }

    fn now(&self) -> Date {
        self.office.clock.date()
    }
}

async fn open(folder: &TempDir, settings: OfficeSettings) -> Arc<Office> {
    let store = Store::open(&folder.path().join("tracker.sqlite")).await.unwrap();
    let clock = Clock::start_at(NOW);
    Office::open(store, &SECRET, clock, settings).await.unwrap()
}

/// Time goes on; the database does not see it.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// A v1 torrent of one file.
fn file(name: &str) -> Vec<u8> {
    let pieces = "x".repeat(20);
    let length = name.len();
    format!("d8:announce10:http://t/a4:infod6:lengthi5e4:name{length}:{name}12:piece lengthi16384e6:pieces20:{pieces}ee")
        .into_bytes()
}

fn golden(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/torrents");
    std::fs::read(folder.join(name)).unwrap()
}

fn hash_of(card: &TorrentCard) -> InfoHash {
    card.info_hash_v1.as_ref().unwrap().parse().unwrap()
}

#[track_caller]
fn is_invalid<T: std::fmt::Debug>(answer: Result<T, OfficeError>, wanted: &str) {
    match answer {
        Err(OfficeError::Invalid { field, .. }) => assert_eq!(field, wanted),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_member_who_was_added_is_let_in_also_after_a_restart() {
    let desk = Desk::new().await;
    let card = desk.add("  Ann ").await;
    assert_eq!(card.name, "Ann");
    assert_eq!(desk.admit(&card), Ok(None));
    let url = format!(
        "http://127.0.0.1:6969/{}/announce",
        card.passkey.as_deref().unwrap()
    );
    assert_eq!(card.announce_url, Some(url));
    let desk = desk.again().await;
    assert_eq!(desk.admit(&card), Ok(None));
    assert_eq!(desk.office.member("ann").await.unwrap().member, card);
    let listed = desk.office.members();
    assert_eq!(
        (listed.len(), &listed[0].passkey),
        (1, &None),
        "a list shows no keys"
    );
}

#[tokio::test]
async fn names_are_one_line_and_nobody_elses() {
    let desk = Desk::new().await;
    desk.add("Ann").await;
    let add = |name: &str| AddMember {
        name: name.to_owned(),
        ..AddMember::default()
    };
    for wrong in [
        "",
        "   ",
        &"x".repeat(65),
        "a\nb",
        "a\0",
        "..",
        ".",
        "\u{202e}nnA",
        "\u{200b}",
    ] {
        is_invalid(desk.office.add_member(&Actor::Owner, add(wrong)).await, "name");
    }
    let taken = desk.office.add_member(&Actor::Owner, add("aNN")).await;
    assert!(matches!(taken, Err(OfficeError::Exists { what: "member", name }) if name == "Ann"));
    desk.add(&"ß".repeat(64)).await;
    desk.add("José").await;
    for twin in ["Jose\u{301}", "Jos\u{200b}é", "ＪＯＳÉ"] {
        let taken = desk.office.add_member(&Actor::Owner, add(twin)).await;
        assert!(
            matches!(taken, Err(OfficeError::Exists { .. })),
            "{twin:?} {taken:?}"
        );
    }
    assert!(matches!(
        desk.office.member("nobody").await,
        Err(OfficeError::NotFound { .. })
    ));
}

#[tokio::test]
async fn two_who_want_one_name_at_once_are_one_member() {
    let desk = Desk::new().await;
    let add = |name: &str| {
        let new = AddMember {
            name: name.to_owned(),
            ..AddMember::default()
        };
        desk.office.add_member(&Actor::Owner, new)
    };
    let (first, second) = tokio::join!(add("Ann"), add("ANN"));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    assert_eq!(desk.office.members().len(), 1);
}

#[tokio::test]
async fn a_membership_ends_on_its_date_and_may_be_prolonged() {
    let desk = Desk::new().await;
    let new = AddMember {
        name: "Ann".to_owned(),
        expires: Some(NOW + HOUR),
        ..AddMember::default()
    };
    let card = desk.office.add_member(&Actor::Owner, new).await.unwrap();
    assert_eq!(desk.admit(&card), Ok(None));
    pass(HOUR).await;
    assert_eq!(desk.admit(&card), Err(Refusal::ExpiredKey));
    assert_eq!(desk.office.members()[0].state, MemberState::Expired);
    is_invalid(
        desk.office.expire(&Actor::Owner, "Ann", Some(NOW)).await,
        "expires",
    );
    desk.office.expire(&Actor::Owner, "Ann", None).await.unwrap();
    assert_eq!(desk.admit(&card), Ok(None));
}

#[tokio::test]
async fn a_rotation_gives_a_new_key_and_the_old_one_a_grace() {
    let desk = Desk::new().await;
    let old = desk.add("Ann").await;
    let new = desk
        .office
        .rotate(&Actor::Owner, "Ann", Some(HOUR))
        .await
        .unwrap();
    assert_ne!(new.passkey, old.passkey);
    assert_eq!(new.old_key_until, Some(Stamp(NOW + HOUR)));
    assert_eq!(desk.admit(&new), Ok(None));
    assert!(desk.admit(&old).unwrap().is_some());
    let desk = desk.again().await;
    assert!(desk.admit(&old).unwrap().is_some());
    pass(HOUR).await;
    assert_eq!(desk.admit(&old), Err(Refusal::ReplacedKey));
    assert_eq!(desk.admit(&new), Ok(None));
    let newest = desk
        .office
        .rotate(&Actor::Owner, "Ann", Some(Duration::ZERO))
        .await
        .unwrap();
    assert_eq!(desk.admit(&new), Err(Refusal::ReplacedKey));
    assert_eq!(desk.admit(&newest), Ok(None));
    is_invalid(
        desk.office
            .rotate(&Actor::Owner, "Ann", Some(HOUR * 10_000))
            .await,
        "grace",
    );
}

#[tokio::test]
async fn a_disabled_member_is_told_the_owners_words_until_enabled() {
    let desk = Desk::new().await;
    let card = desk.add("Ann").await;
    desk.office
        .disable(&Actor::Owner, "Ann", " call me ")
        .await
        .unwrap();
    let refusal = desk.admit(&card).unwrap_err();
    assert_eq!(refusal.to_string(), "disabled: call me");
    let desk = desk.again().await;
    assert_eq!(desk.admit(&card), Err(refusal));
    assert_eq!(
        desk.office.enable(&Actor::Owner, "Ann").await.unwrap().state,
        MemberState::Active
    );
    assert_eq!(desk.admit(&card), Ok(None));
    is_invalid(
        desk.office.disable(&Actor::Owner, "Ann", &"x".repeat(41)).await,
        "reason",
    );
    is_invalid(desk.office.disable(&Actor::Owner, "Ann", "a\nb").await, "reason");
}

#[tokio::test]
async fn a_forgotten_member_is_nobody_and_the_invited_stay() {
    let desk = Desk::new().await;
    let ann = desk.add("Ann").await;
    let id = desk.office.member_id("Ann").unwrap();
    let ben = AddMember {
        name: "Ben".to_owned(),
        ..AddMember::default()
    };
    let ben = desk.office.add_member(&Actor::Member(id), ben).await.unwrap();
    assert_eq!(ben.invited_by.as_deref(), Some("Ann"));
    assert_eq!(desk.office.member("Ann").await.unwrap().invited, ["Ben"]);
    desk.office.forget(&Actor::Owner, "Ann").await.unwrap();
    assert_eq!(desk.admit(&ann), Err(Refusal::UnknownKey));
    let audit = desk.office.audit(100).await.unwrap();
    assert!(
        audit
            .iter()
            .all(|line| !line.what.contains("Ann") && !line.who.contains("Ann")),
        "{audit:?}"
    );
    desk.office.rotate(&Actor::Owner, "Ben", None).await.unwrap();
    assert_eq!(desk.office.member("Ben").await.unwrap().member.invited_by, None);
    let again = desk.add("Ann").await;
    assert_ne!(
        again.passkey, ann.passkey,
        "the name may come again, the key never"
    );
}

#[tokio::test]
async fn the_last_owner_is_touched_from_the_machine_itself_only() {
    let desk = Desk::new().await;
    let owner = |name: &str| AddMember {
        name: name.to_owned(),
        role: Role::Owner,
        ..AddMember::default()
    };
    desk.office.add_member(&Actor::Owner, owner("Ann")).await.unwrap();
    let by = Actor::Member(desk.office.member_id("Ann").unwrap());
    let refused = |answer| assert!(matches!(answer, Err(OfficeError::Refused { .. })));
    refused(desk.office.disable(&by, "Ann", "").await.map(|_| ()));
    refused(desk.office.expire(&by, "Ann", Some(NOW + HOUR)).await.map(|_| ()));
    refused(desk.office.forget(&by, "Ann").await);
    desk.office.add_member(&Actor::Owner, owner("Ben")).await.unwrap();
    desk.office.disable(&by, "Ann", "").await.unwrap();
    refused(desk.office.forget(&by, "Ben").await);
    desk.office.forget(&Actor::Owner, "Ben").await.unwrap();
}

#[tokio::test]
async fn an_invitation_makes_as_many_members_as_it_says() {
    let desk = Desk::new().await;
    let ann = desk.add("Ann").await;
    assert_eq!(ann.invited_by, None);
    let by = Actor::Member(desk.office.member_id("Ann").unwrap());
    let new = AddInvitation {
        expires: None,
        uses: 2,
        note: String::new(),
    };
    let invitation = desk.office.create_invitation(&by, new).await.unwrap();
    let code = invitation.code.unwrap();
    let desk = desk.again().await;
    let ben = desk.office.redeem(&code.to_lowercase(), "Ben").await.unwrap();
    assert_eq!(desk.admit(&ben), Ok(None));
    assert_eq!((ben.invited_by.as_deref(), ben.role), (Some("Ann"), Role::Member));
    let taken = desk.office.redeem(&code, "ben").await;
    assert!(matches!(taken, Err(OfficeError::Exists { .. })));
    desk.office.redeem(&code.replace('-', ""), "Cleo").await.unwrap();
    let used = desk.office.redeem(&code, "Dora").await;
    assert!(matches!(used, Err(OfficeError::Used { .. })));
    let shown = desk.office.invitations().await.unwrap();
    assert_eq!((shown[0].used, &shown[0].code), (2, &None));
    assert_eq!(shown[0].members, ["Ben", "Cleo"]);
    assert_eq!(desk.office.member("Ann").await.unwrap().invited, ["Ben", "Cleo"]);
}

#[tokio::test]
async fn two_who_redeem_the_last_use_at_once_are_one_member() {
    let desk = Desk::new().await;
    let code = desk.invite(1, None).await.code.unwrap();
    let (first, second) = tokio::join!(desk.office.redeem(&code, "Ann"), desk.office.redeem(&code, "Ben"));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    assert_eq!(desk.office.members().len(), 1);
}

#[tokio::test]
async fn an_invitation_that_ended_lets_nobody_in() {
    let desk = Desk::new().await;
    let short = desk.invite(1, Some(NOW + HOUR)).await.code.unwrap();
    let revoked = desk.invite(1, None).await;
    desk.office
        .revoke_invitation(&Actor::Owner, revoked.id)
        .await
        .unwrap();
    let refused = desk.office.redeem(&revoked.code.unwrap(), "Ann").await;
    assert!(matches!(refused, Err(OfficeError::Revoked { .. })));
    pass(HOUR).await;
    let refused = desk.office.redeem(&short, "Ann").await;
    assert!(matches!(refused, Err(OfficeError::Expired { .. })));
    let unknown = desk.office.revoke_invitation(&Actor::Owner, 99).await;
    assert!(matches!(unknown, Err(OfficeError::NotFound { .. })));
}

#[tokio::test]
async fn without_a_code_nobody_learns_which_names_are_taken() {
    let desk = Desk::new().await;
    desk.add("Ann").await;
    for code in ["", "0000-0000-0000-0000", "nonsense"] {
        for name in ["Ann", "Ben", ""] {
            let refused = desk.office.redeem(code, name).await;
            assert!(
                matches!(&refused, Err(OfficeError::NotFound { name, .. }) if name.is_empty()),
                "{refused:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_first_owner_comes_in_by_a_code_that_works_once() {
    let desk = Desk::new().await;
    let first = desk.office.offer_ownership().unwrap();
    let code = desk.office.offer_ownership().unwrap();
    let old = desk.office.redeem_ownership(&first, "Eve").await;
    assert!(
        matches!(old, Err(OfficeError::NotFound { .. })),
        "a new code ends the one before"
    );
    let owner = desk.office.redeem_ownership(&code, "Ann").await.unwrap();
    assert_eq!(
        (owner.member.role, desk.admit(&owner.member)),
        (Role::Owner, Ok(None))
    );
    let holder = desk.office.check_token(&owner.token).unwrap();
    assert_eq!(holder.member, Some(desk.office.member_id("Ann").unwrap()));
    assert!(holder.scopes.contains(&Scope::Admin));
    let again = desk.office.redeem_ownership(&code, "Eve").await;
    assert!(matches!(again, Err(OfficeError::NotFound { .. })));
    assert_eq!(desk.office.offer_ownership(), None);
    let desk = desk.again().await;
    assert_eq!(desk.office.offer_ownership(), None);
    assert!(desk.office.check_token(&owner.token).is_some());
}

#[tokio::test]
async fn a_wrong_name_leaves_the_owners_code_good() {
    let desk = Desk::new().await;
    let code = desk.office.offer_ownership().unwrap();
    is_invalid(desk.office.redeem_ownership(&code, " ").await, "name");
    assert!(desk.office.redeem_ownership(&code, "Ann").await.is_ok());
}

#[tokio::test]
async fn a_token_is_good_until_it_expires_is_revoked_or_its_member_goes() {
    let desk = Desk::new().await;
    desk.add("Ann").await;
    let make = |name: &str, expires, member: Option<&str>| AddToken {
        name: name.to_owned(),
        scopes: vec![Scope::Torrents, Scope::Read, Scope::Read],
        expires,
        member: member.map(str::to_owned),
    };
    let create = |new| desk.office.create_token(&Actor::Owner, new);
    let bot = create(make("bot", None, None)).await.unwrap();
    let short = create(make("short", Some(NOW + HOUR), None)).await.unwrap();
    let anns = create(make("ann's", None, Some("ann"))).await.unwrap();
    assert_eq!(bot.scopes, [Scope::Read, Scope::Torrents]);
    let good = |card: &TokenCard| desk.office.check_token(card.token.as_deref().unwrap()).is_some();
    assert!(good(&bot) && good(&short) && good(&anns));
    let taken = create(make("BOT", None, None)).await;
    assert!(matches!(taken, Err(OfficeError::Exists { what: "token", .. })));
    pass(HOUR).await;
    assert!(good(&bot) && !good(&short) && good(&anns));
    desk.office.disable(&Actor::Owner, "Ann", "").await.unwrap();
    assert!(!good(&anns));
    desk.office.enable(&Actor::Owner, "Ann").await.unwrap();
    assert!(good(&anns));
    desk.office.revoke_token(&Actor::Owner, "Bot").await.unwrap();
    assert!(!good(&bot));
    create(make("bot", None, None)).await.unwrap();
    desk.office.forget(&Actor::Owner, "Ann").await.unwrap();
    assert!(!good(&anns));
    assert!(desk.office.check_token("kin_").is_none());
    let shown = desk.office.tokens();
    assert!(shown.iter().all(|card| card.token.is_none()));
    assert_eq!(shown.len(), 3, "{shown:?}");
}

#[tokio::test]
async fn the_last_use_of_a_token_is_kept() {
    let desk = Desk::new().await;
    let new = AddToken {
        name: "bot".to_owned(),
        scopes: vec![Scope::Read],
        ..AddToken::default()
    };
    let token = desk
        .office
        .create_token(&Actor::Owner, new)
        .await
        .unwrap()
        .token
        .unwrap();
    assert!(desk.office.check_token(&token).is_some());
    let stop = CancellationToken::new();
    stop.cancel();
    desk.office.welcome_torrents(stop).await;
    let desk = desk.again().await;
    assert_eq!(desk.office.tokens()[0].last_used, Some(Stamp(NOW)));
}

#[tokio::test]
async fn a_token_needs_a_scope_a_name_and_a_member_that_exists() {
    let desk = Desk::new().await;
    let none = AddToken {
        name: "x".to_owned(),
        ..AddToken::default()
    };
    is_invalid(
        desk.office.create_token(&Actor::Owner, none.clone()).await,
        "scopes",
    );
    let nobody = AddToken {
        scopes: vec![Scope::Read],
        member: Some("nobody".to_owned()),
        ..none
    };
    let refused = desk.office.create_token(&Actor::Owner, nobody).await;
    assert!(matches!(
        refused,
        Err(OfficeError::NotFound { what: "member", .. })
    ));
}

#[tokio::test]
async fn a_torrent_is_found_from_then_on_and_told_apart_from_its_double() {
    let desk = Desk::new().await;
    let card = desk.torrent(&file("a.txt")).await.unwrap();
    assert_eq!((card.name.as_str(), card.size, card.files), ("a.txt", 5, 1));
    assert_eq!(card.warnings.len(), 1, "it is not private: {:?}", card.warnings);
    let hash = hash_of(&card);
    let found = |desk: &Desk| desk.office.register.find(&hash, NOW);
    assert!(matches!(
        found(&desk),
        Found::Open {
            torrent: TorrentId(1),
            which: Which::First,
            ..
        }
    ));
    let double = desk.torrent(&file("a.txt")).await;
    assert!(matches!(double, Err(OfficeError::Exists { name, .. }) if name.contains("a.txt")));
    let desk = desk.again().await;
    assert!(matches!(found(&desk), Found::Open { .. }));
    let shown = desk
        .office
        .torrent(&hash.to_string().to_uppercase())
        .await
        .unwrap();
    assert_eq!(shown.torrent.name, "a.txt");
}

#[tokio::test]
async fn a_hybrid_is_one_torrent_with_two_hashes() {
    let desk = Desk::new().await;
    let card = desk.torrent(&golden("hybrid_one.torrent")).await.unwrap();
    let v2 = card.info_hash_v2.as_deref().unwrap();
    assert_eq!(
        card.info_hash_v1.as_deref(),
        Some("5688a02c0202e1c49acd2a0fadb8a20972a3eabe")
    );
    let cut = v2.get(..40).unwrap().parse().unwrap();
    let second = Some((TorrentId(1), Which::Second));
    assert_eq!(desk.office.register.look_up(&cut), second);
    for name in [v2, v2.get(..40).unwrap(), v2.get(..50).unwrap(), "5688a02c"] {
        assert_eq!(desk.office.torrent(name).await.unwrap().torrent.name, card.name);
    }
    let other = format!("{}{}", v2.get(..40).unwrap(), "0".repeat(24));
    assert!(matches!(
        desk.office.torrent(&other).await,
        Err(OfficeError::NotFound { .. })
    ));
    assert!(matches!(
        desk.torrent(&golden("hybrid_one.torrent")).await,
        Err(OfficeError::Exists { .. })
    ));
}

#[tokio::test]
async fn private_and_source_are_set_on_the_way_in_and_the_change_is_said() {
    let desk = Desk::with(OfficeSettings {
        require_private: true,
        source: "kin".to_owned(),
        ..OfficeSettings::default()
    })
    .await;
    is_invalid(desk.torrent(&file("a.txt")).await, "private");
    let wishes = AddTorrent {
        private: Some(true),
        ..AddTorrent::default()
    };
    let card = desk
        .office
        .add_torrent(&Actor::Owner, &file("a.txt"), wishes)
        .await
        .unwrap();
    let sent = Metainfo::read(&file("a.txt")).unwrap();
    let former = card.former.clone().unwrap();
    assert_eq!(
        former.info_hash_v1,
        sent.info.info_hash_v1().map(|hash| hash.to_string())
    );
    assert_ne!(former.info_hash_v1, card.info_hash_v1);
    assert_eq!((card.private, card.source.as_deref()), (true, Some("kin")));
    let wrong = AddTorrent {
        source: Some("x".repeat(65)),
        ..AddTorrent::default()
    };
    is_invalid(
        desk.office
            .add_torrent(&Actor::Owner, &file("a.txt"), wrong)
            .await,
        "source",
    );
}

#[tokio::test]
async fn both_learnt_hashes_of_a_hybrid_become_one_torrent_when_its_file_is_added() {
    let desk = Desk::new().await;
    let sent = Metainfo::read(&golden("hybrid_one.torrent")).unwrap();
    let first = sent.info.info_hash_v1().unwrap();
    let second = sent.info.info_hash_v2().unwrap().truncated();
    for hash in [first, second] {
        let learnt = NewTorrent {
            info_hash_v1: Some(hash),
            ..NewTorrent::default()
        };
        desk.office.store.insert_torrent(&learnt).await.unwrap();
    }
    let desk = desk.again().await;
    assert_eq!(desk.office.register.len(), 2);
    desk.torrent(&golden("hybrid_one.torrent")).await.unwrap();
    let found = |register: &Register| {
        (
            register.look_up(&first),
            register.look_up(&second),
            register.len(),
        )
    };
    let one = TorrentId(1);
    let both = (Some((one, Which::First)), Some((one, Which::Second)), 1);
    assert_eq!(found(&desk.office.register), both);
    let desk = desk.again().await;
    assert_eq!(found(&desk.office.register), both);
}

#[tokio::test]
async fn a_removed_torrent_tells_why_and_comes_back_with_its_number() {
    let desk = Desk::new().await;
    let hash = hash_of(&desk.torrent(&file("a.txt")).await.unwrap());
    desk.office
        .remove_torrent(&Actor::Owner, &hash.to_string(), "wrong film")
        .await
        .unwrap();
    let removed = Found::Removed {
        reason: Arc::from("wrong film"),
    };
    assert_eq!(desk.office.register.find(&hash, NOW), removed);
    let desk = desk.again().await;
    assert_eq!(desk.office.register.find(&hash, NOW), removed);
    let shown = desk.office.torrent(&hash.to_string()).await.unwrap();
    assert_eq!(shown.torrent.removed_reason.as_deref(), Some("wrong film"));
    desk.torrent(&file("a.txt")).await.unwrap();
    assert!(matches!(
        desk.office.register.find(&hash, NOW),
        Found::Open {
            torrent: TorrentId(1),
            ..
        }
    ));
}

#[tokio::test]
async fn tariffs_of_one_and_of_all_outlive_a_restart() {
    let desk = Desk::new().await;
    let hash = hash_of(&desk.torrent(&file("a.txt")).await.unwrap());
    let free = TariffCard {
        upload_percent: 100,
        download_percent: 0,
        until: Some(Stamp(NOW + HOUR)),
    };
    let double = TariffCard {
        upload_percent: 200,
        download_percent: 100,
        until: None,
    };
    desk.office
        .set_tariff(&Actor::Owner, Some(&hash.to_string()), Some(free))
        .await
        .unwrap();
    desk.office
        .set_tariff(&Actor::Owner, None, Some(double))
        .await
        .unwrap();
    let desk = desk.again().await;
    let tariff = |date| {
        let tariff = desk.office.register.tariff(TorrentId(1), date);
        (tariff.upload_percent, tariff.download_percent)
    };
    assert_eq!((tariff(NOW), tariff(NOW + HOUR)), ((200, 0), (200, 100)));
    assert_eq!(desk.office.tariff(), Some(double));
    desk.office.set_tariff(&Actor::Owner, None, None).await.unwrap();
    assert_eq!(tariff(NOW), (100, 0));
    let dear = TariffCard {
        upload_percent: 1_001,
        ..double
    };
    is_invalid(
        desk.office.set_tariff(&Actor::Owner, None, Some(dear)).await,
        "upload_percent",
    );
    let past = TariffCard {
        until: Some(Stamp(NOW)),
        ..double
    };
    is_invalid(
        desk.office.set_tariff(&Actor::Owner, None, Some(past)).await,
        "until",
    );
}

#[tokio::test]
async fn a_members_torrent_carries_the_members_own_key() {
    let desk = Desk::new().await;
    let ann = desk.add("Ann").await;
    let id = desk.office.member_id("Ann").unwrap();
    let hash = desk.torrent(&file("a.txt")).await.unwrap().info_hash_v1.unwrap();
    let own = desk.office.torrent_file_for(&hash, id, false).await.unwrap();
    let read = Metainfo::read(&own).unwrap();
    assert_eq!(read.trackers, [[ann.announce_url.unwrap()]]);
    assert_eq!(read.info.info_hash_v1().unwrap().to_string(), hash);
    let narrow = desk.office.torrent_file_for(&hash, id, true).await.unwrap();
    let url = Metainfo::read(&narrow).unwrap().trackers[0][0].clone();
    let key = url.split('/').nth_back(1).unwrap();
    let admit = |torrent| {
        desk.office
            .directory
            .admit(key.as_bytes(), Some(TorrentId(torrent)), HOME, NOW)
    };
    assert_eq!(admit(1).unwrap().member, id);
    assert_eq!(admit(2), Err(Refusal::OtherTorrent));
    desk.office
        .remove_torrent(&Actor::Owner, &hash, "")
        .await
        .unwrap();
    let gone = desk.office.torrent_file_for(&hash, id, false).await;
    assert!(matches!(gone, Err(OfficeError::Refused { .. })));
}

#[tokio::test]
async fn a_guest_of_one_torrent_is_refused_everywhere_else() {
    let desk = Desk::new().await;
    let hash = desk.torrent(&file("a.txt")).await.unwrap().info_hash_v1.unwrap();
    let guest = |hash: &str| AddMember {
        name: "link 1".to_owned(),
        kind: Kind::Guest,
        torrent: Some(hash.to_owned()),
        ..AddMember::default()
    };
    let unknown = desk
        .office
        .add_member(&Actor::Owner, guest(&"0".repeat(40)))
        .await;
    assert!(matches!(
        unknown,
        Err(OfficeError::NotFound { what: "torrent", .. })
    ));
    let card = desk.office.add_member(&Actor::Owner, guest(&hash)).await.unwrap();
    let desk = desk.again().await;
    let key = card.passkey.unwrap();
    let admit = |torrent| {
        let torrent = Some(TorrentId(torrent));
        desk.office
            .directory
            .admit(key.as_bytes(), torrent, HOME, NOW)
            .map(|_| ())
    };
    assert_eq!((admit(1), admit(2)), (Ok(()), Err(Refusal::OtherTorrent)));
    desk.office.forget(&Actor::Owner, "link 1").await.unwrap();
    assert!(admit(1).is_err(), "the key dies with the link");
}

#[tokio::test]
async fn torrents_are_listed_newest_first_and_searched_by_name_and_hash() {
    let desk = Desk::new().await;
    for name in ["Alps 2019", "alps_2020", "100% sea"] {
        desk.torrent(&file(name)).await.unwrap();
    }
    let names = async |search: &str, skip, limit| {
        let page = desk.office.torrents(search, skip, limit).await.unwrap();
        let names: Vec<String> = page.torrents.into_iter().map(|card| card.name).collect();
        (names.join("|"), page.total)
    };
    assert_eq!(
        names("", 0, 10).await,
        ("100% sea|alps_2020|Alps 2019".to_owned(), 3)
    );
    assert_eq!(names("", 1, 1).await, ("alps_2020".to_owned(), 3));
    assert_eq!(names("ALPS", 0, 10).await, ("alps_2020|Alps 2019".to_owned(), 2));
    assert_eq!(names("s_2", 0, 10).await, ("alps_2020".to_owned(), 1));
    assert_eq!(names("%", 0, 10).await, ("100% sea".to_owned(), 1));
    assert_eq!(names("\\", 0, 10).await, (String::new(), 0));
    let hash = desk.office.torrents("sea", 0, 1).await.unwrap().torrents[0]
        .info_hash_v1
        .clone()
        .unwrap();
    assert_eq!(
        names(hash.get(..12).unwrap(), 0, 10).await,
        ("100% sea".to_owned(), 1)
    );
}

#[tokio::test]
async fn what_is_no_hash_is_said_to_be_none() {
    let desk = Desk::new().await;
    for wrong in ["", "1234567", "g234567890", &"a".repeat(65), "é234567890"] {
        is_invalid(desk.office.torrent(wrong).await, "hash");
    }
    assert!(matches!(
        desk.office.torrent("12345678").await,
        Err(OfficeError::NotFound { .. })
    ));
}

/// The hash of which nothing else is known is announced; the office works beside.
async fn announce(desk: &Desk, hash: InfoHash) -> Found {
    let stop = CancellationToken::new();
    let (office, stopped) = (desk.office.clone(), stop.clone());
    let work = tokio::spawn(async move { office.welcome_torrents(stopped).await });
    let register = desk.office.register.clone();
    let found = tokio::task::spawn_blocking(move || {
        // A machine under load may need more than one wait.
        (0..500)
            .map(|_| register.find(&hash, NOW))
            .find(|found| matches!(found, Found::Open { .. }))
    });
    let found = found.await.unwrap().unwrap_or(Found::Unknown);
    stop.cancel();
    work.await.unwrap();
    found
}

#[tokio::test]
async fn an_unknown_hash_is_written_down_before_anything_can_name_its_number() {
    let settings = OfficeSettings {
        open: true,
        ..OfficeSettings::default()
    };
    let desk = Desk::with(settings).await;
    let hash = InfoHash([7; 20]);
    let found = announce(&desk, hash).await;
    let Found::Open { torrent, which, .. } = found else {
        panic!("{found:?}");
    };
    assert_eq!(which, Which::First);
    let stored = desk.office.store.plain_torrents().await.unwrap();
    assert_eq!(
        (stored.len(), stored[0].id, stored[0].info_hash_v1),
        (1, torrent, Some(hash))
    );
    let desk = desk.again().await;
    assert_eq!(desk.office.register.look_up(&hash), Some((torrent, Which::First)));
}

#[tokio::test]
async fn a_torrent_known_by_its_hash_alone_gets_its_file_and_keeps_its_number() {
    let settings = OfficeSettings {
        open: true,
        ..OfficeSettings::default()
    };
    let desk = Desk::with(settings).await;
    let v1 = "5688a02c0202e1c49acd2a0fadb8a20972a3eabe".parse().unwrap();
    announce(&desk, v1).await;
    announce(&desk, InfoHash([7; 20])).await;
    let card = desk.torrent(&golden("hybrid_one.torrent")).await.unwrap();
    assert!(!card.name.is_empty());
    let cut = card
        .info_hash_v2
        .as_deref()
        .unwrap()
        .get(..40)
        .unwrap()
        .parse()
        .unwrap();
    let first = desk.office.register.look_up(&v1);
    assert_eq!(first, Some((TorrentId(1), Which::First)));
    assert_eq!(
        desk.office.register.look_up(&cut),
        Some((TorrentId(1), Which::Second))
    );
    assert_eq!(desk.office.register.len(), 2);
}

#[tokio::test]
async fn a_store_that_fails_changes_nothing_in_memory() {
    let desk = Desk::new().await;
    let ann = desk.add("Ann").await;
    let hash = hash_of(&desk.torrent(&file("a.txt")).await.unwrap());
    let before = desk.office.members();
    desk.office.store.close().await;
    // A folder where the file was: nothing can be opened or written any more.
    let database = desk.folder.path().join("tracker.sqlite");
    std::fs::remove_file(&database).unwrap();
    std::fs::create_dir(&database).unwrap();
    let by = &Actor::Owner;
    let new = AddMember {
        name: "Ben".to_owned(),
        ..AddMember::default()
    };
    assert!(desk.office.add_member(by, new).await.is_err());
    assert!(desk.office.rotate(by, "Ann", None).await.is_err());
    assert!(desk.office.disable(by, "Ann", "x").await.is_err());
    assert!(desk.office.forget(by, "Ann").await.is_err());
    assert!(
        desk.office
            .remove_torrent(by, &hash.to_string(), "x")
            .await
            .is_err()
    );
    assert!(desk.torrent(&file("b.txt")).await.is_err());
    let code = desk.office.offer_ownership().unwrap();
    assert!(desk.office.redeem_ownership(&code, "Cleo").await.is_err());
    assert_eq!(desk.office.members(), before);
    assert_eq!(desk.admit(&ann), Ok(None));
    assert!(matches!(
        desk.office.register.find(&hash, NOW),
        Found::Open { .. }
    ));
    assert_eq!(desk.office.register.len(), 1);
}

#[tokio::test]
async fn a_key_in_too_many_networks_is_a_line_in_the_report() {
    let settings = OfficeSettings {
        networks_alarm: 1,
        ..OfficeSettings::default()
    };
    let desk = Desk::with(settings.clone()).await;
    let ann = desk.add("Ann").await;
    let key = ann.passkey.unwrap();
    for network in 1..=2 {
        let from = IpAddr::from([198, 51, network, 1]);
        desk.office
            .directory
            .admit(key.as_bytes(), None, from, NOW)
            .unwrap();
    }
    let report = desk.office.member("Ann").await.unwrap();
    assert!(report.member.alarm);
    assert!(
        report.warnings[0].contains("from 2 networks within 7 days"),
        "{:?}",
        report.warnings
    );
    desk.office.set_settings(OfficeSettings {
        networks_alarm: 2,
        ..settings
    });
    assert_eq!(
        desk.office.directory.alarms(NOW),
        0,
        "settings change while it runs"
    );
}

#[tokio::test]
async fn the_audit_says_who_did_what_and_holds_no_secrets() {
    let desk = Desk::new().await;
    let ann = desk.add("Ann").await;
    let invitation = desk.invite(1, None).await;
    let token = AddToken {
        name: "bot".to_owned(),
        scopes: vec![Scope::Read],
        ..AddToken::default()
    };
    let by = Actor::Token {
        name: "backup".to_owned(),
    };
    let token = desk.office.create_token(&by, token).await.unwrap();
    let audit = desk.office.audit(10).await.unwrap();
    let lines: Vec<String> = audit
        .iter()
        .map(|line| format!("{}: {}", line.who, line.what))
        .collect();
    assert_eq!(
        lines,
        [
            "token backup: made token \"bot\"",
            "owner: made invitation 1 for 1",
            "owner: added member \"Ann\"",
        ]
    );
    let secrets = [ann.passkey, invitation.code, token.token];
    let all = lines.join("\n");
    assert!(
        secrets
            .iter()
            .flatten()
            .all(|secret| !all.contains(secret.as_str()))
    );
}

#[test]
fn an_announce_url_has_one_slash_wherever_the_base_ends() {
    let key = Secret::new(&SECRET).derive(&KeyFields {
        kind: KeyKind::Member,
        member: MemberId(1),
        generation: 1,
        scope: None,
    });
    let wanted = format!("https://kin.example/t/{key}/announce");
    for base in [
        "https://kin.example/t",
        "https://kin.example/t/",
        "https://kin.example/t//",
    ] {
        assert_eq!(announce_url(base, &key), wanted);
    }
}

#[test]
fn dates_are_read_as_they_are_written() {
    let stamp = Stamp(Date(1_800_000_000));
    assert_eq!(stamp.to_string(), "2027-01-15T08:00:00Z");
    assert_eq!("2027-01-15T09:00:00+01:00".parse::<Stamp>().unwrap(), stamp);
    assert_eq!("1969-12-31T23:59:59Z".parse::<Stamp>().unwrap(), Stamp(Date(0)));
    assert!("yesterday".parse::<Stamp>().is_err());
    let json = serde_json::to_string(&stamp).unwrap();
    assert_eq!(serde_json::from_str::<Stamp>(&json).unwrap(), stamp);
}
