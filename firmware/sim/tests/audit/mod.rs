//! Books of every reading: what was taken, what was given up, and what the gateway has.
#![allow(dead_code, unreachable_pub, reason = "it is a module of a test")]

use casement_core::{QueueStatus, UploadError};
use casement_sim::device::Note;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What names a reading for ever: number of the start, and number within it.
pub type Name = (u64, u64);

/// What the gateway has.
#[derive(Debug, Default)]
pub struct Found {
    /// By its ledger: what arrived, by name.
    pub names: BTreeSet<Name>,
    /// By its export: CO2 of each reading.
    pub rows: Vec<f64>,
}

/// The books.
#[derive(Debug, Default)]
pub struct Audit {
    boot: u64,
    /// CO2 of everything that was taken.
    taken: BTreeMap<Name, f64>,
    torn: BTreeSet<Name>,
    /// Torn, and its name was given again because nothing of it was found.
    torn_for_ever: u64,
    given_up: BTreeSet<Name>,
    /// What waits on flash, oldest first.
    waiting: VecDeque<Name>,
    status: QueueStatus,
    refused: bool,
    /// Readings of the batch whose fate is told next.
    trouble: Option<String>,
}

impl Audit {
    pub fn note(&mut self, note: &Note<'_>) {
        match note {
            Note::Started { boot, waiting } => {
                self.boot = *boot;
                self.waiting = waiting.iter().copied().collect();
                self.status = QueueStatus::default();
            }
            Note::Kept { record, kept } => {
                let name = (record.boot, record.seq);
                let co2 = record.values.iter().find(|(quantity, _)| quantity.name() == "co2");
                let before = self.taken.insert(name, co2.map_or(0.0, |(_, value)| *value));
                if before.is_some() {
                    self.torn_for_ever += 1;
                    if !self.torn.remove(&name) {
                        self.trouble = Some(format!("{name:?} names two readings"));
                    }
                }
                if *kept {
                    self.waiting.push_back(name);
                } else {
                    self.torn.insert(name);
                }
            }
            Note::Queue(status) => {
                for _ in self.status.dropped..status.dropped {
                    self.given_up.extend(self.waiting.pop_front());
                }
                self.status = *status;
            }
            Note::Uploaded { result, .. } => self.refused = matches!(result, Err(UploadError::Refused)),
            Note::Acknowledged(count) => {
                for _ in 0..*count {
                    let name = self.waiting.pop_front();
                    if self.refused {
                        self.given_up.extend(name);
                    }
                }
            }
            _ => {}
        }
    }

    /// Readings that were taken.
    pub fn sampled(&self) -> u64 {
        self.taken.len() as u64 + self.torn_for_ever
    }

    /// Readings the device counted as given up.
    pub fn counted(&self) -> u64 {
        self.given_up.len() as u64
    }

    /// Of these, those that had reached the gateway without the device hearing of it.
    pub fn counted_and_stored(&self, found: &Found) -> u64 {
        self.given_up.intersection(&found.names).count() as u64
    }

    /// Readings during whose writing the power failed. The device counts them as refused, and is off then.
    pub fn torn(&self) -> u64 {
        self.torn.len() as u64 + self.torn_for_ever
    }

    /// Whether everything that was taken is in the gateway once, or counted.
    ///
    /// # Errors
    /// What is wrong.
    pub fn verdict(&self, found: &Found) -> Result<(), String> {
        if let Some(trouble) = &self.trouble {
            return Err(trouble.clone());
        }
        if let Some(name) = found.names.iter().find(|name| !self.taken.contains_key(name)) {
            return Err(format!("{name:?} is in the gateway and was never taken"));
        }
        let excused = |name: &&Name| self.given_up.contains(name) || self.torn.contains(name);
        let missing: Vec<_> = self.taken.keys().filter(|name| !found.names.contains(name)).collect();
        let lost: Vec<_> = missing.iter().filter(|name| !excused(name)).collect();
        if !lost.is_empty() {
            return Err(format!(
                "{} readings are neither stored nor counted: {:?}",
                lost.len(),
                &lost[..lost.len().min(5)]
            ));
        }
        let mut expected: Vec<f64> = found.names.iter().map(|name| self.taken[name]).collect();
        let mut rows = found.rows.clone();
        expected.sort_by(f64::total_cmp);
        rows.sort_by(f64::total_cmp);
        if rows != expected {
            return Err(format!(
                "{} rows stand for {} readings, or their values differ",
                rows.len(),
                expected.len()
            ));
        }
        Ok(())
    }
}

#[test]
fn the_books_find_what_is_lost_twice_or_wrong() {
    let taken = BTreeMap::from([((1, 1), 500.0), ((1, 2), 600.0), ((1, 3), 700.0)]);
    let audit = Audit { taken, given_up: BTreeSet::from([(1, 3)]), ..Audit::default() };
    let found =
        |names: &[Name], rows: &[f64]| Found { names: names.iter().copied().collect(), rows: rows.to_vec() };
    for (found, fine) in [
        (found(&[(1, 1), (1, 2)], &[600.0, 500.0]), true),
        (found(&[(1, 1), (1, 2), (1, 3)], &[600.0, 700.0, 500.0]), true),
        (found(&[(1, 1)], &[500.0]), false),
        (found(&[(1, 1), (1, 2)], &[500.0, 600.0, 600.0]), false),
        (found(&[(1, 1), (1, 2)], &[500.0, 601.0]), false),
        (found(&[(1, 1), (1, 2), (2, 1)], &[500.0, 600.0, 1.0]), false),
    ] {
        assert_eq!(audit.verdict(&found).is_ok(), fine, "{found:?}");
    }
}
