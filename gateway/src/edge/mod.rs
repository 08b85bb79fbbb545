//! The listeners: accept, shake hands, hand over to the application, drain.
//!
//! Limits, all of them per process: [`CONNECTIONS_MAX`] at once, [`CONNECTIONS_PER_ADDRESS_MAX`] from one address (a
//! connection above either is closed at once); plain HTTP has seats of its own, [`PLAIN_CONNECTIONS_MAX`], so that an
//! authority's check finds one however full the house is; [`HANDSHAKE_TIMEOUT`] for TLS, [`HEADER_TIMEOUT`] for a request's head
//! and for the pause between two requests, 100 streams and 16 KiB of headers on HTTP/2, 64 KiB of buffer on HTTP/1.

mod passed;
mod redirect;
mod roles;
mod unread;

pub use passed::{Passed, PassedError};

use crate::desk::Peer;
use crate::observe::Counters;
use crate::tls::challenge;
use crate::tls::{Asking, Certificates, Https};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use roles::Kind;
use rustls::server::Acceptor;
use socket2::{SockRef, TcpKeepalive};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once. An idle one costs some 25 kB, so that all of them fit beside the rest in 614 MB.
pub const CONNECTIONS_MAX: usize = 1024;

/// Connections at once from one address. Thirty classrooms behind one router fit; one attacker does not fill the door.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 256;

/// Connections over plain HTTP at once.
pub const PLAIN_CONNECTIONS_MAX: usize = 256;

/// Connections over plain HTTP at once from one address.
pub const PLAIN_CONNECTIONS_PER_ADDRESS_MAX: usize = 32;

/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request's head may take, and a kept connection may rest.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long sent bytes may stay unacknowledged, or a peer's window closed (`TCP_USER_TIMEOUT`, RFC 5482).
pub const STALLED_TIMEOUT: Duration = Duration::from_secs(60);

/// How long running requests may take to finish when the process stops.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Waiting connections per listener; more are refused by the kernel.
const BACKLOG: u32 = 256;

/// Listeners that are bound but do not accept yet.
#[derive(Debug)]
pub struct Bound {
    http: Vec<TcpListener>,
    https: Vec<TcpListener>,
}

/// Why a gateway cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address cannot be bound.
    #[error("{0} cannot be listened at")]
    Address(SocketAddr, #[source] io::Error),
    /// A socket that was passed cannot be used.
    #[error(transparent)]
    Passed(#[from] PassedError),
}

impl Bound {
    /// Takes over the sockets that were passed, and binds every address that none of them answers.
    ///
    /// # Errors
    /// The address that cannot be bound, or the socket that cannot be used, and why.
    pub fn bind(http: &[SocketAddr], https: &[SocketAddr], passed: Passed) -> Result<Self, ListenError> {
        let mut bound = Self { http: Vec::new(), https: Vec::new() };
        let mut heard = Vec::new();
        for socket in passed.0 {
            let name = || socket.name.clone().unwrap_or_else(|| "without a name".to_owned());
            let address = socket.heard.address;
            let kind = roles::kind(socket.name.as_deref(), socket.heard, http, https)
                .ok_or_else(|| PassedError::Stranger { name: name(), address })?;
            let (configured, own) = match kind {
                Kind::Http => (http, &mut bound.http),
                Kind::Https => (https, &mut bound.https),
            };
            if !configured.iter().any(|address| socket.heard.answers(*address)) {
                tracing::warn!(
                    "the service manager passes the socket {} at {address}, which the configuration does not name; it is used",
                    name()
                );
            }
            let listener = TcpListener::from_std(socket.listener)
                .map_err(|error| PassedError::Unusable(name(), error))?;
            own.push(listener);
            heard.push((kind, socket.heard));
        }
        for (kind, addresses, own) in
            [(Kind::Http, http, &mut bound.http), (Kind::Https, https, &mut bound.https)]
        {
            for address in addresses {
                if !heard.iter().any(|(of, heard)| *of == kind && heard.answers(*address)) {
                    own.push(listen(*address).map_err(|error| ListenError::Address(*address, error))?);
                }
            }
        }
        Ok(bound)
    }

    /// Where plain HTTP is heard.
    pub fn http(&self) -> Vec<SocketAddr> {
        self.http.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Where HTTPS is heard.
    pub fn https(&self) -> Vec<SocketAddr> {
        self.https.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Accepts until `shutdown`, then lets running requests finish for at most [`DRAIN`].
    pub async fn run(
        self,
        tls: Https,
        certificates: Arc<Certificates>,
        app: Router,
        counters: Arc<Counters>,
        shutdown: CancellationToken,
    ) {
        let port = self.https().first().map_or(443, SocketAddr::port);
        let door = Arc::new(Door {
            seats: Seats::new(CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX),
            plain_seats: Seats::new(PLAIN_CONNECTIONS_MAX, PLAIN_CONNECTIONS_PER_ADDRESS_MAX),
            tls,
            certificates,
            app,
            https_port: port,
            counters,
            shutdown: shutdown.clone(),
            connections: TaskTracker::new(),
        });
        let listeners = TaskTracker::new();
        for (kind, sockets) in [(Kind::Http, self.http), (Kind::Https, self.https)] {
            for socket in sockets {
                listeners.spawn(accept(Arc::clone(&door), kind, socket));
            }
        }
        listeners.close();
        listeners.wait().await;
        door.connections.close();
        if tokio::time::timeout(DRAIN, door.connections.wait()).await.is_err() {
            tracing::warn!(
                connections = door.connections.len(),
                "some requests did not finish in time and were cut"
            );
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket =
        if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    // A restart must not wait for the kernel to forget old connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

struct Door {
    seats: Seats,
    plain_seats: Seats,
    tls: Https,
    certificates: Arc<Certificates>,
    app: Router,
    https_port: u16,
    counters: Arc<Counters>,
    shutdown: CancellationToken,
    connections: TaskTracker,
}

async fn accept(door: Arc<Door>, kind: Kind, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            () = door.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let door = Arc::clone(&door);
                let connections = door.connections.clone();
                connections.spawn(async move { door.serve(kind, stream, peer.ip().to_canonical()).await });
            }
            Err(error) => {
                // Out of file descriptors, most likely: give connections time to end instead of spinning.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Door {
    async fn serve(self: Arc<Self>, kind: Kind, stream: TcpStream, peer: IpAddr) {
        let seats = match kind {
            Kind::Http => &self.plain_seats,
            Kind::Https => &self.seats,
        };
        let Some(_seat) = seats.take(peer) else {
            self.counters.connections_refused.inc();
            return;
        };
        self.counters.connections.inc();
        settle(&stream);
        match kind {
            Kind::Http => self.drive(auto_http1(), stream, peer, Kind::Http).await,
            Kind::Https => {
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.shake_hands(stream)).await {
                    Ok(Ok((stream, Asking::Client))) => {
                        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        let builder = if http2 { auto_http2() } else { auto_http1() };
                        self.drive(builder, stream, peer, Kind::Https).await;
                    }
                    // It has seen what it came for (RFC 8737 §4).
                    Ok(Ok((_, Asking::Authority))) => {}
                    Ok(Err(error)) => {
                        self.counters.handshakes_failed.inc();
                        tracing::debug!(%peer, %error, "a TLS handshake failed");
                    }
                    Err(_) => {
                        self.counters.handshakes_failed.inc();
                        tracing::debug!(%peer, "a TLS handshake took too long");
                    }
                }
            }
        }
        self.counters.connections.dec();
    }

    async fn shake_hands(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Asking)> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let (config, asking) = self.tls.for_client(&start.client_hello());
        Ok((start.into_stream(config).await?, asking))
    }

    async fn drive<S>(
        self: &Arc<Self>,
        builder: auto::Builder<TokioExecutor>,
        stream: S,
        peer: IpAddr,
        kind: Kind,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| Arc::clone(self).answer(kind, request, peer));
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut draining = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "a connection ended early");
                    }
                    return;
                }
                () = self.shutdown.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    async fn answer(
        self: Arc<Self>,
        kind: Kind,
        mut request: Request<Incoming>,
        peer: IpAddr,
    ) -> Result<Response<Body>, Infallible> {
        match kind {
            Kind::Http => Ok(self.prove(&request).unwrap_or_else(|| self.redirect(&request))),
            Kind::Https => {
                request.extensions_mut().insert(Peer(peer));
                unread::answered(self.app.clone(), request.map(Body::new)).await
            }
        }
    }

    /// What an authority asks for on the way to a certificate. It comes before everything else: no redirect, no ban.
    fn prove(&self, request: &Request<Incoming>) -> Option<Response<Body>> {
        let token = request.uri().path().strip_prefix(challenge::PATH)?;
        let (status, text) = match self.certificates.challenges.file(token) {
            Some(content) => (StatusCode::OK, content),
            None => (StatusCode::NOT_FOUND, "there is no such challenge\n".to_owned()),
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        let kind = header::HeaderValue::from_static("text/plain");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        Some(response)
    }

    fn redirect(&self, request: &Request<Incoming>) -> Response<Body> {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let mut response = Response::new(Body::empty());
        let shown = self.certificates.shown();
        let trusted = shown.publicly_trusted.then_some(shown.facts.names.as_slice());
        let target = redirect::target(host, request.uri(), self.https_port, trusted)
            .and_then(|target| header::HeaderValue::try_from(target).ok());
        match target {
            Some(target) => {
                *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
                response.headers_mut().insert(header::LOCATION, target);
            }
            None => *response.status_mut() = StatusCode::BAD_REQUEST,
        }
        // A device that speaks plain HTTP must be able to find us again once a certificate exists.
        response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        response
    }
}

/// Small answers go out at once, and a peer that is gone or never reads its answer loses its seat.
fn settle(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let settled = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(STALLED_TIMEOUT)))
        .and_then(|()| socket.set_tcp_user_timeout(Some(STALLED_TIMEOUT)));
    if let Err(error) = settled {
        tracing::debug!(%error, "a connection could not be given its timeouts");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADER_TIMEOUT)
        .keep_alive_timeout(HANDSHAKE_TIMEOUT)
        .max_concurrent_streams(100)
        .max_header_list_size(16 * 1024)
        .enable_connect_protocol();
    builder
}

// The protocol is known from the handshake, so nobody can hold a connection by not saying which one it speaks.
fn auto_http1() -> auto::Builder<TokioExecutor> {
    builder().http1_only()
}

fn auto_http2() -> auto::Builder<TokioExecutor> {
    builder().http2_only()
}

/// Places for connections: so many altogether, so many from one address.
struct Seats {
    all: Arc<Semaphore>,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    per_address: usize,
}

impl Seats {
    fn new(all: usize, per_address: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), addresses: Mutex::new(HashMap::new()), per_address }
    }

    fn take(&self, peer: IpAddr) -> Option<Seat<'_>> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(peer).or_insert(0);
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Seat { seats: self, peer, _permit: permit })
    }
}

/// A connection's place; given back when dropped.
struct Seat<'a> {
    seats: &'a Seats,
    peer: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut addresses = self.seats.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.peer);
            }
        }
    }
}
