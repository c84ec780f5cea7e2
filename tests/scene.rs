//! What every test with another client needs: our tracker on one host, a folder of photographs, our seeder on another host.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken rig should stop the test and say why"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::clients::{Client, Home, PORT, Peer, Source, Terms};
use crate::rig::{Digests, Family, Host, Lab, Program, Running, ask_until, digests, fill_folder};

/// What one step may take. Transmission needs a quarter of a minute for any transfer, and six tests share two cores.
pub const LIMIT: Duration = Duration::from_secs(90);

/// A tracker of ours on a host of its own. The fields go in this order: programs, then the network, then files.
#[derive(Debug)]
pub struct Scene {
    _tracker: Running,
    tracker_host: Host,
    tracker_address: SocketAddr,
    announce: String,
    lab: Lab,
    folder: TempDir,
    rules: Rules,
}

/// Who takes encrypted connections alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insists {
    Nobody,
    We,
    They,
}

/// How both sides are to talk.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// What our `--encryption` says.
    pub ours: &'static str,
    pub theirs: Terms,
    /// The only family of addresses that any host has.
    pub family: Option<Family>,
}

/// A torrent of ours and where its content lies.
#[derive(Debug)]
pub struct Torrent {
    pub file: PathBuf,
    pub content: PathBuf,
    info_hash: String,
    magnet: String,
}

impl Torrent {
    pub fn as_file(&self) -> Source {
        Source::File(self.file.clone())
    }

    pub fn as_magnet(&self) -> Source {
        Source::Magnet(self.magnet.clone())
    }

    fn holder(&self) -> &Path {
        self.content.parent().unwrap()
    }

    fn name(&self) -> &Path {
        Path::new(self.content.file_name().unwrap())
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    #[track_caller]
    pub fn new() -> Self {
        Self::where_insists(Insists::Nobody)
    }

    #[track_caller]
    pub fn where_insists(insists: Insists) -> Self {
        let (ours, theirs) = match insists {
            Insists::Nobody => ("prefer", Terms::Plain),
            Insists::We => ("require", Terms::Willing),
            Insists::They => ("prefer", Terms::Hidden),
        };
        Self::with_rules(Rules {
            ours,
            theirs,
            family: None,
        })
    }

    #[track_caller]
    pub fn with_rules(rules: Rules) -> Self {
        let lab = Lab::new();
        let tracker_host = host(&lab, rules);
        let family = rules.family.unwrap_or(Family::IPv4);
        let folder = tempfile::tempdir().unwrap();
        let tracker = Program::tracker()
            .args(["serve", "--public", "--json", "--admin", "127.0.0.1:0"])
            .args([
                "--http",
                &SocketAddr::new(tracker_host.ip_of(family), 0).to_string(),
            ])
            .arg("--data")
            .arg(folder.path().join("tracker"))
            .on(&tracker_host)
            .start();
        let listening = tracker.wait_for_json("announce", LIMIT);
        let announce = listening["announce"].as_str().unwrap().to_owned();
        let tracker_address = listening["address"].as_str().unwrap().parse().unwrap();
        Self {
            _tracker: tracker,
            tracker_host,
            tracker_address,
            announce,
            lab,
            folder,
            rules,
        }
    }

    pub fn host(&self) -> Host {
        host(&self.lab, self.rules)
    }

    /// Where our seeder listens.
    fn listen(&self) -> String {
        match self.rules.family {
            Some(Family::IPv6) => format!("[::]:{PORT}"),
            _ => format!("0.0.0.0:{PORT}"),
        }
    }

    /// A place for the files of one program.
    pub fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A torrent over a small folder: several pieces, files across borders of pieces, an empty one.
    #[track_caller]
    pub fn photographs(&self, kind: &str) -> Torrent {
        self.photographs_with(&[kind])
    }

    /// The same with more to say about it.
    #[track_caller]
    pub fn photographs_with(&self, options: &[&str]) -> Torrent {
        let content = self.place("content/Photos of 2019");
        fill_folder(
            &content,
            7,
            &[3_000_000, 100_000, 1, 2_000_000, 0, 16_384, 70_000],
        );
        self.torrent_with(&content, options)
    }

    /// A torrent made by our `create`.
    #[track_caller]
    pub fn torrent_of(&self, content: &Path, kind: &str) -> Torrent {
        self.torrent_with(content, &[kind])
    }

    /// The same with more to say about it.
    #[track_caller]
    pub fn torrent_with(&self, content: &Path, options: &[&str]) -> Torrent {
        let file = self.place("made.torrent");
        let made = Program::seeder()
            .arg("create")
            .arg(content)
            .arg("--output")
            .arg(&file)
            .args(options);
        made.args(["--tracker", &self.announce, "--json"])
            .run(LIMIT)
            .succeeded();
        let facts = Program::seeder()
            .args(["inspect", "--json"])
            .arg(&file)
            .run(LIMIT)
            .succeeded()
            .json();
        let v1 = facts["info_hash_v1"].as_str();
        let v2 = facts["info_hash_v2"].as_str();
        let topics: Vec<String> = v1
            .map(|hash| format!("xt=urn:btih:{hash}"))
            .into_iter()
            .chain(v2.map(|hash| format!("xt=urn:btmh:1220{hash}")))
            .collect();
        let tracker = escaped(&self.announce);
        let magnet = format!("magnet:?{}&dn=photos&tr={tracker}", topics.join("&"));
        let info_hash = v1.or(v2).unwrap().chars().take(40).collect();
        Torrent {
            file,
            content: content.to_owned(),
            info_hash,
            magnet,
        }
    }

    /// Our `seed` on a host of its own, once the tracker knows it.
    #[track_caller]
    pub fn we_seed(&self, torrent: &Torrent) -> Running {
        let seeder = Program::seeder()
            .arg("seed")
            .arg(&torrent.file)
            .arg("--content")
            .arg(torrent.holder())
            .args(["--listen", &self.listen()])
            .args(self.our_terms())
            .arg("--data")
            .arg(self.place("seed-state"))
            .on(&self.host())
            .start();
        ask_until("our seeder at the tracker", LIMIT, || {
            self.has_seeder(torrent).then_some(())
        });
        seeder
    }

    /// Our `get` on a host of its own, from start to end.
    #[track_caller]
    pub fn we_get(&self, source: &Source, into: &Path) {
        let word = match source {
            Source::File(path) => path.to_string_lossy().into_owned(),
            Source::Magnet(link) => link.clone(),
        };
        let got = Program::seeder()
            .args(["get", &word, "--json", "--listen", &self.listen()])
            .args(self.our_terms())
            .arg("--into")
            .arg(into)
            .arg("--data")
            .arg(self.place("get-state"))
            .on(&self.host())
            .run(LIMIT)
            .succeeded();
        assert_eq!(got.json()["event"], "done");
    }

    fn our_terms(&self) -> [&'static str; 2] {
        ["--encryption", self.rules.ours]
    }

    /// Another client's download on a host of its own.
    #[track_caller]
    pub fn they_leech(&self, client: Client, source: &Source, into: &Path) -> Peer {
        let home = Home {
            host: &self.host(),
            scratch: &self.place("client"),
            terms: self.rules.theirs,
        };
        client.leech(&home, source, into)
    }

    /// Another client's whole copy on a host of its own, once the tracker knows it. transmission-cli now and then takes the
    /// moment between checking and starting for its end, and leaves: then it is started again.
    #[track_caller]
    pub fn they_seed(&self, client: Client, torrent: &Torrent) -> Peer {
        const TRIES: u8 = 3;
        for attempt in 1..=TRIES {
            let scratch = self.place(&format!("client-{attempt}"));
            let home = Home {
                host: &self.host(),
                scratch: &scratch,
                terms: self.rules.theirs,
            };
            let mut peer = client.seed(&home, &torrent.file, torrent.holder());
            let seeds = ask_until("another client that seeds", LIMIT, || {
                let seeds = self.has_seeder(torrent);
                (seeds || !peer.is_running()).then_some(seeds)
            });
            if seeds {
                return peer;
            }
        }
        panic!("{client:?} ended {TRIES} times without seeding");
    }

    /// Does our tracker count a seeder?
    fn has_seeder(&self, torrent: &Torrent) -> bool {
        let path = format!("/scrape?info_hash={}", percent_encoded(&torrent.info_hash));
        let answer = self.tracker_host.inside(|| http_get(self.tracker_address, &path));
        answer.contains("8:completei1e")
    }
}

fn host(lab: &Lab, rules: Rules) -> Host {
    let host = lab.host();
    if let Some(family) = rules.family {
        host.confine(family);
    }
    host
}

/// A URL as a value within a link.
fn escaped(url: &str) -> String {
    let marks = [(":", "%3A"), ("/", "%2F"), ("[", "%5B"), ("]", "%5D")];
    marks
        .iter()
        .fold(url.to_owned(), |url, (mark, code)| url.replace(mark, code))
}

fn percent_encoded(hex: &str) -> String {
    hex.as_bytes()
        .chunks(2)
        .flat_map(|pair| ["%".into(), String::from_utf8_lossy(pair)])
        .collect()
}

/// The whole answer, as text as far as it is text.
fn http_get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The other client downloads from our seeder, and has the same bytes.
#[track_caller]
pub fn leeches_from_us(client: Client, kind: &str, source: fn(&Torrent) -> Source) {
    let scene = Scene::new();
    leeches(&scene, client, &scene.photographs(kind), source);
}

/// The same with a torrent of the test's own.
#[track_caller]
pub fn leeches(scene: &Scene, client: Client, torrent: &Torrent, source: fn(&Torrent) -> Source) {
    let seeder = scene.we_seed(torrent);
    let into = scene.place("into");
    let mut peer = scene.they_leech(client, &source(torrent), &into);
    peer.wait_until_done(LIMIT);
    check_same(
        client,
        &digests(&torrent.content),
        &digests(&into.join(torrent.name())),
    );
    drop(seeder);
}

/// Our `get` downloads from the other client, and has the same bytes.
#[track_caller]
pub fn seeds_for_our_get(client: Client, kind: &str, source: fn(&Torrent) -> Source) {
    let scene = Scene::new();
    seeds(&scene, client, &scene.photographs(kind), source);
}

/// The same with a torrent of the test's own.
#[track_caller]
pub fn seeds(scene: &Scene, client: Client, torrent: &Torrent, source: fn(&Torrent) -> Source) {
    let peer = scene.they_seed(client, torrent);
    let into = scene.place("into");
    scene.we_get(&source(torrent), &into);
    assert_eq!(digests(&torrent.content), digests(&into.join(torrent.name())));
    drop(peer);
}

/// Every file must be there; Transmission 3.00 makes no empty files, rTorrent 0.9.8 writes the padding of hybrids into files.
#[track_caller]
pub fn check_same(client: Client, left: &Digests, arrived: &Digests) {
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let (mut expected, mut arrived) = (left.clone(), arrived.clone());
    expected.retain(|_, digest| client != Client::Transmission || digest != EMPTY);
    arrived.retain(|path, _| client != Client::RTorrent || !path.starts_with(".pad"));
    assert_eq!(expected, arrived, "from us to {client:?}");
}
