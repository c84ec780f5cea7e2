//! All torrents of the process: one port, one table; idle torrents sleep in it, active ones have a driver.

mod api;
mod bans;
mod process;
mod table;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot};

pub use api::{
    AddError, AddTorrent, Check, Encryption, EngineConfig, EngineError, Event, Goals, Limits, Mode, Options,
    Source, Stage, TorrentKey, TorrentLimits, TorrentStatus,
};
pub(crate) use process::{Shared, Spec};

use crate::net::listener;
use table::{Request, Table};

/// Requests that may wait for the table.
const REQUESTS_MAX: usize = 256;

/// A handle to the engine, which is a task that owns the table. It works until [`Engine::stop`], or until the last
/// handle is dropped.
#[derive(Clone, Debug)]
pub struct Engine {
    requests: mpsc::Sender<Request>,
    shared: Arc<Shared>,
    listen: Arc<[SocketAddr]>,
}

impl Engine {
    /// Opens the port and starts the tasks that every torrent needs.
    #[expect(
        clippy::unused_async,
        reason = "tasks are spawned: only an async caller has the runtime for them"
    )]
    pub async fn start(config: EngineConfig) -> Result<Self, EngineError> {
        let mut listeners = Vec::new();
        let mut port = None;
        for address in &config.listen {
            listeners.push(bind(*address, &mut port)?);
        }
        let listen: Arc<[SocketAddr]> = listeners.iter().map(|(address, _)| *address).collect();
        let (shared, answers) = Shared::start(&config, &listen)?;
        let shared = Arc::new(shared);
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        for (_, listener) in listeners {
            let reception = table::Desk::new(&shared, requests.clone().downgrade());
            tokio::spawn(listener::listen(listener, reception, shared.stop.clone()));
        }
        tokio::spawn(Table::new(Arc::clone(&shared)).run(inbox, answers));
        Ok(Self {
            requests,
            shared,
            listen,
        })
    }

    /// Where peers reach us, with the real ports.
    pub fn listen_addresses(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Takes a torrent. What is on disk is looked at in the background: [`Event::Checked`] tells.
    pub async fn add(&self, torrent: AddTorrent) -> Result<TorrentKey, AddError> {
        let (answer, answered) = oneshot::channel();
        let request = Request::Add(Box::new(torrent), answer);
        self.requests.send(request).await.map_err(|_| AddError::Stopped)?;
        answered.await.map_err(|_| AddError::Stopped)?
    }

    /// What happens from now on. Who is too slow to listen misses the oldest.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Facts of one torrent.
    pub async fn status(&self, key: TorrentKey) -> Option<TorrentStatus> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Status(key, answer)).await.ok()?;
        answered.await.ok()?
    }

    /// Finishes what the disk has in hand, says goodbye to trackers, and ends all tasks; within 5 s, also with dead trackers.
    pub async fn stop(self) {
        let (done, stopped) = oneshot::channel();
        if self.requests.send(Request::Stop(done)).await.is_ok() {
            // An error means that the table's task has ended, which is what was asked for.
            let _ = stopped.await;
        }
    }
}

/// Opens one address. Where several leave the port open, all get the same one, as far as it is free.
fn bind(
    address: SocketAddr,
    port: &mut Option<u16>,
) -> Result<(SocketAddr, tokio::net::TcpListener), EngineError> {
    let trouble = |source| EngineError::Listen { address, source };
    let mut wanted = address;
    if let Some(port) = port.filter(|_| address.port() == 0) {
        wanted.set_port(port);
    }
    let listener = listener::bind(wanted)
        .or_else(|_| listener::bind(address))
        .map_err(trouble)?;
    let bound = listener.local_addr().map_err(trouble)?;
    *port = Some(bound.port());
    Ok((bound, listener))
}
