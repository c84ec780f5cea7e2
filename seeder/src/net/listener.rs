//! The one port of all torrents: accepts, hears which torrent is meant, and hands the connection to the engine.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use shared::id::InfoHash;
use shared::peer_wire::{Handshake, PROTOCOL, Reserved, WireError};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::encryption::{Mask, Policy, Secrecy};
use super::handshake::{self, HANDSHAKE_TIME, HandshakeError};
use super::line::Line;

/// Connections that the system may hold for us until they are accepted.
const BACKLOG: i32 = 1024;

/// Connections without a handshake. Beyond this the oldest of them goes: an honest one is through in a second.
const VISITS_MAX: usize = 200;

/// Who answers for the torrents. Cheap to clone; one clone a connection.
pub(crate) trait Reception: Clone + Send + Sync + 'static {
    /// May this address connect at all?
    fn admits(&self, address: IpAddr) -> bool;
    /// What encrypted handshakes need.
    fn secrecy(&self) -> &Secrecy;
    /// Our handshake, if we have this torrent.
    fn answer(&self, hash: InfoHash, reserved: Reserved) -> impl Future<Output = Option<Handshake>> + Send;
    /// The torrent that an encrypted handshake means, if we have it.
    fn unmask(&self, mask: Mask) -> impl Future<Output = Option<InfoHash>> + Send;
    /// Takes the connection over, once both handshakes are done.
    fn receive(
        &self,
        line: Line,
        address: SocketAddr,
        handshake: Handshake,
    ) -> impl Future<Output = ()> + Send;
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

/// Accepts until `stop`. Strangers that say nothing make room for those who come after them.
pub(crate) async fn listen(listener: TcpListener, reception: impl Reception, stop: CancellationToken) {
    let mut visits = JoinSet::new();
    let mut order = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = visits.join_next() => continue,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, address)) if reception.admits(address.ip()) => {
                make_room(&mut order, visits.len());
                order.push_back(visits.spawn(visit(stream, address, reception.clone())));
            }
            Ok(_) => (),
            Err(error) => {
                // Out of descriptors, most likely: they come back when connections end.
                warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Ends the oldest visit that is still without a handshake, if there are too many of them.
fn make_room(order: &mut VecDeque<AbortHandle>, visits: usize) {
    while order.front().is_some_and(AbortHandle::is_finished) {
        order.pop_front();
    }
    if visits >= VISITS_MAX
        && let Some(oldest) = order.pop_front()
    {
        oldest.abort();
    }
}

async fn visit(stream: TcpStream, address: SocketAddr, reception: impl Reception) {
    prepare(&stream);
    let handshakes = tokio::time::timeout(HANDSHAKE_TIME, welcome(stream, &reception)).await;
    match handshakes.unwrap_or_else(|late| Err(late.into())) {
        Ok((line, handshake)) => reception.receive(line, address, handshake).await,
        Err(error) => debug!(%address, %error, "no handshake"),
    }
}

/// The first twenty bytes tell a plain handshake from an encrypted one.
async fn welcome(
    mut stream: TcpStream,
    reception: &impl Reception,
) -> Result<(Line, Handshake), HandshakeError> {
    let mut first = [0; PROTOCOL.len()];
    stream.read_exact(&mut first).await?;
    let secrecy = reception.secrecy();
    let mut line = match (first == PROTOCOL, secrecy.policy()) {
        (true, Policy::Require) => return Err(HandshakeError::PlainRefused),
        (false, Policy::Off) => return Err(WireError::Protocol.into()),
        (true, _) => Line::new(stream, first.as_slice().into(), None),
        (false, _) => {
            let unmask = |mask| reception.unmask(mask);
            secrecy.welcome(stream, &first, unmask).await?
        }
    };
    let answer = |hash, reserved| reception.answer(hash, reserved);
    let theirs = handshake::welcome(&mut line, answer).await?;
    Ok((line, theirs))
}
