//! What happens because time passes: keep-alives, silence, snubs, rounds of the choker, patience that ends. Nothing that
//! could be done at once waits for it.

use std::time::Duration;

use rand::Rng;
use shared::moment::Moment;
use shared::peer_wire::Message;

use super::events::{Output, PeerKey, Why};
use super::machine::Torrent;

/// While peers are connected, one look a second is fine enough for limits of many.
const TICK: Duration = Duration::from_secs(1);
/// BEP 3 drops connections that say nothing for two minutes, so we say something before.
const KEEP_ALIVE: Duration = Duration::from_secs(110);
/// After handshakes, rTorrent 0.9.8 leaves what arrived together with an encrypted one unread until something else comes. Where
/// both sides have been silent for so long since, we say something.
const NUDGE: Duration = Duration::from_secs(3);
/// Without a useful peer for so long we ask for others, and not more often.
const HUNGRY: Duration = Duration::from_secs(30);
const HURRY: Duration = Duration::from_secs(60);

impl Torrent {
    /// When to call `handle` with [`super::Input::Tick`] if nothing happens before. An idle torrent has no deadline.
    pub fn deadline(&self) -> Option<Moment> {
        let tick = (!self.sessions.is_empty() || self.is_hungry()).then_some(self.next_tick);
        let dial = self.dialer.due().filter(|_| self.may_dial());
        tick.into_iter().chain(dial).min()
    }

    pub(super) fn tick(&mut self, now: Moment, rng: &mut impl Rng) {
        self.next_tick = now + TICK;
        let peers: Vec<PeerKey> = self.sessions.keys().copied().collect();
        for peer in &peers {
            self.look_after(now, *peer, rng);
        }
        self.fetch_metadata(now);
        self.fetch_layers(now);
        self.share_out(now);
        self.hurry_owners(now, rng);
        self.turn_over(now);
        self.refill_all(now, rng);
        self.offer_all(now, rng);
        self.choke_round(now, rng);
        self.ask_for_peers(now);
    }

    fn look_after(&mut self, now: Moment, peer: PeerKey, rng: &mut impl Rng) {
        let Some(session) = self.sessions.get_mut(&peer) else {
            return;
        };
        let silence = now.since(session.heard);
        if !session.is_web() && silence >= self.settings.silence_max {
            self.dismiss(now, peer, Why::Silent(silence.as_secs()), rng);
            return;
        }
        let silent_since_greeting = now.since(session.connected) >= NUDGE
            && session.said.since(session.connected) < NUDGE
            && session.heard.since(session.connected) < NUDGE;
        if now.since(session.said) >= KEEP_ALIVE || silent_since_greeting {
            self.send(now, peer, Message::KeepAlive);
        }
        self.snub(now, peer);
    }

    fn ask_for_peers(&mut self, now: Moment) {
        let lately = self.hurried.is_some_and(|hurried| now.since(hurried) < HURRY);
        if self.is_hungry() && !lately && now.since(self.supplied) >= HUNGRY {
            self.hurried = Some(now);
            self.push(Output::WantPeers);
        }
    }
}
