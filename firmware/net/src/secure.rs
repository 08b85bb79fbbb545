//! One verified TLS connection to one server, with a time-out for everything. What is said over it is decided elsewhere.

use crate::clock;
use crate::fault::{CertificateFault, Fault};
use crate::roots::Trust;
use core::ffi::CStr;
use core::future::poll_fn;
use core::net::IpAddr;
use core::pin::pin;
use core::task::Poll;
use edge_nal::{AddrType, Dns, TcpConnect};
use embassy_time::{Duration, Instant, with_deadline};
use embedded_svc::io::{Error as _, ErrorKind};
use mbedtls_rs::sys;
use mbedtls_rs::{
    ClientSessionConfig, SavedSession, Session, SessionConfig, SessionError, TlsReference, TlsVersion,
};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Name, TCP and TLS together. A chip needs seconds for a handshake with RSA.
    pub connect: Duration,
    /// A whole exchange on an open connection, from the first byte of the request to the last of the answer.
    pub exchange: Duration,
}

impl Default for Limits {
    /// 20 s and 30 s.
    fn default() -> Self {
        Self { connect: Duration::from_secs(20), exchange: Duration::from_secs(30) }
    }
}

/// What a connection is made of, besides its server.
pub struct Network<'a, T, D> {
    /// Opens TCP connections.
    pub tcp: &'a T,
    /// Finds addresses of names.
    pub dns: &'a D,
    /// Mbed TLS, of which there is one in a program.
    pub tls: TlsReference<'a>,
    /// Whom to believe.
    pub trust: &'a Trust,
}

/// Where a server is. The certificate must be for the name, or the address, in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) name: &'a CStr,
    pub(crate) port: u16,
}

/// How often TLS was set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshakes {
    /// Handshakes that ended well.
    pub done: u32,
    /// Those that began with an earlier session. Whether the gateway took it up is its business.
    pub offered: u32,
}

/// A connection that is opened when it is needed.
pub(crate) struct Secure<'a, T: TcpConnect, D> {
    network: Network<'a, T, D>,
    place: Place<'a>,
    session: Option<Session<'a, T::Socket<'a>>>,
    /// What to resume from, used once.
    saved: Option<SavedSession>,
    /// Whether TLS 1.3 is offered, too; see [`Secure::connect`].
    tls13: bool,
    pub(crate) handshakes: Handshakes,
    /// Until when everything must be done that is begun now.
    pub(crate) deadline: Instant,
}

impl<'a, T: TcpConnect, D: Dns> Secure<'a, T, D> {
    pub(crate) fn new(network: Network<'a, T, D>, place: Place<'a>) -> Self {
        clock::install();
        Self {
            network,
            place,
            session: None,
            saved: None,
            tls13: false,
            handshakes: Handshakes::default(),
            deadline: Instant::MIN,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.session.is_some()
    }

    /// Forgets the connection without a goodbye: on what something went wrong nothing more is said.
    pub(crate) fn drop_it(&mut self) {
        self.session = None;
    }

    /// Whether the connection is open and nothing came on it: a goodbye would be waiting there. Drops it otherwise.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        let Some(session) = &mut self.session else { return false };
        let mut byte = [0];
        let quiet = {
            let mut reading = pin!(session.read(&mut byte));
            poll_fn(|context| Poll::Ready(reading.as_mut().poll(context).is_pending())).await
        };
        if !quiet {
            self.session = None;
        }
        quiet
    }

    /// Opens it anew, within the deadline.
    pub(crate) async fn open(&mut self) -> Result<(), Fault> {
        self.session = None;
        if clock::unix_s().is_none() {
            return Err(Fault::Clock);
        }
        let session = with_deadline(self.deadline, self.connect()).await.map_err(|_| Fault::TimedOut)??;
        self.handshakes.done = self.handshakes.done.saturating_add(1);
        self.session = Some(session);
        Ok(())
    }

    /// Opens a connection. TLS 1.2 comes first: its sessions can be resumed, while Mbed TLS passes over the tickets of
    /// TLS 1.3 unless told otherwise, and its bindings have no way to tell it. A gateway that refuses 1.2 is offered both
    /// the next time.
    async fn connect(&mut self) -> Result<Session<'a, T::Socket<'a>>, Fault> {
        let Network { tcp, dns, tls, trust } = self.network;
        let Place { name, port } = self.place;
        let host = name.to_str().unwrap_or_default();
        let address = match host.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => dns.get_host_by_name(host, AddrType::IPv4).await.map_err(|_| Fault::Name)?,
        };
        let socket =
            tcp.connect((address, port).into()).await.map_err(|error| Fault::Connect(error.kind()))?;
        let mut config = ClientSessionConfig::new();
        config.ca_chain = Some(trust.anchors());
        config.server_name = Some(name);
        config.max_version = (!self.tls13).then_some(TlsVersion::Tls1_2);
        let mut session =
            Session::new(tls, socket, &SessionConfig::Client(config)).map_err(|error| lost(&error))?;
        let shaken = match self.saved.take() {
            Some(saved) => {
                self.handshakes.offered = self.handshakes.offered.saturating_add(1);
                session.connect_with_session(&saved).await
            }
            None => session.connect().await,
        };
        match shaken {
            Ok(()) => Ok(session),
            // A refused certificate shows in the flags, whatever the handshake ended with. They are all ones before any
            // certificate came.
            Err(error) => Err(match CertificateFault::from_flags(session.tls_verification_details()) {
                Some(fault) if is(&error, sys::MBEDTLS_ERR_X509_CERT_VERIFY_FAILED) => {
                    Fault::Certificate(fault)
                }
                _ => {
                    self.tls13 ^= is(&error, sys::MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE);
                    lost(&error)
                }
            }),
        }
    }

    /// Keeps what resuming takes. After the first answer: by then a ticket has come, if the server gives any.
    pub(crate) fn remember(&mut self) {
        if self.saved.is_none() {
            self.saved = self.session.as_ref().and_then(|session| session.save().ok());
        }
    }

    /// What comes next, at least one byte.
    pub(crate) async fn read(&mut self, out: &mut [u8]) -> Result<usize, Fault> {
        let session = self.session.as_mut().ok_or(Fault::State)?;
        let len = with_deadline(self.deadline, session.read(out)).await.map_err(|_| Fault::TimedOut)?;
        match len.map_err(|error| lost(&error))? {
            0 => Err(Fault::Closed),
            len => Ok(len),
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let session = self.session.as_mut().ok_or(Fault::State)?;
        let sent = with_deadline(self.deadline, session.write(bytes)).await.map_err(|_| Fault::TimedOut)?;
        sent.map_err(|error| lost(&error))
    }

    pub(crate) async fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let sent = self.write(bytes).await?;
            bytes = bytes.get(sent..).filter(|_| sent > 0).ok_or(Fault::Closed)?;
        }
        Ok(())
    }

    pub(crate) async fn flush(&mut self) -> Result<(), Fault> {
        let session = self.session.as_mut().ok_or(Fault::State)?;
        let flushed = with_deadline(self.deadline, session.flush()).await.map_err(|_| Fault::TimedOut)?;
        flushed.map_err(|error| lost(&error))
    }

    /// Says goodbye and closes. What is needed to resume is kept.
    pub(crate) async fn close(&mut self) {
        if let Some(mut session) = self.session.take() {
            // Whether the server hears it changes nothing.
            let until = Instant::now() + GOODBYE;
            let _lost = with_deadline(until, session.close()).await;
        }
    }
}

/// How long a goodbye may take.
pub(crate) const GOODBYE: Duration = Duration::from_secs(2);

fn is(error: &SessionError, code: i32) -> bool {
    matches!(error, SessionError::MbedTls(error) if error.code() == code)
}

fn lost(error: &SessionError) -> Fault {
    match error {
        SessionError::Io(ErrorKind::TimedOut) => Fault::TimedOut,
        SessionError::Io(_) => Fault::Closed,
        SessionError::MbedTls(error) => match error.code() {
            sys::MBEDTLS_ERR_SSL_CONN_EOF | sys::MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY => Fault::Closed,
            // Mbed TLS calls it bad input when asked for more than its buffer takes.
            sys::MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL | sys::MBEDTLS_ERR_SSL_BAD_INPUT_DATA => Fault::Record,
            sys::MBEDTLS_ERR_SSL_ALLOC_FAILED | sys::MBEDTLS_ERR_X509_ALLOC_FAILED => Fault::Memory,
            code => Fault::Tls(code),
        },
    }
}
