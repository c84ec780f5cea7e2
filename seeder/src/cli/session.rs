//! What `share`, `seed` and `get` have in common: a runtime, an engine on a port, and an end within five seconds.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use shared::id::PeerId;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::flags::PortFlags;
use super::{Failure, tell};
use crate::api::{Api, Ports};
use crate::config::{DEFAULT_PORT, everywhere};
use crate::engine::{Allocation, Engine, EngineConfig, EngineError, Event, Limits, Rates};

/// Requests to stop that come so soon after the first are the same one.
const ECHO: Duration = Duration::from_millis(300);

/// Runs a command to its end. From its first step on, a request to stop finds somebody who hears it.
pub fn block_on<Running>(command: impl FnOnce(Stop) -> Running) -> Result<(), Failure>
where
    Running: Future<Output = Result<(), Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(format!("cannot start threads: {error}")))?;
    let ended = runtime.block_on(async { command(Stop::listen()?).await });
    // Whatever still reads a disk is not waited for: nothing that was promised depends on it.
    runtime.shutdown_background();
    ended
}

/// The ways to ask a program to stop: Ctrl-C, SIGTERM, a terminal that was closed.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    pub fn listen() -> Result<Self, Failure> {
        let hear =
            |kind| signal(kind).map_err(|error| Failure::Failed(format!("cannot hear signals: {error}")));
        Ok(Self {
            interrupt: hear(SignalKind::interrupt())?,
            terminate: hear(SignalKind::terminate())?,
            hangup: hear(SignalKind::hangup())?,
        })
    }

    /// Returns when somebody asks.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
            _ = self.hangup.recv() => (),
        }
    }

    /// Returns when somebody asks once more. `timeout` and shells ask twice in one breath, which is once.
    async fn asked_again(&mut self) {
        let echoes = async {
            loop {
                self.asked().await;
            }
        };
        let _: Result<(), _> = tokio::time::timeout(ECHO, echoes).await;
        self.asked().await;
    }
}

/// Starts an engine where peers are to connect. An address that was asked for and is taken is an error; where nothing was
/// asked for and the usual port is taken, another one does.
pub async fn start_engine(ports: &PortFlags, data: &Path) -> Result<Engine, Failure> {
    let peer_id = peer_id();
    let mut refused = None;
    for listen in attempts(&ports.listen, DEFAULT_PORT) {
        let config = EngineConfig {
            data: Some(data.to_owned()),
            listen,
            peer_id,
            allocation: Allocation::default(),
            limits: Limits::default(),
            encryption: ports.encryption.into(),
            rates: Rates::default(),
            store: None,
        };
        match Engine::start(config).await {
            Ok(engine) => {
                if refused.is_some() {
                    tell(format_args!("note: {}", elsewhere(&engine)));
                }
                return Ok(engine);
            }
            Err(error @ EngineError::Listen { .. }) => refused = refused.or(Some(error)),
            Err(error) => return Err(Failure::failed(error)),
        }
    }
    let why = refused.map_or_else(|| "nowhere to listen".to_owned(), |error| error.to_string());
    Err(Failure::Failed(format!(
        "{why}; name a free address with --listen, or port 0 for any"
    )))
}

/// Lets the commands that talk to a running seeder reach this engine, for as long as the answer lives. Where that cannot be,
/// a warning says so, and the work goes on.
pub fn open_control(engine: &Engine, data: &Path) -> Option<Ports> {
    let stop = CancellationToken::new();
    let api = Api::new(engine.clone(), crate::engine::Options::default(), stop.clone());
    match Ports::open(&api, data, None, stop) {
        Ok(ports) => Some(ports),
        Err(error) => {
            tell(format_args!(
                "warning: {error}; `seeder list` and its like cannot see this process"
            ));
            None
        }
    }
}

/// The next thing that happened. One who cannot keep up misses some, and goes on.
pub async fn next(events: &mut broadcast::Receiver<Event>) -> Event {
    loop {
        match events.recv().await {
            Ok(event) => return event,
            Err(RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "events came faster than they were read");
            }
            // The engine is gone; whoever waits here is about to be told so by its own doing.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Tells a person of trouble that needs one, in any command.
pub fn warn_of(event: &Event) {
    match event {
        Event::TrackerFailed { url, reason, .. } => {
            tell(format_args!(
                "warning: the tracker {} failed: {reason}",
                without_secrets(url)
            ));
        }
        Event::TrackerAnswered {
            url,
            warning: Some(warning),
            ..
        } => {
            tell(format_args!(
                "warning: the tracker {} says: {warning}",
                without_secrets(url)
            ));
        }
        Event::Banned { address, why, .. } => tell(format_args!("banned the peer {address}: {why}")),
        Event::WebSeedBanned { url, why, .. } => tell(format_args!("banned the web seed {url}: {why}")),
        Event::WebSeedFailed { url, reason, .. } => {
            tell(format_args!("warning: the web seed {url} failed: {reason}"));
        }
        Event::Refused { reason, .. } => tell(format_args!("error: {reason}")),
        Event::CannotServe { path, reason, .. } | Event::Lost { path, reason, .. } => {
            tell(format_args!(
                "warning: {}: {reason}; that part of the torrent is not given until the file is as it was",
                path.display()
            ));
        }
        Event::DiskTrouble { path, reason, .. } => {
            tell(format_args!(
                "warning: {}: {reason}; trying again until it works",
                path.display()
            ));
        }
        Event::DiskRecovered { .. } => tell("the disk works again"),
        _ => (),
    }
}

/// A tracker's host and port: the rest of the URL may be a passkey, and screens are photographed.
pub fn without_secrets(url: &str) -> String {
    let parsed = url::Url::parse(url).ok();
    let host = parsed
        .as_ref()
        .and_then(|url| Some((url.host_str()?, url.port())));
    match host {
        Some((host, Some(port))) => format!("{host}:{port}"),
        Some((host, None)) => host.to_owned(),
        None => url.to_owned(),
    }
}

fn elsewhere(engine: &Engine) -> String {
    let addresses: Vec<String> = engine
        .listen_addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
    format!(
        "the usual port {DEFAULT_PORT} is not free; peers connect to {} instead",
        addresses.join(" and ")
    )
}

/// Ends an engine kindly. Whoever asks a second time is impatient, and gets what he wants.
pub async fn leave(engine: Engine, control: Option<Ports>, stop: &mut Stop) {
    let ended = async {
        if let Some(control) = control {
            control.close().await;
        }
        engine.stop().await;
    };
    tokio::select! {
        () = ended => (),
        () = stop.asked_again() => tell("leaving at once; trackers will forget us by themselves"),
    }
}

/// Where to try to listen, in this order. Some systems have no IPv6, and the usual port may be taken.
pub fn attempts(asked: &[SocketAddr], usual: u16) -> Vec<Vec<SocketAddr>> {
    if !asked.is_empty() {
        return vec![asked.to_vec()];
    }
    let v4 = |port: u16| vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))];
    vec![everywhere(usual), v4(usual), everywhere(0), v4(0)]
}

/// A name for this process, new each time: Azureus style, then dice (BEP 20).
pub(super) fn peer_id() -> PeerId {
    let mut dice: StdRng = rand::make_rng();
    let random: [u8; 12] = dice.random();
    let mut id = [0; 20];
    for (to, from) in id.iter_mut().zip(b"-KS0100-".iter().chain(&random)) {
        *to = *from;
    }
    PeerId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_was_asked_for_is_the_only_one_tried() {
        let asked = ["127.0.0.1:4000".parse().unwrap()];
        assert_eq!(attempts(&asked, 16_881), [asked.to_vec()]);
    }

    #[test]
    fn the_usual_port_is_tried_on_both_families_before_any_other() {
        let tried: Vec<String> = attempts(&[], 6969)
            .iter()
            .map(|listen| {
                listen
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        assert_eq!(
            tried,
            [
                "0.0.0.0:6969 [::]:6969",
                "0.0.0.0:6969",
                "0.0.0.0:0 [::]:0",
                "0.0.0.0:0"
            ]
        );
    }

    #[test]
    fn a_peer_id_names_the_program_and_is_never_the_same() {
        let (one, other) = (peer_id(), peer_id());
        assert!(one.0.starts_with(b"-KS0100-"));
        assert_ne!(one, other);
    }
}
