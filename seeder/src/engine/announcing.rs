//! What trackers are told of torrents, and what they answer.

use std::sync::Arc;

use super::api::{Event, TorrentKey};
use super::entry::State;
use super::table::Table;
use crate::discovery::trackers::{Outcome, Swarm, TrackerEvent};
use crate::driver::Command;

/// A tracker's words are a stranger's: so many of their characters are kept.
const COMPLAINT_MAX: usize = 200;

impl Table {
    pub(super) async fn announce(&mut self, key: TorrentKey) {
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        let (spec, tiers) = (&entry.spec, entry.spec.trackers());
        if entry.announced || tiers.is_empty() || matches!(entry.state, State::Broken(_)) {
            return;
        }
        entry.announced = true;
        let swarm = Swarm {
            key,
            info_hashes: spec.info_hashes(),
            tiers,
            counters: Arc::clone(&spec.counters),
        };
        self.shared.trackers.add(swarm).await;
    }

    /// Says goodbye to the trackers.
    pub(super) async fn silence(&mut self, key: TorrentKey) {
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        entry.complaint = None;
        if std::mem::take(&mut entry.announced) {
            self.shared.trackers.remove(key).await;
        }
    }

    pub(super) fn hear_tracker(&mut self, TrackerEvent { key, url, result, .. }: TrackerEvent) {
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        let url = url.to_string();
        match result {
            Outcome::Failed { reason } => {
                if entry.announced {
                    let words: String = reason.chars().take(COMPLAINT_MAX).collect();
                    entry.complaint = Some(words.into());
                }
                self.shared.event(Event::TrackerFailed { key, url, reason });
            }
            Outcome::Answered {
                event,
                peers,
                seeders,
                leechers,
                warning,
                ..
            } => {
                entry.complaint = None;
                let told = peers.len();
                let asleep = matches!(entry.state, State::Asleep(_));
                self.shared.event(Event::TrackerAnswered {
                    key,
                    url,
                    event,
                    seeders,
                    leechers,
                    peers: told,
                    warning,
                });
                // Seeders have no use for each other: nobody is woken for a swarm without leechers.
                if told > 0 && !(asleep && leechers == Some(0)) {
                    self.command(key, Command::Peers(peers));
                }
            }
        }
    }
}
