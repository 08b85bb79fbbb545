//! What devices send through: Mbed TLS behind the HTTP traits of [`embedded_svc`], and MQTT over the same TLS.
//!
//! | module | holds |
//! |---|---|
//! | [`uplink`] | batches to whoever the settings name: a gateway or a broker |
//! | [`https`] | one kept connection to one gateway, HTTP/1.1 |
//! | [`mqtt`] | one kept connection to one broker, MQTT 5 |
//! | `secure` | what both are made of: name, TCP and TLS, each with its time-out |
//! | [`roots`] | whom to trust: Let's Encrypt, or a certificate authority of one's own |
//! | [`clock`] | the date that certificates are held against |
//! | [`fault`] | what went wrong, in words for a small screen |
//! | [`sntp`] | the date from a time server |
//! | [`head`] | the head of an answer |
//!
//! A certificate is always verified: chain, name and dates. There is no way to switch that off. Before the date is
//! known nothing is sent, see [`clock::set`].
//!
//! The same code runs on a chip and on a host. The network is an argument ([`edge_nal`]), time is `embassy-time`.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod clock;
pub mod fault;
pub mod head;
pub mod https;
pub mod mqtt;
pub mod roots;
mod secure;
pub mod sntp;
pub mod uplink;

pub use fault::{CertificateFault, Fault};
pub use https::{Gateway, HttpsConnection, Limits, Network};
pub use mqtt::{Broker, MqttConnection};
pub use roots::Trust;
pub use uplink::{Peer, Uplink};
