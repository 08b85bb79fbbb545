//! A screen on SPI, its light, and the chips it hangs on: power, touch and, where there is one, the motor that buzzes.

use crate::board::{self, Power};
use crate::now;
use casement_core::power::{AXP, AXP_ID, Rails, Step, Write};
use casement_core::{Ambience, Millis};
use casement_proto::{Band, Version};
use casement_screen::face::Portal;
use casement_screen::{Face, Facts, Panel, Stage};
use embassy_time::{Delay, Duration, Timer, with_timeout};
use embedded_hal_bus::spi::{ExclusiveDevice, NoDelay};
use esp_hal::gpio::{AnyPin, DriveMode, Level, Output, OutputConfig};
use esp_hal::i2c::master::{Config as I2cConfig, I2c};
use esp_hal::ledc::channel::ChannelIFace as _;
use esp_hal::ledc::timer::TimerIFace as _;
use esp_hal::ledc::{LSGlobalClkSource, Ledc, LowSpeed, channel, timer};
use esp_hal::peripherals::{I2C1, LEDC};
use esp_hal::spi::master::{Config as SpiConfig, Spi};
use esp_hal::time::Rate;
use esp_hal::{Async, Blocking};
use log::{info, warn};
use mipidsi::interface::SpiInterface;
use mipidsi::options::{ColorInversion, ColorOrder};
use mipidsi::{Builder, Display, NoResetPin};
use static_cell::{ConstStaticCell, StaticCell};

type Device = ExclusiveDevice<Spi<'static, Blocking>, Output<'static>, NoDelay>;
type Target = Display<SpiInterface<'static, Device, Output<'static>>, board::Model, NoResetPin>;
type Bus = I2c<'static, Async>;

/// As fast as M5GFX writes to both kinds of panel.
const SPI_CLOCK: Rate = Rate::from_mhz(40);
/// As fast as M5GFX talks on the inner bus.
const INNER_CLOCK: Rate = Rate::from_khz(400);
/// The light of an AtomS3 does not come on with a faster one (M5GFX, `board_M5AtomS3`).
const PWM_CLOCK: Rate = Rate::from_hz(256);
/// Below this share, in percent, that light is not seen (the same place: 48 of 255).
const PWM_PERCENT_MIN: u8 = 19;
/// Pixels on their way to the panel.
const BUFFER_BYTES: usize = 1_024;
/// A chip that does not answer for this long is left alone.
const CHIP_TIMEOUT: Duration = Duration::from_millis(20);
/// The touch sensor, FT6336U, and its register with the number of fingers (M5GFX, `Touch_FT5x06.cpp`).
const TOUCH: u8 = 0x38;
const TOUCH_FINGERS: u8 = 0x02;
/// Without news the screen is looked at this often: for the clock, and for pages that go away by themselves.
const LOOK_MS: u64 = 1_000;

/// One screen.
pub struct Glass {
    target: Target,
    panel: Panel,
    face: Face,
    /// Everything that anybody told.
    facts: Facts,
    supply: Supply,
    /// Stays high as long as this lives.
    _card: Option<Output<'static>>,
    /// What is to be drawn at once.
    changed: bool,
    drawn: Millis,
    /// The light that is on, in percent.
    lit: Option<u8>,
    /// The motor runs until then.
    buzzing: Option<Millis>,
}

/// Where the light comes from.
enum Supply {
    Pins { light: channel::Channel<'static, LowSpeed>, _reset: Output<'static> },
    Chips { bus: Bus, rails: Rails },
}

impl Glass {
    /// Takes a screen into service; its light stays off until something is drawn. `None`, with a word on the serial line,
    /// when it cannot be.
    pub async fn start(screen: board::Screen, face: Face) -> Option<Self> {
        let supply = match screen.power {
            Power::Pins { reset, backlight } => {
                let mut reset = Output::new(reset, Level::Low, OutputConfig::default());
                Timer::after_millis(10).await;
                reset.set_high();
                Timer::after_millis(120).await;
                Supply::Pins { light: pwm(screen.ledc, backlight)?, _reset: reset }
            }
            Power::Core2 { sda, scl } => {
                let mut bus = inner(screen.inner, sda, scl)?;
                let id = read(&mut bus, AXP, AXP_ID).await;
                let Some(rails) = id.and_then(Rails::of_core2) else {
                    warn!("no screen: the power chip says {id:?}");
                    return None;
                };
                start(bus, rails).await?
            }
            Power::CoreS3 { sda, scl } => {
                let bus = inner(screen.inner, sda, scl)?;
                start(bus, Rails::CoreS3).await?
            }
        };
        static BUFFER: ConstStaticCell<[u8; BUFFER_BYTES]> = ConstStaticCell::new([0; BUFFER_BYTES]);
        let spi = Spi::new(screen.spi, SpiConfig::default().with_frequency(SPI_CLOCK));
        let spi = spi.inspect_err(|error| warn!("no screen: {error:?}")).ok()?;
        let spi = spi.with_sck(screen.sck).with_mosi(screen.mosi);
        let output = |pin| Output::new(pin, Level::High, OutputConfig::default());
        let _card = screen.card.map(output);
        let Ok(device) = ExclusiveDevice::new_no_delay(spi, output(screen.cs));
        let interface = SpiInterface::new(device, output(screen.dc), BUFFER.take());
        let inversion = if screen.inverted { ColorInversion::Inverted } else { ColorInversion::Normal };
        let target = Builder::new(board::MODEL, interface)
            .display_size(screen.size.0, screen.size.1)
            .display_offset(screen.offset.0, screen.offset.1)
            .color_order(ColorOrder::Bgr)
            .invert_colors(inversion)
            .init(&mut Delay);
        let target = target.inspect_err(|error| warn!("no screen: {error:?}")).ok()?;
        let (changed, drawn) = (true, now());
        let panel = Panel::new();
        let facts = Facts::default();
        Some(Self { target, panel, face, facts, supply, _card, changed, drawn, lit: None, buzzing: None })
    }

    /// Takes what the driver knows.
    pub fn look(&mut self, facts: &Facts) {
        let (portal, update) = (self.facts.portal.take(), self.facts.update);
        self.facts = Facts { portal, update, ..facts.clone() };
        self.tell();
    }

    /// Takes what the radio does.
    pub fn portal(&mut self, portal: Option<Portal>) {
        self.facts.portal = portal;
        self.tell();
    }

    /// Takes how an update goes.
    pub fn update(&mut self, update: Option<(Version, Stage)>) {
        self.facts.update = update;
        self.tell();
    }

    fn tell(&mut self) {
        self.face.look(&self.facts, now());
        self.changed = true;
    }

    pub fn turn(&mut self) {
        self.face.turn(now());
        self.changed = true;
    }

    /// Whether a finger is on the screen, where a screen can tell.
    pub async fn touched(&mut self) -> bool {
        match &mut self.supply {
            Supply::Pins { .. } => false,
            Supply::Chips { bus, .. } => {
                // The lower half counts fingers, up to two; an empty bus reads as ones.
                let fingers = read(bus, TOUCH, TOUCH_FINGERS).await.map(|it| it & 0x0f);
                fingers.is_some_and(|fingers| (1..=2).contains(&fingers))
            }
        }
    }

    /// Buzzes for a band, where there is a motor: long for air that must be changed now.
    pub fn buzz(&mut self, band: Band) {
        self.buzzing = Some(now().after(if band == Band::Now { 900 } else { 300 }));
    }

    /// Draws what changed and sets the light. A whole screen of 320 by 240 pixels takes 31 ms on the wire alone.
    pub async fn work(&mut self, ambience: Ambience) {
        let Self { target, panel, face, .. } = self;
        if self.changed || now().since(self.drawn) >= LOOK_MS {
            if let Err(error) = face.show(now(), |view| panel.show(view, target)) {
                warn!("the screen was not written: {error:?}");
            }
            (self.changed, self.drawn) = (false, now());
        }
        let percent = ambience.brightness_percent;
        if self.lit != Some(percent) {
            self.lit = self.light(percent).await.then_some(percent);
        }
        if let Some(until) = self.buzzing {
            let on = now() < until;
            self.motor(on).await;
            self.buzzing = Some(until).filter(|_| on);
        }
    }

    async fn light(&mut self, percent: u8) -> bool {
        match &mut self.supply {
            Supply::Pins { light, .. } => {
                let above = u16::from(percent.min(100)) * u16::from(100 - PWM_PERCENT_MIN) / 100;
                let duty = if percent == 0 { 0 } else { PWM_PERCENT_MIN + u8::try_from(above).unwrap_or(0) };
                light.set_duty(duty).is_ok()
            }
            Supply::Chips { bus, rails } => change(bus, &rails.backlight(percent)).await.is_some(),
        }
    }

    async fn motor(&mut self, on: bool) {
        if let Supply::Chips { bus, rails } = &mut self.supply
            && let Some(writes) = rails.motor(on)
            && change(bus, &writes).await.is_none()
        {
            warn!("the motor does not listen");
        }
    }
}

fn inner(i2c: I2C1<'static>, sda: AnyPin<'static>, scl: AnyPin<'static>) -> Option<Bus> {
    let bus = I2c::new(i2c, I2cConfig::default().with_frequency(INNER_CLOCK));
    let bus = bus.inspect_err(|error| warn!("no screen: {error:?}")).ok()?;
    Some(bus.with_sda(sda).with_scl(scl).into_async())
}

async fn start(mut bus: Bus, rails: Rails) -> Option<Supply> {
    for step in rails.start() {
        match step {
            Step::Wait(ms) => Timer::after_millis(u64::from(*ms)).await,
            Step::Write(write) => {
                if change(&mut bus, &[*write]).await.is_none() {
                    warn!("no screen: the power chip does not take {write:?}");
                    return None;
                }
            }
        }
    }
    info!("power from {rails:?}");
    Some(Supply::Chips { bus, rails })
}

async fn read(bus: &mut Bus, chip: u8, register: u8) -> Option<u8> {
    let mut value = [0];
    with_timeout(CHIP_TIMEOUT, bus.write_read_async(chip, &[register], &mut value)).await.ok()?.ok()?;
    let [value] = value;
    Some(value)
}

async fn change(bus: &mut Bus, writes: &[Write]) -> Option<()> {
    for Write { chip, register, keep, set } in writes {
        let value = read(bus, *chip, *register).await? & keep | set;
        with_timeout(CHIP_TIMEOUT, bus.write_async(*chip, &[*register, value])).await.ok()?.ok()?;
    }
    Some(())
}

fn pwm(ledc: LEDC<'static>, pin: AnyPin<'static>) -> Option<channel::Channel<'static, LowSpeed>> {
    static TIMER: StaticCell<timer::Timer<'static, LowSpeed>> = StaticCell::new();
    let mut ledc = Ledc::new(ledc);
    ledc.set_global_slow_clock(LSGlobalClkSource::APBClk);
    let mut timer = ledc.timer(timer::Number::Timer0);
    let config = timer::config::Config {
        duty: timer::config::Duty::Duty8Bit,
        clock_source: timer::LSClockSource::APBClk,
        frequency: PWM_CLOCK,
    };
    timer.configure(config).inspect_err(|error| warn!("no light behind the screen: {error:?}")).ok()?;
    let mut light = ledc.channel(channel::Number::Channel0, pin);
    let drive_mode = DriveMode::PushPull;
    let config = channel::config::Config { timer: TIMER.init(timer), duty_pct: 0, drive_mode };
    light.configure(config).inspect_err(|error| warn!("no light behind the screen: {error:?}")).ok()?;
    Some(light)
}
