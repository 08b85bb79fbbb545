//! What a socket that somebody else opened is for. Pure.

use std::net::{IpAddr, SocketAddr};

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Http,
    Https,
}

/// Where a socket is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// Its own address.
    pub(super) address: SocketAddr,
    /// It takes IPv6 and nothing else; `[::]` otherwise takes IPv4, too (RFC 3493 §5.3).
    pub(super) only_v6: bool,
}

impl Heard {
    /// Would somebody who calls this address get there? Never for port 0, which asks for one of its own.
    pub(super) fn answers(self, called: SocketAddr) -> bool {
        let (own, called_ip) = (self.address.ip(), called.ip());
        let reached = own == called_ip
            || own.is_unspecified()
                && match (own, called_ip) {
                    (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => true,
                    (IpAddr::V6(_), IpAddr::V4(_)) => !self.only_v6,
                    (IpAddr::V4(_), IpAddr::V6(_)) => false,
                };
        self.address.port() == called.port() && reached
    }
}

/// What a socket of this name is for: its name says so (`http`, `https`), or else the configuration names its address.
/// `None` when neither does, or both lists do.
pub(super) fn kind(
    name: Option<&str>,
    heard: Heard,
    http: &[SocketAddr],
    https: &[SocketAddr],
) -> Option<Kind> {
    match name {
        Some("http") => return Some(Kind::Http),
        Some("https") => return Some(Kind::Https),
        _ => {}
    }
    let names = |list: &[SocketAddr]| list.iter().any(|address| heard.answers(*address));
    match (names(http), names(https)) {
        (true, false) => Some(Kind::Http),
        (false, true) => Some(Kind::Https),
        (true, true) | (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_socket_answers_what_its_address_takes() {
        for (own, only_v6, called, expected) in [
            ("[::]:443", false, "[::]:443", true),
            ("[::]:443", false, "0.0.0.0:443", true),
            ("[::]:443", true, "0.0.0.0:443", false),
            ("[::]:443", true, "[2001:db8::7]:443", true),
            ("0.0.0.0:443", false, "127.0.0.1:443", true),
            ("0.0.0.0:443", false, "[::]:443", false),
            ("127.0.0.1:443", false, "127.0.0.1:443", true),
            ("127.0.0.1:443", false, "0.0.0.0:443", false),
            ("[::]:443", false, "[::]:80", false),
            ("[::]:443", false, "[::]:0", false),
        ] {
            let heard = Heard { address: at(own), only_v6 };
            assert_eq!(heard.answers(at(called)), expected, "{own} {only_v6} {called}");
        }
    }

    #[test]
    fn the_name_comes_first_then_the_configured_address() {
        let (http, https) = ([at("[::]:80")], [at("[::]:443"), at("127.0.0.1:8443")]);
        for (name, address, expected) in [
            (Some("http"), "[::]:443", Some(Kind::Http)),
            (Some("https"), "[::]:9", Some(Kind::Https)),
            (Some("casement.socket"), "[::]:80", Some(Kind::Http)),
            (Some("unknown"), "0.0.0.0:8443", Some(Kind::Https)),
            (None, "[::]:443", Some(Kind::Https)),
            (None, "[::]:8443", Some(Kind::Https)),
            (None, "[::]:8883", None),
            (Some("mqtts"), "[::]:8883", None),
        ] {
            let heard = Heard { address: at(address), only_v6: false };
            assert_eq!(kind(name, heard, &http, &https), expected, "{name:?} {address}");
        }
        let heard = Heard { address: at("[::]:80"), only_v6: false };
        assert_eq!(kind(None, heard, &http, &http), None, "named by both");
    }
}
