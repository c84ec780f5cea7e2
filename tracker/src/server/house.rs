//! What a tracker is built around: anyone's swarms, or the members' with their books. Everything is brought back here before
//! the first answer, and kept up until the last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::{LAST_WORDS, Parts, StartError};
use crate::address::Base;
use crate::api::{self, Api, ApiParts, ReloadWanted, Running};
use crate::clock::Clock;
use crate::config::{Admission, Config, Mode};
use crate::folder::{Folder, State};
use crate::http::counter::{Counter, Strangers};
use crate::http::desk::House;
use crate::http::outside::Outside;
use crate::http::prober::Prober;
use crate::http::trace::{Listening, Tracer};
use crate::members::books::{Books, BooksParts, BooksState};
use crate::members::office::Office;
use crate::members::store::Store;
use crate::metrics::Facts;
use crate::snapshot::Keeper;
use crate::swarm::private::PrivateSwarms;
use crate::swarm::{Swarms, Swept};
use crate::sweeper;
use edge::control::{self, Control};
use edge::site::Site;

/// Requests to read the settings again that wait; one is served at a time.
const RELOADS: usize = 1;

/// A tracker's inside.
#[derive(Debug)]
pub(super) enum Built {
    Public {
        swarms: Arc<Swarms>,
        admission: Admission,
        keeper: Option<Arc<Keeper>>,
    },
    Private(Box<Members>),
}

/// Everything that only members have.
#[derive(Debug)]
pub(super) struct Members {
    store: Store,
    pub swarms: Arc<PrivateSwarms>,
    pub office: Arc<Office>,
    pub books: Arc<Books>,
    pub tracer: Arc<Tracer>,
    pub outside: Arc<Outside>,
    pub prober: Arc<Prober>,
    api: Arc<Api>,
    clock: Clock,
    reloads: std::sync::Mutex<Option<mpsc::Receiver<ReloadWanted>>>,
}

/// What must be written before the end, and whom it belongs to.
#[derive(Debug)]
pub(super) struct Keeping {
    stop: CancellationToken,
    writing: Option<AbortOnDropHandle<()>>,
    store: Option<Store>,
    tracer: Option<Arc<Tracer>>,
    office: Option<Arc<Office>>,
    reloads: Option<mpsc::Receiver<ReloadWanted>>,
}

/// Opens what the settings ask for. `http` is where announces will be answered.
pub(super) async fn build(
    config: &Config,
    folder: Option<&Folder>,
    http: &[SocketAddr],
    clock: Clock,
) -> Result<Built, StartError> {
    match &config.mode {
        Mode::Public(admission) => {
            let swarms = Arc::new(Swarms::new(config.swarm_limits(), rand::random()));
            let keeper = match folder {
                Some(folder) => Some(open_keeper(folder, &swarms, clock).await?),
                None => None,
            };
            Ok(Built::Public {
                swarms,
                admission: admission.clone(),
                keeper,
            })
        }
        Mode::Private => {
            let folder = folder.ok_or(StartError::NoFolder)?;
            let members = open_members(config, folder, http, clock).await?;
            Ok(Built::Private(Box::new(members)))
        }
    }
}

async fn open_keeper(folder: &Folder, swarms: &Arc<Swarms>, clock: Clock) -> Result<Arc<Keeper>, StartError> {
    let (path, swarms) = (folder.path().to_owned(), Arc::clone(swarms));
    let opened = tokio::task::spawn_blocking(move || Keeper::open(path, swarms, clock)).await;
    opened.map_err(|error| StartError::System(error.into()))
}

async fn open_members(
    config: &Config,
    folder: &Folder,
    http: &[SocketAddr],
    clock: Clock,
) -> Result<Members, StartError> {
    let State {
        store,
        secret,
        keys_lost,
    } = folder.open(rand::random()).await?;
    if keys_lost {
        warn!(
            "the secret is new although there are members: nobody's key works, every member needs a new one"
        );
    }
    let settings = config.office(Base::of(config, http));
    let opened = Office::open(store.clone(), &secret, clock, settings).await;
    let office = opened.map_err(|source| StartError::Store {
        path: crate::folder::database(folder.path()),
        source,
    })?;
    let swarms = Arc::new(PrivateSwarms::new(config.swarm_limits(), rand::random()));
    let books = Books::open(BooksParts {
        store: store.clone(),
        swarms: Arc::clone(&swarms),
        directory: Arc::clone(office.directory()),
        register: Arc::clone(office.register()),
        folder: folder.path().to_owned(),
        clock,
        settings: config.books(),
    })
    .await?;
    let tracer = Tracer::new();
    let api = Api::new(ApiParts {
        office: Arc::clone(&office),
        store: store.clone(),
        secret,
        clock,
    });
    let (reload, reloads) = mpsc::channel(RELOADS);
    api.run(Running {
        books: Arc::clone(&books),
        swarms: Arc::clone(&swarms),
        tracer: Arc::clone(&tracer),
        reload,
    });
    Ok(Members {
        store,
        swarms,
        office,
        books,
        tracer,
        outside: Arc::default(),
        prober: Prober::new(config.reachability),
        api,
        clock,
        reloads: std::sync::Mutex::new(Some(reloads)),
    })
}

impl Built {
    /// The desk's side of it.
    pub(super) fn house(&self) -> House {
        match self {
            Self::Public {
                swarms, admission, ..
            } => House::Public {
                swarms: Arc::clone(swarms),
                admission: admission.clone(),
            },
            Self::Private(members) => House::Private(Box::new(Counter {
                swarms: Arc::clone(&members.swarms),
                directory: Arc::clone(members.office.directory()),
                register: Arc::clone(members.office.register()),
                journal: members.books.journal(),
                books: Arc::clone(&members.books),
                tracer: Arc::clone(&members.tracer),
                outside: Arc::clone(&members.outside),
                prober: Arc::clone(&members.prober),
                strangers: Strangers::default(),
            })),
        }
    }

    /// What metrics ask with every scrape.
    pub(super) fn facts(&self) -> Box<dyn Fn() -> Facts + Send + Sync> {
        match self {
            Self::Public { swarms, keeper, .. } => {
                let (swarms, keeper) = (Arc::clone(swarms), keeper.clone());
                Box::new(move || Facts {
                    totals: swarms.totals(),
                    books: BooksState {
                        snapshot_age: keeper.as_ref().and_then(|keeper| keeper.age()),
                        snapshot_failures: keeper.as_ref().map_or(0, |keeper| keeper.failures()),
                        ..BooksState::default()
                    },
                    ..Facts::default()
                })
            }
            Self::Private(members) => {
                let (swarms, books) = (Arc::clone(&members.swarms), Arc::clone(&members.books));
                let (directory, clock) = (Arc::clone(members.office.directory()), members.clock);
                let store = members.store.clone();
                Box::new(move || {
                    let (books, date) = (books.state(), clock.date());
                    Facts {
                        totals: swarms.totals(),
                        books,
                        census: directory.census(date),
                        alarms: directory.alarms(date),
                        database_errors: store.failures(),
                    }
                })
            }
        }
    }

    /// The API, where there are members.
    pub(super) fn router(&self) -> Option<Router> {
        match self {
            Self::Public { .. } => None,
            Self::Private(members) => Some(api::router(&members.api)),
        }
    }

    /// Opens the socket for the owner's command line.
    pub(super) fn open_control(&self, parts: &Parts, folder: Option<&Folder>) -> Result<(), StartError> {
        let (Self::Private(_), Some(router), Some(folder)) = (self, self.router(), folder) else {
            return Ok(());
        };
        let control = Control::open(folder.path(), control::NAME).map_err(|source| StartError::Socket {
            path: folder.path().join(control::NAME),
            source,
        })?;
        let site = Site::new(router, parts.manners(), parts.stop.clone());
        parts
            .tasks
            .spawn(control.serve(site, parts.tasks.clone(), parts.stop.clone()));
        Ok(())
    }

    /// Starts all that goes on beside announces.
    pub(super) fn keep(&self, parts: &Parts, config: &Config) -> Keeping {
        match self {
            Self::Public { swarms, keeper, .. } => {
                let (sweeping, steering) = (Arc::clone(swarms), Arc::clone(&parts.steering));
                let clock = parts.front.desk.clock;
                start_sweeper(parts, move |shard| {
                    let (timeout, _) = steering.patience();
                    sweeping.sweep_shard(shard, clock.now(), timeout)
                });
                let stop = CancellationToken::new();
                let writing = keeper.clone().map(|keeper| {
                    AbortOnDropHandle::new(tokio::spawn(keeper.run(config.snapshot, stop.clone())))
                });
                Keeping {
                    stop,
                    writing,
                    store: None,
                    tracer: None,
                    office: None,
                    reloads: None,
                }
            }
            Self::Private(members) => members.keep(parts),
        }
    }
}

impl Members {
    fn keep(&self, parts: &Parts) -> Keeping {
        let (sweeping, clearing, clock) = (Arc::clone(&self.swarms), Arc::clone(&self.books), self.clock);
        let steering = Arc::clone(&parts.steering);
        start_sweeper(parts, move |shard| {
            clearing.clear_shard(shard);
            let (timeout, age) = steering.patience();
            sweeping.sweep_shard(shard, clock.now(), clock.date(), timeout, age)
        });
        let (probing, prober) = (Arc::clone(&self.swarms), Arc::clone(&self.prober));
        let tell = move |torrent, member, address, reachable| {
            probing.set_reachable(torrent, member, address, reachable);
        };
        parts.tasks.spawn(prober.run(clock, tell, parts.stop.clone()));
        let (office, stop) = (Arc::clone(&self.office), parts.stop.clone());
        parts
            .tasks
            .spawn(async move { office.welcome_torrents(stop).await });
        let see_out = see_out(Arc::clone(&self.office), Arc::clone(&self.books));
        let stop = parts.stop.clone();
        parts
            .tasks
            .spawn(async move { stop.run_until_cancelled(see_out).await });
        let stop = CancellationToken::new();
        let writing = tokio::spawn(Arc::clone(&self.books).run(stop.clone()));
        Keeping {
            stop,
            writing: Some(AbortOnDropHandle::new(writing)),
            store: Some(self.store.clone()),
            tracer: Some(Arc::clone(&self.tracer)),
            office: Some(Arc::clone(&self.office)),
            reloads: self
                .reloads
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .take(),
        }
    }
}

/// Takes peers out of the swarms as soon as their member or torrent may not stay.
async fn see_out(office: Arc<Office>, books: Arc<Books>) {
    loop {
        office.somebody_must_leave().await;
        let books = Arc::clone(&books);
        if let Err(error) = tokio::task::spawn_blocking(move || books.clear()).await {
            warn!(%error, "those who must leave were not taken out of the swarms now; the next sweep does it");
        }
    }
}

fn start_sweeper(parts: &Parts, sweep: impl Fn(usize) -> Swept + Send + 'static) {
    let counters = parts.metrics.counters();
    let report = move |swept| counters.swept(swept);
    parts
        .tasks
        .spawn(sweeper::run(sweep, sweeper::PERIOD, report, parts.stop.clone()));
}

impl Keeping {
    pub(super) fn office(&self) -> Option<&Arc<Office>> {
        self.office.as_ref()
    }

    pub(super) fn trace(&self, name: &str) -> Option<Listening> {
        let member = self.office.as_ref()?.member_id(name).ok()?;
        Some(self.tracer.as_ref()?.listen(member))
    }

    pub(super) fn take_reloads(&mut self) -> Option<mpsc::Receiver<ReloadWanted>> {
        self.reloads.take()
    }

    /// Sends home those who listen to announces.
    pub(super) fn hush(&self) {
        if let Some(tracer) = &self.tracer {
            tracer.close();
        }
    }

    /// Writes what must be kept, after the last answer.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        let Some(writing) = self.writing else {
            return;
        };
        let last = async {
            let written = writing.await;
            // So that its log is folded in, and the folder holds one whole file.
            if let Some(store) = &self.store {
                store.close().await;
            }
            written
        };
        if tokio::time::timeout(LAST_WORDS, last).await.is_ok() {
            info!("the books are closed");
        } else {
            warn!("not all was written in time; the journal has the rest");
        }
    }
}

/// Time for which nothing changes by itself in these settings.
pub(super) const PULSE: Duration = Duration::from_secs(1);
