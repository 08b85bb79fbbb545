//! Session tickets whose keys survive a restart, so that small devices resume instead of shaking hands in full.
//!
//! A key encrypts for [`ROTATE_MS`], and opens tickets for [`LIFETIME_MS`] after that: 18 hours altogether, below the 24
//! that RFC 9325 §3.4 and the usual scanners allow. The keys lie in one private file beside the certificate's own key.

use crate::disk;
use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How long a key encrypts, in milliseconds.
pub const ROTATE_MS: i64 = 6 * 3_600_000;

/// How long a ticket may be used, in milliseconds.
pub const LIFETIME_MS: i64 = 12 * 3_600_000;

/// Bytes that say which key a ticket was made with.
const ID: usize = 8;
/// Bytes of a key on disk: time of birth, id, secret.
const RECORD: usize = 8 + ID + 32;

struct Key {
    born_ms: i64,
    id: [u8; ID],
    secret: [u8; 32],
    cipher: RandomizedNonceKey,
}

impl Key {
    fn from(born_ms: i64, id: [u8; ID], secret: [u8; 32]) -> Option<Self> {
        Some(Self { born_ms, id, secret, cipher: RandomizedNonceKey::new(&AES_256_GCM, &secret).ok()? })
    }

    fn fresh(now_ms: i64) -> Option<Self> {
        let (mut id, mut secret) = ([0; ID], [0; 32]);
        rand::fill(&mut id).ok()?;
        rand::fill(&mut secret).ok()?;
        Self::from(now_ms, id, secret)
    }

    fn read(record: &[u8]) -> Option<Self> {
        let (born, rest) = record.split_first_chunk::<8>()?;
        let (id, secret) = rest.split_first_chunk::<ID>()?;
        Self::from(i64::from_be_bytes(*born), *id, secret.try_into().ok()?)
    }
}

/// Makes and opens tickets.
pub struct Tickets {
    /// Newest first.
    keys: ArcSwap<Vec<Arc<Key>>>,
    file: PathBuf,
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    /// Reads the keys that are still good, and makes one when the newest is old. A file that cannot be read or written
    /// costs a full handshake after the next restart and nothing else.
    pub fn open(dir: &Path, now_ms: i64) -> Arc<Self> {
        let file = dir.join("tickets.key");
        let bytes = std::fs::read(&file).unwrap_or_default();
        let keys = bytes.chunks_exact(RECORD).take(8).filter_map(Key::read).map(Arc::new).collect();
        let tickets = Arc::new(Self { keys: ArcSwap::from_pointee(keys), file });
        tickets.rotate(now_ms);
        tickets
    }

    /// Makes a new key when it is time, and forgets those that are too old.
    pub fn rotate(&self, now_ms: i64) {
        let keys = self.keys.load();
        let good = |key: &&Arc<Key>| (0..ROTATE_MS + LIFETIME_MS).contains(&(now_ms - key.born_ms));
        let mut kept: Vec<Arc<Key>> = keys.iter().filter(good).cloned().collect();
        let young = kept.first().is_some_and(|key| now_ms - key.born_ms < ROTATE_MS);
        if young && kept.len() == keys.len() {
            return;
        }
        if !young {
            let Some(key) = Key::fresh(now_ms) else { return };
            kept.insert(0, Arc::new(key));
        }
        let mut bytes = Vec::with_capacity(kept.len() * RECORD);
        for key in &kept {
            bytes.extend_from_slice(&key.born_ms.to_be_bytes());
            bytes.extend_from_slice(&key.id);
            bytes.extend_from_slice(&key.secret);
        }
        self.keys.store(Arc::new(kept));
        if let Err(error) = disk::write_private(&self.file, &bytes) {
            tracing::warn!(%error, file = %self.file.display(), "session ticket keys were not kept; after a restart devices shake hands in full");
        }
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME_MS / 1000).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.load();
        let key = keys.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.cipher.seal_in_place_append_tag(Aad::from(key.id), &mut sealed).ok()?;
        let mut ticket = Vec::with_capacity(ID + NONCE_LEN + sealed.len());
        ticket.extend_from_slice(&key.id);
        ticket.extend_from_slice(nonce.as_ref());
        ticket.append(&mut sealed);
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = ticket.split_first_chunk::<ID>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys.load();
        let key = keys.iter().find(|key| key.id == *id)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.cipher.open_in_place(nonce, Aad::from(*id), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_341_600_000;

    #[test]
    fn a_ticket_survives_a_restart_and_not_its_age() {
        let place = tempfile::tempdir().unwrap();
        let before = Tickets::open(place.path(), NOW);
        let ticket = before.encrypt(b"session").unwrap();
        drop(before);
        let after = Tickets::open(place.path(), NOW + 1000);
        assert_eq!(after.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        after.rotate(NOW + ROTATE_MS);
        assert_eq!(after.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        let younger = after.encrypt(b"other").unwrap();
        assert_ne!(ticket[..ID], younger[..ID], "a new key encrypts");
        after.rotate(NOW + ROTATE_MS + LIFETIME_MS);
        assert_eq!(after.decrypt(&ticket), None);
        assert_eq!(after.decrypt(&younger).as_deref(), Some(&b"other"[..]));
        const { assert!(ROTATE_MS + LIFETIME_MS <= 24 * 3_600_000) };
    }

    #[test]
    fn what_is_not_ours_does_not_open() {
        let place = tempfile::tempdir().unwrap();
        let tickets = Tickets::open(place.path(), NOW);
        let mut ticket = tickets.encrypt(b"session").unwrap();
        for length in 0..ticket.len() {
            assert_eq!(tickets.decrypt(&ticket[..length]), None);
        }
        *ticket.last_mut().unwrap() ^= 1;
        assert_eq!(tickets.decrypt(&ticket), None);
        std::fs::write(place.path().join("tickets.key"), b"garbage").unwrap();
        assert!(Tickets::open(place.path(), NOW).encrypt(b"x").is_some());
    }

    #[test]
    fn a_clock_that_went_back_makes_a_new_key() {
        let place = tempfile::tempdir().unwrap();
        let ticket = Tickets::open(place.path(), NOW).encrypt(b"x").unwrap();
        assert_eq!(Tickets::open(place.path(), NOW - 1000).decrypt(&ticket), None);
    }
}
