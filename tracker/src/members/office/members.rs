//! Members: added, changed, shown and forgotten.

use std::sync::Arc;
use std::time::Duration;

use super::{
    AccountCard, Actor, AddMember, MarkCard, MemberCard, MemberReport, MemberState, Office, OfficeError,
    Stamp, announce_url, words,
};
use crate::members::clients::Client;
use crate::members::directory::{Seat, folded};
use crate::members::ids::{Date, MemberId};
use crate::members::store::{AccountRow, Kind, MemberRow, NewMember, Role, StoreError, Taken, TorrentRow};

/// Accounts and marks in one report, at most.
const REPORT_MAX: u32 = 1_000;

const MEMBER: &str = "member";

impl Office {
    /// Adds a member and tells the key.
    pub async fn add_member(&self, by: &Actor, new: AddMember) -> Result<MemberCard, OfficeError> {
        let name = words::name("name", &new.name)?;
        let now = self.clock.date();
        words::end("expires", new.expires, now)?;
        let _one = self.changes.lock().await;
        let scope = match &new.torrent {
            Some(hash) => Some(self.torrent_row(hash).await?.id),
            None => None,
        };
        self.is_free(&name)?;
        let invited_by = match by {
            Actor::Member(id) => Some(*id),
            _ => None,
        };
        let row = NewMember {
            name,
            role: new.role,
            kind: new.kind,
            created: now,
            invited_by,
            expires: new.expires,
            scope,
            notes: String::new(),
        };
        self.insert_member(by, &row).await
    }

    /// Writes a member whose name is free.
    pub(super) async fn insert_member(&self, by: &Actor, new: &NewMember) -> Result<MemberCard, OfficeError> {
        let row = self.store.insert_member(new).await;
        let row = row.map_err(|error| taken(error, &new.name))?;
        let (id, what) = (row.id, format!("added {} {:?}", words_for(&row), row.name));
        self.directory.put([row]);
        self.note(by, Some(id), what).await;
        self.card_with_key(id)
    }

    /// All members by name, without their keys.
    pub fn members(&self) -> Vec<MemberCard> {
        let mut seats = self.directory.seats();
        seats.sort_by_cached_key(|seat| folded(&seat.row.name));
        seats.iter().map(|seat| self.card(seat)).collect()
    }

    /// Everything about one, with the key. Ask the books to flush before.
    pub async fn member(&self, name: &str) -> Result<MemberReport, OfficeError> {
        let seat = self.seat(name)?;
        let id = seat.row.id;
        let member = self.card_with_key(id)?;
        let sums = self.store.sums_of_member(id).await?;
        let accounts = self.store.accounts_of_member(id, REPORT_MAX).await?;
        let mut torrents = Vec::with_capacity(accounts.len());
        for account in &accounts {
            let torrent = self.store.torrent(account.torrent).await?;
            torrents.push(account_card(account, &seat.row.name, torrent.as_ref()));
        }
        let mut marks = Vec::new();
        for mark in self.store.marks_of(id, REPORT_MAX).await? {
            let torrent = match mark.torrent {
                Some(torrent) => self.store.torrent(torrent).await?,
                None => None,
            };
            marks.push(MarkCard {
                kind: mark.kind,
                torrent: torrent.as_ref().map(shown_name),
                evidence: mark.evidence,
                date: Stamp(mark.date),
            });
        }
        let seats = self.directory.seats();
        let invited = seats.iter().filter(|other| other.row.invited_by == Some(id));
        Ok(MemberReport {
            warnings: self.warnings(&member),
            member,
            torrents,
            seeded_secs: sums.seeded_secs,
            completions: sums.completions,
            invited: invited.map(|other| other.row.name.clone()).collect(),
            marks,
        })
    }

    fn warnings(&self, member: &MemberCard) -> Vec<String> {
        let settings = self.settings();
        let days = settings.networks_window.as_secs() / 86_400;
        let leak = member.alarm.then(|| {
            format!(
                "the key was used from {} networks within {days} days, more than {}: it may have leaked; `tracker member rotate` makes a new one",
                member.networks, settings.networks_alarm
            )
        });
        leak.into_iter().collect()
    }

    /// The number of a name, whatever its case.
    pub fn member_id(&self, name: &str) -> Result<MemberId, OfficeError> {
        self.directory.id(name).ok_or_else(|| OfficeError::NotFound {
            what: MEMBER,
            name: name.trim().chars().take(80).collect(),
        })
    }

    /// The name of a number.
    pub fn member_name(&self, id: MemberId) -> Option<Arc<str>> {
        self.directory
            .seat(id)
            .map(|seat| Arc::from(seat.row.name.as_str()))
    }

    /// What a member may do.
    pub fn role(&self, id: MemberId) -> Option<Role> {
        self.directory.seat(id).map(|seat| seat.row.role)
    }

    /// A new key; the old one works for `grace` (the settings' where none is given). Zero ends it at once.
    pub async fn rotate(
        &self,
        by: &Actor,
        name: &str,
        grace: Option<Duration>,
    ) -> Result<MemberCard, OfficeError> {
        let grace = words::grace(grace.unwrap_or(self.settings().rotate_grace))?;
        let now = self.clock.date();
        let change = |row: &mut MemberRow| {
            row.generation += 1;
            row.old_generation_until = (!grace.is_zero()).then(|| now + grace);
            row.rotated = Some(now);
            Ok(format!("gave {:?} a new key", row.name))
        };
        self.change(by, name, change).await
    }

    /// No announce of the member is answered any more, but with this reason.
    pub async fn disable(&self, by: &Actor, name: &str, reason: &str) -> Result<MemberCard, OfficeError> {
        let reason = words::reason(reason)?;
        let now = self.clock.date();
        let change = |row: &mut MemberRow| {
            self.spares_the_last_owner(by, row)?;
            let what = format!("disabled {:?}: {reason}", row.name);
            row.disabled = Some((now, reason));
            Ok(what)
        };
        self.change(by, name, change).await
    }

    /// Takes disabling back.
    pub async fn enable(&self, by: &Actor, name: &str) -> Result<MemberCard, OfficeError> {
        let change = |row: &mut MemberRow| {
            row.disabled = None;
            Ok(format!("enabled {:?}", row.name))
        };
        self.change(by, name, change).await
    }

    /// Sets the date on which a membership ends, or takes it away.
    pub async fn expire(
        &self,
        by: &Actor,
        name: &str,
        expires: Option<Date>,
    ) -> Result<MemberCard, OfficeError> {
        words::end("expires", expires, self.clock.date())?;
        let change = |row: &mut MemberRow| {
            if expires.is_some() {
                self.spares_the_last_owner(by, row)?;
            }
            row.expires = expires;
            Ok(match expires {
                Some(date) => format!("let {:?} stay until {}", row.name, Stamp(date)),
                None => format!("let {:?} stay", row.name),
            })
        };
        self.change(by, name, change).await
    }

    /// Erases the person and keeps the sums.
    pub async fn forget(&self, by: &Actor, name: &str) -> Result<(), OfficeError> {
        let _one = self.changes.lock().await;
        let seat = self.seat(name)?;
        let id = seat.row.id;
        self.spares_the_last_owner(by, &seat.row)?;
        self.store.forget_member(id).await?;
        self.directory.remove(id);
        self.shut.notify_one();
        self.drop_tokens_of(id);
        // The store has cut the same branches of the tree.
        let invited = self.directory.seats().into_iter();
        let invited = invited.filter(|other| other.row.invited_by == Some(id));
        self.directory.put(invited.map(|other| MemberRow {
            invited_by: None,
            ..other.row.clone()
        }));
        let by = if *by == Actor::Member(id) {
            &Actor::Stranger
        } else {
            by
        };
        self.note(by, None, "forgot a member".to_owned()).await;
        Ok(())
    }

    /// Changes a row: first in the store, then in memory.
    async fn change(
        &self,
        by: &Actor,
        name: &str,
        change: impl FnOnce(&mut MemberRow) -> Result<String, OfficeError>,
    ) -> Result<MemberCard, OfficeError> {
        let _one = self.changes.lock().await;
        let seat = self.seat(name)?;
        let mut row = seat.row.clone();
        let what = change(&mut row)?;
        let id = row.id;
        if !self.store.update_member(&row).await? {
            return Err(OfficeError::NotFound {
                what: MEMBER,
                name: row.name,
            });
        }
        self.directory.put([row]);
        if self.directory.is_welcome(id, self.clock.date()) == Some(false) {
            self.shut.notify_one();
        }
        self.note(by, Some(id), what).await;
        self.card_with_key(id)
    }

    /// Whoever owns the machine may do it; a slip over the network would leave nobody who can.
    fn spares_the_last_owner(&self, by: &Actor, row: &MemberRow) -> Result<(), OfficeError> {
        let now = self.clock.date();
        let seats = self.directory.seats();
        let mut owners = seats.iter().filter(|seat| {
            seat.row.role == Role::Owner && seat.row.disabled.is_none() && !seat.is_expired(now)
        });
        let others = owners.any(|seat| seat.row.id != row.id);
        if *by == Actor::Owner || row.role != Role::Owner || others {
            return Ok(());
        }
        Err(OfficeError::Refused {
            why: "this is the last owner: only the command line on the tracker's machine does this",
        })
    }

    pub(super) fn has_owner(&self) -> bool {
        let seats = self.directory.seats();
        seats.iter().any(|seat| seat.row.role == Role::Owner)
    }

    /// Whether a member of this name is an owner.
    pub fn is_owner(&self, name: &str) -> bool {
        self.seat(name).is_ok_and(|seat| seat.row.role == Role::Owner)
    }

    pub(super) fn is_free(&self, name: &str) -> Result<(), OfficeError> {
        match self.directory.id(name).and_then(|id| self.directory.seat(id)) {
            Some(seat) => Err(OfficeError::Exists {
                what: MEMBER,
                name: seat.row.name.clone(),
            }),
            None => Ok(()),
        }
    }

    fn seat(&self, name: &str) -> Result<Arc<Seat>, OfficeError> {
        let id = self.member_id(name)?;
        self.directory.seat(id).ok_or_else(|| OfficeError::NotFound {
            what: MEMBER,
            name: name.to_owned(),
        })
    }

    pub(super) fn card_with_key(&self, id: MemberId) -> Result<MemberCard, OfficeError> {
        let seat = self.directory.seat(id).ok_or_else(|| OfficeError::NotFound {
            what: MEMBER,
            name: id.0.to_string(),
        })?;
        let mut card = self.card(&seat);
        card.passkey = Some(seat.key().to_string());
        card.announce_url = Some(announce_url(&self.settings().announce_base, &seat.key()));
        Ok(card)
    }

    fn card(&self, seat: &Seat) -> MemberCard {
        let now = self.clock.date();
        let row = &seat.row;
        let totals = seat.totals();
        let (networks, alarm) = self.directory.networks(row.id, now);
        let (disabled, disabled_reason) = row.disabled.clone().unzip();
        MemberCard {
            name: row.name.clone(),
            role: row.role,
            kind: row.kind,
            state: match &row.disabled {
                Some(_) => MemberState::Disabled,
                None if seat.is_expired(now) => MemberState::Expired,
                None => MemberState::Active,
            },
            passkey: None,
            announce_url: None,
            old_key_until: row.old_generation_until.filter(|until| now < *until).map(Stamp),
            uploaded: totals.uploaded,
            downloaded: totals.downloaded,
            upload_credit: totals.upload_credit,
            download_charge: totals.download_charge,
            last_seen: totals.last_seen.map(Stamp),
            created: Stamp(row.created),
            expires: row.expires.map(Stamp),
            disabled: disabled.map(Stamp),
            disabled_reason,
            invited_by: row
                .invited_by
                .and_then(|id| self.member_name(id))
                .map(|name| name.to_string()),
            networks,
            alarm,
        }
    }
}

fn words_for(row: &MemberRow) -> &'static str {
    match (row.role, row.kind) {
        (Role::Owner, _) => "owner",
        (_, Kind::Guest) => "guest",
        _ => MEMBER,
    }
}

/// What the store says of a name that is taken; somebody may have written to it beside us.
pub(super) fn taken(error: StoreError, name: &str) -> OfficeError {
    match error {
        StoreError::Exists {
            what: Taken::MemberName,
        } => OfficeError::Exists {
            what: MEMBER,
            name: name.to_owned(),
        },
        error => error.into(),
    }
}

pub(super) fn shown_name(torrent: &TorrentRow) -> String {
    if !torrent.name.is_empty() {
        return torrent.name.clone();
    }
    let first = torrent.info_hash_v1.map(|hash| hash.to_string());
    let second = || torrent.info_hash_v2.map(|hash| hash.to_string());
    first.or_else(second).unwrap_or_default()
}

pub(super) fn account_card(account: &AccountRow, member: &str, torrent: Option<&TorrentRow>) -> AccountCard {
    AccountCard {
        member: member.to_owned(),
        torrent: torrent.map(shown_name).unwrap_or_default(),
        info_hash_v1: torrent
            .and_then(|row| row.info_hash_v1)
            .map(|hash| hash.to_string()),
        info_hash_v2: torrent
            .and_then(|row| row.info_hash_v2)
            .map(|hash| hash.to_string()),
        uploaded: account.uploaded,
        downloaded: account.downloaded,
        upload_credit: account.upload_credit,
        download_charge: account.download_charge,
        seeded_secs: account.seeded_secs,
        completions: account.completions,
        left: account.left,
        first_seen: Stamp(account.first_seen),
        last_seen: Stamp(account.last_seen),
        client: Client::of_beginning(account.client).to_string(),
    }
}
