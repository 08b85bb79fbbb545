//! The built-in roots are what they are said to be.

use casement_net::Trust;
use std::process::{Command, Stdio};

/// Name, and SHA-256 of the whole certificate in DER.
///
/// X1 and X2 as in the stores of Mozilla and in the crate webpki-root-certs; YE and YR as in the files that Let's Encrypt
/// publishes.
const ROOTS: [(&str, &str); 4] = [
    ("isrg-root-x1", "96bcec06264976f37460779acf28c5a7cfe8a3c0aae11a8ffcee05c0bddf08c6"),
    ("isrg-root-x2", "69729b8e15a86efc177a57afb7171dfc64add28c2fca8cf1507e34453ccb1470"),
    ("root-ye", "e14ffcad5b0025731006caa43a121a22d8e9700f4fb9cf852f02a708aa5d5666"),
    ("root-yr", "e57b7e6f150c419102e8d5c055729ff967b9d1a829bf00cec89ca604ebf4a86f"),
];

fn file(name: &str) -> String {
    format!("{}/roots/{name}.pem", env!("CARGO_MANIFEST_DIR"))
}

fn openssl(arguments: &[&str]) -> String {
    let output =
        Command::new("openssl").args(arguments).stdin(Stdio::null()).output().expect("openssl is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn public_key(name: &str) -> String {
    openssl(&["x509", "-in", &file(name), "-noout", "-pubkey"])
}

#[test]
fn the_roots_are_the_published_ones() {
    for (name, sha256) in ROOTS {
        let print = openssl(&["x509", "-in", &file(name), "-noout", "-fingerprint", "-sha256"]);
        let print = print.rsplit('=').next().unwrap_or_default().trim().replace(':', "").to_lowercase();
        assert_eq!(print, sha256, "{name}");
        // Its own signature holds, so not a bit of it was changed.
        openssl(&["verify", "-check_ss_sig", "-CAfile", &file(name), &file(name)]);
    }
}

#[test]
fn the_new_roots_are_vouched_for_by_the_old_ones() {
    for (new, old, cross) in
        [("root-ye", "isrg-root-x2", "root-ye-by-x2"), ("root-yr", "isrg-root-x1", "root-yr-by-x1")]
    {
        openssl(&["verify", "-partial_chain", "-CAfile", &file(old), &file(cross)]);
        assert_eq!(public_key(new), public_key(cross), "{new}");
    }
}

#[test]
fn they_can_be_parsed_by_the_device() {
    assert!(Trust::lets_encrypt().is_ok());
    for der in [&b""[..], b"\x30\x03\x02\x01\x01", b"hello"] {
        assert!(Trust::own(der).is_err(), "{der:?}");
    }
}
