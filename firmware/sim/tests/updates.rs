//! Firmware over the air: the whole device against the real gateway and its own releases. Good ones, bad ones, and the power
//! failing at random bytes all along.
//!
//! `$CASEMENT_BIN` names the gateway; `tests/run` sets it. Without it nothing is tried, which is said loudly.

mod audit;
mod proxy;
#[path = "../../net/tests/server/mod.rs"]
mod server;
mod table;
mod there;

use audit::Audit;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use casement_core::QueueStatus;
use casement_core::update::Slot;
use casement_proto::device_settings::{self, GatewayUrl, UpdatePolicy};
use casement_proto::{BoardId, DeviceSettings, Release, SignedRelease, Version};
use casement_screen::{Stage, UpdateFault};
use casement_sim::chance::Chance;
use casement_sim::device::{Around, Board, Ended, Note, Surroundings};
use casement_sim::firmware::{Conduct, image};
use casement_sim::flash::{Flash, SLOT_A};
use casement_sim::scd41::Scd41;
use proxy::{Proxy, Road};
use server::{Authority, Leaf, Server, Talk, with_tls};
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
    /// Questions and parts.
    requests: u32,
    until_requests: Option<u32>,
    /// How long each exchange takes in the world.
    exchange_ms: u64,
    /// Most readings that waited at once since the first part.
    queued_max: u32,
    /// The end waits until all that was taken is sent.
    drains: bool,
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
            requests: 0,
            until_requests: None,
            exchange_ms: 200,
            queued_max: 0,
            drains: false,
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

    /// The power will fail at some byte; at times soon, where small things are kept and the bootloader is told.
    fn plan_a_cut(&mut self) {
        if let Some(bytes) = self.cut_within {
            let within = if self.chance.below(3) == 0 { bytes / 50 } else { bytes };
            self.flash.cut_after(self.chance.below(within));
        }
    }

    /// How far it came, as the screen showed it.
    fn percents(&self) -> Vec<u8> {
        let percent = |stage: Stage| match stage {
            Stage::Downloading(percent) => Some(percent),
            _ => None,
        };
        self.stages().into_iter().filter_map(percent).collect()
    }

    /// What the screen said at last of an update that did not work out.
    fn fault(&self) -> Option<UpdateFault> {
        match self.stages().last() {
            Some(Stage::Failed(fault)) => Some(*fault),
            _ => None,
        }
    }

    /// Lives until a time of the world, or until a version is confirmed.
    fn live(&mut self, board: &mut Board<'_>, ms: i64) {
        self.end_ms = board.world.unix_ms() + ms;
        let mut carried = false;
        self.plan_a_cut();
        loop {
            match board.start(self, if carried { "software" } else { "power" }, carried) {
                Ended::Asked => break,
                Ended::Power => {
                    self.cuts += 1;
                    carried = false;
                    self.flash.power_on();
                    self.sensor.power_cut();
                    board.world.pass_ms(self.chance.below(60_000));
                    self.plan_a_cut();
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
        let done = done || self.until_requests.is_some_and(|most| self.requests >= most);
        let around = Around {
            link: self.link,
            time_server: true,
            look_again_ms: self.end_ms.max(unix_ms + MINUTE_MS),
        };
        // What was taken at the last moment is still sent.
        let live = unix_ms < self.end_ms || self.drains && self.queue.queued > 0;
        assert!(unix_ms < self.end_ms + HOUR_MS, "it never gets empty: {:?}", self.queue);
        (live && !done).then_some(around)
    }

    fn exchange_ms(&self, _: u64) -> u64 {
        self.exchange_ms
    }

    fn world_minus_real_ms(&self, world_unix_ms: i64) -> i64 {
        world_unix_ms - self.real_now_ms
    }

    fn note(&mut self, note: &Note<'_>, _: i64) {
        self.audit.note(note);
        match note {
            Note::Booted(it) => self.booted.push((it.slot, it.version)),
            Note::Crashed => self.crashes += 1,
            Note::Queue(status) => {
                self.queue = *status;
                if self.requests > 0 {
                    self.queued_max = self.queued_max.max(status.queued);
                }
            }
            Note::Update { real_ms, request } => {
                self.requests += u32::from(*request);
                if self.booted.len() == 1 {
                    self.fetch = (self.requests, self.fetch.1 + real_ms);
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

    /// Waits until the list of releases says a word of a version.
    fn wait_for(&self, version: &str, word: &str) {
        let began = embassy_time::Instant::now();
        loop {
            let list = self.gateway.run(&["release", "list"]);
            if list.lines().any(|line| line.contains(version) && line.contains(word)) {
                return;
            }
            // It writes what devices say every ten seconds.
            assert!(began.elapsed().as_secs() < 30, "{version} is not {word}: {list}");
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
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
        let percents = life.percents();
        assert!(percents.len() > 10 && percents.is_sorted(), "{percents:?}");
        assert_eq!(life.stages().last(), Some(&Stage::Trial));
        assert!(life.said.iter().any(|said| said == "trying 1.1.0"), "{:?}", life.said);
        // It is asked for again, and not fetched once more.
        life.drains = true;
        let requests_before = life.requests;
        life.live(&mut board, 10 * HOUR_MS);
        assert!(
            (1..=4).contains(&(life.requests - requests_before)),
            "{} more",
            life.requests - requests_before
        );
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

#[test]
fn readings_go_first_over_a_slow_line() {
    let Some(binary) = there::binary("device_update_slow") else { return };
    let fleet = Fleet::new(&binary);
    fleet.offer(version(1), Conduct::Works, REAL_BYTES);
    with_tls(|tls| {
        let table = fleet.table(1, |set| *set = set.clone().with_period_ms(20_000).expect("is allowed"));
        let mut life = fleet.life(&table);
        let mut board = board(&table, tls);
        // Twelve seconds for a part: most of the line is the release's, and more parts than fit between two readings.
        life.exchange_ms = 12_000;
        life.until = Some(version(1));
        life.live(&mut board, HOUR_MS);
        assert_eq!(life.version(), version(1));
        assert!(life.queued_max <= 3, "{} readings waited", life.queued_max);
        let rows = [
            ("seconds that each exchange takes", "12".to_owned()),
            ("seconds between readings", "20".to_owned()),
            ("most readings that waited at once", life.queued_max.to_string()),
        ];
        there::figures("device_update_slow", "a release of 946,336 bytes over a slow line", &rows);
    });
}

/// A release that does not work out.
struct Bad {
    name: &'static str,
    conduct: Conduct,
    /// What happens to it at the gateway once it is there.
    change: fn(&Fleet, Version),
    set: fn(&mut DeviceSettings),
    /// How often the new firmware starts, and crashes.
    starts: usize,
    crashes: u32,
    said: &'static str,
    fault: Option<UpdateFault>,
    /// Requests at most, until it is known, and in the half day after that.
    requests: (u32, u32),
}

#[test]
fn every_bad_release_ends_with_the_old_firmware_and_in_words() {
    let Some(binary) = there::binary("device_update_bad") else { return };
    let fleet = Fleet::new(&binary);
    let change_a_byte = |fleet: &Fleet, version: Version| {
        let path = fleet.release(version).join("ota.bin");
        let mut bytes = std::fs::read(&path).expect("is there");
        bytes[40_000] ^= 1;
        std::fs::write(&path, bytes).expect("writes");
    };
    let hold = |fleet: &Fleet, _: Version| {
        fleet.gateway.run(&["release", "hold", "room-1"]);
    };
    let good = Bad {
        name: "",
        conduct: Conduct::Works,
        change: |_, _| {},
        set: |_| {},
        starts: 0,
        crashes: 0,
        said: "",
        fault: None,
        requests: (6, 4),
    };
    let bad = [
        Bad {
            name: "crashes at start",
            conduct: Conduct::CrashesAtStart,
            // The fourth start only goes back.
            starts: 4,
            crashes: 3,
            said: "failed VERSION crashed",
            fault: Some(UpdateFault::Crashed),
            ..good
        },
        Bad {
            name: "crashes later",
            conduct: Conduct::CrashesLater,
            starts: 4,
            crashes: 3,
            said: "failed VERSION crashed",
            fault: Some(UpdateFault::Crashed),
            ..good
        },
        Bad {
            name: "never reaches the gateway",
            conduct: Conduct::Silent,
            starts: 3,
            said: "failed VERSION silent",
            fault: Some(UpdateFault::Unconfirmed),
            ..good
        },
        Bad {
            name: "changed on the gateway's disk",
            change: change_a_byte,
            // Fetched twice.
            requests: (12, 4),
            said: "failed VERSION wrong-hash",
            fault: Some(UpdateFault::Hash),
            ..good
        },
        Bad {
            name: "signed by somebody else",
            set: |set| set.release_key = Some([7; 32]),
            said: "failed VERSION signature",
            fault: Some(UpdateFault::Signature),
            ..good
        },
        Bad { name: "told to stay", set: |set| set.update = UpdatePolicy::Stay, requests: (0, 0), ..good },
        Bad { name: "without a key", set: |set| set.release_key = None, requests: (0, 0), ..good },
        Bad { name: "held by the gateway", change: hold, ..good },
    ];
    with_tls(|tls| {
        for (number, bad) in (1..).zip(bad) {
            let (name, version) = (bad.name, version(number));
            fleet.offer(version, bad.conduct, 80_000);
            (bad.change)(&fleet, version);
            let table = fleet.table(1, |set| {
                *set = set.clone().with_period_ms(600_000).expect("is allowed");
                (bad.set)(set);
            });
            let mut life = fleet.life(&table);
            let mut board = board(&table, tls);
            board.chance = Chance::new(u64::from(number));
            life.live(&mut board, 4 * HOUR_MS);
            let starts = life.booted.iter().filter(|(slot, _)| *slot == Slot::B).count();
            assert_eq!((starts, life.crashes), (bad.starts, bad.crashes), "{name}: {:?}", life.booted);
            assert_eq!(life.booted.last(), Some(&(Slot::A, OLD)), "{name}");
            let said = bad.said.replace("VERSION", &version.to_string());
            assert_eq!(life.said.last(), Some(&said), "{name}: {:?}", life.said);
            assert_eq!(life.fault(), bad.fault, "{name}: {:?}", life.shown);
            assert!(life.requests <= bad.requests.0, "{name}: {} requests", life.requests);
            assert!(life.queue.queued <= 1 && life.queue.dropped + life.queue.refused == 0, "{name}");
            // All are counted alike, and each wait takes up to ten seconds.
            if ["crashes at start", "signed by somebody else"].contains(&name) {
                // The gateway heard of it, and offers it to nobody.
                fleet.wait_for(&version.to_string(), "nobody");
            }
            // Half a day later: no restart, and nothing was fetched again.
            let (restarts, requests) = (life.restarts, life.requests);
            life.live(&mut board, 12 * HOUR_MS);
            assert_eq!(life.restarts, restarts, "{name}");
            assert!(life.requests - requests <= bad.requests.1, "{name}: {} more", life.requests - requests);
            assert_eq!(life.version(), OLD, "{name}");
            fleet.gateway.run(&["release", "remove", "sim", &version.to_string()]);
        }
    });
}

#[test]
fn every_bad_manifest_is_refused_in_words() {
    let authority = Authority::new();
    let chain = authority.sign(Leaf::good("localhost").wide());
    let key = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).expect("a key");
    let public: [u8; 32] = key.public_key().as_ref().try_into().expect("32 bytes");
    let sign = |change: fn(&mut Release)| -> &'static [u8] {
        let board = BoardId::parse("sim").expect("a name");
        let mut release = Release { board, version: version(1), size: 90_000, sha256: [1; 32] };
        change(&mut release);
        let signature = key.sign(&release.signed_bytes()).as_ref().try_into().expect("64 bytes");
        Box::leak(SignedRelease { release, signature }.encode().to_vec().into_boxed_slice())
    };
    let forged = {
        let mut bytes = sign(|_| {}).to_vec();
        bytes[40] ^= 1;
        &*Box::leak(bytes.into_boxed_slice())
    };
    let real_now_ms = there::real_unix_ms();
    with_tls(|tls| {
        for (name, manifest, said, fault) in [
            (
                "another board",
                sign(|it| it.board = BoardId::parse("stamp-c3").expect("a name")),
                "failed 1.1.0 wrong-board",
                Some(UpdateFault::WrongBoard),
            ),
            (
                "too large",
                sign(|it| it.size = 0x1e_0001),
                "failed 1.1.0 too-large",
                Some(UpdateFault::TooLarge),
            ),
            ("altered", forged, "failed 1.1.0 signature", Some(UpdateFault::Signature)),
            ("garbage", &b"<html>no manifest</html>"[..], "", Some(UpdateFault::Unreadable)),
            ("cut", &sign(|_| {})[..70], "", Some(UpdateFault::Unreadable)),
            ("more than any", &[1; 3_000][..], "", Some(UpdateFault::Unreadable)),
            ("the same version", sign(|it| it.version = OLD), "", None),
            ("an older one", sign(|it| it.version = Version::default()), "", None),
        ] {
            let server = Server::start(&chain, server::Version::Both, Talk::Offers(manifest));
            let table = Table::new(real_now_ms - DAY_MS, real_now_ms - 30 * DAY_MS);
            table.flash.put(SLOT_A, &image(OLD, Conduct::Works, 50_000)).expect("fits");
            let url = GatewayUrl::parse(&format!("https://localhost:{}", server.port)).expect("an address");
            let mut set = settings(url, authority.der(), 120_000);
            set.release_key = Some(public);
            table.flash(&set);
            let mut life = Life::new(&table, real_now_ms);
            let mut board = board(&table, tls);
            life.live(&mut board, 10 * HOUR_MS);
            assert_eq!((life.restarts, life.booted.len()), (0, 1), "{name}");
            assert_eq!(life.said.last().map(String::as_str), Some(said), "{name}: {:?}", life.said);
            assert_eq!(life.fault(), fault, "{name}: {:?}", life.shown);
            assert!((1..=4).contains(&life.requests), "{name}: {} questions", life.requests);
            assert!(life.queue.queued <= 1 && life.queue.dropped + life.queue.refused == 0, "{name}");
        }
    });
}

#[test]
fn a_download_cut_short_again_and_again_is_said_and_goes_on_where_it_was() {
    let Some(binary) = there::binary("device_update_cut") else { return };
    let fleet = Fleet::new(&binary);
    fleet.offer(version(1), Conduct::Works, 600_000);
    let proxy = Proxy::start(Road::To(fleet.gateway.port));
    with_tls(|tls| {
        let url = GatewayUrl::parse(&format!("https://localhost:{}", proxy.port)).expect("an address");
        let table = fleet.table(1, |set| set.gateway = Some(url));
        let mut life = fleet.life(&table);
        let mut board = board(&table, tls);
        // It is offered while all is well; then no connection lasts.
        life.until_requests = Some(2);
        life.live(&mut board, HOUR_MS);
        assert_eq!(life.requests, 2);
        life.until_requests = None;
        proxy.lead(Road::Short(fleet.gateway.port));
        life.live(&mut board, 3 * HOUR_MS);
        assert!(life.stages().contains(&Stage::Failed(UpdateFault::Incomplete)), "{:?}", life.stages());
        assert!(life.said.iter().any(|said| said.starts_with("fetching 1.1.0")), "{:?}", life.said);
        proxy.lead(Road::To(fleet.gateway.port));
        life.drains = true;
        life.live(&mut board, 3 * HOUR_MS);
        assert_eq!((life.version(), life.said.last().map(String::as_str)), (version(1), Some("")));
        // What came was whole: nothing had to be fetched twice.
        assert!(life.percents().is_sorted(), "{:?}", life.percents());
        let found = fleet.gateway.stored(fleet.authority.der());
        assert_eq!(life.audit.verdict(&found), Ok(()));
    });
}

#[test]
fn power_cuts_all_along_cost_neither_an_update_nor_a_reading() {
    let Some(binary) = there::binary("device_update_cuts") else { return };
    let fleet = Fleet::new(&binary);
    let releases = 30;
    with_tls(|tls| {
        let table = fleet.table(20, |set| *set = set.clone().with_period_ms(20_000).expect("is allowed"));
        let mut life = fleet.life(&table);
        let mut board = board(&table, tls);
        let began = embassy_time::Instant::now();
        for number in 1..=releases {
            // One part is kept after 131 KB of writing and erasing; whose power always fails before that gets nowhere.
            life.cut_within = Some(300_000);
            fleet.offer(version(number), Conduct::Works, 400_000);
            life.until = Some(version(number));
            life.live(&mut board, 20 * HOUR_MS);
            assert_eq!(life.version(), version(number), "release {number}: {:?}", life.said);
        }
        // What waits is sent.
        (life.cut_within, life.until, life.drains) = (None, None, true);
        life.live(&mut board, HOUR_MS);
        let found = fleet.gateway.stored(fleet.authority.der());
        let rows = [
            ("releases installed, one after the other", releases.to_string()),
            ("power cuts at random bytes", life.cuts.to_string()),
            ("starts", life.booted.len().to_string()),
            ("requests for firmware", life.requests.to_string()),
            (
                "readings taken · in the gateway, once",
                format!("{} · {}", life.audit.sampled(), found.rows.len()),
            ),
            ("cut while being written", life.audit.torn().to_string()),
            ("seconds", began.elapsed().as_secs().to_string()),
        ];
        there::figures("device_update_cuts", "updates while the power fails all along", &rows);
        assert_eq!(life.audit.verdict(&found), Ok(()));
        assert_eq!((life.audit.counted(), life.crashes), (0, 0));
        assert!(life.cuts >= 150 && life.audit.sampled() > 300, "{} cuts", life.cuts);
        assert_eq!(table.flash.rewritten(), 0, "a word was written twice");
        // Each started in the slot that it was written to, and none but whole ones ever did.
        let versions: Vec<_> = life.booted.iter().map(|(_, version)| *version).collect();
        assert!(versions.is_sorted(), "{versions:?}");
    });
}
