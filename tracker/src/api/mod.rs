//! The API: every change and every question except announces. It is reached in three ways with the same rules: below `/api/v1` on the
//! public port with a token or a passkey, over `control.sock` with the owner's rights, and in process by the command line.
//!
//! ```text
//! request ── guard (who asks? may they? see table) ── body (bounds) ── members, torrents, … ── Office
//! ```

pub mod auth;
pub mod bodies;
mod guard;
mod invitations;
mod me;
mod members;
mod openapi;
mod running;
pub mod scope;
pub mod table;
mod tokens;
mod torrents;
mod tracker;
mod troubles;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::any;
use edge::guesses::Guesses;
use edge::problem::{self, Problem};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::members::office::{Actor, Office};
use crate::members::store::Store;
use auth::Identity;
pub use running::{ReloadWanted, Running};

/// Torrents that are received at the same time; each may take 32 MiB.
const UPLOADS_MAX: usize = 4;

/// Changes that are made at the same time; they wait for one another anyway, but not without end.
const CHANGES_MAX: usize = 64;

/// Traces that are watched at the same time.
const TRACES_MAX: usize = 16;

/// What the API works with, whether or not a tracker runs.
pub struct ApiParts {
    pub office: Arc<Office>,
    /// For backups.
    pub store: Store,
    /// For backups too: without it no key of anyone works after a restore.
    pub secret: [u8; 32],
    pub clock: Clock,
}

impl std::fmt::Debug for ApiParts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ApiParts").finish_non_exhaustive()
    }
}

/// The state of the API.
#[derive(Debug)]
pub struct Api {
    parts: ApiParts,
    running: OnceLock<Running>,
    guesses: Guesses,
    changes: Arc<Semaphore>,
    uploads: Semaphore,
    traces: Arc<Semaphore>,
}

impl Api {
    /// An API over a folder's state.
    pub fn new(parts: ApiParts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            running: OnceLock::new(),
            guesses: Guesses::default(),
            changes: Arc::new(Semaphore::new(CHANGES_MAX)),
            uploads: Semaphore::new(UPLOADS_MAX),
            traces: Arc::new(Semaphore::new(TRACES_MAX)),
        })
    }

    /// From now on a tracker runs here: numbers come from its memory, it can be watched and reloaded. Only the first call counts.
    pub fn run(&self, running: Running) {
        let _ = self.running.set(running);
    }

    fn office(&self) -> &Office {
        &self.parts.office
    }

    fn running(&self) -> Option<&Running> {
        self.running.get()
    }

    /// Holds back an address that has shown too many wrong keys; who comes from this machine's own has none.
    fn may_try(&self, from: Option<IpAddr>) -> Result<(), Problem> {
        let wait = from.and_then(|from| self.guesses.wait(from, self.parts.clock.now()));
        wait.map_or(Ok(()), |wait| {
            let secs = problem::whole_secs(wait);
            let why = format!("too many wrong keys came from your network: wait {secs} s");
            Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, why).after(wait))
        })
    }

    fn note_wrong(&self, from: Option<IpAddr>) {
        if let Some(from) = from {
            self.guesses.wrong(from, self.parts.clock.now());
        }
    }

    /// Who stands in the log of changes.
    fn actor(identity: &Identity) -> Actor {
        match identity {
            Identity::Owner => Actor::Owner,
            Identity::Member(member)
            | Identity::Token {
                member: Some(member), ..
            } => Actor::Member(*member),
            Identity::Token { name, .. } => Actor::Token { name: name.clone() },
            Identity::Stranger => Actor::Stranger,
        }
    }
}

/// All routes, each below [`table::PREFIX`] and behind the guard.
pub fn router(api: &Arc<Api>) -> Router {
    let (routes, mut document) = routes().split_for_parts();
    openapi::finish(&mut document);
    let routes = routes
        .route_layer(from_fn_with_state(Arc::clone(api), guard::guard))
        .layer(axum::Extension(edge::openapi::Text::of(&document)))
        .fallback(async || nothing())
        .with_state(Arc::clone(api));
    Router::new()
        .nest(table::PREFIX, routes)
        .route("/api/v1/", any(async || nothing()))
}

fn routes() -> utoipa_axum::router::OpenApiRouter<Arc<Api>> {
    openapi::begin()
        .merge(members::routes())
        .merge(invitations::routes())
        .merge(tokens::routes())
        .merge(torrents::routes())
        .merge(me::routes())
        .merge(tracker::routes())
}

/// What is said of a path that is no route.
fn nothing() -> Problem {
    Problem::not_found("no such route: GET /api/v1/openapi.json lists all")
}
