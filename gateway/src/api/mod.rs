//! The JSON surface: `/api/v1/…`, health, metrics and the old device service's `/dev`.
//!
//! One file per noun, each with its own `router()`; [`router`] lists them.

mod certificate;
mod devices;
mod docs;
mod doctor;
mod error;
mod firmware;
mod flash;
mod health;
mod ledger;
mod legacy;
mod readings;
mod statistics;
mod stream;
mod visitor;

use crate::desk::Desk;
use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::routing::any;
use error::ApiError;
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;

/// Every resource. Answers that people read are compressed; those that small devices read are not, so that each
/// carries its `Content-Length`.
pub fn router(desk: Desk) -> Router {
    let for_people = Router::new()
        .merge(devices::router())
        .merge(certificate::router())
        .merge(doctor::router())
        .merge(ledger::router())
        .merge(readings::router_out())
        .merge(statistics::router())
        .merge(docs::router())
        .layer(CompressionLayer::new().gzip(true));
    Router::new()
        .merge(for_people)
        .merge(readings::router_in())
        .merge(flash::router())
        .merge(firmware::router())
        .merge(stream::router())
        .merge(health::router())
        .merge(legacy::router())
        .route("/api/{*rest}", any(nothing))
        .method_not_allowed_fallback(not_allowed)
        // What was true a moment ago must not come out of a cache.
        .layer(SetResponseHeaderLayer::if_not_present(CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .with_state(desk)
}

async fn not_allowed() -> ApiError {
    ApiError::method_not_allowed()
}

async fn nothing() -> ApiError {
    ApiError::not_found("there is no such resource; GET /api/openapi.json lists them all")
}

#[cfg(test)]
mod tests {
    use super::docs::OPENAPI;

    #[test]
    fn every_route_is_documented_and_every_documented_path_exists() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object().unwrap().keys();
        let documented: Vec<&str> = paths.map(|path| path.trim_start_matches('/')).collect();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api");
        let sources: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        let mut routed: Vec<&str> = sources
            .iter()
            .flat_map(|source| source.split(".route(\"/").skip(1))
            .filter_map(|rest| rest.split('"').next())
            .filter(|path| !path.contains("{*"))
            .collect();
        routed.sort_unstable();
        routed.dedup();
        let mut expected = documented;
        expected.sort_unstable();
        assert_eq!(routed, expected);
    }
}
