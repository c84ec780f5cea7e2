//! The pages of the public port. Announces and scrapes that did not stay on the fast lane are answered by the same
//! [`Desk`]; anything else is told where the tracker is.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use rand::rngs::SmallRng;

use super::desk::{Caller, Desk, Question};
use super::head::Route;
use super::reply;
use crate::metrics::{Counters, Reason};

/// What a handler needs.
#[derive(Clone, Debug)]
struct Counter {
    desk: Arc<Desk>,
    counters: Arc<Counters>,
    dice: Arc<Mutex<SmallRng>>,
}

/// Private mode's `/{passkey}/announce` will stand here too.
pub(crate) fn router(desk: Arc<Desk>, counters: Arc<Counters>) -> Router {
    let counter = Counter {
        desk,
        counters,
        dice: Arc::new(Mutex::new(rand::make_rng())),
    };
    Router::new()
        .route("/announce", any(announce))
        .route("/scrape", any(scrape))
        .fallback(nothing_here)
        .with_state(counter)
}

async fn announce(
    State(counter): State<Counter>,
    Extension(caller): Extension<Caller>,
    method: Method,
    uri: Uri,
) -> Response {
    counter.answer(Route::Announce, caller, &method, &uri)
}

async fn scrape(
    State(counter): State<Counter>,
    Extension(caller): Extension<Caller>,
    method: Method,
    uri: Uri,
) -> Response {
    counter.answer(Route::Scrape, caller, &method, &uri)
}

async fn nothing_here(State(counter): State<Counter>) -> Response {
    counter.counters.error(Reason::Path);
    text(
        StatusCode::NOT_FOUND,
        "nothing here: this is a BitTorrent tracker, its address is /announce\n",
    )
    .into_response()
}

impl Counter {
    fn answer(&self, route: Route, caller: Caller, method: &Method, uri: &Uri) -> Response {
        if method != Method::GET {
            self.counters.error(Reason::Method);
            let refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
            return ([(header::ALLOW, "GET")], refusal).into_response();
        }
        let mut body = Vec::new();
        let question = Question {
            route,
            query: uri.query().unwrap_or_default().as_bytes(),
            caller,
        };
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        self.desk.answer(question, &self.counters, &mut *dice, &mut body);
        ([(header::CONTENT_TYPE, reply::CONTENT_TYPE)], Body::from(body)).into_response()
    }
}

/// A short answer for people.
pub(crate) fn text(status: StatusCode, words: &'static str) -> impl IntoResponse {
    (status, [(header::CONTENT_TYPE, reply::CONTENT_TYPE)], words)
}
