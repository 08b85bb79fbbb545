//! Many batches, one row in the log, one fsync.

use super::record::{Packed, Record};
use super::shelf::{Days, Marks, TIMES, Want};
use super::{Inner, StoreError, block, damaged, day, rules, state_number};
use crate::clock;
use crate::reading::{Appended, NewBatch, StoredReading, Timed};
use casement_proto::{DeviceId, Quantity};
use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::time::Duration;

/// An unnamed reading that was timed on receipt looks at most this far ahead for a free millisecond.
const SHIFT_MS_MAX: i64 = 20_000;

/// How often another process may be first before the store counts as busy.
const ATTEMPTS: usize = 10;

/// How long another process that was first is reckoned with, and how much time each commit leaves it.
const RIVALRY: Duration = Duration::from_secs(1);
const WAY: Duration = Duration::from_millis(5);

/// How long an append waits for memory.
const ROOM_TIMEOUT: Duration = Duration::from_secs(10);

/// Values that are there: device, metric and time → the value's bits.
type Taken = HashMap<(i64, i64, i64), u64>;

/// What an append would do.
#[derive(Default)]
struct Staged {
    marks: Marks,
    outcome: Vec<Appended>,
    records: Vec<Record>,
}

impl Inner {
    /// See [`crate::store::Store::append`].
    pub(super) async fn append(&self, batches: &[NewBatch]) -> Result<Vec<Appended>, StoreError> {
        self.wait_for_room().await?;
        self.give_way().await;
        let _writing = self.writing.lock().await;
        for _ in 0..ATTEMPTS {
            // Each time: what another process did may have made this one forget.
            self.meet_senders(batches).await?;
            let anchored = self.anchored(batches).await?;
            let batches = &*anchored;
            let names = self.named(batches);
            self.know_blocks(names.into_iter()).await?;
            let taken = self.taken(batches).await?;
            let staged = self.stage(batches, taken)?;
            let Some(last) = staged.records.last().map(|record| record.id) else {
                return Ok(staged.outcome);
            };
            let packed: Packed = staged.records.iter().cloned().collect();
            if self.shelf.commit(staged.marks, last, packed.to_row()).await? {
                let mut memory = self.memory();
                let longest = memory.apply(&staged.records, clock::now_ms());
                let many = longest > rules::HEAD_SOFT || memory.unsealed() > rules::UNSEALED_SOFT;
                drop(memory);
                if many {
                    self.wake.notify_one();
                }
                return Ok(staged.outcome);
            }
            // Another process was first.
            self.follow().await?;
        }
        Err(StoreError::Contended)
    }

    /// Leaves others a moment, when there are others: whoever has just committed is nearer to the next commit than whoever
    /// has to read what that was, and would always be first.
    async fn give_way(&self) {
        let rivalled = *self.rivalled.lock().unwrap_or_else(PoisonError::into_inner);
        if rivalled.is_some_and(|at| clock::steady().duration_since(at) < RIVALRY) {
            tokio::time::sleep(WAY).await;
        }
    }

    /// Memory is bounded: whoever brings more than can be sealed waits.
    async fn wait_for_room(&self) -> Result<(), StoreError> {
        let wait = async {
            loop {
                let sealed = self.room.notified();
                if self.memory().unsealed() < rules::UNSEALED_HARD {
                    return;
                }
                self.wake.notify_one();
                sealed.await;
            }
        };
        tokio::time::timeout(ROOM_TIMEOUT, wait).await.map_err(|_| StoreError::Contended)
    }

    /// Finds or adds the devices and metrics of these batches.
    async fn meet_senders(&self, batches: &[NewBatch]) -> Result<(), StoreError> {
        let (devices, metrics) = {
            let memory = self.memory();
            let mut devices: Vec<DeviceId> = Vec::new();
            let mut metrics: Vec<Quantity> = Vec::new();
            for batch in batches.iter().filter(|batch| !batch.readings.is_empty()) {
                if memory.number(&batch.device).is_none() {
                    devices.push(batch.device);
                }
                for (quantity, _) in batch.readings.iter().flat_map(|reading| &reading.values) {
                    if memory.metric(quantity).is_none()
                        && !metrics.iter().any(|m| m.name() == quantity.name())
                    {
                        metrics.push(*quantity);
                    }
                }
            }
            devices.sort_unstable();
            devices.dedup();
            (devices, metrics)
        };
        if !devices.is_empty() {
            let rows = self.shelf.register(&devices, clock::now_ms()).await?;
            self.memory().meet(&rows);
        }
        for quantity in metrics {
            let number = self.shelf.metric(quantity.name()).await?;
            self.memory().meet_metric(number, quantity);
        }
        Ok(())
    }

    fn named(&self, batches: &[NewBatch]) -> Vec<(i64, (u64, u64))> {
        let memory = self.memory();
        let mut named = Vec::new();
        for batch in batches {
            let Some(device) = memory.number(&batch.device) else { continue };
            named.extend(batch.readings.iter().filter_map(|reading| Some((device, reading.name?))));
        }
        named
    }

    /// Which values are there at the times of the unnamed readings. Whoever reports later than ever before is not looked
    /// up at all.
    async fn taken(&self, batches: &[NewBatch]) -> Result<Taken, StoreError> {
        let mut wanted: HashMap<i64, Vec<(i64, i64)>> = HashMap::new();
        {
            let memory = self.memory();
            for batch in batches {
                let unnamed = batch.readings.iter().filter(|reading| reading.name.is_none());
                let Some(device) = memory.number(&batch.device) else { continue };
                let newest = memory.head(device).and_then(super::memory::Head::newest_ms);
                let stretches = unnamed
                    .map(|reading| {
                        (
                            reading.t_ms,
                            reading.t_ms + if reading.timed == Timed::Receipt { SHIFT_MS_MAX } else { 0 },
                        )
                    })
                    .filter(|(from, _)| newest.is_some_and(|newest| *from <= newest));
                wanted.entry(device).or_default().extend(stretches);
            }
        }
        let mut taken = Taken::new();
        for (device, mut stretches) in wanted {
            stretches.sort_unstable();
            stretches.dedup();
            // Stretches that overlap, as one.
            let mut joined: Vec<(i64, i64)> = Vec::new();
            for (from, to) in stretches {
                match joined.last_mut() {
                    Some(last) if from <= last.1 => last.1 = last.1.max(to),
                    _ => joined.push((from, to)),
                }
            }
            if !joined.is_empty() {
                self.look_up(device, &joined, &mut taken).await?;
            }
        }
        Ok(taken)
    }

    async fn look_up(
        &self,
        device: i64,
        stretches: &[(i64, i64)],
        taken: &mut Taken,
    ) -> Result<(), StoreError> {
        let (head, sealed_newest_ms) = {
            let memory = self.memory();
            let Some(head) = memory.head(device) else { return Ok(()) };
            (head.packed.clone(), head.sealed_newest_ms)
        };
        let among = |t_ms: i64| {
            let at = stretches.partition_point(|(from, _)| *from <= t_ms);
            at.checked_sub(1).and_then(|at| stretches.get(at)).is_some_and(|(_, to)| t_ms <= *to)
        };
        for record in head.unpack().into_iter().filter(|record| among(record.t_ms)) {
            for (metric, value) in record.values {
                taken.entry((device, metric, record.t_ms)).or_insert(value.to_bits());
            }
        }
        let mut days: Vec<i64> = stretches
            .iter()
            .filter(|(from, _)| sealed_newest_ms.is_some_and(|newest| *from <= newest))
            .flat_map(|(from, to)| day(*from)..=day(*to))
            .collect();
        days.dedup();
        if days.is_empty() {
            return Ok(());
        }
        let series = self.shelf.series(Some(device)).await?;
        for day in days {
            let one = |row: &super::shelf::SeriesRow| Days { series: row.series, from: day, to: day };
            let want = Want {
                device,
                columns: series.iter().map(one).collect(),
                pieces: Some((day, day)),
                ..Want::default()
            };
            let shelved = self.shelf.read(&want).await?;
            for piece in &shelved.pieces {
                let piece =
                    block::Block::from_piece(&piece.data).map_err(|damage| damaged("a piece", damage))?;
                for (metric, column) in &piece.columns {
                    take(device, *metric, &piece.times, column, &among, taken);
                }
            }
            let times = series.iter().find(|row| row.metric == TIMES).map(|row| row.series);
            let Some(times) = shelved.columns.iter().find(|kept| Some(kept.series) == times) else {
                continue;
            };
            let (times, _) =
                block::from_times(&times.data).map_err(|damage| damaged("the times of a day", damage))?;
            // Most late readings are not there: times tell, and are much less than all columns.
            if !times.iter().any(|t_ms| among(*t_ms)) {
                continue;
            }
            for row in series.iter().filter(|row| row.metric != TIMES) {
                let Some(kept) = shelved.columns.iter().find(|kept| kept.series == row.series) else {
                    continue;
                };
                let column = block::from_values(&kept.data).map_err(|damage| damaged("a day", damage))?;
                take(device, row.metric, &times, &block::spread(column), &among, taken);
            }
        }
        Ok(())
    }

    /// Decides what each reading is. Nothing is changed yet.
    fn stage(&self, batches: &[NewBatch], mut taken: Taken) -> Result<Staged, StoreError> {
        let memory = self.memory();
        let mut staged = Staged { marks: memory.marks, ..Staged::default() };
        let mut next = memory.marks.newest;
        let mut seen: HashSet<(i64, u64, u64)> = HashSet::new();
        // Named values matter to unnamed ones of the same append only.
        let unnamed = batches.iter().flat_map(|batch| &batch.readings).any(|reading| reading.name.is_none());
        for batch in batches {
            let mut appended = Appended::default();
            if batch.readings.is_empty() {
                staged.outcome.push(appended);
                continue;
            }
            // Both were met above; readings are never left out in silence.
            let unmet = || StoreError::Contended;
            let device = memory.number(&batch.device).ok_or_else(unmet)?;
            for reading in &batch.readings {
                let there = reading.values.iter().filter(|(_, value)| !value.is_nan());
                let mut values: Vec<(i64, Quantity, f64)> = there
                    .map(|(quantity, value)| {
                        Ok((memory.metric(quantity).ok_or_else(unmet)?, *quantity, *value))
                    })
                    .collect::<Result<_, StoreError>>()?;
                // Nobody wants to know any more; what was forgotten once would be counted twice.
                let had = values.len();
                values.retain(|(metric, ..)| day(reading.t_ms) >= memory.kept_from(*metric));
                if values.is_empty() && had > 0 {
                    appended.duplicate += 1;
                    continue;
                }
                let mut t_ms = reading.t_ms;
                match reading.name {
                    Some((boot, seq)) => {
                        if memory.has_seen(device, (boot, seq)) || !seen.insert((device, boot, seq)) {
                            appended.duplicate += 1;
                            continue;
                        }
                    }
                    None => {
                        if reading.timed == Timed::Receipt {
                            let free =
                                |t: i64| values.iter().all(|(m, ..)| !taken.contains_key(&(device, *m, t)));
                            while !free(t_ms) && t_ms - reading.t_ms < SHIFT_MS_MAX {
                                t_ms += 1;
                            }
                        }
                        let had = values.len();
                        values.retain(|(metric, _, value)| match taken.get(&(device, *metric, t_ms)) {
                            Some(bits) => {
                                appended.conflicting += usize::from(*bits != value.to_bits());
                                false
                            }
                            None => true,
                        });
                        if values.is_empty() && had > 0 {
                            appended.duplicate += 1;
                            continue;
                        }
                    }
                }
                if unnamed {
                    for (metric, _, value) in &values {
                        taken.entry((device, *metric, t_ms)).or_insert(value.to_bits());
                    }
                }
                next += 1;
                staged.records.push(Record {
                    id: next,
                    device,
                    t_ms,
                    state: state_number(reading.state),
                    name: reading.name,
                    values: values.iter().map(|(metric, _, value)| (*metric, *value)).collect(),
                });
                appended.stored.push(StoredReading {
                    id: next,
                    device: batch.device,
                    t_ms,
                    name: reading.name,
                    state: reading.state,
                    values: values.into_iter().map(|(_, quantity, value)| (quantity, value)).collect(),
                });
            }
            staged.outcome.push(appended);
        }
        Ok(staged)
    }
}

fn take(
    device: i64,
    metric: i64,
    times: &[i64],
    column: &[f64],
    among: &impl Fn(i64) -> bool,
    taken: &mut Taken,
) {
    for (t_ms, value) in times.iter().zip(column).filter(|(t_ms, value)| !value.is_nan() && among(**t_ms)) {
        taken.entry((device, metric, *t_ms)).or_insert(value.to_bits());
    }
}
