//! Tokens of the API: told once, kept as a hash, compared in constant time.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use super::{Actor, AddToken, Office, OfficeError, Stamp, TokenCard, TokenHolder, words};
use crate::members::directory::folded;
use crate::members::ids::{Date, MemberId};
use crate::members::keys::{make_token, same, token_hash};
use crate::members::store::{NewToken, StoreError, Taken, TokenRow};

/// Every request compares with all of them; more than this no tracker of a family needs.
const TOKENS_MAX: usize = 1_000;

/// The last use of a token is noted to the minute.
const NOTE_AGAIN: Duration = Duration::from_secs(60);

const TOKEN: &str = "token";

impl Office {
    /// Makes a token and tells it, once.
    pub async fn create_token(&self, by: &Actor, new: AddToken) -> Result<TokenCard, OfficeError> {
        let _one = self.changes.lock().await;
        self.insert_token(by, new).await
    }

    pub(super) async fn insert_token(&self, by: &Actor, mut new: AddToken) -> Result<TokenCard, OfficeError> {
        let now = self.clock.date();
        let name = words::name("name", &new.name)?;
        words::end("expires", new.expires, now)?;
        new.scopes.sort_unstable();
        new.scopes.dedup();
        if new.scopes.is_empty() {
            return Err(OfficeError::Invalid {
                field: "scopes",
                why: "a token needs at least one of read, torrents, members, admin".to_owned(),
            });
        }
        let exists = |name: String| OfficeError::Exists { what: TOKEN, name };
        let (good, same_name) = self.with_tokens(|tokens| {
            let good = tokens.iter().filter(|row| !row.revoked);
            let same_name = good.clone().any(|row| folded(&row.name) == folded(&name));
            (good.count(), same_name)
        });
        if same_name {
            return Err(exists(name));
        }
        if good >= TOKENS_MAX {
            return Err(OfficeError::Refused {
                why: "there are 1000 tokens: revoke some",
            });
        }
        let member = match &new.member {
            Some(name) => Some(self.member_id(name)?),
            None => None,
        };
        let told = self.roll(make_token);
        let row = NewToken {
            name: name.clone(),
            hash: told.hash(),
            scopes: new.scopes,
            created: now,
            expires: new.expires,
            member,
        };
        let row = self.store.insert_token(&row).await.map_err(|error| match error {
            StoreError::Exists {
                what: Taken::TokenName,
            } => exists(name.clone()),
            error => error.into(),
        })?;
        let mut card = self.token_card(&row);
        card.token = Some(told.text().to_owned());
        self.with_tokens(|tokens| tokens.push(row));
        self.note(by, member, format!("made token {name:?}")).await;
        Ok(card)
    }

    /// All tokens, without their texts.
    pub fn tokens(&self) -> Vec<TokenCard> {
        self.with_tokens(|tokens| tokens.iter().map(|row| self.token_card(row)).collect())
    }

    /// By name or number.
    pub async fn revoke_token(&self, by: &Actor, name: &str) -> Result<(), OfficeError> {
        let _one = self.changes.lock().await;
        let number = name.parse::<i64>().ok();
        let found = self.with_tokens(|tokens| {
            let mut good = tokens.iter().filter(|row| !row.revoked);
            let named = good.clone().find(|row| folded(&row.name) == folded(name));
            let row = named.or_else(|| good.find(|row| Some(row.id) == number));
            row.map(|row| (row.id, row.name.clone(), row.member))
        });
        let not_found = || OfficeError::NotFound {
            what: TOKEN,
            name: name.trim().chars().take(80).collect(),
        };
        let (id, name, member) = found.ok_or_else(not_found)?;
        if !self.store.revoke_token(id).await? {
            return Err(not_found());
        }
        self.with_tokens(|tokens| {
            for row in tokens.iter_mut().filter(|row| row.id == id) {
                row.revoked = true;
            }
        });
        self.note(by, member, format!("revoked token {name:?}")).await;
        Ok(())
    }

    /// Whose token this is, if it is good today.
    pub fn check_token(&self, text: &str) -> Option<TokenHolder> {
        let hash = token_hash(text)?;
        let now = self.clock.date();
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for row in tokens.iter() {
            if same(&row.hash, &hash) {
                found = Some(row);
            }
        }
        let row = found.filter(|row| !row.revoked && row.expires.is_none_or(|expires| now < expires))?;
        if let Some(member) = row.member {
            let seat = self.directory.seat(member)?;
            if seat.row.disabled.is_some() || seat.is_expired(now) {
                return None;
            }
        }
        let holder = TokenHolder {
            id: row.id,
            name: row.name.clone(),
            scopes: row.scopes.clone(),
            member: row.member,
        };
        let noted = row.last_used.is_some_and(|used| now.since(used) < NOTE_AGAIN);
        drop(tokens);
        if !noted {
            self.with_tokens(|tokens| {
                for row in tokens.iter_mut().filter(|row| row.id == holder.id) {
                    row.last_used = Some(now);
                }
            });
            self.touched.notify_one();
        }
        Some(holder)
    }

    /// Writes the last uses down that the store does not know.
    pub(super) async fn write_uses(&self, written: &mut BTreeMap<i64, Date>) {
        let uses: Vec<_> = self.with_tokens(|tokens| {
            let used = tokens.iter().filter_map(|row| Some((row.id, row.last_used?)));
            used.filter(|(id, date)| written.get(id) != Some(date)).collect()
        });
        for (id, date) in uses {
            // What fails is tried again with the next use.
            if self.store.touch_token(id, date).await.is_ok() {
                written.insert(id, date);
            }
        }
    }

    /// Tokens go with their member.
    pub(super) fn drop_tokens_of(&self, member: MemberId) {
        self.with_tokens(|tokens| tokens.retain(|row| row.member != Some(member)));
    }

    fn with_tokens<T>(&self, look: impl FnOnce(&mut Vec<TokenRow>) -> T) -> T {
        look(&mut self.tokens.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn token_card(&self, row: &TokenRow) -> TokenCard {
        TokenCard {
            id: row.id,
            name: row.name.clone(),
            token: None,
            scopes: row.scopes.clone(),
            created: Stamp(row.created),
            expires: row.expires.map(Stamp),
            member: row
                .member
                .and_then(|id| self.member_name(id))
                .map(|name| name.to_string()),
            last_used: row.last_used.map(Stamp),
            revoked: row.revoked,
        }
    }
}
