//! A certificate for when no authority has given one: HTTPS answers from the first second on.
//!
//! It is issued by an authority of the gateway's own, which lasts for decades. Devices and people who were told to trust
//! that one need not be told again when the certificate is made anew each year.

use super::TlsError;
use super::pair::Pair;
use crate::disk;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long a certificate is good for, in days. Browsers refuse longer ones (CA/Browser Forum ballot SC-22).
const DAYS: i64 = 397;

/// It is made anew when fewer days are left.
const DAYS_LEFT_MIN: i64 = 30;

/// How long the authority is good for, in days: longer than the devices that were told to trust it.
const AUTHORITY_DAYS: i64 = 30 * 365;

/// By whom, in every certificate made here.
const ORGANISATION: &str = "Casement (self-signed)";

/// Where the certificate lies in the folder of certificates, with its authority's behind it.
pub fn certificate(dir: &Path) -> PathBuf {
    dir.join("self-signed.pem")
}

/// Where the authority's certificate lies in the folder of certificates. It is public.
pub fn authority_certificate(dir: &Path) -> PathBuf {
    dir.join("own-authority.pem")
}

/// Reads the pair that was made last; nothing is written.
///
/// # Errors
/// [`TlsError`] when there is none, or it cannot be used.
pub fn read(dir: &Path) -> Result<Pair, TlsError> {
    Pair::from_files(&certificate(dir), &dir.join("self-signed.key")).map(own)
}

/// Gives the kept pair when it is for these names and good for a while; makes one otherwise.
///
/// # Errors
/// [`TlsError`] when it cannot be made or kept.
pub fn keep(dir: &Path, names: &[String], now_ms: i64) -> Result<Pair, TlsError> {
    let (cert_file, key_file) = (certificate(dir), dir.join("self-signed.key"));
    let label = dir.join("self-signed.for");
    let day = now_ms.div_euclid(86_400_000);
    if let Ok(text) = std::fs::read_to_string(&label)
        && let Some((until, kept_names)) = text.split_once('\n')
        && until.parse::<i64>().is_ok_and(|until| until - DAYS_LEFT_MIN >= day && until - DAYS <= day)
        && kept_names.lines().eq(names.iter().map(String::as_str))
        && let Ok(pair) = read(dir)
    {
        return Ok(pair);
    }
    let authority = match Authority::read(dir, now_ms) {
        Some(kept) => kept,
        None => Authority::make(now_ms).map_err(TlsError::NotMade)?,
    };
    let (cert, key) = make(names, now_ms, &authority).map_err(TlsError::NotMade)?;
    let pair = Pair::from_pem(cert.as_bytes(), &cert_file, key.as_bytes(), &key_file)?;
    let write = |file: &Path, bytes: &[u8]| {
        disk::write_private(file, bytes).map_err(|source| TlsError::NotKept { file: file.to_owned(), source })
    };
    let kept = disk::private_dir(dir)
        .map_err(|source| TlsError::NotKept { file: dir.to_owned(), source })
        // The authority goes first: what it issued is no use without it. The label goes last: without it the pair is
        // made again.
        .and_then(|()| match &authority.to_keep {
            Some(key) => write(&authority_key(dir), key.as_bytes())
                .and_then(|()| write(&authority_certificate(dir), authority.pem.as_bytes())),
            None => Ok(()),
        })
        .and_then(|()| write(&key_file, key.as_bytes()))
        .and_then(|()| write(&cert_file, cert.as_bytes()))
        .and_then(|()| write(&label, format!("{}\n{}\n", day + DAYS, names.join("\n")).as_bytes()));
    if let Err(error) = kept {
        // HTTPS answers on a full disk, too; the next start makes another one.
        tracing::warn!(%error, "the self-signed certificate is not kept");
    }
    Ok(own(pair))
}

/// No authority but our own stands behind it: nobody trusts it who was not told to.
fn own(mut pair: Pair) -> Pair {
    pair.facts.self_issued = true;
    pair
}

fn authority_key(dir: &Path) -> PathBuf {
    dir.join("own-authority.key")
}

/// Issues the gateway's own certificates.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    /// Its key as PEM, when it has just been made.
    to_keep: Option<String>,
}

impl Authority {
    /// The kept one, while it outlives what it is to issue.
    fn read(dir: &Path, now_ms: i64) -> Option<Self> {
        let key = KeyPair::from_pem(&std::fs::read_to_string(authority_key(dir)).ok()?).ok()?;
        let pem = std::fs::read_to_string(authority_certificate(dir)).ok()?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let validity = certificate.validity();
        let now_s = now_ms.div_euclid(1_000);
        let fits = certificate.public_key().raw == rcgen::PublicKeyData::subject_public_key_info(&key)
            && validity.not_before.timestamp() <= now_s
            && validity.not_after.timestamp() >= now_s + (DAYS + DAYS_LEFT_MIN) * 86_400;
        fits.then(|| Self { pem, issuer: Issuer::new(Self::params(&key, now_ms), key), to_keep: None })
    }

    fn make(now_ms: i64) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let to_keep = Some(key.serialize_pem());
        let params = Self::params(&key, now_ms);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key), to_keep })
    }

    /// The name follows from the key, so two authorities are never taken for each other.
    fn params(key: &KeyPair, now_ms: i64) -> CertificateParams {
        let mut params = CertificateParams::default();
        let id = params.key_identifier(key);
        let id: String = id.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        good_for(&mut params, AUTHORITY_DAYS, now_ms);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, ORGANISATION);
        params.distinguished_name.push(DnType::CommonName, format!("Casement authority {id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }
}

/// From yesterday, for devices whose clock is behind.
fn good_for(params: &mut CertificateParams, days: i64, now_ms: i64) {
    let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let date = |days: i64| {
        let instant = now.checked_add((days * 24).hours()).unwrap_or(now);
        let date = instant.to_zoned(jiff::tz::TimeZone::UTC).date();
        date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = date(-1);
    params.not_after = date(days);
}

fn make(names: &[String], now_ms: i64, authority: &Authority) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    good_for(&mut params, DAYS, now_ms);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, ORGANISATION);
    // A common name never carries an address (CA/Browser Forum Baseline Requirements §7.1.4.2.2).
    if let Some(name) = names.iter().find(|name| name.parse::<IpAddr>().is_err() && name.len() <= 64) {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let cert = params.signed_by(&key, &authority.issuer)?;
    Ok((cert.pem() + &authority.pem, key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_341_600_000;
    const DAY: i64 = 86_400_000;

    fn chain(dir: &Path, name: &str, now_ms: i64) -> Vec<CertificateDer<'static>> {
        let pair = keep(dir, &[name.to_owned()], now_ms).unwrap();
        assert!(pair.facts.self_issued && !pair.publicly_trusted, "{:?}", pair.facts);
        assert!(pair.oddities.is_empty(), "{:?}", pair.oddities);
        assert_eq!(read(dir).unwrap().facts, pair.facts);
        pair.certified.cert.clone()
    }

    #[test]
    fn certificates_come_and_go_and_their_authority_stays() {
        let place = tempfile::tempdir().unwrap();
        let first = chain(place.path(), "localhost", NOW);
        assert_eq!(first.len(), 2);
        assert_eq!(first, chain(place.path(), "localhost", NOW + 300 * DAY));
        for (name, day) in [("air.example.org", 0), ("localhost", 380), ("localhost", 20 * 365)] {
            let later = chain(place.path(), name, NOW + day * DAY);
            assert_ne!(later[0], first[0], "{name} {day}");
            assert_eq!(later[1], first[1], "{name} {day}");
        }
        let kept = std::fs::read(authority_certificate(place.path())).unwrap();
        assert_eq!(CertificateDer::from_pem_slice(&kept).unwrap(), first[1]);
    }

    #[test]
    fn an_authority_that_ends_was_of_tomorrow_or_is_damaged_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path();
        let mut before = chain(dir, "localhost", NOW);
        let mut is_new = |name: &str, now_ms: i64, why: &str| {
            let after = chain(dir, name, now_ms);
            assert_ne!(after[1], before[1], "{why}");
            before = after;
        };
        is_new("localhost", NOW + 29 * 365 * DAY, "it ends before what it would issue");
        is_new("localhost", NOW, "the clock was put back");
        std::fs::write(authority_key(dir), "nonsense").unwrap();
        is_new("a.example.org", NOW, "its key cannot be read");
        let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        std::fs::write(authority_key(dir), other.serialize_pem()).unwrap();
        is_new("b.example.org", NOW, "the key is another one's");
        std::fs::remove_file(authority_certificate(dir)).unwrap();
        is_new("c.example.org", NOW, "its certificate is gone");
    }

    #[test]
    fn what_it_issues_is_verified_by_others() {
        let place = tempfile::tempdir().unwrap();
        let chain = chain(place.path(), "air.example.org", NOW);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(chain[1].clone()).unwrap();
        let verify = |name: &str, now_ms: i64| {
            let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
                std::sync::Arc::new(roots.clone()),
                provider,
            );
            let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
            let now_s = u64::try_from(now_ms / 1_000).unwrap();
            let now = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(now_s));
            let verifier = verifier.build().unwrap();
            let verified: &dyn rustls::client::danger::ServerCertVerifier = &*verifier;
            verified.verify_server_cert(&chain[0], &chain[1..], &name, &[], now).is_ok()
        };
        assert!(verify("air.example.org", NOW) && verify("air.example.org", NOW + 396 * DAY));
        assert!(!verify("b.example.org", NOW) && !verify("air.example.org", NOW + 398 * DAY));
    }
}
