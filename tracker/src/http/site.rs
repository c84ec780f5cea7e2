//! Serves a router with hyper: every connection with its limits, wherever it was accepted. What bounds a body is the API's to
//! say; a body that nobody reads cannot matter, because hyper closes after the answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use super::desk::Caller;
use super::doors::Door;
use super::forwarded::Trust;
use super::lane::Times;
use super::rewound::Rewound;
use super::slots::{Slot, Slots, take_slot};
use super::{doors, listen};
use crate::metrics::{Counters, Reason};

/// hyper refuses to work with smaller buffers.
const BUFFER_MIN: usize = 8_192;

/// A router and the connections that look at it.
#[derive(Debug)]
pub(crate) struct Site {
    service: TowerToHyperService<Router>,
    http: http1::Builder,
    counters: Arc<Counters>,
    means: Means,
}

/// How and where a site is served.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    pub times: Times,
    /// The longest head.
    pub head_bytes: usize,
    /// Where connections are served, whichever thread they come from.
    pub runtime: Handle,
    /// Owns them.
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

impl Site {
    pub(crate) fn new(router: Router, counters: Arc<Counters>, means: Means) -> Arc<Self> {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(means.times.head);
        // The same shape of answer as on a lane: names in title case, no date.
        http.title_case_headers(true).auto_date_header(false);
        // Who has said all it wants to say is answered, as on a lane.
        http.half_close(true);
        http.max_buf_size(means.head_bytes.max(BUFFER_MIN));
        Arc::new(Self {
            service: TowerToHyperService::new(router),
            http,
            counters,
            means,
        })
    }

    /// Accepts connections without any lane, until the tracker stops.
    pub(crate) async fn accept(self: Arc<Self>, door: Door, slots: Arc<Slots>, trust: Arc<Trust>) {
        let accepting = async {
            match door {
                Door::Tcp(listener) => {
                    let greet = |stream, from: SocketAddr| self.greet(stream, from, (&slots, &trust), None);
                    listen::accept_each(listener, &self.counters, greet).await
                }
                Door::Tls(listener, certificate) => {
                    let greet = |stream, from: SocketAddr| {
                        self.greet(stream, from, (&slots, &trust), Some(certificate.acceptor()));
                    };
                    listen::accept_each(listener, &self.counters, greet).await
                }
                Door::Unix(socket) => {
                    let greet = |stream| self.greet_unix(stream, &slots);
                    doors::accept_each(&socket, &self.counters, greet).await
                }
            }
        };
        tokio::select! {
            error = accepting => error!(%error, "cannot accept connections"),
            () = self.means.stop.cancelled() => (),
        }
    }

    fn greet(
        self: &Arc<Self>,
        mut stream: std::net::TcpStream,
        from: SocketAddr,
        (slots, trust): (&Arc<Slots>, &Trust),
        tls: Option<TlsAcceptor>,
    ) {
        let caller = Caller::on(&stream, from);
        self.counters.connections.add(1);
        match (take_slot(slots, trust, Some(from)), tls) {
            (Ok(slot), None) => self.receive(|| TcpStream::from_std(stream), caller, Vec::new(), slot),
            (Ok(slot), Some(tls)) => self.receive_tls(stream, caller, tls, slot),
            (Err(full), tls) => {
                self.counters.error(full.into());
                // Who speaks TLS understands nothing that could be said in a hurry.
                if tls.is_none() {
                    doors::turn_away(&mut stream);
                }
            }
        }
    }

    fn greet_unix(self: &Arc<Self>, mut stream: std::os::unix::net::UnixStream, slots: &Arc<Slots>) {
        self.counters.connections.add(1);
        match slots.take_shared() {
            Ok(slot) => {
                let open = || tokio::net::UnixStream::from_std(stream);
                self.receive(open, Caller::on_unix_socket(), Vec::new(), slot);
            }
            Err(full) => {
                self.counters.error(full.into());
                doors::turn_away(&mut stream);
            }
        }
    }

    /// Takes a connection over, with the bytes that were read from it already. It is opened where it is served.
    pub(crate) fn receive<S>(
        self: &Arc<Self>,
        open: impl FnOnce() -> io::Result<S> + Send + 'static,
        caller: Caller,
        read: Vec<u8>,
        slot: Slot,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let site = Arc::clone(self);
        let task = async move {
            match open() {
                Ok(stream) => site.serve(stream, read, caller).await,
                Err(error) => debug!(%error, "a connection was lost"),
            }
            drop(slot);
        };
        self.means.tasks.spawn_on(task, &self.means.runtime);
    }

    fn receive_tls(
        self: &Arc<Self>,
        stream: std::net::TcpStream,
        caller: Caller,
        tls: TlsAcceptor,
        slot: Slot,
    ) {
        let site = Arc::clone(self);
        let task = async move {
            let handshake = async { tls.accept(TcpStream::from_std(stream)?).await };
            match tokio::time::timeout(site.means.times.head, handshake).await {
                Ok(Ok(stream)) => site.serve(stream, Vec::new(), caller).await,
                Ok(Err(error)) => {
                    site.counters.error(Reason::Malformed);
                    debug!(%error, "no TLS came of it");
                }
                Err(_) => site.counters.error(Reason::Slow),
            }
            drop(slot);
        };
        self.means.tasks.spawn_on(task, &self.means.runtime);
    }

    /// Serves one connection until it ends, or until the tracker stops and its current request is answered.
    /// Whatever `mark` says about who asks goes with every request.
    pub(crate) async fn serve<S, M>(&self, stream: S, read: Vec<u8>, mark: M)
    where
        S: AsyncRead + AsyncWrite + Unpin,
        M: Clone + Send + Sync + 'static,
    {
        let stream = TokioIo::new(Rewound::new(stream, read, self.means.times.write));
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(mark.clone());
            self.service.call(request)
        });
        let mut connection = std::pin::pin!(self.http.serve_connection(stream, service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.means.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            if error.is_timeout() {
                self.counters.error(Reason::Slow);
            } else if error.is_parse() {
                self.counters.error(Reason::Malformed);
            }
            debug!(%error, "a connection broke off");
        }
    }
}
