//! What happens to torrents, as lines of JSON for scripts. More may be added beside it, nothing is renamed.

use serde_json::{Value, json};

use crate::engine::{Event, TorrentKey};

/// The torrent that an event is about.
pub fn key_of(event: &Event) -> TorrentKey {
    event.key()
}

/// The line for an event, if it has one: a piece is too small a matter, and the end has a line of its own.
pub fn line(event: &Event, info_hash: &str) -> Option<Value> {
    let mut line = facts(event)?;
    if let Some(object) = line.as_object_mut() {
        object.insert("info_hash".to_owned(), info_hash.into());
    }
    Some(line)
}

fn facts(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Metadata { info, .. } => json!({
            "event": "metadata",
            "name": info.name(),
            "content_size": info.content_size(),
        }),
        Event::Refused { reason, .. } => json!({ "event": "refused", "reason": reason }),
        Event::Checked { have, of, .. } => json!({ "event": "checked", "have": have, "of": of }),
        Event::Progress { facts, .. } => json!({
            "event": "progress",
            "have_bytes": facts.have_bytes,
            "total_bytes": facts.total_bytes,
            "peers": facts.peers,
            "download_rate": facts.download_rate,
            "upload_rate": facts.upload_rate,
        }),
        Event::Banned { address, why, .. } => json!({ "event": "banned", "address": address, "why": why }),
        Event::WebSeedBanned { url, why, .. } => {
            json!({ "event": "web_seed_banned", "url": url, "why": why })
        }
        Event::WebSeedFailed { url, reason, .. } => {
            json!({ "event": "web_seed_failed", "url": url, "reason": reason })
        }
        Event::TrackerAnswered {
            url,
            seeders,
            leechers,
            peers,
            ..
        } => json!({
            "event": "tracker_answered",
            "url": url,
            "seeders": seeders,
            "leechers": leechers,
            "peers": peers,
        }),
        Event::TrackerFailed { url, reason, .. } => {
            json!({ "event": "tracker_failed", "url": url, "reason": reason })
        }
        Event::CannotServe { path, reason, .. } => {
            json!({ "event": "cannot_serve", "path": path, "reason": reason })
        }
        Event::DiskTrouble { path, reason, .. } => {
            json!({ "event": "disk_trouble", "path": path, "reason": reason })
        }
        Event::DiskRecovered { .. } => json!({ "event": "disk_recovered" }),
        Event::Added { name, .. } => json!({ "event": "added", "name": name }),
        Event::Removed { .. } => json!({ "event": "removed" }),
        Event::Changed { .. } => json!({ "event": "changed" }),
        Event::CheckProgress { done, of, .. } => json!({ "event": "check_progress", "done": done, "of": of }),
        Event::GoalReached { goal, .. } => json!({ "event": "goal_reached", "goal": goal }),
        Event::Lost {
            pieces, path, reason, ..
        } => json!({ "event": "lost", "pieces": pieces, "path": path, "reason": reason }),
        Event::PieceDone { .. } | Event::Finished { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_happened_and_to_which_torrent() {
        let key = TorrentKey(1);
        let failed = Event::TrackerFailed {
            key,
            url: "http://t/a".to_owned(),
            reason: "gone".to_owned(),
        };
        assert_eq!(
            line(&failed, "00ff"),
            Some(
                json!({ "event": "tracker_failed", "url": "http://t/a", "reason": "gone", "info_hash": "00ff" })
            )
        );
        assert_eq!(line(&Event::Finished { key }, "00ff"), None);
    }
}
