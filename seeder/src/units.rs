//! Rates and times as people type and read them: in settings, in schedules, on the command line. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What a rate is counted in: with a decimal prefix, since lines are sold so.
const PREFIXES: [(char, u64, u64); 4] = [
    ('k', 1_000, 1 << 10),
    ('m', 1_000_000, 1 << 20),
    ('g', 1_000_000_000, 1 << 30),
    ('t', 1_000_000_000_000, 1 << 40),
];

/// Bytes a second that may pass; none is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate(pub Option<u64>);

/// A rate that cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    #[error("say bytes a second, such as 500k, 2M or 1.5MiB, or bits, such as 20Mbit; off is no limit")]
    Unreadable,
    #[error("nothing at all is no rate; pause the torrent, or say off for no limit")]
    Nothing,
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let text = text.trim().to_ascii_lowercase();
        if text == "off" {
            return Ok(Self(None));
        }
        let text = text.strip_suffix("/s").unwrap_or(&text);
        let (text, divisor) = match text.strip_suffix("bit") {
            Some(text) => (text, 8),
            None => (text.strip_suffix('b').unwrap_or(text), 1),
        };
        let (number, factor) = factor(text);
        let bytes = scaled(number.trim_end(), factor).ok_or(RateError::Unreadable)? / divisor;
        if bytes == 0 {
            return Err(RateError::Nothing);
        }
        Ok(Self(Some(bytes)))
    }
}

/// The number before a prefix such as `k` or `Mi`, and what it is multiplied by.
fn factor(text: &str) -> (&str, u64) {
    let (bare, binary) = match text.strip_suffix('i') {
        Some(bare) => (bare, true),
        None => (text, false),
    };
    for (prefix, decimal, two) in PREFIXES {
        if let Some(number) = bare.strip_suffix(prefix) {
            return (number, if binary { two } else { decimal });
        }
    }
    // A lone `i` belongs to nothing, and stays in the number, which refuses it.
    (text, 1)
}

/// `1.5` times a factor, exactly: no floating point, whose edges would need rules of their own.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > 6 {
        return None;
    }
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = fraction.parse::<u64>().ok()?.checked_mul(factor)? / scale;
    whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(part)
}

/// As it may be typed again.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bytes) = self.0 else {
            return f.write_str("off");
        };
        for (prefix, unit, _) in PREFIXES.into_iter().rev() {
            if bytes >= unit && bytes.is_multiple_of(unit / 100) {
                let hundredths = bytes / (unit / 100);
                let prefix = if prefix == 'k' {
                    'k'
                } else {
                    prefix.to_ascii_uppercase()
                };
                return match hundredths % 100 {
                    0 => write!(f, "{}{prefix}", hundredths / 100),
                    part => {
                        let part = format!("{part:02}");
                        write!(f, "{}.{}{prefix}", hundredths / 100, part.trim_end_matches('0'))
                    }
                };
            }
        }
        write!(f, "{bytes}")
    }
}

/// A length of time as people type it: `30s`, `90m`, `12h`, `7d`, `1h30m`.
pub fn time(text: &str) -> Option<Duration> {
    let mut seconds = 0_u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at_checked(digits)?;
        let letters = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, behind) = behind.split_at_checked(letters)?;
        let unit = match unit {
            "s" => 1,
            "m" | "min" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return None,
        };
        seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = behind.trim_start();
    }
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bytes_with_the_prefixes_that_people_use() {
        for (text, bytes) in [
            ("1", 1),
            ("500k", 500_000),
            ("500 kB/s", 500_000),
            ("2M", 2_000_000),
            ("2mb", 2_000_000),
            ("1.5M", 1_500_000),
            ("1.5MiB", 1_572_864),
            ("512Ki", 524_288),
            ("20Mbit", 2_500_000),
            ("1Gbit/s", 125_000_000),
            ("0.3k", 300),
        ] {
            assert_eq!(text.parse(), Ok(Rate(Some(bytes))), "{text}");
        }
        assert_eq!("off".parse(), Ok(Rate(None)));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in [
            "",
            "fast",
            "-1",
            "k",
            "1.M",
            ".5M",
            "1e6",
            "5i",
            "1.2.3k",
            "99999999T",
            "2 M M",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(RateError::Unreadable), "{text}");
        }
        for text in ["0", "0k", "1bit"] {
            assert_eq!(text.parse::<Rate>(), Err(RateError::Nothing), "{text}");
        }
    }

    #[test]
    fn a_rate_is_shown_as_it_may_be_typed() {
        for (bytes, text) in [
            (200_000, "200k"),
            (2_000_000, "2M"),
            (1_500_000, "1.5M"),
            (1_250_000, "1.25M"),
            (999, "999"),
            (1_572_864, "1572864"),
            (3_000_000_000, "3G"),
        ] {
            assert_eq!(Rate(Some(bytes)).to_string(), text);
            assert_eq!(text.parse(), Ok(Rate(Some(bytes))));
        }
        assert_eq!(Rate(None).to_string(), "off");
    }

    #[test]
    fn times_are_sums_of_units() {
        for (text, seconds) in [
            ("30s", 30),
            ("90m", 5_400),
            ("1h30m", 5_400),
            ("1h 30min", 5_400),
            ("7d", 604_800),
            ("0s", 0),
        ] {
            assert_eq!(time(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "5",
            "h",
            "-1h",
            "1 fortnight",
            "ä",
            "99999999999999999999s",
            "999999999999999999w",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
