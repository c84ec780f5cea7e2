//! The API: everything that can be asked of a running engine. It is reached in two ways with the same rules: over `control.sock` with
//! the owner's rights, and below `/api/v1` on the owner's port with a token. Everything in it is the engine's doing.
//!
//! ```text
//! request ── guard (host, token, time) ── body (bounds) ── torrents, actions, process, events ── Engine
//! ```

mod actions;
pub mod bodies;
mod events;
mod guard;
pub mod lines;
mod openapi;
mod ports;
mod process;
pub mod table;
#[cfg(test)]
mod tests;
mod token;
mod torrents;
mod treatment;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::any;
use edge::client::PREFIX;
use edge::guesses::Guesses;
use edge::problem::Problem;
use shared::moment::Moment;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::engine::{Engine, Options, TorrentKey};

pub use ports::{Admin, OpenError, Ports};
pub use token::{Token, TokenError};

/// Torrents that are received at the same time; each may take 32 MiB.
const UPLOADS_MAX: usize = 4;

/// Changes that are made at the same time.
const CHANGES_MAX: usize = 64;

/// Streams of events that are read at the same time.
const STREAMS_MAX: usize = 16;

/// The state of the API.
#[derive(Debug)]
pub struct Api {
    engine: Engine,
    /// How torrents are treated whose adder says nothing of it.
    defaults: Options,
    clock: Clock,
    started: Moment,
    /// Ends streams, which have no end of their own.
    stop: CancellationToken,
    guesses: Guesses,
    /// A change of some options reads the others first: one at a time.
    options: Mutex<()>,
    changes: Arc<Semaphore>,
    uploads: Semaphore,
    streams: Arc<Semaphore>,
}

impl Api {
    /// An API over an engine, until `stop`.
    pub fn new(engine: Engine, defaults: Options, stop: CancellationToken) -> Arc<Self> {
        let clock = Clock::start();
        Arc::new(Self {
            engine,
            defaults,
            clock,
            started: clock.now(),
            stop,
            guesses: Guesses::default(),
            options: Mutex::default(),
            changes: Arc::new(Semaphore::new(CHANGES_MAX)),
            uploads: Semaphore::new(UPLOADS_MAX),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        })
    }

    /// The one torrent that these words name.
    async fn named(&self, words: &str) -> Result<TorrentKey, Problem> {
        let found = self.engine.find(words).await;
        match *found.as_slice() {
            [key] => Ok(key),
            [] => Err(Problem::not_found(format!(
                "there is no torrent {words}: say a hash, at least 4 digits of its beginning, or the whole name"
            ))),
            ref several => Err(Problem::conflict(format!(
                "{words} names {} torrents: say more digits of the hash",
                several.len()
            ))),
        }
    }
}

/// All routes, below [`PREFIX`]. Only requests with a mark of who asks are answered: see [`Ports`].
pub fn router(api: &Arc<Api>, token: Option<&Arc<Token>>) -> Router {
    let (routes, mut document) = routes().split_for_parts();
    openapi::finish(&mut document);
    let gate = guard::Gate {
        api: Arc::clone(api),
        token: token.cloned(),
    };
    let routes = routes
        .route_layer(from_fn_with_state(gate, guard::guard))
        .layer(axum::Extension(edge::openapi::Text::of(&document)))
        .fallback(async || nothing())
        .with_state(Arc::clone(api));
    Router::new()
        .nest(PREFIX, routes)
        .route("/api/v1/", any(async || nothing()))
}

fn routes() -> utoipa_axum::router::OpenApiRouter<Arc<Api>> {
    openapi::begin()
        .merge(process::routes())
        .merge(events::routes())
        .merge(torrents::routes())
        .merge(actions::routes())
}

/// What is said of a path that is no route.
fn nothing() -> Problem {
    Problem::not_found("no such route: GET /api/v1/openapi.json lists all")
}
