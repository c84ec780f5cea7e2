//! Marks of what is hard to believe: few of them, so that an owner reads them. One a day for each member, torrent and kind,
//! with the newest evidence.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::warn;

use crate::members::ids::{Date, MemberId, TorrentId};
use crate::members::rules::{Surplus, Suspicion, SuspicionKind, weigh};
use crate::members::store::{MarkRow, Store, StoreError, Sums};

const DAY_SECS: u32 = 86_400;

/// More kinds of trouble than this in a day are a trouble of their own.
const A_DAY_MAX: usize = 10_000;

/// A mark's evidence is renewed after this at the earliest.
const RENEWED_AFTER: Duration = Duration::from_secs(600);

/// Members of a torrent that are looked at for the largest share.
const MEMBERS_MAX: u32 = 10_000;

/// What was marked today.
#[derive(Debug, Default)]
pub(super) struct Marks {
    day: u32,
    today: BTreeMap<(MemberId, TorrentId, SuspicionKind), Date>,
    /// By how much a torrent was out of balance when it was marked last.
    imbalances: BTreeMap<TorrentId, u64>,
}

impl Marks {
    /// Is this one worth a write? A new one is, and a known one after a while.
    pub(super) fn wants(&mut self, suspicion: &Suspicion) -> bool {
        let day = suspicion.date.0 / DAY_SECS;
        if day != self.day {
            self.day = day;
            self.today.clear();
        }
        let key = (suspicion.member, suspicion.torrent, suspicion.kind);
        let wanted = match self.today.get(&key) {
            Some(written) => suspicion.date.since(*written) >= RENEWED_AFTER,
            None => self.today.len() < A_DAY_MAX,
        };
        if wanted {
            self.today.insert(key, suspicion.date);
        }
        wanted
    }

    /// Writes a mark, unless there is one already that is as good.
    pub(super) async fn write(&mut self, store: &Store, suspicion: Suspicion) {
        if !self.wants(&suspicion) {
            return;
        }
        let row = MarkRow {
            member: suspicion.member,
            torrent: Some(suspicion.torrent),
            kind: suspicion.kind.as_str().to_owned(),
            evidence: suspicion.evidence,
            date: suspicion.date,
        };
        if let Err(error) = store.insert_mark(&row).await {
            warn!(%error, "a mark of implausible numbers could not be written");
        }
    }

    /// Compares every torrent's uploads with its downloads, and marks who has the largest share of those out of balance.
    pub(super) async fn balance(&mut self, store: &Store, date: Date) -> Result<(), StoreError> {
        for (torrent, sums) in store.sums_by_torrent().await? {
            let Some(surplus) = self.worsened(torrent, &sums) else {
                continue;
            };
            let accounts = store.accounts_of_torrent(torrent, MEMBERS_MAX).await?;
            let share = |surplus| match surplus {
                Surplus::Uploads => accounts.iter().map(|row| (row.uploaded, row.member)).max(),
                Surplus::Downloads => accounts.iter().map(|row| (row.downloaded, row.member)).max(),
            };
            if let Some((bytes, member)) = share(surplus) {
                let suspicion = Suspicion {
                    member,
                    torrent,
                    kind: SuspicionKind::Unbalanced,
                    evidence: evidence(surplus, &sums, bytes),
                    date,
                };
                self.write(store, suspicion).await;
            }
        }
        Ok(())
    }

    /// Out of balance, and more so than when it was last marked.
    fn worsened(&mut self, torrent: TorrentId, sums: &Sums) -> Option<Surplus> {
        let Some(surplus) = weigh(sums.uploaded, sums.downloaded) else {
            self.imbalances.remove(&torrent);
            return None;
        };
        let now = sums.uploaded.abs_diff(sums.downloaded);
        let marked = self.imbalances.get(&torrent).copied().unwrap_or_default();
        weigh(now, marked).filter(|more| *more == Surplus::Uploads)?;
        self.imbalances.insert(torrent, now);
        Some(surplus)
    }
}

fn evidence(surplus: Surplus, sums: &Sums, bytes: u64) -> String {
    let (up, down) = (sums.uploaded, sums.downloaded);
    match surplus {
        Surplus::Uploads => format!(
            "members report {up} bytes uploaded and {down} downloaded in this torrent; {bytes} of the uploads are this member's, the largest share"
        ),
        Surplus::Downloads => format!(
            "members report {down} bytes downloaded and {up} uploaded in this torrent; {bytes} of the downloads are this member's, the largest share"
        ),
    }
}
