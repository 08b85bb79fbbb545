//! A device on a table: what the tests share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use casement_core::{Ack, NotJoined, Press, QueueStatus};
use casement_net::Limits;
use casement_proto::DeviceSettings;
use casement_proto::device_settings::{self, GatewayUrl, Wifi};
use casement_sim::chance::Chance;
use casement_sim::device::{Around, Board, Ended, Note, Surroundings};
use casement_sim::flash::{Flash, Place, QUEUE, SETUP};
use casement_sim::picture::Seen;
use casement_sim::room::{Room, Source};
use casement_sim::scd41::Scd41;
use casement_sim::time::World;
use casement_sim::wire::{Names, Wire};
use embassy_time::Duration;
use mbedtls_rs::TlsReference;
use std::collections::VecDeque;

/// Settings of a device that sends to an address, whose authority this is.
pub fn settings(url: GatewayUrl, ca: &[u8], period_ms: u32) -> DeviceSettings {
    let mut settings = DeviceSettings::default().with_period_ms(period_ms).expect("is allowed");
    settings.gateway = Some(url);
    settings.token = Some(device_settings::token("cas_dev_secret").expect("is one"));
    settings.ca = Some(device_settings::ca(ca).expect("a certificate"));
    settings
}

/// Something that happens to a device.
pub type Turn = Box<dyn FnOnce(&mut Desk)>;

/// What was seen of a device.
#[derive(Default)]
pub struct Desk {
    pub link: bool,
    /// For so long a network is there, and for so long it is gone, over and over.
    pub flaps: Option<(i64, i64)>,
    pub time_server: bool,
    pub end_ms: i64,
    pub codes: Vec<&'static str>,
    pub seen: Seen,
    pub queue: QueueStatus,
    pub taken: u64,
    pub kept: u64,
    pub stored: u64,
    /// Why the network does not let the device in.
    pub not_joined: Option<NotJoined>,
    /// How the button is pressed, and when.
    pub presses: Vec<(i64, Press)>,
    /// What the device says on its serial line.
    pub serial: Vec<u8>,
    /// What somebody sends on that line.
    pub typed: Vec<u8>,
    /// What is the time.
    unix_ms: i64,
    /// What happens, and when; in order of time.
    pub turns: VecDeque<(i64, Turn)>,
}

impl Desk {
    /// What it is at this moment. What is to happen stays.
    pub fn snapshot(&self) -> Self {
        Self {
            codes: self.codes.clone(),
            seen: self.seen.clone(),
            queue: self.queue,
            taken: self.taken,
            kept: self.kept,
            stored: self.stored,
            ..Self::default()
        }
    }

    /// Readings given up.
    pub fn lost(&self) -> u32 {
        self.queue.dropped + self.queue.refused
    }
}

impl Surroundings for Desk {
    fn around(&mut self, unix_ms: i64) -> Option<Around> {
        self.unix_ms = unix_ms;
        while let Some((_, turn)) = self.turns.pop_front_if(|(at_ms, _)| *at_ms <= unix_ms) {
            turn(self);
        }
        let mut link = self.link;
        let mut look_again_ms = self.turns.front().map_or(self.end_ms, |(at_ms, _)| *at_ms).min(self.end_ms);
        if let Some((there, gone)) = self.flaps {
            let into = unix_ms.rem_euclid(there + gone);
            link &= into < there;
            look_again_ms =
                look_again_ms.min(unix_ms - into + if into < there { there } else { there + gone });
        }
        let press = self.presses.iter().map(|(at_ms, _)| *at_ms).filter(|at_ms| *at_ms > unix_ms).min();
        look_again_ms = look_again_ms.min(press.unwrap_or(i64::MAX));
        let around = Around { link, time_server: self.time_server, look_again_ms };
        (unix_ms < self.end_ms).then_some(around)
    }

    fn joins(&mut self, _: &Wifi) -> Result<(), NotJoined> {
        self.not_joined.map_or(Ok(()), Err)
    }

    fn pressed(&mut self) -> Option<Press> {
        let at = self.presses.iter().position(|(at_ms, _)| *at_ms <= self.unix_ms)?;
        Some(self.presses.remove(at).1)
    }

    fn serial_read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.typed)
    }

    fn serial_write(&mut self, bytes: &[u8]) {
        self.serial.extend_from_slice(bytes);
    }

    fn note(&mut self, note: &Note<'_>, _: i64) {
        match note {
            Note::Kept { kept, .. } => {
                self.taken += 1;
                self.kept += u64::from(*kept);
            }
            Note::Queue(status) => self.queue = *status,
            Note::Report(Some(code)) => self.codes.push(code),
            Note::Seen(seen) => self.seen = (*seen).clone(),
            Note::Uploaded { result: Ok(Ack { stored, .. }), .. } => self.stored += u64::from(*stored),
            _ => {}
        }
    }
}

/// A device on a table.
pub struct Table {
    pub folder: tempfile::TempDir,
    pub flash: Flash,
    pub world: World,
    pub sensor: Scd41,
    pub names: Names,
    /// Where readings wait.
    pub queue: Place,
    /// How long the gateway may take, in real milliseconds.
    pub patience_ms: u64,
    pub desk: Desk,
    built_unix_ms: i64,
}

impl Table {
    pub fn new(now_ms: i64, built_unix_ms: i64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let flash = Flash::open(&folder.path().join("flash.bin"), 1).expect("a chip");
        let world = World::at(now_ms);
        let sensor = Scd41::new(world.clone(), Source::Room(Room::new(7)));
        let desk = Desk { link: true, time_server: true, ..Desk::default() };
        Self {
            folder,
            flash,
            world,
            sensor,
            names: Names::default(),
            queue: QUEUE,
            patience_ms: 400,
            desk,
            built_unix_ms,
        }
    }

    /// Flashes settings beside the firmware.
    pub fn flash(&self, settings: &DeviceSettings) {
        self.flash.put(SETUP, &settings.encode()).expect("fits");
    }

    pub fn board<'t>(&self, tls: TlsReference<'t>) -> Board<'t> {
        Board {
            flash: self.flash.clone(),
            world: self.world.clone(),
            sensor: self.sensor.clone(),
            tls,
            wire: Wire::default(),
            names: self.names.clone(),
            limits: Limits {
                connect: Duration::from_millis(self.patience_ms),
                exchange: Duration::from_millis(self.patience_ms),
            },
            queue: self.queue,
            built_unix_ms: self.built_unix_ms,
            chance: Chance::new(99),
        }
    }

    /// Power on, for some milliseconds of the world. Gives how often the device restarted by itself.
    pub fn run(&mut self, tls: TlsReference<'_>, ms: i64) -> u32 {
        self.sensor.power_cut();
        self.desk.end_ms = self.world.unix_ms() + ms;
        let mut restarts = 0;
        let mut board = self.board(tls);
        loop {
            match board.start(&mut self.desk, "power", restarts > 0) {
                Ended::Asked => return restarts,
                Ended::Restart => restarts += 1,
                other => panic!("{other:?}"),
            }
        }
    }
}
