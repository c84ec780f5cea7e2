//! The store on real files in temporary folders.

mod books;
mod copies;
mod people;
mod register;
mod trouble;

use std::path::PathBuf;

use shared::id::{InfoHash, PeerId};
use tempfile::TempDir;

use super::{NewInvitation, NewMember, NewTorrent, Store};
use crate::members::ids::{Date, MemberId, TorrentId};
use crate::members::ledger::{AccountDelta, Changes, SessionKey};
use crate::members::rules::Mark;

/// A store with a folder of its own.
struct Fixture {
    folder: TempDir,
    store: Store,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("tracker.sqlite")).await.unwrap();
        Self { folder, store }
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("tracker.sqlite")
    }

    /// Closes the store and opens its file again.
    async fn reopened(self) -> Self {
        self.store.close().await;
        let store = Store::open(&self.database()).await.unwrap();
        Self { store, ..self }
    }

    async fn member(&self, name: &str) -> MemberId {
        self.store.insert_member(&named(name)).await.unwrap().id
    }

    async fn torrent(&self, byte: u8) -> TorrentId {
        self.store.insert_torrent(&hashed(byte)).await.unwrap().id
    }

    async fn sessions(&self, newer_than: Option<u64>) -> Vec<(SessionKey, Mark)> {
        let mut found = Vec::new();
        let count = self
            .store
            .sessions_newer(newer_than, |key, mark| found.push((key, mark)));
        assert_eq!(count.await.unwrap(), found.len() as u64);
        found.sort_by_key(|(key, _)| *key);
        found
    }
}

fn named(name: &str) -> NewMember {
    NewMember {
        name: name.to_owned(),
        created: Date(1_000),
        ..NewMember::default()
    }
}

fn hashed(byte: u8) -> NewTorrent {
    NewTorrent {
        info_hash_v1: Some(InfoHash([byte; 20])),
        name: format!("album {byte}"),
        size: 1 << 40,
        files: 3,
        added: Date(2_000),
        file: vec![byte; 100],
        ..NewTorrent::default()
    }
}

fn invited(code: u8, uses: u32) -> NewInvitation {
    NewInvitation {
        code_hash: [code; 32],
        by: None,
        created: Date(1_000),
        expires: None,
        uses,
        note: String::new(),
    }
}

fn key(torrent: u32, member: u32, peer: u8) -> SessionKey {
    SessionKey {
        torrent: TorrentId(torrent),
        member: MemberId(member),
        peer_id: PeerId([peer; 20]),
    }
}

fn mark(uploaded: u64) -> Mark {
    Mark {
        uploaded,
        downloaded: 7,
        left: u64::MAX,
        heard: Date(3_000),
        ended: false,
    }
}

fn gain(uploaded: u64, date: u32) -> AccountDelta {
    AccountDelta {
        uploaded,
        downloaded: uploaded.saturating_mul(2),
        upload_credit: uploaded / 2,
        download_charge: uploaded / 4,
        seeded_secs: 60,
        completions: 1,
        left: u64::from(date),
        first_seen: Date(date),
        last_seen: Date(date),
        client: *b"-TR4060-",
    }
}

/// One session and one account of each (member, torrent, bytes).
fn changes(gains: &[(u32, u32, u64)], date: u32) -> Changes {
    let mut changes = Changes::default();
    for &(member, torrent, bytes) in gains {
        changes.sessions.insert(key(torrent, member, 1), mark(bytes));
        let account = (MemberId(member), TorrentId(torrent));
        changes.accounts.insert(account, gain(bytes, date));
    }
    changes
}
