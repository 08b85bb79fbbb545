//! The front door of an authority, for tests that only knock: its directory, over HTTPS, at a time of its own.

use crate::pki::Authority;
use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What the directory says.
#[derive(Clone, Debug)]
pub struct Says {
    /// How far its clock is ahead, in milliseconds.
    pub ahead_ms: i64,
    /// Names of its profiles.
    pub profiles: Vec<&'static str>,
    /// It wants an external account binding.
    pub binding_required: bool,
    /// What CAA records call it.
    pub identity: &'static str,
}

impl Default for Says {
    fn default() -> Self {
        Self { ahead_ms: 0, profiles: Vec::new(), binding_required: false, identity: "ca.test" }
    }
}

/// A running directory. Dropping it ends it.
#[derive(Debug)]
pub struct Directory {
    address: SocketAddr,
    root: String,
    says: Arc<Mutex<Says>>,
    server: JoinHandle<()>,
}

impl Directory {
    /// Starts one.
    ///
    /// # Errors
    /// When no port is free or no key can be made.
    pub async fn start() -> Result<Self> {
        let authority = Authority::root("Web of a directory")?;
        let pair = authority.issue(&["127.0.0.1"])?;
        let chain = CertificateDer::pem_slice_iter(pair.leaf.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let says = Arc::new(Mutex::new(Says::default()));
        let shared = Arc::clone(&says);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, says) =
                    (acceptor.clone(), shared.lock().unwrap_or_else(PoisonError::into_inner).clone());
                tokio::spawn(async move {
                    // A client that leaves early has what it wanted.
                    let _left = answer(&acceptor, stream, &says, address).await;
                });
            }
        });
        Ok(Self { address, root: authority.pem(), says, server })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// The root behind its certificate, in PEM.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Makes it say something else.
    pub fn say(&self, says: Says) {
        *self.says.lock().unwrap_or_else(PoisonError::into_inner) = says;
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(acceptor: &TlsAcceptor, stream: TcpStream, says: &Says, address: SocketAddr) -> Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut request = Vec::new();
    let mut chunk = [0; 2048];
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = stream.read(&mut chunk).await?;
        anyhow::ensure!(read > 0, "it left");
        request.extend(chunk.get(..read).context("as much as was read")?);
    }
    // It has a directory and nothing behind it.
    let known = request.starts_with(b"GET /dir ");
    let (status, body) =
        if known { ("200 OK", directory(says, address)) } else { ("503 Service Unavailable", json!({})) };
    let body = body.to_string();
    let date = date(crate::wait::unix_ms() + says.ahead_ms)?;
    let head = format!(
        "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

fn directory(says: &Says, address: SocketAddr) -> Value {
    let url = |path: &str| format!("https://{address}/{path}");
    let profiles: serde_json::Map<_, _> =
        says.profiles.iter().map(|name| ((*name).to_owned(), Value::from("a profile"))).collect();
    json!({
        "newNonce": url("nonce"), "newAccount": url("account"), "newOrder": url("order"),
        "revokeCert": url("revoke"), "keyChange": url("key"),
        "meta": {
            "externalAccountRequired": says.binding_required,
            "caaIdentities": [says.identity],
            "profiles": profiles,
        },
    })
}

/// RFC 9110 §5.6.7.
fn date(unix_ms: i64) -> Result<String> {
    let moment = jiff::Timestamp::from_millisecond(unix_ms)?;
    Ok(moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}
