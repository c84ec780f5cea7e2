//! `/tokens`: keys for programs.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json as Answered};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::auth::Identity;
use super::bodies::{NewToken, Page, TokenPage};
use crate::members::office::{AddToken, TokenCard};
use edge::body::{Asked, Json, Named};
use edge::problem::Problem;

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

/// All tokens, without their texts.
#[utoipa::path(get, path = "/tokens", tag = "tokens", params(Page), responses((status = 200, body = TokenPage)))]
async fn list(State(api): State<Arc<Api>>, Asked(page): Asked<Page>) -> Result<Answered<TokenPage>, Problem> {
    let tokens = api.office().tokens();
    let (tokens, total) = page.cut(tokens, |token| &token.name);
    Ok(Answered(TokenPage { tokens, total }))
}

/// Makes a token; its text is told only now.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = NewToken, responses((status = 201, body = TokenCard)))]
async fn create(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Json(new): Json<NewToken>,
) -> Result<(StatusCode, Answered<TokenCard>), Problem> {
    let new = AddToken {
        name: new.name,
        scopes: new.scopes,
        expires: new.expires.map(|stamp| stamp.0),
        member: new.member,
    };
    let card = api.office().create_token(&Api::actor(&identity), new).await?;
    Ok((StatusCode::CREATED, Answered(card)))
}

/// Takes a token back, by its name or number.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", params(("id" = String, Path)), responses((status = 204)))]
async fn revoke(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Named(name): Named<String>,
) -> Result<StatusCode, Problem> {
    api.office().revoke_token(&Api::actor(&identity), &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
