//! Every error of the API, as `application/problem+json` (RFC 9457). One message for the client, one for the log.

use crate::access::Denied;
use crate::intake::IntakeError;
use crate::releases::ReleaseError;
use crate::store::StoreError;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use std::error::Error;

type BoxError = Box<dyn Error + Send + Sync>;

/// A refusal.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    public: String,
    retry_after_s: Option<u64>,
    cause: Option<BoxError>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, public: impl Into<String>) -> Self {
        Self { status, code, public: public.into(), retry_after_s: None, cause: None }
    }

    fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    fn because(mut self, cause: impl Into<BoxError>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// 400: the request cannot be understood.
    pub(super) fn unreadable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unreadable", detail)
    }

    /// 401: who are you?
    pub(super) fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// 403: known, and not allowed.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404: no such thing.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 405: not with this method; the router adds `Allow`.
    pub(super) fn method_not_allowed() -> Self {
        let detail =
            "this resource does not answer to that method; the Allow header lists those it answers to";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    /// 408: the body did not come in time.
    pub(super) fn too_slow(seconds: u64) -> Self {
        let detail = format!("the body did not arrive within {seconds} s; nothing was stored; send it again");
        Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail)
    }

    /// 409: not as things are.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 413: too much at once.
    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// 415: a format nobody here reads.
    pub(super) fn unsupported(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    /// 416: nothing of it is there.
    pub(super) fn beyond(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", detail)
    }

    /// 503: too many do the same right now.
    pub(super) fn crowded(what: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "busy",
            format!("too many {what} at once; try again in a moment"),
        )
        .retry_after(5)
    }

    /// 500: our fault.
    pub(super) fn internal(cause: impl Into<BoxError>) -> Self {
        let public = "the gateway failed; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", public).because(cause)
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unknown => Self::unauthorized(
                "the token is unknown or revoked; make one with `casement device add` or `casement token create`",
            ),
            Denied::Wait { seconds } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_attempts",
                format!("too many wrong tokens from this address; wait {seconds} s"),
            )
            .retry_after(seconds),
            Denied::Store(error) => error.into(),
        }
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        let again = "nothing of this batch was stored; send it again";
        match error {
            IntakeError::Full => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                format!("too many readings are waiting; {again}"),
            )
            .retry_after(2),
            IntakeError::DiskFull => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", format!("the disk is full; {again}"))
                    .retry_after(60)
            }
            IntakeError::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                format!("the store cannot take readings; {again}"),
            )
            .retry_after(5),
        }
    }
}

impl From<ReleaseError> for ApiError {
    fn from(error: ReleaseError) -> Self {
        match error {
            ReleaseError::Missing(board, version) => {
                Self::not_found(format!("there is no release {version} for {board}"))
            }
            other => Self::internal(other),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy(_) | StoreError::Contended | StoreError::Unreachable(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "the store is busy; try again",
            )
            .retry_after(5)
            .because(error),
            other => Self::internal(other),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        if let Some(cause) = &self.cause {
            tracing::error!(
                error = &**cause as &dyn Error,
                status = self.status.as_u16(),
                "a request failed"
            );
        } else {
            tracing::info!(status = self.status.as_u16(), code = self.code, "refused: {}", self.public);
        }
        let body = serde_json::json!({
            "type": format!("/problems/{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.public,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"casement\""));
        }
        response
    }
}
