//! Downloads from web servers (BEP 19): honest ones, and such as lie, forget, break off, or lead elsewhere. And our own seeder as
//! such a server.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tests::fake_web_seed::{FakeWebSeed, Manner};
use tests::rig::{Finished, Program, Stream, digests, fill, fill_folder};

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
