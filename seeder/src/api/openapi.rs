//! The API's description of itself. Routes bring their own part.

use axum::Extension;
use edge::client::PREFIX;
use edge::openapi::{BEARER, Text};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, Server};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::table::{self, Work};

/// What the API is, before any route.
pub(super) fn begin<S: Clone + Send + Sync + 'static>() -> OpenApiRouter<S> {
    let info = InfoBuilder::new()
        .title("Kinswarm seeder")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "The torrents of a running seeder. On its port sign in with `Authorization: Bearer TOKEN`, where TOKEN stands in the \
             file `api-token` of its state folder; over `control.sock` no token is needed. A torrent is named by one of its \
             hashes, the beginning of one, or its whole name. Errors are problem documents (RFC 9457).",
        ));
    let document = OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([Server::new(PREFIX)]));
    OpenApiRouter::with_openapi(document.build()).routes(routes!(openapi_json))
}

/// Adds to every route that it needs the token, and how errors look.
pub(super) fn finish(document: &mut OpenApi) {
    edge::openapi::finish(document, |operation, method, path| {
        let work = table::find(method, path).map(|rule| rule.work);
        if work != Some(Work::Open) {
            operation.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
        }
    });
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "process", responses((status = 200, description = "An OpenAPI document")))]
async fn openapi_json(Extension(text): Extension<Text>) -> Text {
    text
}
