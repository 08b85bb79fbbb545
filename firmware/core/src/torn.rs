//! For tests: flash whose power fails.

use crate::queue::{Region, WORD};
use std::vec::Vec;

/// Flash that loses power after a number of bytes, and refuses to write twice between two erases.
#[derive(Clone, Debug)]
pub(crate) struct Flash {
    pub(crate) bytes: Vec<u8>,
    /// Bytes until the power fails; erasing counts each byte too.
    pub(crate) left: usize,
    pub(crate) spent: usize,
    /// Not zero: what is cut short is done in bits and pieces, chosen by these bits, instead of up to a point.
    pub(crate) scatter: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut;

impl Flash {
    pub(crate) fn new(sectors: usize) -> Self {
        // What a factory leaves behind is nobody's business.
        let bytes = (0..sectors * Self::SECTOR_BYTES).map(|i| (i * 7 % 251) as u8).collect();
        Self { bytes, left: usize::MAX, spent: 0, scatter: 0 }
    }

    fn put(&mut self, offset: usize, bytes: impl ExactSizeIterator<Item = u8>) -> Result<(), Cut> {
        let (len, allowed) = (bytes.len(), self.left);
        // Once the power is gone, nothing more happens.
        let scatter = if allowed < len { core::mem::take(&mut self.scatter) } else { 0 };
        for (index, byte) in bytes.enumerate() {
            let piece = scatter.rotate_right(index as u32 * 7) & 1 == 1;
            if piece || (scatter == 0 && index < allowed) {
                self.bytes[offset + index] = byte;
            }
        }
        let done = len.min(allowed);
        self.left -= done;
        self.spent += done;
        if done < len { Err(Cut) } else { Ok(()) }
    }
}

impl Region for Flash {
    type Error = Cut;
    const SECTOR_BYTES: usize = 192;

    fn sectors(&self) -> usize {
        self.bytes.len() / Self::SECTOR_BYTES
    }

    fn read(&mut self, offset: usize, bytes: &mut [u8]) -> Result<(), Cut> {
        bytes.copy_from_slice(&self.bytes[offset..offset + bytes.len()]);
        Ok(())
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Cut> {
        assert!(offset.is_multiple_of(WORD) && bytes.len().is_multiple_of(WORD), "unaligned write");
        let old = &self.bytes[offset..offset + bytes.len()];
        assert!(bytes == [0; WORD] || old.iter().all(|byte| *byte == 0xff), "written twice");
        self.put(offset, bytes.iter().copied())
    }

    fn erase(&mut self, offset: usize) -> Result<(), Cut> {
        assert_eq!(offset % Self::SECTOR_BYTES, 0);
        self.put(offset, std::iter::repeat_n(0xff, Self::SECTOR_BYTES))
    }
}
