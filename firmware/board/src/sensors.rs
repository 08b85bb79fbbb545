//! What is on the sensor port.
//!
//! One part is known here, the SCD4x, by its crate. `casement-sensors` takes the place of this file: it finds all parts
//! by probing the same bus.

use casement_core::record::Values;
use casement_core::{Fault, Sample};
use casement_proto::{Quantity, State};
use embassy_time::{Delay, Duration, Timer, with_timeout};
use embedded_hal_async::i2c::I2c;
use log::info;
use scd4x::{Error, Scd4xAsync};

/// Time between two values of an SCD4x in periodic measurement (datasheet §3.6.1: 5 s), with half a second for the command
/// that stops an earlier one (§3.6.3), and some. A bus that hangs must not wake the watchdog.
const NEXT_VALUE: Duration = Duration::from_millis(5_900);

/// The sensor port.
pub struct Sensors<I> {
    scd4x: Scd4xAsync<I, Delay>,
    measuring: bool,
}

impl<I: I2c> Sensors<I> {
    pub fn new(bus: I) -> Self {
        Self { scd4x: Scd4xAsync::new(bus, Delay), measuring: false }
    }

    /// Asks for the next value. A sensor that does not answer is looked for again with each call.
    pub async fn sample(&mut self) -> Result<Sample, Fault> {
        let value = match with_timeout(NEXT_VALUE, self.next()).await {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => {
                self.measuring = false;
                return Err(fault(error));
            }
            Err(_) => {
                self.measuring = false;
                return Err(Fault::Timeout);
            }
        };
        let mut values = Values::new();
        for (name, value) in [
            ("co2", f64::from(value.co2)),
            ("temperature", f64::from(value.temperature)),
            ("humidity", f64::from(value.humidity)),
        ] {
            if let Some(quantity) = Quantity::parse(name) {
                // There is room for sixteen.
                let _fits = values.push((quantity, value));
            }
        }
        Ok(Sample { state: State::Ok, values })
    }

    async fn begin(&mut self) -> Result<(), Error<I::Error>> {
        // It may still measure from before a restart, and then takes no other command.
        self.scd4x.stop_periodic_measurement().await?;
        let serial = self.scd4x.serial_number().await?;
        self.scd4x.start_periodic_measurement().await?;
        self.measuring = true;
        info!("found an SCD4x, serial number {serial:012x}");
        Ok(())
    }

    async fn next(&mut self) -> Result<scd4x::types::SensorData, Error<I::Error>> {
        if !self.measuring {
            self.begin().await?;
        }
        while !self.scd4x.data_ready_status().await? {
            Timer::after_millis(50).await;
        }
        self.scd4x.measurement().await
    }
}

fn fault<E>(error: Error<E>) -> Fault {
    match error {
        Error::I2c(_) => Fault::Bus,
        Error::Crc => Fault::Crc,
        Error::SelfTest => Fault::SelfTest,
        _ => Fault::Timeout,
    }
}
