//! The wires that sensors hang on. They move bytes, give up in time, and turn every error into a [`Fault`].

use casement_core::Fault;
use embassy_futures::select::{Either, select};
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;
use embedded_io_async::{Read, Write};

/// An I2C bus and the time on it.
#[derive(Debug)]
pub struct Bus<I, D> {
    i2c: Option<I>,
    delay: D,
}

impl<I, D> Bus<I, D> {
    /// No bus, for a device whose only port is a serial line: nothing is found on it.
    pub const fn absent(delay: D) -> Self {
        Self { i2c: None, delay }
    }
}

impl<I: I2c, D: DelayNs> Bus<I, D> {
    /// Takes the bus (100 kHz or less: an SCD30 knows no more) and a source of delays.
    pub const fn new(i2c: I, delay: D) -> Self {
        Self { i2c: Some(i2c), delay }
    }

    pub(crate) async fn write(&mut self, address: u8, bytes: &[u8]) -> Result<(), Fault> {
        let i2c = self.i2c.as_mut().ok_or(Fault::Bus)?;
        in_time(i2c.write(address, bytes), &mut self.delay, TRANSFER_MS).await
    }

    pub(crate) async fn read(&mut self, address: u8, bytes: &mut [u8]) -> Result<(), Fault> {
        let i2c = self.i2c.as_mut().ok_or(Fault::Bus)?;
        in_time(i2c.read(address, bytes), &mut self.delay, TRANSFER_MS).await
    }

    /// Reads registers of a chip that has no checksums: twice, and both must be the same. That finds what a checksum
    /// would find, as long as the registers rest meanwhile.
    pub(crate) async fn registers<const N: usize>(
        &mut self,
        address: u8,
        register: u8,
    ) -> Result<[u8; N], Fault> {
        let i2c = self.i2c.as_mut().ok_or(Fault::Bus)?;
        let (mut first, mut second) = ([0; N], [0; N]);
        for bytes in [&mut first, &mut second] {
            in_time(i2c.write_read(address, &[register], bytes), &mut self.delay, TRANSFER_MS).await?;
        }
        if first == second { Ok(first) } else { Err(Fault::Crc) }
    }

    pub(crate) async fn wait_ms(&mut self, ms: u32) {
        self.delay.delay_ms(ms).await;
    }
}

/// A serial line (9,600 baud, 8N1 for every module here) and the time on it.
#[derive(Debug)]
pub struct Line<U, D> {
    uart: U,
    delay: D,
}

impl<U: Read + Write, D: DelayNs> Line<U, D> {
    /// Takes both directions of the line and a source of delays.
    pub const fn new(uart: U, delay: D) -> Self {
        Self { uart, delay }
    }

    pub(crate) async fn tell(&mut self, request: &[u8]) -> Result<(), Fault> {
        in_time(self.uart.write_all(request), &mut self.delay, SEND_MS).await?;
        in_time(self.uart.flush(), &mut self.delay, SEND_MS).await
    }

    /// Sends a request and finds the frame that answers it: `N` bytes that begin with `head` and pass `check`. What
    /// lay in the line before is thrown away, and so is garbage around the frame.
    pub(crate) async fn ask<const N: usize>(
        &mut self,
        request: &[u8],
        head: &'static [u8],
        check: fn(&[u8; N]) -> bool,
    ) -> Result<[u8; N], Fault> {
        self.drain().await;
        self.tell(request).await?;
        let mut frames = Frames::new(head, check);
        let mut patience_ms = ANSWER_MS;
        let mut heard = 0;
        while heard < ANSWER_BYTES_MAX {
            let mut chunk = [0; N];
            let bytes = match self.hear(&mut chunk, patience_ms).await? {
                Some(bytes) => bytes,
                None => break,
            };
            heard += bytes.len();
            patience_ms = BETWEEN_MS;
            for byte in bytes {
                if let Some(frame) = frames.take(*byte) {
                    return Ok(frame);
                }
            }
        }
        Err(match (heard, frames.corrupt) {
            (0, _) => Fault::Bus,
            (_, true) => Fault::Crc,
            (_, false) => Fault::Timeout,
        })
    }

    pub(crate) async fn wait_ms(&mut self, ms: u32) {
        self.delay.delay_ms(ms).await;
    }

    async fn drain(&mut self) {
        let mut chunk = [0; 32];
        for _ in 0..DRAINS_MAX {
            // What is thrown away may be damaged: a module that speaks unasked fills its buffer up between questions.
            if let Ok(None) = self.hear(&mut chunk, DRAIN_MS).await {
                break;
            }
        }
    }

    /// What arrives within the time; `None` when nothing does.
    async fn hear<'a>(&mut self, chunk: &'a mut [u8], ms: u32) -> Result<Option<&'a [u8]>, Fault> {
        match select(self.uart.read(chunk), self.delay.delay_ms(ms)).await {
            Either::First(Ok(0)) | Either::Second(()) => Ok(None),
            Either::First(Ok(len)) => Ok(chunk.get(..len)),
            Either::First(Err(_)) => Err(Fault::Bus),
        }
    }
}

/// Finds frames in a stream: garbage before one, and a false start, cost nothing but their own bytes.
#[derive(Debug)]
pub(crate) struct Frames<const N: usize> {
    head: &'static [u8],
    check: fn(&[u8; N]) -> bool,
    bytes: [u8; N],
    len: usize,
    /// Whether something looked like a frame and its checksum was wrong.
    pub(crate) corrupt: bool,
}

impl<const N: usize> Frames<N> {
    pub(crate) const fn new(head: &'static [u8], check: fn(&[u8; N]) -> bool) -> Self {
        Self { head, check, bytes: [0; N], len: 0, corrupt: false }
    }

    /// Takes the next byte; gives a frame that is complete and right.
    pub(crate) fn take(&mut self, byte: u8) -> Option<[u8; N]> {
        *self.bytes.get_mut(self.len)? = byte;
        self.len += 1;
        if self.len == N && self.begins() {
            if (self.check)(&self.bytes) {
                self.len = 0;
                return Some(self.bytes);
            }
            self.corrupt = true;
            self.drop_first();
        }
        while self.len > 0 && !self.begins() {
            self.drop_first();
        }
        None
    }

    /// Whether what is here may be the beginning of a frame.
    fn begins(&self) -> bool {
        self.bytes.iter().take(self.len).zip(self.head).all(|(byte, head)| byte == head)
    }

    fn drop_first(&mut self) {
        self.bytes.copy_within(1.., 0);
        self.len -= 1;
    }
}

/// A board without a serial line for sensors.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLine;

impl embedded_io_async::ErrorType for NoLine {
    type Error = core::convert::Infallible;
}

impl Read for NoLine {
    async fn read(&mut self, _: &mut [u8]) -> Result<usize, Self::Error> {
        Ok(0)
    }
}

impl Write for NoLine {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

async fn in_time<T, E, D: DelayNs>(
    doing: impl Future<Output = Result<T, E>>,
    delay: &mut D,
    ms: u32,
) -> Result<T, Fault> {
    match select(doing, delay.delay_ms(ms)).await {
        Either::First(Ok(done)) => Ok(done),
        Either::First(Err(_)) => Err(Fault::Bus),
        Either::Second(()) => Err(Fault::Timeout),
    }
}

/// An SCD30 may hold the clock for 150 ms, once a day (interface description v1.0 §1.1); 48 bytes take 5 ms.
const TRANSFER_MS: u32 = 250;
/// 13 bytes at 9,600 baud take 14 ms.
const SEND_MS: u32 = 100;
/// Longest any module takes to begin its answer.
const ANSWER_MS: u32 = 1_000;
/// A byte takes 1 ms; a pause this long ends a frame.
const BETWEEN_MS: u32 = 50;
const DRAIN_MS: u32 = 2;
const DRAINS_MAX: usize = 16;
/// A line on which more than this arrives without a frame carries something else.
const ANSWER_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn find(bytes: &[u8]) -> (Vec<[u8; 4]>, bool) {
        let mut frames = Frames::<4>::new(&[0x42, 0x4d], |frame| frame[2] == !frame[3]);
        (bytes.iter().filter_map(|byte| frames.take(*byte)).collect(), frames.corrupt)
    }

    #[test]
    fn a_frame_is_found_whatever_is_around_it() {
        let good = [0x42, 0x4d, 0x0f, 0xf0];
        for (bytes, frames, corrupt) in [
            (&[0x42, 0x4d, 0x0f, 0xf0][..], &[good][..], false),
            (&[], &[], false),
            (&[0x00, 0xff, 0x42, 0x42, 0x4d, 0x0f, 0xf0, 0x42], &[good], false),
            (&[0x42, 0x4d, 0x0f, 0xf0, 0x42, 0x4d, 0x0f, 0xf0], &[good, good], false),
            (&[0x42, 0x4d, 0x0f], &[], false),
            (&[0x42, 0x4d, 0x0f, 0xf1], &[], true),
            // A frame that broke off, and the next one begins within what looked like its rest.
            (&[0x42, 0x4d, 0x42, 0x4d, 0x0f, 0xf0], &[good], true),
            (&[0x42, 0x4d, 0x0f, 0x42, 0x4d, 0x0f, 0xf0], &[good], true),
        ] {
            assert_eq!(find(bytes), (frames.to_vec(), corrupt), "{bytes:02x?}");
        }
    }

    /// A line on which somebody babbles for ever.
    #[derive(Default)]
    struct Endless {
        read: usize,
    }

    impl embedded_io_async::ErrorType for Endless {
        type Error = core::convert::Infallible;
    }

    impl Read for Endless {
        async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Self::Error> {
            bytes.fill(0x42);
            self.read += bytes.len();
            Ok(bytes.len())
        }
    }

    impl Write for Endless {
        async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
            Ok(bytes.len())
        }

        async fn flush(&mut self) -> Result<(), Self::Error> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_babbles_for_ever_is_given_up() {
        let mut line = Line::new(Endless::default(), crate::bench::Counted::default());
        let asked = line.ask::<4>(b"?", &[0x42, 0x4d], |_| true);
        assert_eq!(embassy_futures::block_on(asked), Err(Fault::Timeout));
        assert!(line.uart.read <= 16 * 32 + 256, "{}", line.uart.read);
    }

    /// A line whose buffer ran over before anybody asked.
    struct Overrun {
        noticed: bool,
        answer: Vec<u8>,
    }

    impl embedded_io_async::ErrorType for Overrun {
        type Error = embedded_io_async::ErrorKind;
    }

    impl Read for Overrun {
        async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Self::Error> {
            if !core::mem::replace(&mut self.noticed, true) {
                return Err(embedded_io_async::ErrorKind::Other);
            }
            if self.answer.is_empty() {
                core::future::pending::<()>().await;
            }
            bytes[0] = self.answer.remove(0);
            Ok(1)
        }
    }

    impl Write for Overrun {
        async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
            self.answer.extend([0x42, 0x4d, 0x0f, 0xf0]);
            Ok(bytes.len())
        }

        async fn flush(&mut self) -> Result<(), Self::Error> {
            Ok(())
        }
    }

    #[test]
    fn what_ran_over_between_questions_spoils_no_answer() {
        let mut line =
            Line::new(Overrun { noticed: false, answer: Vec::new() }, crate::bench::Counted::default());
        let asked = embassy_futures::block_on(line.ask::<4>(b"?", &[0x42, 0x4d], |_| true));
        assert_eq!(asked, Ok([0x42, 0x4d, 0x0f, 0xf0]));
    }

    proptest! {
        #[test]
        fn every_frame_is_found_behind_any_garbage(garbage: Vec<u8>, value: u8) {
            // Four bytes that cannot begin a frame end whatever the garbage seemed to begin.
            let frame = [0x42, 0x4d, value, !value];
            let stream = [&garbage[..], &[0; 4], &frame].concat();
            let (found, _) = find(&stream);
            prop_assert_eq!(found.last(), Some(&frame));
        }
    }
}
