//! All that people change: members, invitations, tokens, torrents. The API and the command line call it; announces only read
//! what it keeps in [`Directory`] and [`Register`]. Every change is written to the store first and shown in memory after; one
//! that the store refuses changes nothing.

mod cards;
mod torrents;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::directory::Directory;
use super::ids::{Date, MemberId};
use super::register::Register;
use super::rules::Tariff;
use super::store::{Kind, RedeemError, Role, Scope, Store, StoreError};
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
    /// What stands before `/{passkey}/announce`, from [`announce_base`].
    pub announce_base: String,
}

impl Default for OfficeSettings {
    fn default() -> Self {
        Self {
            rotate_grace: Duration::from_hours(7 * 24),
            networks_alarm: 8,
            networks_window: Duration::from_hours(7 * 24),
            open: false,
            require_private: false,
            source: String::new(),
            removed_for: Duration::from_hours(30 * 24),
            tariff: Tariff::default(),
            tariff_until: None,
            announce_base: "http://127.0.0.1:6969".to_owned(),
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

#[derive(Debug)]
pub struct Office {
    directory: Arc<Directory>,
    register: Arc<Register>,
}

#[expect(
    clippy::todo,
    clippy::unused_async,
    reason = "signatures first; bodies follow within the hour"
)]
impl Office {
    /// Reads everything that announces need into memory.
    pub async fn open(
        _store: Store,
        _secret: &[u8; 32],
        _clock: Clock,
        _settings: OfficeSettings,
    ) -> Result<Arc<Self>, StoreError> {
        todo!()
    }

    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    pub fn register(&self) -> &Arc<Register> {
        &self.register
    }

    /// New settings, from now on.
    pub fn set_settings(&self, _settings: OfficeSettings) {
        todo!()
    }

    pub fn settings(&self) -> Arc<OfficeSettings> {
        todo!()
    }

    /// Registers unknown hashes that announces bring, where the settings allow it, until `stop`. Announces wait for it some
    /// milliseconds at most, so it must run beside them, not on the same thread.
    pub async fn welcome_torrents(&self, _stop: CancellationToken) {
        todo!()
    }

    // members

    pub async fn add_member(&self, _by: &Actor, _new: AddMember) -> Result<MemberCard, OfficeError> {
        todo!()
    }
    /// All members by name, without their keys.
    pub async fn members(&self) -> Result<Vec<MemberCard>, OfficeError> {
        todo!()
    }
    /// Everything about one, with the key. Ask the books to flush before.
    pub async fn member(&self, _name: &str) -> Result<MemberReport, OfficeError> {
        todo!()
    }
    /// The number of a name, whatever its case.
    pub fn member_id(&self, _name: &str) -> Result<MemberId, OfficeError> {
        todo!()
    }
    /// The name of a number.
    pub fn member_name(&self, _id: MemberId) -> Option<Arc<str>> {
        todo!()
    }
    pub fn role(&self, _id: MemberId) -> Option<Role> {
        todo!()
    }
    /// A new key; the old one works for `grace` (the settings' where none is given). Zero ends it at once.
    pub async fn rotate(
        &self,
        _by: &Actor,
        _name: &str,
        _grace: Option<Duration>,
    ) -> Result<MemberCard, OfficeError> {
        todo!()
    }
    pub async fn disable(&self, _by: &Actor, _name: &str, _reason: &str) -> Result<MemberCard, OfficeError> {
        todo!()
    }
    pub async fn enable(&self, _by: &Actor, _name: &str) -> Result<MemberCard, OfficeError> {
        todo!()
    }
    pub async fn expire(
        &self,
        _by: &Actor,
        _name: &str,
        _expires: Option<Date>,
    ) -> Result<MemberCard, OfficeError> {
        todo!()
    }
    /// Erases the person and keeps the sums.
    pub async fn forget(&self, _by: &Actor, _name: &str) -> Result<(), OfficeError> {
        todo!()
    }

    // invitations and the first owner

    pub async fn create_invitation(
        &self,
        _by: &Actor,
        _new: AddInvitation,
    ) -> Result<InvitationCard, OfficeError> {
        todo!()
    }
    pub async fn invitations(&self) -> Result<Vec<InvitationCard>, OfficeError> {
        todo!()
    }
    pub async fn revoke_invitation(&self, _by: &Actor, _id: i64) -> Result<(), OfficeError> {
        todo!()
    }
    /// Whoever brings the code of an invitation becomes a member.
    pub async fn redeem(&self, _code: &str, _name: &str) -> Result<MemberCard, OfficeError> {
        todo!()
    }
    /// A new one-time code for the first owner, while there is none; to be shown on the terminal, never logged.
    pub fn offer_ownership(&self) -> Option<String> {
        todo!()
    }
    /// Whoever brings that code becomes the owner.
    pub async fn redeem_ownership(&self, _code: &str, _name: &str) -> Result<OwnerCard, OfficeError> {
        todo!()
    }

    // tokens

    pub async fn create_token(&self, _by: &Actor, _new: AddToken) -> Result<TokenCard, OfficeError> {
        todo!()
    }
    pub async fn tokens(&self) -> Result<Vec<TokenCard>, OfficeError> {
        todo!()
    }
    /// By name or number.
    pub async fn revoke_token(&self, _by: &Actor, _name: &str) -> Result<(), OfficeError> {
        todo!()
    }
    /// Whose token this is, if it is good today.
    pub fn check_token(&self, _text: &str) -> Option<TokenHolder> {
        todo!()
    }

    // torrents

    /// Registers a .torrent file, of at most [`torrent_file::FILE_MAX`](super::torrent_file::FILE_MAX) bytes.
    pub async fn add_torrent(
        &self,
        _by: &Actor,
        _file: &[u8],
        _wishes: AddTorrent,
    ) -> Result<TorrentCard, OfficeError> {
        todo!()
    }
    /// Newest first; `search` is part of a name or the beginning of a hash.
    pub async fn torrents(&self, _search: &str, _skip: u64, _limit: u32) -> Result<TorrentPage, OfficeError> {
        todo!()
    }
    /// By one of its hashes, or by the beginning of one, at least eight digits.
    pub async fn torrent(&self, _hash: &str) -> Result<TorrentReport, OfficeError> {
        todo!()
    }
    pub async fn remove_torrent(
        &self,
        _by: &Actor,
        _hash: &str,
        _reason: &str,
    ) -> Result<TorrentCard, OfficeError> {
        todo!()
    }
    /// The tariff of a torrent, or without `hash` the one over all; None takes it back.
    pub async fn set_tariff(
        &self,
        _by: &Actor,
        _hash: Option<&str>,
        _tariff: Option<TariffCard>,
    ) -> Result<(), OfficeError> {
        todo!()
    }
    /// The tariff over all torrents that people have set; the settings' stands beside it.
    pub fn tariff(&self) -> Option<TariffCard> {
        todo!()
    }
    /// The .torrent with this member's announce URL in it; with `one_torrent_key` its key is good for this torrent only.
    pub async fn torrent_file_for(
        &self,
        _hash: &str,
        _member: MemberId,
        _one_torrent_key: bool,
    ) -> Result<Vec<u8>, OfficeError> {
        todo!()
    }

    /// The latest changes, newest first.
    pub async fn audit(&self, _limit: u32) -> Result<Vec<AuditCard>, OfficeError> {
        todo!()
    }
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
