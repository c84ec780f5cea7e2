//! Which torrents are meant: by name, by hash, or by the beginning of either. Pure.

use edge::output::plain;

use super::human::{hash, short_hash};
use crate::engine::Summary;

/// Candidates that are named before the rest is only counted.
const NAMED_MAX: usize = 10;

/// Nothing, or more than one thing, is called so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    #[error("no torrent is called {0:?}; `seeder list` shows all there are")]
    Unknown(String),
    #[error("{asked:?} may mean several torrents; say more of the name, or the hash:{candidates}")]
    Ambiguous { asked: String, candidates: String },
}

/// The places in the list of the torrent that is meant. Several only where several processes have the same torrent.
pub fn choose(asked: &str, torrents: &[Summary]) -> Result<Vec<usize>, ChoiceError> {
    let lower = asked.to_lowercase();
    let rules: [&dyn Fn(&Summary) -> bool; 4] = [
        &|torrent| hashes(torrent).any(|known| known == lower),
        &|torrent| torrent.name == asked,
        &|torrent| torrent.name.to_lowercase() == lower,
        &|torrent| {
            torrent.name.to_lowercase().starts_with(&lower)
                || hashes(torrent).any(|known| known.starts_with(&lower))
        },
    ];
    for rule in rules {
        let found: Vec<usize> = torrents
            .iter()
            .enumerate()
            .filter(|(_, torrent)| !asked.is_empty() && rule(torrent))
            .map(|(place, _)| place)
            .collect();
        let mut meant = found.iter().filter_map(|place| torrents.get(*place));
        let Some(first) = meant.next() else { continue };
        if meant.all(|torrent| hash(torrent) == hash(first)) {
            return Ok(found);
        }
        return Err(ChoiceError::Ambiguous {
            asked: asked.to_owned(),
            candidates: candidates(&found, torrents),
        });
    }
    Err(ChoiceError::Unknown(asked.to_owned()))
}

fn hashes(torrent: &Summary) -> impl Iterator<Item = &str> {
    [&torrent.info_hash_v1, &torrent.info_hash_v2]
        .into_iter()
        .flatten()
        .map(String::as_str)
}

fn candidates(found: &[usize], torrents: &[Summary]) -> String {
    let named = found
        .iter()
        .filter_map(|place| torrents.get(*place))
        .take(NAMED_MAX);
    let mut lines: Vec<String> = named
        .map(|torrent| format!("\n  {}  {}", short_hash(torrent), plain(&torrent.name)))
        .collect();
    if found.len() > NAMED_MAX {
        lines.push(format!("\n  and {} more", found.len() - NAMED_MAX));
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::human::tests::torrent;

    fn shelf() -> Vec<Summary> {
        [
            ("Holidays", "aa11"),
            ("Holidays 2019", "aa22"),
            ("Films", "bb33"),
            ("aa1", "cc44"),
            ("Films", "dd55"),
        ]
        .map(|(name, hash)| torrent(name, hash))
        .to_vec()
    }

    #[track_caller]
    fn check(asked: &str, meant: &[usize]) {
        assert_eq!(choose(asked, &shelf()), Ok(meant.to_vec()), "{asked}");
    }

    #[test]
    fn a_torrent_is_named_by_hash_name_or_a_beginning_of_either() {
        check("aa22", &[1]);
        check("AA22", &[1]);
        check("Holidays", &[0]);
        check("holidays", &[0]);
        check("holidays 2", &[1]);
        check("b", &[2]);
        check("aa1", &[3]);
        check("dd5", &[4]);
    }

    #[test]
    fn what_may_mean_several_lists_them() {
        let error = choose("Films", &shelf()).unwrap_err().to_string();
        assert!(
            error.ends_with("the hash:\n  bb33  Films\n  dd55  Films"),
            "{error}"
        );
        assert!(
            choose("aa", &shelf())
                .unwrap_err()
                .to_string()
                .contains("aa11  Holidays")
        );
        let many: Vec<Summary> = (0..13)
            .map(|n| torrent(&format!("x{n}"), &format!("{n:02}")))
            .collect();
        assert!(
            choose("x", &many)
                .unwrap_err()
                .to_string()
                .ends_with("and 3 more")
        );
    }

    #[test]
    fn what_nothing_is_called_is_said() {
        for asked in ["", "Musik"] {
            assert_eq!(
                choose(asked, &shelf()),
                Err(ChoiceError::Unknown(asked.to_owned()))
            );
        }
    }

    #[test]
    fn one_torrent_in_two_processes_is_meant_in_both() {
        let both = [
            torrent("Holidays", "aa"),
            torrent("Films", "bb"),
            torrent("Holidays", "aa"),
        ];
        assert_eq!(choose("Holidays", &both), Ok(vec![0, 2]));
    }
}
