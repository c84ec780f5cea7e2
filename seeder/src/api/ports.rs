//! Where the API is reached: `control.sock` for this machine's owner, and a port with a token. Beside it on the port stand `/health`
//! and `/metrics`, without a token.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use edge::control::{self, Control};
use edge::exposition::CONTENT_TYPE;
use edge::listen;
use edge::problem::Problem;
use edge::site::{Manners, Site};
use edge::slots::Slots;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use super::guard::Caller;
use super::{Api, Token, router};
use crate::metrics;
use crate::state;

/// What is asked of every client.
const MANNERS: Manners = Manners {
    head_time: Duration::from_secs(10),
    write_time: Duration::from_secs(30),
    head_bytes: 16 * 1024,
};

/// Connections to the port, in all and from one address; this machine itself is bounded by the first alone.
const CONNECTIONS: (usize, usize) = (128, 32);

/// Answers under way are waited for so long.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The owner's port.
#[derive(Debug)]
pub struct Admin {
    pub listen: SocketAddr,
    /// Names beside addresses and `localhost` by which the port may be called.
    pub hosts: Vec<String>,
    pub token: Token,
}

/// The API cannot be reached where it should.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot listen on {address} for the owner: {source}; choose another address or `off`")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot open the control socket {}: {source}", path.display())]
    Socket { path: PathBuf, source: io::Error },
}

/// All that is open.
#[derive(Debug)]
pub struct Ports {
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Keeps the name of the control socket ours.
    name: Option<state::Lock>,
    admin: Option<SocketAddr>,
}

impl Ports {
    /// Opens the control socket in the state folder, and the owner's port where there is to be one. `stop` closes both.
    pub fn open(
        api: &Arc<Api>,
        folder: &Path,
        admin: Option<Admin>,
        stop: CancellationToken,
    ) -> Result<Self, OpenError> {
        let mut ports = Self {
            tasks: TaskTracker::new(),
            stop,
            name: None,
            admin: None,
        };
        if let Some(admin) = admin {
            ports.admin = Some(ports.open_admin(api, admin)?);
        }
        // The first process of a folder has the name that people know, others one with their number.
        ports.name = state::lock(folder, "control").ok();
        let name = match ports.name {
            Some(_) => control::NAME.to_owned(),
            None => format!("control-{}.sock", std::process::id()),
        };
        let control = Control::open(folder, &name).map_err(|source| OpenError::Socket {
            path: folder.join(&name),
            source,
        })?;
        let site = Site::new(router(api, None), MANNERS, ports.stop.clone());
        ports
            .tasks
            .spawn(control.serve(site, ports.tasks.clone(), ports.stop.clone()));
        Ok(ports)
    }

    fn open_admin(&self, api: &Arc<Api>, admin: Admin) -> Result<SocketAddr, OpenError> {
        let trouble = |source| OpenError::Listen {
            address: admin.listen,
            source,
        };
        let listener = listen::open(admin.listen).map_err(trouble)?;
        let address = listener.local_addr().map_err(trouble)?;
        let pages = pages(api, Arc::new(admin.token), admin.hosts);
        let site = Site::new(pages, MANNERS, self.stop.clone());
        self.tasks
            .spawn(accept(listener, site, self.tasks.clone(), self.stop.clone()));
        Ok(address)
    }

    /// Where the owner's port is, with the real port.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Closes all. Answers under way are waited for, streams are ended.
    pub async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(LAST_WORDS, self.tasks.wait()).await.is_err() {
            debug!("somebody still read an answer");
        }
    }
}

/// All that the port shows.
pub(super) fn pages(api: &Arc<Api>, token: Arc<Token>, hosts: Vec<String>) -> Router {
    let watched = Router::new()
        .route("/health", get(async || "ok\n"))
        .route("/metrics", get(show_metrics))
        .with_state(Arc::clone(api));
    router(api, Some(&token))
        .merge(watched)
        .fallback(async || Problem::not_found("nothing here: /api/v1, /metrics and /health are"))
        .layer(from_fn_with_state(Arc::<[String]>::from(hosts), check_host))
}

async fn show_metrics(State(api): State<Arc<Api>>) -> Response {
    match metrics::page(&api.engine.facts().await) {
        Ok(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A web site that gives its own name this machine's address reaches the port from the owner's browser, but under that name.
async fn check_host(State(hosts): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    let mut said = request.headers().get_all(header::HOST).iter();
    let host = said.next().and_then(|host| host.to_str().ok());
    if said.next().is_none() && host.is_some_and(|host| is_ours(host, &hosts)) {
        return next.run(request).await;
    }
    let why =
        "the Host field names neither an address, nor localhost, nor a name of admin.hosts in the settings";
    Problem::new(StatusCode::MISDIRECTED_REQUEST, why).into_response()
}

fn is_ours(host: &str, hosts: &[String]) -> bool {
    let bare = host.strip_prefix('[').and_then(|v6| v6.split_once(']'));
    let name = match bare {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

async fn accept(listener: TcpListener, site: Arc<Site>, tasks: TaskTracker, stop: CancellationToken) {
    let slots = Slots::new(CONNECTIONS.0, CONNECTIONS.1);
    let greet = |stream: std::net::TcpStream, from: SocketAddr| {
        let Ok(slot) = slots.take(from.ip()) else {
            warn!(%from, "turned away from the owner's port: too many connections");
            return;
        };
        let site = Arc::clone(&site);
        tasks.spawn(async move {
            let served = match tokio::net::TcpStream::from_std(stream) {
                Ok(stream) => site.serve(stream, Vec::new(), Caller(from.ip())).await,
                Err(error) => return debug!(%error, "a connection was lost"),
            };
            if let Err(error) = served {
                debug!(%error, "a connection to the owner's port broke off");
            }
            drop(slot);
        });
    };
    tokio::select! {
        error = listen::accept_each(listener, || (), greet) => error!(%error, "cannot accept connections"),
        () = stop.cancelled() => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_called_by_an_address_or_a_name_that_is_ours() {
        let hosts = ["nas.lan".to_owned()];
        for ours in [
            "127.0.0.1:6980",
            "192.0.2.7",
            "[::1]:6980",
            "localhost:6980",
            "LOCALHOST",
            "nas.lan:80",
            "NAS.lan",
        ] {
            assert!(is_ours(ours, &hosts), "{ours}");
        }
        for other in [
            "evil.example",
            "evil.example:6980",
            "localhost.evil.example",
            "",
            ":6980",
            "[evil]",
        ] {
            assert!(!is_ours(other, &hosts), "{other}");
        }
    }
}
