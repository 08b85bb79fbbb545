//! Tokens and attempts: what a secret looks like, and how often somebody may guess.

use aws_lc_rs::digest::{SHA256, digest};
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

/// A secret: never shown by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one who asked for it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a token is for; it shows in its first letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Sends readings.
    Device,
    /// Reads or administers.
    Api,
    /// A signed-in browser.
    Session,
    /// Signs an administrator in, once.
    Claim,
}

impl TokenKind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Device => "cas_dev_",
            Self::Api => "cas_api_",
            Self::Session => "cas_ses_",
            Self::Claim => "cas_clm_",
        }
    }
}

/// Random bytes in a token: 256 bits, so that guessing is hopeless and a plain hash is enough to keep.
pub const TOKEN_BYTES: usize = 32;

/// Longest token that is looked at, in bytes.
pub const TOKEN_TEXT_MAX: usize = 128;

/// Random bytes of a claim: 160 bits for the hour that it lives, so that its link fits into a small QR code.
const CLAIM_BYTES: usize = 20;

/// Digits of a claim, five bits each (RFC 4648 §6, in lower case).
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Makes the token of a kind from random bytes.
pub fn token(kind: TokenKind, random: &[u8; TOKEN_BYTES]) -> Secret {
    let digits: String = match kind {
        TokenKind::Device | TokenKind::Api | TokenKind::Session => {
            random.iter().map(|byte| format!("{byte:02x}")).collect()
        }
        TokenKind::Claim => {
            let bits = |at: usize| random.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
            (0..CLAIM_BYTES * 8 / 5)
                .map(|digit| (0..5).fold(0, |number, bit| number * 2 + usize::from(bits(digit * 5 + bit))))
                .map(|number| char::from(DIGITS.get(number).copied().unwrap_or(b'a')))
                .collect()
        }
    };
    Secret(format!("{}{digits}", kind.prefix()))
}

/// The part of a token that may be shown in a list.
pub fn hint(token: &Secret) -> String {
    token.0.chars().take(12).collect()
}

/// What is kept of a token.
pub fn hash(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    out
}

/// The token in an `Authorization` header (RFC 6750 §2.1); `None` when there is none of a sane length.
pub fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= TOKEN_TEXT_MAX)
        .then_some(token)
}

/// Wrong guesses allowed from one address before it must wait. Guessing 256 bits is hopeless at any rate; this keeps a
/// device with a stale token, or somebody who tries all the same, from filling log and disk.
pub const GUESSES_MAX: u32 = 60;

/// How long a guess counts, in milliseconds.
pub const GUESS_WINDOW_MS: i64 = 60_000;

/// Addresses remembered at most; the longest quiet one is forgotten first.
const ADDRESSES_MAX: usize = 4096;

/// Counts wrong guesses per address: IPv4 by host, IPv6 by /64, because one customer has all of that.
#[derive(Debug, Default)]
pub struct Guesses {
    by_address: HashMap<IpAddr, (i64, u32)>,
}

impl Guesses {
    /// Seconds to wait before the next try; `None` when it is free.
    pub fn wait_s(&self, address: IpAddr, now_ms: i64) -> Option<u64> {
        let (since, count) = self.by_address.get(&group(address))?;
        let left_ms = since + GUESS_WINDOW_MS - now_ms;
        (*count >= GUESSES_MAX && left_ms > 0).then(|| left_ms.unsigned_abs().div_ceil(1000))
    }

    /// Counts a wrong guess; gives whether it is the one after which its address has to wait.
    pub fn wrong(&mut self, address: IpAddr, now_ms: i64) -> bool {
        if self.by_address.len() >= ADDRESSES_MAX {
            self.by_address.retain(|_, (since, _)| *since + GUESS_WINDOW_MS > now_ms);
        }
        if self.by_address.len() >= ADDRESSES_MAX
            && let Some(oldest) = self.by_address.iter().min_by_key(|(_, (since, _))| *since).map(|(a, _)| *a)
        {
            self.by_address.remove(&oldest);
        }
        let entry = self.by_address.entry(group(address)).or_insert((now_ms, 0));
        if entry.0 + GUESS_WINDOW_MS <= now_ms {
            *entry = (now_ms, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        entry.1 == GUESSES_MAX
    }
}

fn group(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_its_kind_and_hides_in_logs() {
        let secret = token(TokenKind::Device, &[0xab; TOKEN_BYTES]);
        assert!(secret.reveal().starts_with("cas_dev_abab") && secret.reveal().len() == 72);
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(hint(&secret), "cas_dev_abab");
        assert_ne!(hash(secret.reveal()), hash("cas_dev_"));
    }

    #[test]
    fn a_claim_is_short_and_every_bit_of_it_counts() {
        let claim = |random: [u8; TOKEN_BYTES]| token(TokenKind::Claim, &random);
        // RFC 4648 §10, as far as whole groups of five bytes go.
        let mut random = [0; TOKEN_BYTES];
        random[..5].copy_from_slice(b"fooba");
        assert_eq!(claim(random).reveal(), format!("cas_clm_mzxw6ytb{}", "a".repeat(24)));
        for bit in 0..CLAIM_BYTES * 8 {
            let mut random = [0; TOKEN_BYTES];
            random[bit / 8] = 0x80 >> (bit % 8);
            assert_ne!(claim(random), claim([0; TOKEN_BYTES]), "bit {bit}");
        }
    }

    #[test]
    fn only_bearer_tokens_of_a_sane_length_are_looked_at() {
        for (header, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("", None),
        ] {
            assert_eq!(bearer(header), token, "{header}");
        }
        assert_eq!(bearer(&format!("Bearer {}", "x".repeat(TOKEN_TEXT_MAX + 1))), None);
    }

    #[test]
    fn guessing_has_to_wait_and_others_do_not() {
        let mut guesses = Guesses::default();
        let (bad, good) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for i in 0..GUESSES_MAX {
            assert_eq!(guesses.wait_s(bad, 0), None, "{i}");
            assert_eq!(guesses.wrong(bad, 0), i + 1 == GUESSES_MAX, "told once: {i}");
        }
        assert!(!guesses.wrong(bad, 0), "told once");
        assert_eq!(guesses.wait_s(bad, 1), Some(60));
        assert_eq!(guesses.wait_s(good, 1), None);
        assert_eq!(guesses.wait_s(bad, GUESS_WINDOW_MS), None);
        guesses.wrong(bad, GUESS_WINDOW_MS);
        assert_eq!(guesses.wait_s(bad, GUESS_WINDOW_MS), None, "counting begins anew");
    }

    #[test]
    fn a_whole_ipv6_network_is_one_guesser_and_memory_is_bounded() {
        let mut guesses = Guesses::default();
        for i in 0..GUESSES_MAX {
            guesses.wrong(format!("2001:db8::{i}").parse().unwrap(), 0);
        }
        assert!(guesses.wait_s("2001:db8::ffff".parse().unwrap(), 1).is_some());
        assert!(guesses.wait_s("2001:db8:0:1::1".parse().unwrap(), 1).is_none());
        for i in 0..10_000u32 {
            guesses.wrong(IpAddr::V4(i.into()), i64::from(i % 7));
        }
        assert!(guesses.by_address.len() <= ADDRESSES_MAX);
    }
}
