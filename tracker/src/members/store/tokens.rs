//! Tokens of the API, and the code that an owner's first token is given for.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::connection::Writing;
use super::value::{Word as _, array, date, maybe_date, maybe_member, words};
use super::{Answer, NewToken, Scope, Store, TokenRow};
use crate::members::ids::Date;

const INSERT: &str = "INSERT INTO tokens (name, hash, scopes, created, expires, member, revoked)
    VALUES ($1, $2, $3, $4, $5, $6, 0) RETURNING *";

impl Store {
    /// All tokens, revoked ones too.
    pub async fn tokens(&self) -> Answer<Vec<TokenRow>> {
        self.read(sqlx::query("SELECT * FROM tokens ORDER BY id"), token)
            .await
    }

    /// Makes a token; `Exists` where another of this name works.
    pub async fn insert_token(&self, new: &NewToken) -> Answer<TokenRow> {
        let mut writing = self.begin().await?;
        let row = insert(&mut writing, new).await?;
        writing.commit().await?;
        Ok(row)
    }

    /// Ends a token; false where there is none.
    pub async fn revoke_token(&self, id: i64) -> Answer<bool> {
        let revoke = sqlx::query("UPDATE tokens SET revoked = 1 WHERE id = $1").bind(id);
        Ok(self.write_one(revoke).await? > 0)
    }

    /// Notes that a token was used.
    pub async fn touch_token(&self, id: i64, date: Date) -> Answer<()> {
        let touch = sqlx::query("UPDATE tokens SET last_used = $2 WHERE id = $1")
            .bind(id)
            .bind(date.0);
        self.write_one(touch).await?;
        Ok(())
    }
}

async fn insert(writing: &mut Writing<'_>, new: &NewToken) -> Answer<TokenRow> {
    let scopes: Vec<&str> = new.scopes.iter().copied().map(Scope::word).collect();
    let insert = sqlx::query(INSERT)
        .bind(&new.name)
        .bind(new.hash.as_slice())
        .bind(scopes.join(" "))
        .bind(new.created.0)
        .bind(new.expires.map(|date| date.0))
        .bind(new.member.map(|id| id.0));
    writing.read_exactly(insert, token).await
}

fn token(row: &SqliteRow) -> sqlx::Result<TokenRow> {
    Ok(TokenRow {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        hash: array(row, "hash")?,
        scopes: words(row, "scopes")?,
        created: date(row, "created")?,
        expires: maybe_date(row, "expires")?,
        member: maybe_member(row, "member")?,
        last_used: maybe_date(row, "last_used")?,
        revoked: row.try_get("revoked")?,
    })
}
