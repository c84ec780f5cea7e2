//! The register of torrents, as people change it.

use std::str::FromStr;
use std::sync::Arc;

use shared::id::{InfoHash, InfoHashV2};
use tokio::task::spawn_blocking;

use super::members::{account_card, shown_name};
use super::{
    Actor, FormerHashes, Office, OfficeError, Stamp, TariffCard, TorrentCard, TorrentPage, TorrentReport,
    words,
};
use crate::members::ids::{MemberId, TorrentId};
use crate::members::store::{NewTorrent, StoreError, Taken, TimedTariff, TorrentRow};
use crate::members::torrent_file::{self, Prepared, TorrentFileError, Wishes};

/// Accounts in one report, at most.
const REPORT_MAX: u32 = 1_000;

/// Torrents on one page, at most.
const PAGE_MAX: u32 = 1_000;

/// So many digits of a hash name a torrent, if no other begins so.
const PREFIX_MIN: usize = 8;

const TORRENT: &str = "torrent";

/// What is to be done with a .torrent on its way in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddTorrent {
    /// Sets or removes `private`; changes the info-hash where it was otherwise.
    pub private: Option<bool>,
    /// Sets `source`; an empty one removes it. Changes the info-hash where it was otherwise.
    pub source: Option<String>,
    pub description: String,
}

impl Office {
    /// Registers a .torrent file, of at most [`torrent_file::FILE_MAX`] bytes.
    pub async fn add_torrent(
        &self,
        by: &Actor,
        file: &[u8],
        wishes: AddTorrent,
    ) -> Result<TorrentCard, OfficeError> {
        let description = words::description(&wishes.description)?;
        let prepared = self.prepare(file, &wishes).await?;
        let _one = self.changes.lock().await;
        let new = NewTorrent {
            info_hash_v1: prepared.hashes.v1,
            info_hash_v2: prepared.hashes.v2,
            name: prepared.name.clone(),
            size: prepared.size,
            files: prepared.files,
            private: prepared.private,
            source: prepared.source.clone(),
            added: self.clock.date(),
            added_by: match by {
                Actor::Member(id) => Some(*id),
                _ => None,
            },
            tariff: None,
            description,
            file: prepared.bytes.clone(),
        };
        let mut known = self.known(&prepared).await?.into_iter();
        let row = if let Some(first) = known.next() {
            for other in known {
                self.store.delete_torrent(other.id).await?;
                self.register.remove(&other);
            }
            self.complete(first, new).await?
        } else {
            let row = self.store.insert_torrent(&new).await.map_err(taken)?;
            self.register.put(None, &row);
            row
        };
        self.note(by, None, format!("registered torrent {:?}", shown_name(&row)))
            .await;
        let mut card = self.torrent_card(&row);
        card.warnings = warnings(&prepared);
        card.former = prepared.former.map(|former| FormerHashes {
            info_hash_v1: former.v1.map(|hash| hash.to_string()),
            info_hash_v2: former.v2.map(|hash| hash.to_string()),
        });
        Ok(card)
    }

    /// Reads and edits the file on a thread that may take its time.
    async fn prepare(&self, file: &[u8], wishes: &AddTorrent) -> Result<Prepared, OfficeError> {
        if file.len() > torrent_file::FILE_MAX {
            return Err(TorrentFileError::TooLarge { length: file.len() }.into());
        }
        let settings = self.settings();
        let source = match &wishes.source {
            Some(source) => Some(words::source(source)?.to_owned()),
            None if settings.source.is_empty() => None,
            None => Some(settings.source.clone()),
        };
        let place = Arc::clone(&self.readers).acquire_owned().await;
        let (file, private) = (file.to_vec(), wishes.private);
        let prepared = spawn_blocking(move || {
            let _place = place;
            let wishes = Wishes {
                private,
                source: source.as_deref(),
            };
            torrent_file::prepare(&file, &wishes)
        });
        let invalid = |field, why: &str| OfficeError::Invalid {
            field,
            why: why.to_owned(),
        };
        let prepared = prepared
            .await
            .map_err(|_| invalid("file", "reading it failed"))??;
        if settings.require_private && !prepared.private {
            return Err(invalid(
                "private",
                "this tracker takes private torrents only: let it set `private`, which changes the info-hash",
            ));
        }
        Ok(prepared)
    }

    /// The torrents that have one of these hashes already, if they may be completed or come back. Two are those of a hybrid of
    /// which only the hashes were known: it is one torrent, so the second goes, and its sums stay.
    async fn known(&self, prepared: &Prepared) -> Result<Vec<TorrentRow>, OfficeError> {
        let second = prepared.hashes.v2.map(|hash| hash.truncated());
        let hashes = prepared.hashes.v1.into_iter().chain(second);
        let mut known: Vec<TorrentRow> = Vec::new();
        for hash in hashes {
            let Some((id, _)) = self.register.look_up(&hash) else {
                continue;
            };
            if known.iter().any(|known| known.id == id) {
                continue;
            }
            let row = self.row(id).await?;
            let is_bare = |row: &TorrentRow| row.name.is_empty() && row.files == 0;
            let fits = known.is_empty() || is_bare(&row) && known.iter().all(is_bare);
            if !fits || !is_bare(&row) && row.removed.is_none() {
                return Err(OfficeError::Exists {
                    what: TORRENT,
                    name: format!("{} ({hash})", row.name),
                });
            }
            known.push(row);
        }
        Ok(known)
    }

    /// A torrent of which only a hash was known gets its file; a removed one comes back with its accounts.
    async fn complete(&self, known: TorrentRow, new: NewTorrent) -> Result<TorrentRow, OfficeError> {
        let row = TorrentRow {
            id: known.id,
            info_hash_v1: new.info_hash_v1,
            info_hash_v2: new.info_hash_v2,
            name: new.name,
            size: new.size,
            files: new.files,
            private: new.private,
            source: new.source,
            added: known.added,
            added_by: new.added_by.or(known.added_by),
            removed: None,
            tariff: known.tariff,
            description: new.description,
        };
        // The file first: a row whose file is missing could not be given out.
        self.store.set_torrent_file(row.id, &new.file).await?;
        self.update(&known, row).await
    }

    async fn update(&self, former: &TorrentRow, row: TorrentRow) -> Result<TorrentRow, OfficeError> {
        if !self.store.update_torrent(&row).await.map_err(taken)? {
            return Err(not_found(&shown_name(&row)));
        }
        self.register.put(Some(former), &row);
        Ok(row)
    }

    /// Newest first; `search` is part of a name or the beginning of a hash.
    pub async fn torrents(&self, search: &str, skip: u64, limit: u32) -> Result<TorrentPage, OfficeError> {
        let (rows, total) = self
            .store
            .find_torrents(search.trim(), skip, limit.min(PAGE_MAX))
            .await?;
        Ok(TorrentPage {
            torrents: rows.iter().map(|row| self.torrent_card(row)).collect(),
            total,
        })
    }

    /// By one of its hashes, or by the beginning of one, at least eight digits.
    pub async fn torrent(&self, hash: &str) -> Result<TorrentReport, OfficeError> {
        let row = self.torrent_row(hash).await?;
        let sums = self.store.sums_of_torrent(row.id).await?;
        let accounts = self.store.accounts_of_torrent(row.id, REPORT_MAX).await?;
        let accounts = accounts.iter().map(|account| {
            let member = self.member_name(account.member);
            account_card(account, member.as_deref().unwrap_or_default(), Some(&row))
        });
        Ok(TorrentReport {
            uploaded: sums.uploaded,
            downloaded: sums.downloaded,
            seeded_secs: sums.seeded_secs,
            completions: sums.completions,
            accounts: accounts.collect(),
            torrent: self.torrent_card(&row),
        })
    }

    /// Announces of it are refused with these words; its accounts stay.
    pub async fn remove_torrent(
        &self,
        by: &Actor,
        hash: &str,
        reason: &str,
    ) -> Result<TorrentCard, OfficeError> {
        let reason = words::reason(reason)?;
        let _one = self.changes.lock().await;
        let former = self.torrent_row(hash).await?;
        let what = format!("removed torrent {:?}: {reason}", shown_name(&former));
        let row = TorrentRow {
            removed: Some((self.clock.date(), reason)),
            ..former.clone()
        };
        let row = self.update(&former, row).await?;
        self.shut.notify_one();
        self.note(by, None, what).await;
        Ok(self.torrent_card(&row))
    }

    /// The tariff of a torrent, or without `hash` the one over all; None takes it back.
    pub async fn set_tariff(
        &self,
        by: &Actor,
        hash: Option<&str>,
        tariff: Option<TariffCard>,
    ) -> Result<(), OfficeError> {
        let timed: Option<TimedTariff> = tariff.map(TimedTariff::from);
        if let Some(timed) = timed {
            words::tariff(timed, self.clock.date())?;
        }
        let _one = self.changes.lock().await;
        let whose = if let Some(hash) = hash {
            let former = self.torrent_row(hash).await?;
            let row = TorrentRow {
                tariff: timed,
                ..former.clone()
            };
            let row = self.update(&former, row).await?;
            format!("torrent {:?}", shown_name(&row))
        } else {
            self.store.set_tariff(timed).await?;
            self.register.set_people_tariff(timed);
            "all torrents".to_owned()
        };
        let what = match tariff {
            Some(card) => format!(
                "set the tariff of {whose}: {} % up, {} % down",
                card.upload_percent, card.download_percent
            ),
            None => format!("took the tariff of {whose} back"),
        };
        self.note(by, None, what).await;
        Ok(())
    }

    /// The tariff over all torrents that people have set; the settings' stands beside it.
    pub fn tariff(&self) -> Option<TariffCard> {
        self.register.people_tariff().map(TariffCard::from)
    }

    /// The .torrent with this member's announce URL in it; with `one_torrent_key` its key is good for this torrent only.
    pub async fn torrent_file_for(
        &self,
        hash: &str,
        member: MemberId,
        one_torrent_key: bool,
    ) -> Result<Vec<u8>, OfficeError> {
        let row = self.torrent_row(hash).await?;
        if row.removed.is_some() {
            return Err(OfficeError::Refused {
                why: "this torrent was removed",
            });
        }
        let key = if one_torrent_key {
            self.directory.key_for(member, row.id)
        } else {
            self.directory.key(member)
        };
        let key = key.ok_or_else(|| OfficeError::NotFound {
            what: "member",
            name: member.0.to_string(),
        })?;
        let url = super::announce_url(&self.settings().announce_base, &key);
        let file = self.store.torrent_file(row.id).await?;
        let no_file = || OfficeError::NotFound {
            what: "file of torrent",
            name: shown_name(&row),
        };
        let file = file.ok_or_else(no_file)?;
        let personal = spawn_blocking(move || torrent_file::personalise(&file, &url));
        personal.await.ok().flatten().ok_or_else(no_file)
    }

    /// A torrent by one of its hashes or the beginning of one.
    pub(super) async fn torrent_row(&self, hash: &str) -> Result<TorrentRow, OfficeError> {
        let hash = hash.trim().to_ascii_lowercase();
        let shown: String = hash.chars().take(80).collect();
        let digits = hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !digits || !(PREFIX_MIN..=64).contains(&hash.len()) {
            return Err(OfficeError::Invalid {
                field: "hash",
                why: format!("{shown:?} is not an info-hash, or at least {PREFIX_MIN} digits of one"),
            });
        }
        let v2 = InfoHashV2::from_str(&hash).ok().map(|hash| hash.truncated());
        let whole = v2.or_else(|| InfoHash::from_str(&hash).ok());
        let known = whole.and_then(|whole| self.register.look_up(&whole));
        let id = if let Some((id, _)) = known {
            id
        } else {
            let announced = hash.get(..40).unwrap_or(&hash);
            let mut found = self.register.beginning_with(announced);
            let id = found.pop().ok_or_else(|| not_found(&shown))?;
            if !found.is_empty() {
                return Err(OfficeError::Ambiguous { name: shown });
            }
            id
        };
        let row = self.row(id).await?;
        // Announces carry the beginning of a v2 hash only, people may write more of it.
        let v2 = row.info_hash_v2.map(|hash| hash.to_string());
        if hash.len() > 40 && !v2.is_some_and(|v2| v2.starts_with(&hash)) {
            return Err(not_found(&shown));
        }
        Ok(row)
    }

    async fn row(&self, id: TorrentId) -> Result<TorrentRow, OfficeError> {
        let row = self.store.torrent(id).await?;
        row.ok_or_else(|| not_found(&id.0.to_string()))
    }

    fn torrent_card(&self, row: &TorrentRow) -> TorrentCard {
        let (removed, removed_reason) = row.removed.clone().unzip();
        TorrentCard {
            name: row.name.clone(),
            info_hash_v1: row.info_hash_v1.map(|hash| hash.to_string()),
            info_hash_v2: row.info_hash_v2.map(|hash| hash.to_string()),
            size: row.size,
            files: row.files,
            private: row.private,
            source: row.source.clone(),
            added: Stamp(row.added),
            added_by: row
                .added_by
                .and_then(|id| self.member_name(id))
                .map(|name| name.to_string()),
            removed: removed.map(Stamp),
            removed_reason,
            tariff: row.tariff.map(TariffCard::from),
            description: row.description.clone(),
            former: None,
            warnings: Vec::new(),
        }
    }
}

fn not_found(name: &str) -> OfficeError {
    OfficeError::NotFound {
        what: TORRENT,
        name: name.to_owned(),
    }
}

/// What the store says of a hash that is taken.
fn taken(error: StoreError) -> OfficeError {
    match error {
        StoreError::Exists { what: Taken::Torrent } => OfficeError::Exists {
            what: TORRENT,
            name: "with one of these hashes".to_owned(),
        },
        error => error.into(),
    }
}

fn warnings(prepared: &Prepared) -> Vec<String> {
    let mut warnings = Vec::new();
    if prepared.former.is_some() {
        warnings.push(
            "the info-hash has changed: take the registered .torrent, the one that was sent no longer fits"
                .to_owned(),
        );
    }
    if !prepared.private {
        warnings.push(
            "the torrent is not private: clients may look for peers outside of this tracker".to_owned(),
        );
    }
    if prepared.lacks_layers {
        warnings.push("the piece layers are missing: most clients cannot use this .torrent".to_owned());
    }
    if !prepared.dropped.is_empty() {
        warnings.push(format!(
            "taken out, because somebody's keys or a client's state stood there: {}",
            prepared.dropped.join(", ")
        ));
    }
    warnings
}
