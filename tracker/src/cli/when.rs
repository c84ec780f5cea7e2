//! Dates and times as people type them: `2026-12-31`, `2026-12-31T20:00:00Z`, `30d`, `never`.

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{self, time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::Failure;
use crate::clock::Clock;
use crate::members::ids::Date;
use crate::members::office::Stamp;

/// When something ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Never,
    At(Timestamp),
    /// So long from now.
    In(Span),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        if let Ok(date) = text.parse::<Timestamp>() {
            return Ok(Self::At(date));
        }
        // A day counts to its end.
        if let Ok(day) = text.parse::<civil::Date>() {
            let end = day.to_datetime(time(23, 59, 59, 0)).to_zoned(TimeZone::UTC);
            return end
                .map(|end| Self::At(end.timestamp()))
                .map_err(|error| error.to_string());
        }
        let span =
            positive(text).ok_or("say a day such as 2026-12-31, a time such as 30d or 12h, or never")?;
        Ok(Self::In(span))
    }
}

impl When {
    /// The date that is meant, now that it is known when it was said.
    pub(super) fn date(self, flag: &str) -> Result<Option<Stamp>, Failure> {
        let now = now();
        let date = match self {
            Self::Never => return Ok(None),
            Self::At(date) => date,
            Self::In(span) => {
                let end = now.to_zoned(TimeZone::UTC).checked_add(span);
                end.map_err(|error| Failure::Usage(format!("{flag}: {error}")))?
                    .timestamp()
            }
        };
        if date <= now {
            return Err(Failure::Usage(format!("{flag} {date}: this has passed already")));
        }
        let secs = u32::try_from(date.as_second())
            .map_err(|_| Failure::Usage(format!("{flag} {date}: this is too far away; say never instead")))?;
        Ok(Some(Stamp(Date(secs))))
    }
}

/// A length of time: `7d`, `12h`, `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Length(pub(super) Duration);

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let span = positive(text).ok_or("say a time such as 7d or 12h, or 0 for at once")?;
        // Of no particular month: 30 days and 365 days are meant.
        let begin = civil::date(2026, 1, 1);
        let length = span
            .to_duration(begin)
            .ok()
            .and_then(|length| length.try_into().ok());
        length.map(Self).ok_or_else(|| "this is too long".to_owned())
    }
}

fn positive(text: &str) -> Option<Span> {
    let span: Span = text.parse().ok()?;
    span.is_positive().then_some(span)
}

/// The calendar's time.
fn now() -> Timestamp {
    Timestamp::from_second(i64::from(Clock::start().date().0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_dates_and_lengths_are_understood() {
        let at = |text: &str| match text.parse().unwrap() {
            When::At(date) => date.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(at("2090-12-31"), "2090-12-31T23:59:59Z");
        assert_eq!(at("2090-12-31T20:00:00+02:00"), "2090-12-31T18:00:00Z");
        let soon: When = "2d".parse().unwrap();
        let away = i64::from(soon.date("--until").unwrap().unwrap().0.0) - now().as_second();
        assert!((172_799..=172_801).contains(&away), "{away}");
        let never: When = "never".parse().unwrap();
        assert_eq!(never.date("--until").unwrap(), None);
    }

    #[test]
    fn what_is_no_time_to_come_is_refused() {
        for text in ["", "soon", "-3d", "2026-13-01", "5"] {
            assert!(text.parse::<When>().is_err(), "{text}");
        }
        for text in ["2020-01-01", "3000-01-01", "500y"] {
            let when: When = text.parse().unwrap();
            let error = when.date("--expires").unwrap_err().to_string();
            assert!(error.contains("--expires"), "{error}");
        }
    }

    #[test]
    fn a_length_may_be_nothing() {
        let length = |text: &str| text.parse::<Length>().map(|length| length.0.as_secs());
        assert_eq!(length("0"), Ok(0));
        assert_eq!(length("7d"), Ok(604_800));
        assert_eq!(length("1h 30m"), Ok(5_400));
        assert!(length("-1h").is_err());
    }
}
