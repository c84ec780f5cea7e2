//! Encrypted connections alone, on one side: the other side's clients follow.

use crate::clients::{Client, Source};
use crate::scene::{Insists, Scene, Torrent, leeches, seeds};

#[track_caller]
fn from_us(insists: Insists, client: Client, source: fn(&Torrent) -> Source) {
    let scene = Scene::where_insists(insists);
    leeches(&scene, client, &scene.photographs("--v1"), source);
}

#[track_caller]
fn to_us(insists: Insists, client: Client, source: fn(&Torrent) -> Source) {
    let scene = Scene::where_insists(insists);
    seeds(&scene, client, &scene.photographs("--v1"), source);
}

/// They insist, and download from our seeder.
#[track_caller]
fn leeches_behind_rc4(client: Client) {
    from_us(Insists::They, client, Torrent::as_file);
}

/// They insist, and seed for our `get`.
#[track_caller]
fn seeds_behind_rc4(client: Client) {
    to_us(Insists::They, client, Torrent::as_file);
}

/// We insist, and seed for them.
#[track_caller]
fn leeches_where_we_insist(client: Client) {
    from_us(Insists::We, client, Torrent::as_magnet);
}

/// We insist, and download from them.
#[track_caller]
fn seeds_where_we_insist(client: Client) {
    to_us(Insists::We, client, Torrent::as_magnet);
}

#[test]
fn libtorrent_leeches_behind_rc4() {
    leeches_behind_rc4(Client::Libtorrent);
}

#[test]
fn libtorrent_seeds_behind_rc4() {
    seeds_behind_rc4(Client::Libtorrent);
}

#[test]
fn libtorrent_leeches_where_we_insist() {
    leeches_where_we_insist(Client::Libtorrent);
}

#[test]
fn libtorrent_seeds_where_we_insist() {
    seeds_where_we_insist(Client::Libtorrent);
}

#[test]
fn transmission_leeches_behind_rc4() {
    leeches_behind_rc4(Client::Transmission);
}

#[test]
fn transmission_seeds_behind_rc4() {
    seeds_behind_rc4(Client::Transmission);
}

#[test]
fn transmission_leeches_where_we_insist() {
    leeches_where_we_insist(Client::Transmission);
}

#[test]
fn transmission_seeds_where_we_insist() {
    seeds_where_we_insist(Client::Transmission);
}

#[test]
fn aria2_leeches_behind_rc4() {
    leeches_behind_rc4(Client::Aria2);
}

#[test]
fn aria2_seeds_behind_rc4() {
    seeds_behind_rc4(Client::Aria2);
}

#[test]
fn aria2_leeches_where_we_insist() {
    leeches_where_we_insist(Client::Aria2);
}

#[test]
fn aria2_seeds_where_we_insist() {
    seeds_where_we_insist(Client::Aria2);
}

#[test]
fn qbittorrent_leeches_behind_rc4() {
    leeches_behind_rc4(Client::QBittorrent);
}

#[test]
fn qbittorrent_seeds_behind_rc4() {
    seeds_behind_rc4(Client::QBittorrent);
}

#[test]
fn qbittorrent_leeches_where_we_insist() {
    leeches_where_we_insist(Client::QBittorrent);
}

#[test]
fn qbittorrent_seeds_where_we_insist() {
    seeds_where_we_insist(Client::QBittorrent);
}

#[test]
fn rtorrent_leeches_behind_rc4() {
    leeches_behind_rc4(Client::RTorrent);
}

#[test]
fn rtorrent_seeds_behind_rc4() {
    seeds_behind_rc4(Client::RTorrent);
}

#[test]
fn rtorrent_leeches_where_we_insist() {
    leeches_where_we_insist(Client::RTorrent);
}

#[test]
fn rtorrent_seeds_where_we_insist() {
    seeds_where_we_insist(Client::RTorrent);
}
