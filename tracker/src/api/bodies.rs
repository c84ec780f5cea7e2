//! What requests say in JSON. Unknown fields are refused: a typo must not become a default.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::scope::Scope;
use crate::members::office::{AuditCard, InvitationCard, MemberCard, Stamp, TariffCard, TokenCard};
use crate::members::store::{Kind, Role};

/// `POST /members`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    pub name: String,
    /// A member where it is missing. To make an owner takes the scope admin.
    #[serde(default)]
    pub role: Role,
    /// A member where it is missing.
    #[serde(default)]
    pub kind: Kind,
    /// The only torrent that the key is for: a hash, or the beginning of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torrent: Option<String>,
    /// When the key stops working; never, where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Stamp>,
}

/// `POST /members/{name}/rotate` and `POST /me/rotate`
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// The old key works for so long; 0 ends it at once, nothing means the setting `members.rotate_grace_secs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_secs: Option<u64>,
}

/// `POST /members/{name}/disable`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Disable {
    /// What the member's client shows; short, since clients cut long reasons.
    pub reason: String,
}

/// `POST /members/{name}/expire`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Expire {
    /// When the key stops working; null is never.
    pub expires: Option<Stamp>,
}

/// `POST /invitations`
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    /// How many may come with it; 1 where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Stamp>,
    /// The member who invites: by default the one whose token it is; another takes the scope admin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// A word for the owner's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// `POST /invitations/redeem` and `POST /owner`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Redeem {
    pub code: String,
    /// The new member's name.
    pub name: String,
}

/// `POST /tokens`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    pub name: String,
    pub scopes: Vec<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Stamp>,
    /// The member for whom it acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
}

/// `PUT /tariff` and `PUT /torrents/{hash}/tariff`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTariff {
    /// What a byte given counts for, in hundredths.
    pub upload_percent: u16,
    /// What a byte taken counts for, in hundredths; 0 is a freeleech.
    pub download_percent: u16,
    /// When it ends; never, where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Stamp>,
}

/// `POST /backup`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// A file on the tracker's machine that does not exist yet.
    pub path: String,
}

/// A part of a list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Entries skipped.
    pub offset: u32,
    /// Entries at most: 100 where it is missing, never more than 1,000.
    pub limit: Option<u32>,
    /// Only those whose name holds these words.
    pub search: Option<String>,
}

/// Entries of a list, where the request does not say.
const PAGE: u32 = 100;

/// Entries of a list, at most.
const PAGE_MAX: u32 = 1_000;

impl Page {
    pub(crate) fn limit(&self) -> u32 {
        self.limit.unwrap_or(PAGE).min(PAGE_MAX)
    }

    /// The wished part of a list, and how many entries match in all.
    pub(crate) fn cut<T>(&self, mut all: Vec<T>, name: impl Fn(&T) -> &str) -> (Vec<T>, u64) {
        if let Some(search) = &self.search {
            let search = search.to_lowercase();
            all.retain(|entry| name(entry).to_lowercase().contains(&search));
        }
        let total = u64::try_from(all.len()).unwrap_or(u64::MAX);
        let (skip, take) = (usize_of(self.offset), usize_of(self.limit()));
        (all.into_iter().skip(skip).take(take).collect(), total)
    }
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// How a torrent is registered.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Registering {
    /// Sets or clears `private`; changes the info-hash. Left as it is by default, unless the settings say otherwise.
    pub private: Option<bool>,
    /// Sets `source`, an empty one removes it; changes the info-hash.
    pub source: Option<String>,
    /// Words about it, for people.
    pub description: String,
}

/// Why a torrent goes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Removing {
    /// What clients are shown for a while.
    pub reason: String,
}

/// Whose .torrent, and with which key.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FileWanted {
    /// The member's name; a member's own by default.
    pub member: Option<String>,
    /// Puts in a key that is good for this torrent alone.
    pub one_torrent_key: bool,
}

/// `GET /members`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MemberPage {
    /// By name; keys are not in it.
    pub members: Vec<MemberCard>,
    /// How many there are in all.
    pub total: u64,
}

/// `GET /invitations`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InvitationPage {
    /// Codes are not in it: they are told once.
    pub invitations: Vec<InvitationCard>,
    pub total: u64,
}

/// `GET /tokens`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenPage {
    /// Their texts are not in it: they are told once.
    pub tokens: Vec<TokenCard>,
    pub total: u64,
}

/// `GET /policy`: what a program must know before it makes or registers a torrent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyCard {
    /// Torrents without `private` are refused.
    pub private: bool,
    /// What registered torrents must carry as `source`; it is set where it is missing.
    pub source: Option<String>,
    /// Torrents are registered by whoever announces them.
    pub open: bool,
    /// With `{passkey}` in the place of a member's own.
    pub announce_url: String,
    /// The setting `tracker.public_url` is not set: this is the best address that the tracker knows, and people may need another.
    pub announce_url_guessed: bool,
}

impl PolicyCard {
    /// What stands before the key in announce URLs, and before the API.
    pub(crate) fn base(&self) -> &str {
        self.announce_url.split("/{passkey}").next().unwrap_or_default()
    }
}

/// `GET /stats`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatsCard {
    pub version: String,
    pub members: Census,
    /// Members whose keys came from more networks than the settings allow.
    pub key_alarms: u64,
    /// Registered torrents.
    pub torrents: u64,
    /// Nothing where no tracker runs on the folder.
    pub swarms: Option<SwarmsCard>,
}

/// Members by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Census {
    pub active: u64,
    pub disabled: u64,
    pub expired: u64,
}

/// Who is there at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SwarmsCard {
    /// Torrents with at least one peer.
    pub torrents: u64,
    pub seeders: u64,
    pub leechers: u64,
}

/// `GET /tariff`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TariffPage {
    /// What people have set; it goes before the settings.
    pub set: Option<TariffCard>,
    /// What the settings say.
    pub settings: TariffCard,
}

/// `GET /audit`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditPage {
    /// Newest first.
    pub changes: Vec<AuditCard>,
}

/// `POST /reload`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// One sentence a setting.
    pub changes: Vec<String>,
}

/// What `POST /backup` has written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupCard {
    pub path: String,
    pub bytes: u64,
    pub warning: String,
}
