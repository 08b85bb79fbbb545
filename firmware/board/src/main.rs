//! Casement's firmware: what a board needs around `casement-core`. Nothing here decides anything about readings.
//!
//! | module | wires |
//! |---|---|
//! | [`baselines`] | what gas sensors have learned, through a restart |
//! | [`carry`] | the date, through a restart |
//! | [`board`] | pins and parts of each board, as data |
//! | [`face`] | light, button and screen: what people see and touch |
//! | [`lamp`] | the light |
//! | `screen` | the screen, its light and its power, on boards that have one |
//! | [`flash`] | partitions, as the regions the core keeps things in |
//! | [`sensors`] | the wires to the sensors, as data of the board and a setting say |
//! | [`setup`] | settings: kept ones, those that were flashed beside the firmware, and those that are tried |
//! | [`improv`] | settings over the serial line |
//! | [`radio`] | Wi-Fi: a network, one that is tried, or its own; and the date from time servers |
//! | [`web`] | the page in the local network, and the portal in the device's own |
//! | [`driver`] | the core's state machine: events in, actions out |
//! | [`uploads`] | batches to the gateway or a broker, over `casement-net` |
//! | [`updates`] | firmware over the air, over the same connection |
#![no_std]
#![no_main]

mod baselines;
mod board;
mod carry;
mod driver;
mod face;
mod flash;
mod improv;
mod lamp;
mod radio;
#[cfg(feature = "screen")]
mod screen;
mod sensors;
mod setup;
mod updates;
mod uploads;
mod web;

use casement_core::radio::OWN_ADDRESS;
use casement_core::{Millis, Vitals};
use casement_net::{Peer, Trust};
use casement_proto::DeviceSettings;
use core::cell::RefCell;
use edge_nal_embassy::{Tcp, TcpBuffers};
use embassy_executor::Spawner;
use embassy_futures::join::join;
use embassy_net::{DhcpConfig, Ipv4Cidr, StackResources, StaticConfigV4};
use embassy_time::Instant;
use esp_alloc as _;
use esp_backtrace as _;
use esp_hal::clock::CpuClock;
use esp_hal::ram;
use esp_hal::rng::{Rng, Trng, TrngSource};
use esp_hal::rtc_cntl::{Rtc, RwdtStage, SocResetReason};
use esp_hal::timer::timg::TimerGroup;
use esp_radio::wifi::Interface;
use esp_storage::FlashStorage;
use log::{error, info, warn};
use mbedtls_rs::Tls;
use mbedtls_rs::sys::hook::backend::esp::EspAccel;
use static_cell::{ConstStaticCell, StaticCell};
use tinyrlibc as _;

esp_bootloader_esp_idf::esp_app_desc!();

/// Without a sign of life for this long the chip starts anew.
const WATCHDOG_MS: u64 = 60_000;

/// Bytes of one TCP socket in each direction. A record of the gateway takes 4 KiB, so it comes in three segments.
type Sockets = TcpBuffers<1, 2_048, 4_096>;

#[esp_rtos::main]
async fn main(spawner: Spawner) -> ! {
    esp_println::logger::init_logger(log::LevelFilter::Info);
    let reset = esp_hal::system::reset_reason();
    let chip = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: 64 * 1024);
    esp_alloc::heap_allocator!(size: 72 * 1024);
    let board = board::take(chip);
    info!("casement {} on {}, started after {reset:?}", env!("CARGO_PKG_VERSION"), board.name);

    let mut rtc = Rtc::new(board.rtc);
    rtc.rwdt.set_timeout(RwdtStage::Stage0, esp_hal::time::Duration::from_millis(WATCHDOG_MS));
    rtc.rwdt.enable();
    let timers = TimerGroup::new(board.timers);
    esp_rtos::start(timers.timer0, board.interrupt);

    static FLASH: StaticCell<flash::Flash> = StaticCell::new();
    let flash: &flash::Flash = FLASH.init(RefCell::new(flash_of(board.flash)));
    let settings = setup::load(flash);
    let random = Rng::new();
    // Whether this firmware is on trial, and whether it must give way. Nothing that can fail comes before.
    let updates = updates::start(flash, &settings, board.name, random);

    static TRNG: StaticCell<Trng> = StaticCell::new();
    // The source lives as long as the program: Mbed TLS draws on it.
    let _source = TrngSource::new(board.rng, board.adc);
    let trng = TRNG.init(Trng::try_new().expect("its source is on"));
    let station = Interface::station();
    static SETUP: StaticCell<setup::Setup> = StaticCell::new();
    let setup: &setup::Setup =
        SETUP.init(setup::Setup::new(flash, settings, &station.mac_address(), || trng.random()));
    let settings = &setup.settings;
    // For boards without a screen: whoever holds the cable may set the device up in any case.
    info!("own network {}, password {}", setup.own.ssid(), setup.own.password());

    let chance = || u64::from(random.random()) << 32 | u64::from(random.random());
    let wires =
        sensors::Wires { i2c: board.i2c, uart: board.uart, port: (board.sda, board.scl), line: board.line };
    let vitals = Vitals {
        firmware: env!("CARGO_PKG_VERSION"),
        board: board.name,
        reset: reset_words(reset),
        ..Vitals::default()
    };
    let parts = face::Parts {
        light: board.light,
        buttons: board.buttons,
        #[cfg(feature = "screen")]
        screen: board.screen,
        #[cfg(feature = "screen")]
        face: casement_screen::Face::new(settings, env!("CARGO_PKG_VERSION"), board.name),
    };
    spawner.spawn(face::run(parts).expect("it is spawned once"));
    let kit = sensors::fit(wires, settings);
    let mut driver = driver::Driver::new(flash, settings, kit, rtc.rwdt, vitals, chance());

    let mut dhcp = DhcpConfig::default();
    dhcp.hostname = heapless::String::try_from(setup.own.ssid()).ok();
    static RESOURCES: StaticCell<StackResources<6>> = StaticCell::new();
    let (stack, packets) = embassy_net::new(
        station,
        embassy_net::Config::dhcpv4(dhcp),
        RESOURCES.init(StackResources::new()),
        chance(),
    );
    let own = StaticConfigV4 {
        address: Ipv4Cidr::new(OWN_ADDRESS, 24),
        gateway: None,
        dns_servers: heapless::Vec::new(),
    };
    static OWN_RESOURCES: StaticCell<StackResources<3>> = StaticCell::new();
    let (own_stack, own_packets) = embassy_net::new(
        Interface::access_point(),
        embassy_net::Config::ipv4_static(own),
        OWN_RESOURCES.init(StackResources::new()),
        chance(),
    );
    let peer = peer(settings);
    web::begin();
    spawner.spawn(radio::packets(packets).expect("there is room for two"));
    spawner.spawn(radio::packets(own_packets).expect("there is room for two"));
    spawner.spawn(radio::network(board.wifi, stack, setup, peer.is_some()).expect("it is spawned once"));
    spawner.spawn(radio::watch(stack).expect("it is spawned once"));
    spawner.spawn(radio::date(stack, random).expect("it is spawned once"));
    spawner.spawn(improv::answer(board.console, setup).expect("it is spawned once"));
    spawner.spawn(web::page(stack).expect("it is spawned once"));
    spawner.spawn(web::own_network(own_stack, setup).expect("it is spawned once"));

    let Some((peer, trust)) = peer else {
        warn!("nobody to send to: readings are kept");
        join(driver.run(None), updates.alone()).await.0
    };
    let accelerators = EspAccel::new().with_rsa(board.rsa).with_aes(board.aes);
    #[cfg(not(feature = "esp32"))]
    let accelerators = accelerators.with_sha(board.sha);
    let mut accelerators = accelerators;
    let queue = accelerators.start();
    // SAFETY: the guard lives until the program ends, so longer than every TLS session.
    let _hooks = unsafe { queue.hook() };
    let tls = Tls::new(trng).expect("it is the only one");
    static SOCKETS: StaticCell<Sockets> = StaticCell::new();
    let tcp = Tcp::new(stack, SOCKETS.init(Sockets::new()));
    let dns = edge_nal_embassy::Dns::new(stack);
    let network = casement_net::Network { tcp: &tcp, dns: &dns, tls: tls.reference(), trust: &trust };
    static JOB: ConstStaticCell<uploads::Job> = ConstStaticCell::new(uploads::Job::new());
    let counter = uploads::Counter::new(JOB.take());
    let courier = uploads::run(network, &peer, &counter, updates);
    join(driver.run(Some(&counter)), courier).await.0
}

/// Whom to send to, and whom to trust; `None` when that is not set, or cannot be read.
fn peer(settings: &'static DeviceSettings) -> Option<(Peer, Trust)> {
    let peer = Peer::of(settings)?;
    let trust = match &settings.ca {
        Some(der) => Trust::own(der),
        None => Trust::lets_encrypt(),
    };
    match trust {
        Ok(trust) => Some((peer, trust)),
        Err(_) => {
            error!("the authority's certificate in the settings cannot be read");
            None
        }
    }
}

/// Why the chip started, as reports name it. The numbers are the same on all chips, their names are not
/// (reset sources, in the technical reference manual of each).
fn reset_words(reset: Option<SocResetReason>) -> &'static str {
    match reset.map(|reset| reset as u32) {
        Some(0x01) => "power",
        Some(0x0f) => "brownout",
        Some(0x03 | 0x0c) => "software",
        Some(0x07 | 0x08 | 0x09 | 0x0b | 0x0d | 0x10 | 0x11 | 0x12) => "watchdog",
        _ => "unknown",
    }
}

/// How long nothing can have been done before such a start; `None` where the power was gone.
fn silent_ms(reset: &str) -> Option<u64> {
    match reset {
        "software" => Some(0),
        "watchdog" => Some(WATCHDOG_MS),
        _ => None,
    }
}

/// The flash. On chips with two cores the other one must stand still while it is written.
fn flash_of(flash: esp_hal::peripherals::FLASH<'static>) -> FlashStorage<'static> {
    let storage = FlashStorage::new(flash);
    #[cfg(any(feature = "esp32", feature = "esp32s3"))]
    let storage = storage.multicore_auto_park();
    storage
}

/// Steady time.
fn now() -> Millis {
    Millis(Instant::now().as_millis())
}

/// After a panic: start anew. Its text went out on the serial line.
#[unsafe(no_mangle)]
fn custom_halt() -> ! {
    esp_hal::system::software_reset()
}
