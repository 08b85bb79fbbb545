//! Wi-Fi, and the date from time servers.

use crate::driver::{NEWS, News, REJOIN, RESTART_RADIO};
use casement_net::sntp;
use casement_proto::device_settings::Wifi;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicI32, Ordering};
use embassy_futures::select::{Either3, select, select3};
use embassy_net::dns::DnsQueryType;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{Runner, Stack};
use embassy_time::{Duration, Timer, with_timeout};
use esp_hal::peripherals::WIFI;
use esp_hal::rng::Rng;
use esp_radio::wifi::sta::StationConfig;
use esp_radio::wifi::{AuthenticationMethodConfig, Config, ControllerConfig, Interface, WifiController};
use log::{info, warn};

/// Who is asked for the date, in turn.
const TIME_SERVERS: [&str; 2] = ["pool.ntp.org", "time.cloudflare.com"];
const TIME_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a date is good: crystals are off by up to 3 s in a day.
const TIME_AGAIN: Duration = Duration::from_secs(6 * 3_600);
/// How often the signal is looked at.
const LISTEN: Duration = Duration::from_secs(30);
const RECONNECT: Duration = Duration::from_secs(5);

/// `casement-` and the last three bytes of the address, as the network's name service shows it.
pub fn hostname(mac: &[u8; 6]) -> Option<heapless::String<32>> {
    let [.., a, b, c] = mac;
    let mut name = heapless::String::new();
    write!(name, "casement-{a:02x}{b:02x}{c:02x}").ok()?;
    Some(name)
}

#[embassy_executor::task]
pub async fn packets(mut runner: Runner<'static, Interface>) {
    runner.run().await
}

/// Joins the network, again and again, and builds the radio up anew when the core says so.
#[embassy_executor::task]
pub async fn network(mut wifi: WIFI<'static>, settings: Wifi) {
    loop {
        let mut station = StationConfig::default().with_ssid(settings.ssid().try_into().unwrap_or_default());
        if let (false, Ok(password)) = (settings.password().is_empty(), settings.password().try_into()) {
            station = station.with_authentication(AuthenticationMethodConfig::Wpa2Personal(password));
        }
        let config = ControllerConfig::default().with_initial_config(Config::Station(station));
        match WifiController::new(wifi.reborrow(), config) {
            Ok(controller) => {
                select(join_network(controller), RESTART_RADIO.wait()).await;
                info!("building the radio up anew");
            }
            Err(error) => warn!("no radio: {error:?}"),
        }
        Timer::after(RECONNECT).await;
    }
}

async fn join_network(mut controller: WifiController<'_>) {
    loop {
        match controller.connect_async().await {
            Ok(_) => {
                info!("joined");
                stay(&mut controller).await;
                RSSI.store(0, Ordering::Relaxed);
            }
            Err(error) => warn!("not joined: {error:?}"),
        }
        Timer::after(RECONNECT).await;
    }
}

/// Until the network is lost, or the core wants it joined anew.
async fn stay(controller: &mut WifiController<'_>) {
    loop {
        RSSI.store(controller.rssi().unwrap_or(0), Ordering::Relaxed);
        match select3(controller.wait_for_disconnect_async(), REJOIN.wait(), Timer::after(LISTEN)).await {
            Either3::First(lost) => {
                info!("lost the network: {:?}", lost.map(|info| info.reason));
                return;
            }
            Either3::Second(()) => {
                info!("leaving the network to join it again");
                if let Err(error) = controller.disconnect_async().await {
                    warn!("not left: {error:?}");
                }
                return;
            }
            Either3::Third(()) => {}
        }
    }
}

/// Signal of the network in dBm; `None` without one.
pub fn rssi() -> Option<i8> {
    i8::try_from(RSSI.load(Ordering::Relaxed)).ok().filter(|dbm| *dbm < 0)
}

static RSSI: AtomicI32 = AtomicI32::new(0);

/// Tells the driver when the network comes and goes.
#[embassy_executor::task]
pub async fn watch(stack: Stack<'static>) {
    loop {
        stack.wait_config_up().await;
        NEWS.send(News::Link(true)).await;
        stack.wait_config_down().await;
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
