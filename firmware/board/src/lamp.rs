//! A lamp that takes its colour over one wire: SK6812 or WS2812, driven by the chip's remote control unit.

use crate::board;
use esp_hal::Blocking;
use esp_hal::gpio::{Level, Output, OutputConfig};
use esp_hal::rmt::Rmt;
use esp_hal::time::Rate;
use esp_hal_smartled::color_order::Grb;
use esp_hal_smartled::{RmtSmartLeds, SK68XX_TIMING, buffer_size};
use log::warn;
use smart_leds_trait::{RGB8, SmartLedsWrite};

/// What the remote control unit counts by, on all of these chips.
const CLOCK: Rate = Rate::from_mhz(80);

/// One lamp.
pub struct Lamp {
    led: RmtSmartLeds<'static, { buffer_size::<RGB8>(1) }, Blocking, RGB8, Grb>,
    /// The power stays on as long as this lives.
    _power: Option<Output<'static>>,
    shown: Option<[u8; 3]>,
}

impl Lamp {
    /// Takes a lamp into service. `None`, with a word on the serial line, when the chip cannot.
    pub fn new(light: board::Light) -> Option<Self> {
        let power = light.power.map(|pin| Output::new(pin, Level::High, OutputConfig::default()));
        let rmt = Rmt::new(light.rmt, CLOCK).inspect_err(|error| warn!("no light: {error:?}")).ok()?;
        let led = RmtSmartLeds::new(SK68XX_TIMING, rmt.channel0, light.data, CLOCK);
        let led = led.inspect_err(|error| warn!("no light: {error:?}")).ok()?;
        Some(Self { led, _power: power, shown: None })
    }

    /// Shows a colour. The same again takes no time; another one takes 30 µs of light and 300 µs of silence after it.
    pub fn show(&mut self, rgb: [u8; 3]) {
        if self.shown != Some(rgb) {
            let [r, g, b] = rgb;
            self.shown = self.led.write([RGB8 { r, g, b }]).is_ok().then_some(rgb);
        }
    }
}
