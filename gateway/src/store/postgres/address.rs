//! From `store.url` to what a connection needs.

use crate::store::StoreError;
use crate::store::url::parameters;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::net::IpAddr;
use std::str::FromStr;

/// What may stand behind the question mark. The driver would write the value of any other to the log, and it might be a
/// password with a typing error in its name.
const PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// How to connect. What the URL does not say comes from `PGHOST`, `PGPASSWORD` and their like, and from `~/.pgpass`.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let wrong = |what: String| StoreError::Engine(sqlx::Error::Configuration(what.into()));
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let (authority, rest) = authority.split_at(authority.find(['/', '?', '#']).unwrap_or(authority.len()));
    if rest.split('?').next().is_some_and(|path| path.contains('@')) && !authority.contains('@') {
        // Otherwise a part of the password would be taken for the name of the database, and shown.
        return Err(wrong(
            "in a password / is written %2F, ? is %3F, # is %23, @ is %40 and % is %25".to_owned(),
        ));
    }
    for (key, _) in parameters(url) {
        if !PARAMETERS.contains(&key) {
            return Err(wrong(format!(
                "store.url has a parameter that is not known; there are {}",
                PARAMETERS.join(", ")
            )));
        }
    }
    let mut options = PgConnectOptions::from_str(url).map_err(StoreError::Engine)?;
    if options.get_application_name().is_none() {
        options = options.application_name("casement");
    }
    let says = |name: &str| parameters(url).any(|(key, _)| key == name);
    if !says("sslmode") && std::env::var_os("PGSSLMODE").is_none() && !stays_here(&options) {
        // The driver would take whoever answers, and plain text if need be: it would tell them the password.
        options = options.ssl_mode(PgSslMode::VerifyFull);
    }
    Ok(options)
}

/// Nobody between here and the database can listen.
fn stays_here(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_leaves_this_machine_to_a_server_that_is_known() {
        let mode = |url: &str| options(url).unwrap().get_ssl_mode();
        assert!(matches!(mode("postgres://me:pw@db.example.org/x"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://me:pw@10.0.0.1/x?sslmode=require"), PgSslMode::Require));
        for here in ["postgres://me@localhost/x", "postgres://me@[::1]/x", "postgres://me@%2Frun%2Fpg/x"] {
            assert!(matches!(mode(here), PgSslMode::Prefer), "{here}");
        }
    }

    #[test]
    fn what_is_not_understood_is_not_repeated() {
        for url in [
            "postgres://me@db/x?passwrod=secret",
            "postgres://me@db/x?sslpassword=secret",
            "postgres://me:1/secret@db/x",
            "postgres://me:secret?@db/x",
            "postgres://me:secret@db:port/x",
        ] {
            let error = options(url).unwrap_err();
            let told = format!("{error:?} ") + &format!("{:#}", anyhow::Error::new(error));
            assert!(!told.contains("secret"), "{told}");
        }
    }
}
