//! The whole tracker as one value: started, asked for its addresses, stopped. `main` and `seeder share` use it. It owns the
//! sockets, the lanes, the swarms and the folder; dropping it stops everything at once, [`Server::stop`] does it kindly.

mod house;
mod open;
mod steering;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::api::ReloadWanted;
use crate::clock::Clock;
use crate::config::Config;
use crate::folder::{Folder, FolderError};
use crate::http::desk::Desk;
use crate::http::doors::Door;
use crate::http::forwarded::Trust;
use crate::http::lane::{Front, Times};
use crate::http::porter::{self, Shared};
use crate::http::site::{Means, Site};
use crate::http::tls::CertificateError;
use crate::http::trace::Listening;
use crate::http::{admin, pages};
use crate::members::books::OpenError;
use crate::members::clients::ClientRuleError;
use crate::members::office::Office;
use crate::members::store::StoreError;
use crate::metrics::Metrics;
use edge::site::Manners;
use edge::slots::Slots;
use house::{Built, Keeping};
pub use steering::ReloadError;
use steering::{Edge, Steering};

/// Answers that are under way when the tracker stops have this long. What must be written after them has 3 s; both programs
/// promise to be gone after 5 s.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Accounts and snapshots are written within this time, or the journal has them at the next start.
const LAST_WORDS: Duration = Duration::from_millis(3_200);

/// The owner's port has few visitors.
const ADMIN_CONNECTIONS: usize = 64;

/// Why a tracker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}; stop what listens there, or choose another address")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot listen on the socket {path}: {source}")]
    Socket { path: PathBuf, source: io::Error },
    #[error("no address to listen on; give at least one, such as 127.0.0.1:6969")]
    Nowhere,
    #[error("members need a data folder; give one, or serve anyone with --public")]
    NoFolder,
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("cannot use the database in {path}: {source}")]
    Store { path: PathBuf, source: StoreError },
    #[error(transparent)]
    Books(#[from] OpenError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Clients(#[from] ClientRuleError),
    #[error("cannot start: {0}")]
    System(io::Error),
}

/// A running tracker.
#[derive(Debug)]
pub struct Server {
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    lanes: Vec<JoinHandle<()>>,
    tasks: TaskTracker,
    stop: DropGuard,
    steering: Arc<Steering>,
    keeping: Keeping,
    /// Locked for as long as it is open.
    _folder: Option<Folder>,
}

impl Server {
    /// Opens all sockets and answers from now on. Must be called on a runtime, which also serves what is not an announce.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let folder = match config.data.clone() {
            Some(path) => Some(open::take_folder(path).await?),
            None => None,
        };
        // Taken before anything is read, so that a port in use is found out first. Whoever connects meanwhile waits.
        let (doors, addresses) = open::open_doors(&config.http)?;
        let admin_listener = config.admin.map(open::listen_on).transpose()?;
        let admin = admin_listener.as_ref().map(open::local_address).transpose()?;
        let clock = Clock::start();
        let slots = Slots::new(config.limits.connections, config.limits.connections_per_address);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let built = house::build(&config, folder.as_ref(), &addresses.http, clock).await?;
        let edge = Edge {
            trust: Arc::new(Trust::new(config.http.trusted_proxies.clone())),
            certificate: addresses.certificate.clone(),
            slots: Arc::clone(&slots),
            http: addresses.http.clone(),
            clock,
        };
        let steering = Steering::new(config.clone(), &built, edge)?;
        let parts = Parts::new(&config, &built, steering, (slots, tasks, stop));
        let keeping = built.keep(&parts, &config);
        let lanes = parts.open_public(&config, doors, built.router())?;
        if let Some(listener) = admin_listener {
            parts.open_admin(listener);
        }
        built.open_control(&parts, folder.as_ref())?;
        let Parts {
            tasks,
            stop,
            steering,
            ..
        } = parts;
        Ok(Self {
            http: addresses.http,
            https: addresses.https,
            admin,
            lanes,
            tasks,
            stop: stop.drop_guard(),
            steering,
            keeping,
            _folder: folder,
        })
    }

    /// Where announces are answered, with the real ports.
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http
    }

    /// The same over TLS.
    pub fn https_addresses(&self) -> &[SocketAddr] {
        &self.https
    }

    /// Where metrics and health are.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What people change, in private mode.
    pub fn office(&self) -> Option<&Arc<Office>> {
        self.keeping.office()
    }

    /// Requests to read the settings again, which come over the API; whoever knows where they are answers them. Given out once.
    pub fn take_reloads(&mut self) -> Option<mpsc::Receiver<ReloadWanted>> {
        self.keeping.take_reloads()
    }

    /// The settings in force.
    pub fn config(&self) -> Config {
        self.steering.config()
    }

    /// Listens to a member's announces, in private mode.
    pub fn trace(&self, name: &str) -> Option<Listening> {
        self.keeping.trace(name)
    }

    /// Lives by new settings from now on, as far as a running tracker can; says what has changed, and what waits for a restart.
    /// Settings that cannot be used change nothing.
    pub fn reload(&self, config: Config) -> Result<Vec<String>, ReloadError> {
        self.steering.apply(config)
    }

    /// Accepts nothing more, finishes what was read, writes what must be kept, closes everything. Takes less than 5 s.
    pub async fn stop(self) {
        let Self {
            lanes,
            tasks,
            stop,
            keeping,
            ..
        } = self;
        drop(stop);
        keeping.hush();
        tasks.close();
        let lanes = tokio::task::spawn_blocking(move || lanes.into_iter().for_each(|lane| drop(lane.join())));
        let ended = tokio::time::timeout(PATIENCE, async { tokio::join!(tasks.wait(), lanes) }).await;
        if ended.is_err() {
            warn!("some connections did not end in time and were cut off");
        }
        keeping.stop().await;
    }
}

/// What a server is put together from.
#[derive(Debug)]
struct Parts {
    front: Front,
    metrics: Arc<Metrics>,
    slots: Arc<Slots>,
    steering: Arc<Steering>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Parts {
    fn new(
        config: &Config,
        built: &Built,
        steering: Arc<Steering>,
        (slots, tasks, stop): (Arc<Slots>, TaskTracker, CancellationToken),
    ) -> Self {
        let metrics = Arc::new(Metrics::new(built.facts(), Arc::clone(&slots)));
        let front = Front {
            desk: Arc::clone(steering.desk()),
            trust: Arc::clone(steering.trust()),
            times: Times {
                head: config.http.head_time,
                idle: config.http.idle_time,
                write: config.http.write_time,
            },
            head_bytes: config.http.head_bytes,
        };
        let pulse = steering::pulse(Arc::clone(&steering), Arc::clone(&metrics), stop.clone());
        tasks.spawn(pulse);
        if let Some(certificate) = steering.certificate() {
            tasks.spawn(Arc::clone(certificate).watch(stop.clone()));
        }
        Self {
            front,
            metrics,
            slots,
            steering,
            tasks,
            stop,
        }
    }

    fn desk(&self) -> &Arc<Desk> {
        &self.front.desk
    }

    fn manners(&self) -> Manners {
        Manners {
            head_time: self.front.times.head,
            write_time: self.front.times.write,
            head_bytes: self.front.head_bytes,
        }
    }

    fn means(&self) -> Means {
        Means {
            times: self.front.times,
            head_bytes: self.front.head_bytes,
            runtime: Handle::current(),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        }
    }

    /// The public port: on lanes, or on this runtime where they are switched off.
    fn open_public(
        &self,
        config: &Config,
        doors: Vec<Door>,
        api: Option<axum::Router>,
    ) -> Result<Vec<JoinHandle<()>>, StartError> {
        let counters = self.metrics.counters();
        let mut router = pages::router(Arc::clone(self.desk()), Arc::clone(&counters));
        if let Some(api) = api {
            router = router.merge(api);
        }
        let router = pages::behind_proxies(router, Arc::clone(&self.front.trust), Arc::clone(&counters));
        let site = Site::new(router, counters, self.means());
        if !config.http.fast_lane {
            for door in doors {
                let (slots, trust) = (Arc::clone(&self.slots), Arc::clone(&self.front.trust));
                self.tasks.spawn(Arc::clone(&site).accept(door, slots, trust));
            }
            return Ok(Vec::new());
        }
        let count = config
            .http
            .lanes
            .or_else(|| std::thread::available_parallelism().ok());
        let count = count.map_or(1, NonZero::get);
        (0..count)
            .map(|number| self.open_lane(number, &site, &doors))
            .collect()
    }

    fn open_lane(
        &self,
        number: usize,
        site: &Arc<Site>,
        doors: &[Door],
    ) -> Result<JoinHandle<()>, StartError> {
        let doors = doors.iter().map(Door::try_clone).collect::<io::Result<Vec<_>>>();
        let doors = doors.map_err(StartError::System)?;
        let shared = Shared {
            front: self.front.clone(),
            site: Arc::clone(site),
            slots: Arc::clone(&self.slots),
            stop: self.stop.clone(),
        };
        let counters = self.metrics.counters();
        std::thread::Builder::new()
            .name(format!("lane-{number}"))
            .spawn(move || porter::run(shared, counters, doors, PATIENCE))
            .map_err(StartError::System)
    }

    fn open_admin(&self, listener: TcpListener) {
        let router = admin::router(Arc::clone(&self.metrics));
        // The owner's own visits are not counted among the clients'.
        let site = Site::new(router, Arc::default(), self.means());
        let (slots, trust) = (
            Slots::new(ADMIN_CONNECTIONS, ADMIN_CONNECTIONS),
            Arc::new(Trust::new(Vec::new())),
        );
        self.tasks.spawn(site.accept(Door::Tcp(listener), slots, trust));
    }
}
