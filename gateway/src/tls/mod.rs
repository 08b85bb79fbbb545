//! Which certificate is shown, and how TLS is spoken.

mod self_signed;

/// The certificate made here, in the folder of certificates; clients on this machine trust it by its file.
pub fn own_certificate(dir: &Path) -> PathBuf {
    self_signed::certificate(dir)
}

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("{} cannot be read{}", file.display(), hint(source))]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
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
    #[error("{} and {} are not a pair that TLS can use", cert.display(), key.display())]
    NotAPair {
        /// The chain.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What the TLS library says.
        source: rustls::Error,
    },
    /// A certificate could not be made.
    #[error("the self-signed certificate could not be made")]
    NotMade(#[source] rcgen::Error),
    /// A certificate could not be kept.
    #[error("{} could not be written", file.display())]
    NotKept {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The TLS library refuses its own parameters.
    #[error("TLS cannot be set up")]
    Library(#[source] rustls::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ": this user may not; give it to Casement's user with mode 0600",
        io::ErrorKind::NotFound => ": there is no such file",
        _ => "",
    }
}

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// Made here for these names and kept in this folder.
    SelfSigned {
        /// `data_dir/certs`.
        dir: &'a Path,
        /// DNS names and IP addresses.
        names: &'a [String],
    },
    /// A pair of PEM files.
    Files {
        /// The chain, leaf first.
        cert: &'a Path,
        /// The leaf's key.
        key: &'a Path,
    },
}

/// The certificate that new handshakes see. It can be swapped while connections run.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwap<CertifiedKey>,
}

impl Certificates {
    /// Reads or makes the certificate. `now_ms` decides whether a self-signed one is about to end.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub fn load(source: Source<'_>, now_ms: i64) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(read(source, now_ms)?) }))
    }

    /// Reads the certificate again and shows it from the next handshake on. When that fails the old one stays.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub fn reload(&self, source: Source<'_>, now_ms: i64) -> Result<(), TlsError> {
        self.current.store(Arc::new(read(source, now_ms)?));
        Ok(())
    }

    /// How HTTPS is spoken: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// [`TlsError::Library`] when the TLS library refuses.
    pub fn https(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Library)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Shown(Arc::clone(self))));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Library)?;
        Ok(Arc::new(config))
    }
}

#[derive(Debug)]
struct Shown(Arc<Certificates>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current.load_full())
    }
}

fn read(source: Source<'_>, now_ms: i64) -> Result<CertifiedKey, TlsError> {
    match source {
        Source::Files { cert, key } => pair(cert, key),
        Source::SelfSigned { dir, names } => {
            let files = self_signed::keep(dir, names, now_ms)?;
            pair(&files.cert, &files.key)
        }
    }
}

fn pair(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let read = |file: &Path| {
        std::fs::read(file).map_err(|source| TlsError::Unreadable { file: file.to_owned(), source })
    };
    let not_pem = |file: &Path, wanted| TlsError::NotPem { file: file.to_owned(), wanted };
    let chain = CertificateDer::pem_slice_iter(&read(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| not_pem(cert, "certificates"))?;
    if chain.is_empty() {
        return Err(not_pem(cert, "a certificate"));
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| not_pem(key, "a private key"))?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())
        .map_err(|source| TlsError::NotAPair { cert: cert.to_owned(), key: key.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_341_600_000;

    fn names() -> Vec<String> {
        ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec()
    }

    #[test]
    fn the_self_signed_certificate_is_made_once_and_kept() {
        let place = tempfile::tempdir().unwrap();
        let source = |names| Source::SelfSigned { dir: place.path(), names };
        let names = names();
        let first = read(source(&names), NOW).unwrap().cert;
        assert_eq!(read(source(&names), NOW + 86_400_000).unwrap().cert, first);
        let other = vec!["air.example.org".to_owned()];
        assert_ne!(read(source(&other), NOW).unwrap().cert, first, "other names need another certificate");
    }

    #[test]
    fn a_certificate_that_is_about_to_end_is_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let names = names();
        let source = Source::SelfSigned { dir: place.path(), names: &names };
        let first = read(source, NOW).unwrap().cert;
        assert_ne!(read(source, NOW + 380 * 86_400_000).unwrap().cert, first);
    }

    #[test]
    fn half_a_pair_or_none_is_told_apart() {
        let place = tempfile::tempdir().unwrap();
        let names = names();
        read(Source::SelfSigned { dir: place.path(), names: &names }, NOW).unwrap();
        let (cert, key) = (place.path().join("self-signed.pem"), place.path().join("self-signed.key"));
        let files = |cert: &Path, key: &Path| read(Source::Files { cert, key }, NOW).map(drop);
        assert!(files(&cert, &key).is_ok());
        assert!(matches!(files(&key, &key), Err(TlsError::NotPem { .. })));
        assert!(matches!(files(&cert, &cert), Err(TlsError::NotPem { .. })));
        assert!(matches!(files(&cert, &place.path().join("nope")), Err(TlsError::Unreadable { .. })));
        let elsewhere = tempfile::tempdir().unwrap();
        read(Source::SelfSigned { dir: elsewhere.path(), names: &names }, NOW).unwrap();
        assert!(matches!(
            files(&cert, &elsewhere.path().join("self-signed.key")),
            Err(TlsError::NotAPair { .. })
        ));
    }

    #[test]
    fn a_broken_pair_leaves_the_old_one_in_place() {
        let place = tempfile::tempdir().unwrap();
        let names = names();
        let source = Source::SelfSigned { dir: place.path(), names: &names };
        let certificates = Certificates::load(source, NOW).unwrap();
        let shown = certificates.current.load_full();
        let nowhere = place.path().join("nowhere");
        assert!(certificates.reload(Source::Files { cert: &nowhere, key: &nowhere }, NOW).is_err());
        assert_eq!(certificates.current.load_full().cert, shown.cert);
    }
}
