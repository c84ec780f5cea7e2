//! How a torrent comes into the table: what is refused, what it shares with its neighbours, and what is written down before
//! anybody is told that it is here.

use std::path::Path;
use std::sync::Arc;

use shared::id::InfoHash;
use shared::metainfo::{Info, Metainfo};
use tracing::info;

use super::api::{AddError, AddTorrent, Event, Mode, Options, Source, TorrentKey};
use super::change::ChangeError;
use super::entry::{Answer, Entry};
use super::spec::{About, Known, Spec, Standing, Sums, Treated};
use super::table::Table;
use crate::discovery::trackers::{self, Tiers};
use crate::net::encryption::Mask;
use crate::torrent::Identity;
use crate::torrent::goals::Copies;

/// What trackers hear as `left` while a magnet link's metadata are missing: anything but zero, which would mean a seeder.
const LEFT_UNKNOWN: u64 = 16 * 1024;

impl Table {
    pub(super) async fn add(&mut self, torrent: Box<AddTorrent>, answer: Answer<TorrentKey, AddError>) {
        let hashes = hashes_of(&torrent.source);
        if let Some((hash, key)) = hashes
            .iter()
            .find_map(|hash| Some((*hash, *self.by_hash.get(hash)?)))
        {
            let removal = self
                .torrents
                .get_mut(&key)
                .and_then(|entry| entry.removal.as_mut());
            match removal {
                Some(removal) => removal.wait(torrent, answer, hash),
                None => _ = answer.send(Err(AddError::Duplicate(hash))),
            }
            return;
        }
        if let Err(error) = self.makes_sense(&torrent) {
            // Whoever asked may have gone, here and below.
            _ = answer.send(Err(error));
            return;
        }
        let key = TorrentKey(self.next_key);
        let AddTorrent {
            source,
            root,
            mode,
            trackers,
            peers,
            options,
        } = *torrent;
        let standing = Standing {
            mode,
            peers,
            before: Sums::default(),
            added: self.shared.clock.unix_now(),
            copies: Copies::default(),
            treated: self.treat(&root, options, &trackers),
            done: false,
        };
        let (known, magnet) = known(key, source);
        let spec = self.enter(known, standing);
        info!(torrent = %spec.label, info_hash = %spec.info_hash(), "added");
        self.shared.event(Event::Added {
            key,
            info_hash: spec.info_hash(),
            name: spec.label.clone(),
        });
        self.remember_new(key, magnet.as_deref());
        self.begin(key).await;
        // A torrent is there for good before anybody is told that it is.
        let kept = self.kept();
        tokio::spawn(async move { answer.send(kept.await.map(|()| key).map_err(AddError::NotKept)) });
    }

    /// How it is to be treated, sharing what it has in common with the one before.
    pub(super) fn treat(&mut self, root: &Path, options: Options, urls: &[Vec<String>]) -> Treated {
        let same = |tiers: &Tiers| {
            let pairs = || tiers.iter().flatten().zip(urls.iter().flatten());
            tiers.iter().map(Vec::len).eq(urls.iter().map(Vec::len)) && pairs().all(|(a, b)| **a == **b)
        };
        let last = self.last.as_ref();
        let treated = Treated {
            root: match last.filter(|last| *last.root == *root) {
                Some(last) => Arc::clone(&last.root),
                None => root.into(),
            },
            options: match last.filter(|last| *last.options == options) {
                Some(last) => Arc::clone(&last.options),
                None => Arc::new(options),
            },
            trackers: match last.filter(|last| same(&last.trackers)) {
                Some(last) => Arc::clone(&last.trackers),
                None => trackers::tiers(urls),
            },
        };
        self.last = Some(treated.clone());
        treated
    }

    /// Puts a torrent into the table. Nobody works on it yet.
    pub(super) fn enter(&mut self, known: Known, standing: Standing) -> Arc<Spec> {
        let key = known.key;
        self.next_key = self.next_key.max(key.0 + 1);
        let identity = Identity {
            info_hash: InfoHash([0; 20]),
            info_hash_v2: None,
            peer_id: self.shared.peer_id,
            listen_port: self.shared.listen_port,
        };
        let paused = standing.treated.options.paused;
        let spec = Arc::new(Spec::new(known, standing, identity, LEFT_UNKNOWN));
        self.name(key, &spec.info_hashes());
        self.torrents.insert(key, Entry::new(Arc::clone(&spec), paused));
        spec
    }

    /// Peers that name one of these hashes mean this torrent.
    pub(super) fn name(&mut self, key: TorrentKey, hashes: &[InfoHash]) {
        self.by_hash.extend(hashes.iter().map(|hash| (*hash, key)));
        self.by_mask
            .extend(hashes.iter().map(|hash| (Mask::of(*hash), *hash)));
    }

    /// What can be known to be wrong before a torrent is taken.
    fn makes_sense(&self, torrent: &AddTorrent) -> Result<(), AddError> {
        if !torrent.root.is_absolute() {
            let root = torrent.root.display();
            return Err(AddError::Refused(format!("{root} is no whole path")));
        }
        let info = match &torrent.source {
            Source::Metainfo(metainfo) => Some(&metainfo.info),
            Source::Magnet(_) => None,
        };
        super::orders::check_options(&torrent.options, info)
            .map_err(|error: ChangeError| AddError::Refused(error.to_string()))?;
        match info.filter(|_| torrent.mode == Mode::Get) {
            Some(info) => Ok(self.no_clash(None, &torrent.root, info)?),
            None => Ok(()),
        }
    }

    /// This number belongs to a torrent that is not in the table.
    pub(super) fn skip(&mut self, key: TorrentKey) {
        self.next_key = self.next_key.max(key.0 + 1);
    }

    /// Adds a torrent that was here until now.
    pub(super) async fn add_again(&mut self, torrent: Box<AddTorrent>, answer: Answer<TorrentKey, AddError>) {
        Box::pin(self.add(torrent, answer)).await;
    }
}

fn hashes_of(source: &Source) -> Vec<InfoHash> {
    let (v1, v2) = match source {
        Source::Metainfo(metainfo) => (metainfo.info.info_hash_v1(), metainfo.info.info_hash_v2()),
        Source::Magnet(magnet) => (magnet.info_hash_v1, magnet.info_hash_v2),
    };
    v1.into_iter().chain(v2.map(|hash| hash.truncated())).collect()
}

/// What the table keeps of a source; of a magnet link also its text.
fn known(key: TorrentKey, source: Source) -> (Known, Option<String>) {
    match source {
        Source::Metainfo(metainfo) => {
            let metainfo = Arc::try_unwrap(metainfo).unwrap_or_else(|shared| Metainfo::clone(&shared));
            let (info, about) = parts(metainfo);
            (Known::of_info(key, info, about), None)
        }
        Source::Magnet(magnet) => (Known::of_magnet(key, &magnet), Some(magnet.to_string())),
    }
}

/// The content, and what its maker wrote beside it.
pub(super) fn parts(metainfo: Metainfo) -> (Arc<Info>, About) {
    let about = About {
        comment: metainfo.comment,
        created_by: metainfo.created_by,
        creation_date: metainfo.creation_date,
        web_seeds: metainfo.web_seeds,
    };
    (Arc::new(metainfo.info), about)
}
