//! The ways in: a TCP port, one over TLS, a Unix socket. Each lane has its own handle on each; what is accepted, and by whom it
//! is answered, is the porter's or the site's.

use std::fs::Permissions;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::reply;
use super::tls::Certificate;
use crate::metrics::Counters;

/// The owner and the group may connect: the proxy is put into the group.
const MODE: u32 = 0o660;

/// The pause when no connection can be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// One way in.
#[derive(Debug)]
pub(crate) enum Door {
    Tcp(TcpListener),
    Tls(TcpListener, Arc<Certificate>),
    Unix(Arc<Socket>),
}

impl Door {
    /// Another handle on the same way.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Tls(listener, certificate) => Self::Tls(listener.try_clone()?, Arc::clone(certificate)),
            Self::Unix(socket) => Self::Unix(Arc::clone(socket)),
        })
    }
}

/// A listening Unix socket; its file goes with the last handle.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Opens a socket, in place of one that nobody listens on any more. Whatever else lies there is somebody's and stays.
    pub(crate) fn open(path: &Path) -> io::Result<Arc<Self>> {
        make_room(path)?;
        let listener = UnixListener::bind(path)?;
        // Until here the process's umask rules, which is stricter for strangers than this.
        std::fs::set_permissions(path, Permissions::from_mode(MODE))?;
        listener.set_nonblocking(true)?;
        Ok(Arc::new(Self {
            listener,
            path: path.to_owned(),
        }))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn make_room(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let why = "what lies there is no socket; move it away, or choose another path";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "a program listens on it; stop that, or choose another path",
        )),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// Accepts until it is dropped, and hands every connection to `greet`.
pub(crate) async fn accept_each(
    socket: &Socket,
    counters: &Counters,
    mut greet: impl FnMut(UnixStream),
) -> io::Error {
    let listener = match socket
        .listener
        .try_clone()
        .and_then(tokio::net::UnixListener::from_std)
    {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match stream.into_std() {
                Ok(stream) => greet(stream),
                Err(error) => return error,
            },
            Err(error) => {
                counters.accept_failures.add(1);
                warn!(%error, "cannot accept connections on a Unix socket: pausing");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Says that there is no room. What the client has said is read first: closing with unread bytes would destroy the answer.
pub(crate) fn turn_away(stream: &mut (impl io::Read + io::Write)) {
    let mut said = [0; 2_048];
    let _ = stream.read(&mut said);
    let _ = stream.write(reply::BUSY);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_one_in_use_and_other_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        let socket = Socket::open(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        assert_eq!(Socket::open(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(
            Socket::open(&path).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
