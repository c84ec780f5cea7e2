//! From a magnet link to a torrent: its metadata, then, where v2 needs them, its piece layers, then its files.

use std::sync::Arc;

use shared::geometry::{BLOCK_LENGTH, Block, PieceIndex};
use shared::hash_span::HashSpan;
use shared::merkle::{self, Hash, Layers};
use shared::metainfo::Info;
use tracing::{info, warn};

use super::{Driver, Job};
use crate::disk::Storage;
use crate::engine::Event;
use crate::library::progress::Progress;
use crate::torrent::{Input, PeerKey};

impl Driver {
    /// The metadata have come from a peer, and one hash of the torrent is theirs.
    pub(super) fn take_metadata(&mut self, raw: &[u8]) {
        let info = match Info::read(raw) {
            Ok(info) if self.spec.is_of(&info) => Arc::new(info),
            Ok(_) => return self.refuse("the link names two different torrents".to_owned()),
            Err(error) => return self.refuse(error.to_string()),
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
            self.ask_for(info);
        } else {
            info!(torrent = %self.spec.label, "asking peers for its piece layers");
            let trees = info.trees().clone();
            self.bare = Some(info);
            self.tell(Input::Layerless(trees));
        }
    }

    /// Every piece layer that was missing is here.
    pub(super) fn take_layers(&mut self, layers: Layers) {
        if let Some(bare) = self.bare.take() {
            match Info::clone(&bare).with_layers(layers) {
                Ok(info) => self.ask_for(Arc::new(info)),
                Err(error) => self.refuse(error.to_string()),
            }
        } else if let Some(info) = self.spec.info()
            && let Ok(info) = Info::clone(info).with_layers(layers)
        {
            // A hybrid does without, but gives them on, after a restart too.
            self.spec.learn_layers(Arc::new(info));
        }
    }

    /// May it become this torrent?
    fn ask_for(&mut self, info: Arc<Info>) {
        let allowed = self.shared.learned(self.spec.key, Arc::clone(&info));
        self.jobs.spawn(async move { Job::Allowed(info, allowed.await) });
    }

    /// Opens its files.
    pub(super) fn open(&mut self, info: Arc<Info>) {
        let options = self.spec.options();
        self.tell(Input::Wishes(options.wishes.clone()));
        let progress = Arc::<Progress>::default();
        self.checking = Some(Arc::clone(&progress));
        let how = (options.check, progress, self.leave.clone());
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

    /// It can never become a torrent.
    pub(super) fn refuse(&mut self, reason: String) {
        warn!(reason, torrent = %self.spec.label, "metadata refused");
        self.shared.event(Event::Refused {
            key: self.spec.key,
            reason: reason.clone(),
        });
        self.refused = Some(reason);
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
