//! The certificate: what is shown, what happened, what is next; and asking for another one.

use super::ApiError;
use super::visitor::{Admin, Insider};
use crate::answer::certificate::CertificateView;
use crate::clock;
use crate::desk::Desk;
use crate::keeper::Request;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

/// Largest request, in bytes.
const REQUEST_BYTES_MAX: usize = 1024;

pub(super) fn router() -> Router<Desk> {
    Router::new()
        .route("/api/v1/certificate", get(certificate))
        .route("/api/v1/certificate/renew", post(renew).layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX)))
}

async fn certificate(State(desk): State<Desk>, insider: Insider) -> Json<CertificateView> {
    let mut view = desk.keeper.view(clock::now_ms());
    view.may_renew = insider.admin && view.acme.is_some();
    Json(view)
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Wish {
    dry_run: bool,
}

async fn renew(
    State(desk): State<Desk>,
    _admin: Admin,
    wish: Result<Json<Wish>, axum::extract::rejection::JsonRejection>,
) -> Result<(StatusCode, Json<serde_json::Value>), ApiError> {
    let Json(wish) = wish.map_err(|error| {
        ApiError::unreadable(format!("the request cannot be read: {}", error.body_text()))
    })?;
    let request = Request { id: format!("api-{}", clock::now_ms()), dry_run: wish.dry_run };
    desk.keeper.ask(request).map_err(ApiError::conflict)?;
    Ok((StatusCode::ACCEPTED, Json(serde_json::json!({ "accepted": true }))))
}
