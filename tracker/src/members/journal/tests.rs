//! The journal on good disks and on disks that are full, hang, or have lost bytes.

use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use shared::announce::Event;
use shared::id::PeerId;

use super::disk::Disk;
use super::reading::read;
use super::record::{RECORD_BYTES, encode};
use super::*;
use crate::members::ids::{Date, MemberId, TorrentId, Which};
use crate::members::ledger::SessionKey;
use crate::members::rules::Report;

/// The `number`-th of many entries.
fn entry(number: u32) -> Entry {
    Entry {
        session: SessionKey {
            torrent: TorrentId(number),
            member: MemberId(7),
            peer_id: PeerId([1; 20]),
        },
        which: Which::First,
        address: ([198, 51, 100, 1], 6881).into(),
        before: None,
        report: Report {
            uploaded: u64::from(number),
            downloaded: 0,
            left: 1,
            event: Event::Started,
            date: Date(1),
        },
    }
}

fn records(numbers: std::ops::Range<u32>) -> Vec<u8> {
    numbers.flat_map(|number| encode(&entry(number))).collect()
}

/// Which entries a segment's bytes hold, and how many records and bytes were passed over.
fn read_back(bytes: &[u8]) -> (Vec<u32>, u64, u64) {
    let (mut report, mut numbers) = (ReadReport::default(), Vec::new());
    read(bytes, &mut report, &mut |entry: Entry| {
        numbers.push(entry.session.torrent.0);
    })
    .unwrap();
    assert_eq!(report.entries, numbers.len() as u64);
    (numbers, report.damaged, report.damaged_bytes)
}

#[test]
fn what_was_settled_is_read_back_in_order_and_other_segments_stay_apart() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), 5).unwrap();
    for (segment, number) in [(5, 1), (5, 2), (6, 3), (5, 4), (6, 5)] {
        journal.enter(segment, &entry(number));
    }
    journal.settle();
    journal.rest();
    let mut numbers = Vec::new();
    let report = read_segments(folder.path(), 5, |entry| numbers.push(entry.session.torrent.0)).unwrap();
    assert_eq!(numbers, [1, 2, 4, 3, 5]);
    assert_eq!(
        (report.segments, report.last_segment, report.damaged),
        (2, Some(6), 0)
    );
    let state = journal.state();
    assert_eq!((state.records, state.bytes), (5, 5 * RECORD_BYTES as u64));
    let mode = std::fs::metadata(folder.path().join("journal-5"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    journal.drop_before(6);
    journal.rest();
    numbers.clear();
    read_segments(folder.path(), 0, |entry| numbers.push(entry.session.torrent.0)).unwrap();
    assert_eq!(numbers, [3, 5]);
}

#[test]
fn segments_of_an_earlier_run_stay_until_the_store_has_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("journal-3"), records(0..2)).unwrap();
    std::fs::write(folder.path().join("journal-note"), "not ours").unwrap();
    let journal = Journal::open(folder.path(), 4).unwrap();
    journal.rest();
    assert!(folder.path().join("journal-3").exists());
    journal.drop_before(4);
    journal.rest();
    assert!(!folder.path().join("journal-3").exists());
    assert!(folder.path().join("journal-4").exists() && folder.path().join("journal-note").exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_known_at_the_start() {
    assert!(Journal::open(Path::new("/nowhere/at/all"), 1).is_err());
}

#[test]
fn a_disk_that_hangs_holds_nobody_up_and_loses_nothing_once_it_goes_on() {
    let disk = Disk::default();
    let journal = Journal::on(&disk, 1);
    disk.set(|contents| contents.hangs = true);
    journal.enter(1, &entry(1));
    journal.settle();
    assert!(journal.state().stalled);
    // From now on nobody waits at all.
    for number in 2..5 {
        journal.enter(1, &entry(number));
        journal.settle();
    }
    disk.set(|contents| contents.hangs = false);
    journal.rest();
    assert_eq!(read_back(&disk.file(1).unwrap()), (vec![1, 2, 3, 4], 0, 0));
    assert_eq!((journal.state().stalled, journal.state().records), (false, 4));
}

#[test]
fn the_queue_of_a_disk_that_hangs_is_bounded() {
    let disk = Disk::default();
    let journal = Journal::on(&disk, 1);
    disk.set(|contents| contents.hangs = true);
    for number in 0..u32::try_from(QUEUE_MAX).unwrap() + 5 {
        journal.enter(1, &entry(number));
    }
    assert_eq!(journal.state().lost, 5);
    disk.set(|contents| contents.hangs = false);
    journal.rest();
    assert_eq!(
        disk.file(1).unwrap().len(),
        RECORD_BYTES * usize::try_from(QUEUE_MAX).unwrap()
    );
}

#[test]
fn a_full_disk_holds_nobody_up_and_has_every_entry_once_when_there_is_room() {
    let disk = Disk::default();
    let journal = Journal::on(&disk, 1);
    disk.set(|contents| contents.room = Some(RECORD_BYTES * 3 / 2));
    journal.enter(1, &entry(1));
    journal.settle();
    journal.enter(1, &entry(2));
    journal.enter(1, &entry(3));
    journal.fail();
    journal.settle();
    assert!(journal.state().failing);
    // What is torn is no harm to what was written before.
    assert_eq!(read_back(&disk.file(1).unwrap()).0, [1]);
    disk.set(|contents| contents.room = None);
    journal.enter(2, &entry(4));
    // The writer tries again by itself in a second; a flush wakes it.
    journal.drop_before(1);
    journal.rest();
    assert_eq!(read_back(&disk.file(1).unwrap()), (vec![1, 2, 3], 0, 0));
    assert_eq!(read_back(&disk.file(2).unwrap()), (vec![4], 0, 0));
    assert!(!journal.state().failing);
}

#[test]
fn what_the_store_has_meanwhile_is_not_written_any_more() {
    let disk = Disk::default();
    let journal = Journal::on(&disk, 1);
    disk.set(|contents| contents.room = Some(0));
    journal.enter(1, &entry(1));
    journal.fail();
    journal.drop_before(2);
    journal.rest();
    assert_eq!(disk.file(1), None);
    assert_eq!((journal.state().records, journal.state().failing), (0, false));
}

#[test]
fn dropped_it_writes_what_is_queued() {
    let disk = Disk::default();
    let journal = Journal::on(&disk, 1);
    disk.set(|contents| contents.hangs = true);
    (1..4).for_each(|number| journal.enter(1, &entry(number)));
    let shared = Arc::clone(&journal.shared);
    drop(journal);
    disk.set(|contents| contents.hangs = false);
    let state = shared.lock();
    drop(
        shared
            .done
            .wait_while(state, |state| state.done < state.entered)
            .unwrap(),
    );
    assert_eq!(read_back(&disk.file(1).unwrap()).0, [1, 2, 3]);
}

#[test]
fn a_torn_tail_costs_one_record() {
    let mut bytes = records(0..3);
    bytes.truncate(RECORD_BYTES * 3 - 1);
    assert_eq!(read_back(&bytes), (vec![0, 1], 1, RECORD_BYTES as u64 - 1));
    assert_eq!(read_back(&[]), (vec![], 0, 0));
}

#[test]
fn damage_in_the_middle_costs_what_it_touches() {
    let mut bytes = records(0..5);
    bytes[RECORD_BYTES + 50] ^= 1;
    bytes[RECORD_BYTES * 3..RECORD_BYTES * 4].fill(0);
    assert_eq!(read_back(&bytes), (vec![0, 2, 4], 2, 2 * RECORD_BYTES as u64));
}

#[test]
fn bytes_that_are_missing_or_too_many_hide_nothing_behind_them() {
    let mut bytes = records(0..4);
    bytes.drain(RECORD_BYTES + 10..RECORD_BYTES + 20);
    assert_eq!(read_back(&bytes), (vec![0, 2, 3], 1, RECORD_BYTES as u64 - 10));
    let mut bytes = records(0..4);
    bytes.splice(RECORD_BYTES..RECORD_BYTES, [1; 300]);
    assert_eq!(read_back(&bytes), (vec![0, 1, 2, 3], 3, 300));
}

#[test]
fn a_segment_larger_than_a_chunk_is_read_whole() {
    let (numbers, damaged, _) = read_back(&records(0..30_000));
    assert_eq!((numbers, damaged), ((0..30_000).collect(), 0));
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_their_end(
        noise in prop::collection::vec(any::<u8>(), 0..400),
        at in 0..RECORD_BYTES * 4,
        cut in 0..200_usize,
    ) {
        let mut bytes = records(0..4);
        let end = (at + cut).min(bytes.len());
        let touched = at / RECORD_BYTES..end.div_ceil(RECORD_BYTES).max(at / RECORD_BYTES + 1);
        bytes.splice(at..end, noise);
        let (numbers, ..) = read_back(&bytes);
        for number in (0..4).filter(|number| !touched.contains(number)) {
            prop_assert!(numbers.contains(&u32::try_from(number).unwrap()));
        }
    }
}
