//! A certificate for when no authority has given one: HTTPS answers from the first second on.

use super::TlsError;
use super::pair::Pair;
use crate::disk;
use jiff::{Timestamp, ToSpan};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// How long a certificate is good for, in days. Browsers refuse longer ones (CA/Browser Forum ballot SC-22).
const DAYS: i64 = 397;

/// It is made anew when fewer days are left.
const DAYS_LEFT_MIN: i64 = 30;

/// Where the certificate lies in the folder of certificates.
pub fn certificate(dir: &Path) -> PathBuf {
    dir.join("self-signed.pem")
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
        && let Ok(pair) = Pair::from_files(&cert_file, &key_file)
    {
        return Ok(pair);
    }
    let (cert, key) = make(names, now_ms).map_err(TlsError::NotMade)?;
    let pair = Pair::from_pem(cert.as_bytes(), &cert_file, key.as_bytes(), &key_file)?;
    let write = |file: &Path, bytes: &[u8]| {
        disk::write_private(file, bytes).map_err(|source| TlsError::NotKept { file: file.to_owned(), source })
    };
    let kept = disk::private_dir(dir)
        .map_err(|source| TlsError::NotKept { file: dir.to_owned(), source })
        // The label goes last: without it the pair is made again.
        .and_then(|()| write(&key_file, key.as_bytes()))
        .and_then(|()| write(&cert_file, cert.as_bytes()))
        .and_then(|()| write(&label, format!("{}\n{}\n", day + DAYS, names.join("\n")).as_bytes()));
    if let Err(error) = kept {
        // HTTPS answers on a full disk, too; the next start makes another one.
        tracing::warn!(%error, "the self-signed certificate is not kept");
    }
    Ok(pair)
}

fn make(names: &[String], now_ms: i64) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    let now = Timestamp::from_millisecond(now_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    let date = |days: i64| {
        let instant = now.checked_add((days * 24).hours()).unwrap_or(now);
        let date = instant.to_zoned(jiff::tz::TimeZone::UTC).date();
        date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    // A day of slack for devices whose clock is behind.
    params.not_before = date(-1);
    params.not_after = date(DAYS);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Casement (self-signed)");
    // A common name never carries an address (CA/Browser Forum Baseline Requirements §7.1.4.2.2).
    if let Some(name) = names.iter().find(|name| name.parse::<IpAddr>().is_err() && name.len() <= 64) {
        params.distinguished_name.push(DnType::CommonName, name.as_str());
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let cert = params.self_signed(&key)?;
    Ok((cert.pem(), key.serialize_pem()))
}
