//! The tracker as a whole: what it wants of torrents, its numbers, its log of changes, reload and backup.

use std::path::Path;
use std::sync::Arc;

use axum::Json as Answered;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::bodies::{AuditPage, Backup, BackupCard, Census, Page, PolicyCard, Reloaded, StatsCard};
use super::{Api, Running};
use crate::members::store::BackupError;
use edge::body::{Asked, Json};
use edge::problem::Problem;

pub(crate) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(policy))
        .routes(routes!(stats))
        .routes(routes!(audit))
        .routes(routes!(reload))
        .routes(routes!(backup))
}

/// What the tracker wants of torrents.
#[utoipa::path(get, path = "/policy", tag = "tracker", responses((status = 200, body = PolicyCard)))]
async fn policy(State(api): State<Arc<Api>>) -> Answered<PolicyCard> {
    let settings = api.office().settings();
    Answered(PolicyCard {
        private: settings.require_private,
        source: Some(settings.source.clone()).filter(|source| !source.is_empty()),
        open: settings.open,
        announce_url: format!("{}/{{passkey}}/announce", settings.announce_base),
        announce_url_guessed: settings.announce_guessed,
    })
}

/// How many of everything there are.
#[utoipa::path(get, path = "/stats", tag = "tracker", responses((status = 200, body = StatsCard)))]
async fn stats(State(api): State<Arc<Api>>) -> Answered<StatsCard> {
    let date = api.parts.clock.date();
    let directory = api.office().directory();
    let census = directory.census(date);
    Answered(StatsCard {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        members: Census {
            active: census.active,
            disabled: census.disabled,
            expired: census.expired,
        },
        key_alarms: u64::try_from(directory.alarms(date)).unwrap_or(u64::MAX),
        torrents: u64::try_from(api.office().register().len()).unwrap_or(u64::MAX),
        swarms: api.running().map(Running::swarms),
    })
}

/// The latest changes that people made.
#[utoipa::path(get, path = "/audit", tag = "tracker", params(Page), responses((status = 200, body = AuditPage)))]
async fn audit(
    State(api): State<Arc<Api>>,
    Asked(page): Asked<Page>,
) -> Result<Answered<AuditPage>, Problem> {
    let changes = api.office().audit(page.limit()).await?;
    Ok(Answered(AuditPage { changes }))
}

/// Reads the settings again. They are refused whole where anything in them is wrong.
#[utoipa::path(post, path = "/reload", tag = "tracker", responses((status = 200, body = Reloaded)))]
async fn reload(State(api): State<Arc<Api>>) -> Result<Answered<Reloaded>, Problem> {
    let running = api.running().ok_or_else(|| {
        Problem::conflict("no tracker runs on this folder: the next start reads the settings anyway")
    })?;
    let changes = running.reload().await?;
    Ok(Answered(Reloaded { changes }))
}

/// Writes all there is into a new file, while the tracker runs.
#[utoipa::path(post, path = "/backup", tag = "tracker", request_body = Backup, responses((status = 201, body = BackupCard)))]
async fn backup(
    State(api): State<Arc<Api>>,
    Json(Backup { path }): Json<Backup>,
) -> Result<(StatusCode, Answered<BackupCard>), Problem> {
    let file = Path::new(&path);
    if !file.is_absolute() {
        return Err(Problem::unusable(format!(
            "path: {path:?} must begin with a slash"
        )));
    }
    // Without the last seconds a backup is still one.
    let _ = api.settle().await;
    api.parts.store.backup(file, &api.parts.secret).await?;
    let bytes = tokio::fs::metadata(file).await.map_or(0, |found| found.len());
    let warning =
        "this file holds the secret that all keys hang on: keep it as safe as the data folder".to_owned();
    Ok((StatusCode::CREATED, Answered(BackupCard { path, bytes, warning })))
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Exists { .. } => Self::conflict(error.to_string()),
            BackupError::File { .. } => Self::unusable(error.to_string()),
            BackupError::Store(error) => Self::from(error),
        }
    }
}
