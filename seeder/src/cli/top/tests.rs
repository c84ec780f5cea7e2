//! Frames as people see them.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Model, Pane};
use super::{Held, frame};
use crate::cli::human::tests::torrent;
use crate::cli::show::tests::details;
use crate::engine::Stage;

/// Two torrents, the first of them chosen and known in full.
fn model() -> Model {
    let mut other = torrent("Films", "ccdd");
    other.stage = Stage::Seeding;
    (other.have_bytes, other.download_rate, other.upload_rate) = (100_000_000, 0, 340_000);
    let mut first = torrent("Holidays", "aabb");
    first.why = Some("waits for nobody".to_owned());
    let rows = [first, other].map(|torrent| Held { process: 0, torrent });
    let mut model = Model::default();
    model.show(rows.to_vec(), 1_000);
    model.key(KeyEvent::new(KeyCode::End, KeyModifiers::NONE));
    let id = model.chosen().cloned().unwrap();
    model.explain(&id, Some(details()));
    model
}

#[test]
fn torrents_and_peers_fit_on_eighty_by_twenty_four() {
    let expected = "\
Kinswarm  2 torrents, 6 peers   down 5.00 MB/s   up 340.00 kB/s
down, peak 5.00 MB/s                     up, peak 340.00 kB/s
";
    let drawn = frame(&model(), 80, 24).unwrap();
    assert!(drawn.starts_with(expected), "{drawn}");
    assert_eq!(drawn.lines().count(), 24);
    for line in [
        "  NAME▼               STAGE          DONE         DOWN           UP  RATIO PEERS",
        "  Films               seeding       100 %            –  340.00 kB/s   0.25     3",
        "> Holidays            downloading    50 %    5.00 MB/s            –   0.25     3",
        "50.00 MB of 100.00 MB, 10 s left: waits for nobody",
        "192.0.2.7:16881 qBittorrent 5.0.2         DuIE    99 %    5.00 MB/s            –",
        "q quit  ? help  ↑↓ choose  Tab next view  p pause/resume  a announce  s sort",
    ] {
        assert!(
            drawn.lines().any(|drawn| drawn == line),
            "{line:?} is missing in\n{drawn}"
        );
    }
}

#[test]
fn every_view_of_a_torrent_is_drawn() {
    let mut model = model();
    for (pane, line) in [
        (
            Pane::Pieces,
            "4 of 8 pieces of 1.05 MB; the peers hold 0.87 copies",
        ),
        (Pane::Pieces, "████···!"),
        (Pane::Files, "a.jpg"),
        (Pane::Trackers, "tracker.example:6969"),
    ] {
        model.pane = pane;
        let drawn = frame(&model, 80, 24).unwrap();
        assert!(
            drawn.lines().any(|drawn| drawn.starts_with(line)),
            "{line:?} is missing in\n{drawn}"
        );
    }
    model.help = true;
    assert!(frame(&model, 80, 24).unwrap().contains("Any key leads back."));
}

#[test]
fn no_size_is_too_small_or_too_large() {
    let mut model = model();
    for help in [false, true] {
        model.help = help;
        for pane in Pane::ALL {
            model.pane = pane;
            for (width, height) in [(1, 1), (10, 3), (20, 9), (39, 12), (80, 17), (300, 100), (80, 2)] {
                frame(&model, width, height).unwrap();
            }
        }
    }
}

#[test]
fn a_narrow_terminal_keeps_names_and_what_is_done() {
    let drawn = frame(&model(), 40, 12).unwrap();
    assert!(drawn.contains("> Holidays") && drawn.contains(" 50 %"), "{drawn}");
    assert!(!drawn.contains("RATIO"), "{drawn}");
}

#[test]
fn nothing_to_show_says_what_to_do() {
    let drawn = frame(&Model::default(), 80, 24).unwrap();
    assert!(
        drawn.contains("No torrents yet; `seeder add FILE --into DIR` adds one."),
        "{drawn}"
    );
}

#[test]
fn what_strangers_wrote_cannot_leave_its_place() {
    let mut model = Model::default();
    let rows = vec![Held {
        process: 0,
        torrent: torrent("a\u{1b}[2J\u{202e}b", "aa"),
    }];
    model.show(rows, 0);
    let drawn = frame(&model, 120, 24).unwrap();
    assert!(drawn.contains("a\\u{1b}[2J\\u{202e}b"), "{drawn}");
}
