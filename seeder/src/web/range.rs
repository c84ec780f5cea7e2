//! Which bytes of a file a request asks for (RFC 9110, 14). One range at a time: who asks for several gets the whole file.

use std::ops::Range;

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Portion {
    Whole,
    Part(Range<u64>),
    /// There are no such bytes.
    Nothing,
}

/// What a `Range` field asks of a file of this length. One that cannot be read asks for nothing special.
pub(super) fn portion(field: Option<&str>, length: u64) -> Portion {
    match field.and_then(|field| asked(field, length)) {
        None => Portion::Whole,
        Some(range) if range.is_empty() => Portion::Nothing,
        Some(range) => Portion::Part(range),
    }
}

fn asked(field: &str, length: u64) -> Option<Range<u64>> {
    let set = field.trim().strip_prefix("bytes=")?;
    let (first, last) = set.split_once('-')?;
    let number = |digits: &str| -> Option<u64> {
        let digits = digits.trim();
        let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        all.then(|| digits.parse().unwrap_or(u64::MAX))
    };
    if first.trim().is_empty() {
        let count = number(last)?;
        return Some(length.saturating_sub(count)..length);
    }
    let first = number(first)?;
    let end = match last.trim() {
        "" => length,
        last => number(last)?.saturating_add(1).min(length),
    };
    if end <= first && first < length {
        // The last byte stands before the first: such a range is none.
        return None;
    }
    Some(first.min(length)..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_a_part_and_anything_else_the_whole() {
        for (field, expected) in [
            ("bytes=0-9", Portion::Part(0..10)),
            ("bytes=90-", Portion::Part(90..100)),
            ("bytes=90-500", Portion::Part(90..100)),
            ("bytes=-10", Portion::Part(90..100)),
            ("bytes=-500", Portion::Part(0..100)),
            ("bytes=99-99999999999999999999999", Portion::Part(99..100)),
            ("bytes=100-", Portion::Nothing),
            ("bytes=100-200", Portion::Nothing),
            ("bytes=99999999999999999999999-", Portion::Nothing),
            ("bytes=-0", Portion::Nothing),
            ("bytes=9-0", Portion::Whole),
            ("bytes=0-1,5-6", Portion::Whole),
            ("bytes=a-b", Portion::Whole),
            ("bytes=+1-2", Portion::Whole),
            ("bytes=-", Portion::Whole),
            ("bytes=", Portion::Whole),
            ("lines=0-9", Portion::Whole),
        ] {
            assert_eq!(portion(Some(field), 100), expected, "{field}");
        }
        assert_eq!(portion(None, 100), Portion::Whole);
        assert_eq!(portion(Some("bytes=0-"), 0), Portion::Nothing);
    }
}
