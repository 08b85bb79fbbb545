//! Virtual devices: the firmware's own core on this machine, in rooms that exist only as equations, over real TLS.
//!
//! | module | holds |
//! |---|---|
//! | `room` | people, windows, mass balance and a noisy sensor; pure |
//! | `outage` | when the Wi-Fi is away; pure |
//! | `device` | the loop that feeds the core's state machine and does what it says |
//! | `connection` | HTTP/1.1 over rustls behind the traits the core speaks |
//! | `chance` | chance that repeats by seed; pure |

#![allow(
    clippy::disallowed_methods,
    reason = "a driver of devices reads the clock for them; its rules do not"
)]

mod chance;
mod connection;
mod device;
mod outage;
mod room;

pub use connection::GatewayError;
pub use room::{Room, RoomKind};

use casement_core::{Settings, SettingsError};
use connection::Gateway;
use device::Plan;
use outage::Outages;
use rustls::RootCertStore;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Some virtual devices and the gateway they report to.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// The gateway: `https://host:port`.
    pub url: String,
    /// Certificates that may have signed the gateway's. Nothing turns verification off.
    pub roots: Arc<RootCertStore>,
    /// The devices.
    pub devices: Vec<Virtual>,
    /// How much faster than the clock the rooms live. Time stamps are real in any case.
    pub speed: f64,
    /// Milliseconds between two readings, 1,000 to 3,600,000.
    pub period_ms: u64,
    /// How long the devices have been running without a network when the fleet starts. Their history, a reading every
    /// minute, waits in their queues and is sent in batches. In a history of four hours or more one device (the third, or
    /// the last of fewer) has been without power for 80 minutes, so that its chart has a gap.
    pub backfill: Duration,
    /// Whether devices lose their Wi-Fi now and then. Their readings then arrive late, without a gap; the second device
    /// (or the only one) begins with that after a minute.
    pub outages: bool,
    /// When to stop by itself. The devices stop sampling and have five seconds to send what they hold.
    pub duration: Option<Duration>,
}

/// One virtual device.
#[derive(Clone)]
pub struct Virtual {
    /// Its token.
    pub token: String,
    /// The room it is in.
    pub kind: RoomKind,
    /// Same seed, same room.
    pub seed: u64,
    /// Number of this start, for example unix seconds: it must not come back for the same token. On the wire it appears
    /// doubled, and doubled plus one after a power cut in the history.
    pub boot: u64,
    /// Whether it has a sensor like the SGP30, which estimates CO2 from volatile compounds.
    pub estimated: bool,
}

impl std::fmt::Debug for Virtual {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { token: _, kind, seed, boot, estimated } = self;
        f.debug_struct("Virtual")
            .field("token", &"***")
            .field("kind", kind)
            .field("seed", seed)
            .field("boot", boot)
            .field("estimated", estimated)
            .finish()
    }
}

/// What a fleet has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Readings the gateway stored.
    pub stored: u64,
    /// Readings it had already.
    pub duplicate: u64,
    /// Readings it will never take.
    pub rejected: u64,
    /// Uploads that did not get through, for whatever reason. They are tried again.
    pub failed_uploads: u64,
    /// Readings given up: the queue was full, or the gateway could not read them.
    pub dropped: u64,
    /// Readings that wait.
    pub queued: u64,
}

impl std::iter::Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, it| Self {
            stored: sum.stored + it.stored,
            duplicate: sum.duplicate + it.duplicate,
            rejected: sum.rejected + it.rejected,
            failed_uploads: sum.failed_uploads + it.failed_uploads,
            dropped: sum.dropped + it.dropped,
            queued: sum.queued + it.queued,
        })
    }
}

/// Why a fleet cannot start. Once it runs, nothing ends it but its time and the token.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The gateway cannot be addressed.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The period is out of bounds.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// Runs a fleet until its time is up or `shutdown` is cancelled. `clock` gives milliseconds since 1970; `progress` hears
/// the sum over all devices after uploads.
///
/// # Errors
/// The address or the period cannot be used. A gateway that is away, refuses or breaks off is no error: the devices
/// keep their readings and try again, as real ones do.
pub async fn run(
    fleet: Fleet,
    clock: impl Fn() -> i64 + Clone + Send + Sync + 'static,
    shutdown: CancellationToken,
    mut progress: impl FnMut(&Totals) + Send + 'static,
) -> Result<Totals, FleetError> {
    let gateway = Gateway::new(&fleet.url, fleet.roots)?;
    let profile = casement_proto::band::PROFILES.first().map_or("", |profile| profile.id);
    let period_ms = u32::try_from(fleet.period_ms).unwrap_or(u32::MAX);
    let live = Settings::new(period_ms, device::BATCH, profile)?;
    let history = Settings::new(device::HISTORY_PERIOD_MS, device::BATCH, profile)?;
    let backfill_ms = u64::try_from(fleet.backfill.as_millis()).unwrap_or(u64::MAX);
    let until = fleet.duration.and_then(|duration| Instant::now().checked_add(duration));
    let count = fleet.devices.len();

    let (report, mut reports) = mpsc::channel(REPORTS_MAX);
    let mut running = JoinSet::new();
    for (index, it) in fleet.devices.into_iter().enumerate() {
        let begins_ms = clock().saturating_sub_unsigned(backfill_ms);
        let plan = Plan {
            room: Room::new(it.kind, it.seed, it.estimated, begins_ms),
            token: it.token,
            boot: it.boot,
            seed: it.seed,
            speed: fleet.speed,
            live,
            history,
            backfill_ms,
            hole_ms: hole(backfill_ms).filter(|_| index == count.saturating_sub(1).min(2)),
            outages: match fleet.outages {
                true => Outages::some(it.seed, index == count.saturating_sub(1).min(1)),
                false => Outages::none(),
            },
            until,
        };
        let device =
            device::run(plan, gateway.clone(), clock.clone(), shutdown.clone(), report.clone(), index);
        running.spawn(async move { (index, device.await) });
    }
    drop(report);

    // The last word of a device that is done stands, whatever reports of it are still on their way.
    let mut totals = vec![(Totals::default(), false); count];
    let sum = |totals: &[(Totals, bool)]| totals.iter().map(|(it, _)| *it).sum();
    loop {
        let ((index, device), done) = tokio::select! {
            Some(heard) = reports.recv() => (heard, false),
            joined = running.join_next() => match joined {
                Some(Ok(heard)) => (heard, true),
                // A device that panicked is remembered by its last report.
                Some(Err(_)) => continue,
                None => return Ok(sum(&totals)),
            },
        };
        if let Some(slot) = totals.get_mut(index).filter(|(_, finished)| !finished) {
            *slot = (device, done);
        }
        progress(&sum(&totals));
    }
}

/// When, within a history, the power was off: 80 minutes in its second half.
fn hole(backfill_ms: u64) -> Option<(u64, u64)> {
    let from_ms = backfill_ms / 20 * 11;
    (backfill_ms >= HOLE_BACKFILL_MS_MIN).then_some((from_ms, from_ms + HOLE_MS))
}

const HOLE_MS: u64 = 80 * 60_000;
const HOLE_BACKFILL_MS_MIN: u64 = 4 * 3_600_000;
const REPORTS_MAX: usize = 64;

#[cfg(test)]
mod tests;
