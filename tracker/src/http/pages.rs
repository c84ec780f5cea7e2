//! The pages of the public port. Announces and scrapes that did not stay on the fast lane are answered by the same
//! [`Desk`]; anything else is told where the tracker is.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::map_request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::desk::{Caller, Desk, Question};
use super::forwarded::Trust;
use super::head::{FORWARDED, FORWARDED_FOR, Route};
use super::reply;
use crate::metrics::{Counters, Reason};

/// What a handler needs.
#[derive(Clone, Debug)]
struct Counter {
    desk: Arc<Desk>,
    counters: Arc<Counters>,
    dice: Arc<Mutex<SmallRng>>,
}

/// In either mode a member's key may stand in front; what it is worth is the desk's to say.
pub(crate) fn router(desk: Arc<Desk>, counters: Arc<Counters>) -> Router {
    let counter = Counter {
        desk,
        counters,
        dice: Arc::new(Mutex::new(rand::make_rng())),
    };
    Router::new()
        .route("/announce", any(ask))
        .route("/scrape", any(ask))
        .route("/{key}/announce", any(ask))
        .route("/{key}/scrape", any(ask))
        .fallback(nothing_here)
        .with_state(counter)
}

/// Puts the address that a trusted proxy names in the place of the proxy's own, for everything behind it.
pub(crate) fn behind_proxies(router: Router, trust: Arc<Trust>, counters: Arc<Counters>) -> Router {
    router.layer(map_request(move |mut request: Request| {
        let (trust, counters) = (Arc::clone(&trust), Arc::clone(&counters));
        async move {
            if let Some(socket) = request.extensions().get::<Caller>().copied() {
                let lines = |name| request.headers().get_all(name).iter().map(HeaderValue::as_bytes);
                let sighted = trust.caller(socket, lines(FORWARDED_FOR), lines(FORWARDED));
                counters.forwarded_ignored.add(usize::from(sighted.ignored));
                request.extensions_mut().insert(sighted.caller);
            }
            request
        }
    }))
}

/// An announce or a scrape. The path is read as a lane reads it, so that no escape in it means something else here.
async fn ask(
    State(counter): State<Counter>,
    Extension(caller): Extension<Caller>,
    method: Method,
    uri: Uri,
    fields: HeaderMap,
) -> Response {
    let Some((route, key)) = Route::of(uri.path().as_bytes()) else {
        return nothing_here(State(counter)).await.into_response();
    };
    let question = Question {
        route,
        key,
        query: uri.query().unwrap_or_default().as_bytes(),
        host: fields.get(header::HOST).map(HeaderValue::as_bytes),
        caller,
    };
    counter.answer(question, &method)
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
    fn answer(&self, question: Question<'_>, method: &Method) -> Response {
        if method != Method::GET {
            self.counters.error(Reason::Method);
            let refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
            return ([(header::ALLOW, "GET")], refusal).into_response();
        }
        let mut body = Vec::new();
        let debt = self
            .desk
            .answer(question, &self.counters, &mut self.own_dice(), &mut body);
        self.desk.settle(debt);
        ([(header::CONTENT_TYPE, reply::CONTENT_TYPE)], Body::from(body)).into_response()
    }
}

impl Counter {
    /// Dice for one answer, so that no two answers wait for each other.
    fn own_dice(&self) -> SmallRng {
        let mut dice = self.dice.lock().unwrap_or_else(PoisonError::into_inner);
        SmallRng::from_rng(&mut *dice)
    }
}

/// A short answer for people.
pub(crate) fn text(status: StatusCode, words: &'static str) -> impl IntoResponse {
    (status, [(header::CONTENT_TYPE, reply::CONTENT_TYPE)], words)
}
