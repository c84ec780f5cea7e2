//! The database: members, invitations, tokens, torrents, accounts and sessions in one SQLite file. It holds no business rules
//! but those that only a database can hold: what there is one of, and what happens at once or not at all. Never asked by an announce.

mod error;
mod rows;

use std::path::Path;

use crate::members::ids::{Date, MemberId, TorrentId};
use crate::members::ledger::{Changes, SessionKey};
use crate::members::rules::Mark;

pub use error::{BackupError, RedeemError, StoreError, Taken};
pub use rows::{
    AccountRow, AuditRow, InvitationRow, Kind, MarkRow, MemberRow, NOBODY, NOTHING, NewInvitation, NewMember,
    NewToken, NewTorrent, Role, Scope, Sums, TimedTariff, TokenRow, TorrentRow,
};

type Answer<T> = Result<T, StoreError>;

/// One database, one connection that writes and two that read. Clones share them.
#[derive(Clone, Debug)]
pub struct Store {}

#[expect(
    clippy::todo,
    clippy::unused_async,
    reason = "signatures first; bodies follow within the hour"
)]
impl Store {
    /// Opens the database, makes it where there is none, and brings its tables up to date.
    pub async fn open(_path: &Path) -> Answer<Self> {
        todo!()
    }
    /// Waits for what is being written and closes the file.
    pub async fn close(&self) {
        todo!()
    }

    // members

    /// All members, by number.
    pub async fn members(&self) -> Answer<Vec<MemberRow>> {
        todo!()
    }
    /// `Exists` where the name is taken.
    pub async fn insert_member(&self, _new: &NewMember) -> Answer<MemberRow> {
        todo!()
    }
    /// Writes everything but the date of creation; false where there is no such member.
    pub async fn update_member(&self, _row: &MemberRow) -> Answer<bool> {
        todo!()
    }
    /// Erases a person and keeps the sums, under [`NOBODY`]. The name may be used again, the number never. False where there is no such member.
    pub async fn forget_member(&self, _id: MemberId) -> Answer<bool> {
        todo!()
    }

    // invitations

    pub async fn invitations(&self) -> Answer<Vec<InvitationRow>> {
        todo!()
    }
    pub async fn insert_invitation(&self, _new: &NewInvitation) -> Answer<InvitationRow> {
        todo!()
    }
    /// False where there is no such invitation.
    pub async fn revoke_invitation(&self, _id: i64) -> Answer<bool> {
        todo!()
    }
    /// Uses an invitation once and makes the member, both or neither. `invited_by` and `invitation` are taken from the invitation.
    pub async fn redeem_invitation(
        &self,
        _code_hash: &[u8; 32],
        _new: &NewMember,
        _date: Date,
    ) -> Result<MemberRow, RedeemError> {
        todo!()
    }

    // tokens

    pub async fn tokens(&self) -> Answer<Vec<TokenRow>> {
        todo!()
    }
    pub async fn insert_token(&self, _new: &NewToken) -> Answer<TokenRow> {
        todo!()
    }
    /// False where there is no such token.
    pub async fn revoke_token(&self, _id: i64) -> Answer<bool> {
        todo!()
    }
    /// Notes that a token was used.
    pub async fn touch_token(&self, _id: i64, _date: Date) -> Answer<()> {
        todo!()
    }
    /// Sets the hash of the code that an owner's first token is given for, or takes it back.
    pub async fn set_owner_code(&self, _hash: Option<&[u8; 32]>) -> Answer<()> {
        todo!()
    }
    /// Uses the code up and makes the token, both or neither; None where the code is another or used.
    pub async fn redeem_owner_code(&self, _hash: &[u8; 32], _new: &NewToken) -> Answer<Option<TokenRow>> {
        todo!()
    }

    // torrents

    /// All torrents, by number, removed ones too.
    pub async fn torrents(&self) -> Answer<Vec<TorrentRow>> {
        todo!()
    }
    /// `Exists` where one of the hashes is registered, be it of a removed torrent.
    pub async fn insert_torrent(&self, _new: &NewTorrent) -> Answer<TorrentRow> {
        todo!()
    }
    /// Writes everything but the date of addition; false where there is no such torrent.
    pub async fn update_torrent(&self, _row: &TorrentRow) -> Answer<bool> {
        todo!()
    }
    /// The .torrent file as it was registered.
    pub async fn torrent_file(&self, _id: TorrentId) -> Answer<Option<Vec<u8>>> {
        todo!()
    }
    /// Replaces the .torrent file.
    pub async fn set_torrent_file(&self, _id: TorrentId, _file: &[u8]) -> Answer<bool> {
        todo!()
    }
    /// Deletes a torrent for good; the sums stay, under [`NOTHING`].
    pub async fn delete_torrent(&self, _id: TorrentId) -> Answer<bool> {
        todo!()
    }

    // tariff for everything

    pub async fn tariff(&self) -> Answer<Option<TimedTariff>> {
        todo!()
    }
    pub async fn set_tariff(&self, _tariff: Option<TimedTariff>) -> Answer<()> {
        todo!()
    }

    // accounts and sessions

    /// The generation of the last flush that was written; 0 at first.
    pub async fn generation(&self) -> Answer<u64> {
        todo!()
    }
    /// Writes a flush: sessions as they are, accounts added to, and the generation; all or nothing.
    pub async fn write(&self, _changes: &Changes, _generation: u64) -> Answer<()> {
        todo!()
    }
    /// Every session that a flush newer than `generation` wrote; all of them for None. Returns how many.
    pub async fn sessions_newer(
        &self,
        _generation: Option<u64>,
        _each: impl FnMut(SessionKey, Mark) + Send,
    ) -> Answer<u64> {
        todo!()
    }
    /// The sessions of a member, newest first, at most `limit`.
    pub async fn sessions_of_member(&self, _id: MemberId, _limit: u32) -> Answer<Vec<(SessionKey, Mark)>> {
        todo!()
    }
    /// The accounts of a member, last seen first, at most `limit`.
    pub async fn accounts_of_member(&self, _id: MemberId, _limit: u32) -> Answer<Vec<AccountRow>> {
        todo!()
    }
    /// The accounts of a torrent, last seen first, at most `limit`.
    pub async fn accounts_of_torrent(&self, _id: TorrentId, _limit: u32) -> Answer<Vec<AccountRow>> {
        todo!()
    }
    /// The sums of every member that has accounts; those of the forgotten under [`NOBODY`].
    pub async fn sums_by_member(&self) -> Answer<Vec<(MemberId, Sums)>> {
        todo!()
    }
    /// The sums of every torrent that has accounts; what was uploaded and what was downloaded should balance.
    pub async fn sums_by_torrent(&self) -> Answer<Vec<(TorrentId, Sums)>> {
        todo!()
    }
    pub async fn sums_of_member(&self, _id: MemberId) -> Answer<Sums> {
        todo!()
    }
    pub async fn sums_of_torrent(&self, _id: TorrentId) -> Answer<Sums> {
        todo!()
    }

    // marks and audit

    /// Ignored where the member was forgotten meanwhile.
    pub async fn insert_mark(&self, _row: &MarkRow) -> Answer<()> {
        todo!()
    }
    /// Newest first, at most `limit`.
    pub async fn marks_of(&self, _id: MemberId, _limit: u32) -> Answer<Vec<MarkRow>> {
        todo!()
    }
    pub async fn insert_audit(&self, _row: &AuditRow) -> Answer<()> {
        todo!()
    }
    /// Newest first, at most `limit`.
    pub async fn audit(&self, _limit: u32) -> Answer<Vec<AuditRow>> {
        todo!()
    }

    // backup

    /// Writes all there is at this moment into a new file, mode 0600, with the secret. The tracker may go on meanwhile.
    pub async fn backup(&self, _to: &Path, _secret: &[u8; 32]) -> Result<(), BackupError> {
        todo!()
    }
    /// The secret that came with a restored backup; it stays until [`Store::drop_secret`].
    pub async fn take_secret(&self) -> Answer<Option<[u8; 32]>> {
        todo!()
    }
    /// Erases the secret from the database, once the folder holds it.
    pub async fn drop_secret(&self) -> Answer<()> {
        todo!()
    }
}
