//! Readings in and out.

use super::ApiError;
use super::statistics::instant;
use super::visitor::{Asked, Reader, Sender, named};
use crate::desk::Desk;
use crate::observe::Outcome;
use crate::reading::{ExportFilter, NewBatch};
use crate::telemetry::series::Window;
use crate::telemetry::time;
use crate::{answer, clock, ingest};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use casement_proto::wire::{BODY_BYTES_MAX, DecodeError};
use casement_proto::{DeviceId, Quantity};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Most points in one answer.
const POINTS_MAX: u32 = 10_000;

pub(super) fn router_in() -> Router<Desk> {
    Router::new().route("/api/v1/readings", post(take))
}

pub(super) fn router_out() -> Router<Desk> {
    Router::new().route("/api/v1/readings", get(give))
}

async fn take(State(desk): State<Desk>, sender: Sender, request: Request) -> Result<Response, ApiError> {
    let Sender(device) = sender;
    let (parts, mut body) = request.into_parts();
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let content_type = header(CONTENT_TYPE).unwrap_or_default();
    let format = ingest::format(content_type).ok_or_else(|| {
        ApiError::unsupported(format!(
            "\"{content_type}\" is not understood; send application/json or application/cbor"
        ))
    })?;
    let too_large = || {
        ApiError::too_large(format!(
            "the body is larger than {BODY_BYTES_MAX} bytes; send the readings in parts"
        ))
    };
    let announced = header(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX) {
        drain(body).await;
        return Err(too_large());
    }
    // A body of unknown length may become as long as is allowed.
    let Some(_room) = desk.budget.body(announced.unwrap_or(BODY_BYTES_MAX)) else {
        return Err(ApiError::crowded("readings arrive"));
    };
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(&mut body, BODY_BYTES_MAX).collect())
        .await
        .map_err(|_| ApiError::too_slow(BODY_TIMEOUT.as_secs()))?;
    let body = match collected {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            drain(body).await;
            return Err(too_large());
        }
        Err(_) => return Err(ApiError::unreadable("the body broke off; nothing was stored")),
    };
    let now_ms = clock::now_ms();
    let decoded = ingest::decode(format, &body, now_ms).map_err(|error| match error {
        DecodeError::Unreadable { .. } => ApiError::unreadable(error.to_string()),
        DecodeError::TooMany { .. } => ApiError::too_large(error.to_string()),
    })?;
    drop(body);
    let other = decoded.header.device.as_deref().is_some_and(|named| named != device.as_str());
    if other || decoded.header.mixed_devices {
        return Err(ApiError::forbidden(format!(
            "this token sends readings of {device} only; nothing was stored"
        )));
    }
    // Also when nothing can be stored: then it matters most.
    if let Some(health) = decoded.header.health {
        desk.updates.report(device, decoded.header.boot, health, now_ms);
    }
    let appended = desk.intake.submit(NewBatch { device, readings: decoded.accepted }).await?;
    desk.counters.count(Outcome::Rejected, decoded.rejected.len());
    if let Some((index, reject)) = decoded.rejected.first() {
        tracing::info!(
            device.id = %device, rejected = decoded.rejected.len(), index, code = reject.code.as_str(),
            "readings were rejected; the first: {}", reject.detail
        );
    }
    let rejected = decoded.rejected.into_iter().map(|(index, reject)| Rejected {
        index,
        code: reject.code.as_str(),
        detail: reject.detail.to_string(),
    });
    Ok(Json(Taken {
        stored: appended.stored.len(),
        duplicate: appended.duplicate,
        rejected: rejected.collect(),
        server_time: time::rfc3339(now_ms),
        server_time_ms: now_ms,
    })
    .into_response())
}

/// What became of a batch.
#[derive(Serialize)]
struct Taken {
    stored: usize,
    duplicate: usize,
    rejected: Vec<Rejected>,
    server_time: String,
    server_time_ms: i64,
}

/// A reading that will never be accepted.
#[derive(Serialize)]
struct Rejected {
    index: usize,
    code: &'static str,
    detail: String,
}

/// Takes in what a client sends beyond the limit, within reason: one that is cut off while it still sends never sees
/// why.
async fn drain(mut body: Body) {
    const DRAIN_BYTES_MAX: usize = 8 << 20;
    const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
    let mut taken = 0;
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            taken += frame.data_ref().map_or(0, |data| data.len());
            if taken > DRAIN_BYTES_MAX {
                return;
            }
        }
    };
    // Whoever is slower than that has had its chance.
    let _too_slow = tokio::time::timeout(DRAIN_TIMEOUT, all).await;
}

#[derive(Deserialize)]
struct Ask {
    device: Option<String>,
    metric: Option<String>,
    from: Option<String>,
    to: Option<String>,
    max_points: Option<String>,
    format: Option<String>,
}

async fn give(
    State(desk): State<Desk>,
    _reader: Reader,
    Asked(ask): Asked<Ask>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let now_ms = clock::now_ms();
    let device = named(ask.device.as_deref(), "device", DeviceId::parse)?;
    let quantity = named(ask.metric.as_deref(), "metric", Quantity::parse)?;
    let from_ms = instant("from", ask.from.as_deref(), now_ms)?;
    let to_ms = instant("to", ask.to.as_deref(), now_ms)?;
    if from_ms.zip(to_ms).is_some_and(|(from, to)| from > to) {
        return Err(ApiError::unreadable("from lies after to"));
    }
    if let Some(rows) = Rows::wanted(ask.format.as_deref(), &headers)? {
        let filter = ExportFilter { device, metric: quantity, from_ms, to_ms };
        return rows.stream(&desk, filter).await;
    }
    let device = device.ok_or_else(|| ApiError::unreadable("say which device: ?device=ID"))?;
    let quantity = quantity.ok_or_else(|| ApiError::unreadable("say which metric: ?metric=co2"))?;
    let max_points = match ask.max_points.as_deref() {
        None => 1000,
        Some(text) => text.parse().ok().filter(|n| (1..=POINTS_MAX).contains(n)).ok_or_else(|| {
            ApiError::unreadable(format!("max_points \"{text}\" is not a number from 1 to {POINTS_MAX}"))
        })?,
    };
    if desk.live.device(&device, now_ms).is_none() {
        return Err(ApiError::not_found(format!("there is no device {device}")));
    }
    let to_ms = to_ms.unwrap_or(now_ms + 1);
    let from_ms = from_ms.unwrap_or(to_ms.saturating_sub(time::DAY_MS));
    let window = Window { from_ms, to_ms, max_points, now_ms };
    let points = desk.store.series(&device, &quantity, window).await?;
    Ok(Json(answer::series(&device, &quantity, points)).into_response())
}

/// A streamed form of every raw reading.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    Csv,
    Ndjson,
}

impl Rows {
    /// What the query or the `Accept` header asks for; `None` is the chart's JSON.
    fn wanted(format: Option<&str>, headers: &HeaderMap) -> Result<Option<Self>, ApiError> {
        match format {
            Some("csv") => return Ok(Some(Self::Csv)),
            Some("ndjson") => return Ok(Some(Self::Ndjson)),
            Some("json") => return Ok(None),
            Some(other) => {
                return Err(ApiError::unreadable(format!("format \"{other}\" is not json, csv or ndjson")));
            }
            None => {}
        }
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        Ok(accept.split(',').find_map(|range| match range.split(';').next().map(str::trim) {
            Some("text/csv") => Some(Self::Csv),
            Some("application/x-ndjson") => Some(Self::Ndjson),
            _ => None,
        }))
    }

    async fn stream(self, desk: &Desk, filter: ExportFilter) -> Result<Response, ApiError> {
        use crate::export::{RowWriter, Shape};
        /// Rows read at once: some 300 kB, however long the export.
        const PAGE: u32 = 4_000;
        let (shape, media_type, name) = match self {
            Self::Csv => (Shape::Csv, "text/csv; charset=utf-8", "readings.csv"),
            Self::Ndjson => (Shape::Ndjson, "application/x-ndjson", "readings.ndjson"),
        };
        let zone = desk.settings.load().site.zone.clone();
        let writer = RowWriter::new(shape, zone, desk.store.devices().await?);
        let store = std::sync::Arc::clone(&desk.store);
        // The first page is read before the head is sent, so that a failure is still a status.
        let (rows, mut cursor) = store.export(&filter, None, PAGE).await?;
        let pages = async_stream::try_stream! {
            yield writer.head();
            yield writer.page(&rows);
            drop(rows);
            while let Some(from) = cursor {
                let (rows, next) = store.export(&filter, Some(from), PAGE).await?;
                yield writer.page(&rows);
                cursor = next;
            }
        };
        let pages: std::pin::Pin<
            Box<dyn futures_util::Stream<Item = Result<String, crate::store::StoreError>> + Send>,
        > = Box::pin(pages);
        let mut response = Body::from_stream(pages).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        if let Ok(disposition) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
            response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
        }
        Ok(response)
    }
}
