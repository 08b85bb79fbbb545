//! How values are spread: percentiles, and time above a threshold.

use super::ApiError;
use super::visitor::{Asked, Reader, named};
use crate::desk::Desk;
use crate::telemetry::time;
use crate::{answer, clock};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use casement_proto::{DeviceId, Quantity};
use serde::Deserialize;

/// Most percentiles in one answer.
const PERCENTILES_MAX: usize = 20;

/// What is told when nobody says which.
const PERCENTILES: &str = "5,50,95";

pub(super) fn router() -> Router<Desk> {
    Router::new().route("/api/v1/statistics", get(give))
}

#[derive(Deserialize)]
struct Ask {
    device: Option<String>,
    metric: Option<String>,
    from: Option<String>,
    to: Option<String>,
    percentiles: Option<String>,
    above: Option<String>,
}

async fn give(
    State(desk): State<Desk>,
    _reader: Reader,
    Asked(ask): Asked<Ask>,
) -> Result<Json<answer::StatisticsView>, ApiError> {
    let now_ms = clock::now_ms();
    let device = named(ask.device.as_deref(), "device", DeviceId::parse)?
        .ok_or_else(|| ApiError::unreadable("say which device: ?device=ID"))?;
    let quantity = named(ask.metric.as_deref(), "metric", Quantity::parse)?
        .ok_or_else(|| ApiError::unreadable("say which metric: ?metric=co2"))?;
    let to_ms = instant("to", ask.to.as_deref(), now_ms)?.unwrap_or(now_ms + 1);
    let from_ms =
        instant("from", ask.from.as_deref(), now_ms)?.unwrap_or_else(|| to_ms.saturating_sub(time::DAY_MS));
    if from_ms > to_ms {
        return Err(ApiError::unreadable("from lies after to"));
    }
    let percentiles = percentiles(ask.percentiles.as_deref().unwrap_or(PERCENTILES))?;
    let above = match ask.above.as_deref() {
        None | Some("") => None,
        Some(text) => Some(text.parse::<f64>().ok().filter(|above| above.is_finite()).ok_or_else(|| {
            ApiError::unreadable(format!("above \"{text}\" is not a number in the metric's unit"))
        })?),
    };
    if desk.live.device(&device, now_ms).is_none() {
        return Err(ApiError::not_found(format!("there is no device {device}")));
    }
    let distribution = desk.store.distribution(&device, &quantity, from_ms, to_ms, above).await?;
    let asked = answer::StatisticsAsked { device, quantity, from_ms, to_ms, percentiles, above };
    Ok(Json(answer::statistics(&asked, &distribution)))
}

/// An instant in a query; nothing and an empty text are none.
pub(super) fn instant(name: &str, text: Option<&str>, now_ms: i64) -> Result<Option<i64>, ApiError> {
    text.filter(|text| !text.is_empty())
        .map(|text| {
            time::parse_query(text, now_ms).ok_or_else(|| {
                ApiError::unreadable(format!(
                    "{name} \"{text}\" is not a time; use RFC 3339, unix milliseconds or now-24h"
                ))
            })
        })
        .transpose()
}

fn percentiles(text: &str) -> Result<Vec<f64>, ApiError> {
    let bad = || {
        ApiError::unreadable(format!(
            "percentiles \"{text}\" are not at most {PERCENTILES_MAX} numbers from 0 to 100, for example 50,95"
        ))
    };
    let numbers: Vec<f64> = text
        .split(',')
        .map(|number| number.trim().parse().ok().filter(|n| (0.0..=100.0).contains(n)).ok_or_else(bad))
        .collect::<Result<_, _>>()?;
    if numbers.len() > PERCENTILES_MAX { Err(bad()) } else { Ok(numbers) }
}
