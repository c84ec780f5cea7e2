//! Settings as a file that explains itself: the one that we ship, with other values.

use std::fmt::Write as _;

use super::File;

/// The file that we ship. It names every setting; a test sees to it.
const SHIPPED: &str = include_str!("../../../deploy/tracker.toml");

impl File {
    /// These settings as TOML, each below the sentence that explains it. With defaults it is the file that we ship.
    pub fn explained(&self) -> String {
        let table = toml::Table::try_from(self).unwrap_or_default();
        let mut out = String::with_capacity(SHIPPED.len());
        let mut section = None;
        for line in SHIPPED.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = table.get(name.trim_end_matches(']'));
            }
            let key = line.split_once(" = ").map(|(key, _)| key);
            match key.and_then(|key| Some((key, section?.get(key)?))) {
                Some((key, value)) => {
                    let _ = write!(out, "{key} = {value}");
                }
                None => out.push_str(line),
            }
            out.push('\n');
        }
        out
    }
}
