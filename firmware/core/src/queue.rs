//! Store and forward: readings wait on flash until the gateway has them.
//!
//! The region is a ring of erase sectors. A sector starts with a header that holds its generation; generation `g`
//! lives in sector `g mod n`, so the newest header tells where everything is. Records follow one another and never
//! cross a sector:
//!
//! ```text
//! sector  "CSQ1" generation:u32 crc:u32 ffff_ffff   record record …   erased
//! record  ack:u32  0xC5A3:u16 len:u16  crc:u32  payload, filled up to a word with 0xff
//! ```
//!
//! A record is written in one go with its `ack` word left erased. Acknowledging writes zeros over the `ack` word of
//! the last record acknowledged, and that counts for everything before it. So every word is written at most once
//! between two erases, which is what NOR flash wants, and power may fail at any byte: a record cut short fails its
//! CRC and is stepped over, an acknowledgement cut short counts (the gateway has the readings by then), and an erase
//! cut short concerns only what was being given up. The CRC covers the generation, so that nothing left by an
//! unfinished erase can come back.
//!
//! When the ring is full the oldest sector is given up, and its waiting readings are counted as dropped.

use crate::record::{Anchor, RECORD_BYTES_MAX, Record};
use casement_proto::Crc32;

/// Flash, or anything that behaves like it: bytes that are erased by the sector and then written once.
pub trait Region {
    /// What can go wrong below.
    type Error: core::fmt::Debug;
    /// Bytes that are erased at once: a multiple of four, at least 64.
    const SECTOR_BYTES: usize;
    /// How many sectors there are. The queue needs two.
    fn sectors(&self) -> usize;
    /// Fills `bytes` from an offset.
    ///
    /// # Errors
    /// The flash could not be read, or the range is outside.
    fn read(&mut self, offset: usize, bytes: &mut [u8]) -> Result<(), Self::Error>;
    /// Writes over erased bytes. Offset and length are multiples of four.
    ///
    /// # Errors
    /// The flash could not be written, or the range is outside. Any part may have been written by then.
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Self::Error>;
    /// Sets the sector that starts at an offset to `0xff`.
    ///
    /// # Errors
    /// The flash could not be erased. Any part may have been erased by then.
    fn erase(&mut self, offset: usize) -> Result<(), Self::Error>;
}

/// Why the queue could not do something. It stays usable after each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError<E> {
    /// The region failed.
    #[error("the flash failed")]
    Region(E),
    /// The region has fewer than two sectors, or sectors of a size that cannot work.
    #[error("the queue needs at least two sectors of at least 64 bytes")]
    TooSmall,
    /// The record does not fit into a sector.
    #[error("the reading is too large to keep")]
    TooBig,
    /// All generation numbers are used up, long after any flash is.
    #[error("the flash is worn out")]
    Worn,
}

impl<E> From<E> for QueueError<E> {
    fn from(error: E) -> Self {
        Self::Region(error)
    }
}

/// A place in the queue: everything up to here. It stays valid while readings are added or dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(Position);

/// What waits and what was lost, since the queue was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStatus {
    /// Readings that wait for the gateway.
    pub queued: u32,
    /// Readings given up because the ring was full.
    pub dropped: u32,
    /// Readings that could not be kept at all.
    pub refused: u32,
    /// Runs of bytes that were no record: torn by a power cut, or worn.
    pub damaged: u32,
    /// Operations the flash refused.
    pub faults: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    generation: u32,
    /// Offset within the sector; below [`HEADER_BYTES`] the header has not been checked yet.
    offset: usize,
}

struct Found {
    at: Position,
    after: Position,
    acknowledged: bool,
    record: Record,
}

#[expect(clippy::large_enum_variant, reason = "there is no allocator, and it lives for one step")]
enum Slot {
    Record { after: usize, acknowledged: bool, record: Record },
    Skip { to: usize, damaged: bool },
    End,
}

/// A bounded queue of [`Record`]s over a [`Region`]; see the module for its form and its promises.
pub struct Queue<R: Region> {
    region: R,
    /// Where the next record goes.
    tail: Position,
    /// Everything before is acknowledged or given up.
    head: Position,
    status: QueueStatus,
    newest_boot: Option<u64>,
}

impl<R: Region> Queue<R> {
    /// Opens what is in the region, whatever state it is in. An empty or foreign region gives an empty queue; nothing
    /// is written before the first [`Queue::push`].
    ///
    /// # Errors
    /// [`QueueError::TooSmall`], or the region cannot be read.
    pub fn open(mut region: R) -> Result<Self, QueueError<R::Error>> {
        let sectors = u32::try_from(region.sectors()).unwrap_or(u32::MAX);
        if sectors < 2 || R::SECTOR_BYTES < 64 || !R::SECTOR_BYTES.is_multiple_of(WORD) {
            return Err(QueueError::TooSmall);
        }
        let mut newest = None;
        for sector in 0..sectors {
            let found = header(&mut region, sector)?;
            newest = newest.max(found.filter(|generation| generation % sectors == sector));
        }
        // A full sector that does not exist stands before the first one.
        let tail = Position { generation: newest.unwrap_or(sectors - 1), offset: R::SECTOR_BYTES };
        let head = Position { generation: 0, offset: 0 };
        let mut queue = Self { region, tail, head, status: QueueStatus::default(), newest_boot: None };
        let mut at = queue.oldest();
        let mut end = HEADER_BYTES;
        while let Some(found) = queue.find(at)? {
            if found.acknowledged {
                queue.head = found.after;
                queue.status.queued = 0;
            } else {
                queue.status.queued += 1;
            }
            if found.at.generation == tail.generation {
                end = found.after.offset;
            }
            queue.newest_boot = queue.newest_boot.max(Some(found.record.boot));
            at = found.after;
        }
        queue.head = queue.head.max(queue.oldest());
        if newest.is_some() {
            queue.tail.offset = queue.written_end(end)?;
        }
        Ok(queue)
    }

    /// Keeps a record. When this returns `Ok`, the record survives any power cut, until it is acknowledged or a full
    /// ring gives it up. When it does not, the record may or may not be there; nothing else is harmed.
    ///
    /// # Errors
    /// The record is [`QueueError::TooBig`], or the region failed.
    pub fn push(&mut self, record: &Record) -> Result<(), QueueError<R::Error>> {
        let outcome = self.put(record);
        self.status.refused += u32::from(outcome.is_err());
        outcome
    }

    fn put(&mut self, record: &Record) -> Result<(), QueueError<R::Error>> {
        let mut slot = [0xff; SLOT_BYTES + RECORD_BYTES_MAX];
        let (head, payload) = slot.split_at_mut(SLOT_BYTES);
        let len = record.encode(payload).ok_or(QueueError::TooBig)?;
        let size = (SLOT_BYTES + len).next_multiple_of(WORD);
        if size > R::SECTOR_BYTES - HEADER_BYTES {
            return Err(QueueError::TooBig);
        }
        if self.tail.offset + size > R::SECTOR_BYTES {
            self.advance()?;
        }
        let short = u16::try_from(len).map_err(|_| QueueError::TooBig)?;
        let check = record_check(self.tail.generation, short, payload.get(..len).unwrap_or_default());
        let [m0, m1] = MAGIC.to_le_bytes();
        let [l0, l1] = short.to_le_bytes();
        let [c0, c1, c2, c3] = check.to_le_bytes();
        // What is filled up stays erased, also where the encoder left bytes behind.
        head.copy_from_slice(&[0xff, 0xff, 0xff, 0xff, m0, m1, l0, l1, c0, c1, c2, c3]);
        let written = slot.get(WORD..size).ok_or(QueueError::TooBig)?;
        let at = self.tail;
        let place = self.place(at) + WORD;
        self.tail.offset += size;
        if let Err(error) = self.region.write(place, written) {
            // Part of it may be there. The next record starts a sector of its own.
            self.tail.offset = R::SECTOR_BYTES;
            self.status.faults += 1;
            // All that was missing may have been the fill, and then the record is as good as any.
            if !matches!(self.find(at), Ok(Some(found)) if found.at == at) {
                return Err(error.into());
            }
        }
        self.status.queued += 1;
        self.newest_boot = self.newest_boot.max(Some(record.boot));
        Ok(())
    }

    /// Visits waiting records from the oldest on, until `take` returns `false` for one. Gives the place of the last
    /// one taken.
    ///
    /// # Errors
    /// The region cannot be read.
    pub fn peek(
        &mut self,
        mut take: impl FnMut(&Record) -> bool,
    ) -> Result<Option<Mark>, QueueError<R::Error>> {
        let mut at = self.head;
        let mut mark = None;
        while let Some(found) = self.find(at)? {
            if !take(&found.record) {
                break;
            }
            mark = Some(Mark(found.at));
            at = found.after;
        }
        Ok(mark)
    }

    /// Lets go of everything up to a place, and remembers that across power cuts.
    ///
    /// # Errors
    /// The region failed. The readings are let go of all the same until the next start; after that they are sent
    /// again, which changes nothing.
    pub fn acknowledge(&mut self, mark: Mark) -> Result<(), QueueError<R::Error>> {
        let Mark(last) = mark;
        if last < self.head || last >= self.tail {
            return Ok(());
        }
        let at = self.place(last);
        let durable = self.region.write(at, &[0; WORD]);
        while let Some(found) = self.find(self.head)? {
            if found.at > last {
                break;
            }
            self.head = found.after;
            self.status.queued = self.status.queued.saturating_sub(1);
        }
        durable.map_err(|error| {
            self.status.faults += 1;
            error.into()
        })
    }

    /// What is known about the time of an earlier start, from its waiting records.
    ///
    /// # Errors
    /// The region cannot be read.
    pub fn anchor(&mut self, boot: u64) -> Result<Option<Anchor>, QueueError<R::Error>> {
        let mut anchor = None;
        self.peek(|record| {
            if record.boot == boot {
                anchor = Some(record.anchor());
            }
            !matches!(anchor, Some(Anchor::Began(_)))
        })?;
        Ok(anchor)
    }

    /// What waits and what was lost.
    pub const fn status(&self) -> QueueStatus {
        self.status
    }

    /// The highest boot number the ring remembers, acknowledged or not; see [`next_boot`].
    pub const fn newest_boot(&self) -> Option<u64> {
        self.newest_boot
    }

    /// Lets the power fail after so many bytes.
    #[cfg(test)]
    pub(crate) fn cut_after(&mut self, bytes: usize)
    where
        R: core::borrow::BorrowMut<crate::torn::Flash>,
    {
        self.region.borrow_mut().left = bytes;
    }

    /// Gives the region back.
    pub fn into_region(self) -> R {
        self.region
    }

    /// Makes the next sector the newest one. A sector that cannot be erased is stepped over.
    fn advance(&mut self) -> Result<(), QueueError<R::Error>> {
        let sectors = self.sectors();
        let mut last = QueueError::Worn;
        for step in 1..sectors {
            let generation = self.tail.generation.checked_add(step).ok_or(QueueError::Worn)?;
            self.give_up_before(Position { generation: generation - (sectors - 1), offset: 0 })?;
            match self.begin(generation) {
                Ok(()) => {
                    self.tail = Position { generation, offset: HEADER_BYTES };
                    return Ok(());
                }
                Err(error) => {
                    self.status.faults += 1;
                    last = error.into();
                }
            }
        }
        Err(last)
    }

    fn begin(&mut self, generation: u32) -> Result<(), R::Error> {
        let at = self.place(Position { generation, offset: 0 });
        self.region.erase(at)?;
        let [m0, m1, m2, m3] = SECTOR_MAGIC;
        let [g0, g1, g2, g3] = generation.to_le_bytes();
        let [c0, c1, c2, c3] = header_check(generation).to_le_bytes();
        self.region.write(at, &[m0, m1, m2, m3, g0, g1, g2, g3, c0, c1, c2, c3, 0xff, 0xff, 0xff, 0xff])
    }

    fn give_up_before(&mut self, first: Position) -> Result<(), QueueError<R::Error>> {
        while let Some(found) = self.find(self.head)? {
            if found.at >= first {
                break;
            }
            self.head = found.after;
            self.status.queued = self.status.queued.saturating_sub(1);
            self.status.dropped += 1;
        }
        self.head = self.head.max(first);
        Ok(())
    }

    /// The first whole record at or after a place.
    fn find(&mut self, from: Position) -> Result<Option<Found>, R::Error> {
        let mut at = from.max(self.oldest());
        let mut torn = false;
        while at < self.tail {
            let sector = at.generation % self.sectors();
            if at.offset < HEADER_BYTES {
                at.offset = match header(&mut self.region, sector)? {
                    Some(generation) if generation == at.generation => HEADER_BYTES,
                    _ => R::SECTOR_BYTES,
                };
            }
            let end = if at.generation == self.tail.generation { self.tail.offset } else { R::SECTOR_BYTES };
            match self.slot(at, end)? {
                Slot::Record { after, acknowledged, record } => {
                    let after = Position { offset: after, ..at };
                    return Ok(Some(Found { at, after, acknowledged, record }));
                }
                Slot::Skip { to, damaged } => {
                    self.status.damaged += u32::from(damaged && !torn);
                    torn |= damaged;
                    at.offset = to;
                }
                Slot::End => {
                    torn = false;
                    at = Position { generation: at.generation.saturating_add(1), offset: 0 };
                }
            }
        }
        Ok(None)
    }

    fn slot(&mut self, at: Position, end: usize) -> Result<Slot, R::Error> {
        if at.offset + SLOT_BYTES > end {
            return Ok(Slot::End);
        }
        let place = self.place(at);
        let mut head = [0; SLOT_BYTES];
        self.region.read(place, &mut head)?;
        let [a0, a1, a2, a3, m0, m1, l0, l1, c0, c1, c2, c3] = head;
        if [a0, a1, a2, a3, m0, m1, l0, l1] == [0xff; 8] {
            // Erased so far. Something may still follow: not every flash writes a page from its start.
            let to = self.first_written(Position { offset: at.offset + 2 * WORD, ..at }, end)?;
            return Ok(to.map_or(Slot::End, |to| Slot::Skip { to: to - WORD, damaged: false }));
        }
        let skip = Slot::Skip { to: at.offset + WORD, damaged: true };
        let short = u16::from_le_bytes([l0, l1]);
        let after = (at.offset + SLOT_BYTES + usize::from(short)).next_multiple_of(WORD);
        let mut buffer = [0; RECORD_BYTES_MAX];
        let Some(payload) = buffer.get_mut(..usize::from(short)) else { return Ok(skip) };
        if u16::from_le_bytes([m0, m1]) != MAGIC || after > end {
            return Ok(skip);
        }
        self.region.read(place + SLOT_BYTES, payload)?;
        if record_check(at.generation, short, payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Ok(skip);
        }
        Ok(match Record::decode(payload) {
            Some(record) => Slot::Record { after, acknowledged: [a0, a1, a2, a3] != [0xff; 4], record },
            // Whole, but of a version we do not know.
            None => Slot::Skip { to: after, damaged: true },
        })
    }

    /// Offset of the first word that is not erased.
    fn first_written(&mut self, from: Position, end: usize) -> Result<Option<usize>, R::Error> {
        let mut offset = from.offset;
        let mut chunk = [0; CHUNK_BYTES];
        while offset < end {
            let len = CHUNK_BYTES.min(end - offset);
            let Some(bytes) = chunk.get_mut(..len) else { break };
            let place = self.place(Position { offset, ..from });
            self.region.read(place, bytes)?;
            if let Some(index) = bytes.iter().position(|byte| *byte != 0xff) {
                return Ok(Some((offset + index) / WORD * WORD));
            }
            offset += len;
        }
        Ok(None)
    }

    /// Where the newest sector can be written on: after its last whole record and after anything torn.
    fn written_end(&mut self, from: usize) -> Result<usize, R::Error> {
        let generation = self.tail.generation;
        let mut end = from;
        while let Some(offset) = self.first_written(Position { generation, offset: end }, R::SECTOR_BYTES)? {
            end = offset + WORD;
        }
        Ok(end)
    }

    fn sectors(&self) -> u32 {
        u32::try_from(self.region.sectors()).unwrap_or(u32::MAX).max(2)
    }

    fn oldest(&self) -> Position {
        Position { generation: self.tail.generation.saturating_sub(self.sectors() - 1), offset: 0 }
    }

    /// Offset in the region.
    fn place(&self, at: Position) -> usize {
        usize::try_from(at.generation % self.sectors()).unwrap_or(0) * R::SECTOR_BYTES + at.offset
    }
}

/// Room for one batch of up to `N` readings.
pub type Readings<const N: usize> = heapless::Vec<casement_proto::Reading, N>;

/// Fills `out` with the oldest waiting readings, all of one start of the device, because a batch names one boot.
/// Gives that boot and the place of the last one; `None` when nothing waits.
///
/// # Errors
/// The region cannot be read.
pub fn collect<R: Region, const N: usize>(
    queue: &mut Queue<R>,
    limit: u16,
    timeline: &crate::Timeline,
    out: &mut Readings<N>,
) -> Result<Option<(u64, Mark)>, QueueError<R::Error>> {
    out.clear();
    let mut oldest = None;
    queue.peek(|record| {
        oldest = Some(record.boot);
        false
    })?;
    let Some(boot) = oldest else { return Ok(None) };
    let anchor = if boot == timeline.boot { None } else { queue.anchor(boot)? };
    let mark = queue.peek(|record| {
        out.len() < usize::from(limit)
            && record.boot == boot
            && out.push(record.reading(timeline, anchor)).is_ok()
    })?;
    Ok(mark.map(|mark| (boot, mark)))
}

/// The number of this start: one more than the queue remembers, or chance where it remembers nothing. A device that was
/// erased and flashed again must not reuse old numbers, because the gateway would take its readings for duplicates.
/// Every result stays below 2⁵³, so that it survives JSON.
pub fn next_boot(newest: Option<u64>, random: u64) -> u64 {
    match newest {
        Some(newest) if newest < BOOT_MAX => newest + 1,
        // Half of the room, so that there is always a next one.
        _ => 1 + random % (BOOT_MAX / 2),
    }
}

/// A region in memory: a queue that forgets when the power goes, and the flash of a virtual device.
#[derive(Clone, Debug)]
pub struct Memory<B>(B);

/// The range is outside the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("outside the region")]
pub struct Outside;

impl<B: AsRef<[u8]> + AsMut<[u8]>> Memory<B> {
    /// Takes the bytes; what is left over after whole sectors stays unused.
    pub const fn new(bytes: B) -> Self {
        Self(bytes)
    }

    /// The bytes as they are.
    pub fn into_inner(self) -> B {
        self.0
    }

    fn part(&mut self, offset: usize, len: usize) -> Result<&mut [u8], Outside> {
        self.0.as_mut().get_mut(offset..).and_then(|rest| rest.get_mut(..len)).ok_or(Outside)
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Region for Memory<B> {
    type Error = Outside;
    const SECTOR_BYTES: usize = 4096;

    fn sectors(&self) -> usize {
        self.0.as_ref().len() / Self::SECTOR_BYTES
    }

    fn read(&mut self, offset: usize, bytes: &mut [u8]) -> Result<(), Outside> {
        bytes.copy_from_slice(self.part(offset, bytes.len())?);
        Ok(())
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Outside> {
        self.part(offset, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn erase(&mut self, offset: usize) -> Result<(), Outside> {
        self.part(offset, Self::SECTOR_BYTES)?.fill(0xff);
        Ok(())
    }
}

/// The generation in a sector's header; `None` when there is no whole header.
fn header<R: Region>(region: &mut R, sector: u32) -> Result<Option<u32>, R::Error> {
    let mut bytes = [0; 12];
    region.read(usize::try_from(sector).unwrap_or(0) * R::SECTOR_BYTES, &mut bytes)?;
    let [m0, m1, m2, m3, g0, g1, g2, g3, c0, c1, c2, c3] = bytes;
    let generation = u32::from_le_bytes([g0, g1, g2, g3]);
    let whole =
        [m0, m1, m2, m3] == SECTOR_MAGIC && u32::from_le_bytes([c0, c1, c2, c3]) == header_check(generation);
    Ok(whole.then_some(generation))
}

fn header_check(generation: u32) -> u32 {
    Crc32::new().with(&SECTOR_MAGIC).with(&generation.to_le_bytes()).value()
}

fn record_check(generation: u32, len: u16, payload: &[u8]) -> u32 {
    Crc32::new().with(&generation.to_le_bytes()).with(&len.to_le_bytes()).with(payload).value()
}

/// Bytes that are written at once.
pub(crate) const WORD: usize = 4;
const HEADER_BYTES: usize = 16;
const SLOT_BYTES: usize = 12;
const CHUNK_BYTES: usize = 64;
const MAGIC: u16 = 0xc5a3;
const SECTOR_MAGIC: [u8; 4] = *b"CSQ1";
const BOOT_MAX: u64 = (1 << 53) - 1;

#[cfg(test)]
mod tests;
