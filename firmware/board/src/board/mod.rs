//! What each board has, as data: one file per board, and one feature.
//!
//! A new board is a file here, a line below and a feature in `Cargo.toml`. A pin that the chip does not have does not
//! compile. Pins are from M5Stack's pages of each board and from the tables in M5Unified, their own library for all
//! of them (`src/M5Unified.cpp`, `_pin_table_i2c_ex_in` and `_pin_table_port_bc`); the comment in each file names its page.
//!
//! A module on a serial line is listened to on the yellow wire of a port, and spoken to on the white one: that is how
//! M5Stack's units for UART are wired, and how their M5UnitUnified takes port C, or port A on boards without a port C
//! (its README, "UART"). On port A these are clock and data.

use esp_hal::gpio::AnyPin;
use esp_hal::peripherals::{
    ADC1, AES, FLASH, FROM_CPU_INTR0, I2C0, RNG, RSA, RTC_TIMER, SHA, TIMG0, UART1, WIFI,
};

/// A board taken apart: what is where, and the parts of the chip that the firmware uses.
pub struct Board {
    /// Its name, as the gateway and `firmware/tools/image` know it.
    pub name: &'static str,
    /// Data line of the port for sensors.
    pub sda: AnyPin<'static>,
    /// Clock line of the port for sensors.
    pub scl: AnyPin<'static>,
    /// Pins of the port for a module on a serial line: where the board hears it, and where it speaks. `None` where there
    /// is no other port than the one for sensors.
    pub line: Option<(AnyPin<'static>, AnyPin<'static>)>,
    pub adc: ADC1<'static>,
    pub aes: AES<'static>,
    pub flash: FLASH<'static>,
    pub i2c: I2C0<'static>,
    pub interrupt: FROM_CPU_INTR0<'static>,
    pub rtc: RTC_TIMER<'static>,
    pub rng: RNG<'static>,
    pub rsa: RSA<'static>,
    // Mbed TLS uses it on all chips but the first ESP32, whose SHA unit cannot be interrupted and resumed.
    #[cfg_attr(feature = "esp32", expect(dead_code, reason = "see above"))]
    pub sha: SHA<'static>,
    pub timers: TIMG0<'static>,
    pub uart: UART1<'static>,
    pub wifi: WIFI<'static>,
}

/// Writes the function `take` of a board's file from its data.
macro_rules! board {
    (name: $name:literal, sda: $sda:ident, scl: $scl:ident $(, rx: $rx:ident, tx: $tx:ident)?) => {
        /// Takes the board apart.
        pub fn take(chip: esp_hal::peripherals::Peripherals) -> super::Board {
            super::Board {
                name: $name,
                sda: chip.$sda.into(),
                scl: chip.$scl.into(),
                line: [$((chip.$rx.into(), chip.$tx.into()))?].into_iter().next(),
                adc: chip.ADC1,
                aes: chip.AES,
                flash: chip.FLASH,
                i2c: chip.I2C0,
                interrupt: chip.FROM_CPU_INTR0,
                rtc: chip.RTC_TIMER,
                rng: chip.RNG,
                rsa: chip.RSA,
                sha: chip.SHA,
                timers: chip.TIMG0,
                uart: chip.UART1,
                wifi: chip.WIFI,
            }
        }
    };
}

#[cfg_attr(feature = "stamp-c3", path = "stamp_c3.rs")]
#[cfg_attr(feature = "nanoc6", path = "nanoc6.rs")]
#[cfg_attr(feature = "core2", path = "core2.rs")]
#[cfg_attr(feature = "cores3", path = "cores3.rs")]
#[cfg_attr(feature = "atom-echo", path = "atom_echo.rs")]
#[cfg_attr(feature = "atoms3", path = "atoms3.rs")]
#[cfg_attr(
    not(any(
        feature = "stamp-c3",
        feature = "nanoc6",
        feature = "core2",
        feature = "cores3",
        feature = "atom-echo",
        feature = "atoms3"
    )),
    path = "none.rs"
)]
mod chosen;

pub use chosen::take;
