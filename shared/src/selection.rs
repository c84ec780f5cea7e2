//! Which files of a torrent a link selects (BEP 53): numbers and ranges of numbers, `0,2,6-8`. A stranger's text is a few
//! ranges however much it says.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::magnet::MagnetError;

/// Letters of a wrong entry that are shown.
const SHOWN_MAX: usize = 100;

/// Numbers of files, counted from 0 in the order of the torrent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// In order, neither touching nor overlapping.
    ranges: Vec<RangeInclusive<u32>>,
}

impl Selection {
    /// Is this file among them?
    pub fn has(&self, file: usize) -> bool {
        let Ok(file) = u32::try_from(file) else {
            return false;
        };
        let behind = self.ranges.partition_point(|range| *range.start() <= file);
        let last = behind.checked_sub(1).and_then(|last| self.ranges.get(last));
        last.is_some_and(|range| range.contains(&file))
    }

    /// Takes the files of another one in.
    pub fn join(&mut self, other: Self) {
        self.ranges.extend(other.ranges);
        self.settle();
    }

    fn settle(&mut self) {
        self.ranges.sort_unstable_by_key(|range| *range.start());
        let mut settled: Vec<RangeInclusive<u32>> = Vec::new();
        for range in self.ranges.drain(..) {
            match settled.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => settled.push(range),
            }
        }
        self.ranges = settled;
    }
}

impl From<RangeInclusive<u32>> for Selection {
    fn from(range: RangeInclusive<u32>) -> Self {
        Self { ranges: vec![range] }
    }
}

impl FromStr for Selection {
    type Err = MagnetError;

    fn from_str(text: &str) -> Result<Self, MagnetError> {
        let bad = |entry: &str| MagnetError::BadSelection(entry.chars().take(SHOWN_MAX).collect());
        let mut selection = Self::default();
        for entry in text.split(',') {
            let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
            let range = number(first)
                .zip(number(last))
                .filter(|(first, last)| first <= last);
            let (first, last) = range.ok_or_else(|| bad(entry))?;
            selection.ranges.push(first..=last);
        }
        selection.settle();
        Ok(selection)
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.ranges.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let (first, last) = (range.start(), range.end());
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

/// Digits alone: `parse` would take a sign too.
fn number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_and_ranges_select_files() {
        let selection: Selection = "6-8,0,2,7-9,10".parse().unwrap();
        let chosen: Vec<usize> = (0..20).filter(|file| selection.has(*file)).collect();
        assert_eq!(chosen, [0, 2, 6, 7, 8, 9, 10]);
        assert_eq!(selection.to_string(), "0,2,6-10");
        assert!(!selection.has(usize::MAX));
    }

    #[test]
    fn what_is_no_number_is_named() {
        for entry in ["", "x", "2-1", "-3", "1-", "+1", "4294967296", "1-2-3", " 1"] {
            let error = format!("0,{entry}").parse::<Selection>().unwrap_err();
            assert_eq!(error, MagnetError::BadSelection(entry.to_owned()));
        }
        assert!("4294967295".parse::<Selection>().unwrap().has(4_294_967_295));
    }

    proptest! {
        #[test]
        fn a_selection_has_what_its_ranges_have_and_is_read_back(
            ranges in prop::collection::vec((0_u32..60, 0_u32..9), 1..9)
        ) {
            let text: Vec<String> = ranges.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect();
            let selection: Selection = text.join(",").parse().unwrap();
            for file in 0_u32..70 {
                let chosen = ranges.iter().any(|(first, more)| (*first..=first + more).contains(&file));
                prop_assert_eq!(selection.has(file as usize), chosen);
            }
            prop_assert_eq!(selection.to_string().parse(), Ok(selection));
        }
    }
}
