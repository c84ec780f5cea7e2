//! Addresses that nobody in the process speaks to, for a while.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::moment::Moment;

/// Long enough to make rudeness unprofitable, short enough for a family behind one address to get over it.
const BAN_TIME: Duration = Duration::from_secs(3600);

/// The banned addresses, the first to be free again forgotten first when there are too many.
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
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.insert(address, now + BAN_TIME);
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
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let banned = until.get(&address).is_some_and(|until| now < *until);
        if !banned {
            until.remove(&address);
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
        let address = |last| IpAddr::from([10, 0, 0, last]);
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
}
