//! What a device does next. Events and the time go in, actions come out; nothing is done here.

mod trouble;

pub use trouble::Trouble;

use crate::Millis;
use crate::clock::{Clock, Heard, Source};
use crate::liveness::{Liveness, Rescue};
use crate::queue::QueueStatus;
use crate::radio::NotJoined;
use crate::record::{Record, SAMPLE_VALUES_MAX, Timeline, Values};
use crate::settings::Settings;
use crate::uplink::{Ack, Backoff, UploadError};
use casement_proto::device_settings::Sound;
use casement_proto::wire::DeviceHealth;
use casement_proto::{Band, BandFilter, State};

/// What the sensors gave at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// How far the sensors trust it.
    pub state: State,
    /// Up to [`SAMPLE_VALUES_MAX`] quantities. Those that cannot be true are left out of the reading and counted. None,
    /// with [`State::WarmingUp`]: there is nothing to keep yet.
    pub values: Values,
    /// Why the sensor that counts most gives nothing, while others do.
    pub fault: Option<Fault>,
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
    /// The network was not joined, or gives no address. Over once there is [`Event::Link`].
    NotJoined(NotJoined),
    /// A time server answered: milliseconds since 1970.
    Clock(i64),
    /// A person pressed the button.
    Button(Press),
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

/// How a button was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Press {
    /// Let go within three seconds.
    Short,
    /// Held for three seconds or more.
    Long,
}

/// What a device puts into the room besides its picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambience {
    /// Brightness of light and screen; 0 in quiet hours.
    pub brightness_percent: u8,
    /// Whether it is quiet.
    pub quiet: bool,
}

impl Ambience {
    /// The brightness as [`Light::at`](crate::Light::at) takes it: 0 to 255.
    pub fn level(self) -> u8 {
        u8::try_from(u16::from(self.brightness_percent.min(100)) * 255 / 100).unwrap_or(u8::MAX)
    }
}

/// What a person sees of a chip, and the state machine does not know. A driver fills it in for every report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals<'a> {
    /// Version of the firmware.
    pub firmware: &'a str,
    /// The board's name, as releases have it.
    pub board: &'a str,
    /// Why it started last; see [`DeviceHealth::reset`].
    pub reset: &'a str,
    /// Free heap in bytes, and the least since it started.
    pub heap_free: Option<(u32, u32)>,
    /// Signal of the network in dBm.
    pub rssi: Option<i8>,
    /// What the updater says.
    pub update: Option<&'a str>,
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
    /// Drop the connection and its session, leave the network and join it again.
    pub reconnect: bool,
    /// Tear the network interface down and build it up again, without restarting the device.
    pub restart_radio: bool,
    /// Restart the device, with its clock carried over. Never while a sensor minds, and at most once for each time that
    /// something got through.
    pub restart: bool,
    /// How bright and how quiet to be from now on.
    pub ambience: Option<Ambience>,
    /// Sound once for this band.
    pub sound: Option<Band>,
    /// Show the next screen.
    pub next_screen: bool,
    /// Open the set-up portal, until it has been used or ten minutes are over.
    pub provision: bool,
    /// Write this to flash as the last good time, in milliseconds since 1970.
    pub keep_time: Option<i64>,
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
    clock: Clock,
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
    /// Why there is no network.
    not_joined: Option<NotJoined>,
    reach: Link,
    liveness: Liveness,
    /// Why the last upload failed; `None` once one worked.
    last_error: Option<UploadError>,
    queue_before: QueueStatus,
    /// The queue lost something or could not be written, lately.
    queue_hurt: Option<Millis>,
    same: Same,
    ambience: Option<Ambience>,
    awake_until: Option<Millis>,
    sounded: Option<Band>,
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
            clock: Clock::default(),
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
            not_joined: None,
            reach: Link::Waiting,
            liveness: Liveness::new(),
            last_error: None,
            queue_before: QueueStatus::default(),
            queue_hurt: None,
            same: Same::default(),
            ambience: None,
            awake_until: None,
            sounded: None,
            uploading: false,
            limit: settings.batch(),
            backoff: Backoff::new(),
            not_before: Millis(0),
            hold: Millis(0),
            health: Health::default(),
        }
    }

    /// The same device with a clock that knows more than nothing.
    #[must_use]
    pub const fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Takes what happened and says what to do. Whatever is due by `now` is among it, whichever event came.
    pub fn handle(&mut self, event: Event, now: Millis) -> Actions {
        let mut actions = Actions::default();
        match event {
            Event::Due => {}
            Event::Sampled(result) => actions.keep = self.sampled(result, now),
            Event::Link(up) => self.linked(up, now),
            Event::NotJoined(why) => self.not_joined = Some(why),
            Event::Clock(unix_ms) => self.hear_time(Source::Sntp, unix_ms, now),
            Event::Settings(settings) => self.set(settings, now),
            Event::Queue(status) => self.queue(status, now),
            Event::Button(Press::Long) => actions.provision = true,
            Event::Button(Press::Short) => {
                // In the dark, the first press only makes light.
                actions.next_screen = !self.is_quiet(now);
                self.awake_until = Some(now.after(AWAKE_MS));
            }
            Event::Uploaded { sent, result } => actions.acknowledge = self.uploaded(sent, result, now),
        }
        actions.sample = self.sample_due(now);
        if self.waits_to_upload() && now >= self.not_before && !actions.acknowledge {
            self.uploading = true;
            actions.upload = Some(self.limit);
        }
        match self.liveness.rescue(now, self.link, self.calm()) {
            None => {}
            Some(Rescue::Reconnect) => actions.reconnect = true,
            Some(Rescue::Radio) => {
                self.health.radio_restarts += 1;
                actions.restart_radio = true;
            }
            Some(Rescue::Restart) => actions.restart = true,
        }
        actions.show = self.display(now);
        actions.ambience = self.ambience(now);
        actions.sound = self.sound(now);
        actions.keep_time = self.clock.keep(now);
        actions.wake_at = self.next_sample;
        if self.waits_to_upload() {
            actions.wake_at = actions.wake_at.min(self.not_before.max(now));
        }
        if let Some(until) = self.awake_until {
            actions.wake_at = actions.wake_at.min(until);
        }
        actions
    }

    /// The latest values, while they are fresh enough to be shown.
    pub fn latest(&self, now: Millis) -> Option<&Values> {
        let fresh = self.health.samples > 0 && now.since(self.last_value) <= self.stale_ms();
        Some(&self.same.values).filter(|_| fresh)
    }

    /// The time in milliseconds since 1970, if anybody has said.
    pub fn unix_ms(&self, now: Millis) -> Option<i64> {
        self.clock.unix_ms(now)
    }

    /// Whether a restart would disturb no sensor. An update waits for this, too.
    pub const fn calm(&self) -> bool {
        // Before the first sample nobody knows; a sensor that gives none has nothing to lose.
        let heard = self.health.samples > 0 || self.faults_in_a_row >= FAULTS_SHOWN_FROM;
        heard && !matches!(self.state, State::WarmingUp | State::Conditioning | State::Calibrating)
    }

    /// The time to judge certificates by; see [`Clock::for_certificates`].
    pub fn certificate_time(&self, now: Millis) -> i64 {
        self.clock.for_certificates(now)
    }

    /// What is sent along with the next batch.
    pub fn report<'a>(&self, vitals: &Vitals<'a>, now: Millis) -> DeviceHealth<'a> {
        DeviceHealth {
            firmware: vitals.firmware,
            board: vitals.board,
            reset: vitals.reset,
            uptime_s: now.0 / 1_000,
            heap_free: vitals.heap_free.map(|(free, _)| free),
            heap_free_min: vitals.heap_free.map(|(_, least)| least),
            rssi: vitals.rssi,
            queued: self.health.queue.queued,
            dropped: (self.health.queue.dropped)
                .saturating_add(self.health.queue.refused)
                .saturating_add(self.health.poisoned),
            faults: self.health.faults,
            uploads_failed: self.health.uploads_failed,
            radio_restarts: self.health.radio_restarts,
            update: vitals.update,
            trouble: self.trouble(now).map(|trouble| trouble.code()),
        }
    }

    /// What is wrong, the worst first; `None` when nothing is.
    pub fn trouble(&self, now: Millis) -> Option<Trouble> {
        let fault = self.health.last_fault.filter(|_| self.faults_in_a_row >= FAULTS_SHOWN_FROM);
        let hurt = self.queue_hurt.is_some_and(|at| now.since(at) < QUEUE_HURT_MS);
        let faulty = self.health.queue.faults > 0;
        if let Some(fault) = fault {
            return Some(Trouble::Sensor(fault));
        }
        if hurt {
            return Some(if faulty { Trouble::Flash } else { Trouble::QueueFull });
        }
        if self.same.frozen() {
            return Some(Trouble::Frozen);
        }
        if self.state == State::Suspect {
            return Some(Trouble::Doubtful);
        }
        if !self.link {
            return Some(self.not_joined.map_or(Trouble::NoNetwork, Trouble::NotJoined));
        }
        self.last_error.map(Trouble::Upload)
    }

    /// What the device knows about time, for turning records into readings.
    pub fn timeline(&self, now: Millis) -> Timeline {
        Timeline { boot: self.boot, now, started_unix_ms: self.clock.started_unix_ms() }
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
            unix_ms: self.clock.started_unix_ms().map(|started| {
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
            Ok(mut sample) => {
                self.same.see(&sample.values, now);
                if sample.state == State::Ok && (self.same.frozen() || below_outdoors(&sample.values)) {
                    sample.state = State::Suspect;
                }
                self.health.samples += 1;
                self.faults_in_a_row = sample.fault.map_or(0, |_| self.faults_in_a_row.saturating_add(1));
                if let Some(fault) = sample.fault {
                    self.health.faults += 1;
                    self.health.last_fault = Some(fault);
                }
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
                Some(self.record(
                    stamp,
                    Sample { state: State::Failed, values: Values::new(), fault: Some(fault) },
                    now,
                ))
            }
        }
    }

    fn record(&mut self, stamp: Stamp, sample: Sample, now: Millis) -> Record {
        let seq = self.next_seq;
        self.next_seq += 1;
        // Devices share the sampling grid. They need not all knock at the same moment.
        let spread = u64::from(self.random) % (self.settings.period_ms() / 5).clamp(1, SPREAD_MS_MAX);
        self.not_before = self.not_before.max(now.after(spread));
        let Sample { state, values, fault: _ } = sample;
        Record { boot: self.boot, seq, uptime: stamp.uptime, unix_ms: stamp.unix_ms, state, values }
    }

    fn look_at(&mut self, sample: &Sample, now: Millis) {
        let value = |name: &str| value(&sample.values, name);
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
            self.liveness.silent(now);
        }
        if !self.link && up {
            self.liveness.linked();
            self.backoff.reset();
            let spread = u64::from(self.next_random()) % SPREAD_MS_MAX;
            self.not_before = self.hold.max(now.after(spread));
            if self.reach == Link::Online {
                self.reach = Link::Waiting;
            }
        }
        self.link = up;
        self.not_joined = self.not_joined.filter(|_| !up);
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

    fn hear_time(&mut self, source: Source, unix_ms: i64, now: Millis) {
        if let Heard::Set { moved_ms } = self.clock.hear(source, unix_ms, now)
            && moved_ms.is_none_or(|ms| ms > self.tolerance_ms())
        {
            self.begin_grid(now);
        }
    }

    fn queue(&mut self, status: QueueStatus, now: Millis) {
        let QueueStatus { dropped, refused, faults, .. } = self.queue_before;
        if status.dropped > dropped || status.refused > refused || status.faults > faults {
            self.queue_hurt = Some(now);
        }
        self.queue_before = status;
        self.health.queue = status;
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
        match error {
            UploadError::Connection(_) => self.liveness.silent(now),
            _ => self.liveness.answered(),
        }
        self.last_error = Some(error);
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
        if matches!(error, UploadError::Token | UploadError::Busy { .. } | UploadError::Full { .. }) {
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
        self.liveness.took();
        self.last_error = None;
        self.backoff.reset();
        self.not_before = now;
        self.hold = now;
        self.limit = self.limit.saturating_mul(2).min(self.settings.batch());
        if let Some(unix_ms) = ack.server_time_ms {
            self.hear_time(Source::Gateway, unix_ms, now);
        }
    }

    const fn waits_to_upload(&self) -> bool {
        self.link && !self.uploading && self.health.queue.queued > 0
    }

    fn stale_ms(&self) -> u64 {
        (3 * self.settings.period_ms()).max(STALE_MS_MIN)
    }

    fn is_quiet(&self, now: Millis) -> bool {
        self.settings.is_quiet(self.clock.unix_ms(now)) && self.awake_until.is_none_or(|until| now >= until)
    }

    fn ambience(&mut self, now: Millis) -> Option<Ambience> {
        let quiet = self.is_quiet(now);
        self.awake_until = self.awake_until.filter(|until| now < *until);
        let brightness_percent = if quiet { 0 } else { self.settings.brightness_percent() };
        let ambience = Ambience { brightness_percent, quiet };
        (self.ambience.replace(ambience) != Some(ambience)).then_some(ambience)
    }

    /// Sounds when the band gets worse, once. What happens in quiet hours stays quiet, in the morning, too.
    fn sound(&mut self, now: Millis) -> Option<Band> {
        let band = self.filter.band();
        let before = core::mem::replace(&mut self.sounded, band);
        let quiet = self.settings.is_quiet(self.clock.unix_ms(now));
        let heard = match self.settings.sound() {
            Sound::Off => None,
            Sound::Now => band.filter(|band| *band == Band::Now),
            Sound::SoonAndNow => band.filter(|band| *band != Band::Good),
        };
        heard.filter(|_| !quiet && band > before)
    }

    fn display(&mut self, now: Millis) -> Option<Display> {
        if now.since(self.last_value) > self.stale_ms() {
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
        match (self.clock.started_unix_ms(), i64::try_from(period)) {
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

/// How long the sensors have said the very same.
#[derive(Clone, Debug, Default)]
struct Same {
    values: Values,
    since: Millis,
    count: u32,
    for_ms: u64,
}

impl Same {
    fn see(&mut self, values: &Values, now: Millis) {
        if *values == self.values {
            self.count = self.count.saturating_add(1);
            self.for_ms = now.since(self.since);
        } else {
            *self = Self { values: values.clone(), since: now, count: 1, for_ms: 0 };
        }
    }

    /// Only measured CO2 is judged: an estimate lies at its floor for nights.
    fn frozen(&self) -> bool {
        let co2 = value(&self.values, "co2");
        self.for_ms >= FROZEN_MS && self.count >= FROZEN_SAMPLES && co2.is_some_and(|ppm| ppm > FLOOR_PPM)
    }
}

fn below_outdoors(values: &Values) -> bool {
    value(values, "co2").is_some_and(|ppm| ppm < OUTDOORS_PPM_MIN)
}

fn value(values: &Values, name: &str) -> Option<f64> {
    values.iter().find(|(quantity, _)| quantity.name() == name).map(|(_, value)| *value)
}

const _: () = assert!(SAMPLE_VALUES_MAX <= casement_proto::reading::VALUES_MAX);

/// Faults in a row from which on people and gateway hear of it.
const FAULTS_SHOWN_FROM: u32 = 3;
/// How often a lasting fault is kept as a reading without values.
const FAULT_REPEAT_MS: u64 = 300_000;
/// A number older than this (or three periods) is no longer shown.
const STALE_MS_MIN: u64 = 120_000;
/// How long a press makes light in quiet hours.
const AWAKE_MS: u64 = 30_000;
/// How long it is shown that readings were lost.
const QUEUE_HURT_MS: u64 = 3_600_000;
/// Nowhere on earth has air less CO2, and none of the sensors is off by more than 50 ppm there.
const OUTDOORS_PPM_MIN: f64 = 350.0;
/// A sensor that says the same for this long and this often is stuck: noise alone is several ppm.
const FROZEN_MS: u64 = 3_600_000;
const FROZEN_SAMPLES: u32 = 30;
/// The lowest that sensors with a floor give for hours on end, in ppm.
const FLOOR_PPM: f64 = 410.0;
/// Most by which a device keeps off the moment all others send.
const SPREAD_MS_MAX: u64 = 1_000;
const NOTHING_SENT_MS: u64 = 1_000;

#[cfg(test)]
mod tests;
