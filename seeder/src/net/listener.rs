//! The one port of all torrents: accepts, hears which torrent is meant, and hands the connection to the engine.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use shared::id::InfoHash;
use shared::peer_wire::Handshake;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::handshake;

/// Connections that the system may hold for us until they are accepted.
const BACKLOG: i32 = 1024;

/// A connection whose handshakes are done. It counts against the bound of connections as long as it lives.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
    pub(crate) handshake: Handshake,
    pub(crate) place: OwnedSemaphorePermit,
}

/// Who answers for the torrents. Cheap to clone; one clone a connection.
pub(crate) trait Reception: Clone + Send + Sync + 'static {
    /// Our handshake, if we have this torrent.
    fn answer(&self, hash: InfoHash) -> impl Future<Output = Option<Handshake>> + Send;
    /// May this address connect at all?
    fn admits(&self, address: IpAddr) -> bool;
    /// Takes the connection over.
    fn receive(&self, visitor: Visitor) -> impl Future<Output = ()> + Send;
}

/// Opens the port. IPv6 sockets take IPv6 alone, so that both families can listen on one port.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Small messages leave at once; peers that vanish without a word are found out even when nothing is sent.
pub(crate) fn prepare(stream: &TcpStream) {
    if let Err(error) = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(stream).set_keepalive(true))
    {
        debug!(%error, "socket option refused");
    }
}

/// Accepts until `stop`. When all places are taken, new connections are closed at once: a stranger who holds many
/// silent ones must not keep the accept queue full for everyone.
pub(crate) async fn listen(
    listener: TcpListener,
    places: Arc<Semaphore>,
    reception: impl Reception,
    stop: CancellationToken,
) {
    let visits = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(place) = admit(&places, &reception, address) else {
                    continue;
                };
                let visit = visit(stream, address, place, reception.clone());
                visits.spawn(stop.clone().run_until_cancelled_owned(visit));
            }
            Err(error) => {
                // Out of descriptors, most likely: they come back when connections end.
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

fn admit(
    places: &Arc<Semaphore>,
    reception: &impl Reception,
    from: SocketAddr,
) -> Option<OwnedSemaphorePermit> {
    if !reception.admits(from.ip()) {
        return None;
    }
    let place = Arc::clone(places).try_acquire_owned();
    if place.is_err() {
        debug!(%from, "all places are taken");
    }
    place.ok()
}

async fn visit(
    mut stream: TcpStream,
    address: SocketAddr,
    place: OwnedSemaphorePermit,
    reception: impl Reception,
) {
    prepare(&stream);
    match handshake::welcome(&mut stream, |hash| reception.answer(hash)).await {
        Ok(handshake) => {
            reception
                .receive(Visitor {
                    stream,
                    address,
                    handshake,
                    place,
                })
                .await
        }
        Err(error) => debug!(%address, %error, "no handshake"),
    }
}
