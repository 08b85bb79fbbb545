//! Plain HTTP/1.1 with keep-alive, for servers on this machine.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(180);

/// Bytes of a file that are sent in one request, to the end of a line: some 10,000 lines.
const PART_BYTES: usize = 1_000_000;

/// One connection, made when it is needed.
#[derive(Debug)]
pub(crate) struct Http {
    address: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Http {
    pub(crate) const fn new(address: String) -> Self {
        Self { address, sender: None }
    }

    /// The text of an answer with 200 or 204.
    pub(crate) async fn get(&mut self, path: &str) -> Result<String> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Result<String> {
        self.send(Method::POST, path, body.into()).await
    }

    /// Sends the lines of a file, part by part, each after the answer to the one before.
    pub(crate) async fn post_file(&mut self, path: &str, file: &Path) -> Result<()> {
        let mut file = tokio::fs::File::open(file).await?;
        let mut rest = Vec::new();
        loop {
            let before = rest.len();
            rest.resize(before + PART_BYTES, 0);
            let taken = file.read(&mut rest[before..]).await?;
            rest.truncate(before + taken);
            if taken == 0 {
                break;
            }
            if let Some(end) = rest.iter().rposition(|byte| *byte == b'\n')
                && rest.len() > PART_BYTES / 2
            {
                let after = rest.split_off(end + 1);
                self.post(path, std::mem::replace(&mut rest, after)).await?;
            }
        }
        if !rest.is_empty() {
            self.post(path, rest).await?;
        }
        Ok(())
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<String> {
        let conversation = async {
            let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
                Some(sender) => sender,
                None => {
                    let stream = TcpStream::connect(&self.address).await?;
                    stream.set_nodelay(true)?;
                    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
                    tokio::spawn(connection);
                    sender
                }
            };
            sender.ready().await?;
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", &self.address)
                .header("content-type", "text/plain; charset=utf-8")
                .body(Full::new(body))?;
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let text = String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?;
            self.sender = Some(sender);
            ensure!(status.is_success(), "{status}: {text}");
            Ok(text)
        };
        tokio::time::timeout(ANSWER_WITHIN, conversation).await.context("no answer in time")?
    }
}

/// A text as part of a query string (RFC 3986, section 2.1).
pub(crate) fn encoded(text: &str) -> String {
    let mut all = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            all.push_str(&format!("%{byte:02X}"));
        }
    }
    all
}
