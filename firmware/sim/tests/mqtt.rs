//! A day of outages, restarts and power cuts against a real broker: the whole device, Mosquitto with TLS and passwords,
//! and a subscriber. Every reading that was taken has arrived at least once, and each is named.
//!
//! `$MOSQUITTO_DIR` names the folder with Mosquitto's programs; `tests/run` sets it. Without it nothing is tried, which is
//! said loudly.

mod audit;
#[path = "../../net/tests/broker/mod.rs"]
mod broker;
mod mosquitto;
mod proxy;
#[path = "../../net/tests/server/mod.rs"]
mod server;
mod table;
mod there;

use audit::Audit;
use broker::{Broker, Script};
use casement_core::QueueStatus;
use casement_proto::DeviceId;
use casement_proto::device_settings::{BrokerUrl, GatewayUrl};
use casement_sim::chance::Chance;
use casement_sim::device::{Around, Ended, Note, Surroundings};
use casement_sim::flash::Flash;
use mosquitto::{Heard, Mosquitto, Subscriber};
use proxy::{Proxy, Road};
use server::{Authority, Leaf, NOW_S, Version, with_tls};
use std::collections::BTreeMap;
use table::{Table, settings};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const PASSWORD: &str = "cas_dev_secret";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Episode {
    /// Nobody has ever subscribed.
    Unheard,
    Normal,
    /// No network.
    NoLink,
    /// Takes connections and drops them.
    Drops,
    /// Takes connections and says nothing.
    Silent,
    /// Acknowledgements get lost on their way.
    LosesAnswers,
    /// The broker is restarted under way.
    Restarted,
    /// The broker is away.
    Down,
    /// The broker has another password for the device.
    WrongPassword,
    /// The subscriber is away; the broker keeps messages for it.
    Unread,
}

use Episode::*;

const BAD: [Episode; 9] =
    [Unheard, LosesAnswers, NoLink, Restarted, Drops, WrongPassword, Unread, Down, Silent];

/// The day, as it happens to a device.
struct Day {
    chance: Chance,
    broker: Mosquitto,
    subscriber: Option<Subscriber>,
    heard: Heard,
    proxy: Proxy,
    flash: Flash,
    world_end_ms: i64,
    next_ms: i64,
    turn: usize,
    episode: Episode,
    happened: BTreeMap<Episode, u32>,
    codes: BTreeMap<&'static str, Episode>,
    queue: QueueStatus,
    uploads: u32,
    failed: u32,
    audit: Audit,
}

impl Day {
    fn next_episode(&mut self, unix_ms: i64) {
        match self.episode {
            Down => self.broker.start(),
            WrongPassword => self.restart_with(PASSWORD),
            _ => {}
        }
        let over = unix_ms >= self.world_end_ms;
        let bad = BAD[self.turn / 2 % BAD.len()];
        // Nobody has ever subscribed only once.
        let bad = if bad == Unheard && self.subscriber.is_some() { LosesAnswers } else { bad };
        self.episode = if over || self.turn % 2 == 1 { Normal } else { bad };
        self.turn += 1;
        *self.happened.entry(self.episode).or_default() += 1;
        let minutes = 20 + self.chance.below(60) as i64;
        self.next_ms = (unix_ms + minutes * MINUTE_MS).min(self.world_end_ms).max(unix_ms + MINUTE_MS);
        match self.episode {
            Restarted | Down => self.broker.stop(),
            WrongPassword => self.restart_with("another"),
            Unread => self.subscriber = None,
            Normal if self.subscriber.is_none() => {
                self.subscriber = Some(self.broker.subscribe(&self.heard));
            }
            _ => {}
        }
        if self.episode == Restarted {
            self.broker.start();
        }
        let port = self.broker.port;
        self.proxy.lead(match self.episode {
            Drops => Road::Drops,
            Silent => Road::Silent,
            LosesAnswers => Road::LosesAnswers(port),
            _ => Road::To(port),
        });
    }

    fn restart_with(&mut self, password: &str) {
        self.broker.stop();
        self.broker.set_password("room-1", password);
        self.broker.start();
    }
}

impl Surroundings for Day {
    fn around(&mut self, unix_ms: i64) -> Option<Around> {
        if unix_ms >= self.next_ms {
            self.next_episode(unix_ms);
        }
        let over = unix_ms >= self.world_end_ms;
        assert!(unix_ms < self.world_end_ms + 2 * HOUR_MS, "it never gets empty: {:?}", self.queue);
        let link = over || self.episode != NoLink;
        let around = Around { link, time_server: true, look_again_ms: self.next_ms };
        (!over || self.queue.queued > 0).then_some(around)
    }

    fn note(&mut self, note: &Note<'_>, unix_ms: i64) {
        self.audit.note(note);
        match note {
            Note::Queue(status) => self.queue = *status,
            Note::Report(Some(code)) => {
                self.codes.entry(code).or_insert(self.episode);
            }
            Note::Uploaded { result, .. } => {
                self.uploads += 1;
                self.failed += u32::from(result.is_err());
                if self.episode == Unheard {
                    assert!(result.is_err(), "the broker had nobody to give it to");
                }
            }
            _ => {}
        }
        let writes = matches!(note, Note::Kept { .. } | Note::Uploaded { .. });
        if writes && unix_ms < self.world_end_ms && self.chance.below(60) == 0 {
            // Somewhere within the next bytes that are written or erased.
            self.flash.cut_after(self.chance.below(400));
        }
    }
}

#[test]
fn every_reading_of_a_day_reaches_a_subscriber_and_is_named() {
    let Some(programs) = mosquitto::programs() else {
        there::skipped("device_mqtt", "$MOSQUITTO_DIR names no broker, MQTT was tried on paper alone");
        return;
    };
    let authority = Authority::new();
    let chain = authority.sign(Leaf::good("localhost").wide());
    let mut broker = Mosquitto::install(&programs, &chain, authority.der());
    broker.set_password("room-1", PASSWORD);
    broker.start();
    let proxy = Proxy::start(Road::To(broker.port));
    let began_ms = there::real_unix_ms() - 30 * HOUR_MS;
    let table = Table::new(began_ms, began_ms - 720 * HOUR_MS);
    // The gateway is not there; the broker counts.
    let nobody = GatewayUrl::parse("https://localhost:9").expect("an address");
    let mut set = settings(nobody, authority.der(), 60_000);
    set.device = DeviceId::parse("room-1");
    set.broker = Some(BrokerUrl::parse(&format!("mqtts://localhost:{}", proxy.port)).expect("an address"));
    table.flash(&set);
    let mut day = Day {
        chance: Chance::new(0xb40_ce4),
        broker,
        subscriber: None,
        heard: Heard::default(),
        proxy,
        flash: table.flash.clone(),
        world_end_ms: began_ms + 24 * HOUR_MS,
        next_ms: began_ms,
        turn: 0,
        episode: Normal,
        happened: BTreeMap::new(),
        codes: BTreeMap::new(),
        queue: QueueStatus::default(),
        uploads: 0,
        failed: 0,
        audit: Audit::default(),
    };
    let began = embassy_time::Instant::now();
    let (mut cuts, mut restarts, mut carried) = (0, 0, false);
    with_tls(|tls| {
        let mut board = table.board(tls);
        board.limits.connect = embassy_time::Duration::from_millis(600);
        board.limits.exchange = embassy_time::Duration::from_millis(600);
        loop {
            match board.start(&mut day, if carried { "software" } else { "power" }, carried) {
                Ended::Asked => break,
                Ended::Power => {
                    cuts += 1;
                    carried = false;
                    day.flash.power_on();
                    table.sensor.power_cut();
                    board.world.pass_ms(day.chance.below(300_000));
                }
                Ended::Restart => {
                    restarts += 1;
                    carried = true;
                }
                Ended::Flash(error) => panic!("{error:?}"),
            }
        }
    });
    let due = usize::try_from(day.audit.sampled() - day.audit.torn() - day.audit.counted()).expect("fits");
    let found = day.heard.wait_for(due);
    let rows = [
        ("readings sampled", day.audit.sampled().to_string()),
        ("at the subscriber, by name", found.names.len().to_string()),
        ("of them more than once", day.heard.again().to_string()),
        ("cut while being written", day.audit.torn().to_string()),
        ("power cuts at random bytes", cuts.to_string()),
        ("restarts by itself", restarts.to_string()),
        ("messages · failed", format!("{} · {}", day.uploads, day.failed)),
        ("starts of the broker", day.broker.starts.to_string()),
        ("seconds", began.elapsed().as_secs().to_string()),
    ];
    there::figures(
        "device_mqtt",
        "a day of outages with MQTT: device, Mosquitto and a subscriber over TLS",
        &rows,
    );
    let verdict = day.audit.verdict(&found);
    assert_eq!(verdict, Ok(()), "{}", day.broker.log());
    for episode in BAD {
        assert!(day.happened.contains_key(&episode), "{episode:?} never happened: {:?}", day.happened);
    }
    for code in ["no_subscriber", "token_refused", "no_answer"] {
        assert!(day.codes.contains_key(code), "{code}: {:?}", day.codes);
    }
    assert_eq!(day.codes["no_subscriber"], Unheard, "{:?}", day.codes);
    assert!(day.audit.sampled() > 1_000 && day.audit.counted() == 0, "{rows:?}");
    assert!(day.heard.again() > 0, "no acknowledgement was lost, so nothing was shown");
    assert!(cuts >= 5 && day.broker.starts >= 4, "{rows:?}");
}

/// A broker tells no time, so a device that sends to one goes by time servers alone.
#[test]
fn without_a_time_server_a_broker_gets_nothing_and_nothing_is_lost() {
    const NOW_MS: i64 = NOW_S as i64 * 1_000;
    let authority = Authority::new();
    let chain = authority.sign(Leaf::good("localhost"));
    let paper = Broker::start(&chain, Version::Both, &[Script::Good { session: false }]);
    // The firmware is younger than the certificate, which therefore is no obstacle.
    let mut table = Table::new(NOW_MS, NOW_MS - 24 * HOUR_MS);
    let nobody = GatewayUrl::parse("https://localhost:9").expect("an address");
    let mut set = settings(nobody, authority.der(), 10_000);
    set.device = DeviceId::parse("room-1");
    set.broker = Some(BrokerUrl::parse(&format!("mqtts://localhost:{}", paper.port)).expect("an address"));
    table.flash(&set);
    table.desk.time_server = false;
    with_tls(|tls| {
        assert_eq!(table.run(tls, 8 * MINUTE_MS), 0, "it restarted");
        assert_eq!(paper.messages(), [], "a reading without a date was sent");
        assert!(table.desk.codes.contains(&"certificate_not_yet"), "{:?}", table.desk.codes);
        assert_eq!(table.desk.seen.trouble, Some(casement_screen::Trouble::ClockUnknown));
        let waiting = u64::from(table.desk.queue.queued);
        assert!(waiting > 30 && waiting == table.desk.kept, "{waiting} wait");
        table.desk.time_server = true;
        table.run(tls, 8 * MINUTE_MS);
    });
    assert!(table.desk.queue.queued <= 1 && table.desk.lost() == 0, "{:?}", table.desk.queue);
    let mut dates = Vec::new();
    for (_, _, body) in paper.messages() {
        let batch: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        dates.extend(batch["readings"].as_array().expect("a list").iter().map(|it| it["time"].as_i64()));
    }
    assert_eq!(dates.len() as u64, table.desk.stored);
    for date in dates {
        let date = date.expect("each has a date");
        assert!((NOW_MS - MINUTE_MS..NOW_MS + 17 * MINUTE_MS).contains(&date), "{date}");
    }
}
