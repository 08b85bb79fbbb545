//! Reading back.

use super::blob::Damage;
use super::block::{Block, from_times, from_values, spread};
use super::fold::{Fold, RHYTHM_SAMPLE, threshold_ms};
use super::names::Names;
use super::record::{self, Record};
use super::shelf::{Days, Kept, Piece, Shelved, TIMES, Want};
use super::summary::Summary;
use super::{Inner, ROWS, StoreError, damaged, day, names, state};
use crate::reading::{ExportFilter, ExportRow, Start, StoredReading};
use crate::store::ExportCursor;
use crate::telemetry::distribution::Distribution;
use crate::telemetry::series::{self, Data, Points, Window};
use crate::telemetry::time::{DAY_MS, HOUR_MS};
use casement_proto::{DeviceId, Quantity};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

/// Days that are unpacked together: some megabytes at one reading a second.
const DAYS_AT_ONCE: usize = 16;

/// A value on its way out: when, how much, and its state's number.
type Value = (i64, f64, u8);

/// One series, and what memory held of its device when the question came.
struct Seen {
    device: i64,
    metric: i64,
    times: Option<i64>,
    series: Option<i64>,
    head: Vec<Record>,
    /// The first day of which raw values are kept.
    kept_from: i64,
}

/// A part of a window, in order of time.
enum Part<'a> {
    /// A whole day that begins then.
    Day(i64, &'a Summary),
    /// Some values.
    Values(&'a [Value]),
}

impl Seen {
    /// Values in memory that were not sealed, by day.
    fn unsealed(&self, sealed: i64) -> BTreeMap<i64, Vec<Value>> {
        let mut by_day: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
        for record in self.head.iter().filter(|record| record.id > sealed) {
            for (_, value) in record.values.iter().filter(|(metric, _)| *metric == self.metric) {
                by_day.entry(day(record.t_ms)).or_default().push((record.t_ms, *value, record.state));
            }
        }
        by_day
    }

    fn has_day(&self, days: &BTreeSet<i64>) -> BTreeSet<i64> {
        let own = self.head.iter().map(|record| day(record.t_ms));
        own.filter(|day| !days.contains(day)).collect()
    }

    fn columns(&self, from: i64, to: i64) -> Vec<Days> {
        [self.times, self.series].into_iter().flatten().map(|series| Days { series, from, to }).collect()
    }
}

/// What there is of some days of a series, by day.
struct Found<'a> {
    metric: i64,
    days: HashMap<i64, (&'a Kept, &'a Kept)>,
    pieces: BTreeMap<i64, Vec<&'a Piece>>,
    unsealed: BTreeMap<i64, Vec<Value>>,
}

impl<'a> Found<'a> {
    fn new(seen: &Seen, shelved: &'a Shelved) -> Self {
        let of = |series: Option<i64>| shelved.columns.iter().filter(move |kept| Some(kept.series) == series);
        let columns: HashMap<i64, &Kept> = of(seen.series).map(|kept| (kept.day, kept)).collect();
        let both = of(seen.times).filter_map(|times| Some((times.day, (times, *columns.get(&times.day)?))));
        let mut pieces: BTreeMap<i64, Vec<&Piece>> = BTreeMap::new();
        for piece in &shelved.pieces {
            pieces.entry(piece.day).or_default().push(piece);
        }
        Self { metric: seen.metric, days: both.collect(), pieces, unsealed: seen.unsealed(shelved.sealed) }
    }

    /// Puts the values of a day, merged and in order, in place of what is in `into`; says why when a part cannot be read.
    fn fill(&self, day: i64, into: &mut Vec<Value>) -> Result<(), &'static str> {
        into.clear();
        let mut bad = Ok(());
        if let Some((times, column)) = self.days.get(&day)
            && let Err(damage) = whole_day(times, column, into)
        {
            bad = Err(damage.0);
        }
        for piece in self.pieces.get(&day).into_iter().flatten() {
            match Block::from_piece(&piece.data) {
                Ok(block) => into.extend(values_in(&block, self.metric)),
                Err(damage) => bad = Err(damage.0),
            }
        }
        into.extend(self.unsealed.get(&day).into_iter().flatten());
        if !into.is_sorted_by_key(|(t_ms, ..)| *t_ms) {
            // Stable: values of one instant stay in the order in which they came.
            into.sort_by_key(|(t_ms, ..)| *t_ms);
        }
        bad
    }
}

fn whole_day(times: &Kept, column: &Kept, into: &mut Vec<Value>) -> Result<(), Damage> {
    let (times, states) = from_times(&times.data)?;
    let column = spread(from_values(&column.data)?);
    if column.len() != times.len() {
        return Err(Damage("its columns differ in length"));
    }
    let values = times.into_iter().zip(column).zip(states).map(|((t_ms, value), state)| (t_ms, value, state));
    into.extend(values.filter(|(_, value, _)| !value.is_nan()));
    Ok(())
}

fn values_in(block: &Block, metric: i64) -> impl Iterator<Item = Value> {
    let column = block.column(metric).unwrap_or_default();
    let values = block.times.iter().zip(column).zip(&block.states);
    values.map(|((t_ms, value), state)| (*t_ms, *value, *state)).filter(|(_, value, _)| !value.is_nan())
}

impl Inner {
    /// See [`crate::store::Store::after`].
    pub(super) async fn after(&self, id: i64, limit: u32) -> Result<Vec<StoredReading>, StoreError> {
        self.catch_up().await?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        let mut from = id;
        while found.len() < limit {
            let rows = self.shelf.log(from, ROWS).await?;
            let Some(last) = rows.last().map(|row| row.last) else { break };
            for row in rows {
                // What is damaged was told when the log was read first.
                let Ok(mut records) = record::from_row(&row.data) else { continue };
                records.retain(|record| record.id > id);
                self.meet_all(&records).await?;
                found.extend(self.told(records));
                if found.len() >= limit {
                    break;
                }
            }
            from = last;
        }
        found.truncate(limit);
        Ok(found)
    }

    /// See [`crate::store::Store::latest`].
    pub(super) async fn latest(&self) -> Result<Vec<StoredReading>, StoreError> {
        self.catch_up().await?;
        let mut newest: HashMap<i64, Record> = {
            let memory = self.memory();
            memory.heads().filter_map(|(device, head)| Some((device, head.newest.clone()?))).collect()
        };
        let mut devices = Vec::new();
        for (row, blob) in self.shelf.latest().await? {
            let sealed = record::from_row(&blob).ok().and_then(|records| records.into_iter().next());
            let Some(sealed) = sealed else {
                tracing::error!(device.id = %row.id, "its latest reading cannot be read and is left out");
                continue;
            };
            devices.push(row);
            let later =
                newest.get(&sealed.device).is_none_or(|held| (held.t_ms, held.id) < (sealed.t_ms, sealed.id));
            if later {
                newest.insert(sealed.device, sealed);
            }
        }
        self.memory().meet(&devices);
        let records: Vec<Record> = newest.into_values().collect();
        self.meet_all(&records).await?;
        Ok(self.told(records))
    }

    /// A series as it is known now; `None` when nobody has ever heard of it.
    async fn see(&self, device: &DeviceId, quantity: &Quantity) -> Result<Option<Seen>, StoreError> {
        self.catch_up().await?;
        let Some(metric) = self.metric(quantity).await? else { return Ok(None) };
        let Some(device) = self.number(device).await? else { return Ok(None) };
        self.see_numbered(device, metric).await.map(Some)
    }

    async fn see_numbered(&self, device: i64, metric: i64) -> Result<Seen, StoreError> {
        // Memory first: what is sealed after this is found on the shelf, and not counted twice.
        let head = self.memory().head(device).map(|head| head.packed.clone());
        let rows = self.shelf.series(Some(device)).await?;
        let of = |metric: i64| rows.iter().find(|row| row.metric == metric).map(|row| row.series);
        Ok(Seen {
            device,
            metric,
            times: of(TIMES),
            series: of(metric),
            head: head.map(|packed| packed.unpack()).unwrap_or_default(),
            kept_from: self.memory().kept_from(metric),
        })
    }

    /// The number of a device; `None` when nobody has ever heard of it.
    async fn number(&self, device: &DeviceId) -> Result<Option<i64>, StoreError> {
        let known = self.memory().number(device);
        match known {
            Some(_) => Ok(known),
            None => Ok(self.shelf.device(device).await?.map(|row| row.device)),
        }
    }

    /// What the shelf has of some days at one moment.
    async fn shelved(&self, seen: &Seen, days: &[i64]) -> Result<Shelved, StoreError> {
        let (Some(from), Some(to)) = (days.first().copied(), days.last().copied()) else {
            return Ok(Shelved::default());
        };
        // Neighbours in one question.
        let mut columns = Vec::new();
        for run in days.chunk_by(|a, b| a + 1 == *b) {
            if let (Some(from), Some(to)) = (run.first(), run.last()) {
                columns.extend(seen.columns(*from, *to));
            }
        }
        let want = Want { device: seen.device, columns, pieces: Some((from, to)), ..Want::default() };
        let shelved = self.shelf.read(&want).await?;
        for (_, day) in &shelved.lost {
            self.lost(seen, *day, "the database cannot read it");
        }
        Ok(shelved)
    }

    fn lost(&self, seen: &Seen, day: i64, why: &str) {
        tracing::error!(
            device.number = seen.device,
            metric.number = seen.metric,
            day,
            why,
            "a part of a day cannot be read and is left out"
        );
        self.to_mend(seen.device, day);
    }

    /// The values of one day, in order.
    fn values(&self, seen: &Seen, found: &Found<'_>, day: i64, into: &mut Vec<Value>) {
        if let Err(why) = found.fill(day, into) {
            self.lost(seen, day, why);
        }
    }

    /// Goes through a window in order. Whole days come as their summaries where that is asked for and enough is known of
    /// them; everything else as values.
    async fn scan(
        &self,
        seen: &Seen,
        (from_ms, to_ms): (i64, i64),
        summaries: Option<&BTreeMap<i64, Summary>>,
        mut each: impl FnMut(Part<'_>) -> ControlFlow<()> + Send,
    ) -> Result<(), StoreError> {
        if from_ms >= to_ms {
            return Ok(());
        }
        let mut days: BTreeSet<i64> =
            self.shelf.days(seen.device, day(from_ms), day(to_ms - 1)).await?.into_iter().collect();
        days.extend(seen.has_day(&days));
        let days: Vec<i64> =
            days.into_iter().filter(|found| (day(from_ms)..=day(to_ms - 1)).contains(found)).collect();
        let whole = |day: &i64| summaries.and_then(|summaries| summaries.get(day));
        // One for all days: a day of values is large enough for memory to be given back and asked for each time.
        let mut values = Vec::new();
        for run in days.chunk_by(|a, b| whole(a).is_some() == whole(b).is_some()) {
            if run.first().is_some_and(|day| whole(day).is_some()) {
                for day in run {
                    if let Some(summary) = whole(day)
                        && each(Part::Day(day.saturating_mul(DAY_MS), summary)).is_break()
                    {
                        return Ok(());
                    }
                }
                continue;
            }
            let mut left = run;
            // Few at first: many who ask stop after the first of them.
            let mut at_once = 1;
            while let Some((some, more)) =
                left.split_at_checked(at_once.min(left.len())).filter(|(some, _)| !some.is_empty())
            {
                left = more;
                at_once = DAYS_AT_ONCE.min(2 * at_once);
                let shelved = self.shelved(seen, some).await?;
                let found = Found::new(seen, &shelved);
                for day in some {
                    self.values(seen, &found, *day, &mut values);
                    let first = values.partition_point(|(t_ms, ..)| *t_ms < from_ms);
                    let last = values.partition_point(|(t_ms, ..)| *t_ms < to_ms);
                    if let Some(inside) = values.get(first..last).filter(|inside| !inside.is_empty())
                        && each(Part::Values(inside)).is_break()
                    {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Days of a window that lie in it whole, of which nothing is outside the day's summary, and the time of the last value
    /// before the window.
    async fn plain_days(
        &self,
        seen: &Seen,
        (from_ms, to_ms): (i64, i64),
    ) -> Result<(BTreeMap<i64, Summary>, Option<i64>), StoreError> {
        let (first, last) = (day(from_ms), day(to_ms.saturating_sub(1)));
        let want = Want {
            device: seen.device,
            summaries: seen.series.map(|series| Days { series, from: first, to: last }).into_iter().collect(),
            before: seen.series.map(|series| (series, first)),
            pieces: Some((i64::MIN, last)),
            ..Want::default()
        };
        let shelved = self.shelf.read(&want).await?;
        let mut plain = BTreeMap::new();
        for kept in &shelved.summaries {
            match Summary::from_blob(kept.day.saturating_mul(DAY_MS), &kept.data) {
                Ok(summary) => {
                    plain.insert(kept.day, summary);
                }
                // The day itself tells all that its summary does.
                Err(damage) => {
                    tracing::warn!(
                        device.number = seen.device, day = kept.day, %damage,
                        "a day's summary cannot be read; its values are, and it is made anew"
                    );
                    self.to_mend(seen.device, kept.day);
                }
            }
        }
        let before = self.before(seen, &shelved, from_ms).await?;
        let mut mixed: BTreeSet<i64> = shelved.pieces.iter().map(|piece| piece.day).collect();
        mixed.extend(seen.head.iter().map(|record| day(record.t_ms)));
        mixed.extend(shelved.lost.iter().map(|(_, day)| *day));
        let whole = |day: i64| {
            day.checked_mul(DAY_MS)
                .is_some_and(|begin| begin >= from_ms && begin.saturating_add(DAY_MS) <= to_ms)
        };
        // A summary whose silences were too many to keep needs the values for them.
        plain.retain(|day, summary| {
            *day < seen.kept_from || (whole(*day) && !mixed.contains(day) && summary.holes.is_some())
        });
        Ok((plain, before))
    }

    async fn before(&self, seen: &Seen, shelved: &Shelved, from_ms: i64) -> Result<Option<i64>, StoreError> {
        let summed = shelved.before.as_ref().and_then(|kept| {
            Summary::from_blob(kept.day.saturating_mul(DAY_MS), &kept.data)
                .ok()
                .map(|summary| summary.last_ms)
        });
        let mut newest = summed;
        for piece in
            shelved.pieces.iter().filter(|piece| summed.is_none_or(|summed| piece.day >= day(summed)))
        {
            let Ok(block) = Block::from_piece(&piece.data) else { continue };
            let last = values_in(&block, seen.metric)
                .map(|(t_ms, ..)| t_ms)
                .take_while(|t_ms| *t_ms < from_ms)
                .last();
            newest = newest.max(last);
        }
        let unsealed = seen.unsealed(shelved.sealed).into_values().flatten().map(|(t_ms, ..)| t_ms);
        newest = newest.max(unsealed.filter(|t_ms| *t_ms < from_ms).max());
        // The window may begin in the middle of a day that is put together.
        let begins = day(from_ms);
        if begins.saturating_mul(DAY_MS) < from_ms && shelved.summaries.iter().any(|kept| kept.day == begins)
        {
            let shelved = self.shelved(seen, &[begins]).await?;
            let mut values = Vec::new();
            self.values(seen, &Found::new(seen, &shelved), begins, &mut values);
            let ahead = values.into_iter().map(|(t_ms, ..)| t_ms).filter(|t_ms| *t_ms < from_ms);
            newest = newest.max(ahead.max());
        }
        Ok(newest)
    }

    /// See [`crate::store::Store::series`].
    pub(super) async fn series(
        &self,
        device: &DeviceId,
        quantity: &Quantity,
        window: Window,
    ) -> Result<Points, StoreError> {
        let Some(seen) = self.see(device, quantity).await? else {
            return Ok(Points { data: Data::Raw(Vec::new()), gaps: Vec::new() });
        };
        let stretch = (window.from_ms, window.to_ms);
        let (plain, before) = self.plain_days(&seen, stretch).await?;
        let mut step_ms = series::step_ms(window.from_ms, window.to_ms, window.max_points);
        // Of what was forgotten there are hours left.
        let forgotten = plain.keys().next().is_some_and(|first| *first < seen.kept_from);
        if forgotten {
            step_ms = step_ms.max(HOUR_MS);
        }
        let certain: u64 = plain.values().map(Summary::count).sum();
        let few = !forgotten && certain <= u64::from(window.max_points);
        // Buckets of less than an hour, or every point, need values.
        let summaries = (!few && step_ms % HOUR_MS == 0).then_some(&plain);

        let threshold_ms = self.silence_ms(&seen, &plain, stretch).await?;
        let mut fold = Fold::new(window, step_ms, threshold_ms, few);
        let take = |part: Part<'_>| {
            match part {
                Part::Day(begin_ms, summary) => fold.day(begin_ms, summary),
                Part::Values(values) => values.iter().for_each(|(t_ms, value, _)| fold.point(*t_ms, *value)),
            }
            ControlFlow::Continue(())
        };
        self.scan(&seen, stretch, summaries, take).await?;
        Ok(fold.finish(before))
    }

    /// The silence that is a hole in this window, by the rhythm at its beginning.
    async fn silence_ms(
        &self,
        seen: &Seen,
        plain: &BTreeMap<i64, Summary>,
        stretch: (i64, i64),
    ) -> Result<i64, StoreError> {
        let mut leading: Vec<i64> = Vec::new();
        let lead = |part: Part<'_>| {
            if let Part::Values(values) = part {
                leading.extend(values.iter().map(|(t_ms, ..)| *t_ms));
            }
            if leading.len() > 2 * RHYTHM_SAMPLE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        self.scan(seen, self.lead(plain, stretch), None, lead).await?;
        Ok(threshold_ms(leading.iter().copied()))
    }

    /// See [`crate::store::Store::distribution`].
    pub(super) async fn distribution(
        &self,
        device: &DeviceId,
        quantity: &Quantity,
        stretch: (i64, i64),
        above: Option<f64>,
    ) -> Result<Distribution, StoreError> {
        let Some(seen) = self.see(device, quantity).await? else {
            return Ok(Distribution::new(above, series::GAP_MIN_MS));
        };
        let silence_ms = self.silence_ms(&seen, &BTreeMap::new(), stretch).await?;
        let mut distribution = Distribution::new(above, silence_ms);
        self.scan(&seen, stretch, None, |part| {
            if let Part::Values(values) = part {
                values.iter().for_each(|(t_ms, value, _)| distribution.take(*t_ms, *value));
            }
            ControlFlow::Continue(())
        })
        .await?;
        Ok(distribution)
    }

    /// The stretch at the beginning of a window that tells its rhythm, when that is known to be short.
    fn lead(&self, plain: &BTreeMap<i64, Summary>, (from_ms, to_ms): (i64, i64)) -> (i64, i64) {
        let mut there = 0;
        for (day, summary) in plain {
            there += summary.count();
            if there > 2 * RHYTHM_SAMPLE as u64 {
                return (from_ms, day.saturating_add(1).saturating_mul(DAY_MS).min(to_ms));
            }
        }
        (from_ms, to_ms)
    }

    /// See [`crate::store::Store::recent`].
    pub(super) async fn recent(
        &self,
        device: &DeviceId,
        quantity: &Quantity,
        since_ms: i64,
        limit: u32,
    ) -> Result<Vec<(i64, f64)>, StoreError> {
        let Some(seen) = self.see(device, quantity).await? else { return Ok(Vec::new()) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut days: BTreeSet<i64> =
            self.shelf.days(seen.device, day(since_ms), day(i64::MAX)).await?.into_iter().collect();
        days.extend(seen.has_day(&days));
        let days: Vec<i64> = days.into_iter().collect();
        let mut found = Vec::new();
        for some in days.rchunks(2) {
            let shelved = self.shelved(&seen, some).await?;
            let by_day = Found::new(&seen, &shelved);
            let mut values = Vec::new();
            for day in some.iter().rev() {
                self.values(&seen, &by_day, *day, &mut values);
                let since = values.iter().rev().filter(|(t_ms, ..)| *t_ms >= since_ms);
                found.extend(since.map(|(t_ms, value, _)| (*t_ms, *value)));
            }
            if found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// See [`crate::store::Store::quantities`].
    pub(super) async fn quantities(&self, device: &DeviceId) -> Result<Vec<Quantity>, StoreError> {
        self.catch_up().await?;
        let Some(device) = self.number(device).await? else { return Ok(Vec::new()) };
        let mut metrics: BTreeSet<i64> =
            self.memory().head(device).map(|head| head.metrics.clone()).unwrap_or_default();
        metrics.extend(self.shelf.series(Some(device)).await?.iter().map(|row| row.metric));
        self.meet_metrics().await?;
        let memory = self.memory();
        let mut quantities: Vec<Quantity> =
            metrics.into_iter().filter_map(|metric| memory.quantity(metric)).collect();
        quantities.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(quantities)
    }

    /// See [`crate::store::Store::ledger`].
    pub(super) async fn ledger(&self, device: &DeviceId) -> Result<Vec<Start>, StoreError> {
        self.catch_up().await?;
        let Some(row) = self.shelf.device(device).await? else { return Ok(Vec::new()) };
        // Memory first: a block is never forgotten before it is on the shelf, and what memory has is never older.
        let known: BTreeMap<(u64, u64), Names> = {
            let memory = self.memory();
            memory
                .blocks(row.device)
                .map(|((_, boot, block), names)| ((boot, block), names.clone()))
                .collect()
        };
        let mut blocks = BTreeMap::new();
        for ((_, boot, block), blob) in self.shelf.names_of(row.device).await? {
            if block == names::ANCHORS {
                continue;
            }
            let names = Names::from_blob(&blob).map_err(|damage| damaged("a block of the ledger", damage))?;
            blocks.insert((boot, block), names);
        }
        blocks.extend(known);
        Ok(names::starts(blocks))
    }

    /// Every series that a filter lets through, in order of the numbers of devices and metrics.
    async fn matching(&self, filter: &ExportFilter) -> Result<Vec<(i64, i64)>, StoreError> {
        self.catch_up().await?;
        let device = match &filter.device {
            None => None,
            Some(device) => match self.number(device).await? {
                None => return Ok(Vec::new()),
                known => known,
            },
        };
        let metric = match &filter.metric {
            None => None,
            Some(quantity) => match self.metric(quantity).await? {
                None => return Ok(Vec::new()),
                known => known,
            },
        };
        let mut all: BTreeSet<(i64, i64)> = {
            let memory = self.memory();
            let wanted = memory.heads().filter(|(of, _)| device.is_none_or(|device| device == *of));
            wanted.flat_map(|(of, head)| head.metrics.iter().map(move |metric| (of, *metric))).collect()
        };
        all.extend(self.shelf.series(device).await?.iter().map(|row| (row.device, row.metric)));
        all.retain(|(_, of)| *of != TIMES && metric.is_none_or(|metric| metric == *of));
        let unmet = self.unmet(all.iter().copied());
        self.meet(unmet).await?;
        Ok(all.into_iter().collect())
    }

    /// See [`crate::store::Store::export`]. The cursor is device, metric, time, and how many values of that time have been
    /// handed out.
    pub(super) async fn export(
        &self,
        filter: &ExportFilter,
        from: Option<ExportCursor>,
        limit: u32,
    ) -> Result<(Vec<ExportRow>, Option<ExportCursor>), StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let start = from.map(|ExportCursor([device, metric, ..])| (device, metric));
        let to_ms = filter.to_ms.unwrap_or(i64::MAX);
        let mut page: Vec<ExportRow> = Vec::new();
        for (device, metric) in self.matching(filter).await? {
            let mut from_ms = filter.from_ms.unwrap_or(i64::MIN);
            let mut skip = 0;
            match (start, from) {
                (Some(start), _) if (device, metric) < start => continue,
                (Some(start), Some(ExportCursor([.., t_ms, told]))) if (device, metric) == start => {
                    from_ms = t_ms;
                    skip = usize::try_from(told).unwrap_or(0);
                }
                _ => {}
            }
            let (id, quantity) = {
                let memory = self.memory();
                match (memory.head(device).map(|head| head.id), memory.quantity(metric)) {
                    (Some(id), Some(quantity)) => (id, quantity),
                    _ => continue,
                }
            };
            let seen = self.see_numbered(device, metric).await?;
            let mut cursor = (from_ms, 0i64);
            let mut full = false;
            self.scan(&seen, (from_ms, to_ms), None, |part| {
                let Part::Values(values) = part else { return ControlFlow::Continue(()) };
                for (t_ms, value, of_state) in values {
                    cursor = if cursor.0 == *t_ms { (*t_ms, cursor.1 + 1) } else { (*t_ms, 1) };
                    if skip > 0 && *t_ms == from_ms {
                        skip -= 1;
                        continue;
                    }
                    page.push(ExportRow {
                        t_ms: *t_ms,
                        device: id,
                        quantity,
                        value: *value,
                        state: state(*of_state),
                    });
                    if page.len() >= limit {
                        full = true;
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            })
            .await?;
            if full {
                return Ok((page, Some(ExportCursor([device, metric, cursor.0, cursor.1]))));
            }
        }
        Ok((page, None))
    }

    /// See [`crate::store::Store::count`].
    pub(super) async fn count(&self, filter: &ExportFilter) -> Result<u64, StoreError> {
        let mut total = 0u64;
        let stretch = (filter.from_ms.unwrap_or(i64::MIN), filter.to_ms.unwrap_or(i64::MAX));
        for (device, metric) in self.matching(filter).await? {
            let seen = self.see_numbered(device, metric).await?;
            // What was forgotten is not handed out either.
            let stretch = (stretch.0.max(seen.kept_from.saturating_mul(DAY_MS)), stretch.1);
            let (plain, _) = self.plain_days(&seen, stretch).await?;
            self.scan(&seen, stretch, Some(&plain), |part| {
                total += match part {
                    Part::Day(_, summary) => summary.count(),
                    Part::Values(values) => values.len() as u64,
                };
                ControlFlow::Continue(())
            })
            .await?;
        }
        Ok(total)
    }
}
