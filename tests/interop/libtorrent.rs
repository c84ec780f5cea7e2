//! libtorrent 2: Deluge, qBittorrent and many others stand on it.

use crate::clients::Client;
use crate::scene::{Scene, Torrent, leeches, leeches_from_us, seeds, seeds_for_our_get};

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

/// More pieces than one message has hashes: the layer comes in parts, each with a proof.
#[track_caller]
fn film(scene: &Scene) -> Torrent {
    let content = scene.place("content/Film");
    tests::rig::fill_folder(&content, 9, &[19_000_000, 40_000]);
    scene.torrent_with(&content, &["--v2", "--piece-length", "32KiB"])
}

#[test]
fn leeches_a_layer_in_parts_from_us_by_magnet() {
    let scene = Scene::new();
    leeches(&scene, Client::Libtorrent, &film(&scene), Torrent::as_magnet);
}

#[test]
fn seeds_a_layer_in_parts_for_our_get_by_magnet() {
    let scene = Scene::new();
    seeds(&scene, Client::Libtorrent, &film(&scene), Torrent::as_magnet);
}
