//! `seeder run`: the daemon. It takes its torrents up where it left them, answers its owner, and reads its settings again on SIGHUP.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use edge::folder::Folder;
use edge::listen;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::config::FileFlag;
use super::flags::{Encryption, PortFlags, Transport};
use super::{Failure, print, session, tell, web_seed};
use crate::api::{Admin, Api, Ports, Token};
use crate::config::{Config, DEFAULT_PORT, File, everywhere};
use crate::engine::{Engine, EngineConfig, EngineError};
use crate::state;
use crate::web::WebServer;

/// The database's name in the state folder.
const STORE: &str = "seeder.sqlite";

/// Run until told to stop: seeds and downloads what `seeder add` brings, and goes on with it after a restart
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: FileFlag,

    /// Accept peers at this address; may be repeated; port 0 picks a free one [default: as in the settings]
    #[arg(long, value_name = "ADDR", env = "SEEDER__LISTEN", value_delimiter = ',')]
    listen: Vec<SocketAddr>,

    /// Keep state in this folder [default: as in the settings, else ~/.local/state/kinswarm]
    #[arg(long, value_name = "DIR", env = "SEEDER__DATA")]
    data: Option<PathBuf>,

    /// Answer the API, /metrics and /health here; `off` is nowhere [default: as in the settings]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,

    /// Give files to web clients too, at this address; `off` is nowhere [default: as in the settings]
    #[arg(long, value_name = "ADDR")]
    web_seed: Option<String>,

    /// Whether peers shake hands behind obfuscation [default: as in the settings]
    #[arg(long, value_name = "WHEN")]
    encryption: Option<Encryption>,

    /// How bytes travel; `both` means TCP until there is uTP
    #[arg(long, value_name = "HOW", default_value = "both")]
    transport: Transport,

    /// Ask no distributed hash table for peers (so far always true)
    #[arg(long)]
    no_dht: bool,

    /// Ask no neighbours on the local network for peers (so far always true)
    #[arg(long)]
    no_lsd: bool,

    /// Print where it listens as a JSON object
    #[arg(long)]
    json: bool,

    /// What was typed before all commands.
    #[arg(skip)]
    log: Option<String>,
}

impl Args {
    /// The settings from all sources.
    fn load(&self) -> Result<(File, Config), Failure> {
        let (mut file, mut config) = self.file.load()?;
        for (typed, setting) in [
            (&self.admin, &mut file.admin.listen),
            (&self.web_seed, &mut file.web_seed.listen),
        ] {
            if let Some(typed) = typed {
                setting.clone_from(typed);
            }
        }
        if self.admin.is_some() || self.web_seed.is_some() {
            config = Config::try_from(&file).map_err(Failure::usage)?;
        }
        if let Some(log) = &self.log {
            config.log.clone_from(log);
        }
        if let Some(data) = &self.data {
            config.data = Some(data.clone());
        }
        if !self.listen.is_empty() {
            config.listen.clone_from(&self.listen);
        }
        if let Some(encryption) = self.encryption {
            config.encryption = encryption.into();
        }
        Ok((file, config))
    }

    fn check(&self) -> Result<(), Failure> {
        let flags = PortFlags {
            listen: Vec::new(),
            data: None,
            encryption: self.encryption.unwrap_or(Encryption::Prefer),
            transport: self.transport,
            no_dht: self.no_dht,
            no_lsd: self.no_lsd,
        };
        flags.check()
    }
}

pub fn run(mut args: Args, log: Option<String>) -> Result<(), Failure> {
    args.log = log;
    args.check()?;
    let (file, config) = args.load()?;
    edge::log::start(&config.log).map_err(Failure::usage)?;
    let data = state::folder(config.data.as_deref())?;
    let folder = Folder::take(&data, "seeder").map_err(Failure::failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(format!("cannot start threads: {error}")))?;
    let ended = runtime.block_on(serve(&args, file, config, &folder));
    // Whatever still reads a disk is not waited for: nothing that was promised depends on it.
    runtime.shutdown_background();
    ended
}

/// What can be told from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let hear =
            |kind| signal(kind).map_err(|error| Failure::Failed(format!("cannot hear signals: {error}")));
        Ok(Self {
            terminate: hear(SignalKind::terminate())?,
            interrupt: hear(SignalKind::interrupt())?,
            hangup: hear(SignalKind::hangup())?,
        })
    }
}

async fn serve(args: &Args, file: File, config: Config, folder: &Folder) -> Result<(), Failure> {
    // Installed before anything is printed: whoever reads our addresses may stop us at once.
    let mut signals = Signals::listen()?;
    let engine = start(&config, folder).await?;
    let stop = CancellationToken::new();
    let api = Api::new(engine.clone(), config.options.clone(), stop.clone());
    let opened = open(&api, &config, folder, stop);
    let opened = opened.and_then(|ports| Ok((ports, web_seed::open(&engine, config.web_seed)?)));
    let (ports, web) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            engine.stop().await;
            return Err(failure);
        }
    };
    let ended = match announce(args, &engine, &ports, web.as_ref()) {
        // Whoever read our addresses needs no more of them; the seeder is still wanted.
        Ok(()) | Err(Failure::Closed) => {
            stay(args, file, &engine, &mut signals).await;
            Ok(())
        }
        Err(failure) => Err(failure),
    };
    info!("asked to stop");
    drop(api);
    tokio::join!(ports.close(), web_seed::close(web), engine.stop());
    info!("stopped");
    ended
}

/// Works until somebody wants it to end.
async fn stay(args: &Args, mut file: File, engine: &Engine, signals: &mut Signals) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            _ = signals.hangup.recv() => file = reload(args, file, engine).await,
        }
    }
}

async fn start(config: &Config, folder: &Folder) -> Result<Engine, Failure> {
    let mut refused = None;
    for listen in attempts(&config.listen) {
        let config = EngineConfig {
            listen,
            data: Some(folder.path().to_owned()),
            peer_id: session::peer_id(),
            limits: config.limits.clone(),
            encryption: config.encryption,
            rates: config.rates.clone(),
            store: Some(folder.path().join(STORE)),
            allocation: config.allocation,
        };
        match Engine::start(config).await {
            Ok(engine) => return Ok(engine),
            Err(error @ EngineError::Listen { .. }) => refused = refused.or(Some(error)),
            Err(error) => return Err(Failure::failed(error)),
        }
    }
    let why = refused.map_or_else(|| "nowhere to listen".to_owned(), |error| error.to_string());
    Err(Failure::Failed(format!(
        "{why}; free that address, or name another with --listen or peers.listen"
    )))
}

/// Where to listen, and where else: some systems have no IPv6.
fn attempts(listen: &[SocketAddr]) -> Vec<Vec<SocketAddr>> {
    let mut attempts = vec![listen.to_vec()];
    if listen == everywhere(DEFAULT_PORT) {
        attempts.push(vec![(Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into()]);
    }
    attempts
}

fn open(
    api: &std::sync::Arc<Api>,
    config: &Config,
    folder: &Folder,
    stop: CancellationToken,
) -> Result<Ports, Failure> {
    let admin = match config.admin {
        None => None,
        Some(address) => {
            if !listen::unmapped(address).ip().is_loopback() {
                warn!(%address, "others on the network can reach the owner's port, without TLS: put a proxy before it");
            }
            Some(Admin {
                listen: address,
                hosts: config.admin_hosts.clone(),
                token: Token::open(folder.path()).map_err(Failure::failed)?,
            })
        }
    };
    Ports::open(api, folder.path(), admin, stop).map_err(Failure::failed)
}

fn announce(args: &Args, engine: &Engine, ports: &Ports, web: Option<&WebServer>) -> Result<(), Failure> {
    let (listen, admin) = (engine.listen_addresses(), ports.admin_address());
    if args.json {
        let web = web.map(WebServer::address);
        return print(json!({ "event": "listening", "listen": listen, "admin": admin, "web_seed": web }));
    }
    let addresses: Vec<String> = listen.iter().map(ToString::to_string).collect();
    tell(format_args!("peers connect to {}", addresses.join(" and ")));
    if let Some(admin) = admin {
        tell(format_args!("the API answers at http://{admin}/api/v1"));
    }
    web_seed::announce(web);
    Ok(())
}

/// Reads the settings again and takes over what can change live. The settings in force from now on.
async fn reload(args: &Args, old: File, engine: &Engine) -> File {
    let (file, config) = match args.load() {
        Ok(read) => read,
        Err(failure) => {
            error!(%failure, "the settings stay as they were");
            return old;
        }
    };
    // What was changed over the API since then stays, where the settings are as they were.
    let rates = |file: &File| {
        let peers = &file.peers;
        (
            file.rates.clone(),
            peers.connections,
            peers.connections_per_torrent,
        )
    };
    if rates(&file) != rates(&old)
        && let Err(error) = engine.set_rates(config.rates).await
    {
        error!(%error, "the rates stay as they were");
        return old;
    }
    if let Err(error) = edge::log::change(&config.log) {
        error!(%error, "the log stays as it was");
    }
    if needs_restart(&old, &file) {
        warn!(
            "some of the settings that changed need a restart: only rates, connections and the log change live"
        );
    }
    info!("the settings were read again");
    file
}

fn needs_restart(old: &File, new: &File) -> bool {
    let fixed = |file: &File| {
        let mut file = file.clone();
        file.seeder.log.clear();
        file.rates = crate::config::RatesSection::default();
        (file.peers.connections, file.peers.connections_per_torrent) = (1, 0);
        file
    };
    fixed(old) != fixed(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_change_live_and_ports_do_not() {
        let old = File::default();
        let mut new = old.clone();
        new.rates.upload = "1M".to_owned();
        new.peers.connections = 7;
        new.seeder.log = "debug".to_owned();
        assert!(!needs_restart(&old, &new));
        new.admin.listen = "off".to_owned();
        assert!(needs_restart(&old, &new));
    }
}
