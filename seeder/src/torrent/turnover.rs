//! Who may go when others wait for a place: peers that want nothing of us and have nothing for us, and those between whom
//! and us nothing has passed for long.

use std::time::Duration;

use shared::moment::Moment;

use super::events::{Output, PeerKey, Why};
use super::machine::Torrent;
use super::session::Session;

/// Rounds of the choker come every ten seconds, and the optimistic slot has passed many by then.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// No more than one peer goes in this time: calls take long, and not all are answered.
const EVERY: Duration = Duration::from_secs(20);

impl Torrent {
    /// The peer that is missed least, if there is one that is of no use.
    pub(super) fn useless(&self, now: Moment) -> Option<PeerKey> {
        let peers = || self.sessions.iter().filter(|(_, session)| !session.is_web());
        let wants_nothing = |session: &Session| {
            let wants_us = session.is_interested || session.we_are_interested;
            self.content.is_some() && !wants_us
        };
        let idle = peers().filter(|(_, session)| wants_nothing(session));
        let oldest = idle.min_by_key(|(_, session)| session.connected);
        let barren = || {
            let longest = peers().min_by_key(|(_, session)| session.useful);
            longest.filter(|(_, session)| now.since(session.useful) >= PATIENCE)
        };
        oldest.or_else(barren).map(|(peer, _)| *peer)
    }

    /// When all places are taken and somebody could be called, one that is of no use goes now and then.
    pub(super) fn turn_over(&mut self, now: Moment) {
        let waiting = self.dialer.due().is_some_and(|due| due <= now);
        let full = self.connections() >= self.settings.connections_max;
        if !waiting || !full || now.since(self.turned_over) < EVERY {
            return;
        }
        let Some(peer) = self.useless(now) else { return };
        let barren = self
            .sessions
            .get(&peer)
            .map_or(0, |session| now.since(session.useful).as_secs());
        self.turned_over = now;
        self.forget_for_long(now, peer);
        self.push(Output::Disconnect {
            peer,
            why: Why::Useless(barren),
        });
    }
}
