//! What a driver shows of its torrent, and how it is treated otherwise while it runs.

use std::sync::atomic::Ordering;

use shared::bitfield::Bitfield;

use super::Driver;
use crate::disk::Opened;
use crate::engine::{Event, Live, Options, Shared, Spec, wanted, words};
use crate::torrent::{Input, PeerFacts, Status};

/// Why a torrent waits is found out again after so many seconds: it means a look at every peer, and perhaps at every piece.
const WATCH_EVERY: u32 = 5;

/// What only a driver knows.
#[derive(Debug, Default)]
pub(crate) struct Inside {
    pub(crate) have: Option<Bitfield>,
    /// The peers, and whether what passes between us is encrypted.
    pub(crate) peers: Vec<(PeerFacts, bool)>,
    /// The web seeds that are asked, each with its URL.
    pub(crate) webs: Vec<(PeerFacts, String)>,
    pub(crate) availability: Vec<u16>,
    pub(crate) wasted: u64,
}

/// What was last found out about why it waits.
#[derive(Debug, Default)]
pub(super) struct Watch {
    why: Option<String>,
    seconds: u32,
}

impl Watch {
    /// Has it found out now.
    pub(super) fn ask_again(&mut self) {
        self.seconds = 0;
    }
}

impl Driver {
    /// A second has passed.
    pub(super) fn report_progress(&mut self) {
        self.tell_of_check();
        if self.writer.is_some() {
            self.shared.event(Event::Progress {
                key: self.spec.key,
                facts: self.torrent.status(),
            });
        }
        self.listen_to_disk();
        self.share_memory();
        self.publish();
    }

    /// A check after the metadata of a link takes its time.
    fn tell_of_check(&self) {
        let (Some(progress), Some(info)) = (&self.checking, self.spec.info()) else {
            return;
        };
        if let Some((done, of)) = progress.in_pieces(info.geometry().piece_length()) {
            let key = self.spec.key;
            self.shared.event(Event::CheckProgress { key, done, of });
        }
    }

    /// Lays out what the table shows.
    pub(super) fn publish(&mut self) {
        let status = self.torrent.status();
        if self.watch.seconds == 0 {
            self.watch.why = self.waits_for(&status);
        }
        self.watch.seconds = (self.watch.seconds + 1) % WATCH_EVERY;
        if status.download_rate > 0 && self.silence.is_none() {
            self.watch.why = None;
        }
        self.spec.set_live(Some(Live {
            status,
            why: self.watch.why.clone(),
        }));
    }

    fn waits_for(&self, status: &Status) -> Option<String> {
        let disk = self.trouble.as_deref().or(self.silence.as_deref());
        if self.in_line && disk.is_none() {
            let words = "other downloads hold the memory for blocks; it is next when one of them ends";
            return Some(words.to_owned());
        }
        let pieces = || (self.torrent.piece_states(), self.torrent.availability());
        let waits = words::waiting(status, disk, &self.torrent.peer_facts(), pieces);
        let alone = status.peers == 0 && disk.is_none();
        waits.map(|words| self.webs.words().filter(|_| alone).unwrap_or(words))
    }

    pub(super) fn inside(&self) -> Inside {
        let peers = self.torrent.peer_facts().into_iter().map(|facts| {
            let encrypted = self.peers.get(&facts.peer).is_some_and(|peer| peer.encrypted);
            (facts, encrypted)
        });
        Inside {
            have: self.torrent.have().cloned(),
            peers: peers.collect(),
            webs: self.web_facts(),
            availability: self.torrent.availability(),
            wasted: self.torrent.status().wasted,
        }
    }

    /// Its files, with what is there by now.
    pub(super) fn lend(&self) -> Option<Opened> {
        let mut opened = self.opened.clone()?;
        if let Some(have) = self.torrent.have() {
            opened.have = have.clone();
        }
        Some(opened)
    }

    /// Its options have changed.
    pub(super) fn treat(&mut self) {
        let options = self.spec.options();
        self.gate.set(options.limits.upload, options.limits.download);
        self.tell(Input::Limits {
            connections: connections_max(&self.shared, &options),
            upload_slots: options.limits.upload_slots,
        });
        if self.super_seeds != options.super_seed {
            self.super_seeds = options.super_seed;
            self.tell(Input::SuperSeed(options.super_seed));
        }
        self.wish();
        self.treat_webs();
        self.count_left();
        self.publish();
    }
}

/// Connections that a torrent may have.
pub(super) fn connections_max(shared: &Shared, options: &Options) -> usize {
    let usual = shared.connections_per_torrent.load(Ordering::Relaxed);
    options.limits.connections.unwrap_or(usual)
}

/// Is something to be fetched?
pub(super) fn misses(spec: &Spec, opened: &Opened) -> bool {
    spec.fetches() && lacks(spec, opened)
}

/// Is something missing that is wanted?
pub(crate) fn lacks(spec: &Spec, opened: &Opened) -> bool {
    if opened.have.is_complete() {
        return false;
    }
    let info = opened.storage.info();
    let has = |piece| {
        info.geometry()
            .piece(piece)
            .is_some_and(|piece| opened.have.has(piece))
    };
    wanted(info, &spec.options().wishes, has).left > 0
}
