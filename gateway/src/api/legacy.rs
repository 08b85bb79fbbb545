//! The old device service's answer, field for field, so that widgets on people's phones keep working.

use super::visitor::{Asked, Reader};
use crate::desk::Desk;
use crate::reading::StoredReading;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use casement_proto::DeviceId;
use jiff::Timestamp;
use serde::Deserialize;

pub(super) fn router() -> Router<Desk> {
    Router::new().route("/dev", get(latest).options(allowed).fallback(not_allowed))
}

#[derive(Deserialize)]
struct Ask {
    #[serde(rename = "deviceId")]
    device: Option<String>,
}

/// What the old service answered to anything but a read.
async fn not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, OPTIONS, HEAD")]).into_response()
}

async fn allowed() -> Response {
    (StatusCode::OK, [(ALLOW, "GET, OPTIONS, HEAD")]).into_response()
}

async fn latest(State(desk): State<Desk>, _reader: Reader, Asked(ask): Asked<Ask>) -> Response {
    let found = ask.device.as_deref().and_then(DeviceId::parse).and_then(|id| desk.live.last(&id));
    let body = match found {
        Some(reading) => text(&reading),
        None => "{\n  \"found\": false\n}\n".to_owned(),
    };
    // Widgets on web pages of other origins read this; it carries no credentials.
    ([(CONTENT_TYPE, "application/json"), (ACCESS_CONTROL_ALLOW_ORIGIN, "*")], body).into_response()
}

/// Keys sorted, two spaces of indent, a space after each comma, a newline at the end. `eco2` is the estimate where there is one and the measurement
/// otherwise: the old widgets know no other name.
fn text(reading: &StoredReading) -> String {
    let value = |name: &str| reading.values.iter().find(|(q, _)| q.name() == name).map(|(_, value)| *value);
    let whole =
        |value: Option<f64>| value.map_or_else(|| "null".to_owned(), |v| format!("{}", v.round() as i64));
    let instant = Timestamp::from_millisecond(reading.t_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    format!(
        "{{\n  \"device_id\": \"{}\", \n  \"eco2\": {}, \n  \"epoch\": {}, \n  \"found\": true, \n  \"timestamp\": \"{}\", \n  \"tvoc\": {}\n}}\n",
        reading.device,
        whole(value("eco2").or_else(|| value("co2"))),
        reading.t_ms.div_euclid(1000),
        instant.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        whole(value("tvoc")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use casement_proto::{Quantity, State};

    #[test]
    fn the_old_answer_is_kept_field_for_field() {
        let reading = StoredReading {
            id: 1,
            device: DeviceId::parse("esp32-co2").unwrap(),
            t_ms: 1_605_430_000_000,
            name: None,
            state: State::Ok,
            values: vec![(Quantity::parse("tvoc").unwrap(), 12.0), (Quantity::parse("eco2").unwrap(), 437.0)],
        };
        assert_eq!(
            text(&reading),
            "{\n  \"device_id\": \"esp32-co2\", \n  \"eco2\": 437, \n  \"epoch\": 1605430000, \n  \"found\": true, \n  \"timestamp\": \"Sun, 15 Nov 2020 08:46:40 GMT\", \n  \"tvoc\": 12\n}\n"
        );
    }
}
