//! A device on a table: what the tests share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use casement_core::{Ack, NotJoined, Press, QueueStatus};
use casement_net::Limits;
use casement_proto::DeviceSettings;
use casement_proto::device_settings::{self, GatewayUrl, Wifi};
use casement_sim::chance::Chance;
use casement_sim::device::{Around, Board, Ended, Note, Surroundings};
use casement_sim::flash::{Flash, QUEUE, SETUP};
use casement_sim::picture::Seen;
use casement_sim::room::{Room, Source};
use casement_sim::scd41::{Ill, Scd41};
use casement_sim::time::World;
use casement_sim::wire::Wire;
use edge_nal_std::Stack;
use embassy_time::Duration;
use mbedtls_rs::TlsReference;

/// Settings of a device that sends to an address, whose authority this is.
pub fn settings(url: GatewayUrl, ca: &[u8], period_ms: u32) -> DeviceSettings {
    let mut settings = DeviceSettings::default().with_period_ms(period_ms).expect("is allowed");
    settings.gateway = Some(url);
    settings.token = Some(device_settings::token("cas_dev_secret").expect("is one"));
    settings.ca = Some(device_settings::ca(ca).expect("a certificate"));
    settings
}

/// What was seen of a device.
#[derive(Default)]
pub struct Desk {
    pub link: bool,
    pub time_server: bool,
    pub end_ms: i64,
    pub codes: Vec<&'static str>,
    pub seen: Seen,
    pub queue: QueueStatus,
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
    /// What happens to the sensor, and when.
    pub fates: Vec<(i64, Scd41, Ill)>,
}

impl Desk {
    /// Readings given up.
    pub fn lost(&self) -> u32 {
        self.queue.dropped + self.queue.refused
    }
}

impl Surroundings for Desk {
    fn around(&mut self, unix_ms: i64) -> Option<Around> {
        self.unix_ms = unix_ms;
        self.fates.retain(|(at_ms, sensor, ill)| {
            if *at_ms <= unix_ms {
                sensor.fall(*ill);
            }
            *at_ms > unix_ms
        });
        let press = self.presses.iter().map(|(at_ms, _)| *at_ms).filter(|at_ms| *at_ms > unix_ms).min();
        let look_again_ms = self.end_ms.min(press.unwrap_or(i64::MAX));
        let around = Around { link: self.link, time_server: self.time_server, look_again_ms };
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
            Note::Kept { kept, .. } => self.kept += u64::from(*kept),
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
        Self { folder, flash, world, sensor, desk, built_unix_ms }
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
            names: Stack::new(),
            limits: Limits { connect: Duration::from_millis(700), exchange: Duration::from_millis(700) },
            queue: QUEUE,
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
