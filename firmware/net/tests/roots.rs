//! The built-in roots are what they are said to be.

use aws_lc_rs::digest::{SHA256, digest};
use casement_net::Trust;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

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

fn der(name: &str) -> Vec<u8> {
    let file = format!("{}/roots/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    CertificateDer::from_pem_file(file).expect("a certificate in PEM").to_vec()
}

fn parse(der: &[u8]) -> X509Certificate<'_> {
    X509Certificate::from_der(der).expect("a certificate").1
}

#[test]
fn the_roots_are_the_published_ones() {
    for (name, sha256) in ROOTS {
        let der = der(name);
        let print = digest(&SHA256, &der);
        let print: String = print.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(print, sha256, "{name}");
        // Its own signature holds, so not a bit of it was changed.
        parse(&der).verify_signature(None).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn the_new_roots_are_vouched_for_by_the_old_ones() {
    for (new, old, cross) in
        [("root-ye", "isrg-root-x2", "root-ye-by-x2"), ("root-yr", "isrg-root-x1", "root-yr-by-x1")]
    {
        let (new, old, cross) = (der(new), der(old), der(cross));
        let (new, old, cross) = (parse(&new), parse(&old), parse(&cross));
        assert_eq!(cross.issuer(), old.subject());
        cross.verify_signature(Some(old.public_key())).expect("the old root signed it");
        assert_eq!((cross.subject(), cross.public_key()), (new.subject(), new.public_key()));
        // And nobody else did.
        assert!(cross.verify_signature(Some(new.public_key())).is_err());
    }
}

#[test]
fn they_can_be_parsed_by_the_device() {
    assert!(Trust::lets_encrypt().is_ok());
    for der in [&b""[..], b"\x30\x03\x02\x01\x01", b"hello"] {
        assert!(Trust::own(der).is_err(), "{der:?}");
    }
}
