//! What this machine is: its addresses, as seen by itself and by the cloud it may live in.

use crate::renewal::names::is_public;
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The address at which clouds tell a machine about itself (link-local: it never leaves the provider's host).
const METADATA: &str = "169.254.169.254:80";

/// How long the cloud may take to answer; outside one nobody does.
const METADATA_TIMEOUT: Duration = Duration::from_millis(1500);

/// Largest answer of the cloud that is read, in bytes.
const METADATA_BYTES_MAX: u64 = 8192;

/// Most addresses that are taken, so that a machine with a thousand does not ask for as many names.
const ADDRESSES_MAX: usize = 8;

/// How the clouds are asked for the public address of the first interface: request head after the request line.
const CLOUDS: &[(&str, &str)] = &[
    // Google Compute Engine
    (
        "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip",
        "Metadata-Flavor: Google\r\n",
    ),
    // DigitalOcean
    ("/metadata/v1/interfaces/public/0/ipv4/address", ""),
    // Hetzner
    ("/hetzner/v1/metadata/public-ipv4", ""),
    // Microsoft Azure
    (
        "/metadata/instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress?api-version=2021-02-01&format=text",
        "Metadata: true\r\n",
    ),
];

/// Amazon EC2 wants a session first (IMDSv2).
const EC2_SESSION: (&str, &str) =
    ("/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60\r\nContent-Length: 0\r\n");
const EC2_ADDRESS: &str = "/latest/meta-data/public-ipv4";

/// Addresses of this machine's interfaces, loopback included; temporary and deprecated IPv6 addresses (RFC 8981) are
/// left out, since a certificate would outlive them. Empty when the system does not say.
pub fn interface_addresses() -> Vec<IpAddr> {
    let passing = std::fs::read_to_string("/proc/net/if_inet6")
        .map(|text| passing_addresses(&text))
        .unwrap_or_default();
    let mut found: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .map(|interface| interface.ip())
        .filter(|address| !passing.contains(address))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The IPv6 addresses that will be gone soon, from the kernel's table (`/proc/net/if_inet6`: address, index, prefix,
/// scope, flags, name; flags: 0x01 temporary, 0x20 deprecated, 0x40 tentative, 0x08 duplicate).
fn passing_addresses(table: &str) -> Vec<IpAddr> {
    let parse = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let address = u128::from_str_radix(fields.first()?, 16).ok()?;
        let flags = u8::from_str_radix(fields.get(4)?, 16).ok()?;
        (flags & 0x69 != 0).then(|| IpAddr::from(address.to_be_bytes()))
    };
    table.lines().filter_map(parse).collect()
}

/// The addresses at which the internet reaches this machine: public ones of its interfaces, and, when it has none of
/// IPv4, the one that its cloud has in front of it.
pub async fn public_addresses() -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> =
        interface_addresses().into_iter().filter(|address| is_public(*address)).collect();
    if !found.iter().any(IpAddr::is_ipv4)
        && let Some(address) = cloud_address().await
    {
        found.insert(0, address);
    }
    found.truncate(ADDRESSES_MAX);
    found
}

/// The public IPv4 address that the cloud has given this machine.
pub async fn cloud_address() -> Option<IpAddr> {
    let ask = async {
        for (path, head) in CLOUDS {
            if let Some(address) = ask("GET", path, head).await.ok().as_deref().and_then(address_in) {
                return Some(address);
            }
        }
        let (path, head) = EC2_SESSION;
        let answer = ask("PUT", path, head).await.ok()?;
        let head = format!("X-aws-ec2-metadata-token: {}\r\n", session_in(&answer)?);
        address_in(&ask("GET", EC2_ADDRESS, &head).await.ok()?)
    };
    tokio::time::timeout(METADATA_TIMEOUT, ask).await.ok().flatten()
}

async fn ask(method: &str, path: &str, head: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(METADATA).await?;
    let request = format!("{method} {path} HTTP/1.0\r\nHost: metadata\r\n{head}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(METADATA_BYTES_MAX).read_to_string(&mut answer).await?;
    Ok(answer)
}

/// A session's token, if the answer is one that can stand in a header.
fn session_in(answer: &str) -> Option<&str> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let token = body.trim();
    let good = head.split(' ').nth(1) == Some("200") && (1..=256).contains(&token.len());
    (good && token.bytes().all(|byte| byte.is_ascii_graphic())).then_some(token)
}

fn address_in(answer: &str) -> Option<IpAddr> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let good = head.split(' ').nth(1) == Some("200");
    body.trim().parse().ok().filter(|address| good && is_public(*address))
}

/// Whether somebody listens at an address: at itself, or at all of its kind; `[::]` is all of either kind.
fn is_heard(address: IpAddr, listening: &[IpAddr]) -> bool {
    listening.iter().any(|at| {
        let all = at.is_unspecified() && (at.is_ipv6() || address.is_ipv4());
        all || at.to_canonical() == address
    })
}

/// The addresses to order a certificate for when no names are configured, of the `public` ones ([`public_addresses`]).
/// The cloud's address in front of the machine leads to one of its own; of those that are its own, some are not heard.
/// When none is left, a private authority may vouch for private addresses.
pub fn certificate_addresses(
    mut public: Vec<IpAddr>,
    listening: &[IpAddr],
    private_authority: bool,
) -> Vec<IpAddr> {
    let own = interface_addresses();
    public.retain(|address| !own.contains(address) || is_heard(*address, listening));
    if public.is_empty() && private_authority { private_addresses(listening) } else { public }
}

/// Addresses for a certificate of a private authority: this machine's own, and those of the listeners when it has no
/// others.
fn private_addresses(listening: &[IpAddr]) -> Vec<IpAddr> {
    let usable = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let own: Vec<IpAddr> =
        interface_addresses().into_iter().filter(|address| is_heard(*address, listening)).collect();
    let mut found: Vec<IpAddr> = own.iter().copied().filter(usable).collect();
    if found.is_empty() {
        found = own;
    }
    found.sort_unstable();
    found.dedup();
    found.truncate(ADDRESSES_MAX);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_pass_are_found_in_the_kernel_s_table() {
        let table = "fe800000000000000000000000000001 02 40 20 80     eth0\n\
                     26001900000000000000000000000007 02 40 00 00     eth0\n\
                     260019000000000012345678abcdef00 02 40 00 01     eth0\n\
                     nonsense\n\
                     26001900000000000000000000000009 02 40 00 20     eth0\n";
        let passing = passing_addresses(table);
        let expected: Vec<IpAddr> =
            ["2600:1900::1234:5678:abcd:ef00", "2600:1900::9"].iter().map(|a| a.parse().unwrap()).collect();
        assert_eq!(passing, expected);
    }

    #[test]
    fn a_cloud_s_answer_must_be_a_public_address() {
        let answer =
            |status: &str, body: &str| address_in(&format!("HTTP/1.1 {status}\r\nA: b\r\n\r\n{body}"));
        assert_eq!(answer("200 OK", "34.12.8.7\n"), "34.12.8.7".parse().ok());
        assert_eq!(answer("404 Not Found", "34.12.8.7"), None);
        assert_eq!(answer("200 OK", "10.0.0.1"), None);
        assert_eq!(answer("200 OK", "<html>"), None);
        assert_eq!(address_in("garbage"), None);
        assert_eq!(session_in("HTTP/1.1 200 OK\r\n\r\nAQAE=="), Some("AQAE=="));
        for bad in
            ["HTTP/1.1 403 No\r\n\r\nAQAE==", "HTTP/1.1 200 OK\r\n\r\na\r\nb: c", "HTTP/1.1 200 OK\r\n\r\n"]
        {
            assert_eq!(session_in(bad), None, "{bad}");
        }
    }

    #[test]
    fn this_machine_has_addresses() {
        assert!(interface_addresses().iter().any(IpAddr::is_loopback));
        let bound = ["127.0.0.1".parse().unwrap()];
        assert_eq!(private_addresses(&bound), bound);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (address, at, heard) in [
            ("192.0.2.1", "0.0.0.0", true),
            ("2001:db8::1", "0.0.0.0", false),
            ("192.0.2.1", "::", true),
            ("2001:db8::1", "::", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            assert_eq!(is_heard(ip(address), &[ip(at)]), heard, "{address} at {at}");
        }
    }
}
