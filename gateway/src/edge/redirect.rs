//! Where a plain HTTP request is sent.

use axum::http::Uri;

/// The same host, path and query under HTTPS; `None` when the request does not say a host that can be one.
pub(super) fn target(host: Option<&str>, uri: &Uri, https_port: u16) -> Option<String> {
    let host = uri.authority().map(|authority| authority.as_str()).or(host)?;
    let name = without_port(host)?;
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
            let found = target(Some(host), &uri.parse().unwrap(), port);
            assert_eq!(found.as_deref(), expected, "{host}");
        }
        assert_eq!(target(None, &"/".parse().unwrap(), 443), None);
        let absolute = "http://air.example.org/x?y=1".parse().unwrap();
        assert_eq!(target(Some("other"), &absolute, 443).as_deref(), Some("https://air.example.org/x?y=1"));
        assert_eq!(target(Some("a.b"), &"*".parse().unwrap(), 443).as_deref(), Some("https://a.b/"));
    }
}
