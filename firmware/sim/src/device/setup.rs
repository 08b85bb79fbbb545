//! How a device comes by its settings: those on flash, those that come over the serial line and by the portal; and the
//! pages that it shows.

use super::{Board, Contact, Note, Running, Surroundings, VERSION};
use crate::flash::{FlashError, SETTINGS, SETUP};
use crate::time::World;
use crate::web::Caller;
use casement_core::http::{NoRequest, REQUEST_BYTES_MAX, Request};
use casement_core::improv::{Facts, Parser, Session};
use casement_core::keep::{Keep, KeepError};
use casement_core::page::{ANSWER_BYTES_MAX, Answer};
use casement_core::portal::Tried;
use casement_core::radio::{self, Mode};
use casement_core::{Millis, NotJoined, Region, Trouble, UploadError, http, page, portal};
use casement_net::clock;
use casement_proto::DeviceSettings;
use casement_proto::device_settings::{IMAGE_BYTES_MAX, Wifi, own_password};
use futures_lite::future::block_on;

/// The address that a radio would have; it names the device's own network.
const MAC: [u8; 6] = [0x02, 0, 0, 0x51, 0x30, 0x0a];

impl Board<'_> {
    /// What is set. What was flashed beside the firmware goes over it, once.
    pub(super) fn settings(&mut self) -> Result<DeviceSettings, FlashError> {
        let mut settings = self.kept_settings()?;
        if settings.own_password.is_none() {
            let password = radio::password(|| (self.chance.any() >> 32) as u32);
            settings.own_password = own_password(&password).ok();
            // Flash that does not take it: the next start makes another.
            if let Err(FlashError::Off) = self.keep(&settings) {
                return Err(FlashError::Off);
            }
        }
        Ok(settings)
    }

    fn keep(&self, settings: &DeviceSettings) -> Result<(), FlashError> {
        let mut keep = Keep::open(self.flash.part(SETTINGS)).map_err(kept)?;
        keep.store(&settings.encode()).map_err(kept)
    }

    fn kept_settings(&self) -> Result<DeviceSettings, FlashError> {
        let mut image = [0; IMAGE_BYTES_MAX];
        let mut keep = Keep::open(self.flash.part(SETTINGS)).map_err(kept)?;
        let len = keep.load(&mut image).map_err(kept)?.unwrap_or(0);
        let settings =
            image.get(..len).and_then(|image| DeviceSettings::decode(image).ok()).unwrap_or_default();
        let mut setup = self.flash.part(SETUP);
        setup.read(0, &mut image)?;
        if image.iter().all(|byte| *byte == 0xff) {
            return Ok(settings);
        }
        let Ok(settings) = settings.clone().changed_by(&image) else { return Ok(settings) };
        // Flash that does not take them leaves them where they are: they are found there at the next start, too.
        match keep.store(&settings.encode()).map_err(kept).and_then(|()| setup.erase(0)) {
            Err(FlashError::Off) => Err(FlashError::Off),
            Ok(()) | Err(_) => Ok(settings),
        }
    }

    /// Keeps settings that work, and tells what became of them. Flash that does not take them is a trouble like others; only
    /// a power cut ends the start.
    fn keep_working(
        &self,
        wanted: &DeviceSettings,
        outcome: Result<(), Trouble>,
        around: &mut dyn Surroundings,
    ) -> Result<Result<(), Trouble>, FlashError> {
        let outcome = match outcome.map(|()| self.keep(wanted)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(FlashError::Off)) => return Err(FlashError::Off),
            Ok(Err(_)) => Err(Trouble::Flash),
            Err(why) => Err(why),
        };
        around.note(&Note::Provisioned(outcome), self.world.unix_ms());
        Ok(outcome)
    }

    /// Improv. `true` when there are new settings, which were tried and kept.
    pub(super) fn listen(
        &self,
        bytes: &[u8],
        parser: &mut Parser,
        session: &mut Session,
        running: &mut Running<'_>,
        around: &mut dyn Surroundings,
    ) -> Result<bool, FlashError> {
        let now = Millis(self.world.unix_ms().unsigned_abs());
        let mut answers = vec![];
        let mut changed = false;
        for byte in bytes {
            parser.push(*byte, now);
            while let Some(packet) = parser.packet() {
                if packet.asks_for_networks() {
                    running.networks = around.scan();
                }
                let networks = running.networks.networks();
                let facts = Facts { networks: &networks, ..facts(running.settings) };
                let offered = session.take(&packet, &facts, &mut |bytes| answers.extend_from_slice(bytes));
                drop(networks);
                let Some(new) = offered else { continue };
                around.serial_write(&answers);
                answers.clear();
                let outcome = self.attempt(&new, running, around).map_err(Trouble::NotJoined);
                let outcome = outcome.and_then(|()| self.reaches(&new).map_err(Trouble::Upload));
                let outcome = self.keep_working(&new, outcome, around)?;
                let mut send = |bytes: &[u8]| answers.extend_from_slice(bytes);
                match &outcome {
                    Ok(()) => session.connected(&new, &mut send),
                    // Improv's own word says that.
                    Err(Trouble::NotJoined(_)) => session.failed(&mut send),
                    Err(why) => session.failed_because(why, &mut send),
                }
                changed |= outcome.is_ok();
            }
        }
        around.serial_write(&answers);
        Ok(changed)
    }

    /// Whether these settings lead to the gateway or the broker, which knows the token. Settings without one only need a
    /// network, and here there is one.
    fn reaches(&self, settings: &DeviceSettings) -> Result<(), UploadError> {
        let Some(contact) = Contact::of(settings) else {
            // Somebody without a token: they would say the same.
            let alone = settings.gateway.is_none() && settings.broker.is_none();
            return if alone { Ok(()) } else { Err(UploadError::Token) };
        };
        clock::set(u64::try_from(self.world.unix_ms() / 1_000).unwrap_or(0));
        block_on(self.uplink(&contact).knock())
    }

    /// Tries a network, as a board does.
    fn attempt(
        &self,
        wanted: &DeviceSettings,
        running: &mut Running<'_>,
        around: &mut dyn Surroundings,
    ) -> Result<(), NotJoined> {
        let result = match &wanted.wifi {
            Some(wifi) => around.joins(wifi),
            None => Ok(()),
        };
        let mut now = running.now(&self.world);
        let mut actions = running.radio.handle(radio::Event::Try, now);
        // A trial ends by itself after half a minute at the latest.
        while actions.outcome.is_none() {
            let event = match result {
                Ok(()) => radio::Event::Address,
                Err(why) => {
                    self.world.pass_ms(1_000);
                    now = running.now(&self.world);
                    radio::Event::Lost(Some(why))
                }
            };
            actions = running.radio.handle(event, now);
        }
        actions.outcome.unwrap_or(Ok(()))
    }

    /// Serves somebody a page. `true` when that left new settings, which work and are kept.
    pub(super) fn receive(
        &self,
        mut caller: Caller,
        running: &mut Running<'_>,
        around: &mut dyn Surroundings,
    ) -> Result<bool, FlashError> {
        if caller.patience().is_err() {
            return Ok(false);
        }
        let (mut buffer, mut out) = ([0; REQUEST_BYTES_MAX], [0; ANSWER_BYTES_MAX]);
        let (method, answer, wanted) = match block_on(http::receive(&mut caller, &mut buffer)) {
            Ok(request) => {
                let (answer, wanted) = running.answer(&request, &self.world, &mut out);
                (request.method, answer, wanted)
            }
            Err(NoRequest::Refused(refusal)) => ("GET", refusal.answer(&mut out), None),
            Err(NoRequest::Broken(_) | NoRequest::Closed) => return Ok(false),
        };
        // Who hangs up early has seen enough.
        let _left = block_on(http::send(&mut caller, method, &answer, &out));
        caller.hang_up();
        let Some(wanted) = wanted else { return Ok(false) };
        let outcome = self.attempt(&wanted, running, around).map_err(Trouble::NotJoined);
        let outcome = self.keep_working(&wanted, outcome, around)?;
        if let Err(Trouble::NotJoined(why)) = outcome {
            running.tried = wanted.wifi.map(|wifi| Tried { wifi, why });
        }
        Ok(outcome.is_ok())
    }
}

impl Running<'_> {
    /// What somebody sees who opens the device's page, or the portal.
    fn answer(
        &self,
        request: &Request<'_>,
        world: &World,
        out: &mut [u8],
    ) -> (Answer, Option<DeviceSettings>) {
        if self.radio.mode() == Mode::Portal {
            let networks = self.networks.networks();
            let facts = Facts { networks: &networks, ..facts(self.settings) };
            return portal::answer(request, &facts, self.tried.as_ref(), out);
        }
        let now = self.now(world);
        let version = self.firmware.version.to_string();
        let view = page::View {
            device: self.settings.device.as_ref().map_or("sim", |device| device.as_str()),
            room: &self.settings.room,
            display: self.seen.facts.display,
            values: self.node.latest(now),
            trouble: self.node.trouble(now),
            unix_ms: self.node.unix_ms(now),
            uptime: now,
            vitals: self.vitals(&version, None),
        };
        (page::answer(request.method, request.target, &view, out), None)
    }
}

/// The network that the device opens to be set up.
pub(super) fn own_network(settings: &DeviceSettings) -> Wifi {
    let password = settings.own_password.as_ref().map_or("", |password| password.reveal());
    Wifi::new(&radio::name(&MAC), password).expect("a name of sixteen letters and a password of ten")
}

fn facts(settings: &DeviceSettings) -> Facts<'_> {
    Facts { version: VERSION, chip: "host", name: "Casement sim", settings, networks: &[] }
}

fn kept(error: KeepError<FlashError>) -> FlashError {
    match error {
        KeepError::Region(error) => error,
        _ => FlashError::Outside,
    }
}
