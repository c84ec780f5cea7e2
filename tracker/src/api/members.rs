//! `/members`: who may announce, and what they gave and took.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json as Answered};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::auth::Identity;
use super::bodies::{Disable, Expire, MemberPage, NewMember, Page, Rotate};
use super::scope::Scope;
use crate::http::trace::{Heard, Listening, Traced};
use crate::members::books::FlushError;
use crate::members::office::{AddMember, MemberCard, MemberReport, OfficeError};
use crate::members::store::Role;
use edge::body::{Asked, Json, MaybeJson, Named};
use edge::problem::Problem;

/// A stream that says nothing for so long gets an empty line, which tells whether anybody still reads it.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// A database that does not answer within this time is passed by.
const DETAILS_TIME: Duration = Duration::from_secs(2);

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(show, forget))
        .routes(routes!(rotate))
        .routes(routes!(disable))
        .routes(routes!(enable))
        .routes(routes!(expire))
        .routes(routes!(trace))
}

/// All members, by name.
#[utoipa::path(get, path = "/members", tag = "members", params(Page), responses((status = 200, body = MemberPage)))]
async fn list(
    State(api): State<Arc<Api>>,
    Asked(page): Asked<Page>,
) -> Result<Answered<MemberPage>, Problem> {
    let members = api.office().members();
    let (mut members, total) = page.cut(members, |member| &member.name);
    members.iter_mut().for_each(hide_keys);
    Ok(Answered(MemberPage { members, total }))
}

/// Adds a member.
#[utoipa::path(post, path = "/members", tag = "members", request_body = NewMember, responses((status = 201, body = MemberCard)))]
async fn add(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Json(new): Json<NewMember>,
) -> Result<(StatusCode, Answered<MemberCard>), Problem> {
    if new.role == Role::Owner && !identity.may(Scope::Admin) {
        let why = "role: only a token with the scope admin makes owners";
        return Err(Problem::new(StatusCode::FORBIDDEN, why));
    }
    let new = AddMember {
        name: new.name,
        role: new.role,
        kind: new.kind,
        expires: new.expires.map(|stamp| stamp.0),
        torrent: new.torrent,
    };
    let card = api.office().add_member(&Api::actor(&identity), new).await?;
    Ok((StatusCode::CREATED, Answered(card)))
}

/// Everything about a member. The key and the announce URL are in it for who has the scope members; an owner's, for admins.
#[utoipa::path(get, path = "/members/{name}", tag = "members", params(("name" = String, Path)), responses((status = 200, body = MemberReport)))]
async fn show(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Named(name): Named<String>,
) -> Result<Answered<MemberReport>, Problem> {
    let mut report = api.report(&name).await?;
    if !identity.may(Scope::Members) || may_manage(&api, &identity, &name).is_err() {
        hide_keys(&mut report.member);
    }
    Ok(Answered(report))
}

/// Erases a person; the sums of torrents and of the tracker stay.
#[utoipa::path(delete, path = "/members/{name}", tag = "members", params(("name" = String, Path)), responses((status = 204)))]
async fn forget(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Named(name): Named<String>,
) -> Result<StatusCode, Problem> {
    may_manage(&api, &identity, &name)?;
    api.office().forget(&Api::actor(&identity), &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a member a new key.
#[utoipa::path(post, path = "/members/{name}/rotate", tag = "members", params(("name" = String, Path)), request_body = Option<Rotate>, responses((status = 200, body = MemberCard)))]
async fn rotate(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Named(name): Named<String>,
    MaybeJson(rotate): MaybeJson<Rotate>,
) -> Result<Answered<MemberCard>, Problem> {
    may_manage(&api, &identity, &name)?;
    let grace = rotate.grace_secs.map(Duration::from_secs);
    let card = api.office().rotate(&Api::actor(&identity), &name, grace).await?;
    Ok(Answered(card))
}

/// Refuses a member's announces from now on, with a reason that the client shows.
#[utoipa::path(post, path = "/members/{name}/disable", tag = "members", params(("name" = String, Path)), request_body = Disable, responses((status = 200, body = MemberCard)))]
async fn disable(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Named(name): Named<String>,
    Json(disable): Json<Disable>,
) -> Result<Answered<MemberCard>, Problem> {
    may_manage(&api, &identity, &name)?;
    let card = api
        .office()
        .disable(&Api::actor(&identity), &name, &disable.reason)
        .await?;
    Ok(Answered(card))
}

/// Answers a disabled member's announces again.
#[utoipa::path(post, path = "/members/{name}/enable", tag = "members", params(("name" = String, Path)), responses((status = 200, body = MemberCard)))]
async fn enable(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Named(name): Named<String>,
) -> Result<Answered<MemberCard>, Problem> {
    may_manage(&api, &identity, &name)?;
    let card = api.office().enable(&Api::actor(&identity), &name).await?;
    Ok(Answered(card))
}

/// Sets when a member's key stops working.
#[utoipa::path(post, path = "/members/{name}/expire", tag = "members", params(("name" = String, Path)), request_body = Expire, responses((status = 200, body = MemberCard)))]
async fn expire(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Named(name): Named<String>,
    Json(expire): Json<Expire>,
) -> Result<Answered<MemberCard>, Problem> {
    may_manage(&api, &identity, &name)?;
    let expires = expire.expires.map(|stamp| stamp.0);
    let card = api
        .office()
        .expire(&Api::actor(&identity), &name, expires)
        .await?;
    Ok(Answered(card))
}

/// A member's announces as they come, one JSON object a line, until the reader goes or the tracker stops. `{"missed": 3}` says that
/// the reader was too slow for three announces; an empty line says nothing, and shows that the stream is alive.
#[utoipa::path(get, path = "/members/{name}/trace", tag = "members", params(("name" = String, Path)), responses((status = 200, body = TracedOf, content_type = "application/x-ndjson")))]
async fn trace(State(api): State<Arc<Api>>, Named(name): Named<String>) -> Result<Response, Problem> {
    let member = api.office().member_id(&name)?;
    let running = api
        .running()
        .ok_or_else(|| Problem::conflict("no tracker runs on this folder: start it to watch it"))?;
    let place = Arc::clone(&api.traces).try_acquire_owned();
    let place = place.map_err(|_| Problem::busy("too many traces are watched already: end one"))?;
    let watching = Watching {
        name: api.office().member_name(member).unwrap_or_else(|| name.into()),
        listening: running.tracer.listen(member),
        _place: place,
    };
    let lines = futures_util::stream::unfold(watching, async |mut watching| {
        let line = watching.next_line().await?;
        Some((Ok::<_, std::convert::Infallible>(line), watching))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

/// A line of a trace.
#[derive(Debug, Serialize, ToSchema)]
struct TracedOf<'a> {
    /// The member's name.
    member: &'a str,
    #[serde(flatten)]
    traced: &'a Traced,
}

/// One reader of a trace; dropping it ends it.
struct Watching {
    name: Arc<str>,
    listening: Listening,
    _place: OwnedSemaphorePermit,
}

impl Watching {
    /// None once the tracker stops.
    async fn next_line(&mut self) -> Option<String> {
        let heard = match tokio::time::timeout(HEARTBEAT, self.listening.next()).await {
            Ok(heard) => heard?,
            Err(_) => return Some("\n".to_owned()),
        };
        let mut line = match heard {
            Heard::Announce(traced) => {
                let (member, traced) = (&*self.name, &*traced);
                serde_json::to_string(&TracedOf { member, traced }).unwrap_or_default()
            }
            Heard::Missed(count) => format!("{{\"missed\":{count}}}"),
        };
        line.push('\n');
        Some(line)
    }
}

/// An owner's key and the right to lock an owner out belong to who may make owners.
pub(crate) fn may_manage(api: &Api, identity: &Identity, name: &str) -> Result<(), Problem> {
    if identity.may(Scope::Admin) || !api.office().is_owner(name) {
        return Ok(());
    }
    let why = "this is an owner: it takes a token with the scope admin";
    Err(Problem::new(StatusCode::FORBIDDEN, why))
}

/// Takes out of a card what only its member and who manages members may see.
fn hide_keys(card: &mut MemberCard) {
    card.passkey = None;
    card.announce_url = None;
}

impl Api {
    /// A member's report, after what its clients have said last was written. Where the database does not answer, there are the
    /// totals, which are in memory, and a word about it.
    pub(crate) async fn report(&self, name: &str) -> Result<MemberReport, Problem> {
        let settled = self.settle().await;
        let details = tokio::time::timeout(DETAILS_TIME, self.office().member(name)).await;
        match details {
            Ok(Ok(mut report)) => {
                report.warnings.extend(unsettled(settled));
                Ok(report)
            }
            Ok(Err(OfficeError::Store(_))) | Err(_) => self.bare_report(name),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    fn bare_report(&self, name: &str) -> Result<MemberReport, Problem> {
        let members = self.office().members();
        let id = self.office().member_id(name)?;
        let found = members
            .into_iter()
            .find(|member| self.office().member_id(&member.name).ok() == Some(id));
        let member = found.ok_or_else(|| Problem::not_found(format!("there is no member {name:?}")))?;
        Ok(MemberReport {
            member,
            torrents: Vec::new(),
            seeded_secs: 0,
            completions: 0,
            invited: Vec::new(),
            marks: Vec::new(),
            warnings: vec!["the database does not answer: only the totals are known now".to_owned()],
        })
    }

    /// Has the books write what is not in the store yet.
    pub(crate) async fn settle(&self) -> Result<(), FlushError> {
        match self.running() {
            Some(running) => running.settle().await,
            None => Ok(()),
        }
    }
}

/// What is said where the books could not be written in time.
pub(crate) fn unsettled(settled: Result<(), FlushError>) -> Option<String> {
    settled
        .is_err()
        .then(|| "the database is slow: what single torrents show may lack the last seconds".to_owned())
}
