//! What the API says about itself.

use crate::desk::Desk;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use casement_proto::metric::METRICS;

/// OpenAPI 3.1 of everything. A test compares its paths with the router's.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

pub(super) fn router() -> Router<Desk> {
    Router::new().route("/api/openapi.json", get(openapi)).route("/api/v1/metrics", get(metrics))
}

async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn metrics() -> Json<serde_json::Value> {
    let metrics: Vec<_> = METRICS
        .iter()
        .map(|m| {
            serde_json::json!({
                "name": m.name, "label": m.label, "unit": m.unit, "ucum": m.ucum,
                "min": m.min, "max": m.max, "precision": m.precision, "method": m.method.as_str(),
            })
        })
        .collect();
    Json(serde_json::json!({ "metrics": metrics }))
}
