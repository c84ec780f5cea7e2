//! What requests say in JSON. Unknown fields are refused: a typo must not become a default.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::scope::Scope;
use crate::members::store::Role;

/// `POST /members`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    pub name: String,
    /// A member where it is missing.
    #[serde(default)]
    pub role: Role,
    /// When the key stops working; never, where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
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
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
}

/// `POST /invitations`
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvitation {
    /// How many may come with it; 1 where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
    /// The member who invites; by default the one whose token it is.
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
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
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
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
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

/// How a torrent is registered.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Registering {
    /// Sets or clears `private`; changes the info-hash. Left as it is by default, unless the settings say otherwise.
    pub private: Option<bool>,
    /// Sets `source`; changes the info-hash.
    pub source: Option<String>,
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
