//! What a device does next. Events and the time go in, actions come out; nothing is done here.

use crate::Millis;
use crate::queue::QueueStatus;
use crate::record::{Record, SAMPLE_VALUES_MAX, Timeline, Values};
use crate::settings::Settings;
use crate::uplink::{Ack, Backoff, UploadError};
use casement_proto::{Band, BandFilter, State};

/// What the sensors gave at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// How far the sensors trust it.
    pub state: State,
    /// Up to [`SAMPLE_VALUES_MAX`] quantities. Those that cannot be true are left out of the reading and counted. None,
    /// with [`State::WarmingUp`]: there is nothing to keep yet.
    pub values: Values,
}

/// Why there is no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No answer on the bus.
    #[error("the sensor does not answer")]
    Bus,
    /// A checksum was wrong.
    #[error("the sensor's checksum is wrong")]
    Crc,
    /// The sensor was not ready in the time its datasheet gives.
    #[error("the sensor is not ready in time")]
    Timeout,
    /// Every value was outside what can be true.
    #[error("the sensor's values cannot be true")]
    Range,
    /// The sensor says that it is broken.
    #[error("the sensor's self-test failed")]
    SelfTest,
}

/// What happened.
#[expect(clippy::large_enum_variant, reason = "there is no allocator, and it is passed on at once")]
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The moment of [`Actions::wake_at`] came. Harmless at any other moment.
    Due,
    /// The answer to [`Actions::sample`].
    Sampled(Result<Sample, Fault>),
    /// The network came or went.
    Link(bool),
    /// The clock was set: milliseconds since 1970.
    Clock(i64),
    /// A person changed the settings.
    Settings(Settings),
    /// What waits in the queue: after start, after [`Actions::keep`] and after [`Actions::acknowledge`].
    Queue(QueueStatus),
    /// The answer to [`Actions::upload`], exactly one for each.
    Uploaded {
        /// Readings that were in the batch; 0 when there was nothing to send.
        sent: u16,
        /// What became of them.
        result: Result<Ack, UploadError>,
    },
}

/// What to do, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Actions {
    /// Let go of the readings of the last upload, then report [`Event::Queue`].
    pub acknowledge: bool,
    /// Put this into the queue, then report [`Event::Queue`].
    pub keep: Option<Record>,
    /// Show this from now on.
    pub show: Option<Display>,
    /// Ask the sensors, and answer with [`Event::Sampled`].
    pub sample: bool,
    /// Send up to this many of the oldest waiting readings, and answer with [`Event::Uploaded`].
    pub upload: Option<u16>,
    /// Tear the network interface down and build it up again, without restarting the device.
    pub restart_radio: bool,
    /// When to come back with [`Event::Due`] unless something else happens first.
    pub wake_at: Millis,
}

/// What a person sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Display {
    /// What to do about the air; `None` while there is nothing to say.
    pub band: Option<Band>,
    /// The number.
    pub primary: Option<Primary>,
    /// How far to trust it.
    pub state: State,
    /// Whether readings get through.
    pub link: Link,
    /// Readings that wait, while they do not get through.
    pub queued: u32,
    /// What is wrong with the sensors, once it is more than a hiccup.
    pub fault: Option<Fault>,
}

/// The number a device shows. Measured and estimated never look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primary {
    /// Measured CO2 in ppm.
    Co2(u32),
    /// CO2 estimated from volatile compounds, in ppm.
    Eco2(u32),
}

/// Whether readings get through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// No network. Readings are kept.
    #[default]
    Offline,
    /// There is a network, but the gateway has not taken anything yet, or not lately.
    Waiting,
    /// The gateway took the last batch.
    Online,
    /// The gateway does not know this device's token; a person must give it a new one.
    TokenRefused,
}

/// What a device counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Samples the sensors gave.
    pub samples: u32,
    /// Samples they did not give.
    pub faults: u32,
    /// The last reason why not.
    pub last_fault: Option<Fault>,
    /// Samples that were still outstanding when the next was due.
    pub late: u32,
    /// Values left out because they cannot be true.
    pub out_of_range: u32,
    /// Uploads the gateway took.
    pub uploads: u32,
    /// Uploads it did not take, for whatever reason.
    pub uploads_failed: u32,
    /// Readings stored.
    pub stored: u64,
    /// Readings the gateway had already.
    pub duplicate: u64,
    /// Readings the gateway will never take.
    pub rejected: u64,
    /// Readings given up because the gateway could not read a batch with nothing else in it.
    pub poisoned: u32,
    /// Times the network went away.
    pub links_lost: u32,
    /// Times the radio was restarted.
    pub radio_restarts: u32,
    /// When the gateway last took something.
    pub last_upload: Option<Millis>,
    /// The queue's own counters.
    pub queue: QueueStatus,
}

/// The state machine of a device.
#[derive(Debug)]
pub struct Node {
    settings: Settings,
    boot: u64,
    next_seq: u64,
    random: u32,
    /// Milliseconds since 1970 at which this start began.
    started_unix_ms: Option<i64>,
    next_sample: Millis,
    outstanding: Option<Stamp>,
    last_stamp_unix_ms: Option<i64>,
    filter: BandFilter,
    shown: Option<Display>,
    primary: Option<Primary>,
    state: State,
    last_value: Millis,
    faults_in_a_row: u32,
    fault_kept: Option<Millis>,
    link: bool,
    reach: Link,
    silent_since: Option<Millis>,
    uploading: bool,
    limit: u16,
    backoff: Backoff,
    not_before: Millis,
    /// The part of `not_before` the gateway asked for, which a returning network does not cut short.
    hold: Millis,
    health: Health,
}

#[derive(Clone, Copy, Debug)]
struct Stamp {
    uptime: Millis,
    unix_ms: Option<i64>,
}

impl Node {
    /// A device at the beginning of a start. `boot` must never have been used before (see
    /// [`next_boot`](crate::queue::next_boot)); `random` is chance that differs between devices.
    pub fn new(settings: Settings, boot: u64, random: u32) -> Self {
        Self {
            settings,
            boot,
            next_seq: 1,
            random: random | 1,
            started_unix_ms: None,
            next_sample: Millis(0),
            outstanding: None,
            last_stamp_unix_ms: None,
            filter: BandFilter::new(),
            shown: None,
            primary: None,
            state: State::Ok,
            last_value: Millis(0),
            faults_in_a_row: 0,
            fault_kept: None,
            link: false,
            reach: Link::Waiting,
            silent_since: Some(Millis(0)),
            uploading: false,
            limit: settings.batch(),
            backoff: Backoff::new(),
            not_before: Millis(0),
            hold: Millis(0),
            health: Health::default(),
        }
    }

    /// Takes what happened and says what to do. Whatever is due by `now` is among it, whichever event came.
    pub fn handle(&mut self, event: Event, now: Millis) -> Actions {
        let mut actions = Actions::default();
        match event {
            Event::Due => {}
            Event::Sampled(result) => actions.keep = self.sampled(result, now),
            Event::Link(up) => self.linked(up, now),
            Event::Clock(unix_ms) => self.set_clock(unix_ms, now),
            Event::Settings(settings) => self.set(settings, now),
            Event::Queue(status) => self.health.queue = status,
            Event::Uploaded { sent, result } => actions.acknowledge = self.uploaded(sent, result, now),
        }
        actions.sample = self.sample_due(now);
        if self.waits_to_upload() && now >= self.not_before && !actions.acknowledge {
            self.uploading = true;
            actions.upload = Some(self.limit);
        }
        actions.restart_radio = self.radio_stuck(now);
        actions.show = self.display(now);
        actions.wake_at = self.next_sample;
        if self.waits_to_upload() {
            actions.wake_at = actions.wake_at.min(self.not_before.max(now));
        }
        actions
    }

    /// What the device knows about time, for turning records into readings.
    pub const fn timeline(&self, now: Millis) -> Timeline {
        Timeline { boot: self.boot, now, started_unix_ms: self.started_unix_ms }
    }

    /// What it counted so far.
    pub const fn health(&self) -> &Health {
        &self.health
    }

    fn sample_due(&mut self, now: Millis) -> bool {
        if now < self.next_sample {
            return false;
        }
        let period = self.settings.period_ms();
        // A clock that was put back a little meanwhile makes the moment come slightly early.
        let early = self.tolerance_ms();
        let past = self.grid_phase(now.0.saturating_add(early));
        let stamp = Stamp {
            uptime: Millis(now.0.saturating_add(early).saturating_sub(past)),
            unix_ms: self.started_unix_ms.map(|started| {
                started.saturating_add_unsigned(now.0.saturating_add(early)).saturating_sub_unsigned(past)
            }),
        };
        self.next_sample = Millis(stamp.uptime.0.saturating_add(period)).max(now.after(1));
        if stamp.unix_ms.is_some() && stamp.unix_ms == self.last_stamp_unix_ms {
            return false;
        }
        self.last_stamp_unix_ms = stamp.unix_ms;
        self.health.late += u32::from(self.outstanding.is_some());
        self.outstanding = Some(stamp);
        true
    }

    fn sampled(&mut self, result: Result<Sample, Fault>, now: Millis) -> Option<Record> {
        let stamp = self.outstanding.take()?;
        // Sensors that have just been powered have nothing to say yet, and nothing is wrong with them.
        if result.as_ref().is_ok_and(|it| it.state == State::WarmingUp && it.values.is_empty()) {
            self.state = State::WarmingUp;
            self.faults_in_a_row = 0;
            return None;
        }
        let result = result.and_then(|mut sample| {
            let before = sample.values.len();
            sample.values.retain(|(quantity, value)| quantity.holds(*value));
            let left_out = before - sample.values.len();
            self.health.out_of_range += u32::try_from(left_out).unwrap_or(u32::MAX);
            if sample.values.is_empty() { Err(Fault::Range) } else { Ok(sample) }
        });
        match result {
            Ok(sample) => {
                self.health.samples += 1;
                self.faults_in_a_row = 0;
                self.fault_kept = None;
                self.look_at(&sample, now);
                Some(self.record(stamp, sample, now))
            }
            Err(fault) => {
                self.health.faults += 1;
                self.health.last_fault = Some(fault);
                self.faults_in_a_row = self.faults_in_a_row.saturating_add(1);
                let again = self.fault_kept.is_none_or(|kept| now.since(kept) >= FAULT_REPEAT_MS);
                if self.faults_in_a_row < FAULTS_SHOWN_FROM || !again {
                    return None;
                }
                self.fault_kept = Some(now);
                Some(self.record(stamp, Sample { state: State::Failed, values: Values::new() }, now))
            }
        }
    }

    fn record(&mut self, stamp: Stamp, sample: Sample, now: Millis) -> Record {
        let seq = self.next_seq;
        self.next_seq += 1;
        // Devices share the sampling grid. They need not all knock at the same moment.
        let spread = u64::from(self.random) % (self.settings.period_ms() / 5).clamp(1, SPREAD_MS_MAX);
        self.not_before = self.not_before.max(now.after(spread));
        let Sample { state, values } = sample;
        Record { boot: self.boot, seq, uptime: stamp.uptime, unix_ms: stamp.unix_ms, state, values }
    }

    fn look_at(&mut self, sample: &Sample, now: Millis) {
        let value = |name: &str| {
            sample.values.iter().find(|(quantity, _)| quantity.name() == name).map(|(_, value)| *value)
        };
        // Values that hold are within the metric's range, so the conversion cannot overflow.
        let whole = |value: f64| (value + 0.5) as u32;
        let (primary, moves_light) = match (value("co2"), value("eco2")) {
            (Some(co2), _) => (Some(Primary::Co2(whole(co2))), Some(co2)),
            (None, Some(eco2)) => (
                Some(Primary::Eco2(whole(eco2))),
                Some(eco2).filter(|_| self.settings.estimate_moves_light()),
            ),
            (None, None) => (None, None),
        };
        self.primary = primary;
        self.state = sample.state;
        self.last_value = now;
        if let (State::Ok | State::Conditioning, Some(ppm)) = (sample.state, moves_light) {
            self.filter.update(self.settings.profile(), now.0, ppm);
        }
    }

    fn linked(&mut self, up: bool, now: Millis) {
        if self.link && !up {
            self.health.links_lost += 1;
            self.silent_since = self.silent_since.or(Some(now));
        }
        if !self.link && up {
            self.backoff.reset();
            let spread = u64::from(self.next_random()) % SPREAD_MS_MAX;
            self.not_before = self.hold.max(now.after(spread));
            if self.reach == Link::Online {
                self.reach = Link::Waiting;
            }
        }
        self.link = up;
    }

    fn set(&mut self, settings: Settings, now: Millis) {
        self.settings = settings;
        self.limit = settings.batch();
        self.begin_grid(now);
    }

    /// Up to one period passes until the first point of a grid.
    fn begin_grid(&mut self, now: Millis) {
        self.next_sample = now.after(self.settings.period_ms() - self.grid_phase(now.0));
    }

    fn set_clock(&mut self, unix_ms: i64, now: Millis) {
        if !CLOCK_UNIX_MS.contains(&unix_ms) {
            return;
        }
        let started = unix_ms.saturating_sub_unsigned(now.0);
        let moved = self.started_unix_ms.map(|before| before.abs_diff(started));
        self.started_unix_ms = Some(started);
        if moved.is_none_or(|ms| ms > self.tolerance_ms()) {
            self.begin_grid(now);
        }
    }

    fn uploaded(&mut self, sent: u16, result: Result<Ack, UploadError>, now: Millis) -> bool {
        self.uploading = false;
        if sent == 0 {
            self.not_before = now.after(NOTHING_SENT_MS);
            return false;
        }
        let error = match result {
            Ok(ack) => {
                self.took(ack, now);
                return true;
            }
            Err(error) => error,
        };
        self.health.uploads_failed += 1;
        self.silent_since = match error {
            UploadError::Connection(_) => self.silent_since.or(Some(now)),
            _ => None,
        };
        self.reach = if error == UploadError::Token { Link::TokenRefused } else { Link::Waiting };
        let mut poison = false;
        match error {
            UploadError::Refused | UploadError::Answer if sent > 1 => self.limit = sent / 2,
            // Nothing else is in the batch: this one would block all others for ever. The growing pause after each
            // refusal keeps a gateway that refuses everything from emptying the queue.
            UploadError::Refused => poison = true,
            _ => {}
        }
        self.health.poisoned += u32::from(poison);
        let random = self.next_random();
        self.not_before = now.after(u64::from(self.backoff.after(error, random)));
        if matches!(error, UploadError::Token | UploadError::Busy { .. }) {
            self.hold = self.not_before;
        }
        poison
    }

    fn took(&mut self, ack: Ack, now: Millis) {
        self.health.uploads += 1;
        self.health.stored += u64::from(ack.stored);
        self.health.duplicate += u64::from(ack.duplicate);
        self.health.rejected += u64::from(ack.rejected);
        self.health.last_upload = Some(now);
        self.reach = Link::Online;
        self.silent_since = None;
        self.backoff.reset();
        self.not_before = now;
        self.hold = now;
        self.limit = self.limit.saturating_mul(2).min(self.settings.batch());
        if let (None, Some(unix_ms)) = (self.started_unix_ms, ack.server_time_ms) {
            self.set_clock(unix_ms, now);
        }
    }

    const fn waits_to_upload(&self) -> bool {
        self.link && !self.uploading && self.health.queue.queued > 0
    }

    fn radio_stuck(&mut self, now: Millis) -> bool {
        let stuck = self.silent_since.is_some_and(|since| now.since(since) >= RADIO_RESTART_MS);
        if stuck {
            self.silent_since = Some(now);
            self.health.radio_restarts += 1;
        }
        stuck
    }

    fn display(&mut self, now: Millis) -> Option<Display> {
        let stale_ms = (3 * self.settings.period_ms()).max(STALE_MS_MIN);
        if now.since(self.last_value) > stale_ms {
            self.primary = None;
            self.filter = BandFilter::new();
        }
        let fault = self.health.last_fault.filter(|_| self.faults_in_a_row >= FAULTS_SHOWN_FROM);
        let link = if self.link { self.reach } else { Link::Offline };
        let display = Display {
            band: self.filter.band(),
            primary: self.primary,
            state: self.state,
            link,
            queued: if link == Link::Online { 0 } else { self.health.queue.queued },
            fault,
        };
        (self.shown.replace(display) != Some(display)).then_some(display)
    }

    /// Milliseconds since the last point of the sampling grid: a multiple of the period on the clock, or on the steady
    /// time while the clock is unknown.
    fn grid_phase(&self, uptime_ms: u64) -> u64 {
        let period = self.settings.period_ms();
        match (self.started_unix_ms, i64::try_from(period)) {
            (Some(started), Ok(signed)) => {
                started.saturating_add_unsigned(uptime_ms).rem_euclid(signed).unsigned_abs()
            }
            _ => uptime_ms % period,
        }
    }

    /// By how much the clock may be corrected without a new grid.
    fn tolerance_ms(&self) -> u64 {
        (self.settings.period_ms() / 4).min(1_000)
    }

    fn next_random(&mut self) -> u32 {
        // xorshift32 (Marsaglia 2003): never zero once seeded with a number that is not.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}

const _: () = assert!(SAMPLE_VALUES_MAX <= casement_proto::reading::VALUES_MAX);

/// Faults in a row from which on people and gateway hear of it.
const FAULTS_SHOWN_FROM: u32 = 3;
/// How often a lasting fault is kept as a reading without values.
const FAULT_REPEAT_MS: u64 = 300_000;
/// A number older than this (or three periods) is no longer shown.
const STALE_MS_MIN: u64 = 120_000;
/// Without any answer for this long the radio is built up again.
const RADIO_RESTART_MS: u64 = 600_000;
/// Most by which a device keeps off the moment all others send.
const SPREAD_MS_MAX: u64 = 1_000;
const NOTHING_SENT_MS: u64 = 1_000;
/// 2024 to 2100: a clock outside has not been set.
const CLOCK_UNIX_MS: core::ops::Range<i64> = 1_704_067_200_000..4_102_444_800_000;

#[cfg(test)]
mod tests;
