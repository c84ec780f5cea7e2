//! Accounts and sessions: what flushes write, and what is read of it at a start and for people.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shared::id::PeerId;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row as _};
use tokio_stream::StreamExt as _;

use super::connection::{Statement, Writing};
use super::value::{MOST, array, bounded, date, maybe_date, number};
use super::{AccountRow, Answer, NOBODY, NOTHING, Store, Sums, Totals};
use crate::members::ids::{Date, MemberId, TorrentId};
use crate::members::ledger::{AccountDelta, Changes, SessionKey};
use crate::members::rules::Mark;

/// Rows in one statement, the most first. Each size is one prepared statement, and few rows are left for the small ones.
const BATCHES: [usize; 3] = [128, 16, 1];

const ACCOUNT_COLUMNS: usize = 12;
const SESSION_COLUMNS: usize = 9;
const KEY_COLUMNS: usize = 3;

const INSERT_ACCOUNTS: &str =
    "INSERT INTO accounts (member, torrent, uploaded, downloaded, upload_credit, download_charge,
    seeded_secs, completions, missing, first_seen, last_seen, client)";

const INSERT_SESSIONS: &str = "INSERT INTO sessions (torrent, member, peer_id, uploaded, downloaded, missing, heard, ended, generation)";

const REPLACE_SESSION: &str = "ON CONFLICT (torrent, member, peer_id) DO UPDATE SET uploaded = excluded.uploaded,
    downloaded = excluded.downloaded, missing = excluded.missing, heard = excluded.heard, ended = excluded.ended,
    generation = excluded.generation";

/// The sum of a column could leave 63 bits, so its halves are summed.
const SUMS: &str = "SUM(uploaded >> 32) AS uploaded_high, SUM(uploaded & 4294967295) AS uploaded_low,
    SUM(downloaded >> 32) AS downloaded_high, SUM(downloaded & 4294967295) AS downloaded_low,
    SUM(upload_credit >> 32) AS upload_credit_high, SUM(upload_credit & 4294967295) AS upload_credit_low,
    SUM(download_charge >> 32) AS download_charge_high, SUM(download_charge & 4294967295) AS download_charge_low,
    SUM(seeded_secs >> 32) AS seeded_secs_high, SUM(seeded_secs & 4294967295) AS seeded_secs_low,
    SUM(completions >> 32) AS completions_high, SUM(completions & 4294967295) AS completions_low,
    COUNT(*) AS accounts, MIN(first_seen) AS first_seen, MAX(last_seen) AS last_seen FROM accounts";

/// Only what members are shown all the time.
const TOTALS: &str = "SELECT member, SUM(uploaded >> 32), SUM(uploaded & 4294967295),
    SUM(downloaded >> 32), SUM(downloaded & 4294967295), SUM(upload_credit >> 32), SUM(upload_credit & 4294967295),
    SUM(download_charge >> 32), SUM(download_charge & 4294967295), MAX(last_seen)
    FROM accounts GROUP BY member ORDER BY member";

impl Store {
    /// The generation of the last flush that was written; 0 at first.
    pub async fn generation(&self) -> Answer<u64> {
        let find = sqlx::query("SELECT generation FROM tracker");
        let generation = self.read_one(find, |row| number(row, "generation")).await?;
        Ok(generation.unwrap_or_default())
    }

    /// Writes a flush: sessions as they are, accounts added to, and the generation; all or nothing. What belongs to forgotten
    /// members or deleted torrents is added to the sums that stayed of them. A session that is both changed and forgotten stays.
    pub async fn write(&self, changes: &Changes, generation: u64) -> Answer<()> {
        let generation = bounded(generation);
        let mut writing = self.begin().await?;
        let gone = Gone::read(&mut writing).await?;
        forget_sessions(&mut writing, &changes.forgotten).await?;
        let sessions: Vec<_> = changes
            .sessions
            .iter()
            .filter(|(key, _)| !gone.session(key))
            .collect();
        write_sessions(&mut writing, &sessions, generation).await?;
        let (mut accounts, mut moved) = (Vec::with_capacity(changes.accounts.len()), BTreeMap::new());
        for (&(member, torrent), delta) in &changes.accounts {
            match gone.account(member, torrent) {
                None => accounts.push((member, torrent, *delta)),
                Some(heir) => merge(moved.entry(heir).or_default(), delta),
            }
        }
        accounts.extend(
            moved
                .into_iter()
                .map(|((member, torrent), delta)| (member, torrent, delta)),
        );
        write_accounts(&mut writing, &accounts).await?;
        let note = sqlx::query("UPDATE tracker SET generation = $1").bind(generation);
        writing.run(note).await?;
        writing.commit().await
    }

    /// Every session that a flush newer than `generation` wrote, or all there are. Returns how many.
    pub async fn sessions_newer(
        &self,
        generation: Option<u64>,
        mut each: impl FnMut(SessionKey, Mark) + Send,
    ) -> Answer<u64> {
        const ALL: &str =
            "SELECT torrent, member, peer_id, uploaded, downloaded, missing, heard, ended FROM sessions";
        const NEWER: &str =
            "SELECT torrent, member, peer_id, uploaded, downloaded, missing, heard, ended FROM sessions
            WHERE generation > $1";
        let statement = match generation {
            None => sqlx::query(ALL),
            Some(generation) => sqlx::query(NEWER).bind(bounded(generation)),
        };
        let mut rows = statement.fetch(self.readers());
        let mut count = 0;
        while let Some(row) = rows.next().await {
            let (key, mark) = row
                .and_then(|row| session(&row))
                .map_err(|error| self.trouble(error))?;
            each(key, mark);
            count += 1;
        }
        Ok(count)
    }

    /// The accounts of a member, last seen first, at most `limit`.
    pub async fn accounts_of_member(&self, id: MemberId, limit: u32) -> Answer<Vec<AccountRow>> {
        let find =
            sqlx::query("SELECT * FROM accounts WHERE member = $1 ORDER BY last_seen DESC, torrent LIMIT $2");
        self.read(find.bind(id.0).bind(limit), account).await
    }

    /// The accounts of a torrent, last seen first, at most `limit`.
    pub async fn accounts_of_torrent(&self, id: TorrentId, limit: u32) -> Answer<Vec<AccountRow>> {
        let find =
            sqlx::query("SELECT * FROM accounts WHERE torrent = $1 ORDER BY last_seen DESC, member LIMIT $2");
        self.read(find.bind(id.0).bind(limit), account).await
    }

    /// The bytes of every member that has accounts, those of the forgotten under [`NOBODY`], and when it was last seen. A start reads a million accounts for it.
    pub async fn totals_by_member(&self) -> Answer<Vec<(MemberId, Totals)>> {
        self.read(sqlx::query(TOTALS), |row| {
            let totals = Totals {
                uploaded: whole(row.try_get(1)?, row.try_get(2)?),
                downloaded: whole(row.try_get(3)?, row.try_get(4)?),
                upload_credit: whole(row.try_get(5)?, row.try_get(6)?),
                download_charge: whole(row.try_get(7)?, row.try_get(8)?),
                last_seen: Date(row.try_get(9)?),
            };
            Ok((MemberId(row.try_get(0)?), totals))
        })
        .await
    }

    /// The sums of every torrent that has accounts. What was uploaded and what was downloaded should balance.
    pub async fn sums_by_torrent(&self) -> Answer<Vec<(TorrentId, Sums)>> {
        let find = sqlx::query(AssertSqlSafe(format!(
            "SELECT torrent, {SUMS} GROUP BY torrent ORDER BY torrent"
        )));
        self.read(find, |row| Ok((TorrentId(number(row, "torrent")?), sums(row)?)))
            .await
    }

    /// The sums of a member, nothing where it has no accounts.
    pub async fn sums_of_member(&self, id: MemberId) -> Answer<Sums> {
        let find = sqlx::query(AssertSqlSafe(format!(
            "SELECT {SUMS} WHERE member = $1 GROUP BY member"
        )));
        Ok(self.read_one(find.bind(id.0), sums).await?.unwrap_or_default())
    }

    /// The sums of a torrent, nothing where it has no accounts.
    pub async fn sums_of_torrent(&self, id: TorrentId) -> Answer<Sums> {
        let find = sqlx::query(AssertSqlSafe(format!(
            "SELECT {SUMS} WHERE torrent = $1 GROUP BY torrent"
        )));
        Ok(self.read_one(find.bind(id.0), sums).await?.unwrap_or_default())
    }
}

/// Adds the accounts of one member to those of another, who takes the place.
pub(super) async fn move_member(writing: &mut Writing<'_>, from: MemberId, to: MemberId) -> Answer<()> {
    let copy = format!(
        "{INSERT_ACCOUNTS} SELECT $2, torrent, uploaded, downloaded, upload_credit, download_charge, seeded_secs, completions, 0,
            first_seen, last_seen, $3 FROM accounts WHERE member = $1 {}",
        add_account()
    );
    copy_accounts(writing, copy, from.0, to.0).await?;
    writing
        .run(sqlx::query("DELETE FROM accounts WHERE member = $1").bind(from.0))
        .await?;
    Ok(())
}

/// Adds the accounts of one torrent to those of another, which takes the place.
pub(super) async fn move_torrent(writing: &mut Writing<'_>, from: TorrentId, to: TorrentId) -> Answer<()> {
    let copy = format!(
        "{INSERT_ACCOUNTS} SELECT member, $2, uploaded, downloaded, upload_credit, download_charge, seeded_secs, completions, 0,
            first_seen, last_seen, $3 FROM accounts WHERE torrent = $1 {}",
        add_account()
    );
    copy_accounts(writing, copy, from.0, to.0).await?;
    writing
        .run(sqlx::query("DELETE FROM accounts WHERE torrent = $1").bind(from.0))
        .await?;
    Ok(())
}

async fn copy_accounts(writing: &mut Writing<'_>, copy: String, from: u32, to: u32) -> Answer<()> {
    let copy = sqlx::query(AssertSqlSafe(copy))
        .bind(from)
        .bind(to)
        .bind([0; 8].as_slice());
    writing.run(copy).await?;
    Ok(())
}

/// Members and torrents whose rows are gone, though their peers may still have announced.
struct Gone {
    members: BTreeSet<MemberId>,
    torrents: BTreeSet<TorrentId>,
}

impl Gone {
    async fn read(writing: &mut Writing<'_>) -> Answer<Self> {
        let members = writing.read(sqlx::query("SELECT id FROM gone_members"), |row| {
            Ok(MemberId(number(row, "id")?))
        });
        let members = members.await?.into_iter().collect();
        let torrents = writing.read(sqlx::query("SELECT id FROM gone_torrents"), |row| {
            Ok(TorrentId(number(row, "id")?))
        });
        let torrents = torrents.await?.into_iter().collect();
        Ok(Self { members, torrents })
    }

    fn session(&self, key: &SessionKey) -> bool {
        self.members.contains(&key.member) || self.torrents.contains(&key.torrent)
    }

    /// Whose sums take an account's, if they are no longer its own.
    fn account(&self, member: MemberId, torrent: TorrentId) -> Option<(MemberId, TorrentId)> {
        let heir = if self.members.contains(&member) {
            NOBODY
        } else {
            member
        };
        let place = if self.torrents.contains(&torrent) {
            NOTHING
        } else {
            torrent
        };
        ((heir, place) != (member, torrent)).then_some((heir, place))
    }
}

/// Adds a delta to sums that belong to nobody in particular.
fn merge(sum: &mut AccountDelta, delta: &AccountDelta) {
    let first = if sum.first_seen == Date::default() {
        delta.first_seen
    } else {
        sum.first_seen.min(delta.first_seen)
    };
    *sum = AccountDelta {
        uploaded: sum.uploaded.saturating_add(delta.uploaded),
        downloaded: sum.downloaded.saturating_add(delta.downloaded),
        upload_credit: sum.upload_credit.saturating_add(delta.upload_credit),
        download_charge: sum.download_charge.saturating_add(delta.download_charge),
        seeded_secs: sum.seeded_secs.saturating_add(delta.seeded_secs),
        completions: sum.completions.saturating_add(delta.completions),
        left: 0,
        first_seen: first,
        last_seen: sum.last_seen.max(delta.last_seen),
        client: [0; 8],
    };
}

async fn forget_sessions(writing: &mut Writing<'_>, keys: &[SessionKey]) -> Answer<()> {
    let delete = |rows| {
        format!(
            "DELETE FROM sessions WHERE (torrent, member, peer_id) IN (VALUES {})",
            places(rows, KEY_COLUMNS)
        )
    };
    let bind = |statement, key: &SessionKey| bind_key(statement, key);
    in_batches(writing, keys, &delete, &bind).await
}

async fn write_sessions(
    writing: &mut Writing<'_>,
    sessions: &[(&SessionKey, &Mark)],
    generation: i64,
) -> Answer<()> {
    let insert = |rows| {
        format!(
            "{INSERT_SESSIONS} VALUES {} {REPLACE_SESSION}",
            places(rows, SESSION_COLUMNS)
        )
    };
    let bind = |statement, (key, mark): &(&SessionKey, &Mark)| {
        bind_key(statement, key)
            .bind(mark.uploaded.cast_signed())
            .bind(mark.downloaded.cast_signed())
            .bind(mark.left.cast_signed())
            .bind(mark.heard.0)
            .bind(mark.ended)
            .bind(generation)
    };
    in_batches(writing, sessions, &insert, &bind).await
}

async fn write_accounts(
    writing: &mut Writing<'_>,
    accounts: &[(MemberId, TorrentId, AccountDelta)],
) -> Answer<()> {
    let insert = |rows| {
        format!(
            "{INSERT_ACCOUNTS} VALUES {} {}",
            places(rows, ACCOUNT_COLUMNS),
            add_account()
        )
    };
    let bind = |statement: Statement<'static>,
                (member, torrent, delta): &(MemberId, TorrentId, AccountDelta)| {
        statement
            .bind(member.0)
            .bind(torrent.0)
            .bind(bounded(delta.uploaded))
            .bind(bounded(delta.downloaded))
            .bind(bounded(delta.upload_credit))
            .bind(bounded(delta.download_charge))
            .bind(bounded(delta.seeded_secs))
            .bind(delta.completions)
            .bind(delta.left.cast_signed())
            .bind(delta.first_seen.0)
            .bind(delta.last_seen.0)
            .bind(delta.client.as_slice())
    };
    in_batches(writing, accounts, &insert, &bind).await
}

/// Runs one statement for many rows. `sql` makes it for a number of rows.
async fn in_batches<T: Sync>(
    writing: &mut Writing<'_>,
    mut rows: &[T],
    sql: &(dyn Fn(usize) -> String + Sync),
    bind: &(dyn Fn(Statement<'static>, &T) -> Statement<'static> + Sync),
) -> Answer<()> {
    for size in BATCHES {
        if rows.len() < size {
            continue;
        }
        let sql: Arc<str> = sql(size).into();
        while let Some((batch, rest)) = rows.split_at_checked(size) {
            let statement = sqlx::query(AssertSqlSafe(Arc::clone(&sql)));
            writing.run(batch.iter().fold(statement, bind)).await?;
            rows = rest;
        }
    }
    Ok(())
}

/// `(?, ?), (?, ?)` for two rows of two columns. Not `$1` as elsewhere, because SQLite keeps the names of places in a list
/// and walks it for each: a thousand of them made a flush ten times as long.
fn places(rows: usize, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    vec![row; rows].join(", ")
}

/// Adds a row to the one that is there. Sums stop at [`MOST`]; what was last reported is the later report's.
fn add_account() -> String {
    let sum = |column| {
        format!(
            "{column} = CASE WHEN accounts.{column} + excluded.{column} > {MOST} THEN {MOST} ELSE accounts.{column} + excluded.{column} END"
        )
    };
    let later = |column| {
        format!(
            "{column} = CASE WHEN excluded.last_seen >= accounts.last_seen THEN excluded.{column} ELSE accounts.{column} END"
        )
    };
    let sums = [
        "uploaded",
        "downloaded",
        "upload_credit",
        "download_charge",
        "seeded_secs",
        "completions",
    ]
    .map(sum);
    let last = ["missing", "client", "last_seen"].map(later);
    format!(
        "ON CONFLICT (member, torrent) DO UPDATE SET {}, {},
            first_seen = CASE WHEN excluded.first_seen < accounts.first_seen THEN excluded.first_seen ELSE accounts.first_seen END",
        sums.join(", "),
        last.join(", ")
    )
}

fn bind_key<'q>(statement: Statement<'q>, key: &SessionKey) -> Statement<'q> {
    statement
        .bind(key.torrent.0)
        .bind(key.member.0)
        .bind(key.peer_id.0.as_slice())
}

/// Columns by their place: there may be millions of rows.
fn session(row: &SqliteRow) -> sqlx::Result<(SessionKey, Mark)> {
    let key = SessionKey {
        torrent: TorrentId(row.try_get(0)?),
        member: MemberId(row.try_get(1)?),
        peer_id: PeerId(array(row, 2)?),
    };
    let mark = Mark {
        uploaded: row.try_get::<i64, _>(3)?.cast_unsigned(),
        downloaded: row.try_get::<i64, _>(4)?.cast_unsigned(),
        left: row.try_get::<i64, _>(5)?.cast_unsigned(),
        heard: Date(row.try_get(6)?),
        ended: row.try_get(7)?,
    };
    Ok((key, mark))
}

fn account(row: &SqliteRow) -> sqlx::Result<AccountRow> {
    Ok(AccountRow {
        member: MemberId(number(row, "member")?),
        torrent: TorrentId(number(row, "torrent")?),
        uploaded: number(row, "uploaded")?,
        downloaded: number(row, "downloaded")?,
        upload_credit: number(row, "upload_credit")?,
        download_charge: number(row, "download_charge")?,
        seeded_secs: number(row, "seeded_secs")?,
        completions: number(row, "completions")?,
        left: row.try_get::<i64, _>("missing")?.cast_unsigned(),
        first_seen: date(row, "first_seen")?,
        last_seen: date(row, "last_seen")?,
        client: array(row, "client")?,
    })
}

fn sums(row: &SqliteRow) -> sqlx::Result<Sums> {
    let sum = |column: &str| {
        let high = row.try_get(&*format!("{column}_high"))?;
        Ok::<u64, sqlx::Error>(whole(high, row.try_get(&*format!("{column}_low"))?))
    };
    Ok(Sums {
        uploaded: sum("uploaded")?,
        downloaded: sum("downloaded")?,
        upload_credit: sum("upload_credit")?,
        download_charge: sum("download_charge")?,
        seeded_secs: sum("seeded_secs")?,
        completions: sum("completions")?,
        accounts: number(row, "accounts")?,
        first_seen: maybe_date(row, "first_seen")?,
        last_seen: maybe_date(row, "last_seen")?,
    })
}

/// A sum of which both halves were summed. More than 64 bits of bytes were never sent.
fn whole(high: i64, low: i64) -> u64 {
    let high = high.cast_unsigned().checked_mul(1 << 32);
    high.and_then(|high| high.checked_add(low.cast_unsigned()))
        .unwrap_or(u64::MAX)
}
