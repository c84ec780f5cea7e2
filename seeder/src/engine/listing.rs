//! What the table shows to those who ask.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use data_encoding::HEXLOWER;
use shared::bitfield::Bitfield;
use shared::geometry::Geometry;
use shared::metainfo::{FileKind, Info};
use tokio::sync::oneshot;

use super::api::{Mode, Options, Stage, TorrentKey};
use super::entry::{Entry, State, is_partial};
use super::spec::Spec;
use super::table::Table;
use super::view::{Details, EngineFacts, FileFacts, OptionFacts, PeerFacts, Summary, TrackerFacts};
use super::words;
use crate::clock::Clock;
use crate::discovery::trackers::TrackerReport;
use crate::driver::{Command, Inside};

/// A hash is named by so many of its digits at least.
const PREFIX_MIN: usize = 4;

/// A driver has so long to tell what only it knows.
const DRIVER_TIME: Duration = Duration::from_secs(2);

/// Of torrents with more pieces, nobody is told how many peers have each.
const AVAILABILITY_MAX: u32 = 65_536;

impl Table {
    pub(super) fn list(&self) -> Vec<Summary> {
        let here = self.torrents.values().filter(|entry| entry.removal.is_none());
        here.map(summary).collect()
    }

    pub(super) fn find(&self, words: &str) -> Vec<TorrentKey> {
        let hex = words.to_ascii_lowercase();
        let is_hash = hex.len() >= PREFIX_MIN && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        // Whoever writes a whole hash means that torrent, whatever another may be called.
        let is_whole = is_hash && matches!(hex.len(), 40 | 64);
        let named = |entry: &Entry| {
            let spec = &entry.spec;
            let begins = |hash: Option<String>| is_hash && hash.is_some_and(|hash| hash.starts_with(&hex));
            (spec.label == words && !is_whole)
                || begins(spec.hash_v1().map(|hash| hash.to_string()))
                || begins(spec.hash_v2().map(|hash| hash.to_string()))
        };
        let here = self.torrents.iter().filter(|(_, entry)| entry.removal.is_none());
        here.filter(|(_, entry)| named(entry))
            .map(|(key, _)| *key)
            .collect()
    }

    pub(super) fn facts(&self) -> EngineFacts {
        let (places, places_max) = self.shared.places.taken();
        let (lent, lent_max) = self.shared.devices.lent();
        let totals = self.shared.trackers.totals();
        let unit = crate::driver::CREDIT_UNIT as u64;
        let counts = &self.shared.devices.counts;
        let (pieces_right, pieces_wrong) = counts.pieces();
        let mut facts = EngineFacts {
            torrents: self.torrents.len() as u64,
            connections: places as u64,
            connections_max: places_max as u64,
            disk_buffers: lent as u64 * unit,
            disk_buffers_max: lent_max as u64 * unit,
            pieces_right,
            pieces_wrong,
            disk_queue: counts.queued(),
            disk_silences: counts.silences(),
            announces: totals.answered.load(Relaxed) + totals.failed.load(Relaxed),
            announces_failed: totals.failed.load(Relaxed),
            announces_open: totals.open.load(Relaxed),
            bans: self.shared.bans() as u64,
            open_files_max: self.shared.open_files as u64,
            descriptors_max: self.shared.descriptors.all as u64,
            wasted: self.shared.wasted.load(Relaxed),
            web_uploaded: self.shared.web_given.load(Relaxed),
            open_files: self.shared.pool.count() as u64,
            remembers: self.keeper.is_some(),
            ..EngineFacts::default()
        };
        self.shared.tally.put_into(&mut facts);
        for entry in self.torrents.values() {
            let live = entry.live();
            let counted = match entry.stage(&live) {
                Stage::Opening => &mut facts.opening,
                Stage::Checking { .. } => &mut facts.checking,
                Stage::Paused => &mut facts.paused,
                Stage::Error => &mut facts.errors,
                Stage::Metadata => &mut facts.metadata,
                Stage::Downloading => &mut facts.downloading,
                Stage::Seeding => &mut facts.seeding,
            };
            *counted += 1;
            facts.awake += u64::from(matches!(entry.state, State::Awake(_)));
            facts.peers += live.status.peers as u64;
            facts.upload_rate += live.status.upload_rate;
            facts.download_rate += live.status.download_rate;
            facts.wasted += live.status.wasted;
            facts.uploaded += entry.spec.counters.uploaded();
            facts.downloaded += entry.spec.counters.downloaded();
        }
        facts
    }

    /// How a torrent is treated, and how many files it has.
    pub(super) fn options(&self, key: TorrentKey) -> Option<(Arc<Options>, usize)> {
        let entry = self.torrents.get(&key).filter(|entry| entry.removal.is_none())?;
        let files = entry.spec.info().map_or(0, |info| info.files().len());
        Some((entry.spec.options(), files))
    }

    /// Puts together what the table, the driver and the trackers know, without waiting for any of them here.
    pub(super) fn details(&self, key: TorrentKey, answer: oneshot::Sender<Option<Details>>) {
        let entry = self.torrents.get(&key).filter(|entry| entry.removal.is_none());
        let Some(entry) = entry else {
            _ = answer.send(None);
            return;
        };
        let (summary, spec) = (summary(entry), Arc::clone(&entry.spec));
        let clock = self.shared.clock;
        let seeding_seconds = entry.seeding_seconds(clock.now());
        let at_rest = match &entry.state {
            State::Asleep(opened) => Some(opened.have.clone()),
            State::Parked(have) => Some(have.clone()),
            _ => None,
        };
        let inside = match &entry.state {
            State::Awake(awake) => {
                let (ask, told) = oneshot::channel();
                let asked = awake.driver.try_send(Command::Inside(ask));
                asked.ok().map(|()| told)
            }
            _ => None,
        };
        let trackers = self.shared.trackers.clone();
        let announced = entry.announced;
        tokio::spawn(async move {
            let inside = match inside {
                // A driver whose disk hangs may not come to it. Nobody else's answer waits for that.
                Some(told) => match tokio::time::timeout(DRIVER_TIME, told).await {
                    Ok(told) => told.unwrap_or_default(),
                    Err(_) => Inside::default(),
                },
                None => Inside {
                    have: at_rest,
                    ..Inside::default()
                },
            };
            let reports = if announced {
                trackers.facts(key).await
            } else {
                Vec::new()
            };
            let mut details = details(&spec, summary, inside);
            details.trackers = tracker_facts(&spec, reports, clock);
            details.seeding_seconds = seeding_seconds;
            details.copies = spec.copies().count(clock.unix_now().unsigned_abs());
            // Whoever asked may have gone.
            _ = answer.send(Some(details));
        });
    }
}

fn summary(entry: &Entry) -> Summary {
    let spec = &entry.spec;
    let live = entry.live();
    let (status, sums) = (&live.status, spec.sums());
    Summary {
        key: spec.key,
        name: spec
            .info()
            .map_or_else(|| spec.label.clone(), |info| info.name().to_owned()),
        info_hash_v1: spec.hash_v1().map(|hash| hash.to_string()),
        info_hash_v2: spec.hash_v2().map(|hash| hash.to_string()),
        stage: entry.stage(&live),
        paused: entry.paused,
        partial: is_partial(&live) && status.have_bytes < status.total_bytes,
        private: spec.info().is_some_and(|info| info.private()),
        have_bytes: status.have_bytes,
        wanted_bytes: status.wanted_bytes,
        total_bytes: status.total_bytes,
        uploaded: sums.uploaded,
        downloaded: sums.downloaded,
        upload_rate: status.upload_rate,
        download_rate: status.download_rate,
        peers: u32::try_from(status.peers).unwrap_or(u32::MAX),
        seeds: u32::try_from(status.seeds).unwrap_or(u32::MAX),
        added: spec.added,
        root: spec.root().to_path_buf(),
        why: entry.why(&live),
    }
}

fn details(spec: &Spec, summary: Summary, inside: Inside) -> Details {
    let options = spec.options();
    let about = spec.about.as_deref().cloned().unwrap_or_default();
    let info = spec.info();
    let geometry = info.map(|info| info.geometry());
    let shown = geometry.is_some_and(|geometry| geometry.piece_count() <= AVAILABILITY_MAX);
    Details {
        files: info.map_or_else(Vec::new, |info| files(info, spec, inside.have.as_ref())),
        peers: inside
            .peers
            .into_iter()
            .map(peer)
            .chain(inside.webs.into_iter().map(web_seed))
            .collect(),
        trackers: Vec::new(),
        web_seeds: about
            .web_seeds
            .iter()
            .chain(&options.web_seeds)
            .cloned()
            .collect(),
        piece_length: geometry.map_or(0, Geometry::piece_length),
        piece_count: geometry.map_or(0, Geometry::piece_count),
        have_count: inside.have.as_ref().map_or(0, Bitfield::count),
        pieces: inside
            .have
            .as_ref()
            .map_or_else(String::new, |have| HEXLOWER.encode(have.as_bytes())),
        availability: inside.availability.into_iter().filter(|_| shown).collect(),
        copies: 0,
        seeding_seconds: 0,
        wasted: inside.wasted,
        options: OptionFacts {
            sequential: options.wishes.sequential,
            super_seed: options.super_seed,
            upload: options.limits.upload,
            download: options.limits.download,
            connections: options.limits.connections,
            upload_slots: options.limits.upload_slots,
            ratio: options.goals.ratio,
            seed_seconds: options.goals.time.map(|time| time.as_secs()),
            copies: options.goals.copies,
            only_given: spec.mode == Mode::Seed,
        },
        comment: about.comment,
        created_by: about.created_by,
        creation_date: about.creation_date,
        magnet: spec.magnet().to_string(),
        summary,
    }
}

fn files(info: &Info, spec: &Spec, have: Option<&Bitfield>) -> Vec<FileFacts> {
    let wishes = Arc::clone(&spec.options().wishes.files);
    let shown = info
        .files()
        .iter()
        .enumerate()
        .filter(|(_, file)| file.kind == FileKind::Regular);
    let facts = |(index, file): (usize, &shared::metainfo::File)| FileFacts {
        index,
        path: info.disk_path(file),
        length: file.length,
        have_bytes: have.map_or(0, |have| have_of(info, have, file.offset, file.length)),
        priority: wishes.get(index).copied().unwrap_or_default(),
    };
    shown.map(facts).collect()
}

/// Bytes of a stretch that lie in pieces that are there.
fn have_of(info: &Info, have: &Bitfield, offset: u64, length: u64) -> u64 {
    let geometry = info.geometry();
    let piece_length = u64::from(geometry.piece_length());
    let end = offset + length;
    let (mut sum, mut at) = (0, offset);
    while at < end {
        let next = end.min((at / piece_length + 1) * piece_length);
        let piece = u32::try_from(at / piece_length)
            .ok()
            .and_then(|number| geometry.piece(number));
        if piece.is_some_and(|piece| have.has(piece)) {
            sum += next - at;
        }
        at = next;
    }
    sum
}

fn peer((facts, encrypted): (crate::torrent::PeerFacts, bool)) -> PeerFacts {
    let (direction, transport) = words::direction(facts.direction);
    PeerFacts {
        why: words::peer(&facts).to_owned(),
        address: facts.address.to_string(),
        client: facts.client,
        direction,
        transport,
        encrypted,
        have: facts.have,
        downloaded: facts.downloaded,
        uploaded: facts.uploaded,
        download_rate: facts.download_rate,
        upload_rate: facts.upload_rate,
        we_are_interested: facts.we_are_interested,
        is_interested: facts.is_interested,
        chokes_us: facts.chokes_us,
        we_choke: facts.we_choke,
        snubbed: facts.snubbed,
        requests_in: facts.requests_in,
        requests_out: facts.requests_out,
    }
}

/// A web seed shows itself by its URL.
fn web_seed((facts, url): (crate::torrent::PeerFacts, String)) -> PeerFacts {
    PeerFacts {
        address: url,
        ..peer((facts, false))
    }
}

/// The trackers in their order; of a torrent that rests, those that would be asked.
fn tracker_facts(spec: &Spec, reports: Vec<TrackerReport>, clock: Clock) -> Vec<TrackerFacts> {
    if reports.is_empty() {
        let tiers = spec.trackers();
        let rests = |(tier, urls): (usize, &Vec<Arc<str>>)| {
            let rests = urls.iter().map(move |url| TrackerFacts {
                url: url.to_string(),
                tier,
                state: "not asked".to_owned(),
                last: None,
                next: None,
                seeders: None,
                leechers: None,
                failures: 0,
            });
            rests.collect::<Vec<_>>()
        };
        return tiers.iter().enumerate().flat_map(rests).collect();
    }
    let facts = |report: TrackerReport| TrackerFacts {
        state: words::tracker(&report),
        url: report.state.url.to_string(),
        tier: report.state.tier,
        last: report.state.last.map(|last| clock.unix(last)),
        next: report.state.next.map(|next| clock.unix(next)),
        seeders: report.seeders,
        leechers: report.leechers,
        failures: report.state.failures,
    };
    reports.into_iter().map(facts).collect()
}
