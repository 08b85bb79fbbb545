//! The date through a restart, in memory that only a power cut clears. A panic or the watchdog gives no warning, so it is
//! written with each sign of life; then it is some seconds old at most, and any better source replaces it.

use casement_core::clock::{CARRY_WORDS, carried, carry};
use esp_hal::ram;
use portable_atomic::{AtomicU32, Ordering};

/// In the memory of the clock that goes on through a restart.
#[ram(unstable(rtc_fast, persistent))]
static DATE: [AtomicU32; CARRY_WORDS] = [const { AtomicU32::new(0) }; CARRY_WORDS];

/// From the reset to the first line of this program, about: the bootloader reads the whole image and hashes it.
const BOOT_MS: i64 = 1_000;

/// Writes the date down, if it is known.
pub fn keep(unix_ms: Option<i64>) {
    let Some(unix_ms) = unix_ms else { return };
    for (place, word) in DATE.iter().zip(carry(unix_ms)) {
        place.store(word, Ordering::Relaxed);
    }
}

/// The date when this start began. `silent_ms` says how long nothing was written down before the reset; `None` when memory
/// did not outlive it.
pub fn take(silent_ms: Option<u64>) -> Option<i64> {
    let words = DATE.each_ref().map(|place| place.load(Ordering::Relaxed));
    Some(carried(words)?.saturating_add_unsigned(silent_ms?).saturating_add(BOOT_MS))
}
