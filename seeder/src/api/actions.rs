//! What a torrent is told to do: rest, go on, look at its files, ask its trackers, call peers, move.

use std::net::SocketAddr;
use std::path::Component;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use edge::body::{Json, MaybeJson, Named};
use edge::problem::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::bodies::{AnnounceNow, HowToCheck, MoveTo, NewPeers, Recheck, RenameTo};
use super::torrents::{absolute, unchanged};

/// Peers in one request.
const PEERS_MAX: usize = 1_000;

/// What an action answers: it is done, or has begun.
type Done = Result<StatusCode, Problem>;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(recheck))
        .routes(routes!(announce))
        .routes(routes!(peers))
        .routes(routes!(relocate))
        .routes(routes!(rename))
}

/// Lets a torrent rest, over restarts too.
#[utoipa::path(post, path = "/torrents/{hash}/pause", tag = "actions", params(("hash" = String, Path)), responses((status = 204)))]
async fn pause(State(api): State<Arc<Api>>, Named(hash): Named<String>) -> Done {
    let key = api.named(&hash).await?;
    done(api.engine.pause(key).await.map_err(unchanged))
}

/// Ends a torrent's rest. Of one that had been given enough, that goal counts no more.
#[utoipa::path(post, path = "/torrents/{hash}/resume", tag = "actions", params(("hash" = String, Path)), responses((status = 204)))]
async fn resume(State(api): State<Arc<Api>>, Named(hash): Named<String>) -> Done {
    let key = api.named(&hash).await?;
    done(api.engine.resume(key).await.map_err(unchanged))
}

/// Looks at a torrent's files again. Answered when it begins; the event `checked` tells of the end.
#[utoipa::path(post, path = "/torrents/{hash}/recheck", tag = "actions", params(("hash" = String, Path)), request_body = Recheck, responses((status = 202)))]
async fn recheck(
    State(api): State<Arc<Api>>,
    Named(hash): Named<String>,
    MaybeJson(Recheck { check }): MaybeJson<Recheck>,
) -> Done {
    let key = api.named(&hash).await?;
    let check = check.unwrap_or(HowToCheck::Full).into();
    api.engine.recheck(key, check).await.map_err(unchanged)?;
    Ok(StatusCode::ACCEPTED)
}

/// Asks a torrent's trackers. The answers come as events.
#[utoipa::path(post, path = "/torrents/{hash}/announce", tag = "actions", params(("hash" = String, Path)), request_body = AnnounceNow, responses((status = 202)))]
async fn announce(
    State(api): State<Arc<Api>>,
    Named(hash): Named<String>,
    MaybeJson(AnnounceNow { force }): MaybeJson<AnnounceNow>,
) -> Done {
    let key = api.named(&hash).await?;
    api.engine.announce(key, force).await.map_err(unchanged)?;
    Ok(StatusCode::ACCEPTED)
}

/// Tells a torrent of peers, which it calls when it has use for them.
#[utoipa::path(post, path = "/torrents/{hash}/peers", tag = "actions", params(("hash" = String, Path)), request_body = NewPeers, responses((status = 202)))]
async fn peers(
    State(api): State<Arc<Api>>,
    Named(hash): Named<String>,
    Json(NewPeers { peers }): Json<NewPeers>,
) -> Done {
    few(&peers)?;
    let key = api.named(&hash).await?;
    api.engine.add_peers(key, peers).await.map_err(unchanged)?;
    Ok(StatusCode::ACCEPTED)
}

/// Peers that one request names, as far as they are not too many.
pub(super) fn few(peers: &[SocketAddr]) -> Result<(), Problem> {
    if peers.len() <= PEERS_MAX {
        return Ok(());
    }
    Err(Problem::unusable(format!(
        "{} peers are too many at once: send at most {PEERS_MAX}",
        peers.len()
    )))
}

/// Moves a torrent's files to another folder while it goes on. Answered when they are there, which may take long.
#[utoipa::path(post, path = "/torrents/{hash}/move", tag = "actions", params(("hash" = String, Path)), request_body = MoveTo, responses((status = 204)))]
async fn relocate(
    State(api): State<Arc<Api>>,
    Named(hash): Named<String>,
    Json(MoveTo { root }): Json<MoveTo>,
) -> Done {
    let root = absolute("root", &root)?;
    let key = api.named(&hash).await?;
    done(api.engine.relocate(key, root).await.map_err(unchanged))
}

/// Gives one of a torrent's files another path below the root.
#[utoipa::path(post, path = "/torrents/{hash}/rename", tag = "actions", params(("hash" = String, Path)), request_body = RenameTo, responses((status = 204)))]
async fn rename(
    State(api): State<Arc<Api>>,
    Named(hash): Named<String>,
    Json(RenameTo { file, to }): Json<RenameTo>,
) -> Done {
    let inside = to.components().all(|part| matches!(part, Component::Normal(_)));
    if !inside || to.as_os_str().is_empty() {
        return Err(Problem::unusable(format!(
            "to {} is no path below the root: leave out the leading / and ..",
            to.display()
        )));
    }
    let key = api.named(&hash).await?;
    done(api.engine.rename(key, file, to).await.map_err(unchanged))
}

fn done(result: Result<(), Problem>) -> Done {
    result.map(|()| StatusCode::NO_CONTENT)
}
