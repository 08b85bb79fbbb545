//! A week of outages and power cuts: the whole device against the real gateway. Every reading that was taken is in the
//! gateway exactly once, or was counted as given up.
//!
//! `$CASEMENT_BIN` names the gateway; `tests/run` sets it. Without it nothing is tried, which is said loudly.

mod audit;
mod proxy;
#[path = "../../net/tests/server/mod.rs"]
mod server;
mod table;
mod there;

use audit::Audit;
use casement_core::QueueStatus;
use casement_proto::device_settings::{self, GatewayUrl};
use casement_sim::chance::Chance;
use casement_sim::device::{Around, Ended, Note, Surroundings};
use casement_sim::flash::{Flash, Place, QUEUE};
use proxy::{Proxy, Road};
use server::{Authority, Leaf, Server, Talk, Version, with_tls};
use std::collections::BTreeMap;
use table::{Table, settings};
use there::Gateway;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Each upload waits for the gateway's disk, so a reading each minute would take too long.
const PERIOD_MS: u32 = 180_000;
/// About 350 readings: less than the longest outage brings.
const SMALL_QUEUE: Place = Place { sectors: 6, ..QUEUE };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Episode {
    Normal,
    /// No network.
    NoLink,
    /// No network, for days.
    Away,
    /// Takes connections and drops them.
    Drops,
    /// Takes connections and says nothing.
    Silent,
    /// Answers get lost on their way.
    LosesAnswers,
    /// 503.
    Busy,
    /// 507.
    Full,
    /// kill -9, and back hours later.
    Down,
    /// kill -9 and back at once, under way.
    Killed,
    /// A certificate that is over.
    Expired,
    /// The certificate of another host.
    WrongHost,
}

use Episode::*;

const BAD: [Episode; 11] =
    [NoLink, Drops, Busy, Killed, LosesAnswers, Away, Expired, Down, Silent, WrongHost, Full];

/// The week, as it happens to a device.
struct Week<'a> {
    chance: Chance,
    gateway: &'a mut Gateway,
    proxy: Proxy,
    servers: BTreeMap<Episode, Server>,
    flash: Flash,
    sensor: casement_sim::scd41::Scd41,
    real_now_ms: i64,
    world_end_ms: i64,
    next_ms: i64,
    turn: usize,
    episode: Episode,
    happened: BTreeMap<Episode, u32>,
    cuts: bool,
    queue: QueueStatus,
    uploads: u32,
    failed: u32,
    audit: Audit,
}

impl Week<'_> {
    fn next_episode(&mut self, unix_ms: i64) {
        if self.episode == Down {
            self.gateway.start();
        }
        self.turn += 1;
        let over = unix_ms >= self.world_end_ms;
        self.episode = if over || self.turn % 2 == 1 { Normal } else { BAD[self.turn / 2 % BAD.len()] };
        *self.happened.entry(self.episode).or_default() += 1;
        let hours = match self.episode {
            Away => 60,
            Silent => 1,
            Normal | NoLink => 1 + self.chance.below(6),
            _ => 1 + self.chance.below(2),
        };
        self.next_ms = (unix_ms + hours as i64 * HOUR_MS).min(self.world_end_ms).max(unix_ms + 60_000);
        if matches!(self.episode, Down | Killed) {
            self.gateway.kill();
        }
        if self.episode == Killed {
            self.gateway.start();
        }
        self.proxy.lead(match self.episode {
            Drops => Road::Drops,
            Silent => Road::Silent,
            LosesAnswers => Road::LosesAnswers(self.gateway.port),
            other => Road::To(self.servers.get(&other).map_or(self.gateway.port, |server| server.port)),
        });
    }
}

impl Surroundings for Week<'_> {
    fn around(&mut self, unix_ms: i64) -> Option<Around> {
        if unix_ms >= self.next_ms {
            self.next_episode(unix_ms);
        }
        let over = unix_ms >= self.world_end_ms;
        // A flash that loses what it was given has readings on its books that are not there.
        let empty = self.queue.queued == 0 || (!self.cuts && unix_ms > self.world_end_ms + HOUR_MS / 2);
        assert!(unix_ms < self.world_end_ms + 2 * HOUR_MS, "it never gets empty: {:?}", self.queue);
        let link = over || !matches!(self.episode, NoLink | Away);
        let around = Around { link, time_server: true, look_again_ms: self.next_ms };
        (!over || !empty).then_some(around)
    }

    fn world_minus_real_ms(&self, world_unix_ms: i64) -> i64 {
        world_unix_ms - self.real_now_ms
    }

    fn note(&mut self, note: &Note<'_>, unix_ms: i64) {
        self.audit.note(note);
        match note {
            Note::Queue(status) => self.queue = *status,
            Note::Uploaded { result, .. } => {
                self.uploads += 1;
                self.failed += u32::from(result.is_err());
            }
            _ => {}
        }
        let writes = matches!(note, Note::Kept { .. } | Note::Uploaded { .. });
        if self.cuts && writes && unix_ms < self.world_end_ms && self.chance.below(45) == 0 {
            // Somewhere within the next bytes that are written or erased.
            self.flash.cut_after(self.chance.below(400));
        }
    }
}

struct Lived {
    audit: Audit,
    happened: BTreeMap<Episode, u32>,
    uploads: (u32, u32),
    cuts: u32,
    restarts: u32,
    erased: u64,
}

/// Lives through days; the device's flash loses one of so many writes, if it is told to.
fn live(gateway: &mut Gateway, authority: &Authority, seed: u64, days: i64, forgets: Option<u64>) -> Lived {
    let real_now_ms = there::real_unix_ms();
    let world_end_ms = real_now_ms - 3 * HOUR_MS;
    let began_ms = world_end_ms - days * DAY_MS;
    let serve = |leaf: Leaf, talk| Server::start(&authority.sign(leaf), Version::Both, talk);
    let good = || Leaf::good("localhost").wide();
    let servers = BTreeMap::from([
        (Busy, serve(good(), Talk::Status(503))),
        (Full, serve(good(), Talk::Status(507))),
        (Expired, serve(good().valid(2015, 2016), Talk::Gateway)),
        (WrongHost, serve(Leaf::good("other.example.org").wide(), Talk::Gateway)),
    ]);
    let proxy = Proxy::start(Road::To(gateway.port));
    let table = Table::new(began_ms, began_ms - 30 * DAY_MS);
    let url = GatewayUrl::parse(&format!("https://localhost:{}", proxy.port)).expect("an address");
    let mut set = settings(url, authority.der(), PERIOD_MS);
    set.token = Some(device_settings::token(&gateway.token).expect("a token"));
    table.flash(&set);
    if let Some(writes) = forgets {
        table.flash.forget_one_of(writes);
    }
    let mut week = Week {
        chance: Chance::new(seed),
        gateway,
        proxy,
        servers,
        flash: table.flash.clone(),
        sensor: table.sensor.clone(),
        real_now_ms,
        world_end_ms,
        next_ms: began_ms,
        turn: 0,
        episode: Normal,
        happened: BTreeMap::new(),
        cuts: forgets.is_none(),
        queue: QueueStatus::default(),
        uploads: 0,
        failed: 0,
        audit: Audit::default(),
    };
    let (mut cuts, mut restarts, mut carried) = (0, 0, false);
    with_tls(|tls| {
        let mut board = table.board(tls);
        board.queue = SMALL_QUEUE;
        board.chance = Chance::new(seed);
        board.limits.connect = embassy_time::Duration::from_millis(400);
        board.limits.exchange = embassy_time::Duration::from_millis(400);
        loop {
            match board.start(&mut week, if carried { "software" } else { "power" }, carried) {
                Ended::Asked => break,
                Ended::Power => {
                    cuts += 1;
                    carried = false;
                    week.flash.power_on();
                    week.sensor.power_cut();
                    board.world.pass_ms(week.chance.below(600_000));
                }
                Ended::Restart => {
                    restarts += 1;
                    carried = true;
                }
                Ended::Flash(error) => panic!("{error:?}"),
            }
        }
    });
    for episode in [Expired, WrongHost] {
        assert_eq!(week.servers[&episode].requests(), 0, "{episode:?}: something was sent");
    }
    assert_eq!(table.flash.rewritten(), 0, "a word was written twice");
    Lived {
        audit: week.audit,
        happened: week.happened,
        uploads: (week.uploads, week.failed),
        cuts,
        restarts,
        erased: table.flash.erased(),
    }
}

#[test]
fn every_reading_of_a_week_is_in_the_gateway_once_or_counted() {
    let Some(binary) = there::binary("device_week") else { return };
    let authority = Authority::new();
    let mut gateway = Gateway::install(&binary, &authority.sign(Leaf::good("localhost").wide()));
    let began = embassy_time::Instant::now();
    let lived = live(&mut gateway, &authority, 0x0dd_ba11, 7, None);
    let found = gateway.stored(authority.der());
    let took_s = began.elapsed().as_secs();
    let result = lived.audit.verdict(&found);
    let rows = [
        ("readings sampled", lived.audit.sampled().to_string()),
        ("in the gateway, once", found.rows.len().to_string()),
        (
            "given up and counted",
            format!(
                "{} counted, {} of them in the gateway all the same",
                lived.audit.counted(),
                lived.audit.counted_and_stored(&found)
            ),
        ),
        ("cut while being written", lived.audit.torn().to_string()),
        ("power cuts at random bytes", lived.cuts.to_string()),
        ("restarts by itself", lived.restarts.to_string()),
        ("uploads · failed", format!("{} · {}", lived.uploads.0, lived.uploads.1)),
        ("kill -9 of the gateway", gateway.kills.to_string()),
        ("sectors erased", lived.erased.to_string()),
        ("seconds", took_s.to_string()),
    ];
    there::figures("device_week", "a week of outages and power cuts: device and gateway over TLS", &rows);
    assert_eq!(result, Ok(()));
    for episode in BAD {
        assert!(lived.happened.contains_key(&episode), "{episode:?} never happened: {:?}", lived.happened);
    }
    assert!(
        lived.cuts >= 50 && lived.audit.sampled() > 2_500,
        "{} cuts, {} sampled",
        lived.cuts,
        lived.audit.sampled()
    );
    assert!(lived.audit.counted() > 100, "the queue was never full");
    assert!(gateway.kills >= 3);
}

#[test]
fn a_reading_that_is_lost_without_being_counted_is_noticed() {
    let Some(binary) = there::binary("device_week_fault") else { return };
    let authority = Authority::new();
    let mut gateway = Gateway::install(&binary, &authority.sign(Leaf::good("localhost").wide()));
    // The planted fault: one of forty writes to flash is lost without a word.
    let lived = live(&mut gateway, &authority, 5, 1, Some(40));
    let found = gateway.stored(authority.der());
    let verdict = lived.audit.verdict(&found);
    assert!(verdict.as_ref().is_err_and(|why| why.contains("neither stored nor counted")), "{verdict:?}");
}
