//! What is committed and not sealed yet, and what is known of names. A cache: everything in it can be read from the log
//! and the ledger again. Pure.

use super::anchor::Anchors;
use super::names::{Names, place};
use super::record::{Packed, Record};
use super::rules::Unsealed;
use super::shelf::{DeviceRow, Marks, NamesKey};
use casement_proto::{DeviceId, Quantity};
use std::collections::{BTreeSet, HashMap};

/// Blocks of the ledger that are kept when they are on disk.
const LEDGER_BLOCKS_MAX: usize = 65_536;

/// Starts of devices without a clock that are remembered.
const ANCHORS_MAX: usize = 16_384;

/// Devices of which something is remembered though nothing of them waits.
const IDLE_MAX: usize = 65_536;

/// One device's readings in memory.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) id: DeviceId,
    /// Readings up to this number are sealed.
    pub(crate) sealed: i64,
    /// The time of the newest sealed one.
    pub(crate) sealed_newest_ms: Option<i64>,
    pub(crate) packed: Packed,
    /// The number of the first reading here.
    first: i64,
    /// The number of the last.
    last: i64,
    /// When the first came.
    since_ms: i64,
    /// The newest by time, and the later of two.
    pub(crate) newest: Option<Record>,
    /// What the readings here measured.
    pub(crate) metrics: BTreeSet<i64>,
}

impl Head {
    fn new(row: &DeviceRow) -> Self {
        Self {
            id: row.id,
            sealed: row.sealed,
            sealed_newest_ms: row.newest_ms,
            packed: Packed::default(),
            first: 0,
            last: 0,
            since_ms: 0,
            newest: None,
            metrics: BTreeSet::new(),
        }
    }

    fn push(&mut self, record: &Record, now_ms: i64) {
        if self.packed.count() == 0 {
            self.first = record.id;
            self.since_ms = now_ms;
        }
        self.last = record.id;
        self.packed.push(record);
        self.metrics.extend(record.values.iter().map(|(metric, _)| *metric));
        if self.newest.as_ref().is_none_or(|newest| newest.t_ms <= record.t_ms) {
            self.newest = Some(record.clone());
        }
    }

    /// The time of the newest reading, sealed or not.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        self.sealed_newest_ms.max(self.newest.as_ref().map(|newest| newest.t_ms))
    }
}

struct Block {
    names: Names,
    /// It holds numbers that are not in the ledger on disk.
    dirty: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Memory {
    /// How far the store is, as far as this process knows.
    pub(crate) marks: Marks,
    heads: HashMap<i64, Head>,
    numbers: HashMap<DeviceId, i64>,
    metrics: HashMap<String, i64>,
    quantities: HashMap<i64, Quantity>,
    ledger: HashMap<NamesKey, Block>,
    anchors: HashMap<NamesKey, Anchors>,
    unsealed: usize,
    kept_from: HashMap<i64, i64>,
}

/// What a device leaves to be sealed.
#[derive(Clone, Debug)]
pub(crate) struct ToSeal {
    pub(crate) device: i64,
    pub(crate) packed: Packed,
    /// The number of the last of them.
    pub(crate) last: i64,
    pub(crate) sealed_newest_ms: Option<i64>,
    pub(crate) newest: Option<Record>,
}

impl Memory {
    /// Forgets all readings, not who is who.
    pub(crate) fn clear(&mut self, marks: Marks) {
        self.heads.clear();
        self.ledger.clear();
        self.unsealed = 0;
        self.marks = marks;
    }

    /// Readings that are not sealed.
    pub(crate) fn unsealed(&self) -> usize {
        self.unsealed
    }

    pub(crate) fn head(&self, device: i64) -> Option<&Head> {
        self.heads.get(&device)
    }

    pub(crate) fn heads(&self) -> impl Iterator<Item = (i64, &Head)> {
        self.heads.iter().map(|(device, head)| (*device, head))
    }

    /// Takes note of devices.
    pub(crate) fn meet(&mut self, rows: &[DeviceRow]) {
        for row in rows {
            self.numbers.insert(row.id, row.device);
            self.heads.entry(row.device).or_insert_with(|| Head::new(row));
        }
    }

    /// The number of a device that was met.
    pub(crate) fn number(&self, id: &DeviceId) -> Option<i64> {
        self.numbers.get(id).copied().filter(|device| self.heads.contains_key(device))
    }

    pub(crate) fn meet_metric(&mut self, number: i64, quantity: Quantity) {
        self.metrics.insert(quantity.name().to_owned(), number);
        self.quantities.insert(number, quantity);
    }

    /// The number of a metric that was met.
    pub(crate) fn metric(&self, quantity: &Quantity) -> Option<i64> {
        self.metrics.get(quantity.name()).copied()
    }

    /// The metric with this number.
    pub(crate) fn quantity(&self, metric: i64) -> Option<Quantity> {
        self.quantities.get(&metric).copied()
    }

    /// Takes note of the first day of which raw values of a metric are kept.
    pub(crate) fn keep_from(&mut self, metric: i64, day: i64) {
        let known = self.kept_from.entry(metric).or_insert(day);
        *known = (*known).max(day);
    }

    /// The first day of which raw values of a metric are kept; older ones are summaries alone.
    pub(crate) fn kept_from(&self, metric: i64) -> i64 {
        self.kept_from.get(&metric).copied().unwrap_or(i64::MIN)
    }

    /// Every metric that was met.
    pub(crate) fn met_metrics(&self) -> impl Iterator<Item = (i64, &Quantity)> {
        self.quantities.iter().map(|(metric, quantity)| (*metric, quantity))
    }

    pub(crate) fn knows_block(&self, key: &NamesKey) -> bool {
        self.ledger.contains_key(key)
    }

    /// Takes in a block as it is on disk; nothing when there is none.
    pub(crate) fn take_block(&mut self, key: NamesKey, names: Names) {
        self.ledger.entry(key).or_insert(Block { names, dirty: false });
    }

    /// Has this name been seen? Its block must be known.
    pub(crate) fn has_seen(&self, device: i64, (boot, seq): (u64, u64)) -> bool {
        let (block, n) = place(seq);
        self.ledger.get(&(device, boot, block)).is_some_and(|block| block.names.contains(n))
    }

    /// What is known of a start of a device without a clock.
    pub(crate) fn anchors(&self, key: &NamesKey) -> Option<Anchors> {
        self.anchors.get(key).cloned()
    }

    /// Takes note of what is on disk about a start.
    pub(crate) fn take_anchors(&mut self, key: NamesKey, anchors: Anchors) {
        if self.anchors.len() >= ANCHORS_MAX {
            self.anchors.clear();
        }
        self.anchors.insert(key, anchors);
    }

    /// Forgets all of them.
    pub(crate) fn forget_anchors(&mut self) {
        self.anchors.clear();
    }

    /// Takes in readings that are committed, in order of arrival. Gives the most that wait of one of their devices.
    pub(crate) fn apply(&mut self, records: &[Record], now_ms: i64) -> usize {
        let mut longest = 0;
        for record in records {
            if record.id <= self.marks.newest {
                continue;
            }
            self.marks.newest = record.id;
            let Some(head) = self.heads.get_mut(&record.device).filter(|head| record.id > head.sealed) else {
                continue;
            };
            head.push(record, now_ms);
            longest = longest.max(head.packed.count());
            self.unsealed += 1;
            if let Some((boot, seq)) = record.name {
                let (block, n) = place(seq);
                let block = self
                    .ledger
                    .entry((record.device, boot, block))
                    .or_insert(Block { names: Names::default(), dirty: true });
                block.dirty |= block.names.insert(n);
            }
        }
        longest
    }

    /// Blocks of the ledger of a device as this process knows them.
    pub(crate) fn blocks(&self, device: i64) -> impl Iterator<Item = (NamesKey, &Names)> {
        self.ledger.iter().filter(move |((of, ..), _)| *of == device).map(|(key, block)| (*key, &block.names))
    }

    /// What waits, by device.
    pub(crate) fn waiting(&self) -> Vec<Unsealed> {
        let there = self.heads.iter().filter(|(_, head)| head.packed.count() > 0);
        there
            .map(|(device, head)| Unsealed {
                device: *device,
                readings: head.packed.count(),
                since_ms: head.since_ms,
            })
            .collect()
    }

    /// What these devices leave to be sealed.
    pub(crate) fn to_seal(&self, devices: &[i64]) -> Vec<ToSeal> {
        let heads = devices.iter().filter_map(|device| Some((*device, self.heads.get(device)?)));
        heads
            .filter(|(_, head)| head.packed.count() > 0)
            .map(|(device, head)| ToSeal {
                device,
                packed: head.packed.clone(),
                last: head.last,
                sealed_newest_ms: head.sealed_newest_ms,
                newest: head.newest.clone(),
            })
            .collect()
    }

    /// Blocks of the ledger that are not on disk as they are here.
    pub(crate) fn dirty(&self, devices: &[i64]) -> Vec<(NamesKey, Vec<u8>)> {
        let devices: std::collections::HashSet<i64> = devices.iter().copied().collect();
        let dirty =
            self.ledger.iter().filter(|((device, ..), block)| block.dirty && devices.contains(device));
        dirty.map(|(key, block)| (*key, block.names.to_blob())).collect()
    }

    /// Readings up to this number are on the shelf for all devices, once these are sealed as far as said.
    pub(crate) fn watermark(&self, sealing: &[ToSeal], keep: i64) -> i64 {
        let until: HashMap<i64, i64> = sealing.iter().map(|device| (device.device, device.last)).collect();
        let first_left =
            self.heads.iter().filter(|(_, head)| head.packed.count() > 0).map(|(device, head)| {
                match until.get(device) {
                    Some(last) if *last >= head.last => i64::MAX,
                    // Some came meanwhile; which is the first of them is not worth finding out.
                    Some(last) => last + 1,
                    None => head.first,
                }
            });
        first_left.min().unwrap_or(i64::MAX).saturating_sub(1).min(self.marks.newest - keep).max(0)
    }

    /// These are sealed, in a step that made the store's marks so.
    pub(crate) fn sealed(&mut self, sealing: &[ToSeal], seals: i64, now_ms: i64) {
        self.marks.seals = seals;
        for sealed in sealing {
            let Some(head) = self.heads.get_mut(&sealed.device) else { continue };
            let had = head.packed.count();
            let left: Vec<Record> = if head.last > sealed.last {
                head.packed.unpack().into_iter().filter(|record| record.id > sealed.last).collect()
            } else {
                Vec::new()
            };
            head.sealed = sealed.last;
            head.sealed_newest_ms =
                head.sealed_newest_ms.max(sealed.newest.as_ref().map(|newest| newest.t_ms));
            head.packed = Packed::default();
            head.newest = None;
            head.metrics.clear();
            left.iter().for_each(|record| head.push(record, now_ms));
            self.unsealed -= had - left.len();
        }
    }

    /// These blocks are on disk as they were.
    pub(crate) fn written(&mut self, keys: &[(NamesKey, Vec<u8>)]) {
        for (key, _) in keys {
            if let Some(block) = self.ledger.get_mut(key) {
                block.dirty = false;
            }
        }
        if self.ledger.len() > LEDGER_BLOCKS_MAX {
            self.ledger.retain(|_, block| block.dirty);
        }
        if self.heads.len() > IDLE_MAX {
            self.heads.retain(|_, head| head.packed.count() > 0);
            self.numbers.clear();
            self.numbers.extend(self.heads.iter().map(|(device, head)| (head.id, *device)));
        }
    }
}
