//! `seeder share PATH…`: from a folder to a link in one command. Makes the torrents, embeds a tracker that serves these
//! torrents alone where none is named, seeds, and says what a friend has to type.
//!
//! The one file of the seeder that knows the tracker.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use shared::announce::Event as Announced;
use shared::id::InfoHash;
use shared::magnet::Magnet;
use shared::metainfo::Metainfo;
use tracker::config::{self, Admission, Announce, Config, Http};
use tracker::server::{Server, StartError};

use super::audience::Audience;
use super::flags::PortFlags;
use super::made::{self, Made};
use super::reach::{self, Scope};
use super::session;
use super::session::Stop;
use super::treatment::GiveFlags;
use super::web_seed::{self, WebSeedFlags};
use super::{Failure, create, print, qr, tell};
use crate::engine::{AddTorrent, Engine, Event, Mode, Options, Source, TorrentKey};
use crate::state;
use crate::state::Lock;
use crate::web;

/// The tracker's port for everyone (DESIGN §2), unless it is taken.
const TRACKER_PORT: u16 = 6969;
/// Bytes of a torrent's name in the name of its file. File systems take 255, and something follows it.
const NAME_MAX: usize = 200;

/// Share files or folders: make their torrents, seed them, print links for friends
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files or folders; each becomes a torrent
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Announce to this tracker instead of an own one. Repeated: one tier each; several with commas between: one tier
    #[arg(long = "tracker", value_name = "URL")]
    trackers: Vec<String>,

    /// Who may find it: `link`, everyone who has the link; `members`, only peers that a tracker names (private torrents)
    #[arg(long, value_name = "REACH", default_value = "link")]
    reach: Reach,

    /// The name or address by which others reach this machine [default: the best one it has]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,

    /// Where the own tracker listens; port 0 picks one [default: `0.0.0.0:6969` and `[::]:6969`]
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    tracker_listen: Vec<SocketAddr>,

    /// Put the .torrent files into this folder [default: `torrents` in the state folder]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Hand out each piece once before any twice, while nobody else has it all
    #[arg(long)]
    super_seed: bool,

    /// Print one JSON object a torrent
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    give: GiveFlags,

    #[command(flatten)]
    web_seed: WebSeedFlags,

    #[command(flatten)]
    ports: PortFlags,
}

/// How a torrent's peers are found (DESIGN, decision 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Reach {
    Link,
    Members,
}

/// One torrent as scripts see it.
#[derive(Debug, Serialize)]
struct Shared {
    name: String,
    torrent: PathBuf,
    magnet: String,
    announce: String,
    info_hash_v1: Option<String>,
    info_hash_v2: Option<String>,
    /// The first of the addresses where peers connect.
    listen: Option<SocketAddr>,
    listen_all: Vec<SocketAddr>,
}

pub fn run(args: Args) -> Result<(), Failure> {
    args.ports.check()?;
    // Wrong URLs are said before an hour of hashing.
    let tiers = args
        .trackers
        .iter()
        .map(|typed| create::tier_of(typed))
        .collect::<Result<Vec<_>, _>>()?;
    let paths = args
        .paths
        .iter()
        .map(|path| made::absolute(path))
        .collect::<Result<Vec<_>, _>>()?;
    let data = state::folder(args.ports.data.as_deref())?;
    let output = output_folder(&args, &paths, &data)?;
    let made = paths
        .iter()
        .map(|path| made::make(path, args.reach == Reach::Members, &data));
    let made = made.collect::<Result<Vec<_>, _>>()?;
    refuse_alike(&made)?;
    let written = made
        .iter()
        .map(|made| written_to(&made.metainfo, &output, &data))
        .collect::<Result<Vec<_>, _>>()?;
    let share = Share {
        args,
        tiers,
        made,
        data,
        written,
    };
    session::block_on(|stop| share.run(stop))
}

/// The folder for .torrent files; neither it nor the state may lie in what is shared, or the torrent would hold itself.
fn output_folder(args: &Args, paths: &[PathBuf], data: &Path) -> Result<PathBuf, Failure> {
    let output = args.output.clone().unwrap_or_else(|| data.join("torrents"));
    let mut seen = BTreeSet::new();
    for path in paths {
        if !seen.insert(path) {
            return Err(Failure::Usage(format!(
                "{} is named twice; once is enough",
                path.display()
            )));
        }
        let shared = path
            .canonicalize()
            .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
        let output = std::path::absolute(&output).map_err(Failure::failed)?;
        for (inner, flag) in [(data, "--data"), (&output, "--output")] {
            if inner.starts_with(&shared) {
                return Err(Failure::Usage(format!(
                    "{} lies in {}, which is shared; name another folder with {flag} DIR",
                    inner.display(),
                    shared.display()
                )));
            }
        }
    }
    state::make(&output)?;
    output
        .canonicalize()
        .map_err(|error| Failure::Failed(format!("{}: {error}", output.display())))
}

/// Where a torrent's file goes: under the torrent's name or, while another share of that name has it, a longer one.
fn written_to(metainfo: &Metainfo, output: &Path, data: &Path) -> Result<(PathBuf, Lock), Failure> {
    let info = &metainfo.info;
    let fits = |(at, letter): &(usize, char)| at + letter.len_utf8() <= NAME_MAX;
    let letters = info.name().char_indices().take_while(fits);
    let name: String = letters.map(|(_, letter)| letter).collect();
    let hash: String = info.wire_hash().to_string().chars().take(8).collect();
    let take = |file: String| {
        let path = output.join(file);
        let lock = state::lock(data, &format!("torrent-{}", state::id_of(&path)))?;
        Ok((path, lock))
    };
    take(format!("{name}.torrent")).or_else(|_: Failure| take(format!("{name}-{hash}.torrent")))
}

/// Two copies are one torrent, which has one place on the disk.
fn refuse_alike(made: &[Made]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    match made
        .iter()
        .find(|made| !seen.insert(made.metainfo.info.wire_hash()))
    {
        None => Ok(()),
        Some(copy) => Err(Failure::Usage(format!(
            "two paths hold the same files under the name {:?}; share one of them",
            copy.metainfo.info.name()
        ))),
    }
}

/// What is shared and how, before anything listens.
struct Share {
    args: Args,
    /// The trackers that were named, in tiers (BEP 12).
    tiers: Vec<Vec<String>>,
    made: Vec<Made>,
    data: PathBuf,
    /// Where the .torrent file of each goes, which is ours alone for as long as we run.
    written: Vec<(PathBuf, Lock)>,
}

impl Share {
    async fn run(self, mut stop: Stop) -> Result<(), Failure> {
        let engine = session::start_engine(&self.args.ports, &self.data.join("shares")).await?;
        let control = session::open_control(&engine, &self.data);
        let tracker = if self.tiers.is_empty() {
            Some(Embedded::start(&self.args, &self.made).await?)
        } else {
            None
        };
        let host = self.args.host.as_deref();
        let mut places = Places::new(host, &self.tiers, tracker.as_ref(), engine.listen_addresses()).await?;
        let web = self.args.web_seed.open(&engine)?;
        places.web_seeds = web
            .as_ref()
            .map_or_else(Vec::new, |web| web_roots(host, web.address()));
        places.web_private = self.args.web_seed.web_seed_private;
        let seeded = self.seed(&engine, &places, &mut stop).await;
        web_seed::close(web).await;
        session::leave(engine, control, &mut stop).await;
        if let Some(tracker) = tracker {
            tracker.server.stop().await;
        }
        seeded
    }

    /// Gives the torrents to the engine, prints each once others can come, and goes on until it is asked to stop.
    async fn seed(&self, engine: &Engine, places: &Places, stop: &mut Stop) -> Result<(), Failure> {
        let mut events = engine.subscribe();
        let mut silent = self.add(engine, places).await?;
        if !self.args.json {
            warn_of_reach(places);
        }
        let mut wanted: BTreeSet<TorrentKey> = silent.keys().copied().collect();
        let mut audience = Audience::watch(silent.keys().copied().collect(), !self.args.json);
        loop {
            let event = tokio::select! {
                () = stop.asked() => break,
                () = audience.due() => {
                    audience.look(engine).await;
                    continue;
                }
                event = session::next(&mut events) => event,
            };
            if let Event::TrackerAnswered {
                key,
                event: Announced::Started,
                ..
            } = event
                && let Some(shared) = silent.remove(&key)
            {
                audience.aside(|| introduce(&shared, self.args.json, silent.is_empty()))?;
            }
            audience.warn_of(&event);
            if let Event::GoalReached { key, goal } = event {
                audience.aside(|| tell(format_args!("given enough: {goal}")));
                wanted.remove(&key);
                if wanted.is_empty() && self.args.give.goals.have_an_end() {
                    break;
                }
            }
        }
        audience.leave();
        Ok(())
    }

    async fn add(&self, engine: &Engine, places: &Places) -> Result<BTreeMap<TorrentKey, Shared>, Failure> {
        let mut added = BTreeMap::new();
        for (made, (file, _)) in self.made.iter().zip(&self.written) {
            let shared = write(&made.metainfo, places, self.args.reach, file)?;
            let torrent = AddTorrent {
                source: Source::Metainfo(Arc::new(made.metainfo.clone())),
                root: made.root.clone(),
                mode: Mode::Seed,
                trackers: places.own_tiers.clone(),
                peers: Vec::new(),
                options: Options {
                    super_seed: self.args.super_seed,
                    ..self.args.give.options()
                },
            };
            added.insert(engine.add(torrent).await.map_err(Failure::failed)?, shared);
        }
        Ok(added)
    }
}

/// The tracker in this process.
struct Embedded {
    server: Server,
    /// Where it can be reached, the best address first.
    reachable: Vec<SocketAddr>,
}

impl Embedded {
    async fn start(args: &Args, made: &[Made]) -> Result<Self, Failure> {
        let hashes: BTreeSet<InfoHash> = made.iter().map(|made| made.metainfo.info.wire_hash()).collect();
        let external = external_addresses(args.host.as_deref()).await?;
        let mut refused = None;
        for http in session::attempts(&args.tracker_listen, TRACKER_PORT) {
            let config = Config {
                mode: config::Mode::Public(Admission::Only(hashes.clone())),
                http: Http {
                    listen: http.clone(),
                    ..Http::default()
                },
                admin: None,
                announce: Announce {
                    external_addresses: external.clone(),
                    ..Announce::default()
                },
                ..Config::default()
            };
            match Server::start(config).await {
                Ok(server) => {
                    if refused.is_some() {
                        tell(format_args!(
                            "note: port {TRACKER_PORT} is not free; the tracker took another"
                        ));
                    }
                    return Ok(Self::reached(server));
                }
                Err(error @ StartError::Listen { .. }) => refused = refused.or(Some(error)),
                Err(error) => return Err(Failure::failed(error)),
            }
        }
        let why = refused.map_or_else(|| "nowhere to listen".to_owned(), |error| error.to_string());
        Err(Failure::Failed(format!(
            "the tracker: {why}; or say --tracker-listen with port 0"
        )))
    }

    fn reached(server: Server) -> Self {
        let listeners = server.http_addresses();
        let mut reachable = reach::reachable(listeners, &reach::own_addresses());
        if reachable.is_empty() {
            reachable = listeners.iter().map(loopback_for).collect();
        }
        Self { server, reachable }
    }
}

/// What a machine without any address can still call itself.
fn loopback_for(listener: &SocketAddr) -> SocketAddr {
    let loopback = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        specified => specified,
    };
    SocketAddr::new(loopback, listener.port())
}

/// What `--host` means to peers behind it (DESIGN, decision 8).
async fn external_addresses(host: Option<&str>) -> Result<Vec<IpAddr>, Failure> {
    let Some(host) = host else { return Ok(Vec::new()) };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((bare, 0)).await;
    let found =
        found.map_err(|error| Failure::Failed(format!("--host {host}: cannot look it up: {error}")))?;
    let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.dedup();
    Ok(addresses)
}

/// Where things are: the addresses that go into links, and those that we use ourselves.
#[derive(Debug)]
struct Places {
    /// What the torrents and the links name.
    tiers: Vec<Vec<String>>,
    /// Where we announce. Our own tracker is called by our own addresses: a router may not lead back to itself.
    own_tiers: Vec<Vec<String>>,
    /// Where peers can connect, for `x.pe`.
    peers: Vec<SocketAddr>,
    listen: Vec<SocketAddr>,
    /// Where web clients reach us: hosts, each with a port.
    web_seeds: Vec<(String, u16)>,
    /// Private torrents are given to them too.
    web_private: bool,
}

impl Places {
    async fn new(
        host: Option<&str>,
        named: &[Vec<String>],
        tracker: Option<&Embedded>,
        listen: &[SocketAddr],
    ) -> Result<Self, Failure> {
        let (tiers, own_tiers) = match tracker {
            None => (named.to_vec(), named.to_vec()),
            Some(tracker) => {
                let own = own_tiers(&tracker.reachable);
                let named = host.map(|host| vec![vec![announce_url(host, &tracker.reachable)]]);
                (named.unwrap_or_else(|| own.clone()), own)
            }
        };
        let host = external_addresses(host).await?;
        let own = reach::reachable(listen, &reach::own_addresses());
        Ok(Self {
            tiers,
            own_tiers,
            peers: peers(&host, &own, listen),
            listen: listen.to_vec(),
            web_seeds: Vec::new(),
            web_private: false,
        })
    }
}

/// The URL that others announce to where a host was named: that name, with the real port.
fn announce_url(host: &str, reachable: &[SocketAddr]) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_v6 = bare.parse::<Ipv6Addr>().is_ok();
    let alike = reachable
        .iter()
        .find(|address| address.is_ipv6() == is_v6)
        .or(reachable.first());
    let port = alike.map_or(TRACKER_PORT, SocketAddr::port);
    if is_v6 {
        format!("http://[{bare}]:{port}/announce")
    } else {
        format!("http://{bare}:{port}/announce")
    }
}

/// Our tracker by its own addresses, the best first. Each is a tier of its own: whoever can reach several announces to
/// several, so that peers of either family, at home and far away, learn addresses that they can use.
fn own_tiers(reachable: &[SocketAddr]) -> Vec<Vec<String>> {
    reach::for_link(reachable)
        .iter()
        .map(|address| vec![format!("http://{address}/announce")])
        .collect()
}

/// Where web clients reach a port of ours: by the name that was said, or by our best addresses.
fn web_roots(host: Option<&str>, listen: SocketAddr) -> Vec<(String, u16)> {
    let bracketed = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    if let Some(host) = host {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let host = bare.parse().map_or_else(|_| bare.to_owned(), bracketed);
        return vec![(host, listen.port())];
    }
    let mut reachable = reach::reachable(&[listen], &reach::own_addresses());
    if reachable.is_empty() {
        reachable.push(loopback_for(&listen));
    }
    let roots = reach::for_link(&reachable).into_iter();
    roots
        .map(|address| (bracketed(address.ip()), address.port()))
        .collect()
}

/// The peers that a link names: the host that was named, then the best addresses of our own.
fn peers(host: &[IpAddr], own: &[SocketAddr], listen: &[SocketAddr]) -> Vec<SocketAddr> {
    let port = |v4: bool| {
        listen
            .iter()
            .find(|listener| listener.is_ipv4() == v4)
            .map(SocketAddr::port)
    };
    let named = host
        .iter()
        .filter_map(|ip| Some(SocketAddr::new(*ip, port(ip.is_ipv4())?)));
    let mut peers: Vec<SocketAddr> = named.collect();
    for address in reach::for_link(own) {
        if !peers.contains(&address) {
            peers.push(address);
        }
    }
    peers
}

/// Writes the .torrent file with its trackers, and makes the link.
fn write(metainfo: &Metainfo, places: &Places, reach: Reach, file: &Path) -> Result<Shared, Failure> {
    let info = &metainfo.info;
    let web_seeds = if info.private() && !places.web_private {
        Vec::new()
    } else {
        let url = |(host, port): &(String, u16)| web::url_of(host, *port, info.wire_hash());
        places.web_seeds.iter().map(url).collect()
    };
    state::write(file, &made::with_trackers(metainfo, &places.tiers, &web_seeds))?;
    let magnet = Magnet {
        info_hash_v1: info.info_hash_v1(),
        info_hash_v2: info.info_hash_v2(),
        name: Some(info.name().to_owned()),
        trackers: places.tiers.iter().flatten().cloned().collect(),
        // Members find each other through their tracker alone.
        peers: if reach == Reach::Link {
            places.peers.clone()
        } else {
            Vec::new()
        },
        exact_length: Some(info.content_size()),
        web_seeds,
        ..Magnet::default()
    };
    let first = |tiers: &[Vec<String>]| tiers.iter().flatten().next().cloned().unwrap_or_default();
    Ok(Shared {
        name: info.name().to_owned(),
        torrent: file.to_owned(),
        magnet: magnet.to_string(),
        announce: first(&places.tiers),
        info_hash_v1: info.info_hash_v1().map(|hash| hash.to_string()),
        info_hash_v2: info.info_hash_v2().map(|hash| hash.to_string()),
        listen: places.listen.first().copied(),
        listen_all: places.listen.clone(),
    })
}

/// Says what a friend needs.
fn introduce(shared: &Shared, json: bool, last: bool) -> Result<(), Failure> {
    if json {
        return print(serde_json::to_string(shared).map_err(Failure::failed)?);
    }
    print(format_args!("{}", shared.name))?;
    print(format_args!("  torrent   {}", shared.torrent.display()))?;
    print(format_args!("  tracker   {}", shared.announce))?;
    print(format_args!("  link      {}", shared.magnet))?;
    print(format_args!(
        "\nA friend gets it with any BitTorrent client, or by typing\n"
    ))?;
    print(format_args!("  seeder get '{}' --into DIR\n", shared.magnet))?;
    if io::stdout().is_terminal()
        && let Some(code) = qr::terminal().and_then(|size| qr::draw(&shared.magnet, size))
    {
        print(code)?;
    }
    if last {
        tell("sharing until you press Ctrl-C");
    }
    Ok(())
}

/// A link that only works at home must not be sent to the other end of the world in good faith.
fn warn_of_reach(places: &Places) {
    let reach = places
        .peers
        .iter()
        .filter_map(|peer| reach::scope(peer.ip()))
        .max();
    let ports: BTreeSet<u16> = places.listen.iter().map(SocketAddr::port).collect();
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let ports = ports.join(" and ");
    match reach {
        Some(Scope::Everyone) => (),
        Some(Scope::LocalNetwork) => tell(format_args!(
            "warning: only people in your local network can connect; for others, forward TCP port {ports} and the \
             tracker's to this machine and say --host with your public name or address"
        )),
        Some(Scope::ThisMachine) | None => {
            tell(
                "warning: only programs on this machine can connect; listen on an address that others can reach",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(words: &str) -> Vec<SocketAddr> {
        words
            .split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect()
    }

    #[test]
    fn a_host_that_was_named_stands_in_the_announce_url_with_the_real_port() {
        let reachable = sockets("192.168.1.5:6969 [fd00::5]:6970");
        for (host, url) in [
            ("photos.example.org", "http://photos.example.org:6969/announce"),
            ("203.0.113.7", "http://203.0.113.7:6969/announce"),
            ("2001:db8::7", "http://[2001:db8::7]:6970/announce"),
            ("[2001:db8::7]", "http://[2001:db8::7]:6970/announce"),
        ] {
            assert_eq!(announce_url(host, &reachable), url);
        }
    }

    #[test]
    fn without_a_host_the_tracker_is_named_by_its_best_address_of_each_kind() {
        let tiers = own_tiers(&sockets(
            "[2001:db8::5]:6969 192.168.1.5:6969 10.0.0.1:6969 127.0.0.1:6969",
        ));
        assert_eq!(
            tiers,
            [
                ["http://[2001:db8::5]:6969/announce"],
                ["http://192.168.1.5:6969/announce"]
            ]
        );
    }

    #[test]
    fn a_link_names_the_host_first_with_the_port_of_its_family() {
        let host = ["203.0.113.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        let listen = sockets("0.0.0.0:16881");
        assert_eq!(
            peers(&host, &sockets("192.168.1.5:16881"), &listen),
            sockets("203.0.113.7:16881 192.168.1.5:16881")
        );
    }

    #[test]
    fn two_shares_of_one_name_keep_their_torrent_files_apart_and_a_long_name_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let torrent_of = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            made::make(&path, false, folder.path()).unwrap().metainfo
        };
        let take = |metainfo: &Metainfo| written_to(metainfo, folder.path(), folder.path()).unwrap();
        let (one, other) = (torrent_of("a.jpg", "one"), torrent_of("a.jpg", "other"));
        let (first, held) = take(&one);
        let (second, _also) = take(&other);
        assert_eq!(first, folder.path().join("a.jpg.torrent"));
        assert_ne!(second, first);
        drop(held);
        assert_eq!(take(&one).0, first);
        let long = torrent_of(&"ä".repeat(127), "long");
        state::write(&take(&long).0, b"torrent").unwrap();
    }

    #[test]
    fn scripts_find_what_they_rely_on() {
        let shared = Shared {
            name: "Photos".to_owned(),
            torrent: "/state/torrents/Photos.torrent".into(),
            magnet: "magnet:?xt=urn:btih:00".to_owned(),
            announce: "http://127.0.0.1:6969/announce".to_owned(),
            info_hash_v1: Some("00".to_owned()),
            info_hash_v2: None,
            listen: Some("127.0.0.1:16881".parse().unwrap()),
            listen_all: sockets("127.0.0.1:16881"),
        };
        let line: serde_json::Value = serde_json::from_str(&serde_json::to_string(&shared).unwrap()).unwrap();
        assert_eq!(line["torrent"], "/state/torrents/Photos.torrent");
        assert_eq!(line["announce"], "http://127.0.0.1:6969/announce");
        assert_eq!(line["listen"], "127.0.0.1:16881");
        assert_eq!(line["info_hash_v1"], "00");
        assert!(line["info_hash_v2"].is_null() && line["magnet"].is_string());
    }
}
