//! Files for those who come without the peer protocol: lent where they are, without waking anybody.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shared::id::InfoHash;
use tokio::sync::oneshot;

use super::Engine;
use super::entry::State;
use super::process::Shared;
use super::spec::Spec;
use super::table::{Request, Table};
use crate::disk::Opened;
use crate::driver::Command;
use crate::net::throttle::Tolls;

/// A torrent's files, and whom to tell what was given of them.
#[derive(Debug)]
pub(crate) struct Lent {
    pub(crate) opened: Opened,
    spec: Arc<Spec>,
    shared: Arc<Shared>,
}

/// What comes of asking for a torrent's files.
#[derive(Debug)]
pub(crate) enum Borrow {
    Lent(Box<Lent>),
    /// They are here, but nobody can have them now.
    Busy,
    Unknown,
}

impl Lent {
    /// So many bytes of it have left. Announces do not count them: trackers compare what peers gave with what peers took.
    pub(crate) fn given(&self, bytes: u64) {
        self.shared.web_given.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What a connection to this address pays: the rates of the torrent, of its class, and of the process.
    pub(crate) fn tolls(&self, address: IpAddr) -> Tolls {
        self.shared
            .gates
            .tolls(self.spec.gate(self.shared.clock), address)
    }
}

impl Engine {
    /// The files of a torrent, if it is neither paused nor being moved.
    pub(crate) async fn borrow(&self, hash: InfoHash) -> Borrow {
        self.ask(|answer| Request::Borrow(hash, answer))
            .await
            .unwrap_or(Borrow::Busy)
    }
}

impl Table {
    pub(super) fn lend_to(&self, hash: InfoHash, answer: oneshot::Sender<Borrow>) {
        let entry = self.by_hash.get(&hash).and_then(|key| self.torrents.get(key));
        let Some(entry) = entry.filter(|entry| entry.removal.is_none() && !entry.paused) else {
            // Whoever asked may have gone, here and below.
            _ = answer.send(Borrow::Unknown);
            return;
        };
        let (spec, shared) = (Arc::clone(&entry.spec), Arc::clone(&self.shared));
        let lent = |opened: Option<Opened>| match opened {
            Some(opened) => Borrow::Lent(Box::new(Lent { opened, spec, shared })),
            None => Borrow::Busy,
        };
        match &entry.state {
            _ if entry.moving => _ = answer.send(Borrow::Busy),
            State::Asleep(opened) => _ = answer.send(lent(Some(opened.clone()))),
            State::Awake(awake) => {
                let (ask, told) = oneshot::channel();
                if awake.driver.try_send(Command::Lend(ask)).is_err() {
                    _ = answer.send(Borrow::Busy);
                    return;
                }
                tokio::spawn(async move { answer.send(lent(told.await.ok().flatten())) });
            }
            State::Opening(_) | State::Parked(_) | State::Blank | State::Broken(_) => {
                _ = answer.send(Borrow::Busy);
            }
        }
    }
}
