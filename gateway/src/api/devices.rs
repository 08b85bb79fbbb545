//! Devices and what they last said.

use super::ApiError;
use super::visitor::Reader;
use crate::answer::{DeviceWithHealth, DevicesView, health};
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
) -> Result<Json<DeviceWithHealth>, ApiError> {
    desk.refresh().await?;
    let now_ms = clock::now_ms();
    id.ok()
        .and_then(|Path(id)| DeviceId::parse(&id))
        .and_then(|id| Some((id, desk.live.device(&id, now_ms)?)))
        .map(|(id, device)| {
            let health = desk.updates.report_of(&id).map(|report| health(report, now_ms));
            Json(DeviceWithHealth { device, health })
        })
        .ok_or_else(|| ApiError::not_found("there is no such device; GET /api/v1/devices lists them"))
}
