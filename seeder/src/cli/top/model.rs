//! What the live view knows and shows: facts come in, keys change what is looked at, wishes come out. Pure: the loop in
//! `mod.rs` asks and draws.

use std::cmp::Ordering;
use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::cli::ask::{Held, Id};
use crate::cli::human::{hash, percent, stage};
use crate::engine::{Details, Summary};

/// Rates that are remembered, one a look: more than any terminal is wide.
const HISTORY_MAX: usize = 512;
/// Lines that a key turns the lower half by.
const PAGE: usize = 8;

/// What the lower half shows of the chosen torrent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    #[default]
    Peers,
    Pieces,
    Files,
    Trackers,
}

impl Pane {
    pub const ALL: [Self; 4] = [Self::Peers, Self::Pieces, Self::Files, Self::Trackers];

    pub fn title(self) -> &'static str {
        match self {
            Self::Peers => "Peers",
            Self::Pieces => "Pieces",
            Self::Files => "Files",
            Self::Trackers => "Trackers",
        }
    }
}

/// By what the list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Name,
    Stage,
    Done,
    Down,
    Up,
    Ratio,
    Peers,
}

impl Sort {
    pub const ALL: [Self; 7] = [
        Self::Name,
        Self::Stage,
        Self::Done,
        Self::Down,
        Self::Up,
        Self::Ratio,
        Self::Peers,
    ];

    /// Names and stages ascend; of numbers, the largest comes first.
    pub fn order(self, one: &Summary, other: &Summary) -> Ordering {
        let ratio = |torrent: &Summary| {
            u128::from(torrent.uploaded) * 1_000 / u128::from(torrent.wanted_bytes.max(1))
        };
        let order = match self {
            Self::Name => Ordering::Equal,
            Self::Stage => stage(one).cmp(&stage(other)),
            Self::Done => percent(other).cmp(&percent(one)),
            Self::Down => other.download_rate.cmp(&one.download_rate),
            Self::Up => other.upload_rate.cmp(&one.upload_rate),
            Self::Ratio => ratio(other).cmp(&ratio(one)),
            Self::Peers => other.peers.cmp(&one.peers),
        };
        // Ties never change places from one look to the next.
        order
            .then_with(|| one.name.to_lowercase().cmp(&other.name.to_lowercase()))
            .then_with(|| hash(one).cmp(hash(other)))
    }
}

/// What a key asks of the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Quit,
    Pause(Id),
    Resume(Id),
    Announce(Id),
    /// Another torrent was chosen: its details are wanted now.
    Look,
}

/// The whole view.
#[derive(Debug, Default)]
pub struct Model {
    rows: Vec<Held>,
    chosen: Option<Id>,
    pub details: Option<Details>,
    pub pane: Pane,
    pub sort: Sort,
    pub reversed: bool,
    pub help: bool,
    /// Lines of the lower half above its first visible one.
    pub scroll: usize,
    /// Bytes a second of all torrents, the newest last.
    pub down: VecDeque<u64>,
    pub up: VecDeque<u64>,
    /// One sentence about what did not work, or was done.
    pub note: Option<String>,
    /// The calendar's seconds at the last look.
    pub now: i64,
}

impl Model {
    pub fn rows(&self) -> &[Held] {
        &self.rows
    }

    pub fn chosen(&self) -> Option<&Id> {
        self.chosen.as_ref()
    }

    /// The place of the chosen torrent in the list.
    pub fn place(&self) -> Option<usize> {
        let chosen = self.chosen.as_ref()?;
        self.rows.iter().position(|row| row.id() == *chosen)
    }

    pub fn chosen_row(&self) -> Option<&Held> {
        self.rows.get(self.place()?)
    }

    /// All torrents, as they are now. The choice stays on its torrent; where that is gone, it falls on a neighbour.
    pub fn show(&mut self, rows: Vec<Held>, now: i64) {
        let place = self.place().unwrap_or(0);
        self.now = now;
        self.rows = rows;
        self.arrange();
        let sum = |rate: fn(&Summary) -> u64| self.rows.iter().map(|row| rate(&row.torrent)).sum();
        let (down, up) = (
            sum(|torrent| torrent.download_rate),
            sum(|torrent| torrent.upload_rate),
        );
        remember(&mut self.down, down);
        remember(&mut self.up, up);
        if self.place().is_none() {
            self.choose(place);
        }
    }

    /// The details of a torrent; those of one that is no longer chosen come too late.
    pub fn explain(&mut self, id: &Id, details: Option<Details>) {
        if self.chosen.as_ref() == Some(id) {
            self.details = details;
        }
    }

    /// What a key means here.
    pub fn key(&mut self, key: KeyEvent) -> Option<Wish> {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Some(Wish::Quit);
        }
        if self.help {
            // Any key leads back.
            self.help = false;
            return None;
        }
        self.note = None;
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Some(Wish::Quit),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.help = true,
            KeyCode::Char('s') => self.sort_by(1),
            KeyCode::Char('S') => self.sort_by(Sort::ALL.len() - 1),
            KeyCode::Char('r') => {
                self.reversed = !self.reversed;
                self.arrange();
            }
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(Pane::ALL.len() - 1),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(PAGE),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(PAGE),
            KeyCode::Char('p' | ' ') => return self.toggle(),
            KeyCode::Char('a') => return self.chosen.clone().map(Wish::Announce),
            code => return self.step(code),
        }
        None
    }

    fn step(&mut self, code: KeyCode) -> Option<Wish> {
        let place = self.place()?;
        let last = self.rows.len().saturating_sub(1);
        let next = match code {
            KeyCode::Down | KeyCode::Char('j') => place.saturating_add(1).min(last),
            KeyCode::Up | KeyCode::Char('k') => place.saturating_sub(1),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => return None,
        };
        (next != place).then(|| {
            self.choose(next);
            Wish::Look
        })
    }

    fn toggle(&self) -> Option<Wish> {
        let row = self.chosen_row()?;
        let id = row.id();
        Some(if row.torrent.paused {
            Wish::Resume(id)
        } else {
            Wish::Pause(id)
        })
    }

    fn choose(&mut self, place: usize) {
        let place = place.min(self.rows.len().saturating_sub(1));
        self.chosen = self.rows.get(place).map(Held::id);
        self.details = None;
        self.scroll = 0;
    }

    fn arrange(&mut self) {
        let (sort, reversed) = (self.sort, self.reversed);
        self.rows.sort_by(|one, other| {
            let order = sort.order(&one.torrent, &other.torrent);
            if reversed { order.reverse() } else { order }
        });
    }

    fn sort_by(&mut self, steps: usize) {
        self.sort = after(&Sort::ALL, self.sort, steps);
        self.arrange();
    }

    fn turn(&mut self, steps: usize) {
        self.pane = after(&Pane::ALL, self.pane, steps);
        self.scroll = 0;
    }
}

fn after<T: Copy + PartialEq>(all: &[T], one: T, steps: usize) -> T {
    let place = all.iter().position(|other| *other == one).unwrap_or(0);
    all.iter().copied().cycle().nth(place + steps).unwrap_or(one)
}

fn remember(history: &mut VecDeque<u64>, rate: u64) {
    if history.len() >= HISTORY_MAX {
        history.pop_front();
    }
    history.push_back(rate);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::human::tests::torrent;

    /// Torrents drawn as `name:download rate`.
    fn rows(drawing: &str) -> Vec<Held> {
        let rows = drawing.split_whitespace().map(|word| {
            let (name, rate) = word.split_once(':').unwrap();
            let mut torrent = torrent(name, name);
            torrent.download_rate = rate.parse().unwrap();
            Held { process: 0, torrent }
        });
        rows.collect()
    }

    fn model(drawing: &str) -> Model {
        let mut model = Model::default();
        model.show(rows(drawing), 0);
        model
    }

    fn press(model: &mut Model, code: KeyCode) -> Option<Wish> {
        model.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn chosen(model: &Model) -> &str {
        &model.chosen_row().unwrap().torrent.name
    }

    fn order(model: &Model) -> String {
        model.rows().iter().map(|row| row.torrent.name.as_str()).collect()
    }

    #[test]
    fn the_choice_moves_and_stops_at_both_ends() {
        let mut model = model("a:1 b:2 c:3");
        assert_eq!(chosen(&model), "a");
        assert_eq!(press(&mut model, KeyCode::Up), None);
        assert_eq!(press(&mut model, KeyCode::Down), Some(Wish::Look));
        assert_eq!(chosen(&model), "b");
        assert_eq!(press(&mut model, KeyCode::End), Some(Wish::Look));
        assert_eq!(press(&mut model, KeyCode::Char('j')), None);
        assert_eq!(chosen(&model), "c");
    }

    #[test]
    fn the_choice_stays_on_its_torrent_and_falls_on_a_neighbour_when_that_is_gone() {
        let mut model = model("a:1 b:2 c:3");
        press(&mut model, KeyCode::Down);
        model.show(rows("a:1 aa:1 b:2 c:3"), 1);
        assert_eq!(chosen(&model), "b");
        model.show(rows("a:1 aa:1 c:3"), 2);
        assert_eq!(chosen(&model), "c");
        model.show(Vec::new(), 3);
        assert_eq!(model.chosen(), None);
        assert_eq!(press(&mut model, KeyCode::Down), None);
        assert_eq!(press(&mut model, KeyCode::Char('p')), None);
        model.show(rows("d:1"), 4);
        assert_eq!(chosen(&model), "d");
    }

    #[test]
    fn numbers_are_sorted_from_the_largest_and_any_order_can_be_reversed() {
        let mut model = model("b:1 a:1 c:9");
        assert_eq!(order(&model), "abc");
        for _ in 0..3 {
            press(&mut model, KeyCode::Char('s'));
        }
        assert_eq!((model.sort, order(&model)), (Sort::Down, "cab".to_owned()));
        press(&mut model, KeyCode::Char('r'));
        assert_eq!(order(&model), "bac");
        assert_eq!(chosen(&model), "a");
        press(&mut model, KeyCode::Char('S'));
        assert_eq!(model.sort, Sort::Done);
    }

    #[test]
    fn a_torrent_that_rests_is_resumed_and_another_paused() {
        let mut model = model("a:1");
        let id = model.chosen().cloned().unwrap();
        assert_eq!(
            press(&mut model, KeyCode::Char('p')),
            Some(Wish::Pause(id.clone()))
        );
        let mut resting = rows("a:0");
        resting[0].torrent.paused = true;
        model.show(resting, 1);
        assert_eq!(
            press(&mut model, KeyCode::Char(' ')),
            Some(Wish::Resume(id.clone()))
        );
        assert_eq!(press(&mut model, KeyCode::Char('a')), Some(Wish::Announce(id)));
    }

    #[test]
    fn help_goes_with_any_key_and_control_c_always_ends_it() {
        let mut model = model("a:1");
        press(&mut model, KeyCode::Char('?'));
        assert!(model.help);
        assert_eq!(press(&mut model, KeyCode::Char('q')), None);
        assert!(!model.help);
        assert_eq!(press(&mut model, KeyCode::Char('q')), Some(Wish::Quit));
        press(&mut model, KeyCode::Char('?'));
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(model.key(control_c), Some(Wish::Quit));
    }

    #[test]
    fn the_lower_half_turns_both_ways() {
        let mut model = model("a:1");
        press(&mut model, KeyCode::Tab);
        assert_eq!(model.pane, Pane::Pieces);
        press(&mut model, KeyCode::PageDown);
        assert_eq!(model.scroll, PAGE);
        press(&mut model, KeyCode::BackTab);
        press(&mut model, KeyCode::Left);
        assert_eq!((model.pane, model.scroll), (Pane::Trackers, 0));
    }

    #[test]
    fn rates_are_remembered_as_sums_and_not_for_ever() {
        let mut model = model("a:1 b:2");
        assert_eq!(model.down, [3]);
        for now in 0..1_000 {
            model.show(rows("a:5"), now);
        }
        assert_eq!(model.down.len(), HISTORY_MAX);
        assert_eq!(model.up.back(), Some(&0));
    }
}
