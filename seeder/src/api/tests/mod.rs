//! The API as its owner and as strangers meet it: a router over a real engine, in process and over sockets.

mod described;
mod flows;
mod places;
mod rights;
mod sockets;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use edge::control::Local;
use http_body_util::BodyExt as _;
use serde_json::Value;
use shared::id::PeerId;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::guard::Caller;
use super::{Api, Token, ports};
use crate::engine::{Allocation, Encryption, Engine, EngineConfig, Limits, Options, Rates};

/// A torrent of one byte, and its v1 hash.
const TORRENT: &[u8] = b"d4:infod6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee";

/// Where strangers come from.
const SOMEWHERE: &str = "192.0.2.1";

/// A seeder with nothing but its API.
struct House {
    folder: TempDir,
    api: Arc<Api>,
    router: Router,
    stop: CancellationToken,
    token: String,
}

struct Answer {
    status: StatusCode,
    fields: HeaderMap,
    body: Vec<u8>,
}

impl House {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::start(EngineConfig {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            data: Some(folder.path().to_owned()),
            peer_id: PeerId([7; 20]),
            limits: Limits::default(),
            encryption: Encryption::default(),
            rates: Rates::default(),
            store: None,
            allocation: Allocation::default(),
        });
        let stop = CancellationToken::new();
        let api = Api::new(engine.await.unwrap(), Options::default(), stop.clone());
        let token = Arc::new(Token::open(folder.path()).unwrap());
        let router = ports::pages(&api, token, Vec::new());
        let token = std::fs::read_to_string(folder.path().join("api-token")).unwrap();
        Self {
            folder,
            api,
            router,
            stop,
            token: token.trim().to_owned(),
        }
    }

    /// Asks over the network, perhaps with a token.
    async fn ask(&self, method: &str, path: &str, token: Option<&str>) -> Answer {
        let mut request = request(method, path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.answer(request.body(Body::empty()).unwrap(), false).await
    }

    /// Asks as the owner, with a body.
    async fn send(&self, method: &str, path: &str, kind: &str, body: impl Into<Body>) -> Answer {
        let request = request(method, &format!("/api/v1{path}")).header(header::CONTENT_TYPE, kind);
        self.answer(request.body(body.into()).unwrap(), true).await
    }

    async fn json(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send(method, path, "application/json", body.to_string())
            .await
    }

    async fn get(&self, path: &str) -> Answer {
        let request = request("GET", &format!("/api/v1{path}"));
        self.answer(request.body(Body::empty()).unwrap(), true).await
    }

    async fn answer(&self, mut request: Request<Body>, local: bool) -> Answer {
        if local {
            request.extensions_mut().insert(Local);
        } else {
            let from: IpAddr = SOMEWHERE.parse().unwrap();
            request.extensions_mut().insert(Caller(from));
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            fields: parts.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    /// Adds the torrent of one byte, resting.
    async fn with_torrent(&self) -> String {
        let path = format!("/torrents?paused=true&root={}", self.folder.path().display());
        let answer = self
            .send("POST", &path, "application/x-bittorrent", TORRENT)
            .await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.value()["info_hash_v1"].as_str().unwrap().to_owned()
    }
}

fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "127.0.0.1:6980")
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// It is a problem document of this status whose words hold these.
    #[track_caller]
    fn is_problem(&self, status: u16, words: &str) {
        let text = self.text();
        assert_eq!(self.status, status, "{text}");
        assert_eq!(self.fields[header::CONTENT_TYPE], "application/problem+json");
        let detail = self.value()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{detail}");
    }
}
