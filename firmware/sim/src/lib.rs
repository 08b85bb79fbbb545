//! A Casement device on this computer: the real core, the real TLS client, the real drivers of sensors and the real screens,
//! with flash in a file, a sensor on paper and a serial line that is a pseudo-terminal.
//!
//! | module | holds |
//! |---|---|
//! | [`device`] | one start of the device, from power on to power off: what a board's `main` and driver are |
//! | [`flash`] | NOR flash in a file, whose power may fail at any byte |
//! | [`firmware`] | images of firmware on paper, and the bootloader that starts them |
//! | [`scd41`] | an SCD41 on an I2C bus of paper, and what can be wrong with it |
//! | [`room`] | the air it measures |
//! | [`picture`] | the screen as a picture |
//! | [`serial`] | a pseudo-terminal, for Improv |
//! | [`web`] | its own pages on a TCP port |
//! | [`wire`] | its TCP connections, and its name service |
//! | [`options`] | what may stand behind the program's options, and what is said when it may not |
//! | [`time`] | the date of the virtual world |
//! | [`chance`] | chance that repeats |
//!
//! Time passes only while the device waits, so a week takes as long as its uploads do. While an upload is under way the
//! world stands still; afterwards it is as much later as [`device::Surroundings::exchange_ms`] says. Everything that comes
//! from the gateway's clock is moved by the difference between the world's date and the real one.
//!
//! What is not here: a radio; which networks let the device in, and why not, is the world's to say. Firmware that comes over
//! the air is on paper, too: an image says of itself which version it is and how it behaves, and the same program goes on
//! in that way.

pub mod chance;
pub mod device;
pub mod firmware;
pub mod flash;
pub mod options;
pub mod picture;
pub mod room;
pub mod scd41;
pub mod serial;
pub mod time;
pub mod web;
pub mod wire;
