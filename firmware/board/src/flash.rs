//! The flash, cut into the regions that the core keeps things in.

use casement_core::Region;
use core::cell::RefCell;
use embedded_storage::nor_flash::NorFlash as _;
use esp_bootloader_esp_idf::partitions::{
    Error, FlashRegion, PARTITION_TABLE_MAX_LEN, PartitionEntry, read_partition_table,
};
use esp_storage::FlashStorage;

/// All of it. One at a time uses it, for the length of one operation.
pub type Flash = RefCell<FlashStorage<'static>>;

/// The label of the partition that runs, by what is mapped; `None` when it is in no partition.
pub fn booted(flash: &Flash) -> Option<heapless::String<16>> {
    let mut bytes = [0; PARTITION_TABLE_MAX_LEN];
    let table = read_partition_table(&mut flash.borrow_mut(), &mut bytes).ok()?;
    table.booted_partition().ok()??.label_as_str().try_into().ok()
}

/// One partition, in erase sectors.
#[derive(Clone, Copy)]
pub struct Partition {
    flash: &'static Flash,
    entry: PartitionEntry,
}

impl Partition {
    /// Finds a partition by its label; `None` when the table has none, or cannot be read.
    pub fn find(flash: &'static Flash, label: &str) -> Option<Self> {
        let mut bytes = [0; PARTITION_TABLE_MAX_LEN];
        let table = read_partition_table(&mut flash.borrow_mut(), &mut bytes).ok()?;
        let entry = table.iter().find(|entry| entry.label_as_str() == label)?;
        Some(Self { flash, entry })
    }

    fn with(
        &self,
        run: impl FnOnce(&mut FlashRegion<'_, 'static>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        run(&mut self.entry.as_flash_region(&mut self.flash.borrow_mut()))
    }
}

impl Region for Partition {
    type Error = Error;
    const SECTOR_BYTES: usize = FlashStorage::SECTOR_SIZE as usize;

    fn sectors(&self) -> usize {
        self.entry.len() as usize / Self::SECTOR_BYTES
    }

    fn read(&mut self, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        self.with(|region| region.read(offset as u32, bytes))
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        // As NOR flash, which only clears bits. The plain write of a partition erases the whole sector and writes it back,
        // and a power cut in between would take all that was in it.
        self.with(|region| region.as_nor_flash()?.write(offset as u32, bytes))
    }

    fn erase(&mut self, offset: usize) -> Result<(), Error> {
        self.with(|region| region.erase(offset as u32, (offset + Self::SECTOR_BYTES) as u32))
    }
}
