//! What the office does by itself: it registers unknown hashes that announces bring, where the settings welcome them,
//! writes down when tokens were used, and forgets from where keys were used long ago.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Office, OfficeError};
use crate::members::register::Stranger;
use crate::members::store::{NewTorrent, StoreError};

/// Strangers that are served in one go, before anybody else may change something.
const BATCH: usize = 64;

impl Office {
    /// Works until `stop`. Announces wait for it some milliseconds at most, so it must run beside them, not on the same
    /// thread.
    pub async fn welcome_torrents(&self, stop: CancellationToken) {
        let mut strangers = self.strangers.lock().await;
        let mut batch = Vec::with_capacity(BATCH);
        let mut written = BTreeMap::new();
        let mut failing = false;
        let mut hours = tokio::time::interval(Duration::from_secs(3_600));
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = strangers.recv_many(&mut batch, BATCH) => {
                    let done = self.welcome(&mut batch).await;
                    if let Err(error) = &done && !failing {
                        warn!(%error, "unknown torrents are welcome, but cannot be registered");
                    }
                    failing = done.is_err();
                }
                () = self.touched.notified() => self.write_uses(&mut written).await,
                // Networks are forgotten on time also where nobody asks for alarms.
                _ = hours.tick() => { self.directory.alarms(self.clock.date()); }
            }
        }
        self.write_uses(&mut written).await;
    }

    /// Registers hashes of which nothing else is known. Whoever waits goes on when its stranger is dropped.
    async fn welcome(&self, strangers: &mut Vec<Stranger>) -> Result<(), OfficeError> {
        let _one = self.changes.lock().await;
        for stranger in strangers.drain(..) {
            if !self.settings().open || self.register.look_up(&stranger.hash).is_some() {
                continue;
            }
            let new = NewTorrent {
                info_hash_v1: Some(stranger.hash),
                added: self.clock.date(),
                ..NewTorrent::default()
            };
            match self.store.insert_torrent(&new).await {
                Ok(row) => self.register.put(None, &row),
                // A flush writes more than the register knows of; the next start reads it.
                Err(StoreError::Exists { .. }) => (),
                Err(error) => return Err(error.into()),
            }
        }
        self.register.answers();
        Ok(())
    }
}
