//! The date that certificates are held against.
//!
//! Mbed TLS asks a global hook. Before [`set`] it learns nothing and refuses every certificate, which is what we want: a
//! device whose clock stands at zero must not take an expired certificate for a good one.

use core::sync::atomic::{AtomicU32, Ordering};
use embassy_time::Instant;
use mbedtls_rs::sys::hook::timer::{MbedtlsTimer, hook_timer};
use mbedtls_rs::sys::hook::wall_clock::{MbedtlsWallClock, hook_wall_clock};
use mbedtls_rs::sys::{mbedtls_ms_time_t, tm};
use time::OffsetDateTime;

/// Sets the date: seconds since 1970, now. Times from 2106 on do not fit and count as unknown. 0 makes the date unknown.
pub fn set(unix_s: u64) {
    let started = unix_s.saturating_sub(Instant::now().as_secs());
    STARTED_UNIX_S.store(u32::try_from(started).unwrap_or(0), Ordering::Relaxed);
}

/// Seconds since 1970, once [`set`].
pub fn unix_s() -> Option<u64> {
    let started = STARTED_UNIX_S.load(Ordering::Relaxed);
    (started != 0).then(|| u64::from(started) + Instant::now().as_secs())
}

/// Makes Mbed TLS ask here. Every connection does it, and doing it again changes nothing.
pub(crate) fn install() {
    // SAFETY: both hooks are statics without state of their own. They are installed before the first session exists,
    // and installing the same ones again is harmless.
    #[expect(unsafe_code, reason = "the bindings mark changing a global of Mbed TLS as unsafe")]
    unsafe {
        hook_timer(Some(&Steady));
        hook_wall_clock(Some(&Date));
    }
}

/// When the device started, in seconds since 1970; 0 while unknown. Chips without 64-bit atomics hold this much.
static STARTED_UNIX_S: AtomicU32 = AtomicU32::new(0);

struct Steady;

impl MbedtlsTimer for Steady {
    fn now(&self) -> mbedtls_ms_time_t {
        mbedtls_ms_time_t::try_from(Instant::now().as_millis()).unwrap_or(mbedtls_ms_time_t::MAX)
    }
}

struct Date;

impl MbedtlsWallClock for Date {
    fn instant(&self) -> Option<tm> {
        let date = OffsetDateTime::from_unix_timestamp(i64::try_from(unix_s()?).ok()?).ok()?;
        Some(tm {
            tm_sec: date.second().into(),
            tm_min: date.minute().into(),
            tm_hour: date.hour().into(),
            tm_mday: date.day().into(),
            tm_mon: (u8::from(date.month()) - 1).into(),
            tm_year: date.year() - 1900,
            tm_wday: date.weekday().number_days_from_sunday().into(),
            tm_yday: (date.ordinal() - 1).into(),
            ..tm::default()
        })
    }
}
