//! Who is asking: a token → what it opens.

use crate::guard::{self, Guesses, Secret, TOKEN_BYTES, TokenKind};
use crate::store::{Scope, Store, StoreError, Token};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// How long a browser stays signed in, in milliseconds.
pub const SESSION_MS: i64 = 30 * 86_400_000;

/// Somebody who showed a good token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// May send readings as this device.
    Device(casement_proto::DeviceId),
    /// May read everything.
    Reader,
    /// May do everything.
    Admin,
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// The token is unknown, revoked or over.
    #[error("the token is unknown or revoked")]
    Unknown,
    /// Too many wrong guesses from this address.
    #[error("too many wrong tokens from this address")]
    Wait {
        /// How long to wait.
        seconds: u64,
    },
    /// The store cannot be asked.
    #[error("the store cannot be asked")]
    Store(#[from] StoreError),
}

/// How long the link of a claim is good, in milliseconds.
pub const CLAIM_MS: i64 = 3_600_000;

/// Why the link of a claim does not sign anybody in.
#[derive(Debug, thiserror::Error)]
pub enum NoClaim {
    /// No such link was made, or so long ago that it is forgotten.
    #[error("no such link was made")]
    Unknown,
    /// It signed somebody in, or a newer one took its place.
    #[error("the link was used, or a newer one was made")]
    Used,
    /// Its time is over.
    #[error("the link is over")]
    Over,
    /// Too many wrong guesses from this address.
    #[error("too many wrong guesses from this address")]
    Wait {
        /// How long to wait.
        seconds: u64,
    },
    /// The store cannot be asked.
    #[error("the store cannot be asked")]
    Store(#[from] StoreError),
}

/// Knows tokens.
pub struct Access {
    store: Arc<dyn Store>,
    guesses: Mutex<Guesses>,
}

impl Access {
    /// Asks this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, guesses: Mutex::new(Guesses::default()) }
    }

    /// What a token opens. Wrong ones are counted by address; a right one is never made to wait, so that an attacker
    /// behind the same router does not shut a device out.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn who(&self, token: &str, peer: IpAddr, now_ms: i64) -> Result<Who, Denied> {
        let found = match self.store.token(&guard::hash(token)).await? {
            Some(token) if alive(&token, now_ms) => token.scope,
            _ => return Err(self.wrong(peer, now_ms)),
        };
        match found {
            Scope::Device(device) => Ok(Who::Device(device)),
            Scope::Read => Ok(Who::Reader),
            Scope::Admin => Ok(Who::Admin),
            // What a session may is decided when it is made, and it dies with its token.
            Scope::Session { admin: false, .. } => Ok(Who::Reader),
            Scope::Session { admin: true, .. } => Ok(Who::Admin),
            Scope::Claim => Err(self.wrong(peer, now_ms)),
        }
    }

    fn wrong(&self, peer: IpAddr, now_ms: i64) -> Denied {
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        if guesses.wrong(peer, now_ms) {
            // Once a minute at most. deploy/fail2ban/casement.conf looks for these words.
            tracing::warn!("{peer} has sent too many wrong tokens and has to wait");
        }
        match guesses.wait_s(peer, now_ms) {
            Some(seconds) => Denied::Wait { seconds },
            None => Denied::Unknown,
        }
    }

    /// Signs a browser in with an API token; gives the session's secret for a cookie.
    ///
    /// # Errors
    /// [`Denied`]; a device's token does not open the pages.
    pub async fn sign_in(&self, token: &str, peer: IpAddr, now_ms: i64) -> Result<Secret, Denied> {
        let found = self.store.token(&guard::hash(token)).await?.filter(|token| alive(token, now_ms));
        let scope = match found {
            Some(Token { id, scope: Scope::Read, .. }) => Scope::Session { parent: id, admin: false },
            Some(Token { id, scope: Scope::Admin, .. }) => Scope::Session { parent: id, admin: true },
            _ => return Err(self.wrong(peer, now_ms)),
        };
        let (secret, session) = issue(TokenKind::Session, scope, None, now_ms, Some(now_ms + SESSION_MS));
        self.store.add_token(&session).await?;
        Ok(secret)
    }

    /// Signs an administrator in by a claim, once; gives the session's secret for a cookie.
    ///
    /// The session belongs to an admin token of its own, whose secret nobody has: it stands in the list, and revoking it
    /// ends the session.
    ///
    /// # Errors
    /// [`NoClaim`].
    pub async fn sign_in_by(&self, claim: &str, peer: IpAddr, now_ms: i64) -> Result<Secret, NoClaim> {
        let found = self.store.token(&guard::hash(claim)).await?;
        let Some(claim) = found.filter(|token| token.scope == Scope::Claim) else {
            return Err(self.no_claim(NoClaim::Unknown, peer, now_ms));
        };
        if claim.expires_ms.is_none_or(|end| end <= now_ms) {
            return Err(self.no_claim(NoClaim::Over, peer, now_ms));
        }
        // Whoever marks it as used has it, however many come at once, and from whichever process.
        if !self.store.revoke_token(claim.id, now_ms).await? {
            return Err(self.no_claim(NoClaim::Used, peer, now_ms));
        }
        let name = Some("signed in by a link".to_owned());
        let (_nobody_has_it, admin) = issue(TokenKind::Api, Scope::Admin, name, now_ms, None);
        let parent = self.store.add_token(&admin).await?;
        let scope = Scope::Session { parent, admin: true };
        let (secret, session) = issue(TokenKind::Session, scope, None, now_ms, Some(now_ms + SESSION_MS));
        self.store.add_token(&session).await?;
        Ok(secret)
    }

    fn no_claim(&self, why: NoClaim, peer: IpAddr, now_ms: i64) -> NoClaim {
        match self.wrong(peer, now_ms) {
            Denied::Wait { seconds } => NoClaim::Wait { seconds },
            Denied::Unknown | Denied::Store(_) => why,
        }
    }

    /// Signs a browser out.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn sign_out(&self, session: &str, now_ms: i64) -> Result<(), StoreError> {
        if let Some(Token { id, scope: Scope::Session { .. }, .. }) =
            self.store.token(&guard::hash(session)).await?
        {
            self.store.revoke_token(id, now_ms).await?;
        }
        Ok(())
    }
}

fn alive(token: &Token, now_ms: i64) -> bool {
    token.revoked_ms.is_none() && token.expires_ms.is_none_or(|end| end > now_ms)
}

/// Makes a device's token and keeps what is to be kept of it.
///
/// # Errors
/// When the store cannot be written.
pub async fn device_token(
    store: &dyn Store,
    device: casement_proto::DeviceId,
    now_ms: i64,
) -> Result<Secret, StoreError> {
    let (secret, token) = issue(TokenKind::Device, Scope::Device(device), None, now_ms, None);
    store.add_token(&token).await?;
    Ok(secret)
}

/// Makes a claim, which signs one administrator in within [`CLAIM_MS`]. One that nobody has used is over then.
///
/// # Errors
/// When the store cannot be written.
pub async fn claim(store: &dyn Store, now_ms: i64) -> Result<Secret, StoreError> {
    for token in store.tokens().await? {
        if token.scope == Scope::Claim && alive(&token, now_ms) {
            store.revoke_token(token.id, now_ms).await?;
        }
    }
    let (secret, token) = issue(TokenKind::Claim, Scope::Claim, None, now_ms, Some(now_ms + CLAIM_MS));
    store.add_token(&token).await?;
    Ok(secret)
}

/// Makes a token: the secret for its owner, and what is kept of it.
pub fn issue(
    kind: TokenKind,
    scope: Scope,
    name: Option<String>,
    now_ms: i64,
    expires_ms: Option<i64>,
) -> (Secret, Token) {
    let mut random = [0; TOKEN_BYTES];
    // The system's generator does not fail once it has been seeded at boot; without it nothing here is safe.
    aws_lc_rs::rand::fill(&mut random).expect("the system has a random number generator");
    let secret = guard::token(kind, &random);
    let token = Token {
        id: 0,
        hash: guard::hash(secret.reveal()),
        hint: guard::hint(&secret),
        scope,
        name,
        created_ms: now_ms,
        expires_ms,
        revoked_ms: None,
    };
    (secret, token)
}
