//! One start of a device, from power on to power off: what `main` and driver of a board are, on this computer.

mod setup;

use crate::chance::Chance;
use crate::firmware::{self, Conduct};
use crate::flash::{Flash, FlashError, OTADATA, Part, Place, SECTOR_BYTES, TIME, UPDATE};
use crate::picture::Seen;
use crate::scd41::Scd41;
use crate::time::World;
use crate::web::Caller;
use crate::wire::{Names, Wire};
use casement_core::improv::{Parser, Session};
use casement_core::keep::Keep;
use casement_core::portal::Tried;
use casement_core::queue::{self, Queue, QueueStatus, Readings};
use casement_core::radio::{self, Mode, Radio, Scan};
use casement_core::update::Identity;
use casement_core::update::otadata::Otadata;
use casement_core::update::runner::{Keys, Next, Places, Runner};
use casement_core::{
    Ack, Actions, Clock, Event, Mark, Millis, Node, NotJoined, Press, Record, Settings, Trouble, UploadError,
    Vitals,
};
use casement_net::{Fault, Limits, Network, Peer, Trust, Uplink, clock};
use casement_proto::device_settings::Wifi;
use casement_proto::wire::Batch;
use casement_proto::{BoardId, DeviceSettings};
use casement_sensors::{Bus, Kit, Tuning};
use futures_lite::future::block_on;
use mbedtls_rs::TlsReference;
use std::collections::VecDeque;

/// What a device is made of, and what outlives a start.
pub struct Board<'t> {
    /// Its flash.
    pub flash: Flash,
    /// The date around it.
    pub world: World,
    /// Its sensor.
    pub sensor: Scd41,
    /// Mbed TLS, of which there is one in a program.
    pub tls: TlsReference<'t>,
    /// Its sockets.
    pub wire: Wire,
    /// Its name service.
    pub names: Names,
    /// How long the gateway may take, in real time.
    pub limits: Limits,
    /// Where readings wait. [`crate::flash::QUEUE`], or less of it.
    pub queue: Place,
    /// When the firmware was made, in milliseconds since 1970.
    pub built_unix_ms: i64,
    /// Its chance.
    pub chance: Chance,
}

/// The network at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Around {
    /// Whether the device is connected.
    pub link: bool,
    /// Whether a time server answers.
    pub time_server: bool,
    /// When to look again, in milliseconds since 1970.
    pub look_again_ms: i64,
}

/// The world around a device: what it is asked, and what it is told.
pub trait Surroundings {
    /// What is around at this moment; `None` ends the start.
    fn around(&mut self, unix_ms: i64) -> Option<Around>;

    /// The device waits until a moment. Gives the moment at which it goes on; earlier when something came on the line.
    fn wait(&mut self, _now_unix_ms: i64, until_unix_ms: i64) -> i64 {
        until_unix_ms
    }

    /// How much later the world is after an exchange that took so many real milliseconds.
    fn exchange_ms(&self, _real_ms: u64) -> u64 {
        200
    }

    /// The difference between the real date and the world's: what to add to a real time. Zero in the present.
    fn world_minus_real_ms(&self, _world_unix_ms: i64) -> i64 {
        0
    }

    /// Something happened.
    fn note(&mut self, _note: &Note<'_>, _unix_ms: i64) {}

    /// Whether a network lets the device in and gives it an address.
    ///
    /// # Errors
    /// Why not.
    fn joins(&mut self, _wifi: &Wifi) -> Result<(), NotJoined> {
        Ok(())
    }

    /// Which networks are in reach.
    fn scan(&mut self) -> Scan {
        let mut scan = Scan::new();
        scan.add("Simulated", -48, true);
        scan
    }

    /// How a person has pressed the button since the last time.
    fn pressed(&mut self) -> Option<Press> {
        None
    }

    /// Somebody who wants to see the device's page, or the portal's.
    fn caller(&mut self) -> Option<Caller> {
        None
    }

    /// Bytes that came on the serial line since the last time.
    fn serial_read(&mut self) -> Vec<u8> {
        vec![]
    }

    /// Bytes for the serial line.
    fn serial_write(&mut self, _bytes: &[u8]) {}
}

/// What happens in a device.
#[derive(Debug)]
pub enum Note<'a> {
    /// It started, with this number, and these readings wait.
    Started {
        /// Number of the start.
        boot: u64,
        /// What waits, by boot and number, oldest first.
        waiting: Vec<(u64, u64)>,
    },
    /// A reading was taken, and kept or not.
    Kept {
        /// The reading.
        record: &'a Record,
        /// Whether it is on flash.
        kept: bool,
    },
    /// The queue after it was touched.
    Queue(QueueStatus),
    /// So many readings were sent.
    Uploaded {
        /// How many.
        sent: u16,
        /// What became of them.
        result: &'a Result<Ack, UploadError>,
        /// What the connection said.
        fault: Option<Fault>,
    },
    /// So many of the oldest readings were let go of.
    Acknowledged(u16),
    /// What a person sees.
    Seen(&'a Seen),
    /// What the report of the next batch says is wrong.
    Report(Option<&'static str>),
    /// The radio is built up anew, or the network joined again.
    Radio,
    /// Settings came over the serial line or by the portal, and work or not.
    Provisioned(Result<(), Trouble>),
    /// The bootloader started this.
    Booted(&'a firmware::Running),
    /// The firmware crashed, as its image says it does.
    Crashed,
    /// Something was done about an update.
    Update {
        /// Whether the gateway was asked something: for a release, or a part of its image. Else the image was hashed.
        request: bool,
        /// Real milliseconds that it took.
        real_ms: u64,
    },
    /// What the report of the next batch says about updates.
    ReportUpdate(Option<&'a str>),
}

/// How a start ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// [`Surroundings::around`] said so.
    Asked,
    /// The power failed.
    Power,
    /// It restarts by itself: the core wants it, or settings are new. The date goes on.
    Restart,
    /// The flash cannot be used at all.
    Flash(FlashError),
}

/// Most readings of one batch, as on a board.
pub const BATCH_MAX: usize = 20;
const BODY_BYTES: usize = 7_168;
/// From a restart to the next start.
const RESTART_MS: u64 = 1_000;
/// A time server answers this long after the network came.
const TIME_AFTER_MS: i64 = 3_000;
/// And is asked again, as on a board.
const TIME_AGAIN_MS: i64 = 6 * 3_600_000;
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The board's name, as releases have it.
const BOARD: &str = "sim";

/// Whom a start talks to, and whom it believes.
struct Contact {
    peer: Peer,
    trust: Trust,
}

impl Contact {
    fn of(settings: &DeviceSettings) -> Option<Self> {
        let trust = match &settings.ca {
            Some(der) => Trust::own(der),
            None => Trust::lets_encrypt(),
        };
        Some(Self { peer: Peer::of(settings)?, trust: trust.ok()? })
    }
}

struct Running<'a> {
    settings: &'a DeviceSettings,
    radio: Radio,
    /// What the last scan found.
    networks: Scan,
    /// What the portal was told, and why it did not work.
    tried: Option<Tried>,
    node: Node,
    queue: Queue<Part>,
    time: Option<Keep<Part>>,
    uplink: Option<Uplink<'a, Wire, Names>>,
    /// Where batches are written. It stays as it is between them.
    body: Box<[u8; BODY_BYTES]>,
    link: bool,
    mark: Option<Mark>,
    sent: u16,
    started_unix_ms: i64,
    seen: Seen,
    reset: &'static str,
    updates: Runner<Part>,
    firmware: firmware::Running,
    chance: Chance,
    /// The updater wants a restart.
    restart: bool,
}

impl Board<'_> {
    /// Power on, until the start ends. `carried` says that it is a restart, through which the date went on.
    pub fn start(&mut self, around: &mut dyn Surroundings, reset: &'static str, carried: bool) -> Ended {
        match self.try_start(around, reset, carried) {
            Ok(ended) => ended,
            Err(FlashError::Off) => Ended::Power,
            Err(error) => Ended::Flash(error),
        }
    }

    fn try_start(
        &mut self,
        around: &mut dyn Surroundings,
        reset: &'static str,
        carried: bool,
    ) -> Result<Ended, FlashError> {
        let world = self.world.clone();
        let started_unix_ms = world.unix_ms();
        let firmware = firmware::boot(&self.flash)?;
        around.note(&Note::Booted(&firmware), started_unix_ms);
        let settings = self.settings()?;
        let (updates, next) = self.updates(&firmware, &settings);
        if self.flash.is_off() {
            return Ok(Ended::Power);
        }
        if next == Next::Restart || firmware.conduct == Conduct::CrashesAtStart {
            if next == Next::GoOn {
                around.note(&Note::Crashed, started_unix_ms);
            }
            world.pass_ms(RESTART_MS);
            return Ok(Ended::Restart);
        }
        let own = setup::own_network(&settings);
        around.serial_write(format!("own network {}, password {}\n", own.ssid(), own.password()).as_bytes());
        let mut queue = Queue::open(self.flash.part(self.queue)).map_err(region)?;
        let boot = queue::next_boot(queue.newest_boot(), self.chance.any());
        let mut waiting = vec![];
        queue
            .peek(|record| {
                waiting.push((record.boot, record.seq));
                true
            })
            .map_err(region)?;
        around.note(&Note::Started { boot, waiting }, started_unix_ms);
        around.note(&Note::Queue(queue.status()), started_unix_ms);
        let mut time = Keep::open(self.flash.part(TIME)).ok();
        let mut good = [0; 8];
        let good =
            time.as_mut().and_then(|time| time.load(&mut good).ok()?).map(|_| i64::from_le_bytes(good));
        let mut date = Clock::new(self.built_unix_ms, good);
        if carried {
            let _heard = date.hear(casement_core::clock::Source::Carried, started_unix_ms, Millis(0));
        }
        let random = (self.chance.any() >> 32) as u32;
        let node = Node::new(Settings::from(&settings), boot, random).with_clock(date);
        let mut kit = Kit::new(Bus::new(self.sensor.clone(), world.clone()), Tuning::from(&settings));
        let contact = Contact::of(&settings);
        let uplink = contact.as_ref().map(|contact| self.uplink(contact));
        let mut running = Running {
            seen: Seen::new(&settings, &own),
            settings: &settings,
            // There is always a network here: who knows a gateway needs no Wi-Fi.
            radio: Radio::new(settings.wifi.is_some() || settings.gateway.is_some()),
            networks: around.scan(),
            tried: None,
            node,
            queue,
            time,
            uplink,
            body: Box::new([0; BODY_BYTES]),
            link: false,
            mark: None,
            sent: 0,
            started_unix_ms,
            reset,
            updates,
            firmware,
            chance: self.chance.clone(),
            restart: false,
        };
        running.updates.linked(false);
        let mut events = VecDeque::from([Event::Queue(running.queue.status())]);
        let (mut link, mut date_at, mut not_joined) = (false, i64::MAX, None);
        let (mut parser, mut session) = (Parser::new(), Session::new(contact.is_some()));
        loop {
            let Some(now_around) = around.around(world.unix_ms()) else { return Ok(Ended::Asked) };
            if let Some(press) = around.pressed() {
                events.push_back(Event::Button(press));
            }
            let _nothing_is_tried = running.radio.handle(radio::Event::Due, running.now(&world));
            let is_station = running.radio.mode() == Mode::Station;
            let joins = match &settings.wifi {
                Some(wifi) if is_station && now_around.link => around.joins(wifi),
                _ => Ok(()),
            };
            if joins.err() != not_joined {
                not_joined = joins.err();
                events.extend(not_joined.map(Event::NotJoined));
            }
            let is_linked =
                now_around.link && is_station && joins.is_ok() && firmware.conduct != Conduct::Silent;
            if is_linked != link {
                link = is_linked;
                running
                    .updates
                    .linked(link && running.uplink.as_mut().is_some_and(|it| it.https().is_some()));
                date_at = if link { world.unix_ms() + TIME_AFTER_MS } else { i64::MAX };
                running.link = link;
                events.push_back(Event::Link(link));
                if !link {
                    running.hang_up();
                }
            }
            if world.unix_ms() >= date_at {
                date_at = world.unix_ms() + TIME_AGAIN_MS;
                if now_around.time_server {
                    events.push_back(Event::Clock(world.unix_ms()));
                }
            }
            if running.now(&world) >= kit.wake_at() {
                let unix_ms = running.node.unix_ms(running.now(&world));
                block_on(kit.work(running.now(&world), unix_ms));
            }
            if events.is_empty() {
                events.push_back(Event::Due);
            }
            let mut wake_at = Millis(0);
            while let Some(event) = events.pop_front() {
                let actions = running.node.handle(event, running.now(&world));
                wake_at = actions.wake_at;
                if let Some(ended) = running.obey(&actions, &mut events, around, (&world, &kit)) {
                    return Ok(ended);
                }
                if self.flash.is_off() {
                    return Ok(Ended::Power);
                }
            }
            // Readings went first.
            let next = running.update(around, &world);
            if self.flash.is_off() {
                return Ok(Ended::Power);
            }
            if next == Next::Restart {
                world.pass_ms(RESTART_MS);
                return Ok(Ended::Restart);
            }
            let now = running.now(&world);
            let radio = (running.radio.mode(), link);
            if running.seen.look(&running.node, &kit, radio, running.updates.updater(), now) {
                around.note(&Note::Seen(&running.seen), world.unix_ms());
            }
            let bytes = around.serial_read();
            if !bytes.is_empty() && self.listen(&bytes, &mut parser, &mut session, &mut running, around)? {
                return Ok(Ended::Restart);
            }
            while let Some(caller) = around.caller() {
                if self.receive(caller, &mut running, around)? {
                    return Ok(Ended::Restart);
                }
            }
            let until = running.radio.handle(radio::Event::Due, running.now(&world)).wake_at;
            let wake_at = wake_at.min(kit.wake_at()).min(until.unwrap_or(Millis(u64::MAX)));
            let wake_at =
                wake_at.min(running.updates.wake_at(running.now(&world)).unwrap_or(Millis(u64::MAX)));
            let wake = started_unix_ms.saturating_add_unsigned(wake_at.0);
            let wake = wake.min(now_around.look_again_ms).min(date_at).max(world.unix_ms() + 1);
            world.pass_until(around.wait(world.unix_ms(), wake));
        }
    }

    fn uplink<'a>(&'a self, contact: &'a Contact) -> Uplink<'a, Wire, Names> {
        let network = Network { tcp: &self.wire, dns: &self.names, tls: self.tls, trust: &contact.trust };
        Uplink::new(network, &contact.peer, self.limits)
    }

    /// The updater, which comes before everything else.
    fn updates(&mut self, firmware: &firmware::Running, settings: &DeviceSettings) -> (Runner<Part>, Next) {
        let other = firmware::place(firmware.slot.other());
        let who = Identity {
            board: BoardId::parse(BOARD).expect("is a name"),
            version: firmware.version,
            slot: firmware.slot,
            slot_bytes: u32::try_from(other.sectors * SECTOR_BYTES).unwrap_or(0),
        };
        let places = Places {
            slot: self.flash.part(other),
            kept: Keep::open(self.flash.part(UPDATE)).ok(),
            otadata: Otadata::new(self.flash.part(OTADATA)),
        };
        let keys: Keys = settings.release_key.into_iter().collect();
        let random = (self.chance.any() >> 32) as u32;
        Runner::start(who, places, settings.update, keys, Millis(0), random)
    }
}

type Sensors = Kit<Scd41, World>;

impl Running<'_> {
    fn now(&self, world: &World) -> Millis {
        Millis(u64::try_from(world.unix_ms() - self.started_unix_ms).unwrap_or(0))
    }

    fn vitals<'a>(&self, firmware: &'a str, update: Option<&'a str>) -> Vitals<'a> {
        Vitals { firmware, board: BOARD, reset: self.reset, rssi: Some(-48), update, ..Vitals::default() }
    }

    /// Does what the core says. Gives how the start ended, if it did.
    fn obey(
        &mut self,
        actions: &Actions,
        events: &mut VecDeque<Event>,
        around: &mut dyn Surroundings,
        (world, kit): (&World, &Sensors),
    ) -> Option<Ended> {
        if actions.acknowledge
            && let Some(mark) = self.mark.take()
        {
            // The queue counts what fails below it, and the state machine reads the counter.
            let _counted = self.queue.acknowledge(mark);
            around.note(&Note::Acknowledged(self.sent), world.unix_ms());
        }
        if let Some(record) = &actions.keep {
            let kept = self.queue.push(record).is_ok();
            around.note(&Note::Kept { record, kept }, world.unix_ms());
        }
        if actions.acknowledge || actions.keep.is_some() {
            around.note(&Note::Queue(self.queue.status()), world.unix_ms());
            events.push_back(Event::Queue(self.queue.status()));
        }
        if let Some(unix_ms) = actions.keep_time
            && let Some(time) = &mut self.time
        {
            let _best_effort = time.store(&unix_ms.to_le_bytes());
        }
        if let Some(display) = actions.show {
            self.seen.facts.display = display;
        }
        if actions.next_screen {
            self.seen.turn(self.now(world));
        }
        if actions.provision {
            let _opens = self.radio.handle(radio::Event::Open, self.now(world));
            self.networks = around.scan();
        }
        if actions.sample {
            events.push_back(Event::Sampled(kit.sample(self.now(world))));
        }
        if let Some(limit) = actions.upload {
            if self.firmware.conduct == Conduct::CrashesLater {
                around.note(&Note::Crashed, world.unix_ms());
                world.pass_ms(RESTART_MS);
                return Some(Ended::Restart);
            }
            let (sent, result) = self.upload(limit, around, world);
            events.push_back(Event::Uploaded { sent, result });
        }
        if actions.reconnect || actions.restart_radio {
            around.note(&Note::Radio, world.unix_ms());
            self.hang_up();
            // A new radio finds no network where there is none.
            if self.link {
                events.extend([Event::Link(false), Event::Link(true)]);
            }
        }
        actions.restart.then_some(Ended::Restart)
    }

    /// Does one thing about an update, if there is one to do.
    fn update(&mut self, around: &mut dyn Surroundings, world: &World) -> Next {
        let now = self.now(world);
        let (calm, random) = (self.node.calm(), (self.chance.any() >> 32) as u32);
        if self.restart || self.updates.tick(now, (calm, random)) == Next::Restart {
            return Next::Restart;
        }
        if !self.updates.has_work(now) {
            return Next::GoOn;
        }
        let Some((client, target)) = self.uplink.as_mut().and_then(Uplink::https) else { return Next::GoOn };
        clock::set(u64::try_from(self.node.certificate_time(now) / 1_000).unwrap_or(0));
        let began = embassy_time::Instant::now();
        let request = !self.updates.is_hashing();
        let next = block_on(self.updates.work(client, target, || now, (calm, random)));
        let real_ms = began.elapsed().as_millis();
        world.pass_ms(around.exchange_ms(real_ms));
        around.note(&Note::Update { request, real_ms }, world.unix_ms());
        next
    }

    /// Sends the oldest readings, and says what became of them.
    fn upload(
        &mut self,
        limit: u16,
        around: &mut dyn Surroundings,
        world: &World,
    ) -> (u16, Result<Ack, UploadError>) {
        let nothing = (0, Ok(Ack::default()));
        let Some(mut uplink) = self.uplink.take() else { return nothing };
        let now = self.now(world);
        let mut readings = Readings::<BATCH_MAX>::new();
        let limit = limit.min(BATCH_MAX as u16);
        let batch = queue::collect(&mut self.queue, limit, &self.node.timeline(now), &mut readings);
        let Some((boot, mark)) = batch.ok().flatten() else {
            self.uplink = Some(uplink);
            return nothing;
        };
        self.mark = Some(mark);
        self.sent = u16::try_from(readings.len()).unwrap_or(u16::MAX);
        // Certificates are held against the best date there is.
        clock::set(u64::try_from(self.node.certificate_time(now) / 1_000).unwrap_or(0));
        let version = self.firmware.version.to_string();
        let update = self.updates.updater().status().map(|status| status.to_string());
        let health = self.node.report(&self.vitals(&version, update.as_deref()), now);
        around.note(&Note::Report(self.node.trouble(now).map(|trouble| trouble.code())), world.unix_ms());
        around.note(&Note::ReportUpdate(update.as_deref()), world.unix_ms());
        let batch = Batch { boot: Some(boot), readings: &readings, health: Some(&health) };
        let began = embassy_time::Instant::now();
        let result = block_on(uplink.send(&batch, &mut *self.body));
        let fault = uplink.last_fault();
        self.uplink = Some(uplink);
        let result = result.map(|ack| Ack {
            server_time_ms: ack.server_time_ms.map(|real| real + around.world_minus_real_ms(world.unix_ms())),
            ..ack
        });
        world.pass_ms(around.exchange_ms(began.elapsed().as_millis()));
        let (calm, random) = (self.node.calm(), (self.chance.any() >> 32) as u32);
        self.restart |=
            self.updates.uploaded(result.is_ok(), self.now(world), (calm, random)) == Next::Restart;
        around.note(&Note::Uploaded { sent: self.sent, result: &result, fault }, world.unix_ms());
        (self.sent, result)
    }

    fn hang_up(&mut self) {
        if let Some(uplink) = &mut self.uplink {
            block_on(uplink.close());
        }
    }
}

fn region(error: queue::QueueError<FlashError>) -> FlashError {
    match error {
        queue::QueueError::Region(error) => error,
        _ => FlashError::Outside,
    }
}
