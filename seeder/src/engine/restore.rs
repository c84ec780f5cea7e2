//! Torrents taken up again at the start of a process, as its store has them.

use std::net::SocketAddr;

use shared::magnet::Magnet;
use shared::metainfo::Metainfo;
use tracing::error;

use super::adding::parts;
use super::api::{EngineConfig, EngineError, Mode, Options, TorrentKey};
use super::spec::{Known, Standing, Sums};
use super::table::Table;
use crate::store::{Store, StoreError, TorrentRow, Unreadable};

/// What the database holds, torrent by torrent.
pub(super) type Rows = Vec<Result<TorrentRow, Unreadable>>;

/// Opens the database, if the process has one, and reads all of it.
pub(super) async fn load(config: &EngineConfig) -> Result<Option<(Store, Rows)>, EngineError> {
    let Some(path) = &config.store else {
        return Ok(None);
    };
    let trouble = |error: StoreError| EngineError::Store {
        path: path.clone(),
        reason: if error.is_damage() {
            format!(
                "{error}; it is damaged. Move it away, with what is called {}-wal beside it, and add the torrents again: \
                 their files are as they were",
                path.display()
            )
        } else {
            error.to_string()
        },
    };
    let mut store = Store::open(path).await.map_err(trouble)?;
    let rows = store.load().await.map_err(trouble)?;
    Ok(Some((store, rows)))
}

impl Table {
    /// Puts these torrents into the table and sets them going.
    pub(super) async fn restore(&mut self, rows: Rows) {
        for row in rows {
            match row {
                Ok(row) => self.restore_one(row).await,
                Err(Unreadable { id, reason }) => {
                    error!(
                        torrent = id,
                        reason, "a torrent of the database cannot be read, and stays there"
                    );
                    self.skip(TorrentKey(id));
                }
            }
        }
    }

    async fn restore_one(&mut self, row: TorrentRow) {
        let key = TorrentKey(row.id);
        let Some((known, peers)) = row.source.as_ref().and_then(|source| read(key, source)) else {
            // A later version may read it.
            error!(
                torrent = row.id,
                "a torrent of the database cannot be read, and stays there"
            );
            self.skip(key);
            return;
        };
        let options = Options {
            paused: row.paused,
            ..Options::from(row.options)
        };
        let standing = Standing {
            mode: if row.writes { Mode::Get } else { Mode::Seed },
            peers,
            before: Sums {
                uploaded: row.counters.uploaded,
                downloaded: row.counters.downloaded,
            },
            added: row.added,
            copies: row.counters.copies,
            treated: self.treat(&row.root, options, &row.trackers),
            done: row.done,
        };
        self.enter(known, standing);
        if let Some(entry) = self.torrents.get_mut(&key) {
            entry.seeded = row.counters.seeding_seconds;
            entry.reached = row.reached.map(Into::into);
        }
        self.begin(key).await;
    }
}

/// What the torrent is. Peers that somebody told it of are not remembered; those of a link are a part of it.
fn read(key: TorrentKey, (is_magnet, source): &(bool, Vec<u8>)) -> Option<(Known, Vec<SocketAddr>)> {
    if *is_magnet {
        let magnet: Magnet = std::str::from_utf8(source).ok()?.parse().ok()?;
        return Some((Known::of_magnet(key, &magnet), magnet.peers));
    }
    let (info, about) = parts(Metainfo::read(source).ok()?);
    Some((Known::of_info(key, info, about), Vec::new()))
}
