//! The wires to the sensors: an I2C bus, and a serial line when a setting names a module.

use casement_proto::DeviceSettings;
use casement_sensors::{Bus, Kit, Line, MODULES, Tuning};
use embassy_time::Delay;
use esp_hal::Async;
use esp_hal::gpio::AnyPin;
use esp_hal::i2c::master::{self, I2c};
use esp_hal::peripherals::{I2C0, UART1};
use esp_hal::time::Rate;
use esp_hal::uart::{self, Uart};
use log::{error, info};

/// Every module here speaks 9,600 baud, 8N1.
const BAUD: u32 = 9_600;

type Bytes = Uart<'static, Async>;

/// Sensors on either wire.
pub type Sensors<I> = Kit<I, Delay, Bytes>;

/// What sensors can be wired to.
pub struct Wires {
    pub i2c: I2C0<'static>,
    pub uart: UART1<'static>,
    /// Data and clock of the port for sensors.
    pub port: (AnyPin<'static>, AnyPin<'static>),
    /// The port for a module, if there is one of its own.
    pub line: Option<(AnyPin<'static>, AnyPin<'static>)>,
}

/// Sets the wires up as the settings say. A module has its own port where there is one. Elsewhere it takes the only port,
/// and there is no bus.
pub fn fit(wires: Wires, settings: &DeviceSettings) -> Sensors<I2c<'static, Async>> {
    let tuning = Tuning::from(settings);
    let known = |name: &&str| MODULES.contains(name);
    let Some(module) = settings.module.as_deref().filter(known) else {
        if let Some(name) = &settings.module {
            error!("there is no sensor module {name}; these are: {MODULES:?}");
        }
        return Kit::without_line(bus(wires.i2c, wires.port), tuning);
    };
    let ((hears, speaks), bus) = match wires.line {
        Some(line) => (line, bus(wires.i2c, wires.port)),
        None => {
            let (data, clock) = wires.port;
            ((clock, data), Bus::absent(Delay))
        }
    };
    info!("{module} is expected on the serial line");
    let config = uart::Config::default().with_baudrate(BAUD);
    let bytes = match Uart::new(wires.uart, config) {
        Ok(bytes) => bytes.with_rx(hears).with_tx(speaks).into_async(),
        // Only a rate the chip cannot make leads here, and this one every chip can.
        Err(error) => panic!("no serial line: {error:?}"),
    };
    match Kit::with_line(bus, Line::new(bytes, Delay), module, tuning) {
        Ok(kit) => kit,
        Err(_) => unreachable!("its name is in the table"),
    }
}

fn bus(
    i2c: I2C0<'static>,
    (data, clock): (AnyPin<'static>, AnyPin<'static>),
) -> Bus<I2c<'static, Async>, Delay> {
    match I2c::new(i2c, master::Config::default().with_frequency(Rate::from_khz(100))) {
        Ok(bus) => Bus::new(bus.with_sda(data).with_scl(clock).into_async(), Delay),
        // Only a frequency the chip cannot make leads here, and 100 kHz every chip can.
        Err(error) => panic!("no I2C: {error:?}"),
    }
}
