//! Settings as a file that explains itself: the one that we ship, with other values.

use super::File;

/// The file that we ship. It names every setting; a test sees to it.
const SHIPPED: &str = include_str!("../../../deploy/tracker.toml");

impl File {
    /// These settings as TOML, each below the sentence that explains it. With defaults it is the file that we ship.
    pub fn explained(&self) -> String {
        edge::settings::explained(SHIPPED, self)
    }
}
