//! How long pieces should be. Pure.

use shared::geometry::PIECE_COUNT_MAX;

/// The shortest piece: one block, as BEP 52 demands.
pub const PIECE_LENGTH_MIN: u32 = 16 * 1024;

/// The longest piece that the rule chooses.
pub const PIECE_LENGTH_RULE_MAX: u32 = 16 * 1024 * 1024;

/// The longest piece that a person may choose; longer ones are refused by too many clients.
pub const PIECE_LENGTH_MAX: u32 = 128 * 1024 * 1024;

/// More pieces than this make the .torrent large and every bitfield and `have` dearer; far fewer make a damaged byte
/// expensive and slow down the first exchange between peers.
const PIECE_COUNT_AIM: u64 = 2_048;

/// The piece length is not one that all clients understand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the piece length {0} is not a power of two from 16KiB to 128MiB; try 256KiB, 1MiB or 4MiB")]
pub struct InvalidPieceLength(pub String);

/// The shortest power of two from 16 KiB to 16 MiB that cuts so many bytes into no more than 2,048 pieces, which is 1,025
/// to 2,048 of them from 16 MiB to 32 GiB. Beyond 32 TiB pieces grow again, so that they can be counted at all.
pub fn by_rule(content_size: u64) -> u32 {
    let mut length = PIECE_LENGTH_MIN;
    while length < PIECE_LENGTH_RULE_MAX && content_size.div_ceil(u64::from(length)) > PIECE_COUNT_AIM {
        length *= 2;
    }
    while length < PIECE_LENGTH_MAX && content_size.div_ceil(u64::from(length)) > u64::from(PIECE_COUNT_MAX) {
        length *= 2;
    }
    length
}

/// Reads what a person typed: `262144`, `256K`, `256KiB`, `1M`, `4MiB`.
pub fn parse(text: &str) -> Result<u32, InvalidPieceLength> {
    let invalid = || InvalidPieceLength(text.chars().take(40).collect());
    let word = text.trim().to_ascii_lowercase();
    let digits = word.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let factor = match word.strip_prefix(digits).map(str::trim) {
        Some("" | "b") => 1,
        Some("k" | "kb" | "kib") => 1024,
        Some("m" | "mb" | "mib") => 1024 * 1024,
        _ => return Err(invalid()),
    };
    let length = digits
        .parse::<u32>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    length
        .filter(|length| length.is_power_of_two() && (PIECE_LENGTH_MIN..=PIECE_LENGTH_MAX).contains(length))
        .ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn between_one_and_two_thousand_pieces_are_cut() {
        for (content_size, length) in [
            (1, 16 * 1024),
            (32 * MIB, 16 * 1024),
            (32 * MIB + 1, 32 * 1024),
            (94 * MIB, 64 * 1024),
            (4096 * MIB, 2 * 1024 * 1024),
            (32 * 1024 * MIB, 16 * 1024 * 1024),
            (1024 * 1024 * MIB, 16 * 1024 * 1024),
            (64 * 1024 * 1024 * MIB, 32 * 1024 * 1024),
        ] {
            assert_eq!(by_rule(content_size), length, "{content_size}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for text in ["262144", "256K", "256 KiB", "256kb", "256kib"] {
            assert_eq!(parse(text), Ok(262_144), "{text}");
        }
        assert_eq!(parse("4M"), Ok(4 * 1024 * 1024));
    }

    #[test]
    fn lengths_that_clients_refuse_are_refused_by_name() {
        for text in [
            "",
            "8K",
            "256M",
            "300K",
            "-1",
            "1G",
            "99999999999",
            "MiB",
            "16KiBB",
        ] {
            assert_eq!(parse(text), Err(InvalidPieceLength(text.to_owned())), "{text}");
        }
    }
}
