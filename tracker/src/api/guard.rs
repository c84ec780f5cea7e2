//! Stands before every route: finds out who asks, holds back who guesses, and lets in whom the table names. Until then it reads the
//! head of a request only, so a stranger's body is never read where a key is needed.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use edge::bearer::bearer;
use edge::body::JSON;
use edge::control::Local;
use edge::problem::{Cause, Problem};

use super::Api;
use super::auth::Identity;
use super::table::{self, PREFIX, Rule, TABLE, Verdict};
use crate::http::desk::Caller;
use crate::members::refusal::Refusal;

/// Lets a request pass with its [`Identity`] attached, or answers it.
pub(crate) async fn guard(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let local = request.extensions().get::<Local>().is_some();
    let mut response = match admit(&api, &request) {
        Ok((identity, rule)) => {
            request.extensions_mut().insert(identity);
            carry_out(&api, rule, request, next).await
        }
        Err(problem) => problem.into_response(),
    };
    // Who has the data folder may know what is wrong with its files.
    if local && let Some(Cause(cause)) = response.extensions_mut().remove() {
        return Problem::new(response.status(), cause).into_response();
    }
    // Answers hold keys and change with every request.
    let fields = response.headers_mut();
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Lets a route do its work. A change that has begun is finished whether or not its sender still listens: one that is in the store
/// and not in memory would come to light at the next start only.
async fn carry_out(api: &Api, rule: &Rule, request: Request, next: Next) -> Response {
    let slow = || {
        Problem::busy(
            "the database does not answer: what was asked may still be done, so look before you ask again",
        )
    };
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        let answered = tokio::time::timeout(rule.time(), next.run(request)).await;
        return answered.unwrap_or_else(|_| slow().into_response());
    }
    let request = match whole(rule, request).await {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    let Ok(place) = Arc::clone(&api.changes).try_acquire_owned() else {
        return Problem::busy("too many changes are made at once: try again").into_response();
    };
    let work = tokio::spawn(async move {
        let response = next.run(request).await;
        drop(place);
        response
    });
    match tokio::time::timeout(rule.time(), work).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Problem::broken("the request went wrong; please report this").into_response(),
        Err(_) => slow().into_response(),
    }
}

/// Waits for the body, so that whoever sends one slowly holds no place among the changes. Torrents have places of their own, which
/// only a token opens, and are too large to wait for here.
async fn whole(rule: &Rule, request: Request) -> Result<Request, Problem> {
    if rule.receives_torrents() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let body = JSON.read(&parts.headers, body).await?;
    Ok(Request::from_parts(parts, body.into()))
}

fn admit(api: &Api, request: &Request) -> Result<(Identity, &'static Rule), Problem> {
    let rule = rule(request)?;
    let identity = identify(api, request)?;
    match rule.who.judge(&identity) {
        Verdict::Welcome => Ok((identity, rule)),
        Verdict::KeyNeeded => Err(key_needed(rule)),
        Verdict::NotForThis => Err(not_for_this(rule)),
    }
}

fn key_needed(rule: &Rule) -> Problem {
    let why = format!(
        "this needs {}: send it as \"Authorization: Bearer …\"",
        rule.who.wanted()
    );
    Problem::new(StatusCode::UNAUTHORIZED, why)
}

fn not_for_this(rule: &Rule) -> Problem {
    let why = format!(
        "the key is good, but not for this: it needs {}",
        rule.who.wanted()
    );
    Problem::new(StatusCode::FORBIDDEN, why)
}

/// The table's row for a request. Routes that no row allows are answered to nobody.
fn rule(request: &Request) -> Result<&'static Rule, Problem> {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let path = path
        .and_then(|path| path.strip_prefix(PREFIX))
        .unwrap_or_default();
    // A HEAD is a GET whose body is not sent.
    let method = if request.method() == Method::HEAD {
        "GET"
    } else {
        request.method().as_str()
    };
    table::find(method, path).ok_or_else(|| wrong_method(path))
}

fn wrong_method(path: &str) -> Problem {
    let methods: Vec<_> = TABLE
        .iter()
        .filter(|rule| rule.path == path)
        .map(|rule| rule.method)
        .collect();
    if methods.is_empty() {
        return super::nothing();
    }
    let allow = methods.join(", ");
    let mut problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("only {allow} is answered here"),
    );
    problem.allow = Some(allow);
    problem
}

fn identify(api: &Api, request: &Request) -> Result<Identity, Problem> {
    let extensions = request.extensions();
    if extensions.get::<Local>().is_some() {
        return Ok(Identity::Owner);
    }
    // A request without an address is a mistake of ours, and gets nothing.
    let from = address(extensions)
        .ok_or_else(|| Problem::broken("the request came from nowhere; please report this"))?;
    let Some(key) = bearer(request.headers())? else {
        return Ok(Identity::Stranger);
    };
    api.may_try(Some(from))?;
    api.identify(key, from)
}

impl Api {
    /// Whose key this is: a token's, or a passkey of a member whose announces would be answered too.
    fn identify(&self, key: &str, from: IpAddr) -> Result<Identity, Problem> {
        if let Some(holder) = self.office().check_token(key) {
            return Ok(Identity::Token {
                name: holder.name,
                scopes: holder.scopes.into_iter().collect(),
                member: holder.member,
            });
        }
        let date = self.parts.clock.date();
        let why = match self.office().directory().admit(key.as_bytes(), None, from, date) {
            Ok(admitted) => return Ok(Identity::Member(admitted.member)),
            // Nobody knows yet for which torrent such a key would be good, so it proves nothing and may be a guess like any other.
            Err(Refusal::UnknownKey | Refusal::OtherTorrent) => {
                self.note_wrong(Some(from));
                "this key is unknown, expired, revoked or for one torrent alone: ask the tracker's owner for a new one".to_owned()
            }
            Err(refusal) => refusal.to_string(),
        };
        Err(Problem::new(StatusCode::UNAUTHORIZED, why))
    }
}

fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<Caller>().map(|caller| caller.ip)
}

/// The address whose wrong codes are counted; none for this machine's own command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CameFrom(pub Option<IpAddr>);

impl<S: Send + Sync> FromRequestParts<S> for CameFrom {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(address(&parts.extensions)))
    }
}
