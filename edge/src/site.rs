//! Serves a router with hyper, a connection at a time, wherever it was accepted. A head must come within a time and be of a size;
//! an answer must be taken. What bounds a body is the routes' to say; one that nobody reads cannot matter, because hyper
//! closes after the answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::rewound::Rewound;

/// hyper refuses to work with smaller buffers.
const BUFFER_MIN: usize = 8_192;

/// What is asked of every client.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// A head must be whole within this time.
    pub head_time: Duration,
    /// An answer must be taken within this time.
    pub write_time: Duration,
    /// The longest head.
    pub head_bytes: usize,
}

/// A router and how it is served.
#[derive(Debug)]
pub struct Site {
    service: TowerToHyperService<Router>,
    http: http1::Builder,
    manners: Manners,
    stop: CancellationToken,
}

impl Site {
    /// A site that stands until `stop`.
    pub fn new(router: Router, manners: Manners, stop: CancellationToken) -> Arc<Self> {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(manners.head_time);
        // Names in title case and no date: the same shape of answer as on a tracker's lane.
        http.title_case_headers(true).auto_date_header(false);
        // Who has said all it wants to say is answered.
        http.half_close(true);
        http.max_buf_size(manners.head_bytes.max(BUFFER_MIN));
        Arc::new(Self {
            service: TowerToHyperService::new(router),
            http,
            manners,
            stop,
        })
    }

    /// Serves one connection, from which `read` was read already, until it ends, or until the program stops and its current
    /// request is answered. Whatever `mark` says about who asks goes with every request.
    pub async fn serve<S, M>(&self, stream: S, read: Vec<u8>, mark: M) -> Result<(), hyper::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        M: Clone + Send + Sync + 'static,
    {
        let stream = TokioIo::new(Rewound::new(stream, read, self.manners.write_time));
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(mark.clone());
            self.service.call(request)
        });
        let mut connection = std::pin::pin!(self.http.serve_connection(stream, service));
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }
}
