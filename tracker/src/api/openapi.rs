//! The API's description of itself. Routes bring their own part; who may use them comes from the table, so that it cannot be told
//! otherwise than it is.

use axum::Extension;
use edge::openapi::{BEARER, Text};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, Server};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::scope;
use super::table::{self, PREFIX, Who};

/// What the API is, before any route.
pub(crate) fn begin<S: Clone + Send + Sync + 'static>() -> OpenApiRouter<S> {
    let info = InfoBuilder::new()
        .title("Kinswarm tracker")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Members, torrents and accounts of a private BitTorrent tracker. Sign in with `Authorization: Bearer KEY`, where \
             KEY is an API token or, for a member's own things, a passkey. Errors are problem documents (RFC 9457).",
        ));
    let document = OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([Server::new(PREFIX)]));
    OpenApiRouter::with_openapi(document.build()).routes(routes!(openapi_json))
}

/// Adds to every route who may use it, and how errors look.
pub(crate) fn finish(document: &mut OpenApi) {
    edge::openapi::finish(document, complete);
}

fn complete(operation: &mut Operation, method: &'static str, path: &str) {
    let Some(rule) = table::find(method, path) else {
        return;
    };
    let scopes = match rule.who {
        Who::Scope(scope) | Who::MemberOr(scope) => vec![scope::name(scope)],
        // Several in one requirement would mean all of them; the words say that either will do.
        Who::Look(_) => vec![scope::name(scope::Scope::Read)],
        Who::Anyone | Who::Known | Who::Member | Who::Here => Vec::new(),
    };
    if rule.who != Who::Anyone {
        operation.security = Some(vec![SecurityRequirement::new(BEARER, scopes)]);
    }
    let who = format!("Needs {}.", rule.who.wanted());
    edge::openapi::add_sentence(operation, who);
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "tracker", responses((status = 200, description = "An OpenAPI document")))]
async fn openapi_json(Extension(text): Extension<Text>) -> Text {
    text
}
