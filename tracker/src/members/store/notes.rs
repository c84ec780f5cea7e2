//! What is written down about people for the owner: marks of implausible numbers, and the audit of changes.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::value::{date, maybe_member, maybe_torrent, number};
use super::{Answer, AuditRow, MarkRow, Store};
use crate::members::ids::MemberId;

/// Marks kept of one member. A broken client is marked at every announce, and the owner needs the newest.
const MARKS: u32 = 1_000;

/// Lines of the audit. A bot that registers torrents writes most of them.
const LINES: u32 = 100_000;

impl Store {
    /// Adds a mark, in the place of one of the same day, torrent and kind; ignored where the member was forgotten meanwhile.
    pub async fn insert_mark(&self, row: &MarkRow) -> Answer<()> {
        let insert = sqlx::query(
            "INSERT INTO marks (member, torrent, kind, evidence, date)
                SELECT members.id, (SELECT id FROM torrents WHERE id = $2), $3, $4, $5 FROM members WHERE members.id = $1",
        );
        let insert = insert
            .bind(row.member.0)
            .bind(row.torrent.map(|id| id.0))
            .bind(&row.kind)
            .bind(&row.evidence)
            .bind(row.date.0);
        let replaced = sqlx::query(
            "DELETE FROM marks WHERE member = $1 AND torrent IS NOT DISTINCT FROM $2 AND kind = $3 AND date / 86400 = $4 / 86400",
        );
        let replaced = replaced
            .bind(row.member.0)
            .bind(row.torrent.map(|id| id.0))
            .bind(&row.kind)
            .bind(row.date.0);
        let trim = sqlx::query(
            "DELETE FROM marks WHERE member = $1
                AND id <= (SELECT id FROM marks WHERE member = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
        );
        let mut writing = self.begin().await?;
        writing.run(replaced).await?;
        writing.run(insert).await?;
        writing.run(trim.bind(row.member.0).bind(MARKS)).await?;
        writing.commit().await
    }

    /// The marks of a member, newest first, at most `limit`.
    pub async fn marks_of(&self, id: MemberId, limit: u32) -> Answer<Vec<MarkRow>> {
        let find = sqlx::query("SELECT * FROM marks WHERE member = $1 ORDER BY id DESC LIMIT $2");
        self.read(find.bind(id.0).bind(limit), mark).await
    }

    /// Writes down a change made by people.
    pub async fn insert_audit(&self, row: &AuditRow) -> Answer<()> {
        let insert =
            sqlx::query("INSERT INTO audit (date, who, actor, what, about) VALUES ($1, $2, $3, $4, $5)")
                .bind(row.date.0)
                .bind(&row.who)
                .bind(row.by.map(|id| id.0))
                .bind(&row.what)
                .bind(row.about.map(|id| id.0));
        let trim = sqlx::query("DELETE FROM audit WHERE id <= (SELECT MAX(id) FROM audit) - $1");
        let mut writing = self.begin().await?;
        writing.run(insert).await?;
        writing.run(trim.bind(LINES)).await?;
        writing.commit().await
    }

    /// The audit, newest first, at most `limit` lines.
    pub async fn audit(&self, limit: u32) -> Answer<Vec<AuditRow>> {
        let find = sqlx::query("SELECT * FROM audit ORDER BY id DESC LIMIT $1");
        self.read(find.bind(limit), line).await
    }
}

fn mark(row: &SqliteRow) -> sqlx::Result<MarkRow> {
    Ok(MarkRow {
        member: MemberId(number(row, "member")?),
        torrent: maybe_torrent(row, "torrent")?,
        kind: row.try_get("kind")?,
        evidence: row.try_get("evidence")?,
        date: date(row, "date")?,
    })
}

fn line(row: &SqliteRow) -> sqlx::Result<AuditRow> {
    Ok(AuditRow {
        date: date(row, "date")?,
        who: row.try_get("who")?,
        by: maybe_member(row, "actor")?,
        what: row.try_get("what")?,
        about: maybe_member(row, "about")?,
    })
}
