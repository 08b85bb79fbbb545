//! What a scenario needs to drive the real gateway: nothing here knows the gateway's code, only its contract.
//!
//! | module | holds |
//! |---|---|
//! | [`gateway`] | the program: a home folder for it, start, kill, restart, and its command line |
//! | [`client`] | an HTTPS client that trusts the gateway's own certificate, HTTP/1.1 and HTTP/2 |
//! | [`events`] | reading a stream of server-sent events |
//! | [`pebble`] | a certificate authority for tests, and the DNS that it asks |
//! | [`tap`] | a connection that remembers the records that came over it |
//! | [`unreliable_ca`] | what stands between the gateway and that authority: it counts, and it fails when told |
//! | [`dns`] | a name server that says what it is told to |
//! | [`directory`] | the front door of an authority: what it says of itself, and what time it says it is |
//! | [`pki`] | certificates and keys made here, good ones and bad ones |
//! | [`ports`] | port numbers that nobody else takes meanwhile |
//! | [`postgres`] | a PostgreSQL of its own, in a temporary folder |
//! | [`raw`] | bytes on a socket, for what no polite client sends |
//! | [`csv_rows`] | the raw readings of a device, as the CSV answer has them |
//! | [`cbor`] | a CBOR writer that shares no code with the gateway |
//! | [`small_disk`] | a disk that is soon full |
//! | [`wait`] | waiting for a condition, the clock, a seeded dice |
//! | [`report`] | figures and skips that must be seen even when every test passes |
#![allow(clippy::disallowed_methods, reason = "a driver at the edge: it times the program from outside")]

pub mod cbor;
pub mod client;
pub mod csv_rows;
pub mod directory;
pub mod dns;
pub mod events;
pub mod gateway;
pub mod pebble;
pub mod pki;
pub mod ports;
pub mod postgres;
pub mod raw;
pub mod report;
pub mod small_disk;
pub mod tap;
pub mod unreliable_ca;
pub mod wait;

pub use client::{Answer, Client, Shown, Version};
pub use gateway::{Gateway, Home, Passing, Ran};
pub use pebble::Pebble;
pub use small_disk::SmallDisk;
pub use unreliable_ca::UnreliableCa;
pub use wait::{eventually, within};
