//! What becomes known of a torrent after it was added: a link's metadata, its second hash, that its files are somebody else's,
//! that others changed what was finished. The driver asks here before anything is written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::metainfo::{FileKind, Info};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::api::{AddError, Event, Mode, Options, TorrentKey};
use super::entry::State;
use super::process::Shared;
use super::spec::Spec;
use super::table::Table;
use crate::discovery::trackers::Swarm;
use crate::disk::Opened;
use crate::driver::lacks;
use crate::torrent::Priority;

/// Metadata that a driver has, and who waits to hear whether they may be used.
#[derive(Debug)]
pub(crate) struct Learned {
    pub(crate) key: TorrentKey,
    pub(crate) info: Arc<Info>,
    pub(crate) answer: oneshot::Sender<Result<(), String>>,
}

/// A file that would be written is another torrent's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} belongs to the torrent {name:?}, which is here: remove that first, or choose another folder", path.display())]
pub struct Clash {
    pub path: PathBuf,
    pub name: String,
}

impl From<Clash> for AddError {
    fn from(clash: Clash) -> Self {
        Self::Clash(clash)
    }
}

impl Table {
    /// A driver has the metadata of its torrent.
    pub(super) async fn learned(&mut self, Learned { key, info, answer }: Learned) {
        let taken = self.take(key, &info).await;
        if let Some(entry) = self.torrents.get_mut(&key)
            && matches!(entry.state, State::Blank)
        {
            // Its driver was ended meanwhile. The next looks at the files instead of asking for the metadata again.
            entry.set_state(entry.unlooked());
        }
        // The driver may have ended.
        _ = answer.send(taken);
    }

    async fn take(&mut self, key: TorrentKey, info: &Arc<Info>) -> Result<(), String> {
        let Some(entry) = self.torrents.get(&key) else {
            return Err("it was removed".to_owned());
        };
        let spec = Arc::clone(&entry.spec);
        let second = [
            info.info_hash_v1(),
            info.info_hash_v2().map(|hash| hash.truncated()),
        ];
        let known = spec.info_hashes();
        let new: Vec<_> = second
            .into_iter()
            .flatten()
            .filter(|hash| !known.contains(hash))
            .collect();
        if let Some(twin) = new.iter().find_map(|hash| self.by_hash.get(hash)) {
            let name = self.torrents.get(twin).map(|entry| entry.spec.label.clone());
            return Err(format!(
                "it is the torrent {:?}, which is here already",
                name.unwrap_or_default()
            ));
        }
        if spec.mode == Mode::Get {
            self.no_clash(Some(key), &spec.root(), info)
                .map_err(|clash| clash.to_string())?;
        }
        choose(&spec, info);
        spec.learn(info);
        // A crash must not cost the metadata again.
        self.save_counters(false);
        if new.is_empty() {
            return Ok(());
        }
        info!(torrent = %spec.label, "the link leads to a hybrid: it is known by both its hashes from now on");
        self.name(key, &new);
        if self.torrents.get(&key).is_some_and(|entry| entry.announced) {
            let swarm = Swarm {
                key,
                info_hashes: new,
                tiers: spec.trackers(),
                counters: Arc::clone(&spec.counters),
            };
            self.shared.trackers.add(swarm).await;
        }
        Ok(())
    }

    /// Nobody but this torrent has to do with the files that it would write below this folder. Files are compared by their
    /// names in the torrents: one that was renamed since is its owner's business.
    pub(super) fn no_clash(&self, key: Option<TorrentKey>, root: &Path, info: &Info) -> Result<(), Clash> {
        let top = root.join(info.name());
        let mut ours = None;
        for (other, entry) in &self.torrents {
            let spec = &entry.spec;
            let theirs = spec.info().or(spec.bare.as_ref());
            let Some(theirs) = theirs.filter(|_| key != Some(*other)) else {
                continue;
            };
            let their_root = spec.root();
            if !may_meet((root, &top, info), (&their_root, theirs)) {
                continue;
            }
            let ours = ours.get_or_insert_with(|| paths(root, info).collect::<BTreeSet<_>>());
            if let Some(path) = paths(&their_root, theirs).find(|path| ours.contains(path)) {
                let name = spec.label.clone();
                return Err(Clash { path, name });
            }
        }
        Ok(())
    }
}

/// Could they have a file in common? Cheap, for ten thousand neighbours are asked.
fn may_meet((root, top, info): (&Path, &Path, &Info), (their_root, theirs): (&Path, &Info)) -> bool {
    if root == their_root {
        return info.name() == theirs.name();
    }
    if !root.starts_with(their_root) && !their_root.starts_with(root) {
        return false;
    }
    let their_top = their_root.join(theirs.name());
    their_top.starts_with(top) || top.starts_with(&their_top)
}

fn paths<'a>(root: &'a Path, info: &'a Info) -> impl Iterator<Item = PathBuf> + 'a {
    let regular = info.files().iter().filter(|file| file.kind == FileKind::Regular);
    regular.map(|file| root.join(info.disk_path(file)))
}

/// What somebody changed in a finished download is his: it is not written over before he has it checked.
pub(super) fn leave_alone(shared: &Shared, spec: &Spec, opened: &Opened) {
    if spec.mode != Mode::Get || spec.is_hands_off() {
        return;
    }
    if !lacks(spec, opened) {
        spec.set_done(true);
        return;
    }
    if !spec.is_done() {
        return;
    }
    spec.set_hands_off(true);
    let geometry = opened.storage.geometry();
    let missing = geometry.piece_count() - opened.have.count();
    let first = geometry.pieces().find(|piece| !opened.have.has(*piece));
    let path = first.map_or_else(PathBuf::new, |piece| opened.storage.path_of(piece));
    let reason = "others changed it after it was finished; a recheck has it fetched again".to_owned();
    warn!(torrent = %spec.label, path = %path.display(), missing, "{reason}");
    shared.event(Event::Lost {
        key: spec.key,
        pieces: missing,
        path,
        reason,
    });
}

/// A link may select files (BEP 53). What somebody asked for counts more, and a selection that fits nothing counts nothing.
fn choose(spec: &Spec, info: &Info) {
    let Some(only) = &spec.only else { return };
    let mut options = Options::clone(&spec.options());
    if !options.wishes.files.is_empty() {
        info!(torrent = %spec.label, "the link selects files, but others were asked for: these count");
        return;
    }
    let regular = |number: usize| {
        let file = info.files().get(number);
        file.is_some_and(|file| file.kind == FileKind::Regular)
    };
    let numbers = || (0..info.files().len()).filter(|number| regular(*number));
    let chosen = numbers().filter(|number| only.has(*number)).count();
    let all = numbers().count();
    if chosen == 0 {
        warn!(torrent = %spec.label, "the link selects no file that the torrent has: all are fetched");
        return;
    }
    info!(torrent = %spec.label, "the link selects {chosen} of {all} files");
    let wish = |number| {
        if only.has(number) {
            Priority::Normal
        } else {
            Priority::Skip
        }
    };
    options.wishes.files = (0..info.files().len()).map(wish).collect();
    spec.set_options(Arc::new(options));
}
