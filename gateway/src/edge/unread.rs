//! Reads what a handler has left of a request's body, before its answer leaves.
//!
//! An answer that overtakes the end of its request makes HTTP/2 reset the stream, and curl then shows nothing but "stream
//! error": a refusal that nobody can read. Over HTTP/1 it costs the connection.

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::ServiceExt;

/// Most that is read for a request that was refused, in bytes; whoever sends more is cut off.
const UNREAD_BYTES_MAX: usize = 64 * 1024;

/// How long that may take.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(2);

type Home = Arc<Mutex<Option<Body>>>;

/// A body on loan: what is left of it comes back when its reader lets go.
struct Lent {
    body: Option<Body>,
    home: Home,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !body.is_end_stream());
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }
}

/// Answers a request, then reads what is left of it.
pub(super) async fn answered(app: Router, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    if request.body().is_end_stream() {
        return app.oneshot(request).await;
    }
    let home = Home::default();
    let lend = |body| Body::new(Lent { body: Some(body), home: Arc::clone(&home) });
    let response = app.oneshot(request.map(lend)).await;
    let left = home.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(mut left) = left {
        let read = async {
            let mut bytes = 0;
            while bytes <= UNREAD_BYTES_MAX
                && let Some(Ok(frame)) = left.frame().await
            {
                bytes += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        // Whoever sends slowly or much has had their chance; the stream may end.
        let _cut = tokio::time::timeout(UNREAD_TIMEOUT, read).await;
    }
    response
}
