//! All that people change: members, invitations, tokens, torrents. The API and the command line call it; announces only read
//! what it keeps in [`Directory`] and [`Register`]. Every change is written to the store first and shown in memory after; one
//! that the store refuses changes nothing.

mod cards;

pub use cards::{
    AccountCard, AuditCard, FormerHashes, InvitationCard, MarkCard, MemberCard, MemberReport, MemberState, OwnerCard,
    Stamp, TariffCard, TokenCard, TorrentCard, TorrentPage, TorrentReport,
};
