//! Firmware over the air: the whole device against the real gateway and its own releases. Good ones, bad ones, and the power
//! failing at random bytes all along.
//!
//! `$CASEMENT_BIN` names the gateway; `tests/run` sets it. Without it nothing is tried, which is said loudly.

mod audit;
#[path = "../../net/tests/server/mod.rs"]
mod server;
mod table;
mod there;

use audit::Audit;
use casement_core::QueueStatus;
use casement_core::update::Slot;
use casement_proto::device_settings::{self, GatewayUrl};
use casement_proto::{DeviceSettings, Version};
use casement_screen::Stage;
use casement_sim::chance::Chance;
use casement_sim::device::{Around, Board, Ended, Note, Surroundings};
use casement_sim::firmware::{Conduct, image};
use casement_sim::flash::{Flash, SLOT_A};
use casement_sim::scd41::Scd41;
use server::{Authority, Leaf, with_tls};
use std::path::PathBuf;
use table::{Table, settings};
use there::Gateway;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
const OLD: Version = Version { major: 1, minor: 0, patch: 0 };
/// As large as that of a Stamp-C3.
const REAL_BYTES: usize = 946_000;

/// What happens to a device, and what is seen of it.
struct Life {
    real_now_ms: i64,
    end_ms: i64,
    link: bool,
    audit: Audit,
    queue: QueueStatus,
    booted: Vec<(Slot, Version)>,
    crashes: u32,
    restarts: u32,
    cuts: u32,
    /// Questions, parts and hashes.
    exchanges: u32,
    /// Reports, without repeats.
    said: Vec<String>,
    /// What the screen showed of updates, without repeats.
    shown: Vec<(Version, Stage)>,
    chance: Chance,
    /// The power fails within so many bytes.
    cut_within: Option<u64>,
    flash: Flash,
    sensor: Scd41,
    /// Requests before the first restart, and the real milliseconds that they and one hash took.
    fetch: (u32, u64),
    until: Option<Version>,
}

impl Life {
    fn new(table: &Table, real_now_ms: i64) -> Self {
        Self {
            real_now_ms,
            end_ms: 0,
            link: true,
            audit: Audit::default(),
            queue: QueueStatus::default(),
            booted: vec![],
            crashes: 0,
            restarts: 0,
            cuts: 0,
            exchanges: 0,
            said: vec![],
            shown: vec![],
            chance: Chance::new(3),
            cut_within: None,
            flash: table.flash.clone(),
            sensor: table.sensor.clone(),
            fetch: (0, 0),
            until: None,
        }
    }

    fn version(&self) -> Version {
        self.booted.last().expect("it booted").1
    }

    fn stages(&self) -> Vec<Stage> {
        self.shown.iter().map(|(_, stage)| *stage).collect()
    }

    /// Lives until a time of the world, or until a version is confirmed.
    fn live(&mut self, board: &mut Board<'_>, ms: i64) {
        self.end_ms = board.world.unix_ms() + ms;
        let mut carried = false;
        if let Some(bytes) = self.cut_within {
            self.flash.cut_after(self.chance.below(bytes));
        }
        loop {
            match board.start(self, if carried { "software" } else { "power" }, carried) {
                Ended::Asked => break,
                Ended::Power => {
                    self.cuts += 1;
                    carried = false;
                    self.flash.power_on();
                    self.sensor.power_cut();
                    board.world.pass_ms(self.chance.below(60_000));
                    if let Some(bytes) = self.cut_within {
                        self.flash.cut_after(self.chance.below(bytes));
                    }
                }
                Ended::Restart => {
                    self.restarts += 1;
                    carried = true;
                    assert!(self.restarts < 2_000, "a reboot loop");
                }
                Ended::Flash(error) => panic!("{error:?}"),
            }
        }
        self.flash.power_on();
    }
}

impl Surroundings for Life {
    fn around(&mut self, unix_ms: i64) -> Option<Around> {
        let done = self.until.is_some_and(|version| {
            self.booted.last().is_some_and(|(_, booted)| *booted == version)
                && self.said.last().is_some_and(String::is_empty)
        });
        let around = Around { link: self.link, time_server: true, look_again_ms: self.end_ms };
        (unix_ms < self.end_ms && !done).then_some(around)
    }

    fn world_minus_real_ms(&self, world_unix_ms: i64) -> i64 {
        world_unix_ms - self.real_now_ms
    }

    fn note(&mut self, note: &Note<'_>, _: i64) {
        self.audit.note(note);
        match note {
            Note::Booted(it) => self.booted.push((it.slot, it.version)),
            Note::Crashed => self.crashes += 1,
            Note::Queue(status) => self.queue = *status,
            Note::Update { real_ms, request } => {
                self.exchanges += 1;
                if self.booted.len() == 1 {
                    self.fetch = (self.fetch.0 + u32::from(*request), self.fetch.1 + real_ms);
                }
            }
            Note::ReportUpdate(text) => {
                let text = text.unwrap_or_default();
                if self.said.last().is_none_or(|last| last != text) {
                    self.said.push(text.to_owned());
                }
            }
            Note::Seen(seen) => {
                if let Some(update) = seen.update
                    && self.shown.last() != Some(&update)
                {
                    self.shown.push(update);
                }
            }
            _ => {}
        }
    }
}

/// A gateway and a device that trusts its releases.
struct Fleet {
    authority: Authority,
    gateway: Gateway,
    key: [u8; 32],
    real_now_ms: i64,
    files: tempfile::TempDir,
}

impl Fleet {
    fn new(binary: &std::path::Path) -> Self {
        let authority = Authority::new();
        let gateway = Gateway::install(binary, &authority.sign(Leaf::good("localhost").wide()));
        let key = gateway.run(&["release", "key"]);
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(key.trim().as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).expect("text");
            *byte = u8::from_str_radix(digits, 16).expect("hexadecimal");
        }
        let files = tempfile::tempdir().expect("a folder");
        Self { authority, gateway, key: bytes, real_now_ms: there::real_unix_ms(), files }
    }

    /// Signs a release and offers it to everybody.
    fn offer(&self, version: Version, conduct: Conduct, bytes: usize) {
        self.add(version, conduct, bytes);
        self.gateway.run(&["release", "stage", "sim", &version.to_string(), "100"]);
    }

    fn add(&self, version: Version, conduct: Conduct, bytes: usize) {
        let path = self.files.path().join("ota.bin");
        std::fs::write(&path, image(version, conduct, bytes)).expect("writes");
        let path = path.to_str().expect("text");
        self.gateway.run(&["release", "add", "sim", &version.to_string(), "--image", path]);
    }

    /// Where the gateway keeps a release.
    fn release(&self, version: Version) -> PathBuf {
        self.gateway.data().join("firmware/sim").join(version.to_string())
    }

    /// A device that runs the old version, so many days ago.
    fn table(&self, days: i64, change: impl FnOnce(&mut DeviceSettings)) -> Table {
        let table = Table::new(self.real_now_ms - days * DAY_MS, self.real_now_ms - 30 * DAY_MS);
        table.flash.put(SLOT_A, &image(OLD, Conduct::Works, 50_000)).expect("fits");
        let url = GatewayUrl::parse(&format!("https://localhost:{}", self.gateway.port)).expect("an address");
        let mut set = settings(url, self.authority.der(), 120_000);
        set.token = Some(device_settings::token(&self.gateway.token).expect("a token"));
        set.release_key = Some(self.key);
        change(&mut set);
        table.flash(&set);
        table
    }

    fn life(&self, table: &Table) -> Life {
        Life::new(table, self.real_now_ms)
    }
}

fn version(minor: u16) -> Version {
    Version { minor, ..OLD }
}

fn board<'t>(table: &Table, tls: mbedtls_rs::TlsReference<'t>) -> Board<'t> {
    let mut board = table.board(tls);
    board.limits.connect = embassy_time::Duration::from_secs(10);
    board.limits.exchange = embassy_time::Duration::from_secs(10);
    board
}

#[test]
fn a_good_release_is_fetched_tried_and_confirmed_while_readings_go_on() {
    let Some(binary) = there::binary("device_update") else { return };
    let fleet = Fleet::new(&binary);
    fleet.offer(version(1), Conduct::Works, REAL_BYTES);
    with_tls(|tls| {
        let table = fleet.table(1, |_| {});
        let mut life = fleet.life(&table);
        let mut board = board(&table, tls);
        life.live(&mut board, 20 * MINUTE_MS);
        let (requests, took_ms) = life.fetch;
        assert_eq!(life.booted, [(Slot::A, OLD), (Slot::B, version(1))]);
        assert_eq!((life.crashes, life.restarts), (0, 1));
        let percents: Vec<u8> = life
            .stages()
            .iter()
            .filter_map(|stage| match stage {
                Stage::Downloading(percent) => Some(*percent),
                _ => None,
            })
            .collect();
        assert!(percents.len() > 10 && percents.is_sorted(), "{percents:?}");
        assert_eq!(life.stages().last(), Some(&Stage::Trial));
        assert!(life.said.iter().any(|said| said == "trying 1.1.0"), "{:?}", life.said);
        // It is asked for again, and not fetched once more.
        let exchanges = life.exchanges;
        life.live(&mut board, 10 * HOUR_MS);
        assert!((1..=4).contains(&(life.exchanges - exchanges)), "{} more", life.exchanges - exchanges);
        assert_eq!((life.version(), life.queue.dropped), (version(1), 0));
        let list = fleet.gateway.run(&["release", "list"]);
        assert!(list.contains("1.1.0"), "{list}");
        let found = fleet.gateway.stored(fleet.authority.der());
        assert_eq!(life.audit.verdict(&found), Ok(()));
        let rows = [
            (
                "bytes of the image",
                std::fs::metadata(fleet.release(version(1)).join("ota.bin"))
                    .expect("is there")
                    .len()
                    .to_string(),
            ),
            ("requests for it: one question, and parts of 64 KiB", requests.to_string()),
            ("real milliseconds for all of these, on a computer", took_ms.to_string()),
            ("readings taken · stored once", format!("{} · {}", life.audit.sampled(), found.rows.len())),
        ];
        there::figures("device_update", "firmware over the air: the simulated device and the gateway", &rows);
    });
}
