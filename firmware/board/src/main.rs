//! Casement's firmware: what a board needs around `casement-core`. Nothing here decides anything about readings.
//!
//! | module | wires |
//! |---|---|
//! | [`baselines`] | what gas sensors have learned, through a restart |
//! | [`board`] | pins and parts of each board, as data |
//! | [`flash`] | partitions, as the regions the core keeps things in |
//! | [`sensors`] | the wires to the sensors, as data of the board and a setting say |
//! | [`setup`] | settings: kept ones, and those that were flashed beside the firmware |
//! | [`radio`] | Wi-Fi, and the date from time servers |
//! | [`driver`] | the core's state machine: events in, actions out |
//! | [`uploads`] | batches to the gateway or a broker, over `casement-net` |
#![no_std]
#![no_main]

mod baselines;
mod board;
mod driver;
mod flash;
mod radio;
mod sensors;
mod setup;
mod uploads;

use casement_core::{Millis, Vitals};
use casement_net::{Peer, Trust};
use core::cell::RefCell;
use edge_nal_embassy::{Tcp, TcpBuffers};
use embassy_executor::Spawner;
use embassy_futures::join::join;
use embassy_net::{DhcpConfig, StackResources};
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
    // Here comes the updater: whether this image is on trial, and whether it must give way.

    let random = Rng::new();
    let chance = || u64::from(random.random()) << 32 | u64::from(random.random());
    let wires =
        sensors::Wires { i2c: board.i2c, uart: board.uart, port: (board.sda, board.scl), line: board.line };
    let vitals = Vitals {
        firmware: env!("CARGO_PKG_VERSION"),
        board: board.name,
        reset: reset_words(reset),
        ..Vitals::default()
    };
    let kit = sensors::fit(wires, &settings);
    let mut driver = driver::Driver::new(flash, &settings, kit, rtc.rwdt, vitals, chance());

    let (Some(wifi), Some(peer)) = (&settings.wifi, Peer::of(&settings)) else {
        // Here comes Improv over serial. Without it a device that knows no network samples, shows and keeps.
        warn!("no network is set: readings are kept");
        driver.run(None).await
    };

    static RESOURCES: StaticCell<StackResources<4>> = StaticCell::new();
    let station = Interface::station();
    let mut dhcp = DhcpConfig::default();
    dhcp.hostname = radio::hostname(&station.mac_address());
    let (stack, runner) = embassy_net::new(
        station,
        embassy_net::Config::dhcpv4(dhcp),
        RESOURCES.init(StackResources::new()),
        chance(),
    );
    spawner.spawn(radio::packets(runner).expect("it is spawned once"));
    spawner.spawn(radio::network(board.wifi, wifi.clone()).expect("it is spawned once"));
    spawner.spawn(radio::watch(stack).expect("it is spawned once"));
    spawner.spawn(radio::date(stack, random).expect("it is spawned once"));

    static TRNG: StaticCell<Trng> = StaticCell::new();
    // The source lives as long as the program: Mbed TLS draws on it.
    let _source = TrngSource::new(board.rng, board.adc);
    let random = TRNG.init(Trng::try_new().expect("its source is on"));
    let accelerators = EspAccel::new().with_rsa(board.rsa).with_aes(board.aes);
    #[cfg(not(feature = "esp32"))]
    let accelerators = accelerators.with_sha(board.sha);
    let mut accelerators = accelerators;
    let queue = accelerators.start();
    // SAFETY: the guard lives until the program ends, so longer than every TLS session.
    let _hooks = unsafe { queue.hook() };
    let tls = Tls::new(random).expect("it is the only one");
    let trust = match &settings.ca {
        Some(der) => Trust::own(der),
        None => Trust::lets_encrypt(),
    };
    let Ok(trust) = trust else {
        error!("the authority's certificate in the settings cannot be read: readings are kept");
        driver.run(None).await
    };

    static SOCKETS: StaticCell<Sockets> = StaticCell::new();
    let tcp = Tcp::new(stack, SOCKETS.init(Sockets::new()));
    let dns = edge_nal_embassy::Dns::new(stack);
    let network = casement_net::Network { tcp: &tcp, dns: &dns, tls: tls.reference(), trust: &trust };
    static JOB: ConstStaticCell<uploads::Job> = ConstStaticCell::new(uploads::Job::new());
    let counter = uploads::Counter::new(JOB.take());
    let courier = uploads::run(network, &peer, &counter);
    join(driver.run(Some(&counter)), courier).await.0
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
