//! `casement-sim`: a Casement device on this computer. `casement-sim --help` says what can be set.

use anyhow::{Context, Result, anyhow, bail};
use casement_core::NotJoined;
use casement_core::radio::Scan;
use casement_net::Limits;
use casement_proto::DeviceSettings;
use casement_proto::device_settings::Wifi;
use casement_sim::chance::Chance;
use casement_sim::device::{Around, Board, Ended, Note, Surroundings};
use casement_sim::flash::{Flash, QUEUE, SECTOR_BYTES, SETUP};
use casement_sim::options;
use casement_sim::room::{Room, Source};
use casement_sim::scd41::{Scd41, recording};
use casement_sim::serial::Serial;
use casement_sim::time::World;
use casement_sim::web::{Caller, Door};
use casement_sim::wire::{Names, Wire};
use clap::Parser;
use mbedtls_rs::Tls;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A Casement device on this computer: the real core, TLS and screens; flash in a file, a sensor on paper.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Options {
    /// The flash: a file of 4 MiB, made if it is not there. What a device keeps is in it.
    #[arg(long, value_name = "FILE")]
    flash: PathBuf,
    /// Settings to flash beside the firmware before the start, as `casement device image` makes them.
    #[arg(long, value_name = "IMAGE")]
    settings: Option<PathBuf>,
    /// How fast time passes while the device waits, 1 to 100000. Above 1 it needs --hours: the world begins so long ago
    /// that it ends in the present.
    #[arg(long, default_value_t = 1.0, value_name = "X", value_parser = options::speed, allow_negative_numbers = true)]
    speed: f64,
    /// How long to run, in hours of the world, 0.001 to 100000. For ever without it.
    #[arg(long, value_name = "HOURS", value_parser = options::hours, allow_negative_numbers = true)]
    hours: Option<f64>,
    /// Writes each new screen into this folder as a PNG, up to a thousand, and the present one as now.png.
    #[arg(long, value_name = "DIR")]
    screens: Option<PathBuf>,
    /// Puts a link to a serial line here; it speaks Improv, and a browser's bridge or a terminal may open it.
    #[arg(long, value_name = "PTY")]
    serial: Option<PathBuf>,
    /// Serves the device's own pages here, for example 127.0.0.1:8080: the set-up form while nothing is set, else the page.
    #[arg(long, value_name = "ADDR")]
    page: Option<SocketAddr>,
    /// A network in reach, as NAME or NAME=PASSWORD; may be said several times. Without any there is one that lets
    /// everybody in, whatever they call it.
    #[arg(long, value_name = "NETWORK")]
    network: Vec<String>,
    /// Lets the power fail now and then while the flash is written, by this seed.
    #[arg(long, value_name = "SEED", allow_negative_numbers = true)]
    power_cuts: Option<u64>,
    /// What the sensor measures: answers of a real SCD4x, nine bytes in hexadecimal on each line. A room without it.
    #[arg(long, value_name = "FILE")]
    recorded: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  casement device image room-1 --url https://localhost:8443
  casement-sim --flash room-1.flash --settings room-1.settings.bin
  casement-sim --flash room-1.flash --speed 3600 --hours 24 --screens screens
  casement-sim --flash new.flash --serial /tmp/tty-casement";

struct Desk {
    options: Options,
    serial: Option<Serial>,
    door: Option<Door>,
    end_ms: i64,
    chance: Chance,
    flash: Flash,
    screens: u32,
    error: Option<anyhow::Error>,
}

impl Surroundings for Desk {
    fn around(&mut self, unix_ms: i64) -> Option<Around> {
        let live = unix_ms < self.end_ms && self.error.is_none();
        live.then_some(Around { link: true, time_server: true, look_again_ms: i64::MAX })
    }

    fn wait(&mut self, now_unix_ms: i64, until_unix_ms: i64) -> i64 {
        let ms = u64::try_from(until_unix_ms - now_unix_ms).unwrap_or(0);
        let began = embassy_time::Instant::now();
        let real = Duration::from_secs_f64((ms as f64 / 1_000.0 / self.options.speed).clamp(0.0, 3_600.0));
        match (&mut self.serial, &mut self.door) {
            // The door rings the line's bell.
            (Some(serial), _) => {
                serial.wait(real);
            }
            (None, Some(door)) => {
                door.wait(real);
            }
            (None, None) => std::thread::sleep(real),
        }
        let elapsed = began.elapsed().as_micros();
        let passed = (elapsed as f64 / 1_000.0 * self.options.speed) as i64;
        if u128::from(elapsed) < real.as_micros() {
            (now_unix_ms + passed).min(until_unix_ms)
        } else {
            until_unix_ms
        }
    }

    fn exchange_ms(&self, real_ms: u64) -> u64 {
        real_ms
    }

    fn world_minus_real_ms(&self, world_unix_ms: i64) -> i64 {
        world_unix_ms - real_unix_ms()
    }

    fn note(&mut self, note: &Note<'_>, unix_ms: i64) {
        match note {
            Note::Started { boot, waiting } => {
                eprintln!("{unix_ms} start {boot}, {} readings wait", waiting.len());
            }
            Note::Uploaded { sent, result, fault } => match (result, fault) {
                (Ok(ack), _) => {
                    eprintln!("{unix_ms} sent {sent}, {} stored, {} known", ack.stored, ack.duplicate)
                }
                (Err(error), Some(fault)) => eprintln!("{unix_ms} not sent: {error} ({fault})"),
                (Err(error), None) => eprintln!("{unix_ms} not sent: {error}"),
            },
            Note::Seen(seen) => {
                let Some(folder) = &self.options.screens else { return };
                let written = seen.write(&folder.join("now.png")).and_then(|()| {
                    if self.screens < 1_000 {
                        std::fs::copy(folder.join("now.png"), folder.join(format!("{unix_ms}.png")))?;
                    }
                    self.screens += 1;
                    Ok(())
                });
                if let Err(error) = written {
                    self.error = Some(error.into());
                }
            }
            Note::Kept { .. } if self.options.power_cuts.is_some() && self.chance.below(40) == 0 => {
                self.flash.cut_after(self.chance.below(400));
            }
            Note::Provisioned(Ok(())) => eprintln!("{unix_ms} new settings work"),
            Note::Provisioned(Err(error)) => eprintln!("{unix_ms} new settings do not work: {error}"),
            Note::Booted(it) => {
                eprintln!("{unix_ms} the bootloader starts {} in slot {:?}", it.version, it.slot)
            }
            Note::Crashed => eprintln!("{unix_ms} the firmware crashed"),
            Note::ReportUpdate(Some(text)) => eprintln!("{unix_ms} update: {text}"),
            _ => {}
        }
    }

    fn joins(&mut self, wifi: &Wifi) -> Result<(), NotJoined> {
        let mut named = self.options.network.iter().map(|network| named(network));
        match named.find(|(name, _)| *name == wifi.ssid()) {
            _ if self.options.network.is_empty() => Ok(()),
            None => Err(NotJoined::Missing),
            Some((_, password)) if password == wifi.password() => Ok(()),
            Some(_) => Err(NotJoined::Password),
        }
    }

    fn scan(&mut self) -> Scan {
        let mut scan = Scan::new();
        for (at, network) in (0..8).zip(&self.options.network) {
            let (name, password) = named(network);
            scan.add(name, (-48_i8).saturating_sub(at * 9), !password.is_empty());
        }
        if self.options.network.is_empty() {
            scan.add("Simulated", -48, true);
        }
        scan
    }

    fn caller(&mut self) -> Option<Caller> {
        self.door.as_mut()?.caller()
    }

    fn serial_read(&mut self) -> Vec<u8> {
        self.serial.as_mut().map(Serial::read).unwrap_or_default()
    }

    fn serial_write(&mut self, bytes: &[u8]) {
        if let Some(serial) = &mut self.serial {
            serial.write(bytes);
        }
    }
}

/// Name and password of a network.
fn named(network: &str) -> (&str, &str) {
    network.split_once('=').unwrap_or((network, ""))
}

#[expect(clippy::disallowed_methods, reason = "the edge: the one place of the program that reads the date")]
fn real_unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_millis() as i64)
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<()> {
    let span_ms = options::span(options.speed, options.hours)?;
    // Everything is looked at before anything is changed.
    let settings = match &options.settings {
        Some(path) => {
            let help = "settings are made by `casement device image`";
            let image = options::read(path, SECTOR_BYTES as u64, "settings")
                .map_err(|error| anyhow!("{error:#}; {help}"))?;
            DeviceSettings::decode(&image).map_err(|error| anyhow!("{}: {error}; {help}", path.display()))?;
            Some(image)
        }
        None => None,
    };
    let seed = options.power_cuts.unwrap_or(1);
    let source = match &options.recorded {
        Some(path) => {
            let bytes = options::read(path, options::RECORDING_BYTES_MAX, "a recording")?;
            recording(&String::from_utf8_lossy(&bytes)).map_err(|line| {
                let example = "such as 01f4336667a25eb93c; lines that begin with # are passed over";
                anyhow!("{}:{line}: a line holds nine bytes in hexadecimal, {example}", path.display())
            })?
        }
        None => Source::Room(Room::new(seed)),
    };
    if let Some(folder) = &options.screens {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("{}: a folder is needed for the screens", folder.display()))?;
    }
    let serial = match &options.serial {
        Some(path) => Some(Serial::open(path).map_err(|error| {
            anyhow!("no serial line at {}: {error}; {}", path.display(), options::serial_help(error.kind()))
        })?),
        None => None,
    };
    for network in &options.network {
        let (name, password) = named(network);
        Wifi::new(name, password).map_err(|error| anyhow!("--network {name}: {error}"))?;
    }
    let door = match options.page {
        Some(address) => {
            let bell = serial.as_ref().map(Serial::bell);
            let door = Door::open(address, bell).with_context(|| format!("the pages at {address}"))?;
            eprintln!("pages at http://{}/", door.address);
            Some(door)
        }
        None => None,
    };
    let flash = Flash::open(&options.flash, seed).map_err(|error| {
        anyhow!("no flash in {}: {error}; {}", options.flash.display(), options::flash_help(error.kind()))
    })?;
    if let Some(image) = settings {
        flash.put(SETUP, &image).map_err(|error| anyhow!("flashing the settings: {error:?}"))?;
    }
    let now_ms = real_unix_ms();
    let world = World::at(if options.speed > 1.0 { now_ms - span_ms.unwrap_or(0) } else { now_ms });
    let end_ms = span_ms.map_or(i64::MAX, |span| world.unix_ms() + span);
    // Mbed TLS draws on it until the program ends.
    let random = Box::leak(Box::new(StdRng::from_rng(&mut rand::rng())));
    let tls = Tls::new(random).map_err(|error| anyhow::anyhow!("Mbed TLS: {error:?}"))?;
    let mut board = Board {
        flash: flash.clone(),
        sensor: Scd41::new(world.clone(), source),
        world,
        tls: tls.reference(),
        wire: Wire::default(),
        names: Names::default(),
        limits: Limits::default(),
        queue: QUEUE,
        built_unix_ms: 0,
        chance: Chance::new(seed ^ now_ms.unsigned_abs()),
    };
    let chance = Chance::new(seed);
    let mut desk = Desk { options, serial, door, end_ms, chance, flash, screens: 0, error: None };
    let (mut reset, mut carried) = ("power", false);
    loop {
        match board.start(&mut desk, reset, carried) {
            Ended::Asked => break,
            Ended::Restart => (reset, carried) = ("software", true),
            Ended::Power => {
                eprintln!("{} the power failed", board.world.unix_ms());
                board.flash.power_on();
                board.sensor.power_cut();
                board.world.pass_ms(desk.chance.below(600_000));
                (reset, carried) = ("power", false);
            }
            Ended::Flash(error) => bail!("the flash cannot be used: {error:?}"),
        }
    }
    desk.error.map_or(Ok(()), Err)
}
