//! What has arrived of a device, by its own numbers: that nothing is missing can be shown.

use super::ApiError;
use super::visitor::Reader;
use crate::answer::{self, LedgerView};
use crate::desk::Desk;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use casement_proto::DeviceId;

pub(super) fn router() -> Router<Desk> {
    Router::new().route("/api/v1/devices/{id}/ledger", get(one))
}

async fn one(
    State(desk): State<Desk>,
    _reader: Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<LedgerView>, ApiError> {
    desk.refresh().await?;
    let id = id
        .ok()
        .and_then(|Path(id)| DeviceId::parse(&id))
        .filter(|id| desk.live.knows(id))
        .ok_or_else(|| ApiError::not_found("there is no such device; GET /api/v1/devices lists them"))?;
    Ok(Json(answer::ledger(&id, &desk.store.ledger(&id).await?)))
}
