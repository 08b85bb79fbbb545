//! Tokens that were looked up a moment ago. A device that sends ten readings a second shows the same token with each.
//!
//! Another process may revoke a token (`casement device revoke`), and must be heard at once. Whoever changes tokens
//! replaces a small file beside the store, after the change is on disk: a new file has another number, so one look at it
//! (a microsecond; asking the database takes thirty) tells whether anything has changed. When that file cannot be written,
//! what is known is forgotten after [`KNOWN_FOR`] all the same.

use crate::clock;
use crate::store::Token;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tokens remembered; beyond that all are forgotten. Each takes some 300 bytes.
const KNOWN_MAX: usize = 4_096;

/// How long one is remembered.
const KNOWN_FOR: Duration = Duration::from_secs(2);

/// Which file it is and when it was made; nothing when there is none.
type Stamp = Option<(u64, i64, i64)>;

/// See the module.
pub(super) struct KnownTokens {
    file: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    stamp: Stamp,
    tokens: HashMap<[u8; 8], (Token, Instant)>,
}

impl KnownTokens {
    /// None yet, of the store in this file.
    pub(super) fn of(store: &Path) -> Self {
        let mut file = store.as_os_str().to_owned();
        file.push("-tokens");
        Self { file: file.into(), known: Mutex::default() }
    }

    /// What the file says now. To be taken before the database is asked.
    pub(super) fn stamp(&self) -> Stamp {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(&self.file).ok().map(|file| (file.ino(), file.ctime(), file.ctime_nsec()))
    }

    /// The token with this hash, when nothing has changed since it was looked up.
    pub(super) fn get(&self, hash: &[u8; 32], stamp: Stamp) -> Option<Token> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.stamp != stamp {
            known.tokens.clear();
            known.stamp = stamp;
            return None;
        }
        let (token, since) = known.tokens.get(lookup(hash)?)?;
        let same = verify_slices_are_equal(&token.hash, hash).is_ok();
        (same && clock::steady().duration_since(*since) < KNOWN_FOR).then(|| token.clone())
    }

    /// Remembers a token that was looked up after this stamp was taken.
    pub(super) fn keep(&self, token: &Token, stamp: Stamp) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.stamp != stamp {
            return;
        }
        if known.tokens.len() >= KNOWN_MAX {
            known.tokens.clear();
        }
        if let Some(lookup) = lookup(&token.hash) {
            known.tokens.insert(*lookup, (token.clone(), clock::steady()));
        }
    }

    /// Tells every process that tokens have changed.
    pub(super) fn changed(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).tokens.clear();
        if let Err(error) = crate::disk::write_private(&self.file, b"") {
            tracing::warn!(
                %error, "other processes cannot be told that tokens have changed; they notice within {} s",
                KNOWN_FOR.as_secs()
            );
        }
    }
}

fn lookup(hash: &[u8; 32]) -> Option<&[u8; 8]> {
    hash.first_chunk()
}
