//! What a URL of a store says, and what of it may be shown.

/// Does this URL name a PostgreSQL database?
pub(super) fn is_postgres(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, _)| matches!(scheme, "postgres" | "postgresql"))
}

/// The parameters behind the question mark, as they are written.
pub(super) fn parameters(url: &str) -> impl Iterator<Item = (&str, &str)> {
    let (_, all) = url.split_once('?').unwrap_or_default();
    all.split('&').filter(|one| !one.is_empty()).map(|one| one.split_once('=').unwrap_or((one, "")))
}

/// A store's URL may carry a password; this is the URL for people and logs.
#[must_use]
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let mut shown = match rest.rsplit_once('@') {
        // Also when the password has an @ of its own.
        Some((user, place)) => match user.split_once(':') {
            Some((name, _)) => format!("{scheme}://{name}:***@{place}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    };
    for (key, value) in parameters(url).filter(|(key, value)| key.contains("password") && !value.is_empty()) {
        shown = shown.replace(&format!("{key}={value}"), &format!("{key}=***"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        for (url, shown) in [
            ("postgres://me:se@cret@db/x", "postgres://me:***@db/x"),
            ("postgres://me:se/cret@db/x", "postgres://me:***@db/x"),
            ("postgresql://me@db/x?sslmode=require", "postgresql://me@db/x?sslmode=require"),
            ("postgres://db/x?user=me&password=secret&port=1", "postgres://db/x?user=me&password=***&port=1"),
            ("sqlite:casement.db", "sqlite:casement.db"),
            ("sqlite://folder/casement.db", "sqlite://folder/casement.db"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn two_schemes_are_postgresql() {
        assert!(is_postgres("postgres://db/x") && is_postgres("postgresql://db/x"));
        assert!(!is_postgres("sqlite:postgres://db") && !is_postgres("postgres:x"));
    }
}
