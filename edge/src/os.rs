//! The system calls in which accepting differs between systems (DESIGN, decision 21).

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Accepts one connection that does not block: in one call where the system has one.
#[cfg(target_os = "linux")]
pub(crate) fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    use rustix::net::{SocketFlags, acceptfrom_with};

    let (socket, from) = acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
    // A connection that names nobody was closed before it was accepted.
    from.map(|from| (socket.into(), from))
        .ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
}

/// Accepts one connection that does not block.
#[cfg(not(target_os = "linux"))]
pub(crate) fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, from) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok((stream, from))
}
