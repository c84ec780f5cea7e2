//! Peers in compact form: 6 bytes for IPv4 (BEP 23), 18 for IPv6 (BEP 7).
