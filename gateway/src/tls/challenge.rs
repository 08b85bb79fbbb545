//! What shows an authority that a name is ours: files for HTTP-01, certificates for TLS-ALPN-01.

use super::TlsError;
use crate::renewal::names::challenge_name;
use arc_swap::ArcSwapOption;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Where the files lie (RFC 8555 §8.3).
pub const PATH: &str = "/.well-known/acme-challenge/";

/// The protocol by which an authority asks for the certificate (RFC 8737 §4).
pub const PROTOCOL: &[u8] = b"acme-tls/1";

/// Longest token that is looked at, in bytes.
const TOKEN_MAX: usize = 256;

/// The challenges of the order under way.
#[derive(Debug, Default)]
pub struct Challenges {
    open: Mutex<Open>,
    /// Thumbprint of another machine's account whose HTTP-01 challenges are answered, too.
    other: ArcSwapOption<String>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<String, String>,
    certificates: HashMap<String, Arc<CertifiedKey>>,
    asked: BTreeSet<String>,
}

impl Challenges {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers for this account of another machine, too: a key authorization is token and thumbprint, no more.
    pub fn answer_for(&self, thumbprint: Option<String>) {
        self.other.store(thumbprint.map(Arc::new));
    }

    /// Offers a file.
    pub fn offer_file(&self, token: &str, content: String) {
        self.open().files.insert(token.to_owned(), content);
    }

    /// Offers a certificate that carries the digest.
    ///
    /// # Errors
    /// [`TlsError::NotMade`] when it cannot be made.
    pub fn offer_certificate(&self, name: &str, digest: &[u8]) -> Result<(), TlsError> {
        let made = certificate(name, digest)?;
        self.open().certificates.insert(challenge_name(name), Arc::new(made));
        Ok(())
    }

    /// Takes everything back.
    pub fn clear(&self) {
        *self.open() = Open::default();
    }

    /// How many different challenges the authority has asked for.
    pub fn asked(&self) -> usize {
        self.open().asked.len()
    }

    /// Ends when the authority asks next.
    pub async fn wait(&self) {
        self.asked.notified().await;
    }

    /// The file of a token.
    pub fn file(&self, token: &str) -> Option<String> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if token.is_empty() || token.len() > TOKEN_MAX || !token.bytes().all(good) {
            return None;
        }
        let mut open = self.open();
        if let Some(content) = open.files.get(token).cloned() {
            open.asked.insert(token.to_owned());
            drop(open);
            self.asked.notify_one();
            return Some(content);
        }
        drop(open);
        self.other.load().as_ref().map(|thumbprint| format!("{token}.{thumbprint}"))
    }

    fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let mut open = self.open();
        let found = open.certificates.get(name).cloned()?;
        open.asked.insert(name.to_owned());
        drop(open);
        self.asked.notify_one();
        Some(found)
    }
}

fn certificate(name: &str, digest: &[u8]) -> Result<CertifiedKey, TlsError> {
    let key = KeyPair::generate().map_err(TlsError::NotMade)?;
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(TlsError::NotMade)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let cert = params.self_signed(&key).map_err(TlsError::NotMade)?;
    let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let signer =
        aws_lc_rs::default_provider().key_provider.load_private_key(private).map_err(TlsError::Library)?;
    // Not checked against its key: the check stumbles over the critical extension that this is all about.
    Ok(CertifiedKey::new(vec![cert.der().clone()], signer))
}

/// Shows the certificates of challenges, and nothing to others.
#[derive(Debug)]
pub(super) struct Prover(pub(super) Arc<super::Certificates>);

impl ResolvesServerCert for Prover {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.challenges.certificate(&hello.server_name()?.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_offered_is_found_until_it_is_taken_back() {
        let challenges = Challenges::default();
        challenges.offer_file("token_-1", "token_-1.thumb".to_owned());
        challenges.offer_certificate("192.0.2.1", &[7; 32]).unwrap();
        assert_eq!(challenges.file("other"), None);
        assert_eq!(challenges.asked(), 0);
        assert_eq!(challenges.file("token_-1").as_deref(), Some("token_-1.thumb"));
        challenges.wait().await;
        assert!(challenges.certificate("1.2.0.192.in-addr.arpa").is_some());
        assert!(challenges.certificate("192.0.2.1").is_none());
        assert_eq!(challenges.asked(), 2);
        challenges.clear();
        assert_eq!(challenges.file("token_-1"), None);
        assert_eq!(challenges.asked(), 0);
    }

    #[test]
    fn another_account_is_answered_for_but_never_nonsense() {
        let challenges = Challenges::default();
        challenges.answer_for(Some("thumb".to_owned()));
        assert_eq!(challenges.file("abc").as_deref(), Some("abc.thumb"));
        for token in ["", "a/b", "a.b", "<script>", "ä", &"x".repeat(257)] {
            assert_eq!(challenges.file(token), None, "{token}");
        }
    }
}
