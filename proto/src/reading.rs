//! One set of values taken at one moment by one device.

use crate::metric::Quantity;

/// Most quantities in one reading.
pub const VALUES_MAX: usize = 32;

/// When a reading was taken, as far as the device knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadingTime {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    At(i64),
    /// The device has no clock, but knows how many milliseconds ago it took the reading.
    Age(u64),
    /// Nothing is known: the time of receipt counts.
    Receipt,
}

/// How far the values of a reading can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Trust it.
    #[default]
    Ok,
    /// The sensor has just been powered and is not in equilibrium yet.
    WarmingUp,
    /// The sensor is finding its baseline (an SGP30 during its first twelve hours).
    Conditioning,
    /// A calibration is running.
    Calibrating,
    /// Something does not add up (below outdoor air, stuck, saturated).
    Suspect,
    /// The sensor failed; the values, if any, are its last words.
    Failed,
}

impl State {
    /// Every state, in the order of its number in the store.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::WarmingUp, Self::Conditioning, Self::Calibrating, Self::Suspect, Self::Failed];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::WarmingUp => "warming_up",
            Self::Conditioning => "conditioning",
            Self::Calibrating => "calibrating",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
        }
    }

    /// Recognises a word from the wire.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// One set of values taken at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Number of the reading within the device's boot; together they name it for ever.
    pub seq: Option<u64>,
    /// When it was taken.
    pub time: ReadingTime,
    /// How far to trust it.
    pub state: State,
    /// The values, each quantity once, in the unit of its metric.
    pub values: heapless::Vec<(Quantity, f64), VALUES_MAX>,
}

impl Reading {
    /// An empty reading of the given time, to be filled with [`Reading::with`].
    pub const fn new(time: ReadingTime) -> Self {
        Self { seq: None, time, state: State::Ok, values: heapless::Vec::new() }
    }

    /// Adds a value; ignored when [`VALUES_MAX`] are there already.
    #[must_use]
    pub fn with(mut self, quantity: Quantity, value: f64) -> Self {
        let _full = self.values.push((quantity, value));
        self
    }

    /// The value of a quantity, if the reading has it.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(quantity, _)| quantity.name() == name).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_reads_back_as_itself() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("OK"), None);
    }
}
