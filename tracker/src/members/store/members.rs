//! Members: made, changed, forgotten.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::connection::{Statement, Writing};
use super::value::{
    Word as _, date, dated, maybe_date, maybe_member, maybe_number, maybe_torrent, number, word,
};
use super::{Answer, MemberRow, NOBODY, NewMember, Store, accounts};
use crate::members::ids::MemberId;

const INSERT: &str = "INSERT INTO members (name, role, kind, generation, created, invited_by, invitation, expires, scope, notes)
    VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, $9) RETURNING *";

const UPDATE: &str = "UPDATE members SET name = $2, role = $3, kind = $4, generation = $5, old_generation_until = $6, invited_by = $7,
    invitation = $8, expires = $9, disabled_since = $10, disabled_reason = $11, scope = $12, rotated = $13, notes = $14 WHERE id = $1";

impl Store {
    /// All members, by number.
    pub async fn members(&self) -> Answer<Vec<MemberRow>> {
        self.read(sqlx::query("SELECT * FROM members ORDER BY id"), member)
            .await
    }

    /// Makes a member; `Exists` where the name is taken.
    pub async fn insert_member(&self, new: &NewMember) -> Answer<MemberRow> {
        let mut writing = self.begin().await?;
        let row = insert(&mut writing, new, None).await?;
        writing.commit().await?;
        Ok(row)
    }

    /// Writes everything but the date of creation; false where there is no such member.
    pub async fn update_member(&self, row: &MemberRow) -> Answer<bool> {
        let (since, reason) = row
            .disabled
            .as_ref()
            .map(|(since, reason)| (since.0, reason))
            .unzip();
        let update = sqlx::query(UPDATE)
            .bind(row.id.0)
            .bind(&row.name)
            .bind(row.role.word())
            .bind(row.kind.word())
            .bind(row.generation)
            .bind(row.old_generation_until.map(|date| date.0))
            .bind(row.invited_by.map(|id| id.0))
            .bind(row.invitation)
            .bind(row.expires.map(|date| date.0))
            .bind(since)
            .bind(reason)
            .bind(row.scope.map(|id| id.0))
            .bind(row.rotated.map(|date| date.0))
            .bind(&row.notes);
        Ok(self.write_one(update).await? > 0)
    }

    /// Erases a person and keeps the sums, under [`NOBODY`]. The name may be used again, the number never. False where there
    /// is no such member.
    pub async fn forget_member(&self, id: MemberId) -> Answer<bool> {
        let mut writing = self.begin().await?;
        let find = sqlx::query("SELECT * FROM members WHERE id = $1").bind(id.0);
        let Some(row) = writing.read_one(find, member).await? else {
            writing.undo().await?;
            return Ok(false);
        };
        accounts::move_member(&mut writing, id, NOBODY).await?;
        let statements = [
            // What the inviter wrote down about them, and what they wrote about others.
            "UPDATE invitations SET note = '' WHERE member = $1 OR id = (SELECT invitation FROM members WHERE id = $1)",
            "DELETE FROM sessions WHERE member = $1",
            "DELETE FROM audit WHERE actor = $1 OR about = $1",
            "INSERT INTO gone_members (id) VALUES ($1)",
            // Marks and tokens go with the row, and whoever was invited stands alone.
            "DELETE FROM members WHERE id = $1",
        ];
        for statement in statements {
            writing.run(sqlx::query(statement).bind(id.0)).await?;
        }
        forget_name(&mut writing, &row.name).await?;
        writing.commit().await?;
        self.settle_log().await;
        Ok(true)
    }
}

/// Makes a member within a transaction.
pub(super) async fn insert(
    writing: &mut Writing<'_>,
    new: &NewMember,
    invitation: Option<i64>,
) -> Answer<MemberRow> {
    let insert: Statement<'_> = sqlx::query(INSERT)
        .bind(&new.name)
        .bind(new.role.word())
        .bind(new.kind.word())
        .bind(new.created.0)
        .bind(new.invited_by.map(|id| id.0))
        .bind(invitation)
        .bind(new.expires.map(|date| date.0))
        .bind(new.scope.map(|id| id.0))
        .bind(&new.notes);
    writing.read_exactly(insert, member).await
}

/// Deletes the audit's lines that name somebody in their words. The database looks for the letters; a name inside of another
/// word is none.
async fn forget_name(writing: &mut Writing<'_>, name: &str) -> Answer<()> {
    let pattern = format!(
        "%{}%",
        name.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
    );
    let find = sqlx::query(
        r"SELECT id, who, what FROM audit WHERE who LIKE $1 ESCAPE '\' OR what LIKE $1 ESCAPE '\'",
    )
    .bind(pattern);
    let lines = writing.read(find, |row| {
        let (id, who, what): (i64, String, String) =
            (row.try_get("id")?, row.try_get("who")?, row.try_get("what")?);
        Ok((id, who, what))
    });
    for (id, who, what) in lines.await? {
        if names(&who, name) || names(&what, name) {
            writing
                .run(sqlx::query("DELETE FROM audit WHERE id = $1").bind(id))
                .await?;
        }
    }
    Ok(())
}

/// Whether `name` stands in `text` as a word of its own.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let behind = text
            .get(at + name.len()..)
            .and_then(|behind| behind.chars().next());
        !before.is_some_and(char::is_alphanumeric) && !behind.is_some_and(char::is_alphanumeric)
    })
}

fn member(row: &SqliteRow) -> sqlx::Result<MemberRow> {
    Ok(MemberRow {
        id: MemberId(number(row, "id")?),
        name: row.try_get("name")?,
        role: word(row, "role")?,
        kind: word(row, "kind")?,
        generation: number(row, "generation")?,
        old_generation_until: maybe_date(row, "old_generation_until")?,
        created: date(row, "created")?,
        invited_by: maybe_member(row, "invited_by")?,
        invitation: maybe_number(row, "invitation")?,
        expires: maybe_date(row, "expires")?,
        disabled: dated(row, "disabled_since", "disabled_reason")?,
        scope: maybe_torrent(row, "scope")?,
        rotated: maybe_date(row, "rotated")?,
        notes: row.try_get("notes")?,
    })
}
