//! Who else has everything: facts for the goal of enough copies.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use shared::moment::Moment;

use super::events::{Direction, Output, PeerKey};
use super::machine::Torrent;

/// An address is told of once in this time.
const AGAIN: Duration = Duration::from_secs(3_600);
/// Addresses of this hour that are remembered; of more, nothing is told.
const TOLD_MAX: usize = 1_024;

/// Where complete peers were told of lately.
#[derive(Debug, Default)]
pub(super) struct CopiesTold(BTreeMap<IpAddr, Moment>);

impl CopiesTold {
    /// Says whether this is news.
    fn tell(&mut self, now: Moment, address: IpAddr) -> bool {
        let is_old = |told: &Moment| now.since(*told) >= AGAIN;
        if self.0.get(&address).is_some_and(|told| !is_old(told)) {
            return false;
        }
        if self.0.len() >= TOLD_MAX {
            self.0.retain(|_, told| !is_old(told));
        }
        let room = self.0.len() < TOLD_MAX;
        if room {
            self.0.insert(address, now);
        }
        room
    }
}

impl Torrent {
    /// Tells of a peer that has everything. A web seed is no copy that outlives its server's owner.
    pub(super) fn note_copy(&mut self, now: Moment, peer: PeerKey) {
        let complete = self
            .sessions
            .get(&peer)
            .filter(|session| session.has_everything());
        let address = complete
            .filter(|session| !matches!(session.direction, Direction::Web(_)))
            .map(|session| session.address.ip().to_canonical());
        if let Some(address) = address
            && self.copies.tell(now, address)
        {
            self.push(Output::CopySeen { address });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        [203, 0, high, low].into()
    }

    #[test]
    fn an_address_is_told_once_an_hour_and_the_list_is_bounded() {
        let at = Moment::from_secs;
        let mut told = CopiesTold::default();
        assert!(told.tell(at(0), ip(0)));
        assert!(!told.tell(at(3_599), ip(0)));
        assert!(told.tell(at(3_600), ip(0)));
        let news = (1..2_000).filter(|number| told.tell(at(3_601), ip(*number)));
        assert_eq!(news.count(), 1_023);
        assert!(told.tell(at(9_000), ip(1_999)));
        assert_eq!(told.0.len(), 1);
    }
}
