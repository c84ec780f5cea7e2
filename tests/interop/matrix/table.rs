//! The tables for people: a section a client in `RESULTS.md`; those of clients that did not run stay as they were.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use tests::clients::Client;

use crate::cell::{Cell, FAMILIES, GIVEN, KINDS, TALKS, WAYS};
use crate::facts::{CLIENTS, name};

const HEAD: &str = "# Interop: the matrix

Written by `tests/run matrix [CLIENT…]`. One cell is one transfer of seven files (5 MB, names with spaces and umlauts, an empty one)
between our seeder and another client, each on a host of its own (a network namespace) with addresses of one family only, through our
tracker, compared by SHA-256. *Plain*: our side has `--encryption off`, and the client tries plain handshakes where it can be told
so. *MSE*: both sides take encrypted connections alone. What the downloading side is given is a .torrent file or a magnet link. A
cell that fails with us runs again between the client and libtorrent: *not among themselves* says that they fail as well. Where they
do not, it runs once more with us. What a
*client cannot* is stated in `tests/interop/matrix/facts.rs` and not tried. Numbers are of the notes below each table.

Known to come and go: qBittorrent 4.5.2 (libtorrent 2.0.8), given a hybrid by magnet, now and then stops midway, from libtorrent as well
(1 of 14 runs on a busy machine; from us 7 of 68).
";

/// How a cell ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ok,
    /// It failed once and works once; between rivals it works.
    SecondTry(String),
    /// With us it fails, between rivals it works.
    Failed(String),
    /// It fails between rivals as well.
    NobodyPasses(String),
    /// The client was not made for it.
    Cannot(&'static str),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => write!(f, "ok"),
            Self::SecondTry(why) => write!(f, "ok at the second try ({why})"),
            Self::Failed(why) => write!(f, "**failed** ({why})"),
            Self::NobodyPasses(why) => write!(f, "not among themselves ({why})"),
            Self::Cannot(why) => write!(f, "client cannot: {why}"),
        }
    }
}

/// Puts a client's section into the file, in place of the one that was there.
#[track_caller]
pub(crate) fn write_section(file: &Path, client: Client, version: &str, verdicts: &[(Cell, Verdict)]) {
    let before = fs::read_to_string(file).unwrap_or_default();
    let mut sections: BTreeMap<String, String> = before
        .split("\n## ")
        .skip(1)
        .filter_map(|section| {
            let (owner, _) = section.split_once(char::is_whitespace)?;
            Some((owner.to_owned(), format!("## {}\n", section.trim_end())))
        })
        .collect();
    sections.insert(name(client).to_owned(), section(client, version, verdicts));
    let mut text = HEAD.to_owned();
    for section in CLIENTS.iter().filter_map(|client| sections.get(name(*client))) {
        let _ = write!(text, "\n{section}");
    }
    fs::write(file, text).expect("the results can be written");
}

fn section(client: Client, version: &str, verdicts: &[(Cell, Verdict)]) -> String {
    let mut text = format!("## {} {version}\n\n", name(client));
    let count = |wanted: fn(&Verdict) -> bool| verdicts.iter().filter(|(_, verdict)| wanted(verdict)).count();
    let _ = writeln!(
        text,
        "{} cells: {} ok, {} at the second try, {} failed, {} not among themselves, {} the client cannot.\n",
        verdicts.len(),
        count(|verdict| *verdict == Verdict::Ok),
        count(|verdict| matches!(verdict, Verdict::SecondTry(_))),
        count(|verdict| matches!(verdict, Verdict::Failed(_))),
        count(|verdict| matches!(verdict, Verdict::NobodyPasses(_))),
        count(|verdict| matches!(verdict, Verdict::Cannot(_))),
    );
    text.push_str("| torrent, given as | the client | plain, IPv4 | plain, IPv6 | MSE, IPv4 | MSE, IPv6 |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- |\n");
    let mut notes = Vec::new();
    for (kind, given) in KINDS
        .into_iter()
        .flat_map(|kind| GIVEN.map(|given| (kind, given)))
    {
        for way in WAYS {
            let _ = write!(text, "| {kind}, {given} | {way} |");
            for (talk, family) in TALKS
                .into_iter()
                .flat_map(|talk| FAMILIES.map(|family| (talk, family)))
            {
                let wanted = Cell {
                    client,
                    way,
                    kind,
                    talk,
                    given,
                    family,
                };
                let verdict = verdicts.iter().find(|(cell, _)| *cell == wanted);
                let words = verdict.map_or("-".to_owned(), |(_, verdict)| short(verdict, &mut notes));
                let _ = write!(text, " {words} |");
            }
            text.push('\n');
        }
    }
    if !notes.is_empty() {
        text.push('\n');
    }
    for (number, note) in (1..).zip(&notes) {
        let _ = writeln!(text, "{number}. {note}");
    }
    text
}

/// A verdict as it stands in a cell; the reason goes to the notes below the table, once.
fn short(verdict: &Verdict, notes: &mut Vec<String>) -> String {
    let (words, why) = match verdict {
        Verdict::Ok => return "ok".to_owned(),
        Verdict::SecondTry(why) => ("ok at the second try", why.as_str()),
        Verdict::Failed(why) => ("**failed**", why.as_str()),
        Verdict::NobodyPasses(why) => ("not among themselves", why.as_str()),
        Verdict::Cannot(why) => ("client cannot", *why),
    };
    let known = notes.iter().position(|note| note == why);
    let at = known.unwrap_or_else(|| {
        notes.push(why.to_owned());
        notes.len() - 1
    });
    format!("{words} ({})", at + 1)
}
