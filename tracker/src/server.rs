//! The whole tracker as one value: started, asked for its addresses, stopped. `main` and `seeder share` use it. It owns the
//! sockets, the lanes, the swarms and the folder; dropping it stops everything at once, [`Server::stop`] does it kindly.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::{Admission, Config, Mode};
use crate::folder::{Folder, FolderError};
use crate::http::desk::{Desk, ScrapeRules};
use crate::http::lane::{self, Shared, Times};
use crate::http::site::{Means, Site};
use crate::http::slots::Slots;
use crate::http::{admin, listen, pages};
use crate::metrics::Metrics;
use crate::swarm::{Pace, Policy, SwarmLimits, Swarms};
use crate::sweeper;

/// Answers that are under way when the tracker stops have this long; both programs promise to be gone after 5 s.
const PATIENCE: Duration = Duration::from_secs(4);

/// The owner's port has few visitors.
const ADMIN_CONNECTIONS: usize = 64;

/// Why a tracker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}; stop what listens there, or choose another address")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("no address to listen on; give at least one, such as 127.0.0.1:6969")]
    Nowhere,
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("cannot start: {0}")]
    System(io::Error),
}

/// A running tracker.
#[derive(Debug)]
pub struct Server {
    http: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    lanes: Vec<JoinHandle<()>>,
    tasks: TaskTracker,
    stop: DropGuard,
    /// Ours for as long as this stands.
    _folder: Option<Folder>,
}

impl Server {
    /// Opens all sockets and answers from now on. Must be called on a runtime, which also serves what is not an announce.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let folder = match config.data.clone() {
            Some(path) => Some(take_folder(path).await?),
            None => None,
        };
        let listeners = listen_everywhere(&config.http.listen)?;
        let http = addresses(&listeners)?;
        let admin_listener = config.admin.map(listen_on).transpose()?;
        let admin = admin_listener.as_ref().map(local_address).transpose()?;
        let parts = Parts::new(&config);
        let lanes = parts.open_public(&config, listeners)?;
        if let Some(listener) = admin_listener {
            parts.open_admin(listener);
        }
        parts.start_sweeper(config.announce.peer_timeout);
        let Parts { tasks, stop, .. } = parts;
        Ok(Self {
            http,
            admin,
            lanes,
            tasks,
            stop: stop.drop_guard(),
            _folder: folder,
        })
    }

    /// Where announces are answered, with the real ports.
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http
    }

    /// Where metrics and health are.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Accepts nothing more, finishes what was read, closes everything. Takes less than 5 s.
    pub async fn stop(self) {
        let Self {
            lanes, tasks, stop, ..
        } = self;
        drop(stop);
        tasks.close();
        let lanes = tokio::task::spawn_blocking(move || lanes.into_iter().for_each(|lane| drop(lane.join())));
        let ended = tokio::time::timeout(PATIENCE, async { tokio::join!(tasks.wait(), lanes) }).await;
        if ended.is_err() {
            warn!("some connections did not end in time and were cut off");
        }
    }
}

/// What a server is put together from.
struct Parts {
    clock: Clock,
    swarms: Arc<Swarms>,
    desk: Arc<Desk>,
    metrics: Arc<Metrics>,
    slots: Arc<Slots>,
    times: Times,
    head_bytes: usize,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Parts {
    fn new(config: &Config) -> Self {
        let clock = Clock::start();
        let limits = SwarmLimits {
            peers_per_swarm: config.limits.peers_per_swarm,
            swarms: config.limits.swarms,
            peers: config.limits.peers,
            ..SwarmLimits::default()
        };
        let swarms = Arc::new(Swarms::new(limits, rand::random()));
        let slots = Slots::new(config.limits.connections, config.limits.connections_per_address);
        let desk = Arc::new(Desk {
            swarms: Arc::clone(&swarms),
            policy: policy(config),
            admission: match &config.mode {
                Mode::Public(admission) => admission.clone(),
                Mode::Private => Admission::Everyone,
            },
            scrape: ScrapeRules {
                hashes_max: config.scrape.hashes_max,
                full: config.scrape.full,
            },
            clock,
        });
        Self {
            clock,
            desk,
            metrics: Arc::new(Metrics::new(Arc::clone(&swarms), Arc::clone(&slots))),
            swarms,
            slots,
            times: Times {
                head: config.http.head_time,
                idle: config.http.idle_time,
                write: config.http.write_time,
            },
            head_bytes: config.http.head_bytes,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    fn means(&self) -> Means {
        Means {
            times: self.times,
            head_bytes: self.head_bytes,
            runtime: Handle::current(),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        }
    }

    /// The public port: on lanes, or on this runtime where they are switched off.
    fn open_public(
        &self,
        config: &Config,
        listeners: Vec<TcpListener>,
    ) -> Result<Vec<JoinHandle<()>>, StartError> {
        let counters = self.metrics.counters();
        let router = pages::router(Arc::clone(&self.desk), Arc::clone(&counters));
        let site = Site::new(router, counters, self.means());
        if !config.http.fast_lane {
            for listener in listeners {
                self.tasks
                    .spawn(Arc::clone(&site).accept(listener, Arc::clone(&self.slots)));
            }
            return Ok(Vec::new());
        }
        let count = config
            .http
            .lanes
            .or_else(|| std::thread::available_parallelism().ok());
        let count = count.map_or(1, NonZero::get);
        (0..count)
            .map(|number| self.open_lane(number, &site, &listeners))
            .collect()
    }

    fn open_lane(
        &self,
        number: usize,
        site: &Arc<Site>,
        listeners: &[TcpListener],
    ) -> Result<JoinHandle<()>, StartError> {
        let listeners = listeners
            .iter()
            .map(TcpListener::try_clone)
            .collect::<io::Result<Vec<_>>>();
        let listeners = listeners.map_err(StartError::System)?;
        let shared = Shared {
            desk: Arc::clone(&self.desk),
            site: Arc::clone(site),
            slots: Arc::clone(&self.slots),
            times: self.times,
            head_bytes: self.head_bytes,
            stop: self.stop.clone(),
        };
        let counters = self.metrics.counters();
        std::thread::Builder::new()
            .name(format!("lane-{number}"))
            .spawn(move || lane::run(shared, counters, listeners, PATIENCE))
            .map_err(StartError::System)
    }

    fn start_sweeper(&self, timeout: Duration) {
        let (clock, counters) = (self.clock, self.metrics.counters());
        let report = move |swept| counters.swept(swept);
        let swarms = Arc::clone(&self.swarms);
        let sweep = move |shard| swarms.sweep_shard(shard, clock.now(), timeout);
        self.tasks
            .spawn(sweeper::run(sweep, sweeper::PERIOD, report, self.stop.clone()));
    }

    fn open_admin(&self, listener: TcpListener) {
        let router = admin::router(Arc::clone(&self.metrics));
        // The owner's own visits are not counted among the clients'.
        let site = Site::new(router, Arc::default(), self.means());
        self.tasks
            .spawn(site.accept(listener, Slots::new(ADMIN_CONNECTIONS, ADMIN_CONNECTIONS)));
    }
}

fn listen_on(address: SocketAddr) -> Result<TcpListener, StartError> {
    listen::open(address).map_err(|source| StartError::Listen { address, source })
}

/// Opens every address. A machine without IPv6 is no reason not to serve IPv4.
fn listen_everywhere(wanted: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::new();
    for &address in wanted {
        match listen::open(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if wanted.len() > 1 && is_any_v6(address) && is_unavailable(&error) => {
                warn!(%address, %error, "this machine has no IPv6: going on without it");
            }
            Err(source) => return Err(StartError::Listen { address, source }),
        }
    }
    if listeners.is_empty() {
        Err(StartError::Nowhere)
    } else {
        Ok(listeners)
    }
}

fn is_any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

fn is_unavailable(error: &io::Error) -> bool {
    use rustix::io::Errno;

    Errno::from_io_error(error).is_some_and(|errno| matches!(errno, Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn addresses(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, StartError> {
    listeners.iter().map(local_address).collect()
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(StartError::System)
}

async fn take_folder(path: PathBuf) -> Result<Folder, StartError> {
    let taken = tokio::task::spawn_blocking(move || Folder::take(&path)).await;
    Ok(taken.map_err(|error| StartError::System(error.into()))??)
}

fn policy(config: &Config) -> Policy {
    let external = &config.announce.external_addresses;
    Policy {
        interval: config.announce.interval,
        jitter: config.announce.jitter,
        min_interval: config.announce.min_interval,
        pace: Pace {
            longest: Pace::longest_within(config.announce.peer_timeout),
            small_interval: config.announce.small_interval,
            small_peers: config.announce.small_peers,
            young: config.announce.young,
            ..Pace::default()
        },
        numwant_default: config.announce.numwant,
        numwant_max: config.announce.numwant_max,
        external_v4: external.iter().find_map(|address| {
            if let IpAddr::V4(v4) = address {
                Some(*v4)
            } else {
                None
            }
        }),
        external_v6: external.iter().find_map(|address| {
            if let IpAddr::V6(v6) = address {
                Some(*v6)
            } else {
                None
            }
        }),
    }
}
