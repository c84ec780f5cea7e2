//! Addresses that nobody in the process speaks to, for a while.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::moment::Moment;

use crate::net::places::source;

/// Long enough to make rudeness unprofitable, short enough for a family behind one address to get over it.
const BAN_TIME: Duration = Duration::from_secs(3600);

/// The banned addresses, the first to be free again forgotten first when there are too many. A household with IPv6 counts as
/// one; at home nobody is held by his address, since a bridge or a proxy there speaks for many: such a one is let go, and the
/// torrent that he lied to remembers him.
#[derive(Debug)]
pub(super) struct Bans {
    limit: usize,
    until: Mutex<BTreeMap<IpAddr, Moment>>,
}

impl Bans {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            until: Mutex::default(),
        }
    }

    pub(super) fn ban(&self, address: IpAddr, now: Moment) {
        let Some(source) = source(address) else {
            return;
        };
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.insert(source, now + BAN_TIME);
        while until.len() > self.limit {
            let first = until
                .iter()
                .min_by_key(|(_, until)| **until)
                .map(|(address, _)| *address);
            let Some(first) = first else { break };
            until.remove(&first);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.until.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(super) fn is_banned(&self, address: IpAddr, now: Moment) -> bool {
        let Some(source) = source(address) else {
            return false;
        };
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let banned = until.get(&source).is_some_and(|until| now < *until);
        if !banned {
            until.remove(&source);
        }
        banned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_ends_and_the_list_stays_short() {
        let bans = Bans::new(2);
        let address = |last| IpAddr::from([203, 0, 113, last]);
        for second in 1..=3_u8 {
            bans.ban(address(second), Moment::from_secs(second.into()));
        }
        let now = Moment::from_secs(4);
        assert_eq!(
            [1, 2, 3].map(|last| bans.is_banned(address(last), now)),
            [false, true, true]
        );
        assert!(!bans.is_banned(address(2), now + BAN_TIME));
    }

    #[test]
    fn a_household_is_banned_as_one_and_home_not_at_all() {
        let (bans, now) = (Bans::new(9), Moment::from_secs(1));
        let banned = |address: &str| bans.is_banned(address.parse().unwrap(), now);
        for address in ["2001:db8::1", "192.168.1.4", "172.17.0.1", "fd00::1"] {
            bans.ban(address.parse().unwrap(), now);
        }
        assert!(banned("2001:db8::2") && !banned("2001:db8:0:1::1"));
        assert!(!banned("192.168.1.4") && !banned("172.17.0.1") && !banned("fd00::1"));
    }
}
