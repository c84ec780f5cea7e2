//! The API's description of itself. Routes bring their own part; who may use them comes from the table, so that it cannot be told
//! otherwise than it is.

use axum::Extension;
use axum::http::header;
use axum::response::IntoResponse;
use bytes::Bytes;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr, ResponseBuilder, Server,
};
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::{self, Document};
use super::scope;
use super::table::{self, PREFIX, Who};

/// The name of the one way to sign in.
const BEARER: &str = "bearer";

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
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete(operation, method, path);
        }
    }
    let components = document.components.get_or_insert_default();
    components.add_security_scheme(
        BEARER,
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
    );
    components
        .schemas
        .insert(Document::name().into_owned(), Document::schema());
}

fn complete(operation: &mut Operation, method: &str, path: &str) {
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
    operation.description = Some(match operation.description.take() {
        Some(said) if !said.is_empty() => format!("{said}\n\n{who}"),
        _ => who,
    });
    let problem = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(Document::name())))
        .build();
    let response = ResponseBuilder::new()
        .description("What went wrong, and what to do")
        .content(problem::CONTENT_TYPE, problem);
    operation
        .responses
        .responses
        .insert("default".to_owned(), RefOr::T(response.build()));
}

/// The operations of a path, by method.
pub(crate) fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("GET", &mut item.get),
        ("PUT", &mut item.put),
        ("POST", &mut item.post),
        ("DELETE", &mut item.delete),
        ("OPTIONS", &mut item.options),
        ("HEAD", &mut item.head),
        ("PATCH", &mut item.patch),
        ("TRACE", &mut item.trace),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// The finished document.
#[derive(Clone, Debug)]
pub(crate) struct Text(Bytes);

impl Text {
    pub(crate) fn of(document: &OpenApi) -> Self {
        Self(document.to_json().unwrap_or_default().into())
    }
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "tracker", responses((status = 200, description = "An OpenAPI document")))]
async fn openapi_json(Extension(Text(text)): Extension<Text>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text)
}
