//! The bench on which sensors are tested: what goes over a wire, written down, and the checks every sensor must pass.

use crate::checksum::crc8;
use crate::port::Air;
use crate::wire::{Bus, Line};
use embassy_futures::block_on;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use std::cell::Cell;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

/// What goes over an I2C bus, in order.
#[derive(Clone, Debug)]
pub(crate) struct Chat {
    address: u8,
    pub(crate) lines: Vec<ChatLine>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChatLine {
    Write(Vec<u8>),
    Read(Vec<u8>),
    WriteRead(Vec<u8>, Vec<u8>),
}

impl Chat {
    pub(crate) fn at(address: u8) -> Self {
        Self { address, lines: Vec::new() }
    }

    pub(crate) fn write(mut self, bytes: &[u8]) -> Self {
        self.lines.push(ChatLine::Write(bytes.to_vec()));
        self
    }

    pub(crate) fn read(mut self, bytes: &[u8]) -> Self {
        self.lines.push(ChatLine::Read(bytes.to_vec()));
        self
    }

    /// Words with their checksums.
    pub(crate) fn words(self, words: &[u16]) -> Self {
        self.read(&with_checksums(words))
    }

    pub(crate) fn command(self, command: u16, parameters: &[u16]) -> Self {
        self.write(&[&command.to_be_bytes()[..], &with_checksums(parameters)].concat())
    }

    /// A text in sixteen words.
    pub(crate) fn text(self, text: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes[..text.len()].copy_from_slice(text);
        let words: Vec<_> = bytes.as_chunks().0.iter().map(|word| u16::from_be_bytes(*word)).collect();
        self.words(&words)
    }

    /// Registers, which are read twice.
    pub(crate) fn register(mut self, register: u8, bytes: &[u8]) -> Self {
        for _ in 0..2 {
            self.lines.push(ChatLine::WriteRead(vec![register], bytes.to_vec()));
        }
        self
    }

    pub(crate) fn transactions(&self) -> Vec<Transaction> {
        let transaction = |line: &ChatLine| match line.clone() {
            ChatLine::Write(bytes) => Transaction::write(self.address, bytes),
            ChatLine::Read(bytes) => Transaction::read(self.address, bytes),
            ChatLine::WriteRead(register, bytes) => Transaction::write_read(self.address, register, bytes),
        };
        self.lines.iter().map(transaction).collect()
    }
}

fn with_checksums(words: &[u16]) -> Vec<u8> {
    let word = |word: &u16| {
        let bytes = word.to_be_bytes();
        [bytes[0], bytes[1], crc8(&bytes)]
    };
    words.iter().flat_map(word).collect()
}

/// What one kind of sensor says on an I2C bus.
pub(crate) struct Recording {
    pub(crate) name: &'static str,
    pub(crate) probe: Chat,
    pub(crate) start: Chat,
    /// Commands of `start` that a sensor may refuse.
    pub(crate) may_refuse: &'static [usize],
    pub(crate) poll: Chat,
    /// The answer while there is nothing new; empty for a sensor that always has something.
    pub(crate) idle: Chat,
    pub(crate) values: &'static [(&'static str, f64)],
    /// What the datasheet wants to be waited in `poll`.
    pub(crate) poll_waits_ms: u32,
}

/// Delays that pass at once, and are counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted(pub(crate) Rc<Cell<u64>>);

impl DelayNs for Counted {
    async fn delay_ns(&mut self, ns: u32) {
        self.0.set(self.0.get() + u64::from(ns));
    }
}

/// Does something on a bus on which exactly this is said; gives its result and the milliseconds waited.
pub(crate) fn run<R>(chat: Chat, doing: impl AsyncFnOnce(&mut Bus<Mock, Counted>) -> R) -> (R, u64) {
    let waited = Counted::default();
    let mut mock = Mock::new(&chat.transactions());
    let result = block_on(doing(&mut Bus::new(mock.clone(), waited.clone())));
    mock.done();
    (result, waited.0.get() / 1_000_000)
}

/// What one kind of module says on a serial line.
pub(crate) struct Talk {
    pub(crate) kind: &'static str,
    pub(crate) request: &'static [u8],
    pub(crate) answer: &'static [u8],
    /// A good answer with other values.
    pub(crate) other: &'static [u8],
    pub(crate) values: &'static [(&'static str, f64)],
}

/// A serial line with a module that answers requests by a script.
pub(crate) struct Scripted {
    script: Vec<(Vec<u8>, Vec<u8>)>,
    /// What can be read.
    incoming: Vec<u8>,
    sent: Rc<std::cell::RefCell<Vec<u8>>>,
}

impl embedded_io_async::ErrorType for Scripted {
    type Error = core::convert::Infallible;
}

impl embedded_io_async::Read for Scripted {
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Self::Error> {
        if self.incoming.is_empty() {
            // A line on which nothing comes is silent, it does not end.
            core::future::pending::<()>().await;
        }
        let len = bytes.len().min(self.incoming.len());
        for (byte, incoming) in bytes.iter_mut().zip(self.incoming.drain(..len)) {
            *byte = incoming;
        }
        Ok(len)
    }
}

impl embedded_io_async::Write for Scripted {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.sent.borrow_mut().extend_from_slice(bytes);
        if self.script.first().is_some_and(|(request, _)| request == bytes) {
            self.incoming.extend(self.script.remove(0).1);
        }
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// Does something on a line with a script of requests and answers; gives its result and what was sent.
pub(crate) fn talk<R>(
    script: &[(&[u8], &[u8])],
    doing: impl AsyncFnOnce(&mut Line<Scripted, Counted>) -> R,
) -> (R, Vec<u8>) {
    talk_after(&[], script, doing)
}

/// The same with something in the line from before.
pub(crate) fn talk_after<R>(
    stale: &[u8],
    script: &[(&[u8], &[u8])],
    doing: impl AsyncFnOnce(&mut Line<Scripted, Counted>) -> R,
) -> (R, Vec<u8>) {
    let sent = Rc::default();
    let script = script.iter().map(|(request, answer)| (request.to_vec(), answer.to_vec())).collect();
    let uart = Scripted { script, incoming: stale.to_vec(), sent: Rc::clone(&sent) };
    let result = block_on(doing(&mut Line::new(uart, Counted::default())));
    let sent = sent.borrow().clone();
    (result, sent)
}

pub(crate) type TestBus = Bus<Mock, Counted>;
pub(crate) type TestLine = Line<Scripted, Counted>;

/// Where a module stands in its table.
pub(crate) fn module(name: &str) -> usize {
    crate::MODULES.iter().position(|it| *it == name).expect("the recording names its module")
}

pub(crate) const NO_AIR: Air = Air { climate: None, pressure: None };

/// A line on which nobody is.
pub(crate) fn silent() -> Scripted {
    Scripted { script: Vec::new(), incoming: Vec::new(), sent: Rc::default() }
}
