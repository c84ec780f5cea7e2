//! What is printed: for programs as it came, a line an object; for people in words and aligned columns. No colours.

use std::fmt::{Display, Write as _};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::command::{Failure, print, write_out};

/// Prints an answer: as it came for programs, in words for people.
pub fn show<T: DeserializeOwned>(
    json: bool,
    answer: Value,
    words: impl FnOnce(T) -> String,
) -> Result<(), Failure> {
    if json {
        return print(answer);
    }
    write_out(words(card(answer)?).as_bytes())
}

/// Prints a list: every entry a line for programs, a table for people.
pub fn show_each<T: DeserializeOwned>(
    json: bool,
    answer: Value,
    words: impl FnOnce(Vec<T>) -> String,
) -> Result<(), Failure> {
    match answer {
        Value::Array(entries) if json => {
            let mut lines = String::new();
            for entry in &entries {
                let _ = writeln!(lines, "{entry}");
            }
            write_out(lines.as_bytes())
        }
        answer => show(json, answer, words),
    }
}

/// Reads an answer into what it is about.
pub fn card<T: DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        Failure::Failed(format!(
            "the answer is not understood ({error}): is it of another version than this program?"
        ))
    })
}

/// Text that strangers chose, harmless on a terminal.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Marks that turn the direction of writing around, and would show a name as another.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Lines of a name and what it is, one below the other.
#[derive(Debug, Default)]
pub struct Facts {
    lines: Vec<(&'static str, String)>,
}

impl Facts {
    pub fn add(&mut self, name: &'static str, value: impl Display) -> &mut Self {
        self.lines.push((name, plain(&value.to_string())));
        self
    }

    /// Leaves the line out where there is nothing to say.
    pub fn add_some(&mut self, name: &'static str, value: Option<impl Display>) -> &mut Self {
        if let Some(value) = value {
            self.add(name, value);
        }
        self
    }
}

impl Display for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = self.lines.iter().map(|(name, _)| width(name)).max();
        let width = width.unwrap_or_default();
        for (name, value) in &self.lines {
            writeln!(f, "{name:width$}  {value}")?;
        }
        Ok(())
    }
}

/// Rows below a head.
#[derive(Debug)]
pub struct Table {
    head: Vec<&'static str>,
    /// Numbers stand to the right of their column.
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A column whose title begins with `>` holds numbers.
    pub fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.iter().map(|title| title.trim_start_matches('>')).collect(),
            right: head.iter().map(|title| title.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    fn widths(&self) -> Vec<usize> {
        let in_column = |column: usize| {
            let cells = self.rows.iter().filter_map(move |row| row.get(column));
            cells.map(|cell| width(cell)).max().unwrap_or_default()
        };
        let titles = self.head.iter().enumerate();
        titles
            .map(|(column, title)| in_column(column).max(width(title)))
            .collect()
    }

    fn line<'a>(&self, widths: &[usize], cells: impl Iterator<Item = &'a str>) -> String {
        let mut line = String::new();
        for ((cell, column), right) in cells.zip(widths).zip(&self.right) {
            let column = *column;
            let gap = if line.is_empty() { "" } else { "  " };
            let _ = if *right {
                write!(line, "{gap}{cell:>column$}")
            } else {
                write!(line, "{gap}{cell:column$}")
            };
        }
        line.truncate(line.trim_end().len());
        line
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let widths = self.widths();
        writeln!(f, "{}", self.line(&widths, self.head.iter().copied()))?;
        for row in &self.rows {
            writeln!(f, "{}", self.line(&widths, row.iter().map(String::as_str)))?;
        }
        Ok(())
    }
}

/// Places that a text takes, as `format!` counts them.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_numbers_stand_to_the_right() {
        let mut table = Table::new(&["NAME", ">UP", "SEEN"]);
        table.row(["Jörg".to_owned(), "1.5 GiB".to_owned(), "never".to_owned()]);
        table.row(["a".to_owned(), "0".to_owned(), String::new()]);
        let drawn = "NAME       UP  SEEN\nJörg  1.5 GiB  never\na           0\n";
        assert_eq!(table.to_string(), drawn);
    }

    #[test]
    fn what_strangers_wrote_cannot_move_the_cursor() {
        let mut facts = Facts::default();
        facts.add("name", "a\u{1b}[2Jb\nc\u{202e}");
        facts.add_some("none", None::<u8>);
        assert_eq!(facts.to_string(), "name  a\\u{1b}[2Jb\\u{a}c\\u{202e}\n");
    }
}
