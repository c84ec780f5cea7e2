//! Web seeds: four other clients download v1 torrents (libtorrent a hybrid as well) from our seeder over HTTP alone, and our `get`
//! downloads v1, v2 and hybrid torrents from nginx. Nobody else's download of a torrent of v2 alone is tested: libtorrent 2.0.8 fails
//! at nginx too, by pieces that reach over the end of a file.

use std::fs;
use std::path::Path;

use tests::rig::{Host, Program, Running, Stream, ask_until, digests, fill_folder};

use crate::clients::{Client, Source};
use crate::scene::{LIMIT, Scene, check_same};

/// The port of web servers: each has a host to itself.
const PORT: u16 = 8_080;

/// A folder with names that need to be encoded, and its torrent: no tracker, no peers, but these web seeds.
fn torrent(scene: &Scene, kind: &str, urls: &[String]) -> std::path::PathBuf {
    let content = scene.place("content/50% off #1 & more");
    if !content.exists() {
        fill_folder(
            &content,
            3,
            &[3_000_000, 100_000, 1, 2_000_000, 0, 16_384, 70_000],
        );
    }
    let file = scene.place("web.torrent");
    let _ = fs::remove_file(&file);
    Program::seeder()
        .arg("create")
        .arg(&content)
        .args([kind, "--output"])
        .arg(&file)
        .args(urls.iter().flat_map(|url| ["--web-seed", url]))
        .run(LIMIT)
        .succeeded();
    file
}

/// Our seeder on a host of its own, and its URL.
fn we_serve(scene: &Scene, torrent: &Path) -> (Running, String) {
    let host = scene.host();
    let seed = Program::seeder()
        .arg("seed")
        .arg(torrent)
        .arg("--content")
        .arg(scene.place("content"))
        .args([
            "--listen",
            "127.0.0.1:0",
            "--json",
            "--web-seed",
            &format!("{}:{PORT}", host.ipv4()),
        ])
        .arg("--data")
        .arg(scene.place("seed-state"))
        .on(&host)
        .start();
    let facts = Program::seeder()
        .args(["inspect", "--json"])
        .arg(torrent)
        .run(LIMIT)
        .succeeded()
        .json();
    let hash = facts["info_hash_v1"]
        .as_str()
        .or(facts["info_hash_v2"].as_str())
        .unwrap();
    let hash: String = hash.chars().take(40).collect();
    seed.wait_for(Stream::Out, LIMIT, |line| {
        line.contains("\"checked\"").then_some(())
    });
    (seed, format!("http://{}:{PORT}/webseed/{hash}/", host.ipv4()))
}

#[track_caller]
fn leeches_from_our_web_seed(client: Client, kind: &str) {
    let scene = Scene::new();
    let (seed, url) = we_serve(&scene, &torrent(&scene, kind, &[]));
    let source = Source::File(torrent(&scene, kind, &[url]));
    let into = scene.place("into");
    let mut peer = scene.they_leech(client, &source, &into);
    peer.wait_until_done(LIMIT);
    let content = scene.place("content/50% off #1 & more");
    check_same(
        client,
        &digests(&content),
        &digests(&into.join("50% off #1 & more")),
    );
    drop(seed);
}

#[test]
fn libtorrent_downloads_from_our_web_seed_alone() {
    leeches_from_our_web_seed(Client::Libtorrent, "--v1");
}

#[test]
fn libtorrent_downloads_a_hybrid_from_our_web_seed_alone() {
    leeches_from_our_web_seed(Client::Libtorrent, "--hybrid");
}

#[test]
fn aria2_downloads_from_our_web_seed_alone() {
    leeches_from_our_web_seed(Client::Aria2, "--v1");
}

#[test]
fn qbittorrent_downloads_from_our_web_seed_alone() {
    leeches_from_our_web_seed(Client::QBittorrent, "--v1");
}

#[test]
fn transmission_downloads_from_our_web_seed_alone() {
    leeches_from_our_web_seed(Client::Transmission, "--v1");
}

/// nginx on a host of its own, with `root` below `/pub/` and a way there through a redirect.
fn nginx(scene: &Scene, host: &Host) -> Running {
    let folder = scene.place("nginx");
    fs::create_dir_all(&folder).unwrap();
    let address = format!("{}:{PORT}", host.ipv4());
    let configuration = format!(
        "daemon off; master_process off; user root; pid {0}/nginx.pid; error_log stderr info; events {{ }}\n\
         http {{ access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/f;\n\
         uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
         server {{ listen {address}; location /pub/ {{ alias {1}/; }}\n\
         location /old/ {{ if ($request_uri ~ ^/old/(.*)$) {{ return 301 /pub/$1; }} }} }} }}\n",
        folder.display(),
        scene.place("content").display(),
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration).unwrap();
    let running = Program::named("/usr/sbin/nginx")
        .called("nginx")
        .arg("-c")
        .arg(&file)
        .arg("-p")
        .arg(&folder)
        .on(host)
        .start();
    ask_until("nginx", LIMIT, || {
        host.inside(|| std::net::TcpStream::connect(&address).ok())
    });
    running
}

#[track_caller]
fn get_from_nginx(kind: &str, place: &str) {
    let scene = Scene::new();
    let host = scene.host();
    let url = format!("http://{}:{PORT}/{place}/", host.ipv4());
    let file = torrent(&scene, kind, &[url]);
    let running = nginx(&scene, &host);
    let into = scene.place("into");
    scene.we_get(&Source::File(file), &into);
    let content = scene.place("content/50% off #1 & more");
    assert_eq!(digests(&content), digests(&into.join("50% off #1 & more")));
    drop(running);
}

#[test]
fn our_get_downloads_from_nginx_alone() {
    get_from_nginx("--v1", "pub");
}

#[test]
fn our_get_downloads_a_hybrid_from_nginx_alone() {
    get_from_nginx("--hybrid", "pub");
}

#[test]
fn our_get_follows_the_redirects_of_nginx() {
    get_from_nginx("--v2", "old");
}
