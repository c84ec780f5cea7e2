//! Members, invitations, tokens, and what is written down about them.

use super::super::{AuditRow, MarkRow, NOBODY, NewToken, RedeemError, Role, Scope, StoreError, Taken};
use super::{Fixture, changes, invited, named};
use crate::members::ids::{Date, MemberId, TorrentId};

const DAY: u32 = 86_400;

fn token(name: &str, byte: u8) -> NewToken {
    NewToken {
        name: name.to_owned(),
        hash: [byte; 32],
        scopes: vec![Scope::Read, Scope::Admin],
        created: Date(1),
        expires: Some(Date(2)),
        member: None,
    }
}

fn line(by: Option<MemberId>, what: &str, about: Option<MemberId>) -> AuditRow {
    AuditRow {
        date: Date(5),
        who: "owner".to_owned(),
        by,
        what: what.to_owned(),
        about,
    }
}

#[tokio::test]
async fn a_member_is_found_again_as_it_was_written() {
    let fixture = Fixture::new().await;
    let mut row = fixture.store.insert_member(&named("Anna")).await.unwrap();
    assert_eq!((row.id, row.generation, row.role), (MemberId(1), 1, Role::Member));
    row.name = "Änne".to_owned();
    row.role = Role::Owner;
    row.generation = 7;
    row.old_generation_until = Some(Date(u32::MAX));
    row.expires = Some(Date(9));
    row.disabled = Some((Date(10), "sold the key".to_owned()));
    row.scope = Some(TorrentId(u32::MAX));
    row.rotated = Some(Date(11));
    row.notes = "aunt".to_owned();
    assert!(fixture.store.update_member(&row).await.unwrap());
    let fixture = fixture.reopened().await;
    assert_eq!(fixture.store.members().await.unwrap(), [row.clone()]);
    row.id = MemberId(2);
    row.name = "nobody".to_owned();
    assert!(!fixture.store.update_member(&row).await.unwrap());
}

#[tokio::test]
async fn a_name_is_given_once() {
    let fixture = Fixture::new().await;
    fixture.member("Anna").await;
    let again = fixture.store.insert_member(&named("Anna")).await;
    let taken = Taken::MemberName;
    assert!(
        matches!(again, Err(StoreError::Exists { what }) if what == taken),
        "{again:?}"
    );
    let mut bert = fixture.store.insert_member(&named("Bert")).await.unwrap();
    bert.name = "Anna".to_owned();
    let renamed = fixture.store.update_member(&bert).await;
    assert!(
        matches!(renamed, Err(StoreError::Exists { what }) if what == taken),
        "{renamed:?}"
    );
}

#[tokio::test]
async fn a_forgotten_member_leaves_sums_and_no_name_and_no_number() {
    let fixture = Fixture::new().await;
    let (anna, bert) = (fixture.member("Anna Zzyzx").await, fixture.member("Bert").await);
    let torrent = fixture.torrent(1).await;
    let mut child = fixture.store.insert_member(&named("Carla")).await.unwrap();
    child.invited_by = Some(anna);
    fixture.store.update_member(&child).await.unwrap();
    let note = super::NewInvitation {
        by: Some(anna),
        note: "for cousin Zzyzx".to_owned(),
        ..invited(1, 1)
    };
    fixture.store.insert_invitation(&note).await.unwrap();
    let mark = MarkRow {
        member: anna,
        torrent: Some(torrent),
        kind: "too-fast".to_owned(),
        evidence: "9 GB in a second".to_owned(),
        date: Date(4),
    };
    fixture.store.insert_mark(&mark).await.unwrap();
    for (line, _stays) in lines(anna, bert) {
        fixture.store.insert_audit(&line).await.unwrap();
    }
    let of_anna = NewToken {
        member: Some(anna),
        ..token("phone", 1)
    };
    fixture.store.insert_token(&of_anna).await.unwrap();
    fixture
        .store
        .write(&changes(&[(1, 1, 100), (2, 1, 50)], 10), 1)
        .await
        .unwrap();
    let before = fixture.store.sums_of_torrent(torrent).await.unwrap();

    assert!(fixture.store.forget_member(anna).await.unwrap());
    assert!(!fixture.store.forget_member(anna).await.unwrap());

    let store = &fixture.store;
    assert_eq!(store.sums_of_torrent(torrent).await.unwrap(), before);
    assert_eq!(store.sums_of_member(NOBODY).await.unwrap().uploaded, 100);
    assert_eq!(store.sums_of_member(anna).await.unwrap().accounts, 0);
    let nobody = store.accounts_of_member(NOBODY, 9).await.unwrap();
    assert_eq!((nobody[0].client, nobody[0].left), ([0; 8], 0));
    assert_eq!(fixture.sessions(None).await.len(), 1);
    assert_eq!(store.marks_of(anna, 9).await.unwrap(), []);
    assert_eq!(store.tokens().await.unwrap(), []);
    let kept: Vec<_> = lines(anna, bert)
        .into_iter()
        .filter(|(_, stays)| *stays)
        .map(|(line, _)| line)
        .collect();
    let mut audit = store.audit(99).await.unwrap();
    audit.reverse();
    assert_eq!(audit, kept);
    let members = store.members().await.unwrap();
    assert_eq!(
        members.iter().map(|row| row.invited_by).collect::<Vec<_>>(),
        [None, None]
    );
    assert_eq!(store.invitations().await.unwrap()[0].note, "");

    // What was forgotten stands nowhere in the files, not even in free pages or the log.
    for file in std::fs::read_dir(fixture.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"Zzyzx"));
    }
    assert!(fixture.member("Anna Zzyzx").await > child.id);
}

/// Lines of the audit, and whether they stay when Anna Zzyzx is forgotten.
fn lines(anna: MemberId, bert: MemberId) -> Vec<(AuditRow, bool)> {
    vec![
        (line(None, "made a member", Some(anna)), false),
        (line(Some(anna), "made an invitation", None), false),
        (line(None, "rotated the key of Anna Zzyzx", None), false),
        (line(None, "made a member", Some(bert)), true),
        (line(None, "removed 100% of_nothing", None), true),
    ]
}

#[tokio::test]
async fn a_name_inside_of_another_or_full_of_wildcards_forgets_no_lines_of_others() {
    let fixture = Fixture::new().await;
    let forgotten = [fixture.member("%").await, fixture.member("Bert").await];
    for what in ["made member Berta", "made member %", "made Bert, again", "Albert"] {
        fixture.store.insert_audit(&line(None, what, None)).await.unwrap();
    }
    for member in forgotten {
        fixture.store.forget_member(member).await.unwrap();
    }
    let left: Vec<_> = fixture
        .store
        .audit(9)
        .await
        .unwrap()
        .into_iter()
        .map(|line| line.what)
        .collect();
    assert_eq!(left, ["Albert", "made member Berta"]);
}

#[tokio::test]
async fn what_a_flush_brings_for_the_forgotten_is_added_to_nobody() {
    let fixture = Fixture::new().await;
    let anna = fixture.member("Anna").await;
    let torrent = fixture.torrent(1).await;
    fixture.store.forget_member(anna).await.unwrap();
    fixture
        .store
        .write(&changes(&[(1, 1, 100)], 10), 1)
        .await
        .unwrap();
    fixture.store.write(&changes(&[(1, 1, 11)], 12), 2).await.unwrap();
    assert_eq!(fixture.sessions(None).await, []);
    assert_eq!(
        fixture.store.sums_of_torrent(torrent).await.unwrap().uploaded,
        111
    );
    assert_eq!(fixture.store.sums_of_member(NOBODY).await.unwrap().uploaded, 111);
}

#[tokio::test]
async fn an_invitation_is_redeemed_as_often_as_it_says() {
    let fixture = Fixture::new().await;
    let anna = fixture.member("Anna").await;
    let new = super::NewInvitation {
        by: Some(anna),
        ..invited(1, 2)
    };
    let invitation = fixture.store.insert_invitation(&new).await.unwrap();
    let redeem = |name: &'static str| {
        let store = fixture.store.clone();
        tokio::spawn(async move { store.redeem_invitation(&[1; 32], &named(name), Date(5)).await })
    };
    let tries = [redeem("Bert"), redeem("Carla"), redeem("Dora"), redeem("Emil")];
    let mut joined = Vec::new();
    for outcome in tries {
        match outcome.await.unwrap() {
            Ok(row) => joined.push(row),
            Err(error) => assert!(matches!(error, RedeemError::Used), "{error:?}"),
        }
    }
    assert_eq!(joined.len(), 2);
    for row in &joined {
        assert_eq!(
            (row.invited_by, row.invitation),
            (Some(anna), Some(invitation.id))
        );
    }
    assert_eq!(fixture.store.members().await.unwrap().len(), 3);
    assert_eq!(fixture.store.invitations().await.unwrap()[0].used, 2);
}

#[tokio::test]
async fn a_taken_name_uses_no_invitation_up() {
    let fixture = Fixture::new().await;
    fixture.member("Anna").await;
    fixture.store.insert_invitation(&invited(1, 1)).await.unwrap();
    let taken = fixture
        .store
        .redeem_invitation(&[1; 32], &named("Anna"), Date(5))
        .await;
    assert!(
        matches!(taken, Err(RedeemError::Store(StoreError::Exists { .. }))),
        "{taken:?}"
    );
    fixture
        .store
        .redeem_invitation(&[1; 32], &named("Bert"), Date(5))
        .await
        .unwrap();
}

#[tokio::test]
async fn unknown_revoked_and_expired_invitations_are_refused_by_name() {
    let fixture = Fixture::new().await;
    let expiring = super::NewInvitation {
        expires: Some(Date(10)),
        ..invited(1, 9)
    };
    fixture.store.insert_invitation(&expiring).await.unwrap();
    let revoked = fixture.store.insert_invitation(&invited(2, 9)).await.unwrap();
    assert!(fixture.store.revoke_invitation(revoked.id).await.unwrap());
    assert!(!fixture.store.revoke_invitation(99).await.unwrap());
    let redeem = async |code: u8, date: u32| {
        let redeemed = fixture
            .store
            .redeem_invitation(&[code; 32], &named("Anna"), Date(date))
            .await;
        redeemed.unwrap_err()
    };
    assert!(matches!(redeem(1, 10).await, RedeemError::Expired));
    assert!(matches!(redeem(2, 1).await, RedeemError::Revoked));
    assert!(matches!(redeem(3, 1).await, RedeemError::Unknown));
    fixture
        .store
        .redeem_invitation(&[1; 32], &named("Anna"), Date(9))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_token_is_found_again_and_its_name_is_free_when_it_is_revoked() {
    let fixture = Fixture::new().await;
    let row = fixture.store.insert_token(&token("bot", 1)).await.unwrap();
    fixture.store.touch_token(row.id, Date(77)).await.unwrap();
    let found = fixture.store.tokens().await.unwrap();
    assert_eq!(found[0].scopes, [Scope::Read, Scope::Admin]);
    assert_eq!(
        (found[0].last_used, found[0].hash, found[0].revoked),
        (Some(Date(77)), [1; 32], false)
    );
    let again = fixture.store.insert_token(&token("bot", 2)).await;
    assert!(
        matches!(
            again,
            Err(StoreError::Exists {
                what: Taken::TokenName
            })
        ),
        "{again:?}"
    );
    let same = fixture.store.insert_token(&token("other", 1)).await;
    assert!(
        matches!(same, Err(StoreError::Exists { what: Taken::Token })),
        "{same:?}"
    );
    assert!(fixture.store.revoke_token(row.id).await.unwrap());
    fixture.store.insert_token(&token("bot", 2)).await.unwrap();
}

#[tokio::test]
async fn who_was_erased_meanwhile_invites_nobody() {
    let fixture = Fixture::new().await;
    let new = super::NewInvitation {
        by: Some(MemberId(5)),
        ..invited(1, 1)
    };
    let gone = fixture.store.insert_invitation(&new).await;
    assert!(matches!(gone, Err(StoreError::Gone)), "{gone:?}");
    fixture.store.insert_invitation(&invited(1, 1)).await.unwrap();
}

#[tokio::test]
async fn marks_are_bounded_and_the_newest_stay() {
    let fixture = Fixture::new().await;
    let anna = fixture.member("Anna").await;
    let mut mark = MarkRow {
        member: anna,
        torrent: None,
        kind: "too-fast".to_owned(),
        evidence: String::new(),
        date: Date(0),
    };
    for day in 0..1_010 {
        mark.date = Date(day * DAY);
        fixture.store.insert_mark(&mark).await.unwrap();
    }
    mark.member = MemberId(99);
    fixture.store.insert_mark(&mark).await.unwrap();
    let marks = fixture.store.marks_of(anna, u32::MAX).await.unwrap();
    assert_eq!(
        (marks.len(), marks[0].date, marks[999].date),
        (1_000, Date(1_009 * DAY), Date(10 * DAY))
    );
}

#[tokio::test]
async fn one_mark_a_day_torrent_and_kind_stands_for_all() {
    let fixture = Fixture::new().await;
    let (anna, torrent) = (fixture.member("Anna").await, fixture.torrent(1).await);
    let marks = [
        (None, "too-fast", 1, "first"),
        (None, "too-fast", DAY - 1, "second"),
        (None, "too-fast", DAY, "next day"),
        (None, "no-taker", DAY, "other kind"),
        (Some(torrent), "too-fast", DAY, "in a torrent"),
        (Some(torrent), "too-fast", DAY + 5, "in it again"),
    ];
    for (torrent, kind, date, evidence) in marks {
        let row = MarkRow {
            member: anna,
            torrent,
            kind: kind.to_owned(),
            evidence: evidence.to_owned(),
            date: Date(date),
        };
        fixture.store.insert_mark(&row).await.unwrap();
    }
    let found = fixture.store.marks_of(anna, 9).await.unwrap();
    let found: Vec<_> = found.iter().map(|mark| mark.evidence.as_str()).collect();
    assert_eq!(found, ["in it again", "other kind", "next day", "second"]);
}
