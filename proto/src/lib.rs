//! What devices and the gateway say to each other.
//!
//! | module | holds |
//! |---|---|
//! | [`metric`] | the one table of quantities: name, unit, range, precision, how it is obtained |
//! | [`reading`] | one set of values taken at one moment by one device, and the states it can be in |
//! | [`device`] | what a device may be called |
//! | [`band`] | good, air soon, air now: the threshold profiles and the filter that keeps a light calm |
//! | [`wire`] | the JSON and CBOR form of a batch and of its acknowledgement |
//!
//! The crate is `no_std` and does not allocate, so firmware, gateway and tests share it. The feature `decode` adds
//! the decoders for batches that arrive from outside; they need an allocator.
#![no_std]

#[cfg(feature = "decode")]
extern crate alloc;

pub mod band;
pub mod device;
pub mod metric;
pub mod reading;
pub mod wire;

pub use band::{Band, BandFilter, Profile};
pub use device::DeviceId;
pub use metric::{Method, Metric, MetricName, Quantity};
pub use reading::{Reading, ReadingTime, State};
