//! `tracker serve`: runs the tracker until a signal.

use std::net::SocketAddr;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::output::print;
use super::{Common, Failure};
use crate::config::{Config, Typed};
use crate::server::Server;

/// Threads for what is not an announce; lanes have their own.
const WORKERS: usize = 2;

/// Descriptors beside connections: listeners, logs, the state folder.
const SPARE_DESCRIPTORS: u64 = 64;

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
    let loaded = origin.load().map_err(Failure::usage)?;
    let mut config = origin.config().map_err(Failure::usage)?;
    crate::log::start(&config.log).map_err(Failure::usage)?;
    for variable in &loaded.unread {
        warn!(variable, "nothing reads this environment variable");
    }
    bound_connections(&mut config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build();
    runtime
        .map_err(Failure::failed)?
        .block_on(serve(config, common.json))
}

async fn serve(config: Config, json: bool) -> Result<(), Failure> {
    // Installed before anything is announced: whoever reads our addresses may stop us at once.
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let server = Server::start(config).await.map_err(Failure::failed)?;
    match announce(&server, json) {
        // Whoever read our addresses needs no more of them; the tracker is still wanted.
        Ok(()) | Err(Failure::Closed) => (),
        Err(failure) => return Err(failure),
    }
    tokio::select! {
        _ = terminate.recv() => info!("asked to stop"),
        _ = interrupt.recv() => info!("interrupted"),
    }
    server.stop().await;
    info!("stopped");
    Ok(())
}

/// Says where it listens.
fn announce(server: &Server, json: bool) -> Result<(), Failure> {
    for &address in server.http_addresses() {
        announce_http(address, json)?;
    }
    server
        .admin_address()
        .map_or(Ok(()), |address| announce_admin(address, json))
}

fn announce_http(address: SocketAddr, json: bool) -> Result<(), Failure> {
    let announce = format!("http://{address}/announce");
    if json {
        return print(json!({ "listening": "http", "address": address.to_string(), "announce": announce }));
    }
    print(format_args!("listening http {announce}"))
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
