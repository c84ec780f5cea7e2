//! `/torrents` and `/tariff`: the register, and what bytes count for.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json as Answered};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::auth::Identity;
use super::bodies::{FileWanted, NewTariff, Page, Registering, Removing, TariffPage};
use super::members::{may_manage, unsettled};
use super::scope::Scope;
use crate::members::ids::MemberId;
use crate::members::office::{AddTorrent, Stamp, TariffCard, TorrentCard, TorrentPage, TorrentReport};
use edge::body::{Asked, Json, Named, TORRENT, expect_type};
use edge::problem::Problem;

/// The media type of a .torrent file.
const TORRENT_TYPE: &str = "application/x-bittorrent";

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(show, remove))
        .routes(routes!(file))
        .routes(routes!(set_tariff_of, drop_tariff_of))
        .routes(routes!(tariff, set_tariff, drop_tariff))
}

/// Registered torrents, newest first.
#[utoipa::path(get, path = "/torrents", tag = "torrents", params(Page), responses((status = 200, body = TorrentPage)))]
async fn list(
    State(api): State<Arc<Api>>,
    Asked(page): Asked<Page>,
) -> Result<Answered<TorrentPage>, Problem> {
    let search = page.search.as_deref().unwrap_or_default();
    let (skip, limit) = (u64::from(page.offset), page.limit());
    Ok(Answered(api.office().torrents(search, skip, limit).await?))
}

/// Registers a .torrent file, which is the body. Where `private` or `source` is set, the info-hash changes: the answer tells
/// the new one, and the registered file is to be used.
#[utoipa::path(post, path = "/torrents", tag = "torrents", params(Registering),
    request_body(content = Vec<u8>, content_type = "application/x-bittorrent"), responses((status = 201, body = TorrentCard)))]
async fn add(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Asked(wishes): Asked<Registering>,
    request: Request,
) -> Result<(StatusCode, Answered<TorrentCard>), Problem> {
    let Ok(_place) = api.uploads.try_acquire() else {
        return Err(Problem::busy(
            "too many torrents arrive at once: send yours again",
        ));
    };
    let (parts, body) = request.into_parts();
    // A torrent is known by its bytes; only what is plainly meant as something else is turned away.
    if parts.headers.contains_key(header::CONTENT_TYPE) {
        expect_type(&parts.headers, &[TORRENT_TYPE, "application/octet-stream"])?;
    }
    let file = TORRENT.read(&parts.headers, body).await?;
    let wishes = AddTorrent {
        private: wishes.private,
        source: wishes.source,
        description: wishes.description,
    };
    let card = api
        .office()
        .add_torrent(&Api::actor(&identity), &file, wishes)
        .await?;
    Ok((StatusCode::CREATED, Answered(card)))
}

/// Everything about a torrent, by one of its hashes or the beginning of one.
#[utoipa::path(get, path = "/torrents/{hash}", tag = "torrents", params(("hash" = String, Path)), responses((status = 200, body = TorrentReport)))]
async fn show(
    State(api): State<Arc<Api>>,
    Named(hash): Named<String>,
) -> Result<Answered<TorrentReport>, Problem> {
    let settled = api.settle().await;
    let mut report = api.office().torrent(&hash).await?;
    report.torrent.warnings.extend(unsettled(settled));
    Ok(Answered(report))
}

/// Removes a torrent; clients are told the reason for a while.
#[utoipa::path(delete, path = "/torrents/{hash}", tag = "torrents", params(("hash" = String, Path), Removing), responses((status = 200, body = TorrentCard)))]
async fn remove(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Named(hash): Named<String>,
    Asked(Removing { reason }): Asked<Removing>,
) -> Result<Answered<TorrentCard>, Problem> {
    let card = api
        .office()
        .remove_torrent(&Api::actor(&identity), &hash, &reason)
        .await?;
    Ok(Answered(card))
}

/// The .torrent file with a member's own announce URL in it. Members get theirs; others must name a member.
#[utoipa::path(get, path = "/torrents/{hash}/file", tag = "torrents", params(("hash" = String, Path), FileWanted),
    responses((status = 200, body = Vec<u8>, content_type = "application/x-bittorrent")))]
async fn file(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Named(hash): Named<String>,
    Asked(wanted): Asked<FileWanted>,
) -> Result<Response, Problem> {
    let member = whose(&api, &identity, wanted.member.as_deref())?;
    let file = api
        .office()
        .torrent_file_for(&hash, member, wanted.one_torrent_key)
        .await?;
    let name: String = hash.chars().filter(char::is_ascii_hexdigit).collect();
    let fields = [
        (header::CONTENT_TYPE, TORRENT_TYPE.to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}.torrent\""),
        ),
    ];
    Ok((fields, Body::from(file)).into_response())
}

/// Another member's file holds that member's key, so it takes the right to see keys.
fn whose(api: &Api, identity: &Identity, named: Option<&str>) -> Result<MemberId, Problem> {
    let Some(name) = named else {
        let unnamed = || Problem::unusable("member: name the member whose announce URL shall be in the file");
        return identity.member().ok_or_else(unnamed);
    };
    if identity.may(Scope::Members) {
        may_manage(api, identity, name)?;
        return Ok(api.office().member_id(name)?);
    }
    let own = identity
        .member()
        .filter(|own| api.office().member_id(name).ok() == Some(*own));
    own.ok_or_else(|| {
        let why = "member: the file of another member takes a token with the scope members";
        Problem::new(StatusCode::FORBIDDEN, why)
    })
}

/// Sets what a torrent's bytes count for.
#[utoipa::path(put, path = "/torrents/{hash}/tariff", tag = "tariff", params(("hash" = String, Path)), request_body = NewTariff, responses((status = 204)))]
async fn set_tariff_of(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Named(hash): Named<String>,
    Json(new): Json<NewTariff>,
) -> Result<StatusCode, Problem> {
    change_tariff(&api, &identity, Some(&hash), Some(new)).await
}

/// A torrent's bytes count as all others again.
#[utoipa::path(delete, path = "/torrents/{hash}/tariff", tag = "tariff", params(("hash" = String, Path)), responses((status = 204)))]
async fn drop_tariff_of(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Named(hash): Named<String>,
) -> Result<StatusCode, Problem> {
    change_tariff(&api, &identity, Some(&hash), None).await
}

/// What bytes count for, where a torrent has no tariff of its own.
#[utoipa::path(get, path = "/tariff", tag = "tariff", responses((status = 200, body = TariffPage)))]
async fn tariff(State(api): State<Arc<Api>>) -> Answered<TariffPage> {
    let settings = api.office().settings();
    Answered(TariffPage {
        set: api.office().tariff(),
        settings: TariffCard {
            upload_percent: settings.tariff.upload_percent,
            download_percent: settings.tariff.download_percent,
            until: settings.tariff_until.map(Stamp),
        },
    })
}

/// Sets what bytes count for; it goes before the settings.
#[utoipa::path(put, path = "/tariff", tag = "tariff", request_body = NewTariff, responses((status = 204)))]
async fn set_tariff(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
    Json(new): Json<NewTariff>,
) -> Result<StatusCode, Problem> {
    change_tariff(&api, &identity, None, Some(new)).await
}

/// Bytes count as the settings say again.
#[utoipa::path(delete, path = "/tariff", tag = "tariff", responses((status = 204)))]
async fn drop_tariff(
    State(api): State<Arc<Api>>,
    Extension(identity): Extension<Identity>,
) -> Result<StatusCode, Problem> {
    change_tariff(&api, &identity, None, None).await
}

async fn change_tariff(
    api: &Api,
    identity: &Identity,
    hash: Option<&str>,
    new: Option<NewTariff>,
) -> Result<StatusCode, Problem> {
    let tariff = new.map(|new| TariffCard {
        upload_percent: new.upload_percent,
        download_percent: new.download_percent,
        until: new.until,
    });
    api.office()
        .set_tariff(&Api::actor(identity), hash, tariff)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
