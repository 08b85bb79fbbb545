//! What a person sees, as a view and as a picture.

use crate::scd41::Scd41;
use crate::time::World;
use casement_core::radio::Mode;
use casement_core::update::Updater;
use casement_core::{Millis, Node, Trouble as Cause};
use casement_proto::device_settings::Wifi;
use casement_proto::{DeviceSettings, Version};
use casement_screen::face::{Network, Portal, SENSORS_MAX, Sensor};
use casement_screen::{Face, Facts, Stage, Trouble, draw};
use casement_sensors::Kit;
use embedded_graphics::Pixel;
use embedded_graphics::pixelcolor::Rgb565;
use embedded_graphics::prelude::*;
use std::convert::Infallible;
use std::io;
use std::path::Path;

/// The screen of a device: the face that boards have, too, and what it was told.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What the device knows. The driver tells what the node wants shown.
    pub facts: Facts,
    /// What the core says is wrong.
    pub cause: Option<Cause>,
    /// What the screen says about it.
    pub trouble: Option<Trouble>,
    /// How an update goes: the version it is about, and how far it came.
    pub update: Option<(Version, Stage)>,
    face: Face,
    /// The network that is set.
    network: String,
    /// The device's own network.
    own: Option<Portal>,
    page: &'static str,
    now: Millis,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            facts: Facts::default(),
            cause: None,
            trouble: None,
            update: None,
            face: Face::new(&DeviceSettings::default(), env!("CARGO_PKG_VERSION"), "sim"),
            network: String::new(),
            own: None,
            page: "",
            now: Millis(0),
        }
    }
}

impl Seen {
    /// The screen of a device with these settings, before it has anything to show.
    pub fn new(settings: &DeviceSettings, own: &Wifi) -> Self {
        Self {
            face: Face::new(settings, env!("CARGO_PKG_VERSION"), "sim"),
            network: settings.wifi.as_ref().map_or("", Wifi::ssid).to_string(),
            own: Some(Portal {
                network: own.ssid().try_into().unwrap_or_default(),
                password: own.password().try_into().unwrap_or_default(),
            }),
            ..Self::default()
        }
    }

    /// The network that is set; empty without one.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Whether the set-up portal is open.
    pub fn is_portal(&self) -> bool {
        self.facts.portal.is_some()
    }

    /// Turns to the next page.
    pub fn turn(&mut self, now: Millis) {
        self.face.turn(now);
    }

    /// Looks again. `true` when there is something new, times aside.
    pub fn look(
        &mut self,
        node: &Node,
        kit: &Kit<Scd41, World>,
        (mode, link): (Mode, bool),
        updater: &Updater,
        now: Millis,
    ) -> bool {
        let told = self.facts.clone();
        self.facts.look(node, now);
        self.facts.sensors = kit
            .fitted(now)
            .take(SENSORS_MAX)
            .map(|it| Sensor {
                name: it.spec.name,
                serial: it.serial,
                state: it.state,
                remaining_ms: it.remaining_ms,
            })
            .collect();
        self.facts.on_flash = true;
        self.facts.network = if link { Network::Address([127, 0, 0, 1]) } else { Network::Away };
        self.facts.portal = self.own.clone().filter(|_| mode == Mode::Portal);
        self.facts.update = Stage::of(updater);
        self.update = self.facts.update;
        (self.cause, self.trouble, self.now) = (node.trouble(now), self.facts.trouble, now);
        self.face.look(&self.facts, now);
        let page = self.face.show(now, |view| view.page.name());
        let is_new = timeless(&self.facts) != timeless(&told) || page != self.page;
        self.page = page;
        is_new
    }

    /// Draws it on a screen of 320 × 240 pixels and writes that as a PNG.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut frame = Frame { pixels: vec![[0; 3]; (WIDTH * HEIGHT) as usize] };
        let Ok(()) = self.face.clone().show(self.now, |view| draw(view, &mut frame));
        let mut encoder = png::Encoder::new(std::fs::File::create(path)?, WIDTH, HEIGHT);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header()?;
        Ok(writer.write_image_data(frame.pixels.as_flattened())?)
    }
}

/// What is known, without what passes by itself.
fn timeless(facts: &Facts) -> Facts {
    let mut facts = Facts { started_unix_ms: None, ..facts.clone() };
    facts.sensors.iter_mut().for_each(|sensor| sensor.remaining_ms = None);
    facts
}

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
