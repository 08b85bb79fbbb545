//! The one table of configuration keys. A new key is one line here and one in `casement.example.toml`.

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A list of texts.
    List,
    /// A whole number.
    Number,
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its path, for example `listen.https`.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Its default, as TOML.
    pub default: &'static str,
    /// One line of why.
    pub doc: &'static str,
}

const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, default, doc }
}

/// Every key.
pub static KEYS: &[Key] = &[
    key("data_dir", Kind::Text, r#""./casement-data""#, "Where everything is kept."),
    key("listen.http", Kind::List, r#"["127.0.0.1:8080"]"#, "Plain HTTP: redirects to HTTPS."),
    key("listen.https", Kind::List, r#"["127.0.0.1:8443"]"#, "HTTPS: pages, API, readings."),
    key("listen.mqtts", Kind::List, "[]", "MQTT over TLS."),
    key(
        "tls.source",
        Kind::Text,
        r#""self-signed""#,
        "Where the certificate comes from: acme, files or self-signed.",
    ),
    key(
        "tls.names",
        Kind::List,
        r#"["localhost", "127.0.0.1", "::1"]"#,
        "Names and addresses it is for; with acme, [] means this machine's public addresses.",
    ),
    key(
        "tls.hsts",
        Kind::Text,
        r#""auto""#,
        "Browsers insist on HTTPS: auto (once publicly trusted), always, never.",
    ),
    key(
        "tls.device_chain",
        Kind::Text,
        r#""full""#,
        "Chain for clients without HTTP/2: full, or short (without its last certificate).",
    ),
    key(
        "tls.acme.directory",
        Kind::Text,
        r#""https://acme-v02.api.letsencrypt.org/directory""#,
        "The certificate authority.",
    ),
    key("tls.acme.contact", Kind::Text, r#""""#, "Whom it may write to: mailto:…"),
    key("tls.acme.challenge", Kind::Text, r#""auto""#, "auto, http-01 or tls-alpn-01."),
    key("tls.acme.profile", Kind::Text, r#""""#, "Certificate profile; empty: chosen by kind of name."),
    key("tls.acme.ca_bundle", Kind::Text, r#""""#, "PEM to trust for the directory itself."),
    key("tls.acme.eab_kid", Kind::Text, r#""""#, "External account binding: key identifier."),
    key("tls.acme.eab_hmac_file", Kind::Text, r#""""#, "External account binding: file with the key."),
    key(
        "tls.acme.thumbprint",
        Kind::Text,
        r#""""#,
        "Another machine's account whose HTTP-01 challenges are answered, too.",
    ),
    key("tls.files.cert", Kind::Text, r#""""#, "PEM chain, leaf first; or the folder of a certbot lineage."),
    key("tls.files.key", Kind::Text, r#""""#, "PEM private key."),
    key(
        "access.dashboard",
        Kind::Text,
        r#""private""#,
        "Who may read without signing in: private or public.",
    ),
    key(
        "store.url",
        Kind::Text,
        r#""sqlite:casement.db""#,
        "The store: a file, relative to data_dir, or a database.",
    ),
    key(
        "store.raw_days",
        Kind::Number,
        "0",
        "Days that raw readings are kept, 0 for ever; the hours of older ones stay.",
    ),
    key(
        "store.raw_days_of",
        Kind::List,
        "[]",
        r#"Other numbers of days for some metrics, for example ["rssi=30", "battery=0"]."#,
    ),
    key(
        "backup.every",
        Kind::Text,
        r#""1d""#,
        "How often a backup is made by itself and looked at: 1m to 366d, or off.",
    ),
    key("backup.keep", Kind::Number, "7", "How many of them are kept, 1 to 1000."),
    key("backup.folder", Kind::Text, r#""backups""#, "Where, relative to data_dir; better on another disk."),
    key("site.name", Kind::Text, r#""Casement""#, "What the place is called."),
    key("site.time_zone", Kind::Text, r#""""#, "IANA time zone of pages and exports; empty: UTC."),
    key(
        "site.bands",
        Kind::Text,
        r#""common""#,
        "When air is good: common, de-uba, uk-hse, fr-2022, eu-16798, rehva.",
    ),
];

/// Sections that the contract has and this version does not act on.
pub static LATER: &[&str] = &["route", "guard", "mqtt"];
