//! Server-sent events (WHATWG HTML §9.2): a snapshot, then every reading as it becomes durable.
//!
//! A browser that comes back says which event it saw last, and gets every later reading from the store. The same
//! happens to a viewer that falls behind. So nothing is lost, and nobody's slowness costs memory.

use super::ApiError;
use super::visitor::{Asked, Reader, named};
use crate::access::Who;
use crate::clock;
use crate::desk::{Desk, Peer};
use crate::live::Event as Live;
use crate::observe::Counters;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Extensions, HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use casement_proto::DeviceId;
use futures_util::Stream;
use serde::Deserialize;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::error::RecvError;

/// A sign of life this often. Proxies on the way close what is silent for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A browser that lost the connection comes back after this time.
const RETRY: Duration = Duration::from_secs(3);

/// What leaves in one piece, in bytes, unless one event is larger.
const PIECE_BYTES: usize = 32 * 1024;

/// Readings fetched at once when catching up.
const PAGE: u32 = 500;

pub(super) fn router() -> Router<Desk> {
    Router::new().route("/api/v1/stream", get(stream))
}

#[derive(Deserialize)]
struct Ask {
    device: Option<String>,
    last_event_id: Option<String>,
}

async fn stream(
    State(desk): State<Desk>,
    reader: Reader,
    Asked(ask): Asked<Ask>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Result<Response, ApiError> {
    let only = named(ask.device.as_deref(), "device", DeviceId::parse)?;
    // After a reload a page cannot set the header, but it can ask.
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let resume = header.or(ask.last_event_id.as_deref()).and_then(|id| id.parse::<i64>().ok());
    let place = desk.budget.viewer().ok_or_else(|| ApiError::crowded("live streams are open"))?;
    let peer = Peer::of(&extensions);
    let viewer = Viewer { desk, only, signed_in: reader.signed_in, headers, peer, _place: place };
    let mut response = Body::from_stream(viewer.events(resume)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// What is ready for a viewer, as text. Whatever has happened by the time it is looked at leaves in one piece: a commit of
/// a hundred readings costs one write, not a hundred.
#[derive(Default)]
struct Text(String);

impl Text {
    /// Adds an event. Data is one line: JSON has no other.
    fn event(&mut self, name: &str, id: Option<i64>, data: &str) {
        // Writing into a String cannot fail.
        let _infallible = match id {
            Some(id) => write!(self.0, "event: {name}\nid: {id}\ndata: {data}\n\n"),
            None => write!(self.0, "event: {name}\ndata: {data}\n\n"),
        };
    }

    fn is_full(&self) -> bool {
        self.0.len() >= PIECE_BYTES
    }

    fn take(&mut self) -> Result<Bytes, Infallible> {
        Ok(Bytes::from(std::mem::take(&mut self.0)))
    }
}

struct Viewer {
    desk: Desk,
    only: Option<DeviceId>,
    signed_in: bool,
    headers: HeaderMap,
    peer: IpAddr,
    _place: OwnedSemaphorePermit,
}

/// Counts a viewer for as long as it lives.
struct Counted(Arc<Counters>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.viewers.dec();
    }
}

impl Viewer {
    fn events(self, resume: Option<i64>) -> impl Stream<Item = Result<Bytes, Infallible>> {
        async_stream::stream! {
            self.desk.counters.viewers.inc();
            let _counted = Counted(Arc::clone(&self.desk.counters));
            let mut text = Text(format!("retry: {}\n", RETRY.as_millis()));
            // Listening begins before the snapshot is taken, so that nothing falls between the two.
            let mut live = self.desk.live.subscribe();
            let (newest, snapshot) = self.snapshot();
            let mut seen = match resume {
                Some(seen) if (0..newest).contains(&seen) => {
                    // Without an id: a browser that is cut off now still resumes where it was.
                    text.event("snapshot", None, &snapshot);
                    seen
                }
                _ => {
                    text.event("snapshot", Some(newest), &snapshot);
                    newest
                }
            };
            yield text.take();
            let mut behind = seen < newest;
            let mut pulse = tokio::time::interval(HEARTBEAT);
            pulse.tick().await;
            loop {
                while behind {
                    let Ok(page) = self.desk.store.after(seen, PAGE).await else { return };
                    behind = page.len() == PAGE as usize;
                    // What has left the log cannot be told one by one: whoever was away for so long looks at everything anew.
                    if seen < self.desk.live.newest() && page.first().is_none_or(|first| first.id > seen + 1) {
                        let (until, snapshot) = self.snapshot();
                        seen = until;
                        behind = false;
                        text.event("snapshot", Some(seen), &snapshot);
                    } else {
                        for reading in page {
                            seen = reading.id;
                            if self.wants(&reading.device)
                                && let Some(json) = self.desk.live.event(&reading, clock::now_ms())
                            {
                                text.event("reading", Some(seen), &json);
                            }
                        }
                    }
                    if !text.0.is_empty() {
                        yield text.take();
                    }
                }
                let event = tokio::select! {
                    () = self.desk.shutdown.cancelled() => return,
                    _ = pulse.tick() => {
                        // Signing out, revoking a token or closing the dashboard ends what is open, too.
                        if !self.still_welcome().await {
                            return;
                        }
                        text.event("ping", None, "{}");
                        yield text.take();
                        continue;
                    }
                    event = live.recv() => event,
                };
                match event {
                    Ok(event) => {
                        self.tell(event, &mut seen, &mut text);
                        while !text.is_full() && let Ok(event) = live.try_recv() {
                            self.tell(event, &mut seen, &mut text);
                        }
                        if !text.0.is_empty() {
                            yield text.take();
                        }
                    }
                    Err(RecvError::Lagged(_)) => behind = true,
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }

    /// Adds what a viewer hears of an event.
    fn tell(&self, event: Live, seen: &mut i64, text: &mut Text) {
        match event {
            Live::Reading { id, device, json } if id > *seen => {
                *seen = id;
                if self.wants(&device) {
                    text.event("reading", Some(id), &json);
                }
            }
            Live::Reading { .. } => {}
            Live::Presence { device, json } => {
                if self.wants(&device) {
                    text.event("presence", None, &json);
                }
            }
            Live::Changed { until } => {
                let (_, snapshot) = self.snapshot();
                let until = until.filter(|until| *until > *seen);
                // Without a number readings that the snapshot reflects already still come one by one.
                if let Some(until) = until {
                    *seen = until;
                }
                text.event("snapshot", until, &snapshot);
            }
        }
    }

    async fn still_welcome(&self) -> bool {
        if self.desk.settings.load().public {
            return true;
        }
        matches!(self.desk.who(&self.headers, self.peer).await, Ok(Some(Who::Reader | Who::Admin)))
    }

    fn wants(&self, device: &DeviceId) -> bool {
        self.only.is_none_or(|only| only == *device)
    }

    fn snapshot(&self) -> (i64, String) {
        let (newest, mut view) = self.desk.devices(self.signed_in);
        if let Some(only) = &self.only {
            view.devices.retain(|device| device.id == only.as_str());
        }
        // The shapes in answer.rs always serialise.
        (newest, serde_json::to_string(&view).unwrap_or_else(|_| "{}".to_owned()))
    }
}
