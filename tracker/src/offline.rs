//! A data folder on which no tracker runs, opened by the command line: the same API over the same state, without announces.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;

use crate::address::Base;
use crate::api::{self, Api, ApiParts};
use crate::clock::Clock;
use crate::config::Config;
use crate::folder::{Folder, FolderError, State};
use crate::members::books::{Books, BooksParts, OpenError};
use crate::members::journal::read_segments;
use crate::members::office::Office;
use crate::members::store::{Store, StoreError};
use crate::swarm::private::PrivateSwarms;

/// Why a folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OfflineError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Books(#[from] OpenError),
    #[error("cannot read the journal in {}: {source}", folder.display())]
    Journal { folder: PathBuf, source: io::Error },
}

/// An open folder. It is ours until this is dropped.
pub(crate) struct Offline {
    router: Router,
    store: Store,
    _folder: Folder,
}

impl Offline {
    /// Opens what a tracker left in the folder, or makes it.
    pub(crate) async fn open(config: &Config, folder: Folder) -> Result<Self, OfflineError> {
        let clock = Clock::start();
        let State { store, secret, .. } = folder.open(rand::random()).await?;
        let settings = config.office(Base::of(config, &config.http.listen));
        let office = Office::open(store.clone(), &secret, clock, settings).await?;
        if is_behind(&folder, &store).await? {
            catch_up(config, &folder, &store, &office, clock).await?;
        }
        let api = Api::new(ApiParts {
            office,
            store: store.clone(),
            secret,
            clock,
        });
        Ok(Self {
            router: api::router(&api),
            store,
            _folder: folder,
        })
    }

    /// The API over this folder.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Everything is on disk when this returns.
    pub(crate) async fn close(self) {
        self.store.close().await;
    }
}

/// Whether a tracker was killed here, and has left in the journal what the database has not seen.
async fn is_behind(folder: &Folder, store: &Store) -> Result<bool, OfflineError> {
    let generation = store.generation().await?;
    let report = read_segments(folder.path(), generation, |_| ());
    let report = report.map_err(|source| OfflineError::Journal {
        folder: folder.path().to_owned(),
        source,
    })?;
    Ok(report.entries > 0)
}

/// Has the database see it, as the next start of a tracker would.
async fn catch_up(
    config: &Config,
    folder: &Folder,
    store: &Store,
    office: &Office,
    clock: Clock,
) -> Result<(), OfflineError> {
    let parts = BooksParts {
        store: store.clone(),
        swarms: Arc::new(PrivateSwarms::new(config.swarm_limits(), rand::random())),
        directory: Arc::clone(office.directory()),
        register: Arc::clone(office.register()),
        folder: folder.path().to_owned(),
        clock,
        settings: config.books(),
    };
    Books::open(parts).await?;
    Ok(())
}
