//! `seeder seed FILE… --content DIR`: many torrents whose content is there already, one process, one port.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use shared::id::InfoHash;
use shared::metainfo::Metainfo;

use super::audience::Audience;
use super::flags::PortFlags;
use super::session::Stop;
use super::treatment::{CheckFlag, GiveFlags};
use super::web_seed::{self, WebSeedFlags};
use super::{Failure, events, print, session, tell};
use crate::engine::{AddTorrent, Engine, Event, Mode, Options, Source, TorrentKey};
use crate::library::torrent_file::read_torrent;
use crate::state;
use crate::web::WebServer;

/// Seed torrents whose content is there already; nothing is ever written to it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The .torrent files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The folder that holds the content: each torrent's own file or folder lies in it
    #[arg(long, value_name = "DIR")]
    content: PathBuf,

    /// How much of the content is hashed before it is given
    #[arg(long, value_name = "HOW", default_value = "lazy")]
    check: CheckFlag,

    /// Hand out each piece once before any twice, while nobody else has it all
    #[arg(long)]
    super_seed: bool,

    /// Print events, a JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    give: GiveFlags,

    #[command(flatten)]
    web_seed: WebSeedFlags,

    #[command(flatten)]
    ports: PortFlags,
}

pub fn run(mut args: Args) -> Result<(), Failure> {
    args.ports.check()?;
    let content = args.content.canonicalize();
    let content = content.map_err(|error| {
        Failure::Failed(format!(
            "--content {}: {error}; name the folder that holds the content",
            args.content.display()
        ))
    })?;
    // The engine is told whole paths only: where we happen to stand says nothing to others.
    args.content.clone_from(&content);
    let torrents = args
        .files
        .iter()
        .map(|file| read_torrent(file))
        .collect::<Result<Vec<_>, _>>()?;
    let hashes: Vec<InfoHash> = torrents.iter().map(|torrent| torrent.info.wire_hash()).collect();
    refuse_twice(&args.files, &hashes)?;
    let data = state::folder(args.ports.data.as_deref())?;
    let (place, _lock) = state::place(&data, &content, &hashes)?;
    session::block_on(|mut stop| async move {
        let engine = session::start_engine(&args.ports, &place).await?;
        let control = session::open_control(&engine, &data);
        let seeded = match args.web_seed.open(&engine) {
            Ok(web) => {
                let seeded = seed(&args, &engine, (torrents, web.as_ref()), &mut stop).await;
                web_seed::close(web).await;
                seeded
            }
            Err(failure) => Err(failure),
        };
        session::leave(engine, control, &mut stop).await;
        seeded
    })
}

fn refuse_twice(files: &[PathBuf], hashes: &[InfoHash]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    match files.iter().zip(hashes).find(|(_, hash)| !seen.insert(*hash)) {
        None => Ok(()),
        Some((file, _)) => Err(Failure::Usage(format!(
            "{}: this torrent is named twice; once is enough",
            file.display()
        ))),
    }
}

/// What is said of a torrent.
struct Named {
    name: String,
    info_hash: String,
}

async fn seed(
    args: &Args,
    engine: &Engine,
    (torrents, web): (Vec<Metainfo>, Option<&WebServer>),
    stop: &mut Stop,
) -> Result<(), Failure> {
    let mut happening = engine.subscribe();
    let mut names: BTreeMap<TorrentKey, Named> = BTreeMap::new();
    for metainfo in torrents {
        let called = Named {
            name: metainfo.info.name().to_owned(),
            info_hash: metainfo.info.wire_hash().to_string(),
        };
        let torrent = AddTorrent {
            trackers: metainfo.trackers.clone(),
            source: Source::Metainfo(Arc::new(metainfo)),
            root: args.content.clone(),
            mode: Mode::Seed,
            peers: Vec::new(),
            options: Options {
                check: args.check.check(),
                super_seed: args.super_seed,
                ..args.give.options()
            },
        };
        names.insert(engine.add(torrent).await.map_err(Failure::failed)?, called);
    }
    announce_start(args, engine, web, names.len())?;
    let mut audience = Audience::watch(names.keys().copied().collect(), !args.json);
    let mut wanted: BTreeSet<TorrentKey> = names.keys().copied().collect();
    loop {
        let event = tokio::select! {
            () = stop.asked() => break,
            () = audience.due() => {
                audience.look(engine).await;
                continue;
            }
            event = session::next(&mut happening) => event,
        };
        if let Some(named) = names.get(&events::key_of(&event)) {
            audience.aside(|| report(args, &event, named))?;
        }
        if let Event::GoalReached { key, .. } = event {
            wanted.remove(&key);
            // Who named goals wants no process that rests for ever.
            if wanted.is_empty() && args.give.goals.have_an_end() {
                break;
            }
        }
    }
    audience.leave();
    Ok(())
}

fn announce_start(
    args: &Args,
    engine: &Engine,
    web: Option<&WebServer>,
    count: usize,
) -> Result<(), Failure> {
    let listen = engine.listen_addresses();
    if args.json {
        let web = web.map(WebServer::address);
        return print(json!({ "event": "listening", "listen": listen, "torrents": count, "web_seed": web }));
    }
    let addresses: Vec<String> = listen.iter().map(ToString::to_string).collect();
    let count = if count == 1 {
        "1 torrent".to_owned()
    } else {
        format!("{count} torrents")
    };
    tell(format_args!(
        "seeding {count} on {} until you press Ctrl-C",
        addresses.join(" and ")
    ));
    web_seed::announce(web);
    Ok(())
}

fn report(args: &Args, event: &Event, named: &Named) -> Result<(), Failure> {
    if args.json {
        events::line(event, &named.info_hash).map_or(Ok(()), print)?;
    }
    match event {
        Event::Checked { have, of, .. } if have < of => tell(format_args!(
            "warning: {}: only {have} of {of} pieces are there; `seeder verify` names the files at fault",
            named.name
        )),
        Event::Checked { of, .. } if !args.json => {
            tell(format_args!("{}: all {of} pieces are there", named.name));
        }
        Event::GoalReached { goal, .. } if !args.json => {
            tell(format_args!("{}: given enough: {goal}", named.name));
        }
        event => session::warn_of(event),
    }
    Ok(())
}
