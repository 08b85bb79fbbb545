//! Where a plain HTTP request is sent.

use crate::renewal::names;
use axum::http::Uri;

/// The same host, path and query under HTTPS; `None` when the request does not say a host that can be one. `trusted` are
/// the names of a certificate that browsers trust: a visitor who came by another name would only meet a warning, and is
/// led to the first of them.
pub(super) fn target(
    host: Option<&str>,
    uri: &Uri,
    https_port: u16,
    trusted: Option<&[String]>,
) -> Option<String> {
    let host = uri.authority().map(|authority| authority.as_str()).or(host)?;
    let name = without_port(host)?;
    let canonical = trusted
        .filter(|names| !names::covered(names, name.trim_start_matches('[').trim_end_matches(']')))
        .and_then(|names| names.iter().find(|name| !names::is_address(name) && !name.starts_with("*.")));
    let name = canonical.map_or(name, String::as_str);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path } else { "/" };
    Some(match https_port {
        443 => format!("https://{name}{path}"),
        port => format!("https://{name}:{port}{path}"),
    })
}

/// A host as it may stand in a URL: a name, an IPv4 address or a bracketed IPv6 address.
fn without_port(host: &str) -> Option<&str> {
    let name = match host.strip_prefix('[') {
        Some(rest) => host.get(..rest.find(']')? + 2)?,
        None => host.split(':').next()?,
    };
    let inner = name.trim_start_matches('[').trim_end_matches(']');
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':');
    (!inner.is_empty() && host.len() <= 300 && inner.bytes().all(safe)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_path_and_query_are_kept() {
        for (host, uri, port, expected) in [
            ("air.example.org", "/", 443, Some("https://air.example.org/")),
            (
                "air.example.org:80",
                "/r/Lab%201?r=7d&x=a%20b",
                443,
                Some("https://air.example.org/r/Lab%201?r=7d&x=a%20b"),
            ),
            ("127.0.0.1:8080", "/dev?deviceId=x", 8443, Some("https://127.0.0.1:8443/dev?deviceId=x")),
            ("[::1]:8080", "/a", 8443, Some("https://[::1]:8443/a")),
            ("[2001:db8::1]", "/a", 443, Some("https://[2001:db8::1]/a")),
            ("evil.example/@x", "/", 443, None),
            ("a b", "/", 443, None),
            ("", "/", 443, None),
            ("[::1", "/", 443, None),
        ] {
            let found = target(Some(host), &uri.parse().unwrap(), port, None);
            assert_eq!(found.as_deref(), expected, "{host}");
        }
        assert_eq!(target(None, &"/".parse().unwrap(), 443, None), None);
        let absolute = "http://air.example.org/x?y=1".parse().unwrap();
        assert_eq!(
            target(Some("other"), &absolute, 443, None).as_deref(),
            Some("https://air.example.org/x?y=1")
        );
        assert_eq!(target(Some("a.b"), &"*".parse().unwrap(), 443, None).as_deref(), Some("https://a.b/"));
    }

    #[test]
    fn whoever_comes_by_a_name_that_is_not_trusted_is_led_to_one_that_is() {
        let trusted = ["203.0.113.7", "air.example.org", "*.air.example.org"].map(str::to_owned);
        for (host, expected) in [
            ("air.example.org", "https://air.example.org/x"),
            ("AIR.example.org:80", "https://AIR.example.org/x"),
            ("lab.air.example.org", "https://lab.air.example.org/x"),
            ("203.0.113.7", "https://203.0.113.7/x"),
            ("203.0.113.9", "https://air.example.org/x"),
            ("[2001:db8::1]:80", "https://air.example.org/x"),
            ("evil.example", "https://air.example.org/x"),
        ] {
            let found = target(Some(host), &"/x".parse().unwrap(), 443, Some(&trusted));
            assert_eq!(found.as_deref(), Some(expected), "{host}");
        }
        let address = ["203.0.113.7".to_owned()];
        let kept = target(Some("evil.example"), &"/x".parse().unwrap(), 443, Some(&address));
        assert_eq!(kept.as_deref(), Some("https://evil.example/x"), "an address is nobody's name");
    }
}
