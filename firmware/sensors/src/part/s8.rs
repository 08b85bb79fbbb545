//! Senseair S8: CO2 (NDIR), Modbus over a serial line. "Modbus on Senseair S8", TDE2067 r1.01.

use crate::checksum::modbus;
use crate::port::{Air, CalibrationError, FRESH_PPM, Sensor, Spec, Tuning, offer, values};
use crate::wire::Line;
use casement_core::Fault;
use casement_core::record::Values;
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{Read, Write};

static SPEC: Spec = Spec {
    name: "Senseair S8",
    // It measures each 4 s with a lamp of limited life, whether asked or not.
    interval_ms: 4_000,
    patience_ms: 20_000,
    // Product specification: 90 % of a step within 2 min.
    warm_up_ms: 120_000,
    conditioning_ms: 0,
    offers: &[offer("co2", 70.0, (200.0, 10_000.0))],
};

#[derive(Debug)]
pub(crate) struct S8;

impl<U: Read + Write, D: DelayNs> Sensor<Line<U, D>> for S8 {
    const PLACES: &'static [u8] = &[0];

    async fn probe(line: &mut Line<U, D>, _: u8) -> Result<Self, Fault> {
        line.ask::<13>(&READ, READ_HEAD, whole).await.map(|_| Self)
    }

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn start(&mut self, line: &mut Line<U, D>, tuning: &Tuning) -> Result<(), Fault> {
        // Hours between self-calibrations; written only when it differs, because the memory wears out.
        let hours = if tuning.calibrates_itself() { SELF_CALIBRATION_H } else { 0 };
        let [_, _, _, high, low, _, _] =
            line.ask(&frame([0xfe, 0x03, 0x00, PERIOD, 0x00, 0x01]), &[0xfe, 0x03, 0x02], whole).await?;
        if [high, low] != [0, hours] {
            let request = frame([0xfe, 0x06, 0x00, PERIOD, 0x00, hours]);
            let _echo: [u8; 8] = line.ask(&request, &[0xfe, 0x06, 0x00, PERIOD], whole).await?;
        }
        Ok(())
    }

    async fn poll(&mut self, line: &mut Line<U, D>, _: &Air) -> Result<Option<Values>, Fault> {
        let [_, _, _, _, status, _, _, _, _, high, low, _, _] = line.ask(&READ, READ_HEAD, whole).await?;
        if status & BROKEN != 0 {
            return Err(Fault::SelfTest);
        }
        if status & OUT_OF_RANGE != 0 {
            return Err(Fault::Range);
        }
        Ok(Some(values(&[("co2", f64::from(u16::from_be_bytes([high, low])))])))
    }

    async fn recalibrate(&mut self, line: &mut Line<U, D>, ppm: u16) -> Result<(), CalibrationError> {
        if !FRESH_PPM.contains(&ppm) {
            return Err(CalibrationError::FreshAirOnly);
        }
        // Clear the acknowledgement, start, and see it set after more than one of its cycles of 4 s.
        let clear = frame([0xfe, 0x06, 0x00, 0x00, 0x00, 0x00]);
        let _echo: [u8; 8] = line.ask(&clear, &[0xfe, 0x06, 0x00, 0x00], whole).await?;
        let begin = frame([0xfe, 0x06, 0x00, 0x01, 0x7c, 0x06]);
        let _echo: [u8; 8] = line.ask(&begin, &[0xfe, 0x06, 0x00, 0x01], whole).await?;
        line.wait_ms(CALIBRATION_MS).await;
        let [_, _, _, _, acknowledged, _, _] =
            line.ask(&frame([0xfe, 0x03, 0x00, 0x00, 0x00, 0x01]), &[0xfe, 0x03, 0x02], whole).await?;
        if acknowledged & CALIBRATED == 0 { Err(CalibrationError::Refused) } else { Ok(()) }
    }
}

fn whole<const N: usize>(frame: &[u8; N]) -> bool {
    frame.split_last_chunk::<2>().is_some_and(|(inner, crc)| modbus(inner) == *crc)
}

fn frame(request: [u8; 6]) -> [u8; 8] {
    let ([a, b, c, d, e, f], [low, high]) = (request, modbus(&request));
    [a, b, c, d, e, f, low, high]
}

/// Input registers 1 to 4: status, alarm, output, CO2.
const READ: [u8; 8] = [0xfe, 0x04, 0x00, 0x00, 0x00, 0x04, 0xe5, 0xc6];
const READ_HEAD: &[u8] = &[0xfe, 0x04, 0x08];
/// Holding register 32.
const PERIOD: u8 = 0x1f;
/// A week and a half, as it is shipped.
const SELF_CALIBRATION_H: u8 = 180;
/// Status: fatal, offset regulation, algorithm, output, self-diagnosis; memory.
const BROKEN: u8 = 0b0101_1111;
const OUT_OF_RANGE: u8 = 0b0010_0000;
const CALIBRATED: u8 = 0b0010_0000;
const CALIBRATION_MS: u32 = 5_000;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::{Talk, talk};

    pub(in crate::part) fn recording() -> Talk {
        Talk {
            kind: "S8",
            request: &READ,
            answer: &[0xfe, 0x04, 0x08, 0, 0, 0, 0, 0, 0, 0x01, 0x9f, 0x56, 0xe2],
            other: &[0xfe, 0x04, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x58, 0x17, 0x80],
            values: &[("co2", 415.0)],
        }
    }

    fn poll(status: u8) -> Result<Option<Values>, Fault> {
        let body = [0xfe, 0x04, 0x08, 0, status, 0, 0, 0, 0, 0x01, 0x9f];
        let answer = [&body[..], &modbus(&body)].concat();
        talk(&[(&READ, &answer)], async |line| S8.poll(line, &Air::default()).await).0
    }

    #[test]
    fn what_its_status_says_is_heard() {
        for (status, fault) in
            [(0, None), (1, Some(Fault::SelfTest)), (0x40, Some(Fault::SelfTest)), (0x20, Some(Fault::Range))]
        {
            assert_eq!(poll(status).err(), fault, "{status:02x}");
        }
    }

    #[test]
    fn self_calibration_is_written_when_it_differs() {
        let off = Tuning::default().self_calibration(false);
        // The frames of TDE2067: read the period, 180 h, off.
        let read = &[0xfe, 0x03, 0x00, 0x1f, 0x00, 0x01, 0xa1, 0xc3][..];
        let is_180 = &[0xfe, 0x03, 0x02, 0x00, 0xb4, 0xac, 0x27][..];
        let set_off = &[0xfe, 0x06, 0x00, 0x1f, 0x00, 0x00, 0xac, 0x03][..];
        let same = talk(&[(read, is_180)], async |line| S8.start(line, &Tuning::default()).await);
        assert_eq!(same, (Ok(()), read.to_vec()));
        let changed = talk(&[(read, is_180), (set_off, set_off)], async |line| S8.start(line, &off).await);
        assert_eq!(changed, (Ok(()), [read, set_off].concat()));
    }

    #[test]
    fn background_calibration_is_acknowledged_or_refused() {
        let clear = &[0xfe, 0x06, 0x00, 0x00, 0x00, 0x00, 0x9d, 0xc5][..];
        let begin = &[0xfe, 0x06, 0x00, 0x01, 0x7c, 0x06, 0x6c, 0xc7][..];
        let read = &[0xfe, 0x03, 0x00, 0x00, 0x00, 0x01, 0x90, 0x05][..];
        for (answer, expected) in [
            (&[0xfe, 0x03, 0x02, 0x00, 0x20, 0xad, 0x88][..], Ok(())),
            (&[0xfe, 0x03, 0x02, 0x00, 0x00, 0xac, 0x50][..], Err(CalibrationError::Refused)),
        ] {
            let script = [(clear, clear), (begin, begin), (read, answer)];
            assert_eq!(talk(&script, async |line| S8.recalibrate(line, 400).await).0, expected);
        }
        let (result, sent) = talk(&[], async |line| S8.recalibrate(line, 1_000).await);
        assert_eq!((result, sent.len()), (Err(CalibrationError::FreshAirOnly), 0));
    }
}
