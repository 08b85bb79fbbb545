//! What is wrong around the gateway, and how to mend it: the findings of `casement doctor`.

use super::ApiError;
use super::visitor::Admin;
use crate::desk::Desk;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

pub(super) fn router() -> Router<Desk> {
    Router::new().route("/api/v1/doctor", get(doctor))
}

async fn doctor(State(desk): State<Desk>, _admin: Admin) -> Result<Json<serde_json::Value>, ApiError> {
    match desk.checkup.report().await {
        Some(report) => Ok(Json(report.as_ref().clone())),
        None => Err(ApiError::crowded("the checks take too long; `casement doctor` tells on the server")),
    }
}
