//! The members in memory: whose key an announce carries, and what its holder has given and taken. Announces ask it; only the
//! office changes it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use unicode_normalization::UnicodeNormalization as _;

use super::ids::{Date, MemberId, TorrentId};
use super::keys::{self, Claim, KeyFields, KeyKind, Passkey, Secret};
use super::refusal::Refusal;
use super::rules::{Charged, Credit};
use super::store::{Kind, MemberRow, Totals};

/// Told with every answer to the old key, while it works beside the new one.
const OLD_KEY: &str = "this key ends soon: take a fresh .torrent or link";

/// One network of a member is noted no more often than this.
const NOTE_AGAIN: Duration = Duration::from_secs(600);

/// More networks of one member are never remembered, whatever the alarm is set to: 4 KiB a member.
const NETWORKS_MAX: usize = 256;

/// A key that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub member: MemberId,
    /// A sentence for the member, where the key will soon end.
    pub warning: Option<&'static str>,
}

/// Members by what their announces would be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub active: u64,
    pub disabled: u64,
    pub expired: u64,
}

/// What a member gave and took, over all torrents and since ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberTotals {
    pub uploaded: u64,
    pub downloaded: u64,
    pub upload_credit: u64,
    pub download_charge: u64,
    pub last_seen: Option<Date>,
}

/// When a key is in too many places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkRule {
    /// More networks than this, within `window`, raise an alarm.
    pub alarm: u32,
    pub window: Duration,
}

/// All members by number. A change makes a new table, so that readers wait for nobody.
#[derive(Debug)]
pub struct Directory {
    secret: Secret,
    seats: ArcSwap<Vec<Option<Arc<Seat>>>>,
    /// Names in small letters.
    names: RwLock<BTreeMap<String, MemberId>>,
    rule: ArcSwap<NetworkRule>,
}

/// One member.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) row: MemberRow,
    key: Passkey,
    /// The key of the generation before.
    previous: Option<Passkey>,
    live: Arc<Live>,
}

/// What announces change of a member; it outlives changes of the row.
#[derive(Debug, Default)]
struct Live {
    uploaded: AtomicU64,
    downloaded: AtomicU64,
    upload_credit: AtomicU64,
    download_charge: AtomicU64,
    /// 0 is never.
    last_seen: AtomicU32,
    /// The network noted last, and when: most announces come from the same as the one before.
    last_network: AtomicU64,
    last_noted: AtomicU32,
    networks: Mutex<Vec<(u64, Date)>>,
}

/// Which of a member's keys somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Current,
    Previous,
    Older,
}

impl Directory {
    pub(super) fn new(secret: Secret, rule: NetworkRule) -> Self {
        Self {
            secret,
            seats: ArcSwap::default(),
            names: RwLock::default(),
            rule: ArcSwap::from_pointee(rule),
        }
    }

    /// Whose key this is, and whether it is good for the torrent today. Notes the network it came from. Never waits for more
    /// than another announce of the same member; costs no HMAC, or one for a key of one torrent.
    pub fn admit(
        &self,
        key: &[u8],
        torrent: Option<TorrentId>,
        from: IpAddr,
        date: Date,
    ) -> Result<Admitted, Refusal> {
        let claim = keys::read(key).ok_or(Refusal::UnknownKey)?;
        let seats = self.seats.load();
        let seat = seat_of(&seats, claim.member).ok_or(Refusal::UnknownKey)?;
        let age = self.age(seat, claim, key, torrent)?;
        let warning = seat.admits(age, torrent, date)?;
        if let Some(network) = network_of(from) {
            seat.live.note(network, date, &self.rule);
        }
        Ok(Admitted {
            member: claim.member,
            warning,
        })
    }

    /// Whose key this is, if it is or was one of ours, even where [`Directory::admit`] refuses it. For traces.
    pub fn whose(&self, key: &[u8], torrent: Option<TorrentId>) -> Option<MemberId> {
        let claim = keys::read(key)?;
        let seats = self.seats.load();
        let seat = seat_of(&seats, claim.member)?;
        self.age(seat, claim, key, torrent).ok().map(|_| claim.member)
    }

    /// Proves a key. What is not ours is refused with a word that tells nothing about the member it names.
    fn age(&self, seat: &Seat, claim: Claim, key: &[u8], torrent: Option<TorrentId>) -> Result<Age, Refusal> {
        if seat.key.is(key) {
            return Ok(Age::Current);
        }
        if seat.previous.is_some_and(|previous| previous.is(key)) {
            return Ok(Age::Previous);
        }
        let stranger = if claim.one_torrent {
            Refusal::OtherTorrent
        } else {
            Refusal::UnknownKey
        };
        let current = seat.row.generation;
        let fields = claim.generation(current).and_then(|generation| {
            Some(KeyFields {
                generation,
                scope: if claim.one_torrent { Some(torrent?) } else { None },
                ..seat.fields()
            })
        });
        let proved = fields.filter(|fields| self.secret.proves(key, fields));
        match proved.map(|fields| current - fields.generation) {
            Some(0) => Ok(Age::Current),
            Some(1) => Ok(Age::Previous),
            Some(_) => Ok(Age::Older),
            None => Err(stranger),
        }
    }

    /// Adds what an announce was worth.
    pub fn add_credit(&self, member: MemberId, credit: &Credit, charged: &Charged, date: Date) {
        let seats = self.seats.load();
        let Some(seat) = seat_of(&seats, member) else {
            return;
        };
        let live = &seat.live;
        let add = |to: &AtomicU64, bytes: u64| {
            if bytes > 0 {
                to.fetch_add(bytes, Relaxed);
            }
        };
        add(&live.uploaded, credit.uploaded);
        add(&live.downloaded, credit.downloaded);
        add(&live.upload_credit, charged.upload_credit);
        add(&live.download_charge, charged.download_charge);
        // Most announces come within the second of another; reading first keeps the cache line shared.
        if live.last_seen.load(Relaxed) < date.0 {
            live.last_seen.fetch_max(date.0, Relaxed);
        }
    }

    pub fn totals(&self, member: MemberId) -> Option<MemberTotals> {
        let seats = self.seats.load();
        seat_of(&seats, member).map(|seat| seat.totals())
    }

    /// How many members' keys come from too many networks. Forgets networks that are too old.
    pub fn alarms(&self, date: Date) -> usize {
        let rule = **self.rule.load();
        let seats = self.seats.load();
        let seats = seats.iter().flatten();
        seats
            .filter(|seat| seat.live.networks(date, rule.window) > rule.alarm)
            .count()
    }

    /// How many networks a member's key came from of late, and whether they are too many.
    pub fn networks(&self, member: MemberId, date: Date) -> (u32, bool) {
        let rule = **self.rule.load();
        let seats = self.seats.load();
        let count = seat_of(&seats, member).map_or(0, |seat| seat.live.networks(date, rule.window));
        (count, count > rule.alarm)
    }

    pub fn census(&self, date: Date) -> Census {
        let mut census = Census::default();
        for seat in self.seats.load().iter().flatten() {
            let count = match seat.row.disabled {
                Some(_) => &mut census.disabled,
                None if seat.is_expired(date) => &mut census.expired,
                None => &mut census.active,
            };
            *count += 1;
        }
        census
    }

    /// Whether a member's announces are answered today; none for a number that is nobody's.
    pub fn is_welcome(&self, member: MemberId, date: Date) -> Option<bool> {
        let seats = self.seats.load();
        let seat = seat_of(&seats, member)?;
        Some(seat.row.disabled.is_none() && !seat.is_expired(date))
    }

    /// A member's own key.
    pub fn key(&self, member: MemberId) -> Option<Passkey> {
        seat_of(&self.seats.load(), member).map(|seat| seat.key)
    }

    /// A member's key for one torrent alone.
    pub fn key_for(&self, member: MemberId, torrent: TorrentId) -> Option<Passkey> {
        let seats = self.seats.load();
        let fields = seat_of(&seats, member)?.fields();
        Some(self.secret.derive(&KeyFields {
            scope: Some(torrent),
            ..fields
        }))
    }

    /// The number of a name, whatever its case.
    pub fn id(&self, name: &str) -> Option<MemberId> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&folded(name)).copied()
    }

    pub(super) fn seat(&self, member: MemberId) -> Option<Arc<Seat>> {
        seat_of(&self.seats.load(), member).cloned()
    }

    pub(super) fn seats(&self) -> Vec<Arc<Seat>> {
        self.seats.load().iter().flatten().cloned().collect()
    }

    pub(super) fn set_rule(&self, rule: NetworkRule) {
        self.rule.store(Arc::new(rule));
    }

    /// Takes members in, or changes those that are in. Their totals stay.
    pub(super) fn put(&self, rows: impl IntoIterator<Item = MemberRow>) {
        let mut seats = Vec::clone(&self.seats.load());
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            let place = row.id.0 as usize;
            if seats.len() <= place {
                seats.resize(place + 1, None);
            }
            if let Some(seat) = seats.get_mut(place) {
                if let Some(former) = seat.as_ref().map(|seat| folded(&seat.row.name)) {
                    names.remove(&former);
                }
                names.insert(folded(&row.name), row.id);
                let live = seat.as_ref().map(|seat| seat.live.clone()).unwrap_or_default();
                *seat = Some(Arc::new(Seat::new(row, live, &self.secret)));
            }
        }
        drop(names);
        self.seats.store(Arc::new(seats));
    }

    /// A member is nobody any more.
    pub(super) fn remove(&self, member: MemberId) {
        let mut seats = Vec::clone(&self.seats.load());
        if let Some(seat) = seats.get_mut(member.0 as usize) {
            *seat = None;
        }
        self.seats.store(Arc::new(seats));
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.retain(|_, id| *id != member);
    }

    /// What the store knows of a member's giving and taking; at start only.
    pub(super) fn load_totals(&self, member: MemberId, totals: &Totals) {
        let seats = self.seats.load();
        let Some(seat) = seat_of(&seats, member) else {
            return;
        };
        let live = &seat.live;
        live.uploaded.store(totals.uploaded, Relaxed);
        live.downloaded.store(totals.downloaded, Relaxed);
        live.upload_credit.store(totals.upload_credit, Relaxed);
        live.download_charge.store(totals.download_charge, Relaxed);
        live.last_seen.store(totals.last_seen.0, Relaxed);
    }
}

fn seat_of(seats: &[Option<Arc<Seat>>], member: MemberId) -> Option<&Arc<Seat>> {
    seats.get(member.0 as usize)?.as_ref()
}

/// A name as it is compared: neither case, nor the way in which accents are written, nor what nobody sees makes two names of one.
pub(super) fn folded(name: &str) -> String {
    let seen = |letter: &char| {
        !matches!(
            letter,
            '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}'
        )
    };
    let plain: String = name.trim().nfkc().filter(seen).collect();
    plain.to_lowercase()
}

impl Seat {
    fn new(row: MemberRow, live: Arc<Live>, secret: &Secret) -> Self {
        let mut seat = Self {
            key: secret.derive(&fields_of(&row)),
            previous: None,
            row,
            live,
        };
        seat.previous = seat.row.generation.checked_sub(1).map(|generation| {
            secret.derive(&KeyFields {
                generation,
                ..seat.fields()
            })
        });
        seat
    }

    fn fields(&self) -> KeyFields {
        fields_of(&self.row)
    }

    /// Whether a key that is theirs is good; with a warning where it will not be for long.
    fn admits(
        &self,
        age: Age,
        torrent: Option<TorrentId>,
        date: Date,
    ) -> Result<Option<&'static str>, Refusal> {
        if let Some((_, reason)) = &self.row.disabled {
            return Err(Refusal::Disabled(reason.clone()));
        }
        if self.is_expired(date) {
            return Err(Refusal::ExpiredKey);
        }
        let grace = self.row.old_generation_until.is_some_and(|until| date < until);
        let warning = match age {
            Age::Current => None,
            Age::Previous if grace => Some(OLD_KEY),
            Age::Previous | Age::Older => return Err(Refusal::ReplacedKey),
        };
        match (self.row.scope, torrent) {
            (Some(own), Some(other)) if own != other => Err(Refusal::OtherTorrent),
            _ => Ok(warning),
        }
    }

    pub(super) fn is_expired(&self, date: Date) -> bool {
        self.row.expires.is_some_and(|expires| expires <= date)
    }

    pub(super) fn key(&self) -> Passkey {
        self.key
    }

    pub(super) fn totals(&self) -> MemberTotals {
        let live = &self.live;
        let last_seen = live.last_seen.load(Relaxed);
        MemberTotals {
            uploaded: live.uploaded.load(Relaxed),
            downloaded: live.downloaded.load(Relaxed),
            upload_credit: live.upload_credit.load(Relaxed),
            download_charge: live.download_charge.load(Relaxed),
            last_seen: (last_seen > 0).then_some(Date(last_seen)),
        }
    }
}

fn fields_of(row: &MemberRow) -> KeyFields {
    KeyFields {
        kind: match row.kind {
            Kind::Member => KeyKind::Member,
            Kind::Guest => KeyKind::Guest,
        },
        member: row.id,
        generation: row.generation,
        scope: row.scope,
    }
}

impl Live {
    /// Remembers a network, instead of the one not seen for longest where there is no room.
    fn note(&self, network: u64, date: Date, rule: &ArcSwap<NetworkRule>) {
        let noted = Date(self.last_noted.load(Relaxed));
        if self.last_network.load(Relaxed) == network && date.since(noted) < NOTE_AGAIN {
            return;
        }
        self.last_network.store(network, Relaxed);
        self.last_noted.store(date.0, Relaxed);
        // Twice the alarm, so that its excess is seen too.
        let room = (rule.load().alarm as usize)
            .saturating_mul(2)
            .clamp(1, NETWORKS_MAX);
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let known = networks.iter_mut().find(|(known, _)| *known == network);
        if let Some((_, seen)) = known {
            *seen = date;
            return;
        }
        if networks.len() >= room {
            let oldest = networks.iter().enumerate().min_by_key(|(_, (_, seen))| *seen);
            if let Some((oldest, _)) = oldest {
                networks.swap_remove(oldest);
            }
        }
        networks.push((network, date));
    }

    /// Networks seen within the window; the others are forgotten.
    fn networks(&self, date: Date, window: Duration) -> u32 {
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        networks.retain(|(_, seen)| date.since(*seen) < window);
        u32::try_from(networks.len()).unwrap_or(u32::MAX)
    }
}

/// The /24 or /64 of an address, packed; `None` at home, where a network says nothing about how far a key has come.
fn network_of(address: IpAddr) -> Option<u64> {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let home = address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified();
            // No IPv6 network begins with 64 zeros but for the unspecified one and loopback, so both fit one number.
            (!home && !shared).then(|| u64::from(u32::from_be_bytes([0, a, b, c])))
        }
        IpAddr::V6(address) => {
            let home = address.is_loopback()
                || address.is_unspecified()
                || address.is_unique_local()
                || address.is_unicast_link_local();
            let [a, b, c, d, ..] = address.segments();
            let network = [a, b, c, d]
                .iter()
                .fold(0, |network, part| network << 16 | u64::from(*part));
            (!home).then_some(network)
        }
    }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
