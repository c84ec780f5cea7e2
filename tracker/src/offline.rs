//! A data folder on which no tracker runs, opened by the command line: the same API over the same state, without announces.

use axum::Router;

use crate::address::Base;
use crate::api::{self, Api, ApiParts};
use crate::clock::Clock;
use crate::config::Config;
use crate::folder::{Folder, FolderError, State};
use crate::members::office::Office;
use crate::members::store::{Store, StoreError};

/// Why a folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OfflineError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Store(#[from] StoreError),
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
        let settings = config.office(Base::of(config, &config.http.listen).url);
        let office = Office::open(store.clone(), &secret, clock, settings).await?;
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

    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    /// Everything is on disk when this returns.
    pub(crate) async fn close(self) {
        self.store.close().await;
    }
}
