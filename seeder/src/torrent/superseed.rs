//! Super-seeding (BEP 16).

use shared::moment::Moment;

use super::machine::Torrent;

impl Torrent {
    /// Begins or ends to super-seed.
    pub(super) fn super_seed(&mut self, _now: Moment, on: bool) {
        self.settings.super_seed = on;
    }
}
