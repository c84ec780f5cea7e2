//! Invitations: made, taken back, redeemed. Two who redeem the last use at once are one and none.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::value::{array, date, maybe_date, maybe_member, number};
use super::{Answer, InvitationRow, MemberRow, NewInvitation, NewMember, RedeemError, Store, members};
use crate::members::ids::Date;

const INSERT: &str =
    "INSERT INTO invitations (code_hash, member, created, expires, uses, used, revoked, note)
    VALUES ($1, $2, $3, $4, $5, 0, 0, $6) RETURNING *";

impl Store {
    /// All invitations, used and revoked ones too.
    pub async fn invitations(&self) -> Answer<Vec<InvitationRow>> {
        self.read(sqlx::query("SELECT * FROM invitations ORDER BY id"), invitation)
            .await
    }

    /// Makes an invitation.
    pub async fn insert_invitation(&self, new: &NewInvitation) -> Answer<InvitationRow> {
        let insert = sqlx::query(INSERT)
            .bind(new.code_hash.as_slice())
            .bind(new.by.map(|id| id.0))
            .bind(new.created.0)
            .bind(new.expires.map(|date| date.0))
            .bind(new.uses)
            .bind(&new.note);
        let mut writing = self.begin().await?;
        let row = writing.read_exactly(insert, invitation).await?;
        writing.commit().await?;
        Ok(row)
    }

    /// Takes an invitation back; false where there is none. Who came with it stays.
    pub async fn revoke_invitation(&self, id: i64) -> Answer<bool> {
        let revoke = sqlx::query("UPDATE invitations SET revoked = 1 WHERE id = $1").bind(id);
        Ok(self.write_one(revoke).await? > 0)
    }

    /// Uses an invitation once and makes the member, both or neither. The inviter is the invitation's, whatever `new` says.
    pub async fn redeem_invitation(
        &self,
        code_hash: &[u8; 32],
        new: &NewMember,
        date: Date,
    ) -> Result<MemberRow, RedeemError> {
        let mut writing = self.begin().await?;
        let find = sqlx::query("SELECT * FROM invitations WHERE code_hash = $1").bind(code_hash.as_slice());
        let found = writing.read_one(find, invitation).await?;
        let invitation = match usable(found, date) {
            Ok(invitation) => invitation,
            Err(refusal) => {
                writing.undo().await?;
                return Err(refusal);
            }
        };
        let count = sqlx::query("UPDATE invitations SET used = used + 1 WHERE id = $1").bind(invitation.id);
        writing.run(count).await?;
        let new = NewMember {
            invited_by: invitation.by,
            ..new.clone()
        };
        let row = members::insert(&mut writing, &new, Some(invitation.id)).await?;
        writing.commit().await?;
        Ok(row)
    }
}

fn usable(found: Option<InvitationRow>, date: Date) -> Result<InvitationRow, RedeemError> {
    match found {
        None => Err(RedeemError::Unknown),
        Some(found) if found.revoked => Err(RedeemError::Revoked),
        Some(found) if found.expires.is_some_and(|expires| expires <= date) => Err(RedeemError::Expired),
        Some(found) if found.used >= found.uses => Err(RedeemError::Used),
        Some(found) => Ok(found),
    }
}

fn invitation(row: &SqliteRow) -> sqlx::Result<InvitationRow> {
    Ok(InvitationRow {
        id: row.try_get("id")?,
        code_hash: array(row, "code_hash")?,
        by: maybe_member(row, "member")?,
        created: date(row, "created")?,
        expires: maybe_date(row, "expires")?,
        uses: number(row, "uses")?,
        used: number(row, "used")?,
        revoked: row.try_get("revoked")?,
        note: row.try_get("note")?,
    })
}
