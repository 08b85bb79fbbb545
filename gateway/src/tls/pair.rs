//! A chain and its key: read, checked, described.

use super::TlsError;
use crate::disk;
use crate::renewal::{Certificate, Link};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};
use x509_parser::public_key::PublicKey;

/// Largest file of certificates or keys, in bytes. A long chain with RSA keys has 10 kB.
pub const PEM_BYTES_MAX: u64 = 1 << 20;

/// A chain with its key that TLS can use.
#[derive(Clone, Debug)]
pub struct Pair {
    /// What handshakes show.
    pub certified: Arc<CertifiedKey>,
    /// What it says.
    pub facts: Certificate,
    /// Browsers know the authority behind it.
    pub publicly_trusted: bool,
    /// What is odd about it, but does not keep it from being shown; each with its fix.
    pub oddities: Vec<String>,
}

impl Pair {
    /// Reads chain and key from a file each. A folder instead of a chain is one of certbot's lineages: `fullchain.pem`
    /// and `privkey.pem` in it are read.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub fn from_files(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let (cert, key) = lineage(cert, key);
        Self::from_pem(&read(&cert)?, &cert, &read(&key)?, &key)
    }

    /// Reads key and chain from one file.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub fn from_bundle(file: &Path) -> Result<Self, TlsError> {
        let text = read(file)?;
        Self::from_pem(&text, file, &text, file)
    }

    /// Makes a pair of PEM text; the paths are for the errors.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub fn from_pem(cert: &[u8], cert_file: &Path, key: &[u8], key_file: &Path) -> Result<Self, TlsError> {
        let not_pem = |file: &Path, wanted| TlsError::NotPem { file: file.to_owned(), wanted };
        let chain = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| not_pem(cert_file, "certificates"))?;
        if chain.is_empty() {
            return Err(not_pem(cert_file, "a certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| not_pem(key_file, "a private key"))?;
        let not_a_pair =
            |source| TlsError::NotAPair { cert: cert_file.to_owned(), key: key_file.to_owned(), source };
        let signer = aws_lc_rs::default_provider().key_provider.load_private_key(key).map_err(not_a_pair)?;
        let mut oddities = Vec::new();
        let chain = in_order(chain, &*signer, &mut oddities)
            .ok_or_else(|| not_a_pair(InconsistentKeys::KeyMismatch.into()))?;
        let facts = describe(&chain).ok_or_else(|| not_pem(cert_file, "certificates that can be read"))?;
        let publicly_trusted = is_trusted(&chain, &facts, public_roots());
        let certified = Arc::new(CertifiedKey::new(chain, signer));
        Ok(Self { certified, facts, publicly_trusted, oddities })
    }

    /// The same without the chain's last certificate, when that is a cross-signed root: 1.1 kB less for small devices
    /// that trust it by itself.
    pub fn short(&self) -> Arc<CertifiedKey> {
        let chain = &self.certified.cert;
        match chain.len() {
            0..=2 => Arc::clone(&self.certified),
            more => {
                let short = chain.iter().take(more - 1).cloned().collect();
                Arc::new(CertifiedKey::new(short, Arc::clone(&self.certified.key)))
            }
        }
    }
}

/// The two files of a certbot lineage, or the two that were named.
pub fn lineage(cert: &Path, key: &Path) -> (PathBuf, PathBuf) {
    if cert.is_dir() {
        let key = if key.as_os_str().is_empty() { cert.join("privkey.pem") } else { key.to_owned() };
        return (cert.join("fullchain.pem"), key);
    }
    (cert.to_owned(), key.to_owned())
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable =
        |source| TlsError::Unreadable { file: file.to_owned(), why: disk::why_unreadable(file), source };
    // A pipe would make its reader wait, a device would never end.
    if !std::fs::metadata(file).map_err(unreadable)?.is_file() {
        return Err(TlsError::NotPem { file: file.to_owned(), wanted: "anything: it is no file" });
    }
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        return Err(TlsError::TooLarge { file: file.to_owned() });
    }
    Ok(bytes)
}

/// The chain as TLS wants it: the key's certificate first, each next one the issuer of the one before. `None` when no
/// certificate belongs to the key.
fn in_order(
    mut rest: Vec<CertificateDer<'static>>,
    signer: &dyn rustls::sign::SigningKey,
    oddities: &mut Vec<String>,
) -> Option<Vec<CertificateDer<'static>>> {
    let public = signer.public_key()?;
    let is_leaf = |der: &CertificateDer<'_>| {
        X509Certificate::from_der(der).is_ok_and(|(_, cert)| cert.public_key().raw == public.as_ref())
    };
    let given: Vec<_> = rest.clone();
    let at = rest.iter().position(is_leaf)?;
    let mut chain = vec![rest.remove(at)];
    while let Some(issuer) = chain.last().and_then(issuer_of)
        && let Some(at) = rest.iter().position(|der| subject_of(der).as_deref() == Some(issuer.as_slice()))
    {
        chain.push(rest.remove(at));
    }
    if !rest.is_empty() {
        oddities.push(format!(
            "{} certificate(s) in the file do not belong to the chain and are not shown; remove them",
            rest.len()
        ));
    } else if chain != given {
        oddities.push("the chain is out of order in the file; it is shown in the right order; put the leaf first, each issuer after it".to_owned());
    }
    Some(chain)
}

fn issuer_of(der: &CertificateDer<'static>) -> Option<Vec<u8>> {
    let (_, cert) = X509Certificate::from_der(der).ok()?;
    // A certificate that signs itself is the end.
    (cert.issuer().as_raw() != cert.subject().as_raw()).then(|| cert.issuer().as_raw().to_vec())
}

fn subject_of(der: &CertificateDer<'_>) -> Option<Vec<u8>> {
    Some(X509Certificate::from_der(der).ok()?.1.subject().as_raw().to_vec())
}

/// What a chain says; `None` when it cannot be read.
pub fn describe(chain: &[CertificateDer<'_>]) -> Option<Certificate> {
    let (leaf, above) = chain.split_first()?;
    let (_, cert) = X509Certificate::from_der(leaf).ok()?;
    let mut links = Vec::with_capacity(above.len());
    for der in above {
        let (_, cert) = X509Certificate::from_der(der).ok()?;
        links.push(Link {
            subject: one_line(cert.subject()),
            issuer: one_line(cert.issuer()),
            key: key_kind(&cert),
            not_after_ms: cert.validity().not_after.timestamp().saturating_mul(1000),
        });
    }
    let names = cert.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => {
            Some(names.general_names.iter().filter_map(name).collect())
        }
        _ => None,
    });
    let digest = aws_lc_digest(leaf);
    Some(Certificate {
        names: names.unwrap_or_default(),
        issuer: one_line(cert.issuer()),
        subject: one_line(cert.subject()),
        serial: hex(cert.raw_serial()),
        key: key_kind(&cert),
        sha256: hex(&digest),
        not_before_ms: cert.validity().not_before.timestamp().saturating_mul(1000),
        not_after_ms: cert.validity().not_after.timestamp().saturating_mul(1000),
        self_issued: cert.issuer().as_raw() == cert.subject().as_raw(),
        chain: links,
    })
}

fn aws_lc_digest(bytes: &[u8]) -> Vec<u8> {
    ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match *bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
            bytes => Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        },
        _ => None,
    }
}

/// Organisation and common name, each once.
fn one_line(name: &x509_parser::x509::X509Name<'_>) -> String {
    let organisation = name.iter_organization().next().and_then(|part| part.as_str().ok());
    let common = name.iter_common_name().next().and_then(|part| part.as_str().ok());
    let parts: Vec<&str> = [organisation, common].into_iter().flatten().collect();
    let text = if parts.is_empty() { name.to_string() } else { parts.join(" ") };
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn key_kind(cert: &X509Certificate<'_>) -> String {
    match cert.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("ECDSA P-{}", point.key_size()),
        Ok(PublicKey::Unknown(_)) if cert.public_key().algorithm.algorithm.to_string() == "1.3.101.112" => {
            "Ed25519".to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The roots that browsers trust (Mozilla's list), as this version knows them.
pub fn public_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

/// Whether these roots stand behind a chain, at some time at which it is in date.
fn is_trusted(chain: &[CertificateDer<'_>], facts: &Certificate, roots: RootCertStore) -> bool {
    let Some((leaf, above)) = chain.split_first() else { return false };
    let Some(name) = facts
        .names
        .iter()
        .find_map(|name| ServerName::try_from(name.trim_start_matches("*.").to_owned()).ok())
    else {
        return false;
    };
    let wildcard = facts.names.first().is_some_and(|name| name.starts_with("*."));
    let name = if wildcard {
        let text = facts.names.first().map_or_else(String::new, |name| name.replacen('*', "a", 1));
        ServerName::try_from(text).unwrap_or(name)
    } else {
        name
    };
    let Ok(verifier) =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(aws_lc_rs::default_provider()))
            .build()
    else {
        return false;
    };
    let within = Duration::from_millis(facts.not_before_ms.max(0).unsigned_abs()) + Duration::from_secs(1);
    verifier.verify_server_cert(leaf, above, &name, &[], UnixTime::since_unix_epoch(within)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

    struct Made {
        leaf: String,
        key: String,
        middle: String,
        root: String,
    }

    fn made(names: &[&str]) -> Made {
        let ca = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let root = CertifiedIssuer::self_signed(ca("Root"), KeyPair::generate().unwrap()).unwrap();
        let middle = CertifiedIssuer::signed_by(ca("Middle"), KeyPair::generate().unwrap(), &root).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let leaf = params.signed_by(&key, &middle).unwrap();
        Made { leaf: leaf.pem(), key: key.serialize_pem(), middle: middle.pem(), root: root.pem() }
    }

    fn pair(cert: &str, key: &str) -> Result<Pair, TlsError> {
        Pair::from_pem(cert.as_bytes(), Path::new("c.pem"), key.as_bytes(), Path::new("k.pem"))
    }

    #[test]
    fn a_chain_is_described() {
        let made = made(&["air.example.org", "192.0.2.1", "2001:db8::1"]);
        let pair = pair(&format!("{}{}", made.leaf, made.middle), &made.key).unwrap();
        assert_eq!(pair.facts.names, ["air.example.org", "192.0.2.1", "2001:db8::1"]);
        assert_eq!((pair.facts.issuer.as_str(), pair.facts.key.as_str()), ("Middle", "ECDSA P-256"));
        assert_eq!(pair.facts.chain.len(), 1);
        assert_eq!(pair.facts.chain[0].issuer, "Root");
        assert!(!pair.publicly_trusted && !pair.facts.self_issued && pair.oddities.is_empty());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(made.root.as_bytes()).unwrap()).unwrap();
        assert!(is_trusted(&pair.certified.cert, &pair.facts, roots));
        assert!(public_roots().roots.len() > 50);
    }

    #[test]
    fn a_chain_out_of_order_is_put_in_order_and_told() {
        let made = made(&["air.example.org"]);
        let mixed = pair(&format!("{}{}{}", made.root, made.middle, made.leaf), &made.key).unwrap();
        let right = pair(&format!("{}{}{}", made.leaf, made.middle, made.root), &made.key).unwrap();
        assert_eq!(mixed.certified.cert, right.certified.cert);
        assert_eq!((mixed.oddities.len(), right.oddities.len()), (1, 0));
        assert_eq!(right.short().cert.len(), 2);
        let stranger = self::made(&["other.example.org"]);
        let odd = pair(&format!("{}{}{}", made.leaf, stranger.middle, made.middle), &made.key).unwrap();
        assert_eq!((odd.certified.cert.len(), odd.oddities.len()), (2, 1));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, two) = (made(&["a.example"]), made(&["a.example"]));
        assert!(matches!(pair(&one.leaf, &two.key), Err(TlsError::NotAPair { .. })));
        assert!(matches!(pair("nonsense", &two.key), Err(TlsError::NotPem { .. })));
        assert!(matches!(pair(&one.leaf, "nonsense"), Err(TlsError::NotPem { .. })));
        let broken = one.leaf.replacen("MII", "MIJ", 1);
        assert!(pair(&broken, &one.key).is_err());
    }
}
