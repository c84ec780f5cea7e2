//! Numbers and dates as people read them.

use jiff::Timestamp;

/// What stands where there is nothing.
pub const NOTHING: &str = "–";

/// Bytes in the largest unit that leaves something before the point.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 6] = [
        ("EiB", 60),
        ("PiB", 50),
        ("TiB", 40),
        ("GiB", 30),
        ("MiB", 20),
        ("KiB", 10),
    ];
    for (unit, bits) in UNITS {
        let whole = bytes >> bits;
        if whole > 0 {
            // Cut, never rounded up: nobody is told of bytes that were not there.
            let tenths = ((u128::from(bytes) * 10) >> bits) % 10;
            return format!("{whole}.{tenths} {unit}");
        }
    }
    format!("{bytes} B")
}

/// Bytes with their unit, and exactly.
pub fn exact_size(bytes: u64) -> String {
    if bytes < 1_024 {
        size(bytes)
    } else {
        format!("{} ({bytes} bytes)", size(bytes))
    }
}

/// Given over taken.
pub fn ratio(uploaded: u64, downloaded: u64) -> String {
    match (uploaded, downloaded) {
        (0, 0) => NOTHING.to_owned(),
        (_, 0) => "∞".to_owned(),
        (up, down) => {
            let hundredths = u128::from(up) * 100 / u128::from(down);
            format!("{}.{:02}", hundredths / 100, hundredths % 100)
        }
    }
}

/// A time of many seconds, in its two largest units.
pub fn duration(secs: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let mut rest = secs;
    let mut parts = Vec::new();
    for (unit, length) in UNITS {
        let count = rest / length;
        rest %= length;
        if count > 0 {
            parts.push(format!("{count} {unit}"));
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    if parts.is_empty() {
        "0 s".to_owned()
    } else {
        parts.join(" ")
    }
}

/// A date to the minute, in UTC; `secs` since 1970.
pub fn date(secs: impl Into<u64>) -> String {
    let secs = i64::try_from(secs.into()).unwrap_or(i64::MAX);
    let date = Timestamp::from_second(secs).unwrap_or(Timestamp::MAX);
    date.strftime("%Y-%m-%d %H:%M").to_string()
}

/// The same, or a dash.
pub fn date_or_nothing(secs: Option<impl Into<u64>>) -> String {
    secs.map_or_else(|| NOTHING.to_owned(), date)
}

/// The beginning of a hash, enough to name it again.
pub fn short_hash(v1: Option<&str>, v2: Option<&str>) -> String {
    let hash = v1.or(v2).unwrap_or(NOTHING);
    hash.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_cut_to_one_digit() {
        for (bytes, said) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_996_000, "1.9 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(size(bytes), said);
        }
        assert_eq!(exact_size(2_048), "2.0 KiB (2048 bytes)");
    }

    #[test]
    fn ratios_need_something_taken() {
        for (up, down, said) in [
            (0, 0, "–"),
            (5, 0, "∞"),
            (0, 5, "0.00"),
            (1, 3, "0.33"),
            (u64::MAX, 1, "18446744073709551615.00"),
        ] {
            assert_eq!(ratio(up, down), said);
        }
    }

    #[test]
    fn times_are_told_in_two_units() {
        for (secs, said) in [
            (0, "0 s"),
            (59, "59 s"),
            (3_600, "1 h"),
            (3_661, "1 h 1 min"),
            (90_061, "1 d 1 h"),
            (86_460, "1 d"),
        ] {
            assert_eq!(duration(secs), said);
        }
        assert_eq!(date(1_767_225_600_u64), "2026-01-01 00:00");
    }
}
