//! The live view on a terminal of any size: rates and torrents above, one torrent below. Nothing is decided here.

use edge::output::plain;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row as TableRow, Sparkline, Table, TableState};

use super::model::{Model, Pane, Sort};
use super::panes;
use crate::cli::ask::Held;
use crate::cli::human::{percent, ratio, size, speed, stage};

/// Below this, the rates are left out: the list matters more.
const ROOMY: u16 = 18;
/// Below this, only the list is shown.
const TIGHT: u16 = 10;

/// The whole view.
pub(super) fn draw(model: &Model, frame: &mut Frame<'_>) {
    let area = frame.area();
    let rates = if area.height >= ROOMY { 3 } else { 0 };
    let below = if area.height >= TIGHT {
        Constraint::Fill(3)
    } else {
        Constraint::Length(0)
    };
    let [head, history, list, details, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(rates),
        Constraint::Fill(2),
        below,
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(headline(model), head);
    if rates > 0 {
        draw_history(model, frame, history);
    }
    draw_list(model, frame, list);
    if details.height > 1 {
        draw_details(model, frame, details);
    }
    frame.render_widget(footline(model, area.width), foot);
    if model.help {
        draw_help(frame, area);
    }
}

fn bold(text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), Style::new().add_modifier(Modifier::BOLD))
}

fn headline(model: &Model) -> Line<'static> {
    let count = model.rows().len();
    let peers: u64 = model.rows().iter().map(|row| u64::from(row.torrent.peers)).sum();
    let torrents = if count == 1 { "torrent" } else { "torrents" };
    let peers = if peers == 1 {
        "1 peer".to_owned()
    } else {
        format!("{peers} peers")
    };
    let last = |rates: &std::collections::VecDeque<u64>| speed(rates.back().copied().unwrap_or(0));
    Line::from(vec![
        bold("Kinswarm"),
        format!("  {count} {torrents}, {peers}").into(),
        format!("   down {}   up {}", last(&model.down), last(&model.up)).into(),
    ])
}

fn draw_history(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
        .spacing(2)
        .areas(area);
    for (title, rates, area) in [("down", &model.down, left), ("up", &model.up, right)] {
        let places = usize::from(area.width);
        let shown: Vec<u64> = rates
            .iter()
            .copied()
            .skip(rates.len().saturating_sub(places))
            .collect();
        let most = shown.iter().copied().max().unwrap_or(0);
        let title = format!("{title}, peak {}", speed(most));
        let line = Sparkline::default()
            .block(Block::new().title(title))
            .data(shown)
            // Where nothing moves, the line is flat on the ground.
            .max(most.max(1));
        frame.render_widget(line, area);
    }
}

/// The columns that a width has room for.
fn columns(width: u16) -> Vec<(Sort, &'static str, u16)> {
    let mut columns = vec![
        (Sort::Stage, "STAGE", 13),
        (Sort::Done, "DONE", 5),
        (Sort::Down, "DOWN", 12),
        (Sort::Up, "UP", 12),
        (Sort::Ratio, "RATIO", 6),
        (Sort::Peers, "PEERS", 5),
    ];
    // A name wants twenty places.
    for spare in [Sort::Ratio, Sort::Stage, Sort::Peers, Sort::Up] {
        let taken: u16 = columns.iter().map(|(_, _, width)| width + 1).sum();
        if taken + 20 <= width {
            break;
        }
        columns.retain(|(column, ..)| *column != spare);
    }
    columns
}

fn draw_list(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    if model.rows().is_empty() {
        let text = "No torrents yet; `seeder add FILE --into DIR` adds one.";
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let columns = columns(area.width);
    let mark = |column: Sort, title: &str| {
        let arrow = if model.reversed { "▲" } else { "▼" };
        if model.sort == column {
            format!("{title}{arrow}")
        } else {
            title.to_owned()
        }
    };
    let mut head = vec![Line::from(mark(Sort::Name, "NAME"))];
    head.extend(columns.iter().map(|(column, title, _)| {
        let title = Line::from(mark(*column, title));
        if *column == Sort::Stage {
            title
        } else {
            title.right_aligned()
        }
    }));
    let mut widths = vec![Constraint::Fill(1)];
    widths.extend(columns.iter().map(|(.., width)| Constraint::Length(*width)));
    let rows = model.rows().iter().map(|row| list_row(row, &columns));
    let table = Table::new(rows, widths)
        .header(TableRow::new(head).style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .highlight_symbol("> ");
    let mut state = TableState::new().with_selected(model.place());
    frame.render_stateful_widget(table, area, &mut state);
}

fn list_row(row: &Held, columns: &[(Sort, &'static str, u16)]) -> TableRow<'static> {
    let torrent = &row.torrent;
    let mut cells = vec![Line::from(plain(&torrent.name))];
    cells.extend(columns.iter().map(|(column, ..)| match column {
        Sort::Name | Sort::Stage => Line::from(stage(torrent)),
        Sort::Done => Line::from(format!("{} %", percent(torrent))).right_aligned(),
        Sort::Down => Line::from(speed(torrent.download_rate)).right_aligned(),
        Sort::Up => Line::from(speed(torrent.upload_rate)).right_aligned(),
        Sort::Ratio => Line::from(ratio(torrent)).right_aligned(),
        Sort::Peers => Line::from(torrent.peers.to_string()).right_aligned(),
    }));
    TableRow::new(cells)
}

fn draw_details(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let [tabs, why, rest] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let mut line = vec![Span::raw("── ")];
    for pane in Pane::ALL {
        let style = if pane == model.pane {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        line.extend([Span::styled(format!(" {} ", pane.title()), style), Span::raw(" ")]);
    }
    line.push(Span::raw("─".repeat(usize::from(tabs.width))));
    frame.render_widget(Line::from(line), tabs);
    if let Some(row) = model.chosen_row() {
        frame.render_widget(Line::from(plain(&sentence(row))), why);
    }
    match &model.details {
        Some(details) => panes::draw(model, details, frame, rest),
        None if model.chosen().is_some() => frame.render_widget(Line::from("asking …"), rest),
        None => (),
    }
}

/// How far a torrent is, and why it waits or rests.
fn sentence(row: &Held) -> String {
    let torrent = &row.torrent;
    let done = format!("{} of {}", size(torrent.have_bytes), size(torrent.wanted_bytes));
    let left = crate::cli::human::left(torrent).map(|left| format!(", {left} left"));
    let why = torrent.why.as_ref().map(|why| format!(": {why}"));
    format!("{done}{}{}", left.unwrap_or_default(), why.unwrap_or_default())
}

fn footline(model: &Model, width: u16) -> Line<'static> {
    if let Some(note) = &model.note {
        return Line::from(bold(plain(note)));
    }
    let keys = [
        ("q", "quit"),
        ("?", "help"),
        ("↑↓", "choose"),
        ("Tab", "next view"),
        ("p", "pause/resume"),
        ("a", "announce"),
        ("s", "sort"),
        ("r", "reverse"),
    ];
    let mut spans = Vec::new();
    let mut taken = 0;
    for (key, meaning) in keys {
        taken += key.chars().count() + meaning.chars().count() + 3;
        if taken > usize::from(width) {
            break;
        }
        spans.extend([bold(key), format!(" {meaning}  ").into()]);
    }
    Line::from(spans)
}

const HELP: [&str; 17] = [
    "↑ ↓  j k       choose a torrent",
    "Home End       the first, the last",
    "Tab  ← →       peers, pieces, files, trackers",
    "PageUp PageDown  turn the lower half",
    "s  S  r        sort by the next, the previous column; reverse",
    "p  Space       pause or resume        a  announce now",
    "q  Esc         quit                   ?  this page",
    "",
    "Flags of a peer:",
    "D it gives to us     d we wait for it to let us ask",
    "U we give to it      u it waits for us to let it ask",
    "S it owes us blocks and sends none",
    "I it called us   E encrypted   W a web seed",
    "",
    "Pieces: · none here  ░▒▓ some  █ all  ! some are nowhere",
    "",
    "Any key leads back.",
];

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let height = u16::try_from(HELP.len())
        .unwrap_or(u16::MAX)
        .saturating_add(2)
        .min(area.height);
    let width = 68.min(area.width);
    let area = Rect {
        x: (area.width - width) / 2,
        y: (area.height - height) / 2,
        width,
        height,
    };
    let text: Vec<Line<'_>> = HELP.iter().map(|line| Line::from(*line)).collect();
    frame.render_widget(Clear, area);
    frame.render_widget(
        Paragraph::new(text).block(Block::bordered().title(" Help ")),
        area,
    );
}
