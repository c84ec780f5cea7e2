//! Asks the API from this machine, with the owner's rights: a running program over `control.sock`, or a router in this process.
//! The command line uses it, so that it cannot do anything that the API cannot.

use std::io;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Collected, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt as _;

use crate::control::{self, Local};
use crate::problem::Document;

/// Where an API begins.
pub const PREFIX: &str = "/api/v1";

/// The longest answer that is kept whole: a .torrent file and something around it.
const ANSWER_MAX: usize = 40 * 1024 * 1024;

/// The longest line of a stream.
const LINE_MAX: usize = 64 * 1024;

/// Someone to ask.
#[derive(Clone, Debug)]
pub struct Client {
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    /// The socket's folder and name.
    Socket(PathBuf, String),
    Process(Router),
}

/// What is sent along.
#[derive(Clone, Debug)]
pub enum Payload {
    Nothing,
    Json(Vec<u8>),
    /// A .torrent file.
    Torrent(Bytes),
}

impl Payload {
    /// A body in JSON.
    pub fn json(body: &impl Serialize) -> Result<Self, ClientError> {
        serde_json::to_vec(body)
            .map(Self::Json)
            .map_err(ClientError::Json)
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Answer {
    /// What the body says, or what went wrong.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        self.check()?;
        serde_json::from_slice(&self.body).map_err(ClientError::Json)
    }

    /// The body as it is, or what went wrong.
    pub fn bytes(&self) -> Result<Bytes, ClientError> {
        self.check()?;
        Ok(self.body.clone())
    }

    fn check(&self) -> Result<(), ClientError> {
        if self.status.is_success() {
            return Ok(());
        }
        let said = serde_json::from_slice::<Document>(&self.body);
        Err(ClientError::Refused {
            status: self.status,
            detail: said.map_or_else(|_| self.status.to_string(), |problem| problem.detail),
        })
    }
}

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Take the folder's lock and open the store instead.
    #[error("no program runs on this folder")]
    Absent,
    #[error("the control socket cannot be used: {0}")]
    Socket(#[source] io::Error),
    #[error("the running program broke off: {0}")]
    Broken(String),
    #[error("what the running program said is not understood: {0}")]
    Json(#[source] serde_json::Error),
    /// The program's own words.
    #[error("{detail}")]
    Refused { status: StatusCode, detail: String },
}

impl Client {
    /// Finds out whether a program runs on this folder.
    pub async fn connect(folder: &Path) -> Result<Self, ClientError> {
        Self::connect_to(folder, control::NAME).await
    }

    /// The same for one of several sockets there, see [`control::names`].
    pub async fn connect_to(folder: &Path, name: &str) -> Result<Self, ClientError> {
        control::connect(folder, name).await.map_err(of_socket)?;
        Ok(Self {
            way: Way::Socket(folder.to_owned(), name.to_owned()),
        })
    }

    /// Asks a router of this process.
    pub fn in_process(router: Router) -> Self {
        Self {
            way: Way::Process(router),
        }
    }

    /// Asks, and waits for the whole answer. `path` begins below `/api/v1` and may have a query.
    pub async fn send(&self, method: Method, path: &str, payload: Payload) -> Result<Answer, ClientError> {
        let (response, _connection) = self.ask(method, path, payload).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|error| ClientError::Broken(error.to_string()))?;
        Ok(Answer {
            status,
            body: body.to_bytes(),
        })
    }

    /// Asks for a stream of lines.
    pub async fn follow(&self, path: &str) -> Result<Lines, ClientError> {
        let (response, connection) = self.ask(Method::GET, path, Payload::Nothing).await?;
        if !response.status().is_success() {
            let status = response.status();
            let body = Limited::new(response.into_body(), LINE_MAX).collect().await;
            let body = body.map(Collected::to_bytes).unwrap_or_default();
            Answer { status, body }.check()?;
            return Err(ClientError::Broken(status.to_string()));
        }
        Ok(Lines {
            body: response.into_body(),
            read: BytesMut::new(),
            _connection: connection,
        })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        payload: Payload,
    ) -> Result<(Response<Body>, Option<Connection>), ClientError> {
        let request = request(method, path, payload)?;
        match &self.way {
            Way::Process(router) => {
                let mut request = request;
                request.extensions_mut().insert(Local);
                let Ok(response) = router.clone().oneshot(request).await;
                Ok((response, None))
            }
            Way::Socket(folder, name) => {
                let stream = control::connect(folder, name).await.map_err(of_socket)?;
                let (response, connection) = over(stream, request).await?;
                Ok((response, Some(connection)))
            }
        }
    }
}

fn request(method: Method, path: &str, payload: Payload) -> Result<Request<Body>, ClientError> {
    let (kind, body) = match payload {
        Payload::Nothing => (None, Body::empty()),
        Payload::Json(json) => (Some("application/json"), Body::from(json)),
        Payload::Torrent(bytes) => (Some("application/x-bittorrent"), Body::from(bytes)),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{PREFIX}{path}"))
        .header(header::HOST, "localhost");
    if let Some(kind) = kind {
        request = request.header(header::CONTENT_TYPE, kind);
    }
    request
        .body(body)
        .map_err(|error| ClientError::Broken(error.to_string()))
}

/// What moves the bytes; ends with its holder.
type Connection = AbortOnDropHandle<()>;

async fn over(
    stream: UnixStream,
    request: Request<Body>,
) -> Result<(Response<Body>, Connection), ClientError> {
    let broken = |error: hyper::Error| ClientError::Broken(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        // How it ended, the answer's reader learns as well.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(broken)?;
    Ok((response.map(Body::new), connection))
}

fn of_socket(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::Absent,
        _ => ClientError::Socket(error),
    }
}

/// A stream of lines; dropping it ends it.
#[derive(Debug)]
pub struct Lines {
    body: Body,
    read: BytesMut,
    _connection: Option<Connection>,
}

impl Lines {
    /// The next line that is not empty; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            while let Some(end) = self.read.iter().position(|&byte| byte == b'\n') {
                let line = self.read.split_to(end + 1).freeze().slice(..end);
                if !line.is_empty() {
                    return Ok(Some(line));
                }
            }
            if self.read.len() > LINE_MAX {
                return Err(ClientError::Broken("a line without an end".to_owned()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self
                    .read
                    .extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Some(Err(error)) => return Err(ClientError::Broken(error.to_string())),
                None => return Ok(None),
            }
        }
    }
}
