//! Bytes on a socket, for what no polite client sends.

use crate::client;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// An answer as it came over the wire.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// The status code.
    pub status: u16,
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Everything after the header.
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// The value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let end =
            bytes.windows(4).position(|window| window == b"\r\n\r\n").context("no end of the header")?;
        let (head, body) = (&bytes[..end], &bytes[end + 4..]);
        let head = std::str::from_utf8(head).context("the header is not text")?;
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        ensure!(status.starts_with("HTTP/1.1 "), "not an HTTP/1.1 answer: {status:?}");
        let status = status[9..].get(..3).context("no status")?.parse()?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Self { status, headers, body: body.to_vec() })
    }
}

/// How the other side ended a conversation.
#[derive(Clone, Debug)]
pub enum Ending {
    /// With an answer; the connection was closed after it.
    Answer(RawAnswer),
    /// Without a word.
    Closed,
    /// Not at all, within the time given.
    StillOpen,
}

/// Opens a TLS connection to the gateway and speaks HTTP/1.1 on it by hand.
///
/// # Errors
/// When the connection or the handshake fails.
pub async fn tls(address: SocketAddr, data_dir: &Path) -> Result<TlsStream<TcpStream>> {
    client::handshake(address, client::trusting(data_dir, &[b"http/1.1"])?).await
}

/// Reads until the other side closes, or `patience` ends.
///
/// # Errors
/// When what was read before the end is not an HTTP/1.1 answer.
pub async fn ending<S: AsyncRead + Unpin>(stream: &mut S, patience: Duration) -> Result<Ending> {
    let mut seen = Vec::new();
    // A connection that is cut (reset, or TLS without close_notify) is closed, too.
    let closed = tokio::time::timeout(patience, async {
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            seen.extend(&chunk[..read]);
        }
    })
    .await
    .is_ok();
    match (closed, seen.is_empty()) {
        (_, false) => RawAnswer::parse(&seen).map(Ending::Answer),
        (true, true) => Ok(Ending::Closed),
        (false, true) => Ok(Ending::StillOpen),
    }
}

/// Sends one request over plain HTTP and reads the answer; the request must ask to close the connection.
///
/// # Errors
/// When there is no answer.
pub async fn plain(address: SocketAddr, request: &str) -> Result<RawAnswer> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    stream.write_all(request.as_bytes()).await?;
    match ending(&mut stream, Duration::from_secs(20)).await? {
        Ending::Answer(answer) => Ok(answer),
        other => anyhow::bail!("no answer to {request:?}: {other:?}"),
    }
}

/// Sends bytes slowly, one at a time, until they are all sent or the other side has had enough. Says how many left.
pub async fn drip<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8], pause: Duration) -> usize {
    for (sent, byte) in bytes.iter().enumerate() {
        if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
            return sent;
        }
        tokio::time::sleep(pause).await;
    }
    bytes.len()
}
