//! Whom to trust: Let's Encrypt's roots, built in, or a certificate authority of one's own, by setting.
//!
//! Let's Encrypt issues from intermediates under four roots. X1 and X2 are in every store; [`webpki-root-certs`] and
//! others have them. YE and YR (September 2025) are not in stores yet, but gateways send short chains to devices, which
//! end at them. They are published on Let's Encrypt's page about its chain of trust, as are `root-ye-by-x2.pem` and
//! `root-yr-by-x1.pem`: the same names and keys, signed by X2 and X1. A test holds the keys of both against each other, so
//! that whoever trusts X1 and X2 need not take YE and YR on our word.
//!
//! [`webpki-root-certs`]: https://crates.io/crates/webpki-root-certs

use crate::fault::Fault;
use core::ffi::CStr;
use mbedtls_rs::{Certificate, X509};

/// X1, X2, YE and YR, in PEM.
const LETS_ENCRYPT: &CStr = match CStr::from_bytes_with_nul(
    concat!(
        include_str!("../roots/isrg-root-x2.pem"),
        include_str!("../roots/root-ye.pem"),
        include_str!("../roots/isrg-root-x1.pem"),
        include_str!("../roots/root-yr.pem"),
        "\0"
    )
    .as_bytes(),
) {
    Ok(pem) => pem,
    Err(_) => panic!("a certificate in PEM has no zero byte"),
};

/// The certificate authorities whose word counts. Parsed once and shared by all connections.
#[derive(Clone, Debug)]
pub struct Trust(Certificate<'static>);

impl Trust {
    /// Let's Encrypt.
    ///
    /// # Errors
    /// [`Fault::Memory`]; the certificates are known to be whole.
    pub fn lets_encrypt() -> Result<Self, Fault> {
        Certificate::new(X509::PEM(LETS_ENCRYPT)).map(Self).map_err(|_| Fault::Memory)
    }

    /// One certificate of one's own, as DER, in place of Let's Encrypt.
    ///
    /// # Errors
    /// [`Fault::Protocol`] for anything else.
    pub fn own(der: &[u8]) -> Result<Self, Fault> {
        Certificate::new(X509::DER(der)).map(Self).map_err(|_| Fault::Protocol)
    }

    pub(crate) fn anchors(&self) -> Certificate<'static> {
        self.0.clone()
    }
}
