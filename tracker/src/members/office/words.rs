//! What people may write: bounds for names, reasons and dates, and sentences that say what is wrong.

use std::time::Duration;

use super::OfficeError;
use crate::members::directory::folded;
use crate::members::ids::Date;
use crate::members::store::TimedTariff;
use crate::members::torrent_file::SOURCE_MAX;

/// The longest name of a member or token, in characters.
const NAME_MAX: usize = 64;

/// The longest reason: with `disabled: ` before it, a client shows all of it.
const REASON_MAX: usize = 40;

/// The longest note of an invitation.
const NOTE_MAX: usize = 200;

/// The longest description of a torrent.
const DESCRIPTION_MAX: usize = 10_000;

/// Members that one invitation may bring.
const USES_MAX: u32 = 1_000;

/// Nothing counts for more than ten times.
const PERCENT_MAX: u16 = 1_000;

/// An old key works no longer than a quarter of a year.
const GRACE_MAX: Duration = Duration::from_secs(92 * 86_400);

fn invalid(field: &'static str, why: impl Into<String>) -> OfficeError {
    OfficeError::Invalid {
        field,
        why: why.into(),
    }
}

/// A name without blanks around it. `.` and `..` would be lost on the way in a URL.
pub(super) fn name(field: &'static str, text: &str) -> Result<String, OfficeError> {
    let name = text.trim();
    let length = name.chars().count();
    if length == 0 || length > NAME_MAX {
        return Err(invalid(
            field,
            format!("a name has 1 to {NAME_MAX} characters, not {length}"),
        ));
    }
    if !is_line(name) || matches!(name, "." | "..") || folded(name).is_empty() {
        return Err(invalid(field, "a name is one line of text"));
    }
    Ok(name.to_owned())
}

/// Words that clients are shown. There may be none.
pub(super) fn reason(text: &str) -> Result<String, OfficeError> {
    line("reason", text, REASON_MAX)
}

pub(super) fn note(text: &str) -> Result<String, OfficeError> {
    line("note", text, NOTE_MAX)
}

fn line(field: &'static str, text: &str, max: usize) -> Result<String, OfficeError> {
    let text = text.trim();
    let length = text.chars().count();
    if length > max {
        return Err(invalid(field, format!("{length} characters are more than {max}")));
    }
    if !is_line(text) {
        return Err(invalid(field, "is more than one line of text"));
    }
    Ok(text.to_owned())
}

/// Nothing in it ends a line, or turns what follows around.
fn is_line(text: &str) -> bool {
    let turns = |letter: char| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !text.chars().any(|letter| letter.is_control() || turns(letter))
}

/// Several lines.
pub(super) fn description(text: &str) -> Result<String, OfficeError> {
    let length = text.chars().count();
    if length > DESCRIPTION_MAX {
        return Err(invalid(
            "description",
            format!("{length} characters are more than {DESCRIPTION_MAX}"),
        ));
    }
    let shown = |letter: &char| !letter.is_control() || matches!(letter, '\n' | '\t');
    Ok(text.chars().filter(shown).collect())
}

pub(super) fn source(text: &str) -> Result<&str, OfficeError> {
    let text = text.trim();
    if text.len() > SOURCE_MAX || text.chars().any(char::is_control) {
        return Err(invalid(
            "source",
            format!("is one line of at most {SOURCE_MAX} bytes"),
        ));
    }
    Ok(text)
}

/// A date on which something ends.
pub(super) fn end(field: &'static str, end: Option<Date>, now: Date) -> Result<(), OfficeError> {
    match end {
        Some(end) if end <= now => Err(invalid(field, "this date has passed")),
        _ => Ok(()),
    }
}

pub(super) fn grace(grace: Duration) -> Result<Duration, OfficeError> {
    if grace > GRACE_MAX {
        return Err(invalid("grace", "an old key works for 92 days at most"));
    }
    Ok(grace)
}

pub(super) fn uses(uses: u32) -> Result<u32, OfficeError> {
    if uses == 0 || uses > USES_MAX {
        return Err(invalid(
            "uses",
            format!("an invitation is for 1 to {USES_MAX} members"),
        ));
    }
    Ok(uses)
}

pub(super) fn tariff((tariff, until): TimedTariff, now: Date) -> Result<(), OfficeError> {
    let percents = [
        ("upload_percent", tariff.upload_percent),
        ("download_percent", tariff.download_percent),
    ];
    for (field, percent) in percents {
        if percent > PERCENT_MAX {
            return Err(invalid(field, format!("{percent} is more than {PERCENT_MAX}")));
        }
    }
    end("until", until, now)
}
