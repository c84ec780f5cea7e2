//! The peer wire protocol: handshake, core messages (BEP 3) and the fast extension (BEP 6).
