//! The sensors of a device.
//!
//! | module | holds |
//! |---|---|
//! | `part` | one file for each sensor: its registers, checksums, waiting times and formulas |
//! | `port` | what every sensor is to the rest: what it gives and how well, and how CO2 sensors are set |
//! | `kit` | all sensors of a device: finds them, keeps them going, asks them together |
//! | `care` | what to do with one sensor next: start, ask, wait, start anew; warming up or trusted |
//! | `learning` | the baseline of a gas sensor: kept after twelve hours, given back within a week |
//! | `watch` | values that do not add up: stuck, jumping, below outdoor air |
//! | `merge` | one sample out of what several sensors say, and which of two counts |
//! | `compensation` | what sensors are told about humidity and pressure |
//! | `gas_index` | from the raw signal of a gas plate to an index |
//! | `wire`, `sensirion`, `checksum` | the wires with their time-outs, framing, checksums |
//!
//! Only `part`, `wire`, `sensirion` and `kit` touch a wire; the others decide, and are tested without one. Nothing
//! allocates or reads a clock.
//!
//! A driver looks after the sensors whenever one is due, and asks all of them whenever the node wants a sample:
//!
//! ```
//! use casement_core::{Event, Millis, Node};
//! use casement_sensors::{Bus, Kit, Tuning};
//! # use embedded_hal_async::{delay::DelayNs, i2c::I2c};
//!
//! # async fn pause_until(_: Millis) -> Millis { Millis(0) }
//! # async fn do_what_it_says(_: casement_core::Actions) -> Millis { Millis(0) }
//! async fn device<I: I2c, D: DelayNs>(i2c: I, delay: D, mut node: Node) {
//!     let mut kit = Kit::new(Bus::new(i2c, delay), Tuning::default());
//!     let mut now = Millis(0);
//!     loop {
//!         kit.work(now, None).await;
//!         let mut actions = node.handle(Event::Due, now);
//!         if actions.sample {
//!             actions = node.handle(Event::Sampled(kit.sample(now)), now);
//!         }
//!         let node_wakes = do_what_it_says(actions).await;
//!         now = pause_until(node_wakes.min(kit.wake_at())).await;
//!     }
//! }
//! ```
//!
//! Every checksum is verified. Bosch's chips have none, so what they say is read twice and must be the same.
#![no_std]

#[cfg(test)]
extern crate std;

mod care;
mod checksum;
mod compensation;
mod gas_index;
mod kit;
mod learning;
mod merge;
mod part;
mod port;
mod sensirion;
mod watch;
mod wire;

#[cfg(test)]
mod bench;

pub use kit::{BASELINES_MAX, CHIPS_MAX, Fitted, Kit, UnknownModule};
pub use learning::{SAVED_BYTES, SavedBaseline};
pub use part::MODULES;
pub use port::{Baseline, CalibrationError, Offer, Pressure, Spec, Tuning, TuningError};
pub use wire::{Bus, Line, NoLine};
