//! Wi-Fi, and the date from time servers. What the radio is for is decided in `casement_core::radio`.

use crate::driver::{NEWS, News, REJOIN, RESTART_RADIO};
use crate::setup::Setup;
use crate::{face, now, uploads};
use casement_core::radio::{Event, Mode, OWN_ADDRESS, Radio, Scan};
use casement_core::{Millis, NotJoined};
use casement_net::sntp;
use casement_proto::device_settings::Wifi;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use embassy_futures::select::{Either, Either3, select, select3};
use embassy_net::dns::DnsQueryType;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{Runner, Stack};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_sync::mutex::Mutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer, with_timeout};
use esp_hal::peripherals::WIFI;
use esp_hal::rng::Rng;
use esp_radio::wifi::ap::AccessPointConfig;
use esp_radio::wifi::scan::ScanConfig;
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{
    AuthenticationMethod, AuthenticationMethodConfig, Config, ConnectionError, ControllerConfig,
    DisconnectReason, Interface, WifiController, WifiError,
};
use log::{error, info, warn};

/// Who is asked for the date, in turn.
const TIME_SERVERS: [&str; 2] = ["pool.ntp.org", "time.cloudflare.com"];
const TIME_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a date is good: crystals are off by up to 3 s in a day.
const TIME_AGAIN: Duration = Duration::from_secs(6 * 3_600);
/// How often the signal is looked at.
const LISTEN: Duration = Duration::from_secs(30);
const RECONNECT: Duration = Duration::from_secs(5);
/// Between two attempts while somebody waits for what comes of them.
const RETRY: Duration = Duration::from_secs(1);
/// Thirteen channels, and some patience with the answers.
const SCAN_MAX: Duration = Duration::from_secs(8);
/// A trial ends by itself after half a minute; before it, a portal may wait for an upload to end.
const ATTEMPT_MAX: Duration = Duration::from_secs(120);
const LEAVE_MAX: Duration = Duration::from_secs(2);
/// Phones in the device's own network. Each takes memory of the radio.
const GUESTS_MAX: u16 = 4;

/// What the radio is asked for.
enum Order {
    /// Which networks are in reach.
    Scan,
    /// The device's own network.
    Open,
    /// Whether this network lets the device in and gives an address.
    Try(Wifi),
}

static ORDERS: Channel<CriticalSectionRawMutex, Order, 2> = Channel::new();
static TRIED: Signal<CriticalSectionRawMutex, Result<(), NotJoined>> = Signal::new();
static SCANNED: Signal<CriticalSectionRawMutex, ()> = Signal::new();
/// What the last scan found.
static LAST_SCAN: Mutex<CriticalSectionRawMutex, Scan> = Mutex::new(Scan::new());
/// Serial line and portal ask one after the other.
static TURN: Mutex<CriticalSectionRawMutex, ()> = Mutex::new(());

/// Opens the portal; while settings are tried, nothing happens.
pub fn open_portal() {
    // Full of wishes it is at work already.
    let _full = ORDERS.try_send(Order::Open);
}

/// Tries a network. The one that was joined before comes back when it does not work.
pub async fn attempt(wifi: &Wifi) -> Result<(), NotJoined> {
    let _turn = TURN.lock().await;
    TRIED.reset();
    let outcome = async {
        ORDERS.send(Order::Try(wifi.clone())).await;
        TRIED.wait().await
    };
    with_timeout(ATTEMPT_MAX, outcome).await.unwrap_or_else(|_| {
        error!("the radio does not answer");
        Err(NotJoined::Missing)
    })
}

/// Looks which networks are in reach.
pub async fn scan() -> Scan {
    let turn = TURN.lock().await;
    SCANNED.reset();
    let outcome = async {
        ORDERS.send(Order::Scan).await;
        SCANNED.wait().await;
    };
    if with_timeout(SCAN_MAX + LEAVE_MAX, outcome).await.is_err() {
        warn!("the radio does not answer; these are the networks of the last scan");
    }
    drop(turn);
    last_scan().await
}

/// What the last scan found.
pub async fn last_scan() -> Scan {
    LAST_SCAN.lock().await.clone()
}

/// The network packets of one interface.
#[embassy_executor::task(pool_size = 2)]
pub async fn packets(mut runner: Runner<'static, Interface>) {
    runner.run().await
}

/// Does with the radio what the core decides, and builds it up anew when the core says so.
#[embassy_executor::task]
pub async fn network(mut wifi: WIFI<'static>, stack: Stack<'static>, setup: &'static Setup, sends: bool) {
    let mut radio = Radio::new(setup.settings.wifi.is_some());
    let mut trial = None;
    loop {
        match WifiController::new(wifi.reborrow(), ControllerConfig::default()) {
            Ok(controller) => {
                let mut work = Work {
                    controller,
                    stack,
                    setup,
                    sends,
                    radio: &mut radio,
                    trial: &mut trial,
                    joined: false,
                    told: false,
                    wake_at: None,
                };
                work.run().await;
                info!("building the radio up anew");
            }
            Err(error) => warn!("no radio: {error:?}"),
        }
        Timer::after(RECONNECT).await;
    }
}

/// The radio at work.
struct Work<'a> {
    controller: WifiController<'a>,
    stack: Stack<'static>,
    setup: &'static Setup,
    /// Whether there is a gateway, so that TLS may be at work.
    sends: bool,
    radio: &'a mut Radio,
    trial: &'a mut Option<Wifi>,
    joined: bool,
    /// Whether it was told that there is an address.
    told: bool,
    wake_at: Option<Millis>,
}

impl Work<'_> {
    /// Until the radio must be built up anew.
    async fn run(&mut self) {
        self.handle(Event::Due);
        loop {
            let mode = self.radio.mode();
            if let Err(error) = self.turn(mode).await {
                warn!("the radio refuses: {error:?}");
                return;
            }
            while self.radio.mode() == mode {
                match mode {
                    Mode::Portal => self.show().await,
                    Mode::Station if self.rebuild_or_step().await => return,
                    Mode::Station => {}
                    Mode::Trying => self.step().await,
                }
            }
        }
    }

    /// Makes the radio ready for what it is for.
    async fn turn(&mut self, mode: Mode) -> Result<(), WifiError> {
        self.leave().await;
        if mode == Mode::Portal {
            // Before the network opens, while nothing else is on the air: phones ask for the list at once.
            self.scan().await;
            if self.sends {
                // There is no memory for an access point beside a TLS session.
                uploads::HANG_UP.signal(());
                uploads::HUNG_UP.wait().await;
            }
        }
        let wifi = match mode {
            Mode::Portal => None,
            Mode::Station => self.setup.settings.wifi.as_ref(),
            Mode::Trying => self.trial.as_ref(),
        };
        let mut station = StationConfig::default();
        if let Some(wifi) = wifi {
            station = station.with_ssid(wifi.ssid().try_into().unwrap_or_default());
            station = station.with_authentication(lock(wifi));
        }
        let own = &self.setup.own;
        let config = match mode {
            // With a station beside it, because an access point alone cannot scan.
            Mode::Portal => Config::AccessPointStation(
                station,
                AccessPointConfig::default()
                    .with_ssid(own.ssid().try_into().unwrap_or_default())
                    .with_authentication(lock(own))
                    .with_max_connections(GUESTS_MAX),
            ),
            Mode::Station | Mode::Trying => Config::Station(station),
        };
        self.controller.set_config(&config)?;
        face::portal(Some(own).filter(|_| mode == Mode::Portal));
        match mode {
            Mode::Portal => info!("own network {}: http://{OWN_ADDRESS}/", own.ssid()),
            Mode::Station => RESTART_RADIO.reset(),
            Mode::Trying => info!("trying {}", wifi.map_or("", Wifi::ssid)),
        }
        Ok(())
    }

    /// While the portal is open.
    async fn show(&mut self) {
        match select(ORDERS.receive(), sleep(self.wake_at)).await {
            Either::First(order) => self.obey(order).await,
            Either::Second(()) => self.handle(Event::Due),
        }
    }

    /// A step as a station; `true` when the radio must be built up anew.
    async fn rebuild_or_step(&mut self) -> bool {
        matches!(select(self.step(), RESTART_RADIO.wait()).await, Either::Second(()))
    }

    async fn step(&mut self) {
        if self.joined { self.stay().await } else { self.join().await }
    }

    async fn join(&mut self) {
        let joined = select3(self.controller.connect_async(), ORDERS.receive(), sleep(self.wake_at)).await;
        let why = match joined {
            Either3::First(Ok(_)) => {
                info!("joined");
                (self.joined, self.told) = (true, false);
                return self.handle(Event::Joined);
            }
            Either3::First(Err(ConnectionError::Failed(info))) => {
                warn!("not joined: {:?}", info.reason);
                why(info.reason)
            }
            Either3::First(Err(error)) => {
                warn!("not joined: {error:?}");
                None
            }
            Either3::Second(order) => return self.obey(order).await,
            Either3::Third(()) => return self.handle(Event::Due),
        };
        self.handle(Event::Lost(why));
        let pause = if self.radio.mode() == Mode::Trying { RETRY } else { RECONNECT };
        if let Either::First(order) = select(ORDERS.receive(), Timer::after(pause)).await {
            self.obey(order).await;
        }
    }

    /// Until the network is lost, or somebody wants something.
    async fn stay(&mut self) {
        RSSI.store(self.controller.rssi().unwrap_or(0), Ordering::Relaxed);
        let (stack, told) = (self.stack, self.told);
        let address = async {
            if told {
                core::future::pending::<()>().await;
            }
            stack.wait_config_up().await;
        };
        let wishes = select3(ORDERS.receive(), REJOIN.wait(), address);
        let pause = select(sleep(self.wake_at), Timer::after(LISTEN));
        match select3(self.controller.wait_for_disconnect_async(), wishes, pause).await {
            Either3::First(lost) => {
                let reason = lost.map(|info| info.reason).ok();
                info!("lost the network: {reason:?}");
                self.joined = false;
                RSSI.store(0, Ordering::Relaxed);
                self.handle(Event::Lost(reason.and_then(why)));
            }
            Either3::Second(Either3::First(order)) => self.obey(order).await,
            Either3::Second(Either3::Second(())) => {
                info!("leaving the network to join it again");
                self.leave().await;
                self.handle(Event::Lost(None));
            }
            Either3::Second(Either3::Third(())) => {
                self.told = true;
                self.handle(Event::Address);
            }
            Either3::Third(_) => self.handle(Event::Due),
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Scan => {
                if !self.joined && self.radio.mode() != Mode::Portal {
                    // On the way into a network it cannot listen for others.
                    self.leave().await;
                }
                self.scan().await;
                SCANNED.signal(());
            }
            Order::Open => self.handle(Event::Open),
            Order::Try(wifi) => {
                *self.trial = Some(wifi);
                self.handle(Event::Try);
            }
        }
    }

    async fn scan(&mut self) {
        match with_timeout(SCAN_MAX, self.controller.scan_async(&ScanConfig::default().with_max(40))).await {
            Ok(Ok(found)) => {
                let mut scan = Scan::new();
                for it in &found {
                    let open = matches!(it.auth_method, Some(AuthenticationMethod::None));
                    scan.add(it.ssid.as_str(), it.signal_strength, !open);
                }
                *LAST_SCAN.lock().await = scan;
            }
            Ok(Err(error)) => warn!("no scan: {error:?}"),
            Err(_) => warn!("the scan took too long"),
        }
    }

    /// Leaves the network, or gives up joining it, and waits until its address is gone.
    async fn leave(&mut self) {
        let left = with_timeout(LEAVE_MAX, self.controller.disconnect_async()).await;
        if matches!(left, Ok(Ok(_))) && with_timeout(LEAVE_MAX, self.stack.wait_config_down()).await.is_err()
        {
            warn!("the address of the network that was left stays");
        }
        (self.joined, self.told) = (false, false);
        RSSI.store(0, Ordering::Relaxed);
    }

    /// Asks the core, and passes on what it says.
    fn handle(&mut self, event: Event) {
        let actions = self.radio.handle(event, now());
        self.wake_at = actions.wake_at;
        if let Some(outcome) = actions.outcome {
            TRIED.signal(outcome);
        }
        if let Some(why) = actions.tell {
            warn!("{why}");
            // Should the driver have no ear for it, it is told again at the next attempt.
            let _full = NEWS.try_send(News::NotJoined(why));
        }
        if actions.rejoin {
            REJOIN.signal(());
        }
    }
}

/// How a network is locked.
fn lock(wifi: &Wifi) -> AuthenticationMethodConfig {
    match (wifi.password(), wifi.password().try_into()) {
        ("", _) | (_, Err(_)) => AuthenticationMethodConfig::Open,
        (_, Ok(password)) => AuthenticationMethodConfig::Wpa2Personal(password),
    }
}

/// The reasons that mean something to a person, by their numbers; the rest of them means nothing to one.
fn why(reason: DisconnectReason) -> Option<NotJoined> {
    NotJoined::of_reason(match reason {
        DisconnectReason::AuthenticationExpired => 2,
        DisconnectReason::IeInvalid => 13,
        DisconnectReason::MicFailure => 14,
        DisconnectReason::FourWayHandshakeTimeout => 15,
        DisconnectReason::GroupKeyUpdateTimeout => 16,
        DisconnectReason::IeIn4wayDiffers => 17,
        DisconnectReason::GroupCipherInvalid => 18,
        DisconnectReason::PairwiseCipherInvalid => 19,
        DisconnectReason::AkmpInvalid => 20,
        DisconnectReason::CipherSuiteRejected => 24,
        DisconnectReason::NoAccessPointFound => 201,
        DisconnectReason::AuthenticationFailed => 202,
        DisconnectReason::HandshakeTimeout => 204,
        DisconnectReason::NoAccessPointFoundWithCompatibleSecurity => 210,
        DisconnectReason::NoAccessPointFoundInAuthmodeThreshold => 211,
        DisconnectReason::NoAccessPointFoundInRssiThreshold => 212,
        _ => 0,
    })
}

async fn sleep(until: Option<Millis>) {
    match until {
        Some(until) => Timer::at(Instant::from_millis(until.0)).await,
        None => core::future::pending().await,
    }
}

/// Signal of the network in dBm; `None` without one.
pub fn rssi() -> Option<i8> {
    i8::try_from(RSSI.load(Ordering::Relaxed)).ok().filter(|dbm| *dbm < 0)
}

static RSSI: AtomicI32 = AtomicI32::new(0);

/// The address in the network; `None` without one.
#[cfg(feature = "screen")]
pub fn address() -> Option<[u8; 4]> {
    Some(ADDRESS.load(Ordering::Relaxed).to_be_bytes()).filter(|address| *address != [0; 4])
}

static ADDRESS: AtomicU32 = AtomicU32::new(0);

/// Tells the driver when the network comes and goes.
#[embassy_executor::task]
pub async fn watch(stack: Stack<'static>) {
    loop {
        stack.wait_config_up().await;
        let address = stack.config_v4().map(|config| config.address.address().to_bits());
        ADDRESS.store(address.unwrap_or(0), Ordering::Relaxed);
        NEWS.send(News::Link(true)).await;
        stack.wait_config_down().await;
        ADDRESS.store(0, Ordering::Relaxed);
        NEWS.send(News::Link(false)).await;
    }
}

/// Asks for the date: at once, soon again while there is no answer, and every few hours.
#[embassy_executor::task]
pub async fn date(stack: Stack<'static>, random: Rng) {
    let mut pause = Duration::from_secs(2);
    for server in TIME_SERVERS.iter().cycle() {
        stack.wait_config_up().await;
        let number = u64::from(random.random()) << 32 | u64::from(random.random());
        match with_timeout(TIME_TIMEOUT, ask(stack, server, number)).await {
            Ok(Some(unix_ms)) => {
                NEWS.send(News::Clock(unix_ms)).await;
                pause = Duration::from_secs(2);
                Timer::after(TIME_AGAIN).await;
            }
            Ok(None) | Err(_) => {
                warn!("no date from {server}");
                Timer::after(pause).await;
                pause = (pause * 2).min(Duration::from_secs(600));
            }
        }
    }
}

async fn ask(stack: Stack<'static>, server: &str, number: u64) -> Option<i64> {
    let addresses = stack.dns_query(server, DnsQueryType::A).await.ok()?;
    let (mut received, mut sent) = ([PacketMetadata::EMPTY; 2], [PacketMetadata::EMPTY; 2]);
    let (mut receiving, mut sending) = ([0; 128], [0; 128]);
    let mut socket = UdpSocket::new(stack, &mut received, &mut receiving, &mut sent, &mut sending);
    // Any free port.
    socket.bind(0).ok()?;
    let server = (*addresses.first()?, sntp::PORT);
    socket.send_to(&sntp::question(number), server).await.ok()?;
    let mut packet = [0; 128];
    loop {
        let (len, _) = socket.recv_from(&mut packet).await.ok()?;
        // Anything else on this port is not for us; the caller has the time-out.
        if let Some(unix_ms) = sntp::answer(packet.get(..len)?, number) {
            return Some(unix_ms);
        }
    }
}
