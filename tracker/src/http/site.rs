//! Serves a router beside the lanes: every connection has a slot, wherever it was accepted, and what goes wrong is counted.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use edge::listen;
use edge::site::Manners;
use edge::slots::{Slot, Slots};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use super::desk::Caller;
use super::doors;
use super::doors::Door;
use super::forwarded::{Trust, take_slot};
use super::lane::Times;
use crate::metrics::{Counters, Reason};

/// A router and the connections that look at it.
#[derive(Debug)]
pub(crate) struct Site {
    served: Arc<edge::site::Site>,
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
        let manners = Manners {
            head_time: means.times.head,
            write_time: means.times.write,
            head_bytes: means.head_bytes,
        };
        Arc::new(Self {
            served: edge::site::Site::new(router, manners, means.stop.clone()),
            counters,
            means,
        })
    }

    /// Accepts connections without any lane, until the tracker stops.
    pub(crate) async fn accept(self: Arc<Self>, door: Door, slots: Arc<Slots>, trust: Arc<Trust>) {
        let failed = || self.counters.accept_failures.add(1);
        let accepting = async {
            match door {
                Door::Tcp(listener) => {
                    let greet = |stream, from: SocketAddr| self.greet(stream, from, (&slots, &trust), None);
                    listen::accept_each(listener, failed, greet).await
                }
                Door::Tls(listener, certificate) => {
                    let greet = |stream, from: SocketAddr| {
                        self.greet(stream, from, (&slots, &trust), Some(certificate.acceptor()));
                    };
                    listen::accept_each(listener, failed, greet).await
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
    pub(crate) async fn serve<S>(&self, stream: S, read: Vec<u8>, caller: Caller)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Err(error) = self.served.serve(stream, read, caller).await {
            if error.is_timeout() {
                self.counters.error(Reason::Slow);
            } else if error.is_parse() {
                self.counters.error(Reason::Malformed);
            }
            debug!(%error, "a connection broke off");
        }
    }
}
