//! The lower half of the live view: peers, pieces, files or trackers of the chosen torrent.

use edge::human::NOTHING;
use edge::output::plain;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row as TableRow, Table};

use super::model::{Model, Pane};
use super::pieces::{Cell, bits, cells, copies};
use crate::cli::human::{from_now, size, speed};
use crate::cli::session::without_secrets;
use crate::engine::view::{Calling, priority};
use crate::engine::{Details, FileFacts, PeerFacts, TrackerFacts};

pub fn draw(model: &Model, details: &Details, frame: &mut Frame<'_>, area: Rect) {
    match model.pane {
        Pane::Peers => draw_peers(model, details, frame, area),
        Pane::Pieces => draw_pieces(details, frame, area),
        Pane::Files => draw_files(model, details, frame, area),
        Pane::Trackers => draw_trackers(model, details, frame, area),
    }
}

/// A column: its title and width; numbers stand to the right.
type Column = (&'static str, Constraint, bool);

fn draw_table(columns: &[Column], rows: Vec<Vec<String>>, scroll: usize, frame: &mut Frame<'_>, area: Rect) {
    let line = |cells: Vec<String>| {
        let cells = cells.into_iter().zip(columns).map(|(cell, (_, _, right))| {
            let line = Line::from(plain(&cell));
            if *right { line.right_aligned() } else { line }
        });
        TableRow::new(cells.collect::<Vec<_>>())
    };
    // The last line stays in sight, however far somebody turns.
    let room = usize::from(area.height.saturating_sub(1)).max(1);
    let skipped = scroll.min(rows.len().saturating_sub(room));
    let head = line(columns.iter().map(|(title, ..)| (*title).to_owned()).collect());
    let widths = columns.iter().map(|(_, width, _)| *width);
    let table = Table::new(rows.into_iter().skip(skipped).map(line), widths)
        .header(head.style(Style::new().add_modifier(Modifier::BOLD)));
    frame.render_widget(table, area);
}

fn draw_peers(model: &Model, details: &Details, frame: &mut Frame<'_>, area: Rect) {
    if details.peers.is_empty() {
        frame.render_widget(Line::from("nobody is connected"), area);
        return;
    }
    let mut peers: Vec<&PeerFacts> = details.peers.iter().collect();
    // Who moves most comes first.
    peers.sort_by_key(|peer| {
        (
            std::cmp::Reverse(peer.download_rate.saturating_add(peer.upload_rate)),
            &peer.address,
        )
    });
    let rows = peers.into_iter().map(|peer| {
        vec![
            peer.address.clone(),
            peer.client.clone().unwrap_or_else(|| NOTHING.to_owned()),
            flags(peer),
            format!("{:.0} %", (peer.have * 100.0).floor()),
            speed(peer.download_rate),
            speed(peer.upload_rate),
        ]
    });
    // An IPv6 address in full is worth its places only where they are many.
    let most = if area.width >= 110 { 47 } else { 22 };
    let widest = details.peers.iter().map(|peer| peer.address.len()).max();
    let address = u16::try_from(widest.unwrap_or_default())
        .unwrap_or(most)
        .min(most);
    let columns = [
        ("ADDRESS", Constraint::Length(address.max(7)), false),
        ("CLIENT", Constraint::Fill(1), false),
        ("FLAGS", Constraint::Length(6), false),
        ("HAS", Constraint::Length(5), true),
        ("DOWN", Constraint::Length(12), true),
        ("UP", Constraint::Length(12), true),
    ];
    draw_table(&columns, rows.collect(), model.scroll, frame, area);
}

/// What the help explains: a letter for each thing that holds.
pub fn flags(peer: &PeerFacts) -> String {
    let way = |interested: bool, choked: bool, flows: char, waits: char| match (interested, choked) {
        (true, false) => Some(flows),
        (true, true) => Some(waits),
        (false, _) => None,
    };
    let when = |holds: bool, letter: char| holds.then_some(letter);
    [
        way(peer.we_are_interested, peer.chokes_us, 'D', 'd'),
        way(peer.is_interested, peer.we_choke, 'U', 'u'),
        when(peer.snubbed, 'S'),
        when(peer.direction == Calling::Incoming, 'I'),
        when(peer.direction == Calling::WebSeed, 'W'),
        when(peer.encrypted, 'E'),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn draw_pieces(details: &Details, frame: &mut Frame<'_>, area: Rect) {
    if details.piece_count == 0 {
        frame.render_widget(Line::from("what the torrent holds is not known yet"), area);
        return;
    }
    let [text, map] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let held = copies(&details.availability)
        .map(|(whole, beyond)| format!("; the peers hold {whole}.{beyond:02} copies"));
    let said = format!(
        "{} of {} pieces of {}{}",
        details.have_count,
        details.piece_count,
        size(u64::from(details.piece_length)),
        held.unwrap_or_default()
    );
    frame.render_widget(Line::from(said), text);
    let places = usize::from(map.width) * usize::from(map.height);
    let here = bits(&details.pieces, details.piece_count);
    let cells = cells(&here, &details.availability, places);
    let lines: Vec<Line<'_>> = cells
        .chunks(usize::from(map.width).max(1))
        .map(|part| Line::from(part.iter().copied().map(Cell::sign).collect::<String>()))
        .collect();
    frame.render_widget(Paragraph::new(lines), map);
}

fn draw_files(model: &Model, details: &Details, frame: &mut Frame<'_>, area: Rect) {
    let row = |file: &FileFacts| {
        let done = file
            .have_bytes
            .saturating_mul(100)
            .checked_div(file.length)
            .unwrap_or(100);
        vec![
            file.path.display().to_string(),
            size(file.length),
            format!("{done} %"),
            priority::word(file.priority).to_owned(),
        ]
    };
    let columns = [
        ("FILE", Constraint::Fill(1), false),
        ("SIZE", Constraint::Length(10), true),
        ("DONE", Constraint::Length(5), true),
        ("WANTED", Constraint::Length(6), false),
    ];
    draw_table(
        &columns,
        details.files.iter().map(row).collect(),
        model.scroll,
        frame,
        area,
    );
}

fn draw_trackers(model: &Model, details: &Details, frame: &mut Frame<'_>, area: Rect) {
    if details.trackers.is_empty() {
        frame.render_widget(Line::from("the torrent names no trackers"), area);
        return;
    }
    let count = |count: Option<u32>| count.map_or_else(|| NOTHING.to_owned(), |count| count.to_string());
    let row = |tracker: &TrackerFacts| {
        let next = tracker.next.map(|next| from_now(model.now, next.max(model.now)));
        vec![
            without_secrets(&tracker.url),
            next.unwrap_or_else(|| NOTHING.to_owned()),
            count(tracker.seeders),
            count(tracker.leechers),
            tracker.state.clone(),
        ]
    };
    let columns = [
        ("TRACKER", Constraint::Max(28), false),
        ("NEXT", Constraint::Length(15), false),
        ("SEEDS", Constraint::Length(5), true),
        ("PEERS", Constraint::Length(5), true),
        ("STATE", Constraint::Fill(1), false),
    ];
    draw_table(
        &columns,
        details.trackers.iter().map(row).collect(),
        model.scroll,
        frame,
        area,
    );
}
