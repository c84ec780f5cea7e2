//! aria2 1.36. It computes a wrong info-hash for hybrid torrents.

use crate::clients::Client;
use crate::scene::{Torrent, leeches_from_us, seeds_for_our_get};

#[test]
fn leeches_from_us_by_torrent_file() {
    leeches_from_us(Client::Aria2, "--v1", Torrent::as_file);
}

#[test]
fn leeches_from_us_by_magnet() {
    leeches_from_us(Client::Aria2, "--v1", Torrent::as_magnet);
}

#[test]
fn seeds_for_our_get_by_torrent_file() {
    seeds_for_our_get(Client::Aria2, "--v1", Torrent::as_file);
}

#[test]
fn seeds_for_our_get_by_magnet() {
    seeds_for_our_get(Client::Aria2, "--v1", Torrent::as_magnet);
}
