//! Bounds of one torrent that change while it runs.

use shared::moment::Moment;

use super::machine::Torrent;

impl Torrent {
    /// Other bounds from now on.
    pub(super) fn limit(&mut self, _now: Moment, connections: usize, upload_slots: Option<usize>) {
        self.settings.connections_max = connections;
        self.settings.upload_slots = upload_slots;
    }
}
