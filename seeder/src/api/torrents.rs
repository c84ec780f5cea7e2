//! `/torrents`: the list, a torrent's coming, its details, its treatment, its going.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use axum::Json as Answered;
use axum::body::Body;
use axum::extract::{FromRequest as _, FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, StatusCode};
use edge::body::{Asked, Json, Named, TORRENT, expect_type};
use edge::problem::Problem;
use shared::magnet::Magnet;
use shared::metainfo::Metainfo;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::actions::few;
use super::bodies::{AddQuery, Added, HowToAdd, NewTorrent, Page, Removing, TorrentList, Treatment, Without};
use super::treatment::Before;
use crate::engine::{
    AddError, AddTorrent, ChangeError, Content, Details, Mode, Options, Source, Stage, Summary, TorrentKey,
};
use crate::library::torrent_file::read_torrent;

/// The media type of a .torrent file.
const TORRENT_TYPE: &str = "application/x-bittorrent";

/// Torrents on a page, where the request does not say.
const PAGE: usize = 1_000;

/// Torrents on a page, at most.
const PAGE_MAX: usize = 10_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(show, change, remove))
}

/// All torrents, or a part of them, in the order in which they were added.
#[utoipa::path(get, path = "/torrents", tag = "torrents", params(Page), responses((status = 200, body = TorrentList)))]
async fn list(
    State(api): State<Arc<Api>>,
    Asked(page): Asked<Page>,
) -> Result<Answered<TorrentList>, Problem> {
    let stage = page.stage.as_deref().map(check_stage).transpose()?;
    let search = page.search.map(|search| search.to_lowercase());
    let mut torrents = api.engine.list().await;
    torrents.retain(|torrent| {
        stage.is_none_or(|stage| stage == word(torrent.stage))
            && search.as_deref().is_none_or(|search| fits(torrent, search))
    });
    let total = torrents.len();
    let limit = page.limit.unwrap_or(PAGE).min(PAGE_MAX);
    let torrents = torrents.into_iter().skip(page.offset).take(limit).collect();
    Ok(Answered(TorrentList { total, torrents }))
}

fn fits(torrent: &Summary, search: &str) -> bool {
    let hashes = [&torrent.info_hash_v1, &torrent.info_hash_v2];
    torrent.name.to_lowercase().contains(search)
        || hashes.into_iter().flatten().any(|hash| hash.starts_with(search))
}

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Opening => "opening",
        Stage::Checking { .. } => "checking",
        Stage::Paused => "paused",
        Stage::Error => "error",
        Stage::Metadata => "metadata",
        Stage::Downloading => "downloading",
        Stage::Seeding => "seeding",
    }
}

fn check_stage(said: &str) -> Result<&str, Problem> {
    let all = [
        "opening",
        "checking",
        "paused",
        "error",
        "metadata",
        "downloading",
        "seeding",
    ];
    if all.contains(&said) {
        return Ok(said);
    }
    Err(Problem::malformed(format!(
        "{said:?} is no stage: say one of {}",
        all.join(", ")
    )))
}

/// Adds a torrent: a .torrent as the body and the rest in the query, or JSON with a magnet link or the path of a .torrent.
#[utoipa::path(post, path = "/torrents", tag = "torrents", params(AddQuery),
    request_body(content((Vec<u8> = "application/x-bittorrent"), (NewTorrent = "application/json"))),
    responses((status = 201, body = Added)))]
async fn add(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<(StatusCode, Answered<Added>), Problem> {
    let Ok(_place) = api.uploads.try_acquire() else {
        return Err(Problem::busy(
            "too many torrents arrive at once: send yours again",
        ));
    };
    let (mut parts, body) = request.into_parts();
    let torrent = if expect_type(&parts.headers, &["application/json"]).is_ok() {
        let request = Request::from_parts(parts, body);
        let Json(new) = Json::<NewTorrent>::from_request(request, &()).await?;
        of_json(&api.defaults, new).await?
    } else {
        expect_type(&parts.headers, &[TORRENT_TYPE, "application/json"])?;
        let Asked(query) = Asked::<AddQuery>::from_request_parts(&mut parts, &()).await?;
        of_file(&api.defaults, query, &parts.headers, body).await?
    };
    let added = named(&torrent.source);
    api.engine.add(torrent).await.map_err(refused)?;
    Ok((StatusCode::CREATED, Answered(added)))
}

fn named(source: &Source) -> Added {
    let (name, v1, v2) = match source {
        Source::Metainfo(metainfo) => {
            let info = &metainfo.info;
            (info.name().to_owned(), info.info_hash_v1(), info.info_hash_v2())
        }
        Source::Magnet(magnet) => (
            magnet.name.clone().unwrap_or_default(),
            magnet.info_hash_v1,
            magnet.info_hash_v2,
        ),
    };
    Added {
        name,
        info_hash_v1: v1.map(|hash| hash.to_string()),
        info_hash_v2: v2.map(|hash| hash.to_string()),
    }
}

fn refused(error: AddError) -> Problem {
    match error {
        AddError::Duplicate(_) | AddError::Clash(_) => Problem::conflict(error.to_string()),
        AddError::Refused(_) => Problem::unusable(error.to_string()),
        AddError::NotKept(_) => Problem::broken(error.to_string()),
        AddError::Stopped => Problem::busy("the seeder is stopping"),
    }
}

async fn of_file(
    defaults: &Options,
    query: AddQuery,
    fields: &HeaderMap,
    body: Body,
) -> Result<AddTorrent, Problem> {
    let options = query
        .options
        .as_deref()
        .map_or(Ok(Treatment::default()), |text| {
            serde_json::from_str(text).map_err(|error| {
                Problem::unusable(format!("the options of the query cannot be used: {error}"))
            })
        })?;
    let new = NewTorrent {
        root: query.root,
        mode: query.mode,
        paused: query.paused,
        check: query.check,
        options,
        ..NewTorrent::default()
    };
    // What is wrong with the rest is said before a long body is waited for.
    root(new.root.as_deref())?;
    let file = TORRENT.read(fields, body).await?;
    of_metainfo(defaults, new, read(&file)?)
}

fn read(file: &[u8]) -> Result<Metainfo, Problem> {
    Metainfo::read(file).map_err(|error| Problem::unusable(format!("the torrent cannot be used: {error}")))
}

async fn of_json(defaults: &Options, new: NewTorrent) -> Result<AddTorrent, Problem> {
    few(&new.peers)?;
    root(new.root.as_deref())?;
    match (&new.magnet, &new.path) {
        (Some(link), None) => {
            let magnet: Magnet = link
                .parse()
                .map_err(|error: shared::magnet::MagnetError| Problem::unusable(error.to_string()))?;
            of_magnet(defaults, new, magnet)
        }
        (None, Some(path)) => {
            let path = path.clone();
            let read = tokio::task::spawn_blocking(move || {
                read_torrent(&absolute("path", &path)?).map_err(|error| Problem::unusable(error.to_string()))
            });
            let metainfo = read
                .await
                .map_err(|_| Problem::broken("reading the torrent went wrong; please report this"))??;
            of_metainfo(defaults, new, metainfo)
        }
        _ => Err(Problem::unusable(
            "say either magnet, a link, or path, a .torrent file that the seeder can read",
        )),
    }
}

fn of_metainfo(defaults: &Options, new: NewTorrent, metainfo: Metainfo) -> Result<AddTorrent, Problem> {
    let files = metainfo.info.files().len();
    let defaults = as_said(defaults, &new);
    let (options, trackers) = new.options.options(&defaults, files)?;
    let trackers = trackers.unwrap_or_else(|| metainfo.trackers.clone());
    Ok(AddTorrent {
        source: Source::Metainfo(Arc::new(metainfo)),
        root: root(new.root.as_deref())?,
        mode: mode(new.mode),
        trackers,
        peers: new.peers,
        options,
    })
}

fn of_magnet(defaults: &Options, mut new: NewTorrent, mut magnet: Magnet) -> Result<AddTorrent, Problem> {
    if new.mode == HowToAdd::Seed {
        return Err(Problem::unusable(
            "mode seed needs the .torrent: a link does not say what the content must be",
        ));
    }
    if let Some(only) = new.options.take_only()? {
        magnet.only = Some(only);
    }
    let defaults = as_said(defaults, &new);
    let (options, trackers) = new.options.options(&defaults, 0)?;
    // A link has no tiers; each tracker is one of its own (BEP 9).
    let trackers = trackers.unwrap_or_else(|| magnet.trackers.iter().map(|url| vec![url.clone()]).collect());
    let mut peers = new.peers;
    peers.extend(&magnet.peers);
    Ok(AddTorrent {
        root: root(new.root.as_deref())?,
        mode: Mode::Get,
        trackers,
        peers,
        options,
        source: Source::Magnet(Box::new(magnet)),
    })
}

/// What stands beside the treatment.
fn as_said(defaults: &Options, new: &NewTorrent) -> Options {
    Options {
        paused: new.paused,
        check: new.check.map_or(defaults.check, Into::into),
        ..defaults.clone()
    }
}

fn mode(said: HowToAdd) -> Mode {
    match said {
        HowToAdd::Get => Mode::Get,
        HowToAdd::Seed => Mode::Seed,
    }
}

fn root(said: Option<&Path>) -> Result<PathBuf, Problem> {
    let said = said.ok_or_else(|| {
        Problem::unusable("root is missing: say the folder that holds, or will hold, the torrent's files")
    })?;
    absolute("root", said)
}

/// A whole path: where the seeder happens to have been started says nothing to whoever asks.
pub(super) fn absolute(what: &str, path: &Path) -> Result<PathBuf, Problem> {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if path.is_absolute() && plain {
        return Ok(path.to_owned());
    }
    Err(Problem::unusable(format!(
        "{what} {} is no whole path: begin with / and leave out ..",
        path.display()
    )))
}

/// Everything about a torrent.
#[utoipa::path(get, path = "/torrents/{hash}", tag = "torrents", params(("hash" = String, Path), Without), responses((status = 200, body = Details)))]
async fn show(
    State(api): State<Arc<Api>>,
    Named(hash): Named<String>,
    Asked(Without { without }): Asked<Without>,
) -> Result<Answered<Details>, Problem> {
    let key = api.named(&hash).await?;
    let mut details = details(&api, key).await?;
    for part in without.split(',').filter(|part| !part.is_empty()) {
        match part {
            "files" => details.files.clear(),
            "peers" => details.peers.clear(),
            "trackers" => details.trackers.clear(),
            "pieces" => {
                details.pieces.clear();
                details.availability.clear();
            }
            part => {
                return Err(Problem::malformed(format!(
                    "{part:?} is no part of the details: say files, peers, trackers or pieces"
                )));
            }
        }
    }
    Ok(Answered(details))
}

async fn details(api: &Api, key: TorrentKey) -> Result<Details, Problem> {
    let details = api.engine.details(key).await;
    details.ok_or_else(|| unchanged(ChangeError::Unknown))
}

/// Changes how a torrent is treated. What is not named stays as it is.
#[utoipa::path(patch, path = "/torrents/{hash}", tag = "torrents", params(("hash" = String, Path)), request_body = Treatment, responses((status = 200, body = Details)))]
async fn change(
    State(api): State<Arc<Api>>,
    Named(hash): Named<String>,
    Json(treatment): Json<Treatment>,
) -> Result<Answered<Details>, Problem> {
    let key = api.named(&hash).await?;
    {
        // Nothing in here waits for a disk with torrents: it keeps all others waiting.
        let _alone = api.options.lock().await;
        let treated = api.engine.options(key).await;
        let (options, files) = treated.ok_or_else(|| unchanged(ChangeError::Unknown))?;
        let change = treatment.change(Before::of(&options, files))?;
        api.engine.change(key, change).await.map_err(unchanged)?;
    }
    details(&api, key).await.map(Answered)
}

/// Lets go of a torrent. Its files stay, unless the query says otherwise.
#[utoipa::path(delete, path = "/torrents/{hash}", tag = "torrents", params(("hash" = String, Path), Removing), responses((status = 204)))]
async fn remove(
    State(api): State<Arc<Api>>,
    Named(hash): Named<String>,
    Asked(Removing { delete }): Asked<Removing>,
) -> Result<StatusCode, Problem> {
    let key = api.named(&hash).await?;
    let content = if delete { Content::Delete } else { Content::Keep };
    api.engine.remove(key, content).await.map_err(unchanged)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why nothing has changed.
pub(super) fn unchanged(error: ChangeError) -> Problem {
    let words = error.to_string();
    match error {
        ChangeError::Unknown => Problem::not_found("the torrent has gone meanwhile"),
        ChangeError::NoMetadata
        | ChangeError::OnlyGiven
        | ChangeError::Kept { .. }
        | ChangeError::NotNow(_)
        | ChangeError::Disk { .. } => Problem::conflict(words),
        ChangeError::NoSuchFile(_) | ChangeError::Refused(_) => Problem::unusable(words),
        ChangeError::NotKept(_) => Problem::broken(words),
        ChangeError::Stopped => Problem::busy("the seeder is stopping"),
    }
}
