//! The API as people and programs meet it: a router over a real store in a folder of its own.

mod bodies;
mod client;
mod flows;
mod rights;
mod running;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::scope::{self, Scope};
use super::{Api, ApiParts, router};
use crate::clock::Clock;
use crate::http::desk::Caller;
use crate::members::ids::Date;
use crate::members::office::{Office, OfficeSettings};
use crate::members::store::Store;
use edge::control::Local;

/// The day on which all of this happens.
const TODAY: Date = Date(1_800_000_000);

/// A torrent of one piece.
const TORRENT: &[u8] = b"d4:infod6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee";

/// Where strangers come from.
const SOMEWHERE: &str = "192.0.2.1";

/// A folder, and the API over it.
struct House {
    folder: TempDir,
    api: Arc<Api>,
    router: Router,
}

/// One answer.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    fields: HeaderMap,
    body: Vec<u8>,
}

/// One request, put together by need.
struct Ask {
    request: axum::http::request::Builder,
    local: bool,
    from: IpAddr,
    body: Body,
}

fn ask(method: &str, path: &str) -> Ask {
    Ask {
        request: Request::builder().method(method).uri(format!("/api/v1{path}")),
        local: false,
        from: SOMEWHERE.parse().unwrap(),
        body: Body::empty(),
    }
}

impl Ask {
    /// From the command line of this machine.
    fn here(mut self) -> Self {
        self.local = true;
        self
    }

    fn from(mut self, address: &str) -> Self {
        self.from = address.parse().unwrap();
        self
    }

    fn key(mut self, key: &str) -> Self {
        self.request = self
            .request
            .header(header::AUTHORIZATION, format!("Bearer {key}"));
        self
    }

    fn field(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    fn json(self, body: &Value) -> Self {
        self.text(body.to_string())
    }

    fn text(self, body: impl Into<Body>) -> Self {
        let mut ask = self.field("content-type", "application/json");
        ask.body = body.into();
        ask
    }

    fn torrent(self, body: impl Into<Body>) -> Self {
        let mut ask = self.field("content-type", "application/x-bittorrent");
        ask.body = body.into();
        ask
    }

    fn build(self) -> Request<Body> {
        let mut request = self.request.body(self.body).unwrap();
        if self.local {
            request.extensions_mut().insert(Local);
        } else {
            request.extensions_mut().insert(Caller::from(self.from));
        }
        request
    }
}

impl House {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("tracker.sqlite")).await.unwrap();
        let clock = Clock::start_at(TODAY);
        let secret = [7; 32];
        let office = Office::open(store.clone(), &secret, clock, OfficeSettings::default());
        let api = Api::new(ApiParts {
            office: office.await.unwrap(),
            store,
            secret,
            clock,
        });
        let router = router(&api);
        Self { folder, api, router }
    }

    async fn raw(&self, ask: Ask) -> Response<Body> {
        self.router.clone().oneshot(ask.build()).await.unwrap()
    }

    async fn hear(&self, ask: Ask) -> Answer {
        let (parts, body) = self.raw(ask).await.into_parts();
        Answer {
            status: parts.status,
            fields: parts.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    /// What must be answered well.
    #[track_caller]
    fn good(answer: &Answer) -> Value {
        assert!(
            answer.status.is_success(),
            "{}: {}",
            answer.status,
            answer.words()
        );
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }

    /// Something that the owner does on the command line.
    async fn do_here(&self, method: &str, path: &str, body: &Value) -> Value {
        Self::good(&self.hear(ask(method, path).here().json(body)).await)
    }

    /// A member, and its passkey.
    async fn member(&self, name: &str) -> String {
        let card = self.do_here("POST", "/members", &json!({ "name": name })).await;
        card["passkey"].as_str().unwrap().to_owned()
    }

    /// A token's text.
    async fn token(&self, name: &str, scopes: &[Scope], more: Value) -> String {
        let scopes: Vec<_> = scopes.iter().copied().map(scope::name).collect();
        let mut wish = json!({ "name": name, "scopes": scopes });
        wish.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let card = self.do_here("POST", "/tokens", &wish).await;
        card["token"].as_str().unwrap().to_owned()
    }

    /// A registered torrent's hash.
    async fn torrent(&self) -> String {
        let answer = self.hear(ask("POST", "/torrents").here().torrent(TORRENT)).await;
        Self::good(&answer)["info_hash_v1"].as_str().unwrap().to_owned()
    }
}

impl Answer {
    fn words(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|field| field.to_str().unwrap())
    }

    /// A problem document with these words in it.
    #[track_caller]
    fn is_problem(&self, status: u16, words: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.words());
        assert_eq!(self.field("content-type"), Some("application/problem+json"));
        let document: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(document["status"], status);
        assert!(document["title"].is_string() && document["type"] == "about:blank");
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{detail:?} does not say {words:?}");
    }
}

/// Moves the clock without waiting.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
