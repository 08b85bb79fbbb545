//! Winsen MH-Z19B and MH-Z19C: CO2 (NDIR). Manuals MH-Z19B v1.6, MH-Z19C v1.1.

use crate::checksum::winsen;
use crate::port::{Air, CalibrationError, FRESH_PPM, Sensor, Spec, Tuning, offer, values};
use crate::wire::Line;
use casement_core::Fault;
use casement_core::record::Values;
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{Read, Write};

static SPEC: Spec = Spec {
    name: "MH-Z19",
    interval_ms: 5_000,
    patience_ms: 30_000,
    // Preheating: 3 min for the B, 1 min for the C.
    warm_up_ms: 180_000,
    conditioning_ms: 0,
    offers: &[offer("co2", 100.0, (200.0, 10_000.0))],
};

#[derive(Debug)]
pub(crate) struct MhZ19;

impl<U: Read + Write, D: DelayNs> Sensor<Line<U, D>> for MhZ19 {
    const PLACES: &'static [u8] = &[0];

    async fn probe(line: &mut Line<U, D>, _: u8) -> Result<Self, Fault> {
        line.ask(&READ, HEAD, whole).await.map(|_| Self)
    }

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn start(&mut self, line: &mut Line<U, D>, tuning: &Tuning) -> Result<(), Fault> {
        // Not every version answers it; what one says is thrown away before the next question.
        line.tell(&request(SELF_CALIBRATION, if tuning.calibrates_itself() { 0xa0 } else { 0 })).await
    }

    async fn poll(&mut self, line: &mut Line<U, D>, _: &Air) -> Result<Option<Values>, Fault> {
        let [_, _, high, low, ..] = line.ask(&READ, HEAD, whole).await?;
        // The temperature in the frame is that of its inside, and not in every manual.
        Ok(Some(values(&[("co2", f64::from(u16::from_be_bytes([high, low])))])))
    }

    async fn recalibrate(&mut self, line: &mut Line<U, D>, ppm: u16) -> Result<(), CalibrationError> {
        if !FRESH_PPM.contains(&ppm) {
            return Err(CalibrationError::FreshAirOnly);
        }
        line.tell(&request(ZERO, 0)).await?;
        Ok(())
    }
}

fn whole(frame: &[u8; 9]) -> bool {
    let [_, inner @ .., sum] = frame;
    winsen(inner) == *sum
}

fn request(command: u8, value: u8) -> [u8; 9] {
    let inner = [0x01, command, value, 0, 0, 0, 0];
    let [a, b, c, d, e, f, g] = inner;
    [0xff, a, b, c, d, e, f, g, winsen(&inner)]
}

const READ: [u8; 9] = [0xff, 0x01, 0x86, 0, 0, 0, 0, 0, 0x79];
const HEAD: &[u8] = &[0xff, 0x86];
const SELF_CALIBRATION: u8 = 0x79;
const ZERO: u8 = 0x87;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::{Talk, talk};

    pub(in crate::part) fn recording() -> Talk {
        Talk {
            kind: "MhZ19",
            request: &READ,
            // Manual of the B, "Read CO2 concentration": 608 ppm.
            answer: &[0xff, 0x86, 0x02, 0x60, 0x47, 0x00, 0x00, 0x00, 0xd1],
            other: &[0xff, 0x86, 0x03, 0x20, 0x48, 0x00, 0x00, 0x00, 0x0f],
            values: &[("co2", 608.0)],
        }
    }

    #[test]
    fn self_calibration_and_zero_point_are_the_frames_of_the_manual() {
        let off = Tuning::default().self_calibration(false);
        for (tuning, frame) in [
            (Tuning::default(), [0xff, 0x01, 0x79, 0xa0, 0, 0, 0, 0, 0xe6]),
            (off, [0xff, 0x01, 0x79, 0x00, 0, 0, 0, 0, 0x86]),
        ] {
            let (result, sent) = talk(&[], async |line| MhZ19.start(line, &tuning).await);
            assert_eq!((result, sent.as_slice()), (Ok(()), &frame[..]));
        }
        let (result, sent) = talk(&[], async |line| MhZ19.recalibrate(line, 420).await);
        assert_eq!((result, sent.as_slice()), (Ok(()), &[0xff, 0x01, 0x87, 0, 0, 0, 0, 0, 0x78][..]));
        let (result, sent) = talk(&[], async |line| MhZ19.recalibrate(line, 800).await);
        assert_eq!((result, sent.len()), (Err(CalibrationError::FreshAirOnly), 0));
    }
}
