//! Invitations, and the code with which the first owner comes in.

use std::sync::PoisonError;

use super::members::taken;
use super::{
    Actor, AddInvitation, AddToken, InvitationCard, MemberCard, Office, OfficeError, OwnerCard, Stamp, words,
};
use crate::members::keys::{code_hash, make_code, same};
use crate::members::store::{InvitationRow, NewInvitation, NewMember, RedeemError, Role, Scope};

impl Office {
    /// Makes an invitation and tells its code, once.
    pub async fn create_invitation(
        &self,
        by: &Actor,
        new: AddInvitation,
    ) -> Result<InvitationCard, OfficeError> {
        let now = self.clock.date();
        words::end("expires", new.expires, now)?;
        let _one = self.changes.lock().await;
        let code = self.roll(make_code);
        let row = NewInvitation {
            code_hash: code.hash(),
            by: match by {
                Actor::Member(id) => Some(*id),
                _ => None,
            },
            created: now,
            expires: new.expires,
            uses: words::uses(new.uses)?,
            note: words::note(&new.note)?,
        };
        let row = self.store.insert_invitation(&row).await?;
        let what = format!("made invitation {} for {}", row.id, row.uses);
        self.note(by, None, what).await;
        let mut card = self.invitation_card(row);
        card.code = Some(code.text().to_owned());
        Ok(card)
    }

    /// All invitations, without their codes.
    pub async fn invitations(&self) -> Result<Vec<InvitationCard>, OfficeError> {
        let rows = self.store.invitations().await?;
        Ok(rows.into_iter().map(|row| self.invitation_card(row)).collect())
    }

    /// Nobody comes in by it any more.
    pub async fn revoke_invitation(&self, by: &Actor, id: i64) -> Result<(), OfficeError> {
        let _one = self.changes.lock().await;
        if !self.store.revoke_invitation(id).await? {
            return Err(OfficeError::NotFound {
                what: "invitation",
                name: id.to_string(),
            });
        }
        self.note(by, None, format!("took invitation {id} back")).await;
        Ok(())
    }

    /// Whoever brings the code of an invitation becomes a member.
    pub async fn redeem(&self, code: &str, name: &str) -> Result<MemberCard, OfficeError> {
        let hash = code_hash(code).ok_or(RedeemError::Unknown)?;
        let now = self.clock.date();
        let _one = self.changes.lock().await;
        // First the code: without one, nobody learns which names are taken.
        self.is_redeemable(&hash).await?;
        let name = words::name("name", name)?;
        self.is_free(&name)?;
        let new = NewMember {
            name,
            created: now,
            ..NewMember::default()
        };
        let row = match self.store.redeem_invitation(&hash, &new, now).await {
            Ok(row) => row,
            Err(RedeemError::Store(error)) => return Err(taken(error, &new.name)),
            Err(error) => return Err(error.into()),
        };
        let (id, invitation) = (row.id, row.invitation.unwrap_or_default());
        let what = format!("{:?} came by invitation {invitation}", row.name);
        self.directory.put([row]);
        self.note(&Actor::Stranger, Some(id), what).await;
        self.card_with_key(id)
    }

    async fn is_redeemable(&self, hash: &[u8; 32]) -> Result<(), OfficeError> {
        let rows = self.store.invitations().await?;
        let mut found = None;
        for row in &rows {
            if same(&row.code_hash, hash) {
                found = Some(row);
            }
        }
        let row = found.ok_or(RedeemError::Unknown)?;
        let now = self.clock.date();
        if row.revoked {
            Err(RedeemError::Revoked.into())
        } else if row.expires.is_some_and(|expires| expires <= now) {
            Err(RedeemError::Expired.into())
        } else if row.used >= row.uses {
            Err(RedeemError::Used.into())
        } else {
            Ok(())
        }
    }

    /// A new one-time code for the first owner, while there is none; to be shown on the terminal, never logged.
    pub fn offer_ownership(&self) -> Option<String> {
        if self.has_owner() {
            return None;
        }
        let code = self.roll(make_code);
        let mut kept = self.owner_code.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(code.hash());
        Some(code.text().to_owned())
    }

    /// Whoever brings that code becomes the owner.
    pub async fn redeem_ownership(&self, code: &str, name: &str) -> Result<OwnerCard, OfficeError> {
        let unknown = || OfficeError::NotFound {
            what: "code",
            name: String::new(),
        };
        let hash = code_hash(code).ok_or_else(unknown)?;
        let _one = self.changes.lock().await;
        let kept = *self.owner_code.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.is_some_and(|kept| same(&kept, &hash)) {
            return Err(unknown());
        }
        if self.has_owner() {
            return Err(OfficeError::Used { what: "code" });
        }
        let name = words::name("name", name)?;
        self.is_free(&name)?;
        let new = NewMember {
            name: name.clone(),
            role: Role::Owner,
            created: self.clock.date(),
            ..NewMember::default()
        };
        let member = self.insert_member(&Actor::Stranger, &new).await?;
        let token = AddToken {
            name: format!("{name} (first)").chars().take(64).collect(),
            scopes: vec![Scope::Read, Scope::Torrents, Scope::Members, Scope::Admin],
            expires: None,
            member: Some(name.clone()),
        };
        let token = match self.insert_token(&Actor::Stranger, token).await {
            Ok(token) => token.token.unwrap_or_default(),
            Err(error) => {
                self.take_back(&name).await;
                return Err(error);
            }
        };
        *self.owner_code.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(OwnerCard { member, token })
    }

    /// An owner without a token would be none, and would keep others from becoming one.
    async fn take_back(&self, name: &str) {
        let Some(id) = self.directory.id(name) else {
            return;
        };
        if self.store.forget_member(id).await.is_ok() {
            self.directory.remove(id);
        }
    }

    fn invitation_card(&self, row: InvitationRow) -> InvitationCard {
        let seats = self.directory.seats();
        let members = seats.iter().filter(|seat| seat.row.invitation == Some(row.id));
        InvitationCard {
            id: row.id,
            code: None,
            by: row
                .by
                .and_then(|id| self.member_name(id))
                .map(|name| name.to_string()),
            created: Stamp(row.created),
            expires: row.expires.map(Stamp),
            uses: row.uses,
            used: row.used,
            revoked: row.revoked,
            note: row.note,
            members: members.map(|seat| seat.row.name.clone()).collect(),
        }
    }
}
