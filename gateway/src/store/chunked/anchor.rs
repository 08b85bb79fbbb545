//! Time for devices without a clock: when one of their starts began, as it was first heard.
//!
//! Such a device says how long it has been running (`uptime_ms`) and how old each reading is. The moment of receipt minus
//! the age would be another one at every attempt to send, and a reading without a number that is sent twice would count
//! twice. So the first message of a start fixes when that start began, durably and before anything of it is acknowledged;
//! from then on a reading's place in the start gives its time, the same at every attempt.
//!
//! Crystals drift, and our own clock may jump. Once a message tells of another beginning by more than [`DRIFT_MS`], readings
//! taken *after* that message are timed by it; all before keep the time they have.

use super::blob::{Damage, Reader, Writer};
use super::names::ANCHORS;
use super::shelf::NamesKey;
use super::{Inner, StoreError, damaged};
use crate::reading::{NewBatch, Timed};
use std::borrow::Cow;

const KIND: u8 = b'A';

/// By how much a device's time may differ from ours before its readings are timed anew, in milliseconds. A crystal of
/// 40 ppm takes four days for it; a slow network is seldom that slow.
const DRIFT_MS: u64 = 15_000;

/// Most corrections that are kept for a start: at 40 ppm, a year of them.
const CORRECTIONS_MAX: usize = 100;

/// How often another process may be first.
const ATTEMPTS: usize = 10;

/// When a start began: as first heard, and corrected since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Anchors {
    anchors: Vec<Anchor>,
    /// How long after the start the latest message was sent. Not kept: a message that was overtaken by another does not
    /// outlive this process either.
    heard_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchor {
    /// It holds for readings taken so long after the start, and later.
    from_ms: u64,
    /// When the start began, in milliseconds since 1970.
    began_ms: i64,
}

impl Anchors {
    /// Takes note of a message that was sent so long after the start and that makes it begin then. Says whether that is new.
    pub(crate) fn hear(&mut self, sent_ms: u64, began_ms: i64) -> bool {
        let overtaken = sent_ms < self.heard_ms;
        self.heard_ms = self.heard_ms.max(sent_ms);
        let from_ms = match self.anchors.last() {
            None => 0,
            Some(last) if overtaken || sent_ms < last.from_ms => return false,
            Some(last) if last.began_ms.abs_diff(began_ms) <= DRIFT_MS => return false,
            Some(_) => sent_ms.saturating_add(1),
        };
        if self.anchors.len() == CORRECTIONS_MAX {
            // The first stays: it times whatever is older than the others.
            self.anchors.remove(1);
        }
        self.anchors.push(Anchor { from_ms, began_ms });
        true
    }

    /// The time of a reading taken so long after the start; `None` before anything was heard.
    pub(crate) fn time(&self, at_ms: u64) -> Option<i64> {
        let after = self.anchors.partition_point(|anchor| anchor.from_ms <= at_ms);
        let anchor = self.anchors.get(after.saturating_sub(1))?;
        Some(anchor.began_ms.saturating_add_unsigned(at_ms))
    }

    /// As a blob.
    pub(crate) fn to_blob(&self) -> Vec<u8> {
        let mut out = Writer::new(KIND);
        out.number(self.anchors.len() as u64);
        for anchor in &self.anchors {
            out.number(anchor.from_ms);
            out.signed(anchor.began_ms);
        }
        out.finish()
    }

    /// From a blob.
    pub(crate) fn from_blob(blob: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::open(KIND, blob)?;
        let count = reader.count(CORRECTIONS_MAX)?;
        let anchors: Vec<Anchor> = (0..count)
            .map(|_| Ok(Anchor { from_ms: reader.number()?, began_ms: reader.signed()? }))
            .collect::<Result<_, Damage>>()?;
        if !anchors.is_sorted_by_key(|anchor| anchor.from_ms) {
            return Err(Damage("its corrections are out of order"));
        }
        Ok(Self { anchors, heard_ms: 0 })
    }
}

impl Inner {
    /// Times the readings of devices without a clock. The caller holds `writing`, and the devices have been met.
    pub(super) async fn anchored<'a>(
        &self,
        batches: &'a [NewBatch],
    ) -> Result<Cow<'a, [NewBatch]>, StoreError> {
        let by_start = |batch: &NewBatch| {
            batch.readings.iter().any(|reading| matches!(reading.timed, Timed::SinceStart { .. }))
        };
        if !batches.iter().any(by_start) {
            return Ok(Cow::Borrowed(batches));
        }
        let mut timed = batches.to_vec();
        for batch in timed.iter_mut().filter(|batch| by_start(batch)) {
            let device = self.memory().number(&batch.device).ok_or(StoreError::Contended)?;
            for reading in &mut batch.readings {
                let Timed::SinceStart { boot, at_ms, sent_ms } = reading.timed else { continue };
                let began_ms = reading.t_ms.saturating_sub_unsigned(at_ms);
                let anchors = self.anchors((device, boot, ANCHORS), sent_ms, began_ms).await?;
                reading.t_ms = anchors.time(at_ms).unwrap_or(reading.t_ms);
            }
        }
        Ok(Cow::Owned(timed))
    }

    /// What is known of a start, this message included; on disk when this returns.
    async fn anchors(&self, key: NamesKey, sent_ms: u64, began_ms: i64) -> Result<Anchors, StoreError> {
        let known = self.memory().anchors(&key);
        let heard_ms = known.as_ref().map_or(0, |known| known.heard_ms);
        if let Some(mut known) = known
            && !known.hear(sent_ms, began_ms)
        {
            if known.heard_ms > heard_ms {
                self.memory().take_anchors(key, known.clone());
            }
            return Ok(known);
        }
        for _ in 0..ATTEMPTS {
            let blob = self.shelf.names(&[key]).await?.pop().map(|(_, blob)| blob);
            let kept = blob.as_deref().map(Anchors::from_blob).transpose();
            let kept = kept.map_err(|damage| damaged("when a start began", damage))?.unwrap_or_default();
            let mut anchors = Anchors { heard_ms, ..kept };
            let changed = anchors.hear(sent_ms, began_ms);
            if !changed || self.shelf.anchor(key, blob.as_deref(), &anchors.to_blob()).await? {
                self.memory().take_anchors(key, anchors.clone());
                return Ok(anchors);
            }
        }
        Err(StoreError::Contended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_reading_has_one_time_at_every_attempt() {
        let mut anchors = Anchors::default();
        assert_eq!(anchors.time(5), None);
        assert!(anchors.hear(60_000, 1_000_000), "the first message of a start");
        let first = anchors.time(58_800);
        // The second attempt comes later, and took another time on its way.
        assert!(!anchors.hear(65_000, 1_003_000));
        assert_eq!(anchors.time(58_800), first);
        assert_eq!(first, Some(1_058_800));
    }

    #[test]
    fn what_was_timed_stays_when_a_clock_jumps() {
        let mut anchors = Anchors::default();
        anchors.hear(60_000, 1_000_000);
        let before = anchors.time(60_000);
        // Our clock was an hour behind until now.
        assert!(anchors.hear(120_000, 4_600_000));
        assert_eq!(anchors.time(60_000), before, "perhaps it was acknowledged");
        assert_eq!(anchors.time(120_000), Some(1_120_000), "it may have been sent before the jump, too");
        assert_eq!(anchors.time(120_001), Some(4_720_001));
        // A message that was on its way for long says nothing about what came after it.
        assert!(!anchors.hear(100_000, 1_000_000));
    }

    proptest! {
        #[test]
        fn a_time_once_told_is_told_for_ever(
            messages in proptest::collection::vec((0u64..10_000_000, -100_000i64..100_000), 1..90),
            at in 0u64..10_000_000,
        ) {
            let mut anchors = Anchors::default();
            let mut told = None;
            for (sent_ms, began_ms) in messages {
                anchors.hear(sent_ms, began_ms);
                // A reading is sent after it was taken.
                if sent_ms >= at {
                    let now = anchors.time(at);
                    prop_assert!(told.is_none() || told == now);
                    told = now;
                }
            }
            let back = Anchors::from_blob(&anchors.to_blob()).unwrap();
            prop_assert_eq!(back.anchors, anchors.anchors);
        }

        #[test]
        fn any_bytes_are_anchors_or_damage(bytes: Vec<u8>) {
            let _outcome = Anchors::from_blob(&bytes);
        }
    }
}
