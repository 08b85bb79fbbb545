//! What devices and the gateway say to each other.
//!
//! | module | holds |
//! |---|---|
//! | [`metric`] | the one table of quantities: name, unit, range, precision, how it is obtained |
//! | [`reading`] | one set of values taken at one moment by one device, and the states it can be in |
//! | [`device`] | what a device may be called |
//! | [`band`] | good, air soon, air now: the threshold profiles and the filter that keeps a light calm |
//! | [`release`] | firmware that may be installed: which board, version, size and hash, and the form that is signed |
//! | [`device_settings`] | what can be set on a device, with bounds, and its binary form |
//! | [`crc`] | the check of everything that lies on flash |
//! | [`wire`] | the JSON and CBOR form of a batch and of its acknowledgement |
//!
//! The crate is `no_std` and does not allocate, so firmware, gateway and tests share it. The feature `decode` adds
//! the decoders for batches that arrive from outside; they need an allocator.
#![no_std]

#[cfg(feature = "decode")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod band;
pub mod crc;
pub mod device;
pub mod device_settings;
pub mod metric;
pub mod reading;
pub mod release;
pub mod wire;

pub use band::{Band, BandFilter, Profile};
pub use crc::Crc32;
pub use device::DeviceId;
pub use device_settings::DeviceSettings;
pub use metric::{Method, Metric, MetricName, Quantity};
pub use reading::{Reading, ReadingTime, State};
pub use release::{BoardId, Release, SignedRelease, UpdateStatus, Version};
