//! `seeder get FILE|MAGNET --into DIR`: fetches what is missing, and is done when all is verified on disk. Whatever ends it
//! before, the same command again goes on where it stood.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use shared::id::InfoHash;
use shared::magnet::Magnet;

use super::flags::PortFlags;
use super::gauge::Gauge;
use super::session::Stop;
use super::treatment::{GiveFlags, WishFlags};
use super::{Failure, events, gauge, print, session};
use crate::engine::{AddTorrent, Change, Engine, Event, Mode, Options, Source, TorrentKey};
use crate::library::torrent_file::read_torrent;
use crate::state;
use crate::torrent::{Status, Wishes};

/// Download a torrent
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A .torrent file or a magnet link
    #[arg(value_name = "FILE|MAGNET")]
    torrent: String,

    /// The folder that takes the torrent's file or folder; made when missing
    #[arg(long, value_name = "DIR")]
    into: PathBuf,

    /// Go on seeding when all is there
    #[arg(long)]
    seed: bool,

    /// A peer to begin with, such as 192.168.1.5:16881
    #[arg(long = "peer", value_name = "ADDR")]
    peers: Vec<SocketAddr>,

    /// Print events, a JSON object a line; the last one is `{"event":"done",…}`
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    wishes: WishFlags,

    #[command(flatten)]
    give: GiveFlags,

    #[command(flatten)]
    ports: PortFlags,
}

/// What is to be fetched, and how it is called as long as nobody knows better.
struct Wanted {
    torrent: AddTorrent,
    info_hash: InfoHash,
    name: String,
}

pub fn run(args: Args) -> Result<(), Failure> {
    args.ports.check()?;
    args.wishes.check()?;
    if args.give.goals.have_an_end() && !args.seed {
        return Err(Failure::usage(
            "--ratio, --seed-time and --copies say how long to go on seeding; say --seed too",
        ));
    }
    let mut wanted = wanted(&args)?;
    fs::create_dir_all(&args.into)
        .and_then(|()| args.into.canonicalize())
        .map(|root| wanted.torrent.root = root)
        .map_err(|error| {
            Failure::Failed(format!(
                "--into {}: {error}; name a folder you may write to",
                args.into.display()
            ))
        })?;
    let data = state::folder(args.ports.data.as_deref())?;
    let (place, _lock) = state::place(&data, &wanted.torrent.root, &[wanted.info_hash])?;
    session::block_on(|mut stop| async move {
        let engine = session::start_engine(&args.ports, &place).await?;
        let control = session::open_control(&engine, &data);
        let got = get(&args, &engine, wanted, &mut stop).await;
        session::leave(engine, control, &mut stop).await;
        got
    })
}

fn wanted(args: &Args) -> Result<Wanted, Failure> {
    let is_link = args
        .torrent
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("magnet:"));
    let mut wanted = if is_link {
        from_link(&args.torrent)?
    } else {
        from_file(Path::new(&args.torrent))?
    };
    wanted.torrent.peers.extend(&args.peers);
    let wishes = match &wanted.torrent.source {
        Source::Metainfo(metainfo) => args.wishes.wishes(&metainfo.info)?,
        // Which files there are, the metadata will say.
        Source::Magnet(_) => Wishes {
            sequential: args.wishes.sequential,
            ..Wishes::default()
        },
    };
    wanted.torrent.options = Options {
        wishes,
        ..args.give.options()
    };
    Ok(wanted)
}

fn from_link(link: &str) -> Result<Wanted, Failure> {
    let magnet: Magnet = link.parse().map_err(Failure::usage)?;
    let info_hash = magnet.wire_hash();
    Ok(Wanted {
        info_hash,
        name: magnet.name.clone().unwrap_or_else(|| info_hash.to_string()),
        torrent: AddTorrent {
            root: PathBuf::new(),
            mode: Mode::Get,
            // A link has no tiers; each tracker is one of its own (BEP 9).
            trackers: magnet.trackers.iter().map(|url| vec![url.clone()]).collect(),
            peers: magnet.peers.clone(),
            options: Options {
                web_seeds: magnet.web_seeds.clone(),
                ..Options::default()
            },
            source: Source::Magnet(Box::new(magnet)),
        },
    })
}

fn from_file(file: &Path) -> Result<Wanted, Failure> {
    let metainfo = read_torrent(file)?;
    Ok(Wanted {
        info_hash: metainfo.info.wire_hash(),
        name: metainfo.info.name().to_owned(),
        torrent: AddTorrent {
            root: PathBuf::new(),
            mode: Mode::Get,
            trackers: metainfo.trackers.clone(),
            peers: Vec::new(),
            options: Options::default(),
            source: Source::Metainfo(Arc::new(metainfo)),
        },
    })
}

async fn get(args: &Args, engine: &Engine, wanted: Wanted, stop: &mut Stop) -> Result<(), Failure> {
    let Wanted {
        torrent,
        info_hash,
        name,
    } = wanted;
    let root = torrent.root.clone();
    let mut fetch = Fetch {
        args,
        gauge: Gauge::start(name.clone(), !args.json),
        name,
        root,
        info_hash,
        last: None,
        why: None,
        done: false,
    };
    if torrent.trackers.is_empty() && torrent.peers.is_empty() && !torrent.source.names_web_seeds() {
        fetch.gauge.say(
            "warning: the torrent names neither trackers, peers nor web seeds; name a peer with --peer ADDR",
        );
    }
    let mut happening = engine.subscribe();
    fetch.print(json!({ "event": "listening", "listen": engine.listen_addresses() }));
    let key = engine.add(torrent).await.map_err(Failure::failed)?;
    loop {
        let event = tokio::select! {
            () = stop.asked() => return fetch.stopped(),
            event = session::next(&mut happening) => event,
        };
        if let Event::Metadata { info, .. } = &event
            && !args.wishes.only.is_empty()
        {
            let change = Change {
                wishes: Some(args.wishes.wishes(info)?),
                ..Change::default()
            };
            engine.change(key, change).await.map_err(Failure::failed)?;
        }
        if matches!(event, Event::Finished { .. }) {
            fetch.last = engine.status(key).await.map(|status| status.facts);
        }
        fetch.why = match &event {
            Event::Progress { facts, .. } if facts.download_rate == 0 => why(engine, key).await,
            _ => None,
        };
        fetch.happened(&event)?;
        let enough = matches!(event, Event::GoalReached { .. });
        if fetch.done && (!args.seed || enough) {
            return Ok(());
        }
    }
}

/// Why a torrent waits, in words.
async fn why(engine: &Engine, key: TorrentKey) -> Option<String> {
    let torrents = engine.list().await;
    torrents.into_iter().find(|torrent| torrent.key == key)?.why
}

/// One download as a person or a script follows it.
struct Fetch<'a> {
    args: &'a Args,
    gauge: Gauge,
    name: String,
    root: PathBuf,
    info_hash: InfoHash,
    last: Option<Status>,
    /// Why nothing comes, if nothing does.
    why: Option<String>,
    done: bool,
}

impl Fetch<'_> {
    fn happened(&mut self, event: &Event) -> Result<(), Failure> {
        if let Some(mut line) = events::line(event, &self.info_hash.to_string()) {
            if let (Some(why), Some(object)) = (&self.why, line.as_object_mut()) {
                object.insert("why".to_owned(), why.as_str().into());
            }
            self.print(line);
        }
        match event {
            Event::Metadata { info, .. } => {
                info.name().clone_into(&mut self.name);
                self.gauge.rename(info.name());
            }
            Event::Refused { reason, .. } => {
                return Err(Failure::Failed(format!("{} is refused: {reason}", self.name)));
            }
            Event::Checked { have, of, .. } if *have > 0 => {
                self.gauge
                    .say(format_args!("{have} of {of} pieces are there already"));
            }
            Event::Progress { facts, .. } => {
                self.gauge.show(facts, self.why.as_deref());
                self.last = Some(*facts);
            }
            Event::Finished { .. } => self.finished(),
            Event::GoalReached { goal, .. } => self.gauge.say(format_args!("given enough: {goal}")),
            event => self.gauge.warn_of(event),
        }
        Ok(())
    }

    fn finished(&mut self) {
        self.done = true;
        let path = self.root.join(&self.name);
        let took = self.gauge.finish();
        let downloaded = self.last.as_ref().map_or(0, |facts| facts.downloaded);
        self.print(json!({
            "event": "done",
            "name": self.name,
            "path": path,
            "info_hash": self.info_hash.to_string(),
            "downloaded": downloaded,
            "seconds": took.as_secs_f64(),
        }));
        self.gauge
            .say(format_args!("all is verified: {}", path.display()));
        if self.args.seed {
            self.gauge.say("seeding until you press Ctrl-C");
        }
    }

    fn stopped(self) -> Result<(), Failure> {
        self.gauge.finish();
        if self.done {
            return Ok(());
        }
        let percent = self.last.as_ref().map_or(0, gauge::percent);
        Err(Failure::Failed(format!(
            "stopped at {percent} %; what is there is kept, and the same command again goes on from there"
        )))
    }

    /// A script that has gone away is no reason to fetch nothing.
    fn print(&self, line: serde_json::Value) {
        if self.args.json {
            let _ = print(line);
        }
    }
}
