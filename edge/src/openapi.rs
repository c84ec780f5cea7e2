//! An API's description of itself: what is the same in all of them.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, PathItem, Ref, RefOr, ResponseBuilder};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::problem::{self, Document};

/// The name of the one way to sign in.
pub const BEARER: &str = "bearer";

/// Adds the way to sign in and the shape of errors, and lets `complete` add to every operation what the program knows about it.
pub fn finish(document: &mut OpenApi, complete: impl Fn(&mut Operation, &'static str, &str)) {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete(operation, method, path);
            describe_problem(operation);
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

/// Adds a sentence to what an operation says of itself.
pub fn add_sentence(operation: &mut Operation, sentence: String) {
    operation.description = Some(match operation.description.take() {
        Some(said) if !said.is_empty() => format!("{said}\n\n{sentence}"),
        _ => sentence,
    });
}

fn describe_problem(operation: &mut Operation) {
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
pub fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
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
pub struct Text(Bytes);

impl Text {
    /// The document as it is sent.
    pub fn of(document: &OpenApi) -> Self {
        Self(document.to_json().unwrap_or_default().into())
    }
}

impl IntoResponse for Text {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}
