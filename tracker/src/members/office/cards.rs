//! What the office shows to people: one card a thing, in JSON as the API and the command line print it. Dates are RFC 3339
//! in UTC. A key, a token or a code stands on a card only where it was asked for or has just been made.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::members::ids::Date;
use crate::members::rules::Tariff;
use crate::members::store::{Kind, Role, Scope, TimedTariff};

/// A date as people and programs write it: `2026-03-01T12:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub struct Stamp(pub Date);

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = i64::from(self.0.0);
        write!(f, "{}", Timestamp::from_second(seconds).unwrap_or_default())
    }
}

impl From<Stamp> for u64 {
    fn from(stamp: Stamp) -> Self {
        stamp.0.0.into()
    }
}

impl std::str::FromStr for Stamp {
    type Err = jiff::Error;

    /// Takes any offset; dates before 1970 are 1970.
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        let seconds = text.parse::<Timestamp>()?.as_second();
        Ok(Self(Date(u32::try_from(seconds.max(0)).unwrap_or(u32::MAX))))
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let unreadable = |_| format!("{text:?} is no date such as 2027-01-31T12:00:00Z");
        text.parse().map_err(unreadable).map_err(serde::de::Error::custom)
    }
}

/// Whether a member's announces are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    Active,
    Disabled,
    Expired,
}

/// A member, with the sums over all torrents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberCard {
    pub name: String,
    pub role: Role,
    pub kind: Kind,
    pub state: MemberState,
    /// Left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passkey: Option<String>,
    /// Left out of lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announce_url: Option<String>,
    /// The key before the current one works until then.
    pub old_key_until: Option<Stamp>,
    /// Bytes given, as the clients count them.
    pub uploaded: u64,
    /// Bytes taken.
    pub downloaded: u64,
    /// The same at the tariffs of their time.
    pub upload_credit: u64,
    pub download_charge: u64,
    pub last_seen: Option<Stamp>,
    pub created: Stamp,
    pub expires: Option<Stamp>,
    pub disabled: Option<Stamp>,
    pub disabled_reason: Option<String>,
    pub invited_by: Option<String>,
    /// Networks (/24 and /64) from which the key was used of late.
    pub networks: u32,
    /// They are more than the settings allow: the key may have leaked.
    pub alarm: bool,
}

/// Everything about one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberReport {
    #[serde(flatten)]
    pub member: MemberCard,
    /// One account a torrent, last seen first.
    pub torrents: Vec<AccountCard>,
    /// Seconds of seeding, over all torrents.
    pub seeded_secs: u64,
    pub completions: u64,
    /// Who came by this member's invitations.
    pub invited: Vec<String>,
    /// What looked implausible, with its evidence.
    pub marks: Vec<MarkCard>,
    /// Sentences for the owner, such as a key seen in too many networks.
    pub warnings: Vec<String>,
}

/// What one member gave and took in one torrent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountCard {
    /// Empty for the sums of the forgotten.
    pub member: String,
    /// The torrent's name; its hash where no name is known.
    pub torrent: String,
    pub info_hash_v1: Option<String>,
    pub info_hash_v2: Option<String>,
    pub uploaded: u64,
    pub downloaded: u64,
    pub upload_credit: u64,
    pub download_charge: u64,
    pub seeded_secs: u64,
    pub completions: u64,
    /// Bytes missing, as last reported.
    pub left: u64,
    pub first_seen: Stamp,
    pub last_seen: Stamp,
    /// The program and its version, as far as its peer id tells.
    pub client: String,
}

/// Something implausible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MarkCard {
    pub kind: String,
    pub torrent: Option<String>,
    pub evidence: String,
    pub date: Stamp,
}

/// An invitation; the code is told once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvitationCard {
    pub id: i64,
    /// Only where it has just been made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    pub by: Option<String>,
    pub created: Stamp,
    pub expires: Option<Stamp>,
    pub uses: u32,
    pub used: u32,
    pub revoked: bool,
    pub note: String,
    /// Who came by it.
    pub members: Vec<String>,
}

/// A token of the API; its text is told once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenCard {
    pub id: i64,
    pub name: String,
    /// Only where it has just been made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    pub scopes: Vec<Scope>,
    pub created: Stamp,
    pub expires: Option<Stamp>,
    pub member: Option<String>,
    pub last_used: Option<Stamp>,
    pub revoked: bool,
}

/// What the redeemer of the first code gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnerCard {
    #[serde(flatten)]
    pub member: MemberCard,
    /// A token with all rights; told once.
    pub token: String,
}

/// What bytes count for, in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TariffCard {
    pub upload_percent: u16,
    /// 0 is a freeleech.
    pub download_percent: u16,
    pub until: Option<Stamp>,
}

impl From<TimedTariff> for TariffCard {
    fn from((tariff, until): TimedTariff) -> Self {
        Self {
            upload_percent: tariff.upload_percent,
            download_percent: tariff.download_percent,
            until: until.map(Stamp),
        }
    }
}

impl From<TariffCard> for TimedTariff {
    fn from(card: TariffCard) -> Self {
        let tariff = Tariff {
            upload_percent: card.upload_percent,
            download_percent: card.download_percent,
        };
        (tariff, card.until.map(|until| until.0))
    }
}

/// The hashes that a torrent had before `private` or `source` was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FormerHashes {
    pub info_hash_v1: Option<String>,
    pub info_hash_v2: Option<String>,
}

/// A registered torrent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TorrentCard {
    /// Empty where only a hash is known.
    pub name: String,
    /// Lower-case hex.
    pub info_hash_v1: Option<String>,
    pub info_hash_v2: Option<String>,
    /// Bytes of content.
    pub size: u64,
    pub files: u32,
    pub private: bool,
    pub source: Option<String>,
    pub added: Stamp,
    pub added_by: Option<String>,
    pub removed: Option<Stamp>,
    pub removed_reason: Option<String>,
    pub tariff: Option<TariffCard>,
    pub description: String,
    /// Only where registering changed it: the file that was sent no longer fits, take the registered one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<FormerHashes>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Everything about one torrent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TorrentReport {
    #[serde(flatten)]
    pub torrent: TorrentCard,
    pub uploaded: u64,
    pub downloaded: u64,
    pub seeded_secs: u64,
    pub completions: u64,
    /// One account a member, last seen first.
    pub accounts: Vec<AccountCard>,
}

/// Some of the torrents, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TorrentPage {
    pub torrents: Vec<TorrentCard>,
    /// How many there are in all.
    pub total: u64,
}

/// A change that somebody made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditCard {
    pub date: Stamp,
    pub who: String,
    pub what: String,
}
