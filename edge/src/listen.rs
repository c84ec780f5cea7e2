//! Listening sockets: how they are opened and accepted from. Running out of descriptors or memory
//! makes accepting pause, never end.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::{debug, warn};

use crate::os;

/// Waiting clients beyond this are turned away by the kernel, which has its own, often lower bound (`somaxconn`).
const BACKLOG: i32 = 4_096;

/// After so many connections a loop lets those speak that it has accepted.
const BATCH: usize = 64;

/// The first and the longest pause when no connection can be accepted.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Opens a listening socket. The port is ours alone: a second program is refused by the system.
pub fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // IPv4 has a socket of its own.
        socket.set_only_v6(true)?;
    }
    // Lets a restart take over connections in TIME_WAIT; two listeners still exclude each other.
    socket.set_reuse_address(true)?;
    // Inherited by accepted connections on Linux; an answer is one write and shall not wait for its like.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until it is dropped, and hands every connection with its sender's address to `greet`; `failed` counts pauses.
pub async fn accept_each(
    listener: TcpListener,
    failed: impl Fn(),
    mut greet: impl FnMut(TcpStream, SocketAddr),
) -> io::Error {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for strange descriptors; a TcpListener owns its own"
    )]
    let listener = match AsyncFd::with_interest(listener, Interest::READABLE) {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    let mut pause = PAUSES.0;
    loop {
        match accept_batch(&listener, &mut greet).await {
            Ok(()) => {
                pause = PAUSES.0;
                tokio::task::yield_now().await;
            }
            Err(error) => {
                failed();
                warn!(%error, pause_millis = pause.as_millis(), "cannot accept connections: pausing");
                tokio::time::sleep(pause).await;
                pause = PAUSES.1.min(pause * 2);
            }
        }
    }
}

/// Accepts what waits, up to a batch. An error is a lack of means, which a pause may cure.
async fn accept_batch(
    listener: &AsyncFd<TcpListener>,
    greet: &mut impl FnMut(TcpStream, SocketAddr),
) -> io::Result<()> {
    let mut ready = listener.readable().await?;
    for _ in 0..BATCH {
        match os::accept(listener.get_ref()) {
            Ok((stream, from)) => greet(stream, unmapped(from)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready.clear_ready();
                break;
            }
            Err(error) if is_lack_of_means(&error) => return Err(error),
            // The client's trouble, not ours: it has gone, or the network dropped it.
            Err(error) => debug!(%error, "a connection was lost before it was accepted"),
        }
    }
    Ok(())
}

fn is_lack_of_means(error: &io::Error) -> bool {
    use rustix::io::Errno;

    let lacking = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::INVAL,
        Errno::BADF,
    ];
    Errno::from_io_error(error).is_some_and(|errno| lacking.contains(&errno))
}

/// An IPv4 client on an IPv6 socket is an IPv4 client.
pub fn unmapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_refused() {
        let first = open("127.0.0.1:0".parse().unwrap()).unwrap();
        let second = open(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn both_families_share_a_port_number() {
        let v4 = open("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = v4.local_addr().unwrap().port();
        let v6 = open(SocketAddr::new("::".parse().unwrap(), port));
        // Without IPv6 on the machine, that is what the error must say, not that the port is taken.
        assert!(v6.is_ok_and(|v6| v6.local_addr().is_ok()) || !has_ipv6());
    }

    fn has_ipv6() -> bool {
        open("[::1]:0".parse().unwrap()).is_ok()
    }

    #[test]
    fn mapped_addresses_lose_their_prefix() {
        for (from, to) in [
            ("[::ffff:192.0.2.1]:5", "192.0.2.1:5"),
            ("[2001:db8::1]:5", "[2001:db8::1]:5"),
        ] {
            assert_eq!(unmapped(from.parse().unwrap()), to.parse().unwrap());
        }
    }

    #[test]
    fn running_out_of_descriptors_is_a_lack_of_means_and_a_reset_is_not() {
        assert!(is_lack_of_means(&rustix::io::Errno::MFILE.into()));
        assert!(!is_lack_of_means(&rustix::io::Errno::CONNABORTED.into()));
    }
}
