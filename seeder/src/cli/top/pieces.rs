//! The pieces of a torrent on few cells: what is here, what the peers have, what nobody has. Pure.

/// What one cell stands for: a run of neighbouring pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// In eighths: how many of them are here.
    pub here: u8,
    /// Some that are missing here are at no peer either.
    pub lost: bool,
}

impl Cell {
    /// One character: the fuller, the more is here; `!` where something is to be had nowhere.
    pub fn sign(self) -> char {
        match self.here {
            _ if self.lost => '!',
            0 => '·',
            1..=2 => '░',
            3..=5 => '▒',
            6..=7 => '▓',
            _ => '█',
        }
    }
}

/// A bit a piece, the first in the highest bit of the first byte, in hex, as the engine writes it.
pub fn bits(hex: &str, count: u32) -> Vec<bool> {
    let nibbles = hex.chars().map(|digit| digit.to_digit(16).unwrap_or(0));
    let bits = nibbles.flat_map(|nibble| (0..4).rev().map(move |bit| nibble >> bit & 1 == 1));
    bits.take(usize::try_from(count).unwrap_or(usize::MAX)).collect()
}

/// The pieces on at most so many cells, each of as many pieces as any other, but for the last.
pub fn cells(here: &[bool], availability: &[u16], places: usize) -> Vec<Cell> {
    if here.is_empty() || places == 0 {
        return Vec::new();
    }
    let run = here.len().div_ceil(places);
    let cells = here.chunks(run).enumerate().map(|(number, part)| {
        let count = part.iter().filter(|here| **here).count();
        let seen = availability.iter().copied().skip(number * run);
        let lost = !availability.is_empty() && part.iter().zip(seen).any(|(here, seen)| !here && seen == 0);
        // Only a whole run is full, and only an empty one is empty.
        let eighths = match count {
            0 => 0,
            count if count == part.len() => 8,
            count => (count * 8 / part.len()).clamp(1, 7),
        };
        Cell {
            here: u8::try_from(eighths).unwrap_or(8),
            lost,
        }
    });
    cells.collect()
}

/// How many whole copies the peers hold between them, and what is beyond that, in percent.
pub fn copies(availability: &[u16]) -> Option<(u16, usize)> {
    let least = availability.iter().copied().min()?;
    let beyond = availability.iter().filter(|seen| **seen > least).count();
    Some((least, beyond * 100 / availability.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(here: &str, availability: &[u16], places: usize, drawn: &str) {
        let here: Vec<bool> = here.chars().map(|sign| sign == 'x').collect();
        let cells = cells(&here, availability, places);
        assert_eq!(cells.into_iter().map(Cell::sign).collect::<String>(), drawn);
    }

    #[test]
    fn a_cell_is_full_only_when_all_is_here_and_empty_only_when_nothing_is() {
        check("xxxx....", &[], 8, "████····");
        check("xxxx....", &[], 2, "█·");
        check("xxxxxxx.........", &[], 2, "▓·");
        check("x...............", &[], 1, "░");
        check("xxx..xx", &[], 2, "▓▒");
        check("", &[], 5, "");
        check("x", &[], 0, "");
    }

    #[test]
    fn what_nobody_has_is_marked() {
        check("x...", &[0, 1, 0, 2], 4, "█·!·");
        check("x...", &[0, 1, 0, 2], 2, "▒!");
    }

    #[test]
    fn bits_come_from_hex_as_on_the_wire() {
        assert_eq!(bits("a0", 3), [true, false, true]);
        assert_eq!(bits("80", 20).len(), 8);
        assert_eq!(bits("zz", 2), [false, false]);
    }

    #[test]
    fn copies_are_whole_ones_and_a_part() {
        assert_eq!(copies(&[2, 3, 2, 4]), Some((2, 50)));
        assert_eq!(copies(&[1, 1]), Some((1, 0)));
        assert_eq!(copies(&[]), None);
    }
}
