//! What belongs to the process and not to one torrent: its sums and its bounds.

use std::sync::Arc;

use axum::Json as Answered;
use axum::extract::State;
use edge::body::Json;
use edge::problem::Problem;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::bodies::{LimitsChange, Stats};
use super::torrents::unchanged;
use crate::engine::Rates;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(stats))
        .routes(routes!(limits, change_limits))
}

/// Sums of all torrents, and what the process is at.
#[utoipa::path(get, path = "/stats", tag = "process", responses((status = 200, body = Stats)))]
async fn stats(State(api): State<Arc<Api>>) -> Answered<Stats> {
    Answered(Stats {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_seconds: api.clock.now().since(api.started).as_secs(),
        listen: api.engine.listen_addresses().to_vec(),
        engine: api.engine.facts().await,
    })
}

/// Bounds of the process, as they were set.
#[utoipa::path(get, path = "/limits", tag = "process", responses((status = 200, body = Rates)))]
async fn limits(State(api): State<Arc<Api>>) -> Answered<Rates> {
    Answered(api.engine.rates().await)
}

/// Changes bounds of the process, at once and until it ends; what lasts stands in its settings.
#[utoipa::path(patch, path = "/limits", tag = "process", request_body = LimitsChange, responses((status = 200, body = Rates)))]
async fn change_limits(
    State(api): State<Arc<Api>>,
    Json(change): Json<LimitsChange>,
) -> Result<Answered<Rates>, Problem> {
    let _alone = api.options.lock().await;
    let mut rates = api.engine.rates().await;
    change.put_into(&mut rates)?;
    api.engine.set_rates(rates).await.map_err(unchanged)?;
    Ok(Answered(api.engine.rates().await))
}
