//! Baselines of gas sensors, kept beside one another as one small value on flash.

use crate::flash::{Flash, Partition};
use casement_core::keep::Keep;
use casement_sensors::{BASELINES_MAX, SAVED_BYTES, SavedBaseline};
use log::{error, warn};

/// Those that are kept, each of another sensor.
pub struct Baselines {
    keep: Option<Keep<Partition>>,
    all: heapless::Vec<SavedBaseline, BASELINES_MAX>,
}

impl Baselines {
    /// Reads what is kept. What cannot be read is learned anew.
    pub fn load(flash: &'static Flash) -> Self {
        let mut keep = Partition::find(flash, "baselines").and_then(|region| Keep::open(region).ok());
        if keep.is_none() {
            error!("the partition for baselines cannot be read: gas sensors learn anew after each start");
        }
        let mut bytes = [0; BASELINES_MAX * SAVED_BYTES];
        let len = keep.as_mut().and_then(|keep| keep.load(&mut bytes).ok()?).unwrap_or(0);
        let kept = bytes.get(..len).unwrap_or_default().chunks(SAVED_BYTES);
        // There is room for all that were written.
        Self { keep, all: kept.filter_map(SavedBaseline::from_bytes).take(BASELINES_MAX).collect() }
    }

    /// All of them, the latest last.
    pub fn all(&self) -> &[SavedBaseline] {
        &self.all
    }

    /// Keeps one in place of the same sensor's, or of the one that was kept longest ago.
    pub fn save(&mut self, baseline: SavedBaseline) {
        self.all.retain(|it| it.serial != baseline.serial);
        if self.all.is_full() {
            self.all.remove(0);
        }
        let _fits = self.all.push(baseline);
        let mut bytes: heapless::Vec<u8, { BASELINES_MAX * SAVED_BYTES }> = heapless::Vec::new();
        for it in &self.all {
            let _fits = bytes.extend_from_slice(&it.to_bytes());
        }
        if !matches!(self.keep.as_mut().map(|keep| keep.store(&bytes)), Some(Ok(()))) {
            warn!("a baseline could not be kept");
        }
    }
}
