//! Which torrents this tracker is for: info-hash to torrent and tariff, in memory. Announces ask it; only the office changes it.
//!
//! Where the settings welcome unknown torrents, the announce that brings one waits some milliseconds for the office to write
//! it into the store. So a torrent's number always stands in the store before anything else names it, and a kill at any
//! moment leaves no entry of the journal without its torrent. Where the store is slow, the announce is refused as
//! unregistered and finds its torrent when it comes again, a minute later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc as waiting;
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use shared::id::{InfoHash, InfoHashV2};
use tokio::sync::mpsc;

use super::ids::{Date, TorrentId, Which};
use super::rules::Tariff;
use super::store::{PlainTorrent, TimedTariff, TorrentRow};

/// An announce waits no longer for its torrent to be registered.
const WELCOME_WAIT: Duration = Duration::from_millis(20);

/// Unknown hashes that wait to be registered; more are refused.
const WELCOME_QUEUE: usize = 256;

/// Unknown hashes are not welcome beyond so many torrents: 64 MiB in memory.
const WELCOME_MAX: usize = 1_000_000;

/// What is known of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Open {
        torrent: TorrentId,
        which: Which,
        tariff: Tariff,
    },
    /// With the owner's words, for as long as the settings say.
    Removed {
        reason: Arc<str>,
    },
    Unknown,
}

/// All torrents by their hashes.
#[derive(Debug)]
pub struct Register {
    by_hash: DashMap<InfoHash, Entry, ahash::RandomState>,
    /// Of torrents that have any.
    terms: DashMap<TorrentId, Terms, ahash::RandomState>,
    /// Torrents that are served.
    served: AtomicUsize,
    tariffs: ArcSwap<Tariffs>,
    removed_secs: AtomicU64,
    welcome: AtomicBool,
    /// The store did not answer in time; nobody waits until it does.
    slow: AtomicBool,
    strangers: mpsc::Sender<Stranger>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    torrent: TorrentId,
    which: Which,
    /// Look into the terms.
    has_terms: bool,
}

/// What makes a torrent differ from all others.
#[derive(Clone, Debug)]
struct Terms {
    removed: Option<(Date, Arc<str>)>,
    tariff: Option<TimedTariff>,
}

/// Tariffs for everything.
#[derive(Clone, Copy, Debug, Default)]
struct Tariffs {
    /// Of the settings.
    settings: TimedTariff,
    /// What people set meanwhile; while it lasts, the settings' is suspended.
    people: Option<TimedTariff>,
}

/// A hash that nobody knows, and who waits for it.
#[derive(Debug)]
pub(super) struct Stranger {
    pub(super) hash: InfoHash,
    /// Dropped when all is done.
    pub(super) _waiting: waiting::SyncSender<()>,
}

impl Register {
    /// An empty register, and where the hashes come out that it wants to have registered.
    pub(super) fn new(hash_key: [u64; 4]) -> (Self, mpsc::Receiver<Stranger>) {
        let [a, b, c, d] = hash_key;
        let hasher = ahash::RandomState::with_seeds(a, b, c, d);
        let (strangers, receiver) = mpsc::channel(WELCOME_QUEUE);
        let register = Self {
            by_hash: DashMap::with_hasher(hasher.clone()),
            terms: DashMap::with_hasher(hasher),
            served: AtomicUsize::new(0),
            tariffs: ArcSwap::default(),
            removed_secs: AtomicU64::new(0),
            welcome: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            strangers,
        };
        (register, receiver)
    }

    /// The torrent of a hash that somebody announces. An unknown one is registered here and now where the settings allow it.
    pub fn find(&self, hash: &InfoHash, date: Date) -> Found {
        let known = self.known(hash, date);
        if known.is_none() && self.welcome.load(Relaxed) && self.waited(hash) {
            return self.known(hash, date).unwrap_or(Found::Unknown);
        }
        known.unwrap_or(Found::Unknown)
    }

    /// `None` for a hash that was never registered; one that was removed long ago is unknown on purpose.
    fn known(&self, hash: &InfoHash, date: Date) -> Option<Found> {
        let entry = *self.by_hash.get(hash)?;
        let terms = if entry.has_terms {
            self.terms.get(&entry.torrent).map(|terms| terms.clone())
        } else {
            None
        };
        if let Some((since, reason)) = terms.as_ref().and_then(|terms| terms.removed.clone()) {
            let told_for = Duration::from_secs(self.removed_secs.load(Relaxed));
            return Some(if date.since(since) < told_for {
                Found::Removed { reason }
            } else {
                Found::Unknown
            });
        }
        let own = terms.and_then(|terms| terms.tariff);
        Some(Found::Open {
            torrent: entry.torrent,
            which: entry.which,
            tariff: self.tariffs.load().best(own, date),
        })
    }

    /// Hands a hash to the office and waits for it; says whether it is worth looking again.
    fn waited(&self, hash: &InfoHash) -> bool {
        if self.len() >= WELCOME_MAX {
            return false;
        }
        let (waiting, done) = waiting::sync_channel(0);
        let stranger = Stranger {
            hash: *hash,
            _waiting: waiting,
        };
        if self.strangers.try_send(stranger).is_err() || self.slow.load(Relaxed) {
            return false;
        }
        // The other end is dropped, never used.
        let late = done.recv_timeout(WELCOME_WAIT) == Err(waiting::RecvTimeoutError::Timeout);
        self.slow.fetch_or(late, Relaxed);
        !late
    }

    /// The torrent of a hash that somebody only asks about, as in a scrape.
    pub fn look_up(&self, hash: &InfoHash) -> Option<(TorrentId, Which)> {
        self.by_hash.get(hash).map(|entry| (entry.torrent, entry.which))
    }

    /// Torrents of which a hash, as it is announced, begins with these lower-case digits; two at most.
    pub(super) fn beginning_with(&self, digits: &str) -> Vec<TorrentId> {
        // A whole v2 hash has more digits than are announced.
        let mut found = Vec::new();
        for entry in &self.by_hash {
            if entry.key().to_string().starts_with(digits) && !found.contains(&entry.torrent) {
                found.push(entry.torrent);
            }
            if found.len() > 1 {
                break;
            }
        }
        found
    }

    /// Whether announces of a torrent are answered: it was not removed.
    pub fn serves(&self, torrent: TorrentId) -> bool {
        let terms = self.terms.get(&torrent);
        terms.is_none_or(|terms| terms.removed.is_none())
    }

    /// The tariff of a torrent at a date; what the journal's replay asks.
    pub fn tariff(&self, torrent: TorrentId, date: Date) -> Tariff {
        let own = self.terms.get(&torrent).and_then(|terms| terms.tariff);
        self.tariffs.load().best(own, date)
    }

    /// Torrents that are served.
    pub fn len(&self) -> usize {
        self.served.load(Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tariff over all torrents that people have set.
    pub(super) fn people_tariff(&self) -> Option<TimedTariff> {
        self.tariffs.load().people
    }

    pub(super) fn set_people_tariff(&self, people: Option<TimedTariff>) {
        let settings = self.tariffs.load().settings;
        self.tariffs.store(Arc::new(Tariffs { settings, people }));
    }

    /// New settings.
    pub(super) fn set_rules(&self, settings: TimedTariff, removed_for: Duration, welcome: bool) {
        let people = self.people_tariff();
        self.tariffs.store(Arc::new(Tariffs { settings, people }));
        self.removed_secs.store(removed_for.as_secs(), Relaxed);
        self.welcome.store(welcome, Relaxed);
    }

    /// The store answers: announces may wait for it again.
    pub(super) fn answers(&self) {
        self.slow.store(false, Relaxed);
    }

    /// Takes a torrent in that is like all others, at a start.
    pub(super) fn put_plain(&self, row: &PlainTorrent) {
        for (hash, which) in wire_hashes(row.info_hash_v1, row.info_hash_v2) {
            let entry = Entry {
                torrent: row.id,
                which,
                has_terms: false,
            };
            self.by_hash.insert(hash, entry);
        }
        self.served.fetch_add(1, Relaxed);
    }

    /// Takes a torrent in, or what has become of it. `former` is the row that it replaces.
    pub(super) fn put(&self, former: Option<&TorrentRow>, row: &TorrentRow) {
        let has_terms = row.removed.is_some() || row.tariff.is_some();
        if has_terms {
            let removed = row.removed.as_ref();
            let terms = Terms {
                removed: removed.map(|(date, reason)| (*date, Arc::from(reason.as_str()))),
                tariff: row.tariff,
            };
            self.terms.insert(row.id, terms);
        }
        for (hash, which) in wire_hashes(row.info_hash_v1, row.info_hash_v2) {
            let entry = Entry {
                torrent: row.id,
                which,
                has_terms,
            };
            self.by_hash.insert(hash, entry);
        }
        if !has_terms {
            self.terms.remove(&row.id);
        }
        let was = former.is_some_and(|row| row.removed.is_none());
        match (was, row.removed.is_none()) {
            (false, true) => self.served.fetch_add(1, Relaxed),
            (true, false) => self.served.fetch_sub(1, Relaxed),
            _ => 0,
        };
    }

    /// Takes a torrent out for good.
    pub(super) fn remove(&self, row: &TorrentRow) {
        for (hash, _) in wire_hashes(row.info_hash_v1, row.info_hash_v2) {
            self.by_hash.remove_if(&hash, |_, entry| entry.torrent == row.id);
        }
        self.terms.remove(&row.id);
        if row.removed.is_none() {
            self.served.fetch_sub(1, Relaxed);
        }
    }
}

/// The hashes under which a torrent is announced.
fn wire_hashes(v1: Option<InfoHash>, v2: Option<InfoHashV2>) -> impl Iterator<Item = (InfoHash, Which)> {
    let which = if v1.is_some() { Which::Second } else { Which::First };
    let second = v2.map(|hash| (hash.truncated(), which));
    v1.map(|hash| (hash, Which::First)).into_iter().chain(second)
}

impl Tariffs {
    /// What is best for the member: the higher worth of uploads, the lower price of downloads.
    fn best(&self, own: Option<TimedTariff>, date: Date) -> Tariff {
        let running = |(tariff, until): TimedTariff| until.is_none_or(|until| date < until).then_some(tariff);
        let all = self.people.and_then(running).or_else(|| running(self.settings));
        let all = all.unwrap_or_default();
        match own.and_then(running) {
            None => all,
            Some(own) => Tariff {
                upload_percent: own.upload_percent.max(all.upload_percent),
                download_percent: own.download_percent.min(all.download_percent),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::id::InfoHashV2;

    use super::*;

    const NOW: Date = Date(1_800_000_000);
    const DAY: Duration = Duration::from_hours(24);
    const V1: InfoHash = InfoHash([1; 20]);
    const V2: InfoHashV2 = InfoHashV2([2; 32]);
    const CUT: InfoHash = InfoHash([2; 20]);

    fn row(v1: Option<InfoHash>, v2: Option<InfoHashV2>) -> TorrentRow {
        TorrentRow {
            id: TorrentId(1),
            info_hash_v1: v1,
            info_hash_v2: v2,
            name: "album".to_owned(),
            size: 1,
            files: 1,
            private: true,
            source: None,
            added: NOW,
            added_by: None,
            removed: None,
            tariff: None,
            description: String::new(),
        }
    }

    fn with(row: &TorrentRow) -> Register {
        let (register, _) = Register::new([1, 2, 3, 4]);
        register.set_rules((Tariff::default(), None), 30 * DAY, false);
        register.put(None, row);
        register
    }

    fn tariff(upload_percent: u16, download_percent: u16) -> Tariff {
        Tariff {
            upload_percent,
            download_percent,
        }
    }

    fn open(which: Which, tariff: Tariff) -> Found {
        Found::Open {
            torrent: TorrentId(1),
            which,
            tariff,
        }
    }

    #[test]
    fn a_hybrid_is_one_torrent_under_both_hashes() {
        let register = with(&row(Some(V1), Some(V2)));
        assert_eq!(register.find(&V1, NOW), open(Which::First, Tariff::default()));
        assert_eq!(register.find(&CUT, NOW), open(Which::Second, Tariff::default()));
        assert_eq!(register.look_up(&CUT), Some((TorrentId(1), Which::Second)));
        assert_eq!(
            (register.len(), register.find(&InfoHash([3; 20]), NOW)),
            (1, Found::Unknown)
        );
    }

    #[test]
    fn the_cut_hash_of_a_v2_torrent_is_its_first() {
        let register = with(&row(None, Some(V2)));
        assert_eq!(register.find(&CUT, NOW), open(Which::First, Tariff::default()));
    }

    #[test]
    fn a_removed_torrent_tells_why_for_a_while_and_is_then_unknown() {
        let here = row(Some(V1), Some(V2));
        let register = with(&here);
        let gone = TorrentRow {
            removed: Some((NOW, "wrong film".to_owned())),
            ..here.clone()
        };
        register.put(Some(&here), &gone);
        let reason = Arc::from("wrong film");
        let just_before = Date((NOW + 30 * DAY).0 - 1);
        assert_eq!(
            register.find(&V1, just_before),
            Found::Removed {
                reason: Arc::clone(&reason)
            }
        );
        assert_eq!(register.find(&CUT, NOW), Found::Removed { reason });
        assert_eq!(register.find(&V1, NOW + 30 * DAY), Found::Unknown);
        assert_eq!(register.len(), 0);
        register.put(Some(&gone), &here);
        assert_eq!(register.find(&V1, NOW), open(Which::First, Tariff::default()));
        assert_eq!(register.len(), 1);
    }

    #[test]
    fn what_was_removed_long_ago_is_not_welcome_again() {
        let (register, mut strangers) = Register::new([1, 2, 3, 4]);
        register.set_rules((Tariff::default(), None), DAY, true);
        let gone = TorrentRow {
            removed: Some((NOW, String::new())),
            ..row(Some(V1), None)
        };
        register.put(None, &gone);
        assert_eq!(register.find(&V1, NOW + 2 * DAY), Found::Unknown);
        assert!(strangers.try_recv().is_err());
    }

    /// The tariff of a torrent with this one of its own, under one of the settings and one that people set.
    #[track_caller]
    fn check(
        own: Option<TimedTariff>,
        settings: TimedTariff,
        people: Option<TimedTariff>,
        wanted: (u16, u16),
    ) {
        let register = with(&TorrentRow {
            tariff: own,
            ..row(Some(V1), None)
        });
        register.set_rules(settings, DAY, false);
        register.set_people_tariff(people);
        let wanted = tariff(wanted.0, wanted.1);
        assert_eq!(register.find(&V1, NOW), open(Which::First, wanted));
        assert_eq!(register.tariff(TorrentId(1), NOW), wanted);
    }

    #[test]
    fn the_best_tariff_for_the_member_wins() {
        let plain = (Tariff::default(), None);
        let free = Some((tariff(100, 0), None));
        let double = Some((tariff(200, 100), None));
        check(None, plain, None, (100, 100));
        check(free, plain, None, (100, 0));
        check(free, plain, double, (200, 0));
        check(double, plain, free, (200, 0));
        check(Some((tariff(50, 300), None)), plain, None, (100, 100));
        check(None, (tariff(150, 50), None), None, (150, 50));
    }

    #[test]
    fn a_tariff_ends_on_its_date_and_not_a_second_later() {
        let plain = (Tariff::default(), None);
        let until = |date| Some((tariff(200, 0), Some(date)));
        check(until(NOW), plain, None, (100, 100));
        check(until(Date(NOW.0 + 1)), plain, None, (200, 0));
        check(None, (tariff(200, 0), Some(NOW)), None, (100, 100));
        let settings = (tariff(150, 50), None);
        check(None, settings, until(NOW), (150, 50));
        check(None, settings, until(Date(NOW.0 + 1)), (200, 0));
    }

    #[test]
    fn what_people_set_stands_before_the_settings_also_where_it_is_dearer() {
        check(
            None,
            (tariff(200, 0), None),
            Some((tariff(100, 100), None)),
            (100, 100),
        );
    }

    #[test]
    fn torrents_are_found_by_the_beginning_of_any_hash() {
        let register = with(&row(Some(V1), Some(V2)));
        assert_eq!(register.beginning_with("01010101"), [TorrentId(1)]);
        assert_eq!(register.beginning_with("0202"), [TorrentId(1)]);
        assert_eq!(register.beginning_with("0303"), []);
        assert_eq!(
            register.beginning_with("0"),
            [TorrentId(1)],
            "two hashes of one torrent are one"
        );
    }

    #[test]
    fn strangers_are_handed_on_once_the_settings_welcome_them() {
        let (register, mut strangers) = Register::new([1, 2, 3, 4]);
        assert_eq!(register.find(&V1, NOW), Found::Unknown);
        assert!(strangers.try_recv().is_err());
        register.set_rules((Tariff::default(), None), DAY, true);
        let found = std::thread::scope(|scope| {
            scope.spawn(|| {
                let stranger = strangers.blocking_recv().unwrap();
                register.put(None, &row(Some(stranger.hash), None));
            });
            register.find(&V1, NOW)
        });
        assert_eq!(found, open(Which::First, Tariff::default()));
    }

    #[test]
    fn nobody_waits_twice_for_a_store_that_does_not_answer() {
        let (register, mut strangers) = Register::new([1, 2, 3, 4]);
        register.set_rules((Tariff::default(), None), DAY, true);
        for _ in 0..1_000 {
            // A thousand waits would take twenty seconds.
            assert_eq!(register.find(&V1, NOW), Found::Unknown);
        }
        let waiting = std::iter::from_fn(|| strangers.try_recv().ok()).count();
        assert_eq!(waiting, WELCOME_QUEUE, "the queue is bounded");
        register.answers();
        assert!(!register.slow.load(Relaxed));
    }
}
