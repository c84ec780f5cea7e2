//! Reads what a request brings: bodies with a bound on their size and on the whole time they may take, JSON without unknown
//! fields, names and queries with an error that says what is wrong. Everything refused here is a [`Problem`].

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// JSON is short.
pub const JSON: Bounds = Bounds {
    bytes: 64 * 1024,
    time: Duration::from_secs(10),
};

/// A .torrent of 32 MiB describes some terabytes; the time is for an uplink of 1 Mbit/s.
pub const TORRENT: Bounds = Bounds {
    bytes: 32 * 1024 * 1024,
    time: Duration::from_secs(300),
};

/// How much a body may hold, and when it must be whole.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    bytes: usize,
    time: Duration,
}

impl Bounds {
    /// Reads a whole body.
    pub async fn read(self, fields: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
        let said = fields
            .get(header::CONTENT_LENGTH)
            .and_then(|field| field.to_str().ok());
        if said
            .and_then(|said| said.parse::<usize>().ok())
            .is_some_and(|said| said > self.bytes)
        {
            return Err(self.too_large());
        }
        let read = tokio::time::timeout(self.time, Limited::new(body, self.bytes).collect());
        match read.await {
            Err(_) => {
                let secs = self.time.as_secs();
                let why = format!("the body was not whole after {secs} s: send it faster");
                Err(Problem::new(StatusCode::REQUEST_TIMEOUT, why))
            }
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(self.too_large()),
            Ok(Err(_)) => Err(Problem::malformed("the body broke off: send it again")),
            Ok(Ok(body)) => Ok(body.to_bytes()),
        }
    }

    fn too_large(self) -> Problem {
        let most = self.bytes / 1024;
        let why = format!("the body is too large: this route takes at most {most} KiB");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, why)
    }
}

/// A body in JSON.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        expect_type(&parts.headers, &["application/json"])?;
        let body = JSON.read(&parts.headers, body).await?;
        from_json(&body).map(Self)
    }
}

/// A body in JSON, or none at all where every field has a default.
#[derive(Debug)]
pub struct MaybeJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let body = JSON.read(&parts.headers, body).await?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        expect_type(&parts.headers, &["application/json"])?;
        from_json(&body).map(Self)
    }
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // A list would be read as an object's fields in their order, and an empty one as nothing asked for.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::unusable(
            "a list is not what was expected: send an object",
        ));
    }
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Problem::unusable(format!(
                "the JSON of the body says something else than expected: {error}"
            ))
        } else {
            Problem::malformed(format!("the body is not JSON: {error}"))
        }
    })
}

/// Refuses a body of another kind. Parameters such as a charset do not matter.
pub fn expect_type(fields: &HeaderMap, allowed: &[&str]) -> Result<(), Problem> {
    let said = fields.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let said = said.unwrap_or_default();
    let essence = said
        .split(|&byte| byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    if allowed
        .iter()
        .any(|kind| essence.eq_ignore_ascii_case(kind.as_bytes()))
    {
        return Ok(());
    }
    let why = format!("the body must have the content-type {}", allowed.join(" or "));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why))
}

/// A part of the path: a member's name, a hash, a number.
#[derive(Debug)]
pub struct Named<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::<T>::from_request_parts(parts, state).await;
        let read = read.map(|Path(value)| Self(value));
        read.map_err(|error| Problem::malformed(format!("the path cannot be read: {}", error.body_text())))
    }
}

/// What stands behind the `?`.
#[derive(Debug)]
pub struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        let read = read.map(|Query(value)| Self(value));
        read.map_err(|error| Problem::malformed(format!("the query cannot be used: {}", error.body_text())))
    }
}
