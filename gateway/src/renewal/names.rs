//! Names of a certificate: DNS names and IP addresses.

/// Whether a name is an IP address. Text only: no socket is opened with it.
pub fn is_address(name: &str) -> bool {
    name.contains(':')
        || (name.split('.').count() == 4 && name.split('.').all(|part| part.parse::<u8>().is_ok()))
}

/// Whether one of a certificate's names covers this one: the same, or `*.` for one label (RFC 9525 §6.3).
pub fn covered(names: &[String], wanted: &str) -> bool {
    names.iter().any(|name| same(name, wanted) || covers(name, wanted))
}

fn covers(name: &str, wanted: &str) -> bool {
    let (Some(parent), Some((_, rest))) = (name.strip_prefix("*."), wanted.split_once('.')) else {
        return false;
    };
    !is_address(wanted) && !wanted.starts_with("*.") && same(parent, rest)
}

fn same(a: &str, b: &str) -> bool {
    a.trim_end_matches('.').eq_ignore_ascii_case(b.trim_end_matches('.'))
}

/// The name under which TLS-ALPN-01 asks for an address: its reverse name (RFC 8738 §6). DNS names are themselves.
pub fn challenge_name(name: &str) -> String {
    if let Ok(address) = name.parse::<std::net::Ipv4Addr>() {
        let [a, b, c, d] = address.octets();
        return format!("{d}.{c}.{b}.{a}.in-addr.arpa");
    }
    if let Ok(address) = name.parse::<std::net::Ipv6Addr>() {
        let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
        return nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa";
    }
    name.to_ascii_lowercase()
}

/// Whether the public internet can reach an address (the IANA special-purpose registries, RFC 6890).
pub fn is_public(address: std::net::IpAddr) -> bool {
    use std::net::IpAddr;
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let special = a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && (b == 18 || b == 19));
            !(special
                || v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_documentation()
                || v4.is_multicast())
        }
        // Global unicast is 2000::/3; within it documentation, benchmarking, Teredo and 6to4 are special.
        IpAddr::V6(v6) => {
            let s = v6.segments();
            let special =
                (s[0] == 0x2001 && (s[1] == 0xdb8 || s[1] < 0x200)) || s[0] == 0x2002 || s[0] == 0x3fff;
            (s[0] & 0xe000) == 0x2000 && !special
        }
    }
}

/// Whether public authorities never issue for a name: it is not in the public tree (RFC 6761, RFC 6762, RFC 8375 and
/// the names that people use for their own networks).
pub fn is_local_name(name: &str) -> bool {
    const LOCAL: &[&str] = &[
        "local",
        "localhost",
        "localdomain",
        "internal",
        "intranet",
        "private",
        "corp",
        "home",
        "lan",
        "test",
        "example",
        "invalid",
        "onion",
        "alt",
        "fritz.box",
        "home.arpa",
    ];
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if is_address(&name) {
        return false;
    }
    !name.contains('.')
        || LOCAL
            .iter()
            .any(|end| name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// Whether no public authority ever issues for a name or an address.
pub fn is_private(name: &str) -> bool {
    match name.parse() {
        Ok(address) => !is_public(address),
        Err(_) => is_local_name(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_told_apart() {
        for (name, address) in [
            ("1.2.3.4", true),
            ("::1", true),
            ("2001:db8::1", true),
            ("a.b.c.d", false),
            ("1.2.3.256", false),
            ("air.example.org", false),
        ] {
            assert_eq!(is_address(name), address, "{name}");
        }
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        let names = ["*.example.org".to_owned(), "Example.org".to_owned(), "192.0.2.1".to_owned()];
        for (wanted, yes) in [
            ("a.example.org", true),
            ("example.org.", true),
            ("a.b.example.org", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("*.example.org", true),
        ] {
            assert_eq!(covered(&names, wanted), yes, "{wanted}");
        }
    }

    #[test]
    fn an_address_is_challenged_by_its_reverse_name() {
        assert_eq!(challenge_name("192.0.2.7"), "7.2.0.192.in-addr.arpa");
        let six = challenge_name("2001:db8::1");
        assert!(six.starts_with("1.0.0.0.") && six.ends_with("8.b.d.0.1.0.0.2.ip6.arpa"), "{six}");
        assert_eq!(challenge_name("Air.Example.org"), "air.example.org");
    }

    #[test]
    fn public_addresses_are_those_that_the_internet_reaches() {
        for (address, public) in [
            ("8.8.8.8", true),
            ("34.12.8.7", true),
            ("10.1.2.3", false),
            ("172.20.0.1", false),
            ("192.168.1.1", false),
            ("100.64.0.1", false),
            ("169.254.1.1", false),
            ("127.0.0.1", false),
            ("203.0.113.9", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2600:1900::7", true),
            ("2001:4860:4860::8888", true),
            ("2001:db8::1", false),
            ("2002:102:304::1", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }
}
