//! What stands between the gateway and the authority. It passes everything on as it is, counts it, and fails in the
//! ways in which authorities fail, when it is told to.

use crate::client::{handshake_for, with_roots};
use crate::pebble::Pebble;
use crate::ports::Port;
use crate::wait::{Dice, PATIENCE, unix_ms, within};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client_http1;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1 as server_http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// What a request to an authority is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The directory.
    Directory,
    /// A nonce.
    NewNonce,
    /// An account is made, or found by its key.
    NewAccount,
    /// An account is looked at or changed.
    Account,
    /// An order is made.
    NewOrder,
    /// An order is looked at.
    Order,
    /// An authorization is looked at.
    Authorization,
    /// A challenge is said to be ready, or is looked at.
    Challenge,
    /// The request for the certificate itself.
    Finalize,
    /// The certificate is fetched.
    Certificate,
    /// When to renew.
    RenewalInfo,
    /// Anything else.
    Other,
}

impl Kind {
    /// By Pebble's paths.
    fn of(path: &str) -> Self {
        let kinds = [
            ("/dir", Self::Directory),
            ("/nonce-plz", Self::NewNonce),
            ("/sign-me-up", Self::NewAccount),
            ("/my-account/", Self::Account),
            ("/order-plz", Self::NewOrder),
            ("/my-order/", Self::Order),
            ("/authZ/", Self::Authorization),
            ("/chalZ/", Self::Challenge),
            ("/finalize-order/", Self::Finalize),
            ("/certZ/", Self::Certificate),
        ];
        if path.contains("/renewalInfo") {
            return Self::RenewalInfo;
        }
        kinds.iter().find(|(start, _)| path.starts_with(start)).map_or(Self::Other, |&(_, kind)| kind)
    }
}

/// How a request fails.
#[derive(Clone, Debug)]
pub enum Fault {
    /// No answer, for as long as the client waits. The authority never hears of the request.
    Hang,
    /// The authority does what is asked, and the answer never arrives.
    Swallow,
    /// The connection is cut in place of an answer.
    Cut,
    /// This is answered.
    Answer {
        /// The status.
        status: u16,
        /// What kind of body it says it is.
        kind: &'static str,
        /// Seconds of its `Retry-After`.
        retry_after: Option<u32>,
        /// The body.
        body: Bytes,
    },
}

impl Fault {
    /// What stands before a web service says when the service is gone.
    #[must_use]
    pub fn html(status: u16) -> Self {
        let body =
            format!("<html><head><title>{status}</title></head><body><h1>Sorry</h1></body></html>").into();
        Self::Answer { status, kind: "text/html", retry_after: None, body }
    }

    /// An ACME problem, by the last part of its name.
    #[must_use]
    pub fn problem(status: u16, name: &str, detail: &str) -> Self {
        let body = serde_json::json!({
            "type": format!("urn:ietf:params:acme:error:{name}"),
            "detail": detail,
            "status": status,
        });
        let body = body.to_string().into();
        Self::Answer { status, kind: "application/problem+json", retry_after: None, body }
    }

    /// Too many requests; come back in so many seconds.
    #[must_use]
    pub fn too_many(seconds: u32) -> Self {
        match Self::problem(429, "rateLimited", "too many new orders recently") {
            Self::Answer { status, kind, body, .. } => {
                Self::Answer { status, kind, retry_after: Some(seconds), body }
            }
            other => other,
        }
    }

    /// Success that never ends.
    #[must_use]
    pub fn huge() -> Self {
        let body = Bytes::from(vec![b' '; 24 * 1024 * 1024]);
        Self::Answer { status: 200, kind: "application/json", retry_after: None, body }
    }

    /// Success in a language that nobody speaks.
    #[must_use]
    pub fn garbage() -> Self {
        let body = Bytes::from_static(b"{\"newNonce\": [7, {\"status\": \xff\xfe");
        Self::Answer { status: 200, kind: "application/json", retry_after: None, body }
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What it was about.
    pub kind: Kind,
    /// When it came.
    pub at_ms: i64,
    /// Its path.
    pub path: String,
    /// What was signed, when it was signed JSON.
    pub payload: Option<Value>,
    /// What was answered; `None` until then, and when nothing was.
    pub status: Option<u16>,
}

/// What it does to the traffic.
#[derive(Debug, Default)]
struct Mood {
    /// The first that fits counts; an empty list of kinds fits every request.
    faults: Vec<(Vec<Kind>, Fault)>,
    bad_nonces: u8,
    no_renewal_info: bool,
    no_replacements: bool,
    /// The problem that every validation from here on ends with.
    validations: Option<Value>,
}

#[derive(Debug)]
struct Inner {
    upstream: SocketAddr,
    upstream_tls: Arc<ClientConfig>,
    mood: Mutex<Mood>,
    dice: Mutex<Dice>,
    seen: Mutex<Vec<Seen>>,
    /// Why requests could not be passed on, when nobody had told the proxy to fail.
    lost: Mutex<Vec<String>>,
}

/// A running proxy. Dropping it closes it.
#[derive(Debug)]
pub struct UnreliableCa {
    inner: Arc<Inner>,
    port: Port,
    open: watch::Sender<bool>,
}

impl UnreliableCa {
    /// Starts one before this authority; it passes everything on.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn before(pebble: &Pebble) -> Result<Self> {
        let port = Port::reserve()?;
        let pair = pebble.web().issue(&["localhost", "127.0.0.1"])?;
        let chain = CertificateDer::pem_slice_iter(pair.leaf.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let inner = Arc::new(Inner {
            upstream: pebble.address()?,
            upstream_tls: with_roots([pebble.web().der()], &[b"http/1.1"])?,
            mood: Mutex::default(),
            dice: Mutex::new(Dice::new(7)),
            seen: Mutex::default(),
            lost: Mutex::default(),
        });
        let (open, is_open) = watch::channel(true);
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        tokio::spawn(listen(Arc::clone(&inner), port.local(), acceptor, is_open));
        let started = Self { inner, port, open };
        started.up().await?;
        Ok(started)
    }

    /// The directory's address, for `tls.acme.directory`.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.port.local())
    }

    /// Refuses connections and cuts those that are there, until [`Self::up`].
    ///
    /// # Errors
    /// When it does not get quiet.
    pub async fn down(&self) -> Result<()> {
        self.open.send_replace(false);
        self.until(false).await
    }

    /// Takes connections.
    ///
    /// # Errors
    /// When it does not.
    pub async fn up(&self) -> Result<()> {
        self.open.send_replace(true);
        self.until(true).await
    }

    async fn until(&self, open: bool) -> Result<()> {
        let local = self.port.local();
        within(PATIENCE, "the proxy to open or close", async || {
            Ok((TcpStream::connect(&local).await.is_ok() == open).then_some(()))
        })
        .await
    }

    /// From here on requests of these kinds (of all kinds, when none is named) fail in this way.
    pub fn fail(&self, kinds: &[Kind], fault: Fault) {
        lock(&self.inner.mood).faults.push((kinds.to_vec(), fault));
    }

    /// Makes so many of a hundred nonces useless.
    pub fn spoil_nonces(&self, percent: u8) {
        lock(&self.inner.mood).bad_nonces = percent;
    }

    /// Hides that the authority knows when to renew.
    pub fn hide_renewal_info(&self) {
        lock(&self.inner.mood).no_renewal_info = true;
    }

    /// Refuses orders that name a certificate which they replace, as if it were replaced already.
    pub fn refuse_replacements(&self) {
        lock(&self.inner.mood).no_replacements = true;
    }

    /// Tells of every validation that it failed with this problem, whatever the authority found.
    pub fn refuse_validations(&self, name: &str, detail: &str) {
        let kind = format!("urn:ietf:params:acme:error:{name}");
        let problem = serde_json::json!({"type": kind, "detail": detail, "status": 403});
        lock(&self.inner.mood).validations = Some(problem);
    }

    /// Ends every fault; renewal information stays as it was.
    pub fn mend(&self) {
        let mut mood = lock(&self.inner.mood);
        mood.faults.clear();
        mood.bad_nonces = 0;
        mood.validations = None;
    }

    /// Everything that came so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.inner.seen).clone()
    }

    /// How many requests of this kind came so far.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        lock(&self.inner.seen).iter().filter(|seen| seen.kind == kind).count()
    }

    /// How many requests came so far.
    #[must_use]
    pub fn total(&self) -> usize {
        lock(&self.inner.seen).len()
    }

    /// How many of each kind, for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut counts = BTreeMap::new();
        for seen in lock(&self.inner.seen).iter() {
            *counts.entry(seen.kind).or_insert(0_u32) += 1;
        }
        let mut parts: Vec<String> = counts.iter().map(|(kind, count)| format!("{kind:?} {count}")).collect();
        parts.extend(lock(&self.inner.lost).iter().map(|why| format!("not passed on: {why}")));
        parts.join(", ")
    }

    /// What the orders asked for, oldest first.
    #[must_use]
    pub fn orders(&self) -> Vec<Value> {
        let seen = lock(&self.inner.seen);
        seen.iter()
            .filter(|seen| seen.kind == Kind::NewOrder)
            .filter_map(|seen| seen.payload.clone())
            .collect()
    }

    /// Waits until so many requests of this kind have come.
    ///
    /// # Errors
    /// When they do not come within `patience`.
    pub async fn wait_for(&self, kind: Kind, count: usize, patience: Duration) -> Result<()> {
        let what = format!("{count} requests of kind {kind:?}");
        within(patience, &what, async || Ok((self.count(kind) >= count).then_some(()))).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends when the proxy is dropped, and its connections with it.
async fn listen(inner: Arc<Inner>, address: String, tls: TlsAcceptor, mut open: watch::Receiver<bool>) {
    while open.wait_for(|open| *open).await.is_ok() {
        let Ok(listener) = TcpListener::bind(&address).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        loop {
            let accepted = tokio::select! {
                closed = open.wait_for(|open| !*open) => Err(closed.is_err()),
                accepted = listener.accept() => Ok(accepted),
            };
            let stream = match accepted {
                Err(true) => return,
                Err(false) => break,
                Ok(Err(_)) => continue,
                Ok(Ok((stream, _))) => stream,
            };
            let (inner, tls, mut open) = (Arc::clone(&inner), tls.clone(), open.clone());
            tokio::spawn(async move {
                tokio::select! {
                    _closed = open.wait_for(|open| !*open) => {}
                    () = converse(inner, tls, stream) => {}
                }
            });
        }
    }
}

async fn converse(inner: Arc<Inner>, tls: TlsAcceptor, stream: TcpStream) {
    stream.set_nodelay(true).ok();
    let Ok(stream) = tls.accept(stream).await else { return };
    let service = service_fn(move |request| {
        let inner = Arc::clone(&inner);
        async move { inner.handle(request).await }
    });
    // A client that leaves is no concern of the proxy.
    let _ended = server_http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Inner {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let path = parts.uri.path().to_owned();
        let kind = Kind::of(&path);
        let payload = signed(&body);
        let replaces = payload.as_ref().is_some_and(|payload| payload["replaces"].is_string());
        let number = {
            let mut seen = lock(&self.seen);
            seen.push(Seen { kind, at_ms: unix_ms(), path, payload, status: None });
            seen.len() - 1
        };
        let fault = {
            let mood = lock(&self.mood);
            let fits = |kinds: &[Kind]| kinds.is_empty() || kinds.contains(&kind);
            let told = mood.faults.iter().find(|(kinds, _)| fits(kinds)).map(|(_, fault)| fault.clone());
            let replaced = mood.no_replacements && kind == Kind::NewOrder && replaces;
            told.or(replaced.then(|| Fault::problem(409, "alreadyReplaced", "it has been replaced already")))
        };
        let answer = match fault {
            None => {
                let passed = self.pass(kind, parts, body).await;
                if let Err(error) = &passed {
                    lock(&self.lost).push(format!("{kind:?}: {error:#}"));
                }
                passed?
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Swallow) => {
                self.pass(kind, parts, body).await?;
                std::future::pending().await
            }
            Some(Fault::Cut) => bail!("cut, as told"),
            Some(Fault::Answer { status, kind, retry_after, body }) => {
                let mut answer = Response::new(Full::new(body));
                *answer.status_mut() = StatusCode::from_u16(status)?;
                answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
                if let Some(seconds) = retry_after {
                    answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
                }
                answer
            }
        };
        if let Some(seen) = lock(&self.seen).get_mut(number) {
            seen.status = Some(answer.status().as_u16());
        }
        Ok(answer)
    }

    async fn pass(
        &self,
        kind: Kind,
        parts: hyper::http::request::Parts,
        body: Bytes,
    ) -> Result<Response<Full<Bytes>>> {
        let name = ServerName::try_from("localhost")?;
        let stream = handshake_for(self.upstream, name, Arc::clone(&self.upstream_tls)).await?;
        let (mut sender, connection) = client_http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        // The Host stays: Pebble makes its addresses of it, and the signature covers the address.
        let mut request = Request::new(Full::new(body));
        *request.uri_mut() = parts.uri.path_and_query().context("a path")?.as_str().parse()?;
        let is_head = parts.method == Method::HEAD;
        *request.method_mut() = parts.method;
        *request.headers_mut() = parts.headers;
        let (mut parts, body) = sender.send_request(request).await?.into_parts();
        let mut body = body.collect().await?.to_bytes();
        for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
            parts.headers.remove(name);
        }
        if is_head {
            body = Bytes::new();
        }

        let mood = lock(&self.mood);
        if kind == Kind::Directory && mood.no_renewal_info {
            let mut directory: Value = serde_json::from_slice(&body)?;
            directory.as_object_mut().context("a directory is an object")?.remove("renewalInfo");
            body = directory.to_string().into();
        }
        if let Some(problem) = &mood.validations {
            // Nothing has failed before a challenge was said to be ready.
            let ready = lock(&self.seen).iter().any(|seen| seen.kind == Kind::Challenge);
            if ready && matches!(kind, Kind::Order | Kind::Authorization | Kind::Challenge) {
                body = invalid(&body, problem)?;
            }
        }
        let nonce = HeaderName::from_static("replay-nonce");
        let spoiled = lock(&self.dice).range(0, 100) < u64::from(mood.bad_nonces);
        if spoiled && parts.headers.contains_key(&nonce) {
            parts.headers.insert(nonce, HeaderValue::from_static("c3BvaWxlZC1ieS10aGUtdGVzdA"));
        }
        Ok(Response::from_parts(parts, Full::new(body)))
    }
}

/// The same order, authorization or challenge, after a failed validation.
fn invalid(body: &[u8], problem: &Value) -> Result<Bytes> {
    let mut told: Value = serde_json::from_slice(body)?;
    told["status"] = "invalid".into();
    match told["challenges"].as_array_mut() {
        Some(challenges) => {
            for challenge in challenges {
                challenge["status"] = "invalid".into();
                challenge["error"] = problem.clone();
            }
        }
        None => told["error"] = problem.clone(),
    }
    Ok(told.to_string().into())
}

/// The payload of a signed request; `None` when there is none, or it is not JSON.
fn signed(body: &[u8]) -> Option<Value> {
    let outer: Value = serde_json::from_slice(body).ok()?;
    serde_json::from_slice(&from_base64url(outer["payload"].as_str()?)?).ok()
}

/// What this text stands for (base64url without padding); `None` when it is something else.
#[must_use]
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    Some(bytes)
}
