//! By which address peers see us: what they say in their extension handshakes (`yourip`), believed once two of them agree.
//! It decides nothing but the order in which peers are called and kept (BEP 40).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::events::Identity;
use super::priority::priority;

/// Our address in one family.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Who said something else last, and what.
    rumour: Option<(IpAddr, IpAddr)>,
    agreed: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Outward {
    /// IPv4 and IPv6.
    seen: [Seen; 2],
    /// Stands in for our address until it is known, so that not everyone who does not know its own ranks alike.
    stand_in: Ipv6Addr,
    port: u16,
}

impl Outward {
    pub(super) fn new(identity: &Identity) -> Self {
        let id = identity.peer_id.0;
        Self {
            seen: [Seen::default(); 2],
            stand_in: Ipv6Addr::from(id.last_chunk::<16>().copied().unwrap_or_default()),
            port: identity.listen_port,
        }
    }

    /// This peer says that it sees us at this address.
    pub(super) fn heard(&mut self, by: IpAddr, address: IpAddr) {
        let address = address.to_canonical();
        let [v4, v6] = &mut self.seen;
        let (seen, is_public) = match address {
            IpAddr::V4(ip) => (
                v4,
                !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified()),
            ),
            IpAddr::V6(ip) => (
                v6,
                !(ip.is_unique_local()
                    || ip.is_loopback()
                    || ip.is_unicast_link_local()
                    || ip.is_unspecified()),
            ),
        };
        if !is_public || seen.agreed == Some(address) {
            return;
        }
        match seen.rumour {
            Some((other, said)) if said == address && other != by => seen.agreed = Some(address),
            Some((other, _)) if other == by => (),
            _ => seen.rumour = Some((by, address)),
        }
    }

    /// How much this peer and we should want each other.
    pub(super) fn priority(&self, theirs: SocketAddr) -> u32 {
        let [v4, v6] = self.seen.map(|seen| seen.agreed);
        let known = if theirs.ip().to_canonical().is_ipv4() {
            v4
        } else {
            v6
        };
        let ours = known.unwrap_or(self.stand_in.into());
        priority(SocketAddr::new(ours, self.port), theirs)
    }
}

#[cfg(test)]
mod tests {
    use shared::id::{InfoHash, PeerId};

    use super::*;

    #[test]
    fn our_address_is_believed_when_two_peers_agree() {
        let identity = Identity {
            info_hash: InfoHash([0; 20]),
            info_hash_v2: None,
            peer_id: PeerId([1; 20]),
            listen_port: 6_881,
        };
        let mut outward = Outward::new(&identity);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let theirs = SocketAddr::new(ip("98.76.54.32"), 1);
        let is_known = |outward: &Outward| outward.priority(theirs) == 0xec2d_7224;
        outward.heard(ip("9.9.9.9"), ip("123.213.32.10"));
        outward.heard(ip("9.9.9.9"), ip("123.213.32.10"));
        outward.heard(ip("10.0.0.2"), ip("10.0.0.1"));
        assert!(!is_known(&outward));
        outward.heard(ip("9.9.9.8"), ip("::ffff:123.213.32.10"));
        assert!(is_known(&outward));
        outward.heard(ip("9.9.9.7"), ip("5.5.5.5"));
        assert!(is_known(&outward));
    }
}
