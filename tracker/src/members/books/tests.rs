//! The books on a real folder and a real database, killed, damaged and held up.

use std::fs;
use std::path::Path;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use shared::announce::{AnnounceRequest, Event};
use shared::id::{InfoHash, PeerId};
use sqlx::ConnectOptions as _;

use super::*;
use crate::members::ids::{MemberId, TorrentId, Which};
use crate::members::journal::record::RECORD_BYTES;
use crate::members::office::{Actor, AddMember, Office, OfficeSettings};
use crate::members::rules::{SuspicionKind, Tariff};
use crate::members::store::NewTorrent;
use crate::swarm::private::{MemberAnnounced, MemberVisit};
use crate::swarm::{Policy, SwarmLimits};

const MEMBER: MemberId = MemberId(1);
const TORRENT: TorrentId = TorrentId(1);

/// A tracker without its ports. Dropped, it is as if it were killed.
struct House {
    store: Store,
    office: Arc<Office>,
    swarms: Arc<PrivateSwarms>,
    books: Arc<Books>,
    clock: Clock,
}

impl House {
    async fn open(folder: &Path, date: u32) -> Self {
        let (store, clock) = (
            Store::open(&folder.join("tracker.sqlite")).await.unwrap(),
            Clock::start_at(Date(date)),
        );
        let office = Office::open(store.clone(), &[7; 32], clock, OfficeSettings::default());
        let office = office.await.unwrap();
        let swarms = Arc::new(PrivateSwarms::new(SwarmLimits::default(), [1, 2, 3, 4]));
        let parts = BooksParts {
            store: store.clone(),
            swarms: Arc::clone(&swarms),
            directory: Arc::clone(office.directory()),
            register: Arc::clone(office.register()),
            folder: folder.to_owned(),
            clock,
            settings: BooksSettings {
                flush_every: Duration::from_secs(5),
                snapshot_every: Duration::from_secs(300),
            },
        };
        let books = Books::open(parts).await.unwrap();
        Self {
            store,
            office,
            swarms,
            books,
            clock,
        }
    }

    /// The same with a member and a torrent.
    async fn new(folder: &Path) -> Self {
        let house = Self::open(folder, 1_700_000_000).await;
        let new = AddMember {
            name: "anna".to_owned(),
            ..AddMember::default()
        };
        house.office.add_member(&Actor::Owner, new).await.unwrap();
        let torrent = NewTorrent {
            info_hash_v1: Some(InfoHash([9; 20])),
            name: "photographs".to_owned(),
            ..NewTorrent::default()
        };
        house.store.insert_torrent(&torrent).await.unwrap();
        house
    }

    /// One announce of the `number`-th client, as the desk takes it in.
    fn announce(&self, number: u8, uploaded: u64, event: Event) -> MemberAnnounced {
        self.reply(number, uploaded, event).0
    }

    fn reply(&self, number: u8, uploaded: u64, event: Event) -> (MemberAnnounced, String) {
        let mut request = AnnounceRequest::new(InfoHash([9; 20]), PeerId([number; 20]), 6881);
        (request.uploaded, request.left, request.event) = (uploaded, 5, event);
        let visit = MemberVisit {
            now: self.clock.now(),
            date: self.clock.date(),
            request: &request,
            member: MEMBER,
            torrent: TORRENT,
            which: Which::First,
            sender: [198, 51, 100, number].into(),
            reached: None,
            policy: &Policy::default(),
            tariff: Tariff::default(),
            warning: None,
        };
        let (journal, mut out) = (self.books.journal(), Vec::new());
        let announced = self
            .swarms
            .announce(&visit, &*journal, &mut SmallRng::seed_from_u64(1), &mut out);
        if announced.entered {
            journal.settle();
            journal.rest();
        }
        (announced, String::from_utf8_lossy(&out).into_owned())
    }

    async fn uploaded(&self) -> u64 {
        self.store.sums_of_member(MEMBER).await.unwrap().uploaded
    }

    /// Stops it as `Server::stop` does.
    async fn stop(self) {
        let stop = CancellationToken::new();
        stop.cancel();
        Arc::clone(&self.books).run(stop).await;
        self.store.close().await;
    }
}

fn names(folder: &Path, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_forgotten_member_is_in_no_swarm_and_in_no_later_snapshot_whatever_the_old_one_and_the_journal_hold()
 {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path()).await;
    house.announce(1, 0, Event::Started);
    house.stop().await;
    let house = House::open(folder.path(), 1_700_000_030).await;
    house.announce(2, 10, Event::Started);
    assert_eq!(house.swarms.totals().peers(), 2);
    // The tracker does not run when the owner forgets the member, or is killed right after.
    house.office.forget(&Actor::Owner, "anna").await.unwrap();
    drop(house);

    let house = House::open(folder.path(), 1_700_000_060).await;
    let totals = house.swarms.totals();
    assert_eq!((totals.peers(), totals.asleep), (0, 0));
    let sums = house.store.sums_by_torrent().await.unwrap();
    assert_eq!(sums[0].1.uploaded, 10, "the sums stay");
    house.stop().await;
    let snapshot = fs::read(folder.path().join("snapshot")).unwrap();
    assert!(
        !snapshot
            .windows(20)
            .any(|bytes| bytes == [1; 20] || bytes == [2; 20])
    );
    assert!(names(folder.path(), "journal").iter().all(|name| {
        let bytes = fs::read(folder.path().join(name)).unwrap();
        !bytes
            .windows(20)
            .any(|bytes| bytes == [1; 20] || bytes == [2; 20])
    }));
}

#[tokio::test]
async fn peers_of_a_disabled_member_or_a_removed_torrent_leave_and_come_back_with_their_counters() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path()).await;
    house.announce(1, 10, Event::Started);
    house.office.disable(&Actor::Owner, "anna", "away").await.unwrap();
    house.office.somebody_must_leave().await;
    house.books.clear();
    assert_eq!(
        (house.swarms.totals().peers(), house.swarms.totals().asleep),
        (0, 1)
    );
    house.office.enable(&Actor::Owner, "anna").await.unwrap();
    assert_eq!(house.announce(1, 15, Event::None).credit.uploaded, 5);
    drop(house);

    let house = House::open(folder.path(), 1_700_000_030).await;
    assert_eq!(house.swarms.totals().peers(), 1);
    let hash = InfoHash([9; 20]).to_string();
    house
        .office
        .remove_torrent(&Actor::Owner, &hash, "wrong film")
        .await
        .unwrap();
    house.office.somebody_must_leave().await;
    house.books.clear();
    assert_eq!(
        (house.swarms.totals().peers(), house.swarms.totals().asleep),
        (0, 1)
    );
}

#[tokio::test]
async fn a_stop_while_the_database_hangs_loses_no_counter_and_repeats_none() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path()).await;
    house.announce(1, 0, Event::Started);
    house.announce(2, 0, Event::Started);
    house.announce(3, 5, Event::Started);
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&house.books).run(stop.clone()));
    house.books.flush_now(Duration::from_secs(5)).await.unwrap();
    let other = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("tracker.sqlite"));
    let mut other = other.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    house.announce(1, 70, Event::None);
    house.announce(2, 3, Event::None);
    house.announce(3, 9, Event::Stopped);
    stop.cancel();
    running.await.unwrap();
    house.books.journal().rest();
    drop(house);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    drop(other);

    // None of them goes on, one begins anew.
    let house = House::open(folder.path(), 1_700_000_030).await;
    assert_eq!(house.uploaded().await, 82);
    assert_eq!(
        (house.swarms.totals().peers(), house.swarms.totals().asleep),
        (2, 1)
    );
    house.announce(2, 1, Event::Started);
    drop(house);
    let house = House::open(folder.path(), 1_700_000_060).await;
    assert_eq!(house.uploaded().await, 83);
    house.stop().await;
}

#[tokio::test]
async fn a_tracker_that_was_killed_takes_a_snapshot_with_its_first_flush_and_drops_the_old_journal() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path()).await;
    house.announce(1, 0, Event::Started);
    drop(house);
    let house = House::open(folder.path(), 1_700_000_030).await;
    assert_eq!(names(folder.path(), "snapshot"), [""; 0]);
    house.books.set_settings(BooksSettings {
        flush_every: Duration::from_millis(1),
        snapshot_every: Duration::from_hours(1),
    });
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&house.books).run(stop.clone()));
    while house.books.state().snapshot_age.is_none() {
        tokio::task::yield_now().await;
    }
    house.books.journal().rest();
    assert!(
        names(folder.path(), "journal")
            .iter()
            .all(|name| name != "journal-1")
    );
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn what_was_answered_comes_back_after_a_kill_and_peers_are_given_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path()).await;
    house.announce(1, 0, Event::Started);
    house.announce(2, 0, Event::Started);
    house.announce(1, 70, Event::None);
    house.announce(1, 100, Event::Stopped);
    house.announce(2, 5, Event::None);
    assert_eq!(house.uploaded().await, 0);
    drop(house);

    let house = House::open(folder.path(), 1_700_000_060).await;
    assert_eq!(house.uploaded().await, 100);
    assert_eq!(house.office.directory().totals(MEMBER).unwrap().uploaded, 100);
    let (announced, _) = house.reply(3, 0, Event::Started);
    assert_eq!((announced.peers_given, announced.leechers), (1, 2));
    // What was counted between two entries comes with the next announce.
    assert_eq!(house.announce(2, 8, Event::None).credit.uploaded, 8);
}

#[tokio::test]
async fn a_stop_leaves_a_snapshot_and_no_journal_worth_reading() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path()).await;
    house.announce(1, 40, Event::Started);
    house.stop().await;
    assert_eq!(names(folder.path(), "snapshot"), ["snapshot"]);

    let house = House::open(folder.path(), 1_700_000_600).await;
    assert_eq!(house.uploaded().await, 40);
    assert_eq!(house.announce(2, 0, Event::Started).peers_given, 1);
    assert_eq!(house.announce(1, 41, Event::None).credit.uploaded, 1);
    house.books.journal().rest();
    assert_eq!(names(folder.path(), "journal").len(), 1);
}

#[tokio::test]
async fn a_damaged_snapshot_is_put_aside_and_costs_addresses_only() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path()).await;
    house.announce(1, 40, Event::Started);
    house.stop().await;
    let mut bytes = fs::read(folder.path().join("snapshot")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(folder.path().join("snapshot"), bytes).unwrap();

    let house = House::open(folder.path(), 1_700_000_600).await;
    assert_eq!(names(folder.path(), "snapshot"), ["snapshot.damaged"]);
    assert_eq!(house.announce(2, 0, Event::Started).peers_given, 0);
    assert_eq!(house.announce(1, 41, Event::None).credit.uploaded, 1);
}

#[tokio::test]
async fn a_snapshot_that_is_newer_than_the_database_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path()).await;
    house.announce(1, 40, Event::Started);
    house.books.flush_once(false).await;
    house.announce(1, 90, Event::None);
    let earlier = folder.path().join("earlier");
    house.store.backup(&earlier, &[7; 32]).await.unwrap();
    house.stop().await;
    for name in names(folder.path(), "tracker.sqlite") {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    fs::rename(earlier, folder.path().join("tracker.sqlite")).unwrap();

    let house = House::open(folder.path(), 1_700_000_600).await;
    assert_eq!(house.uploaded().await, 40);
    // The database knows of 40; the snapshot's 90 would lose the rest.
    assert_eq!(house.announce(1, 95, Event::None).credit.uploaded, 55);
}

#[tokio::test]
async fn damage_in_the_journal_costs_the_records_that_it_touches() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path()).await;
    for number in 1..=5 {
        house.announce(number, 100, Event::Started);
    }
    drop(house);
    let [name] = &names(folder.path(), "journal")[..] else {
        panic!("one journal");
    };
    let path = folder.path().join(name);
    let mut bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 5 * RECORD_BYTES);
    bytes[2 * RECORD_BYTES + 7] ^= 1;
    bytes.truncate(5 * RECORD_BYTES - 1);
    fs::write(&path, bytes).unwrap();

    let house = House::open(folder.path(), 1_700_000_060).await;
    assert_eq!(
        (house.uploaded().await, house.books.state().journal_damaged),
        (300, 2)
    );
    // The damaged ones go on from where they say they are.
    assert_eq!(house.announce(3, 110, Event::None).credit.uploaded, 0);
    assert_eq!(house.announce(3, 115, Event::None).credit.uploaded, 5);
}

/// Holds the database's only right to write.
async fn hold(folder: &Path) -> sqlx::SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.join("tracker.sqlite"));
    let mut connection = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut connection)
        .await
        .unwrap();
    connection
}

#[tokio::test]
async fn a_store_that_hangs_holds_up_neither_announces_nor_the_stop_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path()).await;
    let held = hold(folder.path()).await;
    house.announce(1, 0, Event::Started);
    assert!(!house.announce(1, 60, Event::None).entered);
    house.announce(1, 70, Event::Stopped);
    // Time passes by itself where nobody does anything.
    tokio::time::pause();
    let before = house.clock.now();
    let (books, stop) = (Arc::clone(&house.books), CancellationToken::new());
    stop.cancel();
    books.run(stop).await;
    assert!(house.clock.now().since(before) <= Duration::from_secs(4));
    tokio::time::resume();
    drop((held, house));

    let house = House::open(folder.path(), 1_700_000_600).await;
    assert_eq!(house.uploaded().await, 70);
}

#[tokio::test]
async fn whoever_asks_is_told_when_the_store_has_everything_or_that_it_will_not() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path()).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&house.books).run(stop.clone()));
    house.announce(1, 25, Event::Started);
    house.books.flush_now(Duration::from_secs(60)).await.unwrap();
    assert_eq!(house.uploaded().await, 25);
    let state = house.books.state();
    assert_eq!(
        (state.flushes, state.flush_failures, state.snapshot_age),
        (2, 0, None)
    );

    stop.cancel();
    running.await.unwrap();
    assert!(house.books.state().snapshot_age.is_some());
    let late = house.books.flush_now(Duration::from_secs(60)).await;
    assert!(matches!(late, Err(FlushError::Stopping)), "{late:?}");
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_written_costs_no_accounts() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path()).await;
    house.announce(1, 25, Event::Started);
    fs::create_dir(folder.path().join("snapshot.new")).unwrap();
    house.books.flush_once(true).await;
    assert_eq!(house.uploaded().await, 25);
    let state = house.books.state();
    assert_eq!(
        (state.snapshot_failures, state.flush_failures, state.snapshot_age),
        (1, 0, None)
    );
}

fn suspicion(kind: SuspicionKind, date: u32, evidence: &str) -> Suspicion {
    Suspicion {
        member: MEMBER,
        torrent: TORRENT,
        kind,
        evidence: evidence.to_owned(),
        date: Date(date),
    }
}

#[tokio::test]
async fn a_suspicion_becomes_one_mark_a_day_with_new_evidence_now_and_then() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path()).await;
    let noon = 86_400 * 19_000 + 43_200;
    for (date, evidence) in [
        (0, "first"),
        (60, "too soon"),
        (700, "later"),
        (86_400, "next day"),
    ] {
        house
            .books
            .note(suspicion(SuspicionKind::Faster, noon + date, evidence));
    }
    house
        .books
        .note(suspicion(SuspicionKind::NobodyToGiveTo, noon, "other"));
    let stop = CancellationToken::new();
    stop.cancel();
    Arc::clone(&house.books).run(stop).await;
    let marks = house.store.marks_of(MEMBER, 10).await.unwrap();
    let mut evidence: Vec<_> = marks
        .iter()
        .map(|mark| (mark.kind.as_str(), mark.evidence.as_str()))
        .collect();
    evidence.sort_unstable();
    assert_eq!(
        evidence,
        [
            ("faster_than_line", "later"),
            ("faster_than_line", "next day"),
            ("nobody_to_give_to", "other")
        ]
    );
    (0..2 * NOTES_MAX).for_each(|_| house.books.note(suspicion(SuspicionKind::Faster, noon, "lost")));
    assert!(house.books.state().suspicions_lost > 0);
}

#[tokio::test]
async fn who_gave_most_in_a_torrent_out_of_balance_is_marked_until_it_grows_worse() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::new(folder.path()).await;
    let mut marks = Marks::default();
    let mut marked = async |uploaded: u64, date: u32| {
        house.announce(1, uploaded, Event::Started);
        house.books.flush_once(false).await;
        marks.balance(&house.store, Date(date)).await.unwrap();
        house.store.marks_of(MEMBER, 10).await.unwrap().len()
    };
    assert_eq!(marked(1 << 20, 86_400).await, 0);
    assert_eq!(marked(1 << 30, 2 * 86_400).await, 1);
    assert_eq!(marked(1 << 30, 3 * 86_400).await, 1);
    assert_eq!(marked(2 << 30, 4 * 86_400).await, 2);
    let newest = house.store.marks_of(MEMBER, 1).await.unwrap();
    assert!(
        newest[0]
            .evidence
            .contains("2147483648 bytes uploaded and 0 downloaded"),
        "{newest:?}"
    );
}

#[test]
fn a_day_full_of_marks_takes_no_more() {
    let mut marks = Marks::default();
    let mut wants = |member| {
        let mut suspicion = suspicion(SuspicionKind::Faster, 5, "");
        suspicion.member = MemberId(member);
        marks.wants(&suspicion)
    };
    assert!((0..10_000).all(&mut wants));
    assert!(!wants(10_000));
}

impl Books {
    /// A flush without [`Books::run`].
    async fn flush_once(&self, snapshot: bool) {
        let mut inbox = self.inbox.lock().unwrap().take().unwrap();
        inbox.flusher.flush(snapshot).await.unwrap();
        *self.inbox.lock().unwrap() = Some(inbox);
    }
}
