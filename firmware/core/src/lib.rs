//! What a CO2 device decides.
//!
//! | module | holds |
//! |---|---|
//! | [`node`] | the state machine: what to sample, keep, show and send next, and when to wake |
//! | [`record`] | one kept reading, its compact form on flash and how it gets its time |
//! | [`queue`] | store and forward over flash; survives power failing at any byte |
//! | [`keep`] | one small value on flash: settings, the state of an update; survives power failing at any byte |
//! | [`update`] | firmware over the air: what to fetch, when to trust it, when to go back |
//! | [`uplink`] | one upload over any [`embedded_svc`] HTTP connection, and the back-off between uploads |
//! | [`mqtt`] | the packets of the other way to send |
//! | [`clock`] | what time it is, and whom to believe |
//! | [`liveness`] | what to do when nothing comes back |
//! | [`button`] | presses from what a contact says: bounces out, short and long told apart |
//! | [`light`] | colour and blink pattern of the light |
//! | [`http`] | requests and answers of both pages, over any connection |
//! | [`power`] | power chips of boards with a screen: which register does what |
//! | [`improv`] | Wi-Fi and settings over the serial line |
//! | [`page`] | the page that a device shows in the local network, and `/json` |
//! | [`portal`] | the form in the device's own network, for phones |
//! | [`radio`] | what the radio is for: the network that is set, one that is tried, or its own |
//! | [`settings`] | what can be set, with bounds |
//!
//! Nothing here knows hardware, allocates or reads a clock: time and chance are arguments, flash and network are
//! small traits. So the code that runs on a chip runs unchanged in tests and as a virtual device. A driver is a loop
//! that turns wakes into [`Event`]s and does what [`Actions`] say.
//!
//! Offline is a normal state: a device samples, shows and keeps. It restarts because of the network at most once for each
//! time that something got through (see [`liveness`]).
#![no_std]

#[cfg(test)]
extern crate std;

pub mod button;
pub mod clock;
pub mod http;
pub mod improv;
pub mod keep;
pub mod light;
pub mod liveness;
pub mod mqtt;
pub mod node;
pub mod page;
pub mod portal;
pub mod power;
pub mod queue;
pub mod radio;
pub mod record;
pub mod settings;
#[cfg(test)]
mod torn;
pub mod update;
pub mod uplink;

pub use button::Button;
pub use clock::Clock;
pub use light::{Light, Pattern};
pub use node::{
    Actions, Ambience, Display, Event, Fault, Health, Link, Node, Press, Primary, Sample, Trouble, Vitals,
};
pub use queue::{Mark, Memory, Queue, QueueError, QueueStatus, Region};
pub use radio::NotJoined;
pub use record::{Record, Timeline};
pub use settings::{Settings, SettingsError};
pub use uplink::{Ack, Backoff, Certificate, UploadError};

/// Milliseconds since the device started. Steady: it never jumps, and says nothing about the date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// The moment this many milliseconds later.
    #[must_use]
    pub const fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since an earlier moment; 0 when it is not earlier.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
