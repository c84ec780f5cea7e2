//! Facts of torrents as people read them. Sizes are decimal, as disks and lines are sold.

use edge::human::{NOTHING, duration};
use indicatif::DecimalBytes;

use crate::engine::{Stage, Summary};

/// Bytes.
pub fn size(bytes: u64) -> String {
    DecimalBytes(bytes).to_string()
}

/// Bytes a second; nothing where nothing moves.
pub fn speed(bytes: u64) -> String {
    if bytes == 0 {
        NOTHING.to_owned()
    } else {
        format!("{}/s", DecimalBytes(bytes))
    }
}

/// How much of what is wanted is there; 100 only when all is.
pub fn percent(torrent: &Summary) -> u64 {
    let complete = torrent.stage == Stage::Seeding;
    let hundredfold = torrent.have_bytes.saturating_mul(100);
    let percent = hundredfold.checked_div(torrent.wanted_bytes);
    // What is there may be of files that nobody wants; files without a byte are there once somebody has looked.
    percent
        .unwrap_or(100)
        .min(if complete || torrent.paused { 100 } else { 99 })
}

/// Bytes given for each byte of the torrent.
pub fn ratio(torrent: &Summary) -> String {
    let size = u128::from(torrent.wanted_bytes.max(1));
    if torrent.uploaded == 0 {
        return NOTHING.to_owned();
    }
    let hundredths = u128::from(torrent.uploaded) * 100 / size;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// What a torrent is at, in a word or two.
pub fn stage(torrent: &Summary) -> String {
    match torrent.stage {
        Stage::Opening => "opening".to_owned(),
        Stage::Checking { done, of } => {
            format!("checking {} %", u64::from(done) * 100 / u64::from(of.max(1)))
        }
        Stage::Paused => "paused".to_owned(),
        Stage::Error => "error".to_owned(),
        Stage::Metadata => "asking".to_owned(),
        Stage::Downloading => "downloading".to_owned(),
        Stage::Seeding => "seeding".to_owned(),
    }
}

/// The time that is left at this speed.
pub fn left(torrent: &Summary) -> Option<String> {
    let bytes = torrent.wanted_bytes.saturating_sub(torrent.have_bytes);
    let seconds = bytes.checked_div(torrent.download_rate)?;
    (bytes > 0).then(|| duration(seconds))
}

/// A time of the calendar (seconds since 1970), seen from now.
pub fn from_now(now: i64, then: i64) -> String {
    let apart = duration(now.abs_diff(then));
    match then - now {
        0 => "now".to_owned(),
        1.. => format!("in {apart}"),
        _ => format!("{apart} ago"),
    }
}

/// The seconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// A text in at most so many places, with a sign where something was left out.
pub fn cut(text: &str, places: usize) -> String {
    if text.chars().count() <= places {
        return text.to_owned();
    }
    let kept: String = text.chars().take(places.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// The hash that a torrent is named by.
pub fn hash(torrent: &Summary) -> &str {
    let hash = torrent
        .info_hash_v1
        .as_deref()
        .or(torrent.info_hash_v2.as_deref());
    hash.unwrap_or_default()
}

/// Enough of it to name it again.
pub fn short_hash(torrent: &Summary) -> String {
    hash(torrent).chars().take(12).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::engine::TorrentKey;

    /// A torrent of 100 MB, half there.
    pub fn torrent(name: &str, hash: &str) -> Summary {
        Summary {
            key: TorrentKey(1),
            name: name.to_owned(),
            info_hash_v1: Some(hash.to_owned()),
            info_hash_v2: None,
            stage: Stage::Downloading,
            paused: false,
            partial: false,
            private: false,
            have_bytes: 50_000_000,
            wanted_bytes: 100_000_000,
            total_bytes: 100_000_000,
            uploaded: 25_000_000,
            downloaded: 50_000_000,
            upload_rate: 0,
            download_rate: 5_000_000,
            peers: 3,
            seeds: 1,
            added: 1_800_000_000,
            root: "/home/anna/Downloads".into(),
            why: None,
        }
    }

    #[test]
    fn a_torrent_in_words() {
        let mut shown = torrent("Holidays", "00");
        assert_eq!(
            (percent(&shown), ratio(&shown), stage(&shown)),
            (50, "0.25".into(), "downloading".into())
        );
        assert_eq!(left(&shown).as_deref(), Some("10 s"));
        shown.have_bytes = 99_999_999;
        assert_eq!(percent(&shown), 99);
        shown.stage = Stage::Checking { done: 1, of: 3 };
        assert_eq!(stage(&shown), "checking 33 %");
        (shown.wanted_bytes, shown.have_bytes, shown.uploaded) = (0, 0, 0);
        assert_eq!((percent(&shown), ratio(&shown)), (99, "–".into()));
        shown.stage = Stage::Seeding;
        assert_eq!((percent(&shown), left(&shown)), (100, None));
    }

    #[test]
    fn times_are_told_from_now() {
        assert_eq!(from_now(100, 160), "in 1 min");
        assert_eq!(from_now(100, 40), "1 min ago");
        assert_eq!(from_now(100, 100), "now");
    }

    #[test]
    fn a_long_name_is_cut_with_a_sign() {
        assert_eq!(cut("Größe", 5), "Größe");
        assert_eq!(cut("Größer", 5), "Größ…");
        assert_eq!(cut("ab", 0), "…");
    }
}
