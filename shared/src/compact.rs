//! Peers as six bytes (BEP 23) or eighteen (BEP 7): the address, then the port, big-endian.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The length of an IPv4 peer.
pub const LENGTH_V4: usize = 6;
/// The length of an IPv6 peer.
pub const LENGTH_V6: usize = 18;

/// An IPv4 peer on the wire.
pub fn encode_v4(ip: Ipv4Addr, port: u16) -> [u8; LENGTH_V4] {
    let ([a, b, c, d], [high, low]) = (ip.octets(), port.to_be_bytes());
    [a, b, c, d, high, low]
}

/// An IPv6 peer on the wire.
pub fn encode_v6(ip: Ipv6Addr, port: u16) -> [u8; LENGTH_V6] {
    let mut bytes = [0; LENGTH_V6];
    let source = ip.octets().into_iter().chain(port.to_be_bytes());
    for (place, byte) in bytes.iter_mut().zip(source) {
        *place = byte;
    }
    bytes
}

/// Appends a peer of either family.
pub fn write(peer: SocketAddr, out: &mut Vec<u8>) {
    match peer.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&encode_v4(ip, peer.port())),
        IpAddr::V6(ip) => out.extend_from_slice(&encode_v6(ip, peer.port())),
    }
}

/// One IPv4 peer from the wire.
pub fn decode_v4(bytes: [u8; LENGTH_V4]) -> SocketAddrV4 {
    let [a, b, c, d, high, low] = bytes;
    SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))
}

/// One IPv6 peer from the wire.
pub fn decode_v6(bytes: [u8; LENGTH_V6]) -> SocketAddrV6 {
    let [ip @ .., high, low] = bytes;
    SocketAddrV6::new(Ipv6Addr::from(ip), u16::from_be_bytes([high, low]), 0, 0)
}

/// All IPv4 peers of a list. Bytes behind the last whole peer are passed over.
pub fn peers_v4(bytes: &[u8]) -> impl Iterator<Item = SocketAddrV4> {
    bytes.as_chunks().0.iter().copied().map(decode_v4)
}

/// All IPv6 peers of a list. Bytes behind the last whole peer are passed over.
pub fn peers_v6(bytes: &[u8]) -> impl Iterator<Item = SocketAddrV6> {
    bytes.as_chunks().0.iter().copied().map(decode_v6)
}

/// Can one connect to it at all? Peer lists come from strangers.
pub fn can_be_dialled(peer: &SocketAddr) -> bool {
    let ip = peer.ip();
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    peer.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_peer_is_its_address_and_port_in_network_order() {
        assert_eq!(
            encode_v4(Ipv4Addr::new(10, 0, 0, 9), 0x1AE1),
            [10, 0, 0, 9, 0x1A, 0xE1]
        );
        assert_eq!(
            encode_v6(Ipv6Addr::LOCALHOST, 1),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]
        );
    }

    #[test]
    fn a_cut_list_gives_its_whole_peers() {
        assert_eq!(
            peers_v4(&[1, 2, 3, 4, 0, 5, 9, 9]).collect::<Vec<_>>(),
            ["1.2.3.4:5".parse().unwrap()]
        );
        assert_eq!(peers_v6(&[0; 17]).count(), 0);
    }

    #[test]
    fn nobody_dials_nowhere() {
        for peer in [
            "0.0.0.0:1",
            "1.2.3.4:0",
            "224.0.0.1:5",
            "255.255.255.255:5",
            "[::]:5",
            "[ff02::1]:5",
        ] {
            assert!(!can_be_dialled(&peer.parse().unwrap()), "{peer}");
        }
        assert!(can_be_dialled(&"127.0.0.1:5".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn peers_survive_the_wire(peers: Vec<SocketAddr>) {
            let (mut v4, mut v6) = (Vec::new(), Vec::new());
            for peer in &peers {
                write(*peer, if peer.is_ipv4() { &mut v4 } else { &mut v6 });
            }
            let back: Vec<SocketAddr> = peers_v4(&v4).map(SocketAddr::V4).chain(peers_v6(&v6).map(SocketAddr::V6)).collect();
            let plain = |peer: &SocketAddr| SocketAddr::new(peer.ip(), peer.port());
            let mut expected: Vec<_> = peers.iter().map(plain).collect();
            expected.sort_by_key(SocketAddr::is_ipv6);
            prop_assert_eq!(back, expected);
        }
    }
}
