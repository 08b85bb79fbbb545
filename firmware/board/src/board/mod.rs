//! What each board has, as data: one file per board, and one feature.
//!
//! A new board is a file here, a line below and a feature in `Cargo.toml`. A pin that the chip does not have does not
//! compile. Pins are from M5Stack's pages of each board and from the tables in M5Unified, their own library for all
//! of them (`src/M5Unified.cpp`, `_pin_table_i2c_ex_in`); the comment in each file names its page.

use esp_hal::gpio::AnyPin;
#[cfg(not(feature = "esp32"))]
use esp_hal::peripherals::USB_DEVICE;
use esp_hal::peripherals::{
    ADC1, AES, FLASH, FROM_CPU_INTR0, I2C0, RNG, RSA, RTC_TIMER, SHA, TIMG0, UART0, WIFI,
};

/// A board taken apart: what is where, and the parts of the chip that the firmware uses.
pub struct Board {
    /// Its name, as the gateway and `firmware/tools/image` know it.
    pub name: &'static str,
    /// Data line of the port for sensors.
    pub sda: AnyPin<'static>,
    /// Clock line of the port for sensors.
    pub scl: AnyPin<'static>,
    /// The serial line.
    pub console: Console,
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
    pub wifi: WIFI<'static>,
}

/// The serial line that a computer is plugged into, as far as it is listened to.
pub struct Console {
    pub uart: UART0<'static>,
    /// Where UART0 listens: the same pin on all boards with a chip.
    pub rx: AnyPin<'static>,
    #[cfg(not(feature = "esp32"))]
    pub usb: USB_DEVICE<'static>,
}

/// The pin on which UART0 listens, from the pin table in each chip's datasheet (U0RXD).
macro_rules! u0rxd {
    ($chip:ident) => {{
        #[cfg(feature = "esp32")]
        let pin = $chip.GPIO3;
        #[cfg(feature = "esp32c3")]
        let pin = $chip.GPIO20;
        #[cfg(feature = "esp32c6")]
        let pin = $chip.GPIO17;
        #[cfg(feature = "esp32s3")]
        let pin = $chip.GPIO44;
        pin.into()
    }};
}

/// Writes the function `take` of a board's file from its data.
macro_rules! board {
    (name: $name:literal, sda: $sda:ident, scl: $scl:ident) => {
        /// What the board is called.
        pub const NAME: &str = $name;

        /// Takes the board apart.
        pub fn take(chip: esp_hal::peripherals::Peripherals) -> super::Board {
            super::Board {
                name: NAME,
                console: super::Console {
                    uart: chip.UART0,
                    rx: u0rxd!(chip),
                    #[cfg(not(feature = "esp32"))]
                    usb: chip.USB_DEVICE,
                },
                sda: chip.$sda.into(),
                scl: chip.$scl.into(),
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

pub use chosen::{NAME, take};
