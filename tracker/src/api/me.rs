//! `/me`: what a member may see and do with nothing but its passkey.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json as Answered};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::auth::Identity;
use super::bodies::Rotate;
use crate::members::office::{MemberCard, MemberReport};
use edge::body::MaybeJson;
use edge::problem::Problem;

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(rotate))
}

/// The member's own numbers, key and announce URL.
#[utoipa::path(get, path = "/me", tag = "me", responses((status = 200, body = MemberReport)))]
async fn show(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
) -> Result<Answered<MemberReport>, Problem> {
    let mut report = api.report(&name(&api, &identity)?).await?;
    // What looks implausible is for the owner to judge, and to talk about.
    report.marks.clear();
    report.warnings.clear();
    Ok(Answered(report))
}

/// A new key for the member; with it the announce URL changes.
#[utoipa::path(post, path = "/me/rotate", tag = "me", request_body = Option<Rotate>, responses((status = 200, body = MemberCard)))]
async fn rotate(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    MaybeJson(rotate): MaybeJson<Rotate>,
) -> Result<Answered<MemberCard>, Problem> {
    let name = name(&api, &identity)?;
    let grace = rotate.grace_secs.map(Duration::from_secs);
    let card = api.office().rotate(&Api::actor(&identity), &name, grace).await?;
    Ok(Answered(card))
}

fn name(api: &Api, identity: &Identity) -> Result<Arc<str>, Problem> {
    let name = identity
        .member()
        .and_then(|member| api.office().member_name(member));
    name.ok_or_else(|| Problem::not_found("the member whose key this was is no more"))
}
