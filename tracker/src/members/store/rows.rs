//! The rows of the store as plain values. They know no SQL; the files beside this one read and write them.

use serde::{Deserialize, Serialize};
use shared::id::{InfoHash, InfoHashV2};
use utoipa::ToSchema;

use crate::members::ids::{Date, MemberId, TorrentId};
use crate::members::rules::Tariff;

/// Holds the sums of members who were forgotten. No member has this number.
pub const NOBODY: MemberId = MemberId(0);

/// Holds the sums of torrents whose rows were deleted. No torrent has this number.
pub const NOTHING: TorrentId = TorrentId(0);

/// What a person may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Owner,
    #[default]
    Member,
}

/// What a key stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Member,
    /// Somebody who was given a link.
    Guest,
}

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Read,
    Torrents,
    Members,
    Admin,
}

/// A member as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRow {
    pub id: MemberId,
    pub name: String,
    pub role: Role,
    pub kind: Kind,
    /// Raised by every rotation of the key; starts at 1.
    pub generation: u32,
    /// Until then the key of the generation before works too.
    pub old_generation_until: Option<Date>,
    pub created: Date,
    pub invited_by: Option<MemberId>,
    /// The invitation that was redeemed.
    pub invitation: Option<i64>,
    pub expires: Option<Date>,
    /// Since when, and the owner's words.
    pub disabled: Option<(Date, String)>,
    /// The only torrent that the key is for.
    pub scope: Option<TorrentId>,
    /// When the key was last rotated.
    pub rotated: Option<Date>,
    /// The owner's words about this member.
    pub notes: String,
}

/// A member to be made. The store gives the number, and generation 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewMember {
    pub name: String,
    pub role: Role,
    pub kind: Kind,
    pub created: Date,
    pub invited_by: Option<MemberId>,
    pub expires: Option<Date>,
    pub scope: Option<TorrentId>,
    pub notes: String,
}

/// An invitation: whoever brings the code becomes a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvitationRow {
    pub id: i64,
    pub code_hash: [u8; 32],
    /// Who invites; nobody where it was the owner's command line.
    pub by: Option<MemberId>,
    pub created: Date,
    pub expires: Option<Date>,
    /// How many may redeem it.
    pub uses: u32,
    pub used: u32,
    pub revoked: bool,
    pub note: String,
}

/// An invitation to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInvitation {
    pub code_hash: [u8; 32],
    pub by: Option<MemberId>,
    pub created: Date,
    pub expires: Option<Date>,
    pub uses: u32,
    pub note: String,
}

/// A token of the API, of which the store holds a hash only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    pub id: i64,
    pub name: String,
    pub hash: [u8; 32],
    pub scopes: Vec<Scope>,
    pub created: Date,
    pub expires: Option<Date>,
    /// Whose token it is; it goes when the member is forgotten.
    pub member: Option<MemberId>,
    pub last_used: Option<Date>,
    pub revoked: bool,
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    pub name: String,
    pub hash: [u8; 32],
    pub scopes: Vec<Scope>,
    pub created: Date,
    pub expires: Option<Date>,
    pub member: Option<MemberId>,
}

/// A tariff and the date on which it ends.
pub type TimedTariff = (Tariff, Option<Date>);

/// What a member has given and taken in all its torrents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub uploaded: u64,
    pub downloaded: u64,
    pub upload_credit: u64,
    pub download_charge: u64,
    pub last_seen: Date,
}

/// A registered torrent that differs from others in nothing but its hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainTorrent {
    pub id: TorrentId,
    pub info_hash_v1: Option<InfoHash>,
    pub info_hash_v2: Option<InfoHashV2>,
}

/// A registered torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorrentRow {
    pub id: TorrentId,
    /// Also the hash of a torrent of which nothing but the announced hash is known.
    pub info_hash_v1: Option<InfoHash>,
    pub info_hash_v2: Option<InfoHashV2>,
    pub name: String,
    /// Bytes, padding not counted.
    pub size: u64,
    pub files: u32,
    pub private: bool,
    pub source: Option<String>,
    pub added: Date,
    pub added_by: Option<MemberId>,
    /// Since when, and the words that clients are shown.
    pub removed: Option<(Date, String)>,
    pub tariff: Option<TimedTariff>,
    pub description: String,
}

/// A torrent to be registered. The store gives the number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTorrent {
    pub info_hash_v1: Option<InfoHash>,
    pub info_hash_v2: Option<InfoHashV2>,
    pub name: String,
    pub size: u64,
    pub files: u32,
    pub private: bool,
    pub source: Option<String>,
    pub added: Date,
    pub added_by: Option<MemberId>,
    pub tariff: Option<TimedTariff>,
    pub description: String,
    /// The .torrent file; empty where only a hash is known.
    pub file: Vec<u8>,
}

/// Bytes and time, summed over accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub uploaded: u64,
    pub downloaded: u64,
    pub upload_credit: u64,
    pub download_charge: u64,
    pub seeded_secs: u64,
    pub completions: u64,
    /// How many accounts were summed: the torrents of a member, or the members of a torrent.
    pub accounts: u64,
    pub first_seen: Option<Date>,
    pub last_seen: Option<Date>,
}

/// What a member gave and took in a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountRow {
    pub member: MemberId,
    pub torrent: TorrentId,
    pub uploaded: u64,
    pub downloaded: u64,
    pub upload_credit: u64,
    pub download_charge: u64,
    pub seeded_secs: u64,
    pub completions: u64,
    /// Bytes missing, as last reported.
    pub left: u64,
    pub first_seen: Date,
    pub last_seen: Date,
    /// The beginning of the peer id, by which the client is known.
    pub client: [u8; 8],
}

/// A mark of implausible numbers, shown to the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkRow {
    pub member: MemberId,
    /// None where no single torrent is meant.
    pub torrent: Option<TorrentId>,
    /// One word, such as `too-fast`.
    pub kind: String,
    pub evidence: String,
    pub date: Date,
}

/// A change made by people. It never holds a key, a token or a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    pub date: Date,
    /// Who did it, in words: `owner`, `token backup`, a member's name.
    pub who: String,
    /// The member who did it, so that the line goes when the member is forgotten.
    pub by: Option<MemberId>,
    /// What was done, in words.
    pub what: String,
    /// The member to whom it was done.
    pub about: Option<MemberId>,
}
