//! `/invitations`: codes with which strangers become members.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json as Answered};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::auth::Identity;
use super::bodies::{InvitationPage, NewInvitation, Page, Redeem};
use super::guard::CameFrom;
use super::scope::Scope;
use crate::members::office::{Actor, AddInvitation, InvitationCard, MemberCard, OfficeError, OwnerCard};
use edge::body::{Asked, Json, MaybeJson, Named};
use edge::problem::Problem;

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
        .routes(routes!(redeem))
        .routes(routes!(own))
}

/// All invitations, without their codes.
#[utoipa::path(get, path = "/invitations", tag = "invitations", params(Page), responses((status = 200, body = InvitationPage)))]
async fn list(
    State(api): State<Arc<Api>>,
    Asked(page): Asked<Page>,
) -> Result<Answered<InvitationPage>, Problem> {
    let invitations = api.office().invitations().await?;
    let (invitations, total) = page.cut(invitations, |invitation| &invitation.note);
    Ok(Answered(InvitationPage { invitations, total }))
}

/// Makes an invitation; its code is told only now. The member whose token it is stands as the one who invites.
#[utoipa::path(post, path = "/invitations", tag = "invitations", request_body = Option<NewInvitation>, responses((status = 201, body = InvitationCard)))]
async fn create(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    MaybeJson(new): MaybeJson<NewInvitation>,
) -> Result<(StatusCode, Answered<InvitationCard>), Problem> {
    let by = inviter(&api, &identity, new.by.as_deref())?;
    let new = AddInvitation {
        expires: new.expires.map(|stamp| stamp.0),
        uses: new.uses.unwrap_or(1),
        note: new.note.unwrap_or_default(),
    };
    let card = api.office().create_invitation(&by, new).await?;
    Ok((StatusCode::CREATED, Answered(card)))
}

/// In whose name somebody invites.
fn inviter(api: &Api, identity: &Identity, named: Option<&str>) -> Result<Actor, Problem> {
    let Some(name) = named else {
        return Ok(Api::actor(identity));
    };
    let member = api.office().member_id(name)?;
    if identity.may(Scope::Admin) || identity.member() == Some(member) {
        return Ok(Actor::Member(member));
    }
    let why = "by: to invite in the name of another takes a token with the scope admin";
    Err(Problem::new(StatusCode::FORBIDDEN, why))
}

/// Takes an invitation back. Who came by it stays.
#[utoipa::path(delete, path = "/invitations/{id}", tag = "invitations", params(("id" = i64, Path)), responses((status = 204)))]
async fn revoke(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Named(id): Named<i64>,
) -> Result<StatusCode, Problem> {
    api.office().revoke_invitation(&Api::actor(&identity), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes whoever brings a code a member, under the name they wish.
#[utoipa::path(post, path = "/invitations/redeem", tag = "invitations", request_body = Redeem, responses((status = 201, body = MemberCard)))]
async fn redeem(
    State(api): State<Arc<Api>>,
    CameFrom(from): CameFrom,
    Json(Redeem { code, name }): Json<Redeem>,
) -> Result<(StatusCode, Answered<MemberCard>), Problem> {
    api.may_try(from)?;
    let card = api.judge_code(from, api.office().redeem(&code, &name).await)?;
    Ok((StatusCode::CREATED, Answered(card)))
}

/// Makes whoever brings the one-time code of the first start the owner, and tells a token with all rights.
#[utoipa::path(post, path = "/owner", tag = "tracker", request_body = Redeem, responses((status = 201, body = OwnerCard)))]
async fn own(
    State(api): State<Arc<Api>>,
    CameFrom(from): CameFrom,
    Json(Redeem { code, name }): Json<Redeem>,
) -> Result<(StatusCode, Answered<OwnerCard>), Problem> {
    api.may_try(from)?;
    let card = api.judge_code(from, api.office().redeem_ownership(&code, &name).await)?;
    Ok((StatusCode::CREATED, Answered(card)))
}

impl Api {
    /// Counts a code that nobody ever had.
    fn judge_code<T>(&self, from: Option<IpAddr>, redeemed: Result<T, OfficeError>) -> Result<T, Problem> {
        if matches!(redeemed, Err(OfficeError::NotFound { .. })) {
            self.note_wrong(from);
        }
        Ok(redeemed?)
    }
}
