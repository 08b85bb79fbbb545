//! The sensors, one file each. A new one is a file here and a line in one of the two tables.

use crate::port::{Air, Baseline, CalibrationError, Sensor, Spec, Tuning};
use crate::wire::{Bus, Line};
use casement_core::Fault;
use casement_core::record::Values;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;
use embedded_io_async::{Read, Write};

// An enum of all sensors with a method for each of the port: a trait object would need an allocator, because these
// methods are asynchronous.
macro_rules! table {
    (
        $(#[$doc:meta])* $any:ident over $wire:ident<$w:ident: $bound:path $(: $more:path)?>,
        $($file:ident::$part:ident),+ $(,)?
    ) => {
        $(mod $file;)+

        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) enum $any {
            $(#[doc = stringify!($file)] $part($file::$part)),+
        }

        impl $any {
            /// How many kinds there are.
            pub(crate) const KINDS: usize = [$(stringify!($part)),+].len();
        }

        impl<$w: $bound $(+ $more)?, D: DelayNs> Table<$wire<$w, D>> for $any {
            const NAMES: &'static [&'static str] = &[$(stringify!($part)),+];

            fn places(kind: usize) -> &'static [u8] {
                let all: [&'static [u8]; Self::KINDS] =
                    [$(<$file::$part as Sensor<$wire<$w, D>>>::PLACES),+];
                all.get(kind).copied().unwrap_or_default()
            }

            async fn probe(kind: usize, wire: &mut $wire<$w, D>, place: u8) -> Result<Self, Fault> {
                let mut left = kind;
                $(
                    if left == 0 {
                        return <$file::$part as Sensor<_>>::probe(wire, place).await.map(Self::$part);
                    }
                    left = left.wrapping_sub(1);
                )+
                let _none_left = left;
                Err(Fault::Bus)
            }

            fn spec(&self) -> &'static Spec {
                match self { $(Self::$part(it) => Sensor::<$wire<$w, D>>::spec(it)),+ }
            }

            fn serial(&self) -> Option<u64> {
                match self { $(Self::$part(it) => Sensor::<$wire<$w, D>>::serial(it)),+ }
            }

            async fn start(&mut self, wire: &mut $wire<$w, D>, tuning: &Tuning) -> Result<(), Fault> {
                match self { $(Self::$part(it) => it.start(wire, tuning).await),+ }
            }

            async fn poll(&mut self, wire: &mut $wire<$w, D>, air: &Air) -> Result<Option<Values>, Fault> {
                match self { $(Self::$part(it) => it.poll(wire, air).await),+ }
            }

            async fn recalibrate(
                &mut self,
                wire: &mut $wire<$w, D>,
                ppm: u16,
            ) -> Result<(), CalibrationError> {
                match self { $(Self::$part(it) => it.recalibrate(wire, ppm).await),+ }
            }

            fn learns(&self) -> bool {
                match self { $(Self::$part(it) => Sensor::<$wire<$w, D>>::learns(it)),+ }
            }

            async fn baseline(&mut self, wire: &mut $wire<$w, D>) -> Result<Baseline, Fault> {
                match self { $(Self::$part(it) => it.baseline(wire).await),+ }
            }

            async fn restore(&mut self, wire: &mut $wire<$w, D>, baseline: Baseline) -> Result<(), Fault> {
                match self { $(Self::$part(it) => it.restore(wire, baseline).await),+ }
            }
        }
    };
}

table! {
    /// Every sensor on an I2C bus, in the order in which they are looked for. Where two share an address, the one
    /// whose question the other refuses comes first.
    Chip over Bus<I: I2c>,
    scd30::Scd30,
    scd4x::Scd4x,
    sen66::Sen66,
    sen5x::Sen5x,
    sht4x::Sht4x,
    sht3x::Sht3x,
    bme280::Bme280,
    bme680::Bme680,
    sgp30::Sgp30,
    sgp4x::Sgp4x,
}

table! {
    /// Every module on a serial line. Which one is there cannot be told without talking to it in its own way, so it is
    /// a setting.
    Module over Line<U: Read: Write>,
    mhz19::MhZ19,
    s8::S8,
    pmsx003::PmsX003,
}

/// The kinds of modules on a serial line, by the name a setting gives them.
pub const MODULES: &[&str] = <Module as Table<Line<crate::NoLine, NoDelay>>>::NAMES;

/// [`Sensor`] for a sensor of any kind.
pub(crate) trait Table<W>: Sized {
    /// Names of the kinds, in the order of the table.
    const NAMES: &'static [&'static str];
    /// Where a kind may be.
    fn places(kind: usize) -> &'static [u8];
    async fn probe(kind: usize, wire: &mut W, place: u8) -> Result<Self, Fault>;
    fn spec(&self) -> &'static Spec;
    fn serial(&self) -> Option<u64>;
    async fn start(&mut self, wire: &mut W, tuning: &Tuning) -> Result<(), Fault>;
    async fn poll(&mut self, wire: &mut W, air: &Air) -> Result<Option<Values>, Fault>;
    async fn recalibrate(&mut self, wire: &mut W, ppm: u16) -> Result<(), CalibrationError>;
    fn learns(&self) -> bool;
    async fn baseline(&mut self, wire: &mut W) -> Result<Baseline, Fault>;
    async fn restore(&mut self, wire: &mut W, baseline: Baseline) -> Result<(), Fault>;
}

/// Stands for any source of delays where none is used.
#[derive(Debug)]
pub(crate) struct NoDelay;

impl DelayNs for NoDelay {
    async fn delay_ns(&mut self, _: u32) {}
}

#[cfg(test)]
mod contract;
