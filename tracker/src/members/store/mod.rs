//! The database: members, invitations, tokens, torrents, accounts and sessions in one SQLite file. It holds no business rules
//! but those that only a database can hold: what there is one of, and what happens at once or not at all. No announce asks it.
//! The SQL is plain (`$1`, `ON CONFLICT`, `RETURNING`), so that another database needs other migrations but the same text.

mod accounts;
mod backup;
mod connection;
mod error;
mod invitations;
mod members;
mod notes;
mod rows;
#[cfg(test)]
mod tests;
mod tokens;
mod torrents;
mod value;

pub use connection::Store;
pub use error::{BackupError, RedeemError, StoreError, Taken};
pub use rows::{
    AccountRow, AuditRow, InvitationRow, Kind, MarkRow, MemberRow, NOBODY, NOTHING, NewInvitation, NewMember,
    NewToken, NewTorrent, PlainTorrent, Role, Scope, Sums, TimedTariff, TokenRow, TorrentRow, Totals,
};

type Answer<T> = Result<T, StoreError>;
