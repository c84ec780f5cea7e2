//! The owner's port: metrics and health. It stands on a loopback address by default and never meets strangers.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use edge::exposition::CONTENT_TYPE;

use super::pages::text;
use crate::metrics::Metrics;

/// What a healthy tracker says.
pub(crate) const HEALTHY: &str = "ok\n";

pub(crate) fn router(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/metrics", get(page))
        .route("/health", get(async || text(StatusCode::OK, HEALTHY)))
        .fallback(async || text(StatusCode::NOT_FOUND, "nothing here: /metrics and /health are\n"))
        .with_state(metrics)
}

async fn page(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.render() {
        Ok(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
