//! All torrents of the process: one port, one table; idle torrents sleep in it, active ones have a driver.

mod adding;
mod announcing;
mod api;
mod bans;
#[cfg(test)]
mod bounds;
mod change;
mod chores;
mod descriptors;
mod desk;
#[cfg(test)]
mod elsewhere;
mod entry;
mod learning;
mod lending;
mod listing;
mod moves;
#[cfg(test)]
mod operations;
mod orders;
mod process;
mod restore;
mod spec;
#[cfg(test)]
mod stories;
mod table;
#[cfg(test)]
mod tests;
pub mod view;
pub(crate) mod words;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot};

pub use api::{
    AddError, AddTorrent, Allocation, Check, Clash, Encryption, EngineConfig, EngineError, Event, Goals,
    Limits, Mode, Options, Source, Stage, TorrentKey, TorrentLimits, TorrentStatus,
};
pub use change::{Change, ChangeError, Content, Rates};
pub(crate) use lending::{Borrow, Lent};
pub(crate) use process::Shared;
pub(crate) use spec::{Live, Spec, wanted};
pub use view::{Details, EngineFacts, FileFacts, OptionFacts, PeerFacts, Summary, TrackerFacts};

use crate::net::listener;
use crate::store::keeper::Keeper;
use table::{Order, Request, Table};

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
    pub async fn start(config: EngineConfig) -> Result<Self, EngineError> {
        let remembered = restore::load(&config).await?;
        let mut listeners = Vec::new();
        let mut port = None;
        for address in &config.listen {
            listeners.push(bind(*address, &mut port)?);
        }
        let listen: Arc<[SocketAddr]> = listeners.iter().map(|(address, _)| *address).collect();
        let (shared, news) = Shared::start(&config, &listen)?;
        let shared = Arc::new(shared);
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        for (_, listener) in listeners {
            let reception = desk::Desk::new(&shared, requests.clone().downgrade());
            tokio::spawn(listener::listen(listener, reception, shared.stop.clone()));
        }
        let (store, rows) = remembered.unzip();
        let mut table = Table::new(Arc::clone(&shared), store.map(Keeper::start), Rates::default());
        table
            .set_rates(config.rates)
            .map_err(|error| EngineError::Rates(error.to_string()))?;
        tokio::spawn(async move {
            table.restore(rows.unwrap_or_default()).await;
            table.run(inbox, news).await;
        });
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

    /// Tells all who listen of something that did not happen.
    #[cfg(test)]
    pub(crate) fn tell(&self, event: Event) {
        self.shared.event(event);
    }

    /// Facts of one torrent.
    pub async fn status(&self, key: TorrentKey) -> Option<TorrentStatus> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Status(key, answer)).await.ok()?;
        answered.await.ok()?
    }

    /// All torrents, in the order in which they were added. Cheap: rates are at most a second old.
    pub async fn list(&self) -> Vec<Summary> {
        self.ask(Request::List).await.unwrap_or_default()
    }

    /// All that is known of one torrent.
    pub async fn details(&self, key: TorrentKey) -> Option<Details> {
        self.ask(|answer| Request::Details(key, answer)).await?
    }

    /// How one torrent is treated, and how many files it has, padding among them; none before its metadata are here.
    pub async fn options(&self, key: TorrentKey) -> Option<(Arc<Options>, usize)> {
        self.ask(|answer| Request::Options(key, answer)).await?
    }

    /// Sums of the process.
    pub async fn facts(&self) -> EngineFacts {
        self.ask(Request::Facts).await.unwrap_or_default()
    }

    /// The torrents that these words name: a hash or the beginning of one (4 digits at least), or a whole name.
    pub async fn find(&self, words: &str) -> Vec<TorrentKey> {
        let words = words.to_owned();
        self.ask(|answer| Request::Find(words, answer))
            .await
            .unwrap_or_default()
    }

    /// Lets go of a torrent: says goodbye to its peers and trackers, and forgets it.
    pub async fn remove(&self, key: TorrentKey, content: Content) -> Result<(), ChangeError> {
        self.change_by(key, Order::Remove(content)).await
    }

    /// Lets it rest, over restarts too: no peers, no announces but the goodbye.
    pub async fn pause(&self, key: TorrentKey) -> Result<(), ChangeError> {
        self.change_by(key, Order::Pause).await
    }

    /// Ends a rest. Of a torrent that had been given enough, that goal counts no more.
    pub async fn resume(&self, key: TorrentKey) -> Result<(), ChangeError> {
        self.change_by(key, Order::Resume).await
    }

    /// Asks the trackers as soon as they allow it; by force, now.
    pub async fn announce(&self, key: TorrentKey, force: bool) -> Result<(), ChangeError> {
        self.change_by(key, Order::Announce { force }).await
    }

    /// Looks at the files again. Answered when it begins: [`Event::Checked`] tells of the end.
    pub async fn recheck(&self, key: TorrentKey, check: Check) -> Result<(), ChangeError> {
        self.change_by(key, Order::Recheck(check)).await
    }

    /// Changes how it is treated.
    pub async fn change(&self, key: TorrentKey, change: Change) -> Result<(), ChangeError> {
        self.change_by(key, Order::Change(Box::new(change))).await
    }

    /// Moves its files to another folder while it goes on. Answered when they are there.
    pub async fn relocate(&self, key: TorrentKey, root: PathBuf) -> Result<(), ChangeError> {
        self.change_by(key, Order::Relocate(root)).await
    }

    /// Gives one of its files another path below the root. Answered when it has it.
    pub async fn rename(&self, key: TorrentKey, file: usize, to: PathBuf) -> Result<(), ChangeError> {
        self.change_by(key, Order::Rename(file, to)).await
    }

    /// Tells it of peers.
    pub async fn add_peers(&self, key: TorrentKey, peers: Vec<SocketAddr>) -> Result<(), ChangeError> {
        self.change_by(key, Order::Peers(peers)).await
    }

    /// Bounds of the process, from now on.
    pub async fn set_rates(&self, rates: Rates) -> Result<(), ChangeError> {
        self.ask(|answer| Request::SetRates(Box::new(rates), answer))
            .await
            .unwrap_or(Err(ChangeError::Stopped))
    }

    /// Bounds of the process, as they were set.
    pub async fn rates(&self) -> Rates {
        self.ask(Request::Rates).await.unwrap_or_default()
    }

    async fn change_by(&self, key: TorrentKey, order: Order) -> Result<(), ChangeError> {
        self.ask(|answer| Request::Order(key, order, answer))
            .await
            .unwrap_or(Err(ChangeError::Stopped))
    }

    /// Asks the table; nothing if the engine has stopped.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.ok()?;
        answered.await.ok()
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
