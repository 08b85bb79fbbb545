//! Devices and what they last said.

use super::ApiError;
use super::visitor::Reader;
use crate::answer::{DeviceView, DevicesView};
use crate::clock;
use crate::desk::Desk;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use casement_proto::DeviceId;

pub(super) fn router() -> Router<Desk> {
    Router::new().route("/api/v1/devices", get(all)).route("/api/v1/devices/{id}", get(one))
}

async fn all(State(desk): State<Desk>, reader: Reader) -> Result<Json<DevicesView>, ApiError> {
    desk.refresh().await?;
    Ok(Json(desk.devices(reader.signed_in).1))
}

async fn one(
    State(desk): State<Desk>,
    _reader: Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<DeviceView>, ApiError> {
    desk.refresh().await?;
    id.ok()
        .and_then(|Path(id)| DeviceId::parse(&id))
        .and_then(|id| desk.live.device(&id, clock::now_ms()))
        .map(Json)
        .ok_or_else(|| ApiError::not_found("there is no such device; GET /api/v1/devices lists them"))
}
