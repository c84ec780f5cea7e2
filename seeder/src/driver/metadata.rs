//! From a magnet link to a torrent: its metadata, then, where v2 needs them, its piece layers, then its files.

use std::sync::Arc;

use shared::geometry::{BLOCK_LENGTH, Block, PieceIndex};
use shared::hash_span::HashSpan;
use shared::merkle::{self, Hash, Layers};
use shared::metainfo::Info;
use tracing::{info, warn};

use super::{Driver, Job};
use crate::disk::Storage;
use crate::engine::{Check, Event, Options};
use crate::torrent::{Input, PeerKey, Priority, Wishes};

impl Driver {
    /// The metadata have come from a peer, and one hash of the torrent is theirs.
    pub(super) fn take_metadata(&mut self, raw: &[u8]) {
        let info = match Info::read(raw) {
            Ok(info) if self.spec.is_of(&info) => Arc::new(info),
            Ok(_) => return self.refuse("the link names two different torrents"),
            Err(error) => return self.refuse(&error.to_string()),
        };
        self.shared.event(Event::Metadata {
            key: self.spec.key,
            info: Arc::clone(&info),
        });
        self.take_info(info);
    }

    /// Opens the files, or asks for the piece layers first.
    pub(super) fn take_info(&mut self, info: Arc<Info>) {
        if info.has_layers() {
            self.open(info);
        } else {
            info!(torrent = %self.spec.label, "asking peers for its piece layers");
            let trees = info.trees().clone();
            self.bare = Some(info);
            self.tell(Input::Layerless(trees));
        }
    }

    /// Every piece layer that was missing is here.
    pub(super) fn take_layers(&mut self, layers: Layers) {
        let Some(bare) = self.bare.take() else { return };
        match Info::clone(&bare).with_layers(layers) {
            Ok(info) => self.open(Arc::new(info)),
            Err(error) => self.refuse(&error.to_string()),
        }
    }

    fn open(&mut self, info: Arc<Info>) {
        if let Some(only) = &self.spec.only {
            let chosen = |file| {
                if only.has(file) {
                    Priority::Normal
                } else {
                    Priority::Skip
                }
            };
            let wishes = Wishes {
                files: (0..info.files().len()).map(chosen).collect(),
                ..Wishes::default()
            };
            let mut options = Options::clone(&self.spec.options());
            options.wishes = wishes.clone();
            self.spec.set_options(Arc::new(options));
            self.tell(Input::Wishes(wishes));
        }
        self.spec.learn(&info);
        let how = (Check::Lazy, Arc::default(), self.leave.clone());
        let opening = self.shared.opening(&self.spec, info, how);
        self.jobs
            .spawn(async move { Job::Opened(opening.await.map(Box::new)) });
    }

    /// Hashes the blocks of a piece for a peer that asks for that part of its tree.
    pub(super) fn read_leaves(&mut self, peer: PeerKey, span: Box<HashSpan>, piece: PieceIndex) {
        let storage = self.opened.as_ref().map(|opened| Arc::clone(&opened.storage));
        self.jobs.spawn(async move {
            let Some(storage) = storage else {
                return Job::Leaves(peer, span, None);
            };
            let _turn = storage.device().read().await;
            let hashed = tokio::task::spawn_blocking(move || leaves_of(&storage, piece)).await;
            Job::Leaves(peer, span, hashed.ok().flatten())
        });
    }

    fn refuse(&self, reason: &str) {
        warn!(reason, torrent = %self.spec.label, "metadata refused");
        self.shared.event(Event::Refused {
            key: self.spec.key,
            reason: reason.to_owned(),
        });
    }
}

/// The leaves of a piece that is as the torrent says. May wait for a disk.
fn leaves_of(storage: &Storage, piece: PieceIndex) -> Option<Vec<Hash>> {
    if !storage.is_trusted(piece) && !storage.check(piece).ok()? {
        return None;
    }
    let mut block_bytes = vec![0; BLOCK_LENGTH as usize];
    let blocks = storage.geometry().blocks(piece);
    let leaf = |block: Block| {
        let bytes = block_bytes.get_mut(..block.length() as usize)?;
        storage.read(storage.address(block), bytes).ok()?;
        Some(merkle::leaf(bytes))
    };
    blocks.map(leaf).collect()
}
