//! Certificates and keys made here, good ones and bad ones.

use anyhow::{Context, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(86_400);

/// An authority of our own.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// From this one up to the root, without the root; what belongs into a chain after the leaf.
    above: Vec<String>,
}

/// A certificate for a server, what leads to its root, and its key; all in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate itself.
    pub leaf: String,
    /// The certificates between it and the root.
    pub intermediates: String,
    /// Its private key.
    pub key: String,
}

impl Pair {
    /// The chain as servers need it, leaf first.
    #[must_use]
    pub fn chain(&self) -> String {
        format!("{}{}", self.leaf, self.intermediates)
    }

    /// The first certificate in DER.
    ///
    /// # Errors
    /// When it is not PEM.
    pub fn der(&self) -> Result<Vec<u8>> {
        Ok(CertificateDer::from_pem_slice(self.leaf.as_bytes())?.to_vec())
    }

    /// Writes chain and key, each as a whole file that is renamed into place.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write(&self, cert: &Path, key: &Path) -> Result<()> {
        replace(cert, &self.chain())?;
        replace(key, &self.key)
    }
}

/// Writes a file beside its place and renames it.
///
/// # Errors
/// When the folder cannot be written to.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path).with_context(|| path.display().to_string())
}

impl Authority {
    /// A root.
    ///
    /// # Errors
    /// When keys cannot be made.
    pub fn root(name: &str) -> Result<Self> {
        let issuer = CertifiedIssuer::self_signed(authority(name)?, KeyPair::generate()?)?;
        Ok(Self { issuer, above: Vec::new() })
    }

    /// An authority below this one.
    ///
    /// # Errors
    /// When keys cannot be made.
    pub fn intermediate(&self, name: &str) -> Result<Self> {
        let issuer = CertifiedIssuer::signed_by(authority(name)?, KeyPair::generate()?, &self.issuer)?;
        let mut above = vec![issuer.pem()];
        above.extend(self.above.iter().cloned());
        Ok(Self { issuer, above })
    }

    /// Its own certificate.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its own certificate.
    #[must_use]
    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A certificate for these names, good since an hour ago and for 90 days.
    ///
    /// # Errors
    /// When a name is none.
    pub fn issue(&self, names: &[&str]) -> Result<Pair> {
        let now = SystemTime::now();
        self.issue_for(names, now - DAY / 24, now + DAY * 90)
    }

    /// A certificate that ended yesterday.
    ///
    /// # Errors
    /// When a name is none.
    pub fn issue_expired(&self, names: &[&str]) -> Result<Pair> {
        let now = SystemTime::now();
        self.issue_for(names, now - DAY * 91, now - DAY)
    }

    /// A certificate for these names and this time.
    ///
    /// # Errors
    /// When a name is none.
    pub fn issue_for(&self, names: &[&str], from: SystemTime, to: SystemTime) -> Result<Pair> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        ensure!(!names.is_empty(), "a certificate for nobody");
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_before = from.into();
        params.not_after = to.into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { leaf: leaf.pem(), intermediates: self.above.concat(), key: key.serialize_pem() })
    }
}

fn authority(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = SystemTime::now();
    params.not_before = (now - DAY * 400).into();
    params.not_after = (now + DAY * 400).into();
    Ok(params)
}
