//! Who may go when others wait for a place.

use shared::moment::Moment;

use super::events::PeerKey;
use super::machine::Torrent;

impl Torrent {
    /// Of the peers that are of no use to us and want nothing of us, the one that has been so for longest.
    pub(super) fn useless(&self, _now: Moment) -> Option<PeerKey> {
        let idle = self.sessions.iter().filter(|(_, session)| {
            let wants_us = session.is_interested || session.we_are_interested;
            self.content.is_some() && !wants_us
        });
        let oldest = idle.min_by_key(|(_, session)| session.connected);
        oldest.map(|(peer, _)| *peer)
    }
}
