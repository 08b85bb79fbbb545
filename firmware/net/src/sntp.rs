//! The date from a time server: SNTP, client side (RFC 4330, RFC 5905 §14). Packets only; sending them is the caller's.
//!
//! An answer counts only when it carries back the random number of its question, so somebody who cannot see the question
//! cannot set the clock. Who can see it can; that is why a certificate's dates are one check among several.

/// Length of a question and of the part of an answer that matters.
pub const PACKET_BYTES: usize = 48;

/// The port of time servers.
pub const PORT: u16 = 123;

/// A question. The number must be random.
pub fn question(random: u64) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES];
    // No warning, version 4, mode 3: a client.
    packet[0] = 0b00_100_011;
    // Servers carry it back without a look at it, so it need not be the time.
    if let Some(transmit) = packet.get_mut(TRANSMIT) {
        transmit.copy_from_slice(&random.to_be_bytes());
    }
    packet
}

/// Milliseconds since 1970 from the answer to the question with this number; `None` for anything else. The way of the
/// packets, some tens of milliseconds, is not taken off.
pub fn answer(packet: &[u8], random: u64) -> Option<i64> {
    let (header, stratum) = (*packet.first()?, *packet.get(1)?);
    let is_answer = header & 0b111 == MODE_SERVER && header >> 6 != WARNING_UNSET;
    if !is_answer || !(1..=15).contains(&stratum) || packet.get(ORIGINATE)? != random.to_be_bytes() {
        return None;
    }
    let stamp = u64::from_be_bytes(packet.get(TRANSMIT)?.try_into().ok()?);
    let (seconds, fraction) = (stamp >> 32, stamp & 0xffff_ffff);
    // The count starts again in 2036. Dates before 1968 mean the second round (RFC 4330 §3).
    let seconds = if seconds & 0x8000_0000 == 0 { seconds + (1 << 32) } else { seconds };
    let unix_ms = seconds.checked_sub(SECONDS_1900_TO_1970)? * 1_000 + ((fraction * 1_000) >> 32);
    (stamp != 0).then_some(i64::try_from(unix_ms).ok()?)
}

const MODE_SERVER: u8 = 4;
const WARNING_UNSET: u8 = 3;
const ORIGINATE: core::ops::Range<usize> = 24..32;
const TRANSMIT: core::ops::Range<usize> = 40..48;
const SECONDS_1900_TO_1970: u64 = 2_208_988_800;

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: u64 = 0x0123_4567_89ab_cdef;

    fn reply(seconds: u32, fraction: u32) -> [u8; PACKET_BYTES] {
        let mut packet = [0; PACKET_BYTES];
        packet[0] = 0b00_100_100;
        packet[1] = 2;
        packet[ORIGINATE].copy_from_slice(&RANDOM.to_be_bytes());
        packet[40..44].copy_from_slice(&seconds.to_be_bytes());
        packet[44..48].copy_from_slice(&fraction.to_be_bytes());
        packet
    }

    #[test]
    fn an_answer_tells_the_date_in_both_rounds() {
        for (seconds, fraction, unix_ms) in [
            // 22 November 2026, 10:00 UTC, and half a second.
            (4_004_330_400, 0x8000_0000, 1_795_341_600_500),
            // 7 February 2036, the last second of the first round, and the first of the second.
            (u32::MAX, 0, 2_085_978_495_000),
            (0, 1 << 30, 2_085_978_496_250),
        ] {
            assert_eq!(answer(&reply(seconds, fraction), RANDOM), Some(unix_ms), "{seconds}");
        }
    }

    #[test]
    fn what_is_no_answer_to_this_question_sets_no_clock() {
        let good = reply(4_004_330_400, 0);
        assert!(answer(&good, RANDOM).is_some());
        assert_eq!(answer(&good, RANDOM + 1), None);
        for len in 0..PACKET_BYTES {
            assert_eq!(answer(&good[..len], RANDOM), None, "{len}");
        }
        for (at, value) in [(0, 0b00_100_011), (0, 0b11_100_100), (1, 0), (1, 16), (24, 0xff)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(answer(&bad, RANDOM), None, "{at} {value:#b}");
        }
        assert_eq!(answer(&reply(0, 0), RANDOM), None);
        assert_eq!(answer(&question(RANDOM), RANDOM), None);
    }
}
