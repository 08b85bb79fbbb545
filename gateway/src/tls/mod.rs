//! Which certificate is shown, where it comes from, and how TLS is spoken.
//!
//! | file | holds |
//! |---|---|
//! | [`pair`] | a chain and its key: read, checked, described |
//! | [`self_signed`] | the certificate for when there is no other |
//! | [`challenge`] | what shows an authority that a name is ours |
//! | [`tickets`] | session tickets that survive a restart |
//! | [`acme`] | the conversation with an authority |

pub mod acme;
pub mod challenge;
pub mod pair;
pub mod self_signed;
pub mod tickets;

use crate::renewal::Certificate;
use arc_swap::ArcSwap;
use challenge::{Challenges, Prover};
use pair::Pair;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tickets::Tickets;

/// Largest TLS record sent to clients that do not speak HTTP/2, in bytes of content. Boards with 4 KiB of buffer take
/// it; below 4,096 old Mbed TLS cannot put a fragmented handshake together (Mbed-TLS issue 1840).
pub const DEVICE_FRAGMENT: usize = 4096;

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("{} cannot be read: {why}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why, and what would help: owner, mode, the mode needed.
        why: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file is far too large to be what it should.
    #[error("{} is larger than {} bytes; is it the right file?", file.display(), pair::PEM_BYTES_MAX)]
    TooLarge {
        /// Which.
        file: PathBuf,
    },
    /// A file does not hold what it should.
    #[error("{} does not hold {wanted} in PEM form", file.display())]
    NotPem {
        /// Which.
        file: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// Certificate and key are not a pair, or the key is of a kind that is not supported.
    #[error("{} and {} are not a pair that TLS can use: {source}", cert.display(), key.display())]
    NotAPair {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What the TLS library says.
        source: rustls::Error,
    },
    /// A certificate could not be made.
    #[error("a certificate could not be made")]
    NotMade(#[source] rcgen::Error),
    /// A certificate could not be kept.
    #[error("{} could not be written: {source}", file.display())]
    NotKept {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The TLS library refuses its own parameters.
    #[error("TLS cannot be set up: {0}")]
    Library(#[source] rustls::Error),
}

/// Where the certificate comes from that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Made here.
    SelfSigned,
    /// Files of somebody else's.
    Files,
    /// An authority gave it, or it was imported to be renewed there.
    Acme,
}

impl Origin {
    /// As the configuration names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SelfSigned => "self-signed",
            Self::Files => "files",
            Self::Acme => "acme",
        }
    }
}

/// The certificate that is shown, and what is known of it.
#[derive(Debug)]
pub struct Shown {
    full: Arc<CertifiedKey>,
    short: Arc<CertifiedKey>,
    /// What it says.
    pub facts: Certificate,
    /// Where it comes from.
    pub origin: Origin,
    /// Browsers know the authority behind it.
    pub publicly_trusted: bool,
}

impl Shown {
    fn new(pair: Pair, origin: Origin) -> Self {
        let short = pair.short();
        Self {
            full: pair.certified,
            short,
            facts: pair.facts,
            origin,
            publicly_trusted: pair.publicly_trusted,
        }
    }

    /// The whole chain as it is sent, the certificate itself first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.full.cert
    }

    /// The certificate itself.
    pub fn leaf(&self) -> Option<CertificateDer<'static>> {
        self.full.cert.first().cloned()
    }
}

/// The certificate that new handshakes see, and the challenges that authorities ask for. Both change while connections
/// run; those that are open keep what they have.
#[derive(Debug)]
pub struct Certificates {
    shown: ArcSwap<Shown>,
    /// The challenges of the order under way.
    pub challenges: Challenges,
    tickets: Arc<Tickets>,
}

impl Certificates {
    /// Begins with this pair. Keys of session tickets are kept in `dir`.
    pub fn new(pair: Pair, origin: Origin, dir: &Path, now_ms: i64) -> Arc<Self> {
        Arc::new(Self {
            shown: ArcSwap::from_pointee(Shown::new(pair, origin)),
            challenges: Challenges::default(),
            tickets: Tickets::open(dir, now_ms),
        })
    }

    /// Shows another pair from the next handshake on.
    pub fn show(&self, pair: Pair, origin: Origin) {
        self.shown.store(Arc::new(Shown::new(pair, origin)));
    }

    /// What is shown.
    pub fn shown(&self) -> Arc<Shown> {
        self.shown.load_full()
    }

    /// Changes the keys of session tickets when it is time.
    pub fn rotate_tickets(&self, now_ms: i64) {
        self.tickets.rotate(now_ms);
    }

    /// How HTTPS is spoken. `short_chain` leaves the last certificate away for clients that do not speak HTTP/2.
    ///
    /// # Errors
    /// [`TlsError::Library`] when the TLS library refuses.
    pub fn https(self: &Arc<Self>, short_chain: bool) -> Result<Https, TlsError> {
        let resolver = |short| Arc::new(Resolver { certificates: Arc::clone(self), short });
        let mut browsers = self.config(resolver(false))?;
        browsers.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut devices = self.config(resolver(short_chain))?;
        devices.alpn_protocols = vec![b"http/1.1".to_vec()];
        devices.max_fragment_size = Some(DEVICE_FRAGMENT);
        let mut authorities = self.config(Arc::new(Prover(Arc::clone(self))))?;
        authorities.alpn_protocols = vec![challenge::PROTOCOL.to_vec()];
        authorities.send_tls13_tickets = 0;
        Ok(Https {
            browsers: Arc::new(browsers),
            devices: Arc::new(devices),
            authorities: Arc::new(authorities),
        })
    }

    fn config(&self, resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Library)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.ticketer = Arc::clone(&self.tickets) as Arc<dyn rustls::server::ProducesTickets>;
        // All suites offered are good; an order of the server's own is what scanners look for.
        config.ignore_client_order = true;
        // One is enough for a client that keeps its connection; each costs a key derivation in every full handshake.
        config.send_tls13_tickets = 1;
        // Tickets do it; nothing is remembered per client.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(config)
    }
}

/// How TLS is spoken, by who asks: TLS 1.2 and 1.3 for all.
#[derive(Clone, Debug)]
pub struct Https {
    browsers: Arc<ServerConfig>,
    devices: Arc<ServerConfig>,
    authorities: Arc<ServerConfig>,
}

impl Https {
    /// Browsers offer HTTP/2. Who does not may be a board with small buffers. An authority that checks a challenge
    /// offers its own protocol and nothing else.
    pub fn for_client(&self, hello: &ClientHello<'_>) -> (Arc<ServerConfig>, Asking) {
        let (mut http2, mut authority) = (false, false);
        for protocol in hello.alpn().into_iter().flatten() {
            http2 |= protocol == b"h2";
            authority |= protocol == challenge::PROTOCOL;
        }
        match (authority, http2) {
            (true, _) => (Arc::clone(&self.authorities), Asking::Authority),
            (false, true) => (Arc::clone(&self.browsers), Asking::Client),
            (false, false) => (Arc::clone(&self.devices), Asking::Client),
        }
    }
}

/// Who shakes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// Somebody who wants an answer.
    Client,
    /// An authority that looks at the certificate and leaves.
    Authority,
}

#[derive(Debug)]
struct Resolver {
    certificates: Arc<Certificates>,
    short: bool,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // One certificate carries all names, so that a client that cannot say one (an address in the URL) gets it, too.
        let shown = self.certificates.shown.load();
        Some(Arc::clone(if self.short { &shown.short } else { &shown.full }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_341_600_000;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_self_signed_certificate_is_made_once_and_kept() {
        let place = tempfile::tempdir().unwrap();
        let keep = |of: &[&str], now| {
            self_signed::keep(place.path(), &names(of), now).unwrap().certified.cert.clone()
        };
        let own = ["localhost", "127.0.0.1", "::1"];
        let first = keep(&own, NOW);
        assert_eq!(keep(&own, NOW + 86_400_000), first);
        assert_ne!(keep(&["air.example.org"], NOW), first, "other names need another certificate");
    }

    #[test]
    fn a_certificate_that_is_about_to_end_is_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let keep = |now| {
            self_signed::keep(place.path(), &names(&["localhost"]), now).unwrap().certified.cert.clone()
        };
        assert_ne!(keep(NOW), keep(NOW + 380 * 86_400_000));
    }

    #[test]
    fn half_a_pair_or_none_is_told_apart() {
        let place = tempfile::tempdir().unwrap();
        self_signed::keep(place.path(), &names(&["localhost"]), NOW).unwrap();
        let (cert, key) = (place.path().join("self-signed.pem"), place.path().join("self-signed.key"));
        let files = |cert: &Path, key: &Path| Pair::from_files(cert, key).map(drop);
        assert!(files(&cert, &key).is_ok());
        assert!(matches!(files(&key, &key), Err(TlsError::NotPem { .. })));
        assert!(matches!(files(&cert, &cert), Err(TlsError::NotPem { .. })));
        let Err(TlsError::Unreadable { why, .. }) = files(&cert, &place.path().join("nope")) else {
            panic!()
        };
        assert!(why.contains("no such file"), "{why}");
        let large = place.path().join("large.pem");
        std::fs::File::create(&large).unwrap().set_len(pair::PEM_BYTES_MAX + 1).unwrap();
        assert!(matches!(files(&large, &key), Err(TlsError::TooLarge { .. })));
        assert!(matches!(files(Path::new("/dev/zero"), &key), Err(TlsError::NotPem { .. })));
    }

    #[test]
    fn what_is_shown_can_be_swapped() {
        let place = tempfile::tempdir().unwrap();
        let first = self_signed::keep(place.path(), &names(&["localhost"]), NOW).unwrap();
        let certificates = Certificates::new(first.clone(), Origin::SelfSigned, place.path(), NOW);
        let second = self_signed::keep(place.path(), &names(&["air.example.org"]), NOW).unwrap();
        assert_eq!(certificates.shown().facts, first.facts);
        certificates.show(second.clone(), Origin::Acme);
        assert_eq!(
            (certificates.shown().facts.clone(), certificates.shown().origin),
            (second.facts, Origin::Acme)
        );
    }
}
