//! How the authority is spoken to: HTTPS with a timeout, a size cap, our name, and an ear for `Retry-After`, which the
//! ACME library does not hand on.

use super::super::pair;
use crate::clock;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::header::{DATE, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use jiff::fmt::rfc2822;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long one request may take, connecting and reading included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest answer, in bytes. A chain with four RSA certificates has 8 kB.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Where an authority puts the nonce for the next request (RFC 8555 §6.5.1).
const REPLAY_NONCE: &str = "replay-nonce";

const AGENT: &str = concat!("casement/", env!("CARGO_PKG_VERSION"), " instant-acme");

/// Why an authority could not be spoken to. The words tell the scheduler's problem apart; see [`super::trouble`].
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// No connection, or one that broke.
    #[error("{0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    Timeout,
    /// More than is taken.
    #[error("the answer is larger than {ANSWER_BYTES_MAX} bytes, or broke off")]
    Body,
    /// A status that is no success and no ACME problem.
    #[error("HTTP status {0} without an ACME problem")]
    Status(u16),
    /// The roots to trust for the authority.
    #[error("{0}")]
    Roots(String),
}

/// What the last answers said beside their content.
#[derive(Debug, Default)]
pub(super) struct Heard {
    retry_after_ms: Mutex<Option<i64>>,
    date_ms: Mutex<Option<i64>>,
    requests: AtomicU64,
    nonce: Mutex<Option<HeaderValue>>,
}

impl Heard {
    /// `Retry-After` of the last answer, in milliseconds from then (RFC 9110 §10.2.3).
    pub(super) fn retry_after_ms(&self) -> Option<i64> {
        *self.retry_after_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `Date` of the last answer, in unix milliseconds.
    pub(super) fn date_ms(&self) -> Option<i64> {
        *self.date_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests sent.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn hear<B>(&self, response: &Response<B>) {
        let text = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let date = text(DATE).and_then(date_ms);
        let now_ms = date.unwrap_or_else(clock::now_ms);
        let wait = text(RETRY_AFTER).and_then(|text| retry_after(text, now_ms));
        *self.retry_after_ms.lock().unwrap_or_else(PoisonError::into_inner) = wait;
        *self.date_ms.lock().unwrap_or_else(PoisonError::into_inner) = date;
        let nonce = response.headers().get(REPLAY_NONCE).cloned();
        *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = nonce;
    }

    /// The nonce of the last answer, once: any request spends it.
    fn take_nonce(&self) -> Option<HeaderValue> {
        self.nonce.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn forget(&self) {
        *self.retry_after_ms.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn date_ms(text: &str) -> Option<i64> {
    rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok().map(|time| time.as_millisecond())
}

/// Seconds or a date, as milliseconds from `now_ms`; never negative.
fn retry_after(text: &str, now_ms: i64) -> Option<i64> {
    match text.trim().parse::<u32>() {
        Ok(seconds) => Some(i64::from(seconds) * 1000),
        Err(_) => Some((date_ms(text)? - now_ms).max(0)),
    }
}

/// A connection to an authority.
#[derive(Clone)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    heard: Arc<Heard>,
}

impl Http {
    /// Trusts the certificates in `ca_bundle` alone, or, without one, the roots of browsers.
    pub(super) fn new(ca_bundle: Option<&Path>, heard: Arc<Heard>) -> Result<Self, HttpError> {
        let roots = match ca_bundle {
            Some(file) => bundle(file)?,
            None => pair::public_roots(),
        };
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| HttpError::Roots(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(REQUEST_TIMEOUT)
            .build(connector);
        Ok(Self { client, heard })
    }
}

fn bundle(file: &Path) -> Result<RootCertStore, HttpError> {
    let wrong = |why: String| HttpError::Roots(format!("tls.acme.ca_bundle {}: {why}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("it holds no certificate".to_owned())) } else { Ok(roots) }
}

impl HttpClient for Http {
    fn request(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        // The library drops some nonces that answers bring along and asks for another; those are as good.
        if let Some(nonce) = self.heard.take_nonce()
            && request.method() == Method::HEAD
        {
            return Box::pin(async move {
                let mut response = Response::new(());
                response.headers_mut().insert(REPLAY_NONCE, nonce);
                let (parts, ()) = response.into_parts();
                Ok(BytesResponse { parts, body: Box::new(Bytes::new()) })
            });
        }
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        self.heard.requests.fetch_add(1, Ordering::Relaxed);
        self.heard.forget();
        let heard = Arc::clone(&self.heard);
        let answer = self.client.request(request);
        Box::pin(async move {
            let whole = async {
                let response = answer.await.map_err(|error| HttpError::Unreachable(causes(&error)))?;
                heard.hear(&response);
                let (parts, body) = response.into_parts();
                let body =
                    Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|_| HttpError::Body)?;
                let bytes = body.to_bytes();
                // The library takes every error for a problem document, and the directory for one that never fails.
                let failed = parts.status.is_client_error() || parts.status.is_server_error();
                if failed && !is_problem(&bytes) {
                    return Err(HttpError::Status(parts.status.as_u16()));
                }
                Ok(BytesResponse { parts, body: Box::new(bytes) })
            };
            match tokio::time::timeout(REQUEST_TIMEOUT, whole).await {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(error)) => Err(Error::Other(Box::new(error))),
                Err(_) => Err(Error::Other(Box::new(HttpError::Timeout))),
            }
        })
    }
}

fn is_problem(bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Problem {
        r#type: String,
    }
    serde_json::from_slice::<Problem>(bytes).is_ok_and(|problem| !problem.r#type.is_empty())
}

/// An error with what lies behind it; hyper's own words say little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = 1_795_341_600_000;
        assert_eq!(retry_after("120", now), Some(120_000));
        assert_eq!(retry_after(" 0 ", now), Some(0));
        assert_eq!(retry_after("Sun, 22 Nov 2026 10:02:00 GMT", now), Some(120_000));
        assert_eq!(retry_after("Sun, 22 Nov 2020 10:02:00 GMT", now), Some(0));
        for nonsense in ["", "soon", "-5", "1e9"] {
            assert_eq!(retry_after(nonsense, now), None, "{nonsense}");
        }
    }

    #[test]
    fn a_problem_is_told_from_a_page() {
        assert!(is_problem(br#"{"type":"urn:ietf:params:acme:error:caa","detail":"no"}"#));
        for other in [&b"<html>503</html>"[..], b"{}", b"[]", b"", br#"{"type":""}"#] {
            assert!(!is_problem(other));
        }
    }

    #[test]
    fn a_bundle_must_hold_certificates() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("ca.pem");
        assert!(matches!(bundle(&file), Err(HttpError::Roots(_))));
        std::fs::write(&file, "nothing").unwrap();
        assert!(matches!(bundle(&file), Err(HttpError::Roots(_))));
    }
}
