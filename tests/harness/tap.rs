//! A connection that remembers what came over it, and the TLS records in that.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What came over a [`Tap`] so far.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    /// The lengths of the records that carry data, or anything else that is encrypted under TLS 1.3.
    #[must_use]
    pub fn data_records(&self) -> Vec<usize> {
        const APPLICATION_DATA: u8 = 23;
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = bytes.as_slice();
        let mut lengths = Vec::new();
        while let [kind, _, _, high, low, after @ ..] = rest {
            let length = usize::from(*high) << 8 | usize::from(*low);
            if *kind == APPLICATION_DATA {
                lengths.push(length);
            }
            rest = after.get(length..).unwrap_or_default();
        }
        lengths
    }
}

/// Wraps a connection.
#[derive(Debug)]
pub struct Tap<S> {
    inner: S,
    heard: Heard,
}

impl<S> Tap<S> {
    /// Listens to this one.
    pub fn on(inner: S) -> (Self, Heard) {
        let heard = Heard::default();
        (Self { inner, heard: heard.clone() }, heard)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let done = Pin::new(&mut self.inner).poll_read(cx, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(new);
        done
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
