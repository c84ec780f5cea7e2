//! `tracker serve`: runs the tracker until a signal.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::invite::redeem_line;
use super::{Common, Failure};
use crate::address::Base;
use crate::api::ReloadWanted;
use crate::config::{Config, Loaded, Mode, Origin, Typed};
use crate::server::Server;
use edge::command::{print, tell};

/// Threads for what is not an announce; lanes have their own.
const WORKERS: usize = 2;

/// Descriptors beside connections: listeners, logs, the state folder, the parts of the journal between two snapshots.
const SPARE_DESCRIPTORS: u64 = 192;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Serve anyone and any torrent, without members
    #[arg(long)]
    public: bool,
    /// Where to answer announces and scrapes; may be repeated; port 0 picks one [default: `0.0.0.0:6969` and `[::]:6969`]
    #[arg(long, value_name = "ADDR")]
    http: Vec<SocketAddr>,
    /// Where to answer /metrics and /health; `off` is nowhere [default: 127.0.0.1:6970]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
}

pub(super) fn run(args: Args, common: Common) -> Result<(), Failure> {
    let Args { public, http, admin } = args;
    let origin = common.origin(Typed {
        http,
        admin,
        public,
        ..Typed::default()
    });
    let Loaded { file, unread } = origin.load().map_err(Failure::usage)?;
    let mut config = Config::try_from(&file).map_err(Failure::usage)?;
    edge::log::start(&config.log).map_err(Failure::usage)?;
    for variable in &unread {
        warn!(variable, "nothing reads this environment variable");
    }
    bound_connections(&mut config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build();
    runtime
        .map_err(Failure::failed)?
        .block_on(serve(config, origin, common.json))
}

async fn serve(config: Config, origin: Origin, json: bool) -> Result<(), Failure> {
    // Installed before anything is announced: whoever reads our addresses may stop us at once.
    let listen = |kind| signal(kind).map_err(Failure::failed);
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut hangup = listen(SignalKind::hangup())?;
    let mut server = Server::start(config.clone()).await.map_err(Failure::failed)?;
    let mut reloads = server.take_reloads();
    match announce(&server, &config, json) {
        // Whoever read our addresses needs no more of them; the tracker is still wanted.
        Ok(()) | Err(Failure::Closed) => (),
        Err(failure) => return Err(failure),
    }
    welcome(&server, &config);
    loop {
        tokio::select! {
            _ = terminate.recv() => break info!("asked to stop"),
            _ = interrupt.recv() => break info!("interrupted"),
            _ = hangup.recv() => drop(reload(&server, &origin)),
            wanted = asked(reloads.as_mut()) => {
                // Whoever asked may have gone away.
                let _ = wanted.answer.send(reload(&server, &origin));
            }
        }
    }
    server.stop().await;
    info!("stopped");
    Ok(())
}

/// The next request of the API to read the settings again.
async fn asked(reloads: Option<&mut mpsc::Receiver<ReloadWanted>>) -> ReloadWanted {
    let wanted = match reloads {
        Some(reloads) => reloads.recv().await,
        None => None,
    };
    match wanted {
        Some(wanted) => wanted,
        None => std::future::pending().await,
    }
}

/// Reads the settings again, and hands them over if all of them can be used.
fn reload(server: &Server, origin: &Origin) -> Result<Vec<String>, String> {
    let read = origin.config().map_err(|error| error.to_string());
    let applied = read.and_then(|mut config| {
        bound_connections(&mut config);
        server.reload(config).map_err(|error| error.to_string())
    });
    match &applied {
        Ok(changes) => info!(changes = changes.len(), "the settings were read again"),
        // The log has a line for each thing that happens.
        Err(error) => error!(error = one_line(error), "the settings stay as they were"),
    }
    applied
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

/// What the owner must know before anything else: how others find this tracker, and how to become its owner.
fn welcome(server: &Server, config: &Config) {
    let Some(office) = server.office() else { return };
    let base = Base::of(config, server.http_addresses());
    if base.guessed {
        warn!(
            address = base.url,
            "tracker.public_url is not set: announce URLs are given out with this address"
        );
    }
    if let Some(code) = office.offer_ownership() {
        tell(format_args!(
            "This tracker has no owner yet. Whoever sends this becomes the owner, and is told a passkey and a token with all rights:\n\n  \
             {}\n\nThe code works once. On this machine none is needed: `tracker member add NAME --owner` does the same.",
            redeem_line(&base.url, "owner", &code)
        ));
    }
}

/// Says where it listens.
fn announce(server: &Server, config: &Config, json: bool) -> Result<(), Failure> {
    let path = match config.mode {
        Mode::Public(_) => "/announce",
        Mode::Private => "/{passkey}/announce",
    };
    for &address in server.http_addresses() {
        announce_at("http", address, path, json)?;
    }
    for &address in server.https_addresses() {
        announce_at("https", address, path, json)?;
    }
    for socket in &config.http.unix {
        announce_socket(socket, json)?;
    }
    server
        .admin_address()
        .map_or(Ok(()), |address| announce_admin(address, json))
}

fn announce_at(scheme: &str, address: SocketAddr, path: &str, json: bool) -> Result<(), Failure> {
    let announce = format!("{scheme}://{address}{path}");
    if json {
        return print(json!({ "listening": scheme, "address": address.to_string(), "announce": announce }));
    }
    print(format_args!("listening {scheme} {announce}"))
}

fn announce_socket(path: &Path, json: bool) -> Result<(), Failure> {
    if json {
        return print(json!({ "listening": "unix", "path": path }));
    }
    print(format_args!("listening unix {}", path.display()))
}

fn announce_admin(address: SocketAddr, json: bool) -> Result<(), Failure> {
    if json {
        return print(json!({ "listening": "admin", "address": address.to_string() }));
    }
    print(format_args!("listening admin http://{address}"))
}

/// Asks for as many descriptors as the connections need, and holds no more connections than it got descriptors for.
fn bound_connections(config: &mut Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let wanted = u64::try_from(config.limits.connections)
        .unwrap_or(u64::MAX)
        .saturating_add(SPARE_DESCRIPTORS);
    let limit = getrlimit(Resource::Nofile);
    let mut current = limit.current.unwrap_or(u64::MAX);
    let reachable = wanted.min(limit.maximum.unwrap_or(u64::MAX));
    if current < reachable
        && setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(reachable),
                ..limit
            },
        )
        .is_ok()
    {
        current = reachable;
    }
    if current < wanted {
        let room = current.saturating_sub(SPARE_DESCRIPTORS).max(1);
        config.limits.connections = usize::try_from(room).unwrap_or(config.limits.connections);
        warn!(
            connections = config.limits.connections,
            open_files = current,
            "fewer connections than set: raise the limit on open files"
        );
    }
}
