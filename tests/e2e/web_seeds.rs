//! Downloads from web servers (BEP 19): honest ones, and such as lie, forget, break off, or lead elsewhere. And our own seeder as
//! such a server.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tests::fake_web_seed::{FakeWebSeed, Manner};
use tests::rig::{Finished, HttpAnswer, HttpRequest, Program, Running, Stream, digests, fill, fill_folder};

use crate::album::LIMIT;

/// A folder of files with difficult names, or a single file, and its torrent.
struct Shop {
    folder: TempDir,
    content: PathBuf,
}

impl Shop {
    fn of_photographs() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let content = folder.path().join("shop/50% off #1 & more?");
        fill_folder(
            &content,
            5,
            &[3_000_000, 100_000, 1, 2_000_000, 0, 16_384, 70_000],
        );
        Self { folder, content }
    }

    fn of_one_file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let content = folder.path().join("shop/a film.mkv");
        fill(&content, 6, 3_000_001);
        Self { folder, content }
    }

    /// What a web server would serve.
    fn root(&self) -> &Path {
        self.content.parent().unwrap()
    }

    fn server(&self, manner: Manner) -> FakeWebSeed {
        FakeWebSeed::start(self.root(), manner)
    }

    /// A torrent of it that names these web seeds.
    fn torrent(&self, words: &[&str], urls: &[String]) -> PathBuf {
        let torrent = self.folder.path().join("made.torrent");
        // `create` writes over nothing.
        let _ = fs::remove_file(&torrent);
        let seeds = urls.iter().flat_map(|url| ["--web-seed", url]);
        Program::seeder()
            .arg("create")
            .arg(&self.content)
            .arg("--output")
            .arg(&torrent)
            .args(words)
            .args(seeds)
            .run(LIMIT)
            .succeeded();
        torrent
    }

    fn into(&self) -> PathBuf {
        self.folder.path().join("into")
    }

    fn get(&self, source: &str) -> Program {
        Program::seeder()
            .args(["get", source, "--json", "--listen", "127.0.0.1:0"])
            .arg("--into")
            .arg(self.into())
            .arg("--data")
            .arg(self.folder.path().join("get-state"))
    }

    /// Downloads it from these web seeds alone, and compares.
    fn arrives(&self, words: &[&str], urls: &[String]) -> Finished {
        let torrent = self.torrent(words, urls);
        let got = self.get(&torrent.to_string_lossy()).run(LIMIT).succeeded();
        self.check();
        got
    }

    fn check(&self) {
        let arrived = self.into().join(self.content.file_name().unwrap());
        assert_eq!(digests(&self.content), digests(&arrived));
    }
}

fn said(got: &Finished, event: &str) -> Vec<Value> {
    let lines = got
        .stdout
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines.filter(|line: &Value| line["event"] == event).collect()
}

#[test]
fn a_folder_of_files_with_difficult_names_comes_from_a_web_server_alone() {
    for kind in ["--v1", "--hybrid", "--v2"] {
        let shop = Shop::of_photographs();
        let server = shop.server(Manner::Honest);
        shop.arrives(&[kind], &[server.url()]);
        let asked = server.asked();
        assert!(
            asked
                .iter()
                .all(|asked| asked.starts_with("/50%25%20off%20%231%20%26%20more%3F/"))
        );
        assert!(
            asked.len() < 40,
            "{kind}: many blocks are asked for at once: {asked:#?}"
        );
    }
}

#[test]
fn a_single_file_is_its_url_or_lies_below_it() {
    let shop = Shop::of_one_file();
    let server = shop.server(Manner::Honest);
    shop.arrives(&["--v1"], &[server.url()]);
    let shop = Shop::of_one_file();
    let server = shop.server(Manner::Honest);
    shop.arrives(&["--v1"], &[format!("{}a%20film.mkv", server.url())]);
}

#[test]
fn a_server_that_knows_no_ranges_is_read_through() {
    for shop in [Shop::of_photographs(), Shop::of_one_file()] {
        let server = shop.server(Manner::WithoutRanges);
        shop.arrives(&["--v1"], &[server.url()]);
    }
}

#[test]
fn a_server_that_breaks_off_or_is_busy_is_asked_again() {
    for manner in [Manner::BreaksOff(2), Manner::Busy(1)] {
        let shop = Shop::of_one_file();
        let server = shop.server(manner);
        let got = shop.arrives(&["--v1"], &[server.url()]);
        assert_eq!(said(&got, "web_seed_failed").len(), 1);
    }
}

#[test]
fn redirects_are_followed() {
    let shop = Shop::of_photographs();
    let server = shop.server(Manner::Honest);
    let front = shop.server(Manner::Redirects(server.url()));
    shop.arrives(&["--v1"], &[front.url()]);
    assert!(!server.asked().is_empty());
}

#[test]
fn a_web_seed_that_lies_is_banned_and_the_other_gives_it_all() {
    let shop = Shop::of_photographs();
    let (liar, honest) = (shop.server(Manner::Lies), shop.server(Manner::Honest));
    let got = shop.arrives(&["--v1", "--piece-length", "64KiB"], &[liar.url(), honest.url()]);
    let banned = said(&got, "web_seed_banned");
    let [ban] = &banned[..] else {
        panic!("{banned:?}");
    };
    assert_eq!(ban["url"], liar.url());
}

#[test]
fn a_file_that_one_server_lacks_comes_from_another() {
    let shop = Shop::of_photographs();
    let one = shop.server(Manner::Lacks("IMG_0000.jpg"));
    let other = shop.server(Manner::Lacks("IMG_0003.jpg"));
    shop.arrives(
        &["--hybrid", "--piece-length", "64KiB"],
        &[one.url(), other.url()],
    );
}

#[test]
fn a_page_of_words_is_not_taken_for_a_file() {
    let shop = Shop::of_photographs();
    let (apology, honest) = (shop.server(Manner::Apologises), shop.server(Manner::Honest));
    let got = shop.arrives(&["--v1"], &[apology.url(), honest.url()]);
    assert!(
        said(&got, "web_seed_banned").is_empty(),
        "nothing of it was taken"
    );
}

#[test]
fn a_magnet_names_web_seeds_and_a_peer_gives_the_metadata() {
    let shop = Shop::of_photographs();
    let server = shop.server(Manner::Honest);
    let torrent = shop.torrent(&["--v1"], &[]);
    let facts = Program::seeder()
        .args(["inspect", "--json"])
        .arg(&torrent)
        .run(LIMIT)
        .succeeded()
        .json();
    let seed = Program::seeder()
        .arg("seed")
        .arg(&torrent)
        .arg("--content")
        .arg(shop.root())
        // So slow that the rest has to come from elsewhere.
        .args(["--listen", "127.0.0.1:0", "--json", "--limit-up", "20k"])
        .arg("--data")
        .arg(shop.folder.path().join("seed-state"))
        .start();
    let peer = seed.wait_for_json("listen", LIMIT)["listen"][0]
        .as_str()
        .unwrap()
        .to_owned();
    let hash = facts["info_hash_v1"].as_str().unwrap();
    let server_url = server.url().replace(':', "%3A").replace('/', "%2F");
    let link = format!("magnet:?xt=urn:btih:{hash}&x.pe={peer}&ws={server_url}");
    shop.get(&link).run(LIMIT).succeeded();
    shop.check();
    assert!(!server.asked().is_empty());
}

#[test]
fn a_torrent_sends_nobody_into_the_local_network_with_a_query() {
    let shop = Shop::of_one_file();
    let server = shop.server(Manner::Honest);
    let torrent = shop.torrent(&["--v1"], &[format!("{}a%20film.mkv?delete=all", server.url())]);
    let get = shop.get(&torrent.to_string_lossy()).start();
    let words = get.wait_for(Stream::Out, LIMIT, |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["event"] == "web_seed_failed").then(|| line["reason"].to_string())
    });
    assert!(words.contains("local network"), "{words}");
    assert!(server.asked().is_empty());
}

/// Our own seeder as a web server.
struct Stall {
    seed: Running,
    address: SocketAddr,
    hash: String,
    info: Vec<String>,
}

impl Stall {
    /// Seeds what a shop has; `flags` are for `seed`, `words` for `create`.
    fn open(shop: &Shop, words: &[&str], flags: &[&str]) -> Self {
        let torrent = shop.torrent(words, &[]);
        let facts = Program::seeder()
            .args(["inspect", "--json"])
            .arg(&torrent)
            .run(LIMIT)
            .succeeded()
            .json();
        let seed = Program::seeder()
            .arg("seed")
            .arg(&torrent)
            .arg("--content")
            .arg(shop.root())
            .args(["--listen", "127.0.0.1:0", "--json", "--web-seed", "127.0.0.1:0"])
            .args(flags)
            .arg("--data")
            .arg(shop.folder.path().join("stall-state"))
            .start();
        let address = seed.wait_for_json("web_seed", LIMIT)["web_seed"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        // What is not looked at yet is not given.
        seed.wait_for(Stream::Out, LIMIT, |line| {
            line.contains("\"checked\"").then_some(())
        });
        let hash = facts["info_hash_v1"].as_str().or(facts["info_hash_v2"].as_str());
        Self {
            seed,
            address,
            hash: hash.unwrap().chars().take(40).collect(),
            info: words.iter().map(ToString::to_string).collect(),
        }
    }

    fn url(&self) -> String {
        format!("http://{}/webseed/{}/", self.address, self.hash)
    }

    fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> HttpAnswer {
        let request = HttpRequest::new(method, format!("/webseed/{}/{path}", self.hash));
        let with = fields
            .iter()
            .fold(request, |request, (name, value)| request.header(name, value));
        with.send(self.address)
    }
}

#[test]
fn our_seeder_is_a_web_seed_for_our_get() {
    for kind in ["--v1", "--hybrid", "--v2"] {
        for shop in [Shop::of_photographs(), Shop::of_one_file()] {
            let stall = Stall::open(&shop, &[kind], &[]);
            let words: Vec<&str> = stall.info.iter().map(String::as_str).collect();
            shop.arrives(&words, &[stall.url()]);
        }
    }
}

#[test]
fn files_are_given_whole_in_ranges_and_by_their_tag() {
    let shop = Shop::of_one_file();
    let content = fs::read(&shop.content).unwrap();
    let stall = Stall::open(&shop, &["--v1"], &[]);
    let path = "a%20film.mkv";
    let whole = stall.ask("GET", path, &[]);
    assert_eq!((whole.status, &whole.body), (200, &content));
    let tag = whole.header("etag").unwrap().to_owned();
    let part = stall.ask(
        "GET",
        path,
        &[("Range", "bytes=999990-1000009"), ("If-Range", &tag)],
    );
    assert_eq!(
        (part.status, &part.body[..]),
        (206, &content[999_990..=1_000_009])
    );
    assert_eq!(part.header("content-range"), Some("bytes 999990-1000009/3000001"));
    let end = stall.ask("GET", path, &[("Range", "bytes=-5")]);
    assert_eq!((end.status, &end.body[..]), (206, &content[2_999_996..]));
    let other = stall.ask("GET", path, &[("Range", "bytes=0-4"), ("If-Range", "\"older\"")]);
    assert_eq!((other.status, other.body.len()), (200, content.len()));
    let mut head = String::new();
    let asked = HttpRequest::new("HEAD", format!("/webseed/{}/{path}", stall.hash)).begin(stall.address);
    asked.unwrap().read_to_string(&mut head).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    assert!(
        head.to_lowercase().contains("\r\ncontent-length: 3000001\r\n"),
        "{head}"
    );
    let behind = stall.ask("GET", path, &[("Range", "bytes=3000001-")]);
    assert_eq!(
        (behind.status, behind.header("content-range")),
        (416, Some("bytes */3000001"))
    );
    assert_eq!(stall.ask("GET", path, &[("If-None-Match", &tag)]).status, 304);
    for nothing in ["no%20film.mkv", "..%2fmade.torrent", "%2e%2e/made.torrent", ""] {
        assert_eq!(stall.ask("GET", nothing, &[]).status, 404, "{nothing}");
    }
    assert_eq!(stall.ask("POST", path, &[]).status, 405);
    drop(stall.seed);
}

#[test]
fn a_file_that_was_changed_is_refused_and_not_one_wrong_byte_leaves() {
    let shop = Shop::of_one_file();
    let stall = Stall::open(&shop, &["--v1"], &[]);
    assert_eq!(
        stall.ask("GET", "a%20film.mkv", &[("Range", "bytes=0-9")]).status,
        206
    );
    fill(&shop.content, 99, 3_000_001);
    let answer = stall.ask("GET", "a%20film.mkv", &[("Range", "bytes=0-9")]);
    assert_eq!((answer.status, answer.body.len()), (503, 0));
    assert!(answer.header("retry-after").is_some());
    fs::remove_file(&shop.content).unwrap();
    assert_eq!(stall.ask("GET", "a%20film.mkv", &[]).status, 503);
}

#[test]
fn private_torrents_are_given_only_where_that_was_asked_for() {
    let shop = Shop::of_one_file();
    let private = ["--v1", "--private"];
    let stall = Stall::open(&shop, &private, &[]);
    assert_eq!(stall.ask("GET", "a%20film.mkv", &[]).status, 404);
    drop(stall);
    let stall = Stall::open(&shop, &private, &["--web-seed-private"]);
    assert_eq!(stall.ask("GET", "a%20film.mkv", &[]).status, 200);
}

#[test]
fn share_writes_itself_into_the_torrent_and_the_link() {
    let shop = Shop::of_photographs();
    let share = Program::seeder()
        .arg("share")
        .arg(&shop.content)
        .args([
            "--listen",
            "127.0.0.1:0",
            "--tracker-listen",
            "127.0.0.1:0",
            "--json",
        ])
        .args(["--web-seed", "127.0.0.1:0"])
        .arg("--data")
        .arg(shop.folder.path().join("share-state"))
        .start();
    let shared = share.wait_for_json("magnet", LIMIT);
    let torrent = shared["torrent"].as_str().unwrap();
    let facts = Program::seeder()
        .args(["inspect", "--json", torrent])
        .run(LIMIT)
        .succeeded()
        .json();
    let url = facts["web_seeds"][0].as_str().unwrap();
    let hash = facts["info_hash_v1"].as_str().unwrap();
    assert!(
        url.starts_with("http://127.0.0.1:") && url.ends_with(&format!("/webseed/{hash}/")),
        "{url}"
    );
    let link = shared["magnet"].as_str().unwrap();
    assert!(
        link.contains(&format!("&ws={}", url.replace(':', "%3A").replace('/', "%2F"))),
        "{link}"
    );
    shop.get(torrent).run(LIMIT).succeeded();
    shop.check();
}

/// Three megabytes at one megabyte a second, the first quarter of a second's worth at once.
#[track_caller]
fn took_its_time(got: &Finished) {
    let done = said(got, "done");
    let seconds = done[0]["seconds"].as_f64().unwrap();
    assert!(seconds > 2.0, "{seconds}");
}

#[test]
fn rates_hold_for_web_seeds_and_their_clients() {
    let shop = Shop::of_one_file();
    let server = shop.server(Manner::Honest);
    let torrent = shop.torrent(&["--v1"], &[server.url()]);
    let slow = shop.get(&torrent.to_string_lossy()).args(["--limit-down", "1M"]);
    took_its_time(&slow.run(LIMIT).succeeded());
    shop.check();
    let shop = Shop::of_one_file();
    let stall = Stall::open(&shop, &["--v1"], &["--limit-up", "1M"]);
    took_its_time(&shop.arrives(&["--v1"], &[stall.url()]));
}
