//! All that people change: members, invitations, tokens, torrents. The API and the command line call it; announces only read
//! what it keeps in [`Directory`] and [`Register`]. Every change is written to the store first and shown in memory after; one
//! that the store refuses changes nothing.

mod cards;
mod invitations;
mod members;
mod tokens;
mod torrents;
mod welcome;
mod words;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use rand::rngs::StdRng;
use tokio::sync::{Mutex, Notify, Semaphore, mpsc};
use tracing::warn;

use super::directory::{Directory, NetworkRule};
use super::ids::{Date, MemberId};
use super::keys::{Passkey, Secret};
use super::register::{Register, Stranger};
use super::rules::Tariff;
use super::store::{AuditRow, Kind, RedeemError, Role, Scope, Store, StoreError, TokenRow};
use super::torrent_file::TorrentFileError;
use crate::clock::Clock;

pub use cards::{
    AccountCard, AuditCard, FormerHashes, InvitationCard, MarkCard, MemberCard, MemberReport, MemberState,
    OwnerCard, Stamp, TariffCard, TokenCard, TorrentCard, TorrentPage, TorrentReport,
};
pub use torrents::AddTorrent;

/// Why the office did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum OfficeError {
    #[error("there is no {what} {name:?}")]
    NotFound { what: &'static str, name: String },
    #[error("the {what} {name:?} exists already")]
    Exists { what: &'static str, name: String },
    /// A value is not acceptable; `field` is its name in JSON.
    #[error("{field}: {why}")]
    Invalid { field: &'static str, why: String },
    /// A prefix of a hash that fits several torrents.
    #[error("{name:?} fits several torrents: write more of the hash")]
    Ambiguous { name: String },
    #[error("the {what} has expired")]
    Expired { what: &'static str },
    #[error("the {what} was used up")]
    Used { what: &'static str },
    #[error("the {what} was taken back")]
    Revoked { what: &'static str },
    /// The last owner cannot be disabled, forgotten or let expire by others than the command line.
    #[error("{why}")]
    Refused { why: &'static str },
    #[error(transparent)]
    Torrent(#[from] TorrentFileError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who asks for a change; it stands in the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The command line on this machine.
    Owner,
    Member(MemberId),
    /// A token of nobody; a member's token acts as that member.
    Token {
        name: String,
    },
    /// Whoever brings a code.
    Stranger,
}

/// What the office must know of the settings. All of it may change while the tracker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfficeSettings {
    /// How long the old key goes on working after a rotation that says nothing else.
    pub rotate_grace: Duration,
    /// More networks than this, within `networks_window`, raise an alarm.
    pub networks_alarm: u32,
    pub networks_window: Duration,
    /// Unknown hashes are registered when they are announced.
    pub open: bool,
    /// A torrent without `private` is refused, unless it is to be set.
    pub require_private: bool,
    /// Is set in every torrent that does not carry it, unless the request says otherwise; empty is none.
    pub source: String,
    /// Clients are told for so long why a torrent was removed.
    pub removed_for: Duration,
    pub tariff: Tariff,
    pub tariff_until: Option<Date>,
    /// What stands before `/{passkey}/announce` in the announce URLs that people are given.
    pub announce_base: String,
    /// Nobody said so: people may need another address.
    pub announce_guessed: bool,
}

impl Default for OfficeSettings {
    fn default() -> Self {
        Self {
            rotate_grace: Duration::from_secs(7 * 86_400),
            networks_alarm: 8,
            networks_window: Duration::from_secs(7 * 86_400),
            open: false,
            require_private: false,
            source: String::new(),
            removed_for: Duration::from_secs(30 * 86_400),
            tariff: Tariff::default(),
            tariff_until: None,
            announce_base: "http://127.0.0.1:6969".to_owned(),
            announce_guessed: true,
        }
    }
}

/// A member to be added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddMember {
    pub name: String,
    pub role: Role,
    pub kind: Kind,
    pub expires: Option<Date>,
    /// The only torrent (hash or prefix) that the key is for.
    pub torrent: Option<String>,
}

/// An invitation to be made. By itself it is good for one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddInvitation {
    pub expires: Option<Date>,
    pub uses: u32,
    pub note: String,
}

/// A token to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddToken {
    pub name: String,
    pub scopes: Vec<Scope>,
    pub expires: Option<Date>,
    /// Whose name it acts in; the owner's where there is none.
    pub member: Option<String>,
}

/// Who holds a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenHolder {
    pub id: i64,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub member: Option<MemberId>,
}

/// One person at the counter at a time; readers do not wait.
#[derive(Debug)]
pub struct Office {
    store: Store,
    clock: Clock,
    settings: ArcSwap<OfficeSettings>,
    directory: Arc<Directory>,
    register: Arc<Register>,
    /// Whoever changes something holds it from the first look to the last write.
    changes: Mutex<()>,
    dice: std::sync::Mutex<StdRng>,
    tokens: RwLock<Vec<TokenRow>>,
    /// A token was used.
    touched: Notify,
    /// Somebody may not stay in the swarms any more.
    shut: Notify,
    /// The hash of the code for the first owner.
    owner_code: std::sync::Mutex<Option<[u8; 32]>>,
    strangers: Mutex<mpsc::Receiver<Stranger>>,
    /// Files are read two at a time: a hostile one may take 100 MiB while it is.
    readers: Arc<Semaphore>,
}

impl Office {
    /// Reads everything that announces need into memory.
    pub async fn open(
        store: Store,
        secret: &[u8; 32],
        clock: Clock,
        settings: OfficeSettings,
    ) -> Result<Arc<Self>, StoreError> {
        let directory = Directory::new(Secret::new(secret), network_rule(&settings));
        directory.put(store.members().await?);
        let (register, strangers) = Register::new(rand::random());
        let totals = async {
            for (member, sums) in store.totals_by_member().await? {
                directory.load_totals(member, &sums);
            }
            Ok(())
        };
        let torrents = async {
            for row in store.plain_torrents().await? {
                register.put_plain(&row);
            }
            for row in store.peculiar_torrents().await? {
                register.put(None, &row);
            }
            Ok(())
        };
        // Two readers of the store: both take a while where there is a lot.
        tokio::try_join!(totals, torrents)?;
        register.set_people_tariff(store.tariff().await?);
        let tokens = store.tokens().await?;
        let office = Self {
            store,
            clock,
            settings: ArcSwap::default(),
            directory: Arc::new(directory),
            register: Arc::new(register),
            changes: Mutex::default(),
            dice: std::sync::Mutex::new(rand::make_rng()),
            tokens: RwLock::new(tokens),
            touched: Notify::new(),
            shut: Notify::new(),
            owner_code: std::sync::Mutex::default(),
            strangers: Mutex::new(strangers),
            readers: Arc::new(Semaphore::new(2)),
        };
        office.set_settings(settings);
        Ok(Arc::new(office))
    }

    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    pub fn register(&self) -> &Arc<Register> {
        &self.register
    }

    /// Waits until a member was sent away or forgotten, or a torrent removed, since this was asked last.
    pub async fn somebody_must_leave(&self) {
        self.shut.notified().await;
    }

    /// New settings, from now on.
    pub fn set_settings(&self, settings: OfficeSettings) {
        self.directory.set_rule(network_rule(&settings));
        let tariff = (settings.tariff, settings.tariff_until);
        self.register
            .set_rules(tariff, settings.removed_for, settings.open);
        self.settings.store(Arc::new(settings));
    }

    pub fn settings(&self) -> Arc<OfficeSettings> {
        self.settings.load_full()
    }

    /// The latest changes, newest first.
    pub async fn audit(&self, limit: u32) -> Result<Vec<AuditCard>, OfficeError> {
        let rows = self.store.audit(limit).await?;
        let cards = rows.into_iter().map(|row| AuditCard {
            date: Stamp(row.date),
            who: row.who,
            what: row.what,
        });
        Ok(cards.collect())
    }

    /// Writes down what was done. It is done by now, so that nobody is told otherwise where this fails.
    async fn note(&self, by: &Actor, about: Option<MemberId>, what: String) {
        let (who, member) = match by {
            Actor::Owner => ("owner".to_owned(), None),
            Actor::Member(id) => (self.name_of(*id), Some(*id)),
            Actor::Token { name } => (format!("token {name}"), None),
            Actor::Stranger => ("a code".to_owned(), None),
        };
        let row = AuditRow {
            date: self.clock.date(),
            who,
            by: member,
            what,
            about,
        };
        if let Err(error) = self.store.insert_audit(&row).await {
            warn!(%error, "a change was made, but could not be noted in the audit");
        }
    }

    fn name_of(&self, member: MemberId) -> String {
        let name = self.member_name(member);
        name.map_or_else(|| "somebody".to_owned(), |name| name.to_string())
    }

    fn roll<T>(&self, make: impl FnOnce(&mut StdRng) -> T) -> T {
        make(&mut self.dice.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn network_rule(settings: &OfficeSettings) -> NetworkRule {
    NetworkRule {
        alarm: settings.networks_alarm,
        window: settings.networks_window,
    }
}

/// A member's announce URL, whether or not somebody wrote a slash behind the base.
pub fn announce_url(base: &str, passkey: &Passkey) -> String {
    format!("{}/{passkey}/announce", base.trim_end_matches('/'))
}

impl From<RedeemError> for OfficeError {
    fn from(error: RedeemError) -> Self {
        let what = "invitation";
        match error {
            RedeemError::Unknown => Self::NotFound {
                what: "invitation with this code",
                name: String::new(),
            },
            RedeemError::Revoked => Self::Revoked { what },
            RedeemError::Expired => Self::Expired { what },
            RedeemError::Used => Self::Used { what },
            RedeemError::Store(error) => Self::Store(error),
        }
    }
}

#[cfg(test)]
mod tests;
