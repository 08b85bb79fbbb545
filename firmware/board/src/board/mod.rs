//! What each board has, as data: one file per board, and one feature.
//!
//! A new board is a file here, a line below and a feature in `Cargo.toml`, which names the feature `screen` for a board with
//! one. A pin that the chip does not have does not
//! compile. Pins are from M5Stack's pages of each board and from the tables in M5Unified, their own library for all
//! of them (`src/M5Unified.cpp`, `_pin_table_i2c_ex_in` and `_pin_table_port_bc`); the comment in each file names its page.
//!
//! A module on a serial line is listened to on the yellow wire of a port, and spoken to on the white one: that is how
//! M5Stack's units for UART are wired, and how their M5UnitUnified takes port C, or port A on boards without a port C
//! (its README, "UART"). On port A these are clock and data.

use esp_hal::gpio::AnyPin;
#[cfg(not(feature = "esp32"))]
use esp_hal::peripherals::USB_DEVICE;
use esp_hal::peripherals::{
    ADC1, AES, FLASH, FROM_CPU_INTR0, I2C0, RMT, RNG, RSA, RTC_TIMER, SHA, TIMG0, UART0, UART1, WIFI,
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
    /// A lamp of its own, SK6812 or WS2812.
    pub light: Option<Light>,
    /// Pins that a button connects to ground; more than one where variants of a board differ.
    pub buttons: [Option<AnyPin<'static>>; 2],
    #[cfg(feature = "screen")]
    pub screen: Screen,
}

/// A lamp that takes its colour over one wire.
pub struct Light {
    pub data: AnyPin<'static>,
    /// High while the lamp has power; `None` where it always has.
    pub power: Option<AnyPin<'static>>,
    pub rmt: RMT<'static>,
}

/// A screen on SPI; its controller is the type `Model`.
#[cfg(feature = "screen")]
pub struct Screen {
    /// Pixels across and down.
    pub size: (u16, u16),
    /// Where in the controller's memory the first of them is.
    pub offset: (u16, u16),
    /// Whether the panel shows the opposite of what it is told.
    pub inverted: bool,
    pub sck: AnyPin<'static>,
    pub mosi: AnyPin<'static>,
    pub cs: AnyPin<'static>,
    pub dc: AnyPin<'static>,
    pub power: Power,
    /// Selects a memory card on the same wires, which is not to listen.
    pub card: Option<AnyPin<'static>>,
    pub spi: esp_hal::peripherals::SPI2<'static>,
    /// For the chips on a board's inner bus.
    pub inner: esp_hal::peripherals::I2C1<'static>,
    /// For a backlight on a pin.
    pub ledc: esp_hal::peripherals::LEDC<'static>,
}

/// Where a screen's reset and light come from. See [`casement_core::power`] for what hangs on power chips.
#[cfg(feature = "screen")]
#[allow(dead_code, reason = "a board has one of them")]
pub enum Power {
    /// From pins.
    Pins { reset: AnyPin<'static>, backlight: AnyPin<'static> },
    /// From the power chip of a Core2, on its inner bus, where the touch sensor is, too.
    Core2 { sda: AnyPin<'static>, scl: AnyPin<'static> },
    /// The same for a CoreS3.
    CoreS3 { sda: AnyPin<'static>, scl: AnyPin<'static> },
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
    (
        name: $name:literal, sda: $sda:ident, scl: $scl:ident
        $(, rx: $rx:ident, tx: $tx:ident)?
        $(, light: { data: $data:ident $(, power: $lamp:ident)? })?
        $(, button: $button:ident $(or $other:ident)?)?
        $(, screen: {
            model: $model:ident, size: $size:expr, offset: $offset:expr, inverted: $inverted:literal,
            sck: $sck:ident, mosi: $mosi:ident, cs: $cs:ident, dc: $dc:ident,
            power: $power:ident { $($role:ident: $pin:ident),+ }
            $(, card: $card:ident)?
        })?
    ) => {
        $(
            /// The screen's controller.
            pub type Model = mipidsi::models::$model;
            /// The same, to be started.
            pub const MODEL: Model = mipidsi::models::$model;
        )?

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
                light: None $(.or(Some(super::Light {
                    data: chip.$data.into(),
                    power: None $(.or(Some(chip.$lamp.into())))?,
                    rmt: chip.RMT,
                })))?,
                buttons: [
                    None $(.or(Some(chip.$button.into())))?,
                    None $($(.or(Some(chip.$other.into())))?)?,
                ],
                $(screen: super::Screen {
                    size: $size,
                    offset: $offset,
                    inverted: $inverted,
                    sck: chip.$sck.into(),
                    mosi: chip.$mosi.into(),
                    cs: chip.$cs.into(),
                    dc: chip.$dc.into(),
                    power: super::Power::$power { $($role: chip.$pin.into()),+ },
                    card: None $(.or(Some(chip.$card.into())))?,
                    spi: chip.SPI2,
                    inner: chip.I2C1,
                    ledc: chip.LEDC,
                },)?
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

#[cfg(feature = "screen")]
pub use chosen::{MODEL, Model};
pub use chosen::{NAME, take};
