//! One task owns one active torrent: the only loop that feeds its machine. It decides nothing.
