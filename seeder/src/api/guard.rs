//! Stands before every route: who has no right is answered from the head of the request alone, and every answer has a time.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use edge::bearer::bearer;
use edge::body::JSON;
use edge::client::PREFIX;
use edge::control::Local;
use edge::problem::{Problem, whole_secs};

use super::table::{self, Rule, TABLE, Work};
use super::{Api, Token};

/// What the guard knows: without a token nobody but this machine's owner is let in.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub api: Arc<Api>,
    pub token: Option<Arc<Token>>,
}

/// A mark on requests that came over the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub IpAddr);

/// Lets a request pass, or answers it.
pub(super) async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let mut response = match admit(&gate, &request) {
        Ok(rule) => carry_out(&gate.api, rule, request, next).await,
        Err(problem) => problem.into_response(),
    };
    let fields = response.headers_mut();
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Lets a route do its work. A change that has begun is finished whether or not its sender still listens.
async fn carry_out(api: &Api, rule: &Rule, request: Request, next: Next) -> Response {
    let slow = || {
        Problem::busy("this takes long: what was asked may still be done, so look before you ask again")
            .into_response()
    };
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        let answered = tokio::time::timeout(rule.work.time(), next.run(request)).await;
        return answered.unwrap_or_else(|_| slow());
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
    match tokio::time::timeout(rule.work.time(), work).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Problem::broken("the request went wrong; please report this").into_response(),
        Err(_) => slow(),
    }
}

/// Waits for the body, so that whoever sends one slowly holds no place among the changes. Torrents have places of their own.
async fn whole(rule: &Rule, request: Request) -> Result<Request, Problem> {
    if rule.work == Work::Receive {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let body = JSON.read(&parts.headers, body).await?;
    Ok(Request::from_parts(parts, body.into()))
}

fn admit(gate: &Gate, request: &Request) -> Result<&'static Rule, Problem> {
    let rule = rule(request)?;
    let extensions = request.extensions();
    if rule.work == Work::Open || extensions.get::<Local>().is_some() {
        return Ok(rule);
    }
    let (Some(token), Some(&Caller(from))) = (&gate.token, extensions.get::<Caller>()) else {
        return Err(Problem::broken(
            "the request came from nowhere; please report this",
        ));
    };
    let wanted =
        "send the token of the file api-token in the seeder's state folder as \"Authorization: Bearer …\"";
    let Some(said) = bearer(request.headers())? else {
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            format!("this needs a token: {wanted}"),
        ));
    };
    let (guesses, now) = (&gate.api.guesses, gate.api.clock.now());
    if let Some(wait) = guesses.wait(from, now) {
        let why = format!(
            "too many wrong tokens came from your network: wait {} s",
            whole_secs(wait)
        );
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, why).after(wait));
    }
    if token.is(said) {
        return Ok(rule);
    }
    guesses.wrong(from, now);
    let why = format!("the token is wrong: {wanted}");
    Err(Problem::new(StatusCode::UNAUTHORIZED, why))
}

/// The table's row for a request. Routes that no row names are answered to nobody.
fn rule(request: &Request) -> Result<&'static Rule, Problem> {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let path = path
        .and_then(|path| path.strip_prefix(PREFIX))
        .unwrap_or_default();
    // A HEAD is a GET whose body is not sent.
    let method = match request.method() {
        &Method::HEAD => "GET",
        method => method.as_str(),
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
