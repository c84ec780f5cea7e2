//! From a magnet link to a torrent: its metadata, then, where v2 needs them, its piece layers, then its files.

use std::sync::Arc;

use shared::merkle::Layers;
use shared::metainfo::Info;
use tracing::{info, warn};

use super::{Driver, Job};
use crate::engine::Event;
use crate::torrent::{Input, Priority, Wishes};

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
            self.tell(Input::Wishes(wishes));
        }
        let opening = self.shared.opening(&self.spec, info);
        self.jobs
            .spawn(async move { Job::Opened(opening.await.map(Box::new)) });
    }

    fn refuse(&self, reason: &str) {
        warn!(reason, torrent = %self.spec.label, "metadata refused");
        self.shared.event(Event::Refused {
            key: self.spec.key,
            reason: reason.to_owned(),
        });
    }
}
