//! Rules about streams of values: pure, no clock, no I/O.

pub mod condition;
pub mod distribution;
pub mod presence;
pub mod series;
pub mod time;
pub mod trend;
