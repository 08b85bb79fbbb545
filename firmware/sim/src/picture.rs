//! What a person sees, as a view and as a picture.

use crate::scd41::Scd41;
use crate::time::World;
use casement_core::radio::Mode;
use casement_core::update::Updater;
use casement_core::{Display, Millis, Node, NotJoined, Trouble as Cause};
use casement_proto::device_settings::Wifi;
use casement_proto::{DeviceSettings, Version};
use casement_screen::{Air, Clock, Joining, Page, Setup, Stage, Step, Theme, Trouble, Update, View, draw};
use casement_sensors::Kit;
use embedded_graphics::Pixel;
use embedded_graphics::pixelcolor::Rgb565;
use embedded_graphics::prelude::*;
use std::convert::Infallible;
use std::io;
use std::path::Path;

/// Everything that a screen is drawn from, owned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// What the node wants shown.
    pub display: Display,
    /// What the core says is wrong.
    pub cause: Option<Cause>,
    /// What the screen says about it.
    pub trouble: Option<Trouble>,
    /// How an update goes: the version it is about, and how far it came.
    pub update: Option<(Version, Stage)>,
    /// When that changed, by the time of this start.
    update_at: Millis,
    running: Version,
    room: String,
    /// The network that is set.
    network: String,
    /// Name and password of the device's own network.
    own: (String, String),
    /// Whether that is open.
    portal: bool,
    utc_offset_min: i16,
    clock: Option<(u8, u8)>,
    now: Millis,
    sensor: Option<&'static str>,
    temperature_dc: Option<i16>,
    humidity_pct: Option<u8>,
}

impl Seen {
    /// The screen of a device with these settings, before it has anything to show.
    pub fn new(settings: &DeviceSettings, own: &Wifi) -> Self {
        Self {
            room: settings.room.to_string(),
            network: settings.wifi.as_ref().map_or("", Wifi::ssid).to_string(),
            own: (own.ssid().to_string(), own.password().to_string()),
            utc_offset_min: settings.utc_offset_min(),
            ..Self::default()
        }
    }

    /// The network that is set; empty without one.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Whether the set-up portal is open.
    pub fn is_portal(&self) -> bool {
        self.portal
    }

    /// Looks again. `true` when there is something new, the time of day aside.
    pub fn look(
        &mut self,
        node: &Node,
        kit: &Kit<Scd41, World>,
        mode: Mode,
        updater: &Updater,
        now: Millis,
    ) -> bool {
        let before = Self { clock: None, ..self.clone() };
        let update = Stage::of(updater);
        if update != self.update {
            (self.update, self.update_at) = (update, now);
        }
        self.running = updater.identity().version;
        self.now = now;
        let unix_ms = node.unix_ms(now);
        self.portal = mode == Mode::Portal;
        self.cause = node.trouble(now);
        self.trouble = self.cause.and_then(|cause| Trouble::of(cause, unix_ms.is_some()));
        self.sensor = kit.fitted(now).next().map(|fitted| fitted.spec.name);
        let latest = |name: &str| {
            let values = node.latest(now)?;
            values.iter().find(|(quantity, _)| quantity.name() == name).map(|(_, value)| *value)
        };
        self.temperature_dc = latest("temperature").map(|value| (value * 10.0).round() as i16);
        self.humidity_pct = latest("humidity").map(|value| value.round() as u8);
        let minute = unix_ms.map(|unix_ms| {
            (unix_ms.div_euclid(60_000) + i64::from(self.utc_offset_min)).rem_euclid(24 * 60) as u16
        });
        let is_new = Self { clock: None, now: before.now, ..self.clone() } != before;
        self.clock = minute.map(|minute| ((minute / 60) as u8, (minute % 60) as u8));
        is_new
    }

    /// Draws it on a screen of 320 × 240 pixels and writes that as a PNG.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut frame = Frame { pixels: vec![[0; 3]; (WIDTH * HEIGHT) as usize] };
        let versions =
            self.update.map(|(version, stage)| (version.to_string(), self.running.to_string(), stage));
        let versions = versions.filter(|(_, _, stage)| {
            !matches!(stage, Stage::Failed(_)) || self.now.since(self.update_at) < FAILED_SHOWN_MS
        });
        let (network, password) = (self.own.0.as_str(), self.own.1.as_str());
        let page = match (&versions, self.cause) {
            _ if self.portal => Page::Setup(Setup { network, password, url: "http://192.168.4.1/" }),
            (Some((version, running, stage)), _) => Page::Update(Update { version, running, stage: *stage }),
            (None, Some(Cause::NotJoined(why))) => Page::Joining(Joining {
                network: &self.network,
                step: if why == NotJoined::Address { Step::Address } else { Step::Network },
                trouble: self.trouble,
            }),
            (None, _) => Page::Air(Air {
                display: self.display,
                trouble: self.trouble,
                sensor: self.sensor,
                temperature_dc: self.temperature_dc,
                humidity_pct: self.humidity_pct,
                ..Air::default()
            }),
        };
        let clock = self.clock.map(|(hour, minute)| Clock { hour, minute });
        let name = if self.room.is_empty() { "Casement" } else { &self.room };
        let Ok(()) = draw(&View { name, clock, theme: Theme::Light, page }, &mut frame);
        let mut encoder = png::Encoder::new(std::fs::File::create(path)?, WIDTH, HEIGHT);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header()?;
        Ok(writer.write_image_data(frame.pixels.as_flattened())?)
    }
}

/// How long a failed update is shown; then the air is.
const FAILED_SHOWN_MS: u64 = 600_000;
const WIDTH: u32 = 320;
const HEIGHT: u32 = 240;

struct Frame {
    pixels: Vec<[u8; 3]>,
}

impl OriginDimensions for Frame {
    fn size(&self) -> Size {
        Size::new(WIDTH, HEIGHT)
    }
}

impl DrawTarget for Frame {
    type Color = Rgb565;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb565>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, color) in pixels {
            let place = usize::try_from(at.y * WIDTH as i32 + at.x)
                .ok()
                .filter(|_| (0..WIDTH as i32).contains(&at.x));
            if let Some(pixel) = place.and_then(|place| self.pixels.get_mut(place)) {
                let full = |part: u8, most: u8| (u16::from(part) * 255 / u16::from(most)) as u8;
                *pixel = [
                    full(color.r(), Rgb565::MAX_R),
                    full(color.g(), Rgb565::MAX_G),
                    full(color.b(), Rgb565::MAX_B),
                ];
            }
        }
        Ok(())
    }
}
