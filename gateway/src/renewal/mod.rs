//! When a certificate is ordered, and what is remembered of it. Nothing here acts: [`schedule::next`] is given what is
//! wanted, what is there, what is remembered and the time, and says what to do.

pub mod names;
pub mod schedule;
pub mod words;

use serde::{Deserialize, Serialize};

/// What is known of a certificate: the leaf, and the chain above it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// DNS names and IP addresses it is for, in its order.
    pub names: Vec<String>,
    /// Who issued it, in one line: organisation and common name.
    pub issuer: String,
    /// Whom it is for besides its names; empty with most authorities.
    pub subject: String,
    /// Serial number in hexadecimal.
    pub serial: String,
    /// Kind of key, for example `ECDSA P-256`.
    pub key: String,
    /// SHA-256 of the leaf in hexadecimal.
    pub sha256: String,
    /// Good from, in unix milliseconds.
    pub not_before_ms: i64,
    /// Good until, in unix milliseconds.
    pub not_after_ms: i64,
    /// The names appear in the common name or the certificate signs itself.
    pub self_issued: bool,
    /// The chain above the leaf, in the order it is sent.
    pub chain: Vec<Link>,
}

impl Certificate {
    /// How long it is good for altogether, in milliseconds; never below 1.
    pub fn lifetime_ms(&self) -> i64 {
        self.not_after_ms.saturating_sub(self.not_before_ms).max(1)
    }

    /// Whether it is in date.
    pub fn is_in_date(&self, now_ms: i64) -> bool {
        // "Not after" is the last good second (RFC 5280 §4.1.2.5).
        (self.not_before_ms..self.not_after_ms.saturating_add(1000)).contains(&now_ms)
    }

    /// Which of the wanted names it does not cover.
    pub fn missing<'a>(&self, wanted: &'a [String]) -> Vec<&'a str> {
        wanted.iter().filter(|name| !names::covered(&self.names, name)).map(String::as_str).collect()
    }
}

/// A certificate above the leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Whom it is for.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// Kind of key.
    pub key: String,
    /// Good until, in unix milliseconds.
    pub not_after_ms: i64,
}

/// How a name is shown to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Challenge {
    /// A file on the plain HTTP listener (RFC 8555 §8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate on the HTTPS listener (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl Challenge {
    /// As ACME names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Http01 => Self::TlsAlpn01,
            Self::TlsAlpn01 => Self::Http01,
        }
    }
}

/// Why a certificate is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// There is none yet.
    First,
    /// The one that is there does not cover the wanted names, or comes from another authority than the wanted one.
    Names,
    /// The one that is there ends soon.
    Renewal,
    /// The authority suggests it (RFC 9773).
    Ari,
    /// Somebody asked.
    Asked,
    /// An order was under way when the process ended.
    Resume,
}

/// What the certificate should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// DNS names and IP addresses.
    pub names: Vec<String>,
    /// The addresses were found, not written down: one that cannot be validated may be left out.
    pub found: bool,
    /// The authority's directory.
    pub directory: String,
    /// The profile to ask for when no name is an address; empty for none.
    pub profile: String,
    /// Key identifier of the external account binding; empty for none.
    pub binding: String,
    /// The challenge that is to be used; `None` chooses.
    pub challenge: Option<Challenge>,
    /// There is a plain HTTP listener.
    pub http: bool,
}

impl Wanted {
    /// What an attempt's outcome depends on. When it changes, earlier failures say nothing any more.
    pub fn fingerprint(&self) -> String {
        let challenge = self.challenge.map_or("auto", Challenge::name);
        let parts = [self.directory.as_str(), &self.profile, &self.binding, challenge];
        // Found addresses come and go; their failures are remembered name by name.
        let names = if self.found { "found".to_owned() } else { self.names.join(" ") };
        format!("{}|{names}", parts.join("|"))
    }

    /// Whether any name is an address: those are only given short lives.
    pub fn has_address(&self) -> bool {
        self.names.iter().any(|name| names::is_address(name))
    }
}

/// Everything remembered across restarts, as it lies in `data_dir/acme/state.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// [`Wanted::fingerprint`] of what the rest is about.
    pub about: String,
    /// Oldest first, at most [`ATTEMPTS_KEPT`].
    pub attempts: Vec<Attempt>,
    /// Failed attempts in a row.
    pub failures: u32,
    /// No attempt before this time, in unix milliseconds.
    pub not_before_ms: i64,
    /// Set when trying again is pointless until somebody mends something.
    pub stopped: Option<Stopped>,
    /// What the authority suggests for the certificate at hand.
    pub ari: Option<Ari>,
    /// What runs.
    pub running: Option<Running>,
    /// The account, once there is one.
    pub account: Option<Account>,
    /// Serial number of the certificate at hand.
    pub serial: Option<String>,
    /// The directory that issued the certificate at hand; `None` when it was imported.
    pub issued_by: Option<String>,
    /// Why a request was not followed: its name, and the words.
    pub declined: Option<(String, String)>,
    /// When a certificate was last issued, in unix milliseconds.
    pub last_success_ms: Option<i64>,
    /// Certificates issued lately, in unix milliseconds; a week's.
    pub issued_ms: Vec<i64>,
}

/// Attempts that are remembered. A page shows ten; the hourly limits look at more.
pub const ATTEMPTS_KEPT: usize = 40;

/// The account at the authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its URL.
    pub id: String,
    /// RFC 7638 thumbprint of its key.
    pub thumbprint: String,
    /// The directory it belongs to.
    pub directory: String,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Since when, in unix milliseconds.
    pub since_ms: i64,
    /// Why.
    pub reason: Reason,
    /// What is being done, for people.
    pub step: String,
}

/// Nothing is tried but a look now and then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Since when, in unix milliseconds.
    pub since_ms: i64,
    /// The problem.
    pub problem: String,
    /// Attempts made since it was first met, that one included.
    pub looks: u32,
}

/// The authority's suggestion of when to renew (RFC 9773).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ari {
    /// Serial number of the certificate it is about.
    pub serial: String,
    /// Start of the window, in unix milliseconds; `None` when the authority gives none.
    pub window_ms: Option<(i64, i64)>,
    /// The moment chosen in it.
    pub chosen_ms: i64,
    /// Why, as the authority explains it.
    pub explanation_url: Option<String>,
    /// When to ask again, in unix milliseconds.
    pub ask_again_ms: i64,
}

/// One attempt and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began, in unix milliseconds.
    pub at_ms: i64,
    /// How long it took, in milliseconds.
    pub took_ms: i64,
    /// Why it was made.
    pub reason: Reason,
    /// How the names were to be shown to be ours.
    pub challenge: Challenge,
    /// Which names.
    pub names: Vec<String>,
    /// It was a rehearsal; its certificate was thrown away.
    pub dry_run: bool,
    /// Who asked for it: the name of a request, for the command line that waits for it.
    pub request: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A certificate.
    Issued {
        /// Good until, in unix milliseconds.
        until_ms: i64,
    },
    /// Nothing.
    Failed(Trouble),
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The last part of the ACME error URN (RFC 8555 §6.7), or one of ours: `unreachable`, `timeout`, `bad_answer`,
    /// `local`, `no_names`, `order_invalid`.
    pub problem: String,
    /// What the authority, or the system, said.
    pub detail: String,
    /// The names that could not be validated; each counts against the hourly limit.
    pub names: Vec<String>,
    /// The authority asked to be left alone for so long, in milliseconds.
    pub retry_after_ms: Option<i64>,
}

impl Trouble {
    /// A trouble without a name.
    pub fn new(problem: &str, detail: impl Into<String>) -> Self {
        Self { problem: problem.to_owned(), detail: detail.into(), names: Vec::new(), retry_after_ms: None }
    }

    /// The authority has decided; what was ordered will not come. Otherwise it may only not have been heard.
    pub fn is_final(&self) -> bool {
        let unheard =
            ["unreachable", "timeout", "serverInternal", "bad_answer", "badNonce", "rateLimited", "local"];
        !self.names.is_empty() || !unheard.contains(&self.problem.as_str())
    }

    /// Trying again changes nothing until somebody mends something.
    pub fn is_hopeless(&self) -> bool {
        matches!(
            self.problem.as_str(),
            "rejectedIdentifier"
                | "unsupportedIdentifier"
                | "caa"
                | "externalAccountRequired"
                | "userActionRequired"
                | "invalidProfile"
                | "unsupportedContact"
                | "invalidContact"
        )
    }
}
