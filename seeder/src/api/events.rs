//! `/events`: what happens, as lines of JSON or as server-sent events. Nothing is kept for a slow reader: it is told how much it
//! missed; one that takes nothing for long is cut off by its connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use edge::problem::Problem;
use futures_util::stream;
use serde_json::{Value, json};
use shared::id::InfoHash;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{self, error::RecvError};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, lines};
use crate::engine::{Event, Summary, TorrentKey};

/// Says that the stream lives where nothing happens.
const PULSE: Duration = Duration::from_secs(15);

/// Hashes that a stream remembers; those of other torrents are asked for each time.
const HASHES_MAX: usize = 100_000;

/// Server-sent events, as browsers want them.
const SSE: &str = "text/event-stream";

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(events))
}

/// What happens from now on: a JSON object a line, or server-sent events where `Accept` asks for them. A reader that is too slow
/// gets `{"event":"missed","count":…}` in place of what it missed.
#[utoipa::path(get, path = "/events", tag = "process", responses((status = 200, content((String = "application/x-ndjson"), (String = "text/event-stream")))))]
async fn events(State(api): State<Arc<Api>>, fields: HeaderMap) -> Result<Response, Problem> {
    let Ok(place) = Arc::clone(&api.streams).try_acquire_owned() else {
        return Err(Problem::busy(
            "too many read the events already: end one of them, or try again",
        ));
    };
    let accepted = fields.get_all(header::ACCEPT).iter();
    let sse = accepted
        .filter_map(|field| field.to_str().ok())
        .any(|field| field.contains(SSE));
    let happening = api.engine.subscribe();
    let hashes = hashes(&api).await;
    let told = Telling {
        happening,
        api,
        hashes,
        sse,
        begun: false,
        _place: place,
    };
    let body = Body::from_stream(stream::unfold(told, async |mut told| {
        let piece = told.next().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(piece), told))
    }));
    let kind = if sse { SSE } else { "application/x-ndjson" };
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

/// The hashes of all torrents: of one that was removed, nobody could be asked any more.
async fn hashes(api: &Api) -> BTreeMap<TorrentKey, InfoHash> {
    let hash = |torrent: &Summary| {
        let hash = torrent.info_hash_v1.as_ref().or(torrent.info_hash_v2.as_ref())?;
        // The first 20 bytes of a v2 hash stand for it on the wire.
        hash.get(..40)?.parse().ok()
    };
    let torrents = api.engine.list().await;
    torrents
        .iter()
        .take(HASHES_MAX)
        .filter_map(|torrent| Some((torrent.key, hash(torrent)?)))
        .collect()
}

/// One reader's stream.
struct Telling {
    api: Arc<Api>,
    happening: broadcast::Receiver<Event>,
    hashes: BTreeMap<TorrentKey, InfoHash>,
    sse: bool,
    begun: bool,
    _place: OwnedSemaphorePermit,
}

impl Telling {
    /// The next piece of the body; none when the program stops.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.begun {
            // Who reads knows by this that nothing is missed from here on.
            self.begun = true;
            return Some(self.line(&json!({ "event": "listening" })));
        }
        let stop = self.api.stop.clone();
        tokio::select! {
            () = stop.cancelled() => None,
            () = tokio::time::sleep(PULSE) => Some(self.pulse()),
            told = self.told() => told,
        }
    }

    async fn told(&mut self) -> Option<Bytes> {
        loop {
            let line = match self.happening.recv().await {
                Ok(event) => self.words(&event).await,
                Err(RecvError::Lagged(count)) => Some(json!({ "event": "missed", "count": count })),
                Err(RecvError::Closed) => return None,
            };
            if let Some(line) = line {
                return Some(self.line(&line));
            }
        }
    }

    async fn words(&mut self, event: &Event) -> Option<Value> {
        if matches!(event, Event::PieceDone { .. }) {
            return None;
        }
        let hash = self.hash(event).await.map(|hash| hash.to_string());
        let hash = hash.unwrap_or_default();
        match event {
            Event::Finished { .. } => Some(json!({ "event": "finished", "info_hash": hash })),
            event => lines::line(event, &hash),
        }
    }

    /// The hash of the torrent that an event is about.
    async fn hash(&mut self, event: &Event) -> Option<InfoHash> {
        let key = event.key();
        match event {
            Event::Added { info_hash, .. } => {
                self.remember(key, *info_hash);
                Some(*info_hash)
            }
            Event::Removed { .. } => self.hashes.remove(&key),
            _ => {
                if let Some(hash) = self.hashes.get(&key) {
                    return Some(*hash);
                }
                let hash = self.api.engine.status(key).await?.info_hash;
                self.remember(key, hash);
                Some(hash)
            }
        }
    }

    fn remember(&mut self, key: TorrentKey, hash: InfoHash) {
        if self.hashes.len() < HASHES_MAX {
            self.hashes.insert(key, hash);
        }
    }

    fn line(&self, line: &Value) -> Bytes {
        if self.sse {
            let name = line.get("event").and_then(Value::as_str).unwrap_or("message");
            format!("event: {name}\ndata: {line}\n\n").into()
        } else {
            format!("{line}\n").into()
        }
    }

    fn pulse(&self) -> Bytes {
        Bytes::from_static(if self.sse { b":\n\n" } else { b"\n" })
    }
}
