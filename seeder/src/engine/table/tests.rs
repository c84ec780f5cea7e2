//! Rows of the table, without drivers.

use shared::bitfield::Bitfield;
use shared::magnet::Magnet;
use tokio_util::sync::CancellationToken;

use super::super::spec::{Known, Standing, Sums};
use super::super::tests::config;
use super::*;
use crate::disk::tests::Rig;
use crate::torrent::goals::Copies;

const KEY: TorrentKey = TorrentKey(1);

/// A table with a paused link to the rig's torrent.
fn with_link(rig: &Rig) -> Table {
    let (shared, _news) = Shared::start(&config(b'T', None), &[]).unwrap();
    let mut table = Table::new(Arc::new(shared), None, Rates::default());
    let link = format!("magnet:?xt=urn:btih:{}", rig.info.wire_hash());
    let magnet: Magnet = link.parse().unwrap();
    let standing = Standing {
        mode: Mode::Get,
        peers: Vec::new(),
        before: Sums::default(),
        added: 0,
        copies: Copies::default(),
        treated: table.treat(&rig.path("target"), Options::default(), &[]),
        done: false,
    };
    table.enter(Known::of_magnet(KEY, &magnet), standing);
    table.torrents.get_mut(&KEY).unwrap().paused = true;
    table
}

#[tokio::test]
async fn a_link_whose_metadata_came_is_looked_at_though_its_driver_was_ended_before() {
    let rig = Rig::album();
    let mut table = with_link(&rig);
    let rested = || Rested {
        commands: mpsc::channel(1).1,
        opened: None,
        written: false,
        refused: None,
        shown: false,
    };
    table.rested(Ok((KEY, Ok(rested())))).await;
    assert!(matches!(table.torrents[&KEY].state, State::Blank));
    let (answer, answered) = oneshot::channel();
    let info = Arc::clone(&rig.info);
    table
        .learned(Learned {
            key: KEY,
            info,
            answer,
        })
        .await;
    answered.await.unwrap().unwrap();
    assert!(matches!(table.torrents[&KEY].state, State::Parked(_)));
    table.rested(Ok((KEY, Ok(rested())))).await;
    assert!(matches!(table.torrents[&KEY].state, State::Parked(_)));
}
#[tokio::test]
async fn what_rests_wants_peers_while_something_is_missing_and_fetched() {
    let rig = Rig::album();
    let mut table = with_link(&rig);
    let entry = table.torrents.get_mut(&KEY).unwrap();
    assert!(entry.misses(), "the metadata");
    entry.spec.learn(&rig.info);
    let geometry = rig.info.geometry();
    entry.set_state(State::Parked(Bitfield::none(geometry)));
    assert!(entry.misses());
    entry.set_state(State::Parked(Bitfield::all(geometry)));
    assert!(!entry.misses(), "it is a seed");
    entry.set_state(State::Parked(Bitfield::none(geometry)));
    entry.spec.set_hands_off(true);
    assert!(!entry.misses(), "it is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_does_not_answer_hides_what_only_it_knows_and_nothing_else() {
    let rig = Rig::album();
    let mut table = with_link(&rig);
    let (driver, _commands) = mpsc::channel(COMMANDS_MAX);
    let leave = CancellationToken::new();
    let entry = table.torrents.get_mut(&KEY).unwrap();
    entry.set_state(State::Awake(Awake { driver, leave }));
    let (answer, answered) = oneshot::channel();
    table.details(KEY, answer);
    let details = answered.await.unwrap().unwrap();
    assert_eq!((details.summary.key, details.peers.len()), (KEY, 0));
}
