//! What the office, the books and the swarms receive of the settings.

use super::Config;
use crate::address::Base;
use crate::members::books::BooksSettings;
use crate::members::office::OfficeSettings;
use crate::swarm::SwarmLimits;

impl Config {
    /// What the office needs to know; the base stands before `/{passkey}/announce`.
    pub fn office(&self, base: Base) -> OfficeSettings {
        let (members, torrents, accounts) = (&self.members, &self.torrents, &self.accounts);
        OfficeSettings {
            rotate_grace: members.rotate_grace,
            networks_alarm: members.networks_alarm.map_or(u32::MAX, std::num::NonZero::get),
            networks_window: members.networks_age,
            open: torrents.open,
            require_private: torrents.require_private,
            source: torrents.source.clone().unwrap_or_default(),
            removed_for: torrents.removed_age,
            tariff: accounts.tariff,
            tariff_until: accounts.tariff_until,
            announce_base: base.url,
            announce_guessed: base.guessed,
        }
    }

    /// What swarms may hold.
    pub fn swarm_limits(&self) -> SwarmLimits {
        SwarmLimits {
            peers_per_swarm: self.limits.peers_per_swarm,
            swarms: self.limits.swarms,
            peers: self.limits.peers,
            peers_per_member: self.members.peers_per_torrent,
            ..SwarmLimits::default()
        }
    }

    /// How often the books are written.
    pub fn books(&self) -> BooksSettings {
        BooksSettings {
            flush_every: self.accounts.flush,
            snapshot_every: self.snapshot,
        }
    }
}
