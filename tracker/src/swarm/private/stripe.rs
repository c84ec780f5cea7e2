//! The ledger's part beside one shard of the map: what the store has not seen yet. Locked only by whoever holds the shard.

use std::collections::{BTreeMap, BTreeSet};

use super::record::Record;
use crate::members::ids::{MemberId, TorrentId};
use crate::members::ledger::{AccountDelta, Changes, SessionKey};
use crate::members::rules::{Charged, Credit, Report};

/// Changes since the last collection.
#[derive(Debug, Default)]
pub(super) struct Stripe {
    /// The part of the journal that entries belong to now.
    pub(super) segment: u64,
    /// Torrents with sessions that are marked as changed.
    pub(super) changed: BTreeSet<TorrentId>,
    pub(super) forgotten: Vec<SessionKey>,
    accounts: BTreeMap<(MemberId, TorrentId), AccountDelta>,
}

impl Stripe {
    /// Books what an announce was worth.
    pub(super) fn book(&mut self, session: &SessionKey, report: &Report, credit: &Credit, charged: Charged) {
        let [client @ .., _, _, _, _, _, _, _, _, _, _, _, _] = session.peer_id.0;
        let delta = AccountDelta {
            uploaded: credit.uploaded,
            downloaded: credit.downloaded,
            upload_credit: charged.upload_credit,
            download_charge: charged.download_charge,
            seeded_secs: credit.seeded_secs.into(),
            completions: credit.completed.into(),
            left: report.left,
            first_seen: report.date,
            last_seen: report.date,
            client,
        };
        self.accounts
            .entry((session.member, session.torrent))
            .and_modify(|account| account.add(&delta))
            .or_insert(delta);
    }

    /// A session is taken out for good.
    pub(super) fn forget(&mut self, torrent: TorrentId, record: &Record) {
        self.forgotten.push(SessionKey {
            torrent,
            member: record.member,
            peer_id: record.peer_id,
        });
    }

    /// Hands over accounts and forgotten sessions, and begins another part of the journal.
    pub(super) fn collect(&mut self, segment: u64, changes: &mut Changes) {
        self.segment = segment;
        for key in self.forgotten.drain(..) {
            // An older change of it, which no flush has written yet, would bring it back.
            changes.sessions.remove(&key);
            changes.forgotten.push(key);
        }
        self.forgotten.shrink_to(16);
        for (account, delta) in std::mem::take(&mut self.accounts) {
            changes
                .accounts
                .entry(account)
                .and_modify(|account| account.add(&delta))
                .or_insert(delta);
        }
    }
}
