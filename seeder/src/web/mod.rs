//! A web server for web seeds (BEP 19): whoever has a torrent's hash gets its files over HTTP, as far as they are what the torrent
//! says. A port of its own, and nothing on it but content.

mod content;
mod range;
mod shelf;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use edge::listen;
use edge::site::{Manners, Site};
use edge::slots::Slots;
use shared::id::InfoHash;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::engine::{Borrow, Engine, Lent};
use content::Content;
use range::Portion;
use shelf::Shelf;

/// Connections in all, and from one address.
const CONNECTIONS: (usize, usize) = (200, 16);
const MANNERS: Manners = Manners {
    head_time: Duration::from_secs(10),
    write_time: Duration::from_secs(60),
    head_bytes: 16 * 1024,
};
/// Who is reading an answer when the program stops gets so long to end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A file that cannot be given now is to be asked for again after so many seconds.
const RETRY_SECONDS: u32 = 60;

/// What a web server gives.
#[derive(Clone, Copy, Debug)]
pub struct WebSettings {
    pub listen: SocketAddr,
    /// Also torrents whose makers want nobody but a tracker to name peers (BEP 27).
    pub private: bool,
}

/// The port, open.
#[derive(Debug)]
pub struct WebServer {
    address: SocketAddr,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Library {
    engine: Engine,
    private: bool,
    shelf: Shelf,
}

/// The address from which a connection came.
#[derive(Clone, Copy, Debug)]
struct Caller(SocketAddr);

impl WebServer {
    /// Opens the port, on a runtime.
    pub fn open(engine: &Engine, settings: WebSettings) -> io::Result<Self> {
        let listener = listen::open(settings.listen)?;
        let (address, stop) = (listener.local_addr()?, CancellationToken::new());
        let library = Library {
            engine: engine.clone(),
            private: settings.private,
            shelf: Shelf::default(),
        };
        let pages = Router::new()
            .route("/webseed/{hash}/{*path}", get(give))
            .fallback(async || StatusCode::NOT_FOUND)
            .with_state(Arc::new(library));
        let site = Site::new(pages, MANNERS, stop.clone());
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, site, tasks.clone(), stop.clone()));
        info!(%address, "giving files to web clients");
        Ok(Self { address, tasks, stop })
    }

    /// Where it is, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port. Answers under way get a moment to end.
    pub async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(LAST_WORDS, self.tasks.wait()).await.is_err() {
            debug!("somebody was still reading a file");
        }
    }
}

/// What goes into a torrent's list of web seeds: its files lie below. `host` is a name or an address, an IPv6 one in brackets.
pub fn url_of(host: &str, port: u16, hash: InfoHash) -> String {
    format!("http://{host}:{port}/webseed/{hash}/")
}

async fn accept(
    listener: std::net::TcpListener,
    site: Arc<Site>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let slots = Slots::new(CONNECTIONS.0, CONNECTIONS.1);
    let greet = |stream: std::net::TcpStream, from: SocketAddr| {
        let Ok(slot) = slots.take(from.ip()) else {
            debug!(%from, "turned away from the web seed: too many connections");
            return;
        };
        let site = Arc::clone(&site);
        tasks.spawn(async move {
            let served = match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => site.serve(stream, Vec::new(), Caller(from)).await,
                Err(error) => return debug!(%error, "a connection was lost"),
            };
            if let Err(error) = served {
                debug!(%from, %error, "a connection to the web seed broke off");
            }
            drop(slot);
        });
    };
    tokio::select! {
        error = listen::accept_each(listener, || (), greet) => error!(%error, "cannot accept connections"),
        () = stop.cancelled() => (),
    }
}

/// One file, or a range of it.
async fn give(
    State(library): State<Arc<Library>>,
    Extension(Caller(from)): Extension<Caller>,
    Path((hash, path)): Path<(String, String)>,
    method: Method,
    fields: HeaderMap,
) -> Response {
    let Ok(hash) = hash.parse::<InfoHash>() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let lent: Arc<Lent> = match library.engine.borrow(hash).await {
        Borrow::Lent(lent) => Arc::from(lent),
        Borrow::Busy => return later(),
        Borrow::Unknown => return StatusCode::NOT_FOUND.into_response(),
    };
    let info = Arc::clone(lent.opened.storage.info());
    if info.private() && !library.private {
        return StatusCode::NOT_FOUND.into_response();
    }
    let number = library.shelf.find(&info, &path);
    let Some((number, file)) = number.and_then(|number| Some((number, info.files().get(number)?))) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let tag = format!("\"{hash}-{number}\"");
    if field(&fields, &header::IF_NONE_MATCH).is_some_and(|known| known == tag || known == "*") {
        return about(StatusCode::NOT_MODIFIED, &tag, None, Body::empty());
    }
    // What somebody has of another version must not be mixed with this one.
    let same = field(&fields, &header::IF_RANGE).is_none_or(|known| known == tag);
    let asked = field(&fields, &header::RANGE).filter(|_| same);
    let (status, bytes) = match range::portion(asked, file.length) {
        Portion::Whole => (StatusCode::OK, 0..file.length),
        Portion::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Portion::Nothing => {
            let range = format!("bytes */{}", file.length);
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            return about(status, &tag, Some((range, 0)), Body::empty());
        }
    };
    let said = match status {
        StatusCode::OK => String::new(),
        _ => format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, file.length),
    };
    let said = Some((said, bytes.end - bytes.start));
    let addresses = file.offset + bytes.start..file.offset + bytes.end;
    let pieces = content::pieces(&lent.opened.storage, &addresses);
    if !addresses.is_empty() && !pieces.iter().all(|piece| lent.opened.have.has(*piece)) {
        return later();
    }
    if method == Method::HEAD {
        return about(status, &tag, said, Body::empty());
    }
    let tolls = lent.tolls(from.ip());
    let mut content = Content::new(lent, tolls, addresses);
    // The first bytes are read before anything is promised.
    match content.next().await.transpose() {
        Ok(first) => about(status, &tag, said, content.into_body(first)),
        Err(trouble) => {
            warn!(%trouble, torrent = info.name(), %from, "cannot be given to a web client");
            later()
        }
    }
}

/// An answer with what is to be known of it: the range that it is, if it is one, and its length.
fn about(status: StatusCode, tag: &str, said: Option<(String, u64)>, body: Body) -> Response {
    let mut response = (status, body).into_response();
    let fields = response.headers_mut();
    let mut put = |name: HeaderName, value: String| {
        // Digits, hex and our own words always fit.
        if let Ok(value) = HeaderValue::try_from(value) {
            fields.insert(name, value);
        }
    };
    put(header::ETAG, tag.to_owned());
    put(header::ACCEPT_RANGES, "bytes".to_owned());
    if let Some((range, length)) = said {
        put(header::CONTENT_TYPE, "application/octet-stream".to_owned());
        put(header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned());
        put(header::CONTENT_LENGTH, length.to_string());
        if !range.is_empty() {
            put(header::CONTENT_RANGE, range);
        }
    }
    response
}

/// It is ours to give, but not now: it is looked at, damaged, or not here yet.
fn later() -> Response {
    let wait = [(header::RETRY_AFTER, RETRY_SECONDS.to_string())];
    (StatusCode::SERVICE_UNAVAILABLE, wait).into_response()
}

fn field<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    fields.get(name).and_then(|value| value.to_str().ok())
}
