//! Plantower PMS5003, PMS7003, PMSA003: particles. PMS5003 manual v2.3.

use crate::checksum::plantower;
use crate::port::{Air, Sensor, Spec, Tuning, offer, values};
use crate::wire::Line;
use casement_core::Fault;
use casement_core::record::Values;
use embedded_hal_async::delay::DelayNs;
use embedded_io_async::{Read, Write};

static SPEC: Spec = Spec {
    name: "PMSx003",
    interval_ms: 3_000,
    patience_ms: 20_000,
    // The fan needs 30 s (manual, "Circuit attentions").
    warm_up_ms: 30_000,
    conditioning_ms: 0,
    offers: &[
        offer("pm1", 10.0, (0.0, 6_000.0)),
        offer("pm2_5", 10.0, (0.0, 6_000.0)),
        offer("pm10", 25.0, (0.0, 6_000.0)),
    ],
};

#[derive(Debug)]
pub(crate) struct PmsX003;

impl<U: Read + Write, D: DelayNs> Sensor<Line<U, D>> for PmsX003 {
    const PLACES: &'static [u8] = &[0];

    async fn probe(line: &mut Line<U, D>, _: u8) -> Result<Self, Fault> {
        // By itself it speaks all the time, and when told to be quiet it answers questions: both give a frame.
        line.tell(&WAKE).await?;
        line.ask(&READ, HEAD, whole).await.map(|_| Self)
    }

    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn start(&mut self, line: &mut Line<U, D>, _: &Tuning) -> Result<(), Fault> {
        line.tell(&WAKE).await?;
        line.tell(&PASSIVE).await
    }

    async fn poll(&mut self, line: &mut Line<U, D>, _: &Air) -> Result<Option<Values>, Fault> {
        let frame = line.ask(&READ, HEAD, whole).await?;
        // The second three of its numbers: in the atmosphere, not in a factory.
        let [_, _, _, _, _, _, _, _, _, _, a, b, c, d, e, f, ..] = frame;
        let number = |high, low| f64::from(u16::from_be_bytes([high, low]));
        Ok(Some(values(&[("pm1", number(a, b)), ("pm2_5", number(c, d)), ("pm10", number(e, f))])))
    }
}

fn whole(frame: &[u8; 32]) -> bool {
    frame.split_last_chunk::<2>().is_some_and(|(inner, sum)| plantower(inner) == *sum)
}

/// Two fixed bytes and the length of what follows: 28.
const HEAD: &[u8] = &[0x42, 0x4d, 0x00, 0x1c];
const READ: [u8; 7] = [0x42, 0x4d, 0xe2, 0x00, 0x00, 0x01, 0x71];
const PASSIVE: [u8; 7] = [0x42, 0x4d, 0xe1, 0x00, 0x00, 0x01, 0x70];
const WAKE: [u8; 7] = [0x42, 0x4d, 0xe4, 0x00, 0x01, 0x01, 0x74];

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::Talk;

    pub(in crate::part) fn recording() -> Talk {
        Talk {
            kind: "PmsX003",
            request: &READ,
            answer: &[
                0x42, 0x4d, 0x00, 0x1c, 0x00, 0x05, 0x00, 0x08, 0x00, 0x0a, 0x00, 0x04, 0x00, 0x07, 0x00, 0x09,
                0x03, 0x2a, 0x00, 0xf1, 0x00, 0x2c, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00, 0x97, 0x00, 0x02, 0xbb,
            ],
            other: &[0x42, 0x4d, 0x00, 0x1c, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0x01, 0x00, 0xb8],
            values: &[("pm1", 4.0), ("pm2_5", 7.0), ("pm10", 9.0)],
        }
    }

    #[test]
    fn the_requests_have_the_checksums_of_the_manual() {
        for request in [READ, PASSIVE, WAKE] {
            let (inner, sum) = request.split_last_chunk::<2>().unwrap();
            assert_eq!(plantower(inner), *sum);
        }
    }
}
