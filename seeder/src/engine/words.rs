//! Plain words for what torrents, peers and trackers are at.

use super::view::{Calling, Transport};
use crate::discovery::trackers::TrackerReport;
use crate::torrent::{Direction, PeerFacts, PieceState, Status};

/// What a peer is at.
pub(super) fn peer(facts: &PeerFacts) -> &'static str {
    if facts.snubbed {
        "owes us blocks and sends none"
    } else if facts.requests_out > 0 || facts.download_rate > 0 {
        "gives us blocks"
    } else if facts.we_are_interested && facts.chokes_us {
        "has what we miss, and lets us wait"
    } else if facts.requests_in > 0 || facts.upload_rate > 0 {
        "takes blocks from us"
    } else if facts.is_interested && facts.we_choke {
        "waits for one of our slots"
    } else if facts.is_interested {
        "may ask us for blocks"
    } else {
        "neither side wants anything at the moment"
    }
}

/// Who called whom, over what.
pub(super) fn direction(direction: Direction) -> (Calling, Transport) {
    match direction {
        Direction::Incoming => (Calling::Incoming, Transport::Tcp),
        Direction::Outgoing => (Calling::Outgoing, Transport::Tcp),
        Direction::Web(_) => (Calling::WebSeed, Transport::Http),
    }
}

/// How a tracker stands.
pub(super) fn tracker(report: &TrackerReport) -> String {
    let state = &report.state;
    match &report.words {
        _ if state.asked_now => "asked now".to_owned(),
        Some(words) if state.failures > 0 => format!("failed: {words}"),
        Some(words) => format!("works, and says: {words}"),
        None if state.failures > 0 => "failed".to_owned(),
        None if state.last.is_some() => "works".to_owned(),
        None => "not asked yet".to_owned(),
    }
}

/// Why a torrent that misses something gets nothing; nothing of one that gets or needs nothing.
pub(crate) fn waiting(
    status: &Status,
    disk: Option<&str>,
    peers: &[PeerFacts],
    pieces: impl FnOnce() -> (Vec<PieceState>, Vec<u16>),
) -> Option<String> {
    if let Some(disk) = disk {
        return Some(format!("waiting for the disk: {disk}"));
    }
    if !status.metadata {
        return Some(match peers.len() {
            0 => "nobody is connected who could have the metadata".to_owned(),
            1 => "the peer has not given the metadata yet".to_owned(),
            count => format!("none of the {count} peers has given the metadata yet"),
        });
    }
    if status.left_count == 0 || status.download_rate > 0 {
        return None;
    }
    if peers.is_empty() {
        return Some(match status.addresses {
            0 => "nobody is known who has it; the trackers are asked again".to_owned(),
            _ => "nobody is connected; those who are known are called".to_owned(),
        });
    }
    if peers.iter().all(|peer| !peer.we_are_interested) {
        return Some(nobody_has(pieces()));
    }
    let choking = peers
        .iter()
        .filter(|peer| peer.we_are_interested && peer.chokes_us)
        .count();
    let useful = peers.iter().filter(|peer| peer.we_are_interested).count();
    if choking == useful {
        return Some(match useful {
            1 => "choked by the one peer that has what is missing".to_owned(),
            count => format!("choked by all {count} peers that have what is missing"),
        });
    }
    if peers
        .iter()
        .filter(|peer| !peer.chokes_us && peer.we_are_interested)
        .all(|peer| peer.snubbed)
    {
        return Some("the peers that could give it send nothing".to_owned());
    }
    None
}

fn nobody_has((states, availability): (Vec<PieceState>, Vec<u16>)) -> String {
    let missing = states
        .iter()
        .zip(availability)
        .filter(|(state, peers)| matches!(state, PieceState::Missing | PieceState::Begun) && *peers == 0)
        .count();
    match missing {
        0 => "no peer has what is missing".to_owned(),
        1 => "no peer has the missing piece".to_owned(),
        count => format!("no peer has the missing {count} pieces"),
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use crate::torrent::PeerKey;

    fn peer_that(change: impl FnOnce(&mut PeerFacts)) -> PeerFacts {
        let mut facts = PeerFacts {
            peer: PeerKey(1),
            address: "127.0.0.1:1".parse().unwrap(),
            direction: Direction::Outgoing,
            client: None,
            have: 0.0,
            downloaded: 0,
            uploaded: 0,
            download_rate: 0,
            upload_rate: 0,
            we_are_interested: true,
            is_interested: false,
            chokes_us: true,
            we_choke: true,
            snubbed: false,
            requests_in: 0,
            requests_out: 0,
        };
        change(&mut facts);
        facts
    }

    #[track_caller]
    fn check(peers: &[PeerFacts], disk: Option<&str>, expected: &str) {
        let status = Status {
            metadata: true,
            left_count: 2,
            ..Status::default()
        };
        let pieces = || {
            (
                vec![PieceState::Verified, PieceState::Missing, PieceState::Missing],
                vec![0, 0, 0],
            )
        };
        let why = waiting(&status, disk, peers, pieces);
        assert_eq!(why.unwrap_or_default(), expected);
    }

    #[test]
    fn a_torrent_that_waits_says_for_whom() {
        let choking = peer_that(|_| ());
        let useless = peer_that(|peer| peer.we_are_interested = false);
        let silent = peer_that(|peer| (peer.chokes_us, peer.snubbed) = (false, true));
        let open = peer_that(|peer| peer.chokes_us = false);
        check(
            &[],
            None,
            "nobody is known who has it; the trackers are asked again",
        );
        check(
            slice::from_ref(&useless),
            None,
            "no peer has the missing 2 pieces",
        );
        check(
            &[choking.clone(), useless],
            None,
            "choked by the one peer that has what is missing",
        );
        let three = [choking.clone(), choking.clone(), choking.clone()];
        check(&three, None, "choked by all 3 peers that have what is missing");
        check(
            &[choking, silent],
            None,
            "the peers that could give it send nothing",
        );
        check(slice::from_ref(&open), None, "");
        check(
            &[open],
            Some("/a: no space left"),
            "waiting for the disk: /a: no space left",
        );
    }
}
