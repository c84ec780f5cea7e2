//! libtorrent 2: Deluge, qBittorrent and many others stand on it.

use crate::clients::Client;
use crate::scene::{Torrent, leeches_from_us, seeds_for_our_get};

#[test]
fn leeches_from_us_by_torrent_file() {
    leeches_from_us(Client::Libtorrent, "--v1", Torrent::as_file);
}

#[test]
fn leeches_from_us_by_magnet() {
    leeches_from_us(Client::Libtorrent, "--v1", Torrent::as_magnet);
}

#[test]
fn seeds_for_our_get_by_torrent_file() {
    seeds_for_our_get(Client::Libtorrent, "--v1", Torrent::as_file);
}

#[test]
fn seeds_for_our_get_by_magnet() {
    seeds_for_our_get(Client::Libtorrent, "--v1", Torrent::as_magnet);
}

#[test]
fn leeches_a_hybrid_from_us_by_torrent_file() {
    leeches_from_us(Client::Libtorrent, "--hybrid", Torrent::as_file);
}

#[test]
fn leeches_a_hybrid_from_us_by_magnet() {
    leeches_from_us(Client::Libtorrent, "--hybrid", Torrent::as_magnet);
}

#[test]
fn seeds_a_hybrid_for_our_get_by_torrent_file() {
    seeds_for_our_get(Client::Libtorrent, "--hybrid", Torrent::as_file);
}

#[test]
fn seeds_a_hybrid_for_our_get_by_magnet() {
    seeds_for_our_get(Client::Libtorrent, "--hybrid", Torrent::as_magnet);
}

#[test]
fn leeches_a_v2_torrent_from_us_by_torrent_file() {
    leeches_from_us(Client::Libtorrent, "--v2", Torrent::as_file);
}

#[test]
fn seeds_a_v2_torrent_for_our_get_by_torrent_file() {
    seeds_for_our_get(Client::Libtorrent, "--v2", Torrent::as_file);
}

/// The metadata of a v2 link lack the piece layers: they are asked for, and given, hash by hash.
#[test]
fn leeches_a_v2_torrent_from_us_by_magnet() {
    leeches_from_us(Client::Libtorrent, "--v2", Torrent::as_magnet);
}

#[test]
fn seeds_a_v2_torrent_for_our_get_by_magnet() {
    seeds_for_our_get(Client::Libtorrent, "--v2", Torrent::as_magnet);
}
