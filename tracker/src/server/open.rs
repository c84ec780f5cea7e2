//! Takes what only one process can have: addresses to listen on, and the folder.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use tracing::warn;

use super::StartError;
use crate::config::Http;
use crate::folder::Folder;
use crate::http::doors::{Door, Socket};
use crate::http::tls::Certificate;
use edge::listen;

/// Where the public port is, in every form.
#[derive(Debug)]
pub(super) struct Addresses {
    pub http: Vec<SocketAddr>,
    pub https: Vec<SocketAddr>,
    pub certificate: Option<Arc<Certificate>>,
}

/// Opens every way in.
pub(super) fn open_doors(http: &Http) -> Result<(Vec<Door>, Addresses), StartError> {
    let plain = listen_everywhere(&http.listen)?;
    let mut found = Addresses {
        http: addresses(&plain)?,
        https: Vec::new(),
        certificate: None,
    };
    let mut doors: Vec<_> = plain.into_iter().map(Door::Tcp).collect();
    if let Some(tls) = &http.tls {
        let certificate = Certificate::open(&tls.certificate, &tls.key)?;
        let listeners = listen_everywhere(&tls.listen)?;
        found.https = addresses(&listeners)?;
        let door = |listener| Door::Tls(listener, Arc::clone(&certificate));
        doors.extend(listeners.into_iter().map(door));
        found.certificate = Some(certificate);
    }
    for path in &http.unix {
        let socket = Socket::open(path).map_err(|source| StartError::Socket {
            path: path.clone(),
            source,
        })?;
        doors.push(Door::Unix(socket));
    }
    if doors.is_empty() {
        return Err(StartError::Nowhere);
    }
    Ok((doors, found))
}

pub(super) fn listen_on(address: SocketAddr) -> Result<TcpListener, StartError> {
    listen::open(address).map_err(|source| StartError::Listen { address, source })
}

/// Opens every address. A machine without IPv6 is no reason not to serve IPv4.
fn listen_everywhere(wanted: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::new();
    for &address in wanted {
        match listen::open(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) if wanted.len() > 1 && is_any_v6(address) && is_unavailable(&error) => {
                warn!(%address, %error, "this machine has no IPv6: going on without it");
            }
            Err(source) => return Err(StartError::Listen { address, source }),
        }
    }
    if listeners.is_empty() && !wanted.is_empty() {
        Err(StartError::Nowhere)
    } else {
        Ok(listeners)
    }
}

fn is_any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

fn is_unavailable(error: &io::Error) -> bool {
    use rustix::io::Errno;

    Errno::from_io_error(error).is_some_and(|errno| matches!(errno, Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn addresses(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, StartError> {
    listeners.iter().map(local_address).collect()
}

pub(super) fn local_address(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(StartError::System)
}

pub(super) async fn take_folder(path: PathBuf) -> Result<Folder, StartError> {
    let taken = tokio::task::spawn_blocking(move || Folder::take(&path)).await;
    Ok(taken.map_err(|error| StartError::System(error.into()))??)
}
