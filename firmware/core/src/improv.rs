//! Improv over serial (<https://www.improv-wifi.com/serial/>): Wi-Fi from the browser that has just flashed the device,
//! and, by one command of our own, everything else in the same step.
//!
//! A packet is `"IMPROV"`, version 1, type, length, that many bytes, and the sum of all bytes before it. [`Parser`]
//! finds packets in whatever else runs over the line; [`Session`] answers them.
//!
//! Our own command is [`SETTINGS`]. It carries an image of [`casement_proto::device_settings`] (gateway, device, token,
//! authority, Wi-Fi) in parts, because a packet holds 255 bytes and a certificate more:
//!
//! ```text
//! command 0xC5   total:u16 offset:u16 bytes …             little-endian, at most 249 bytes at once
//! result  0xC5   "249"                                    how many bytes are here: where to go on
//!                "0" "the settings were damaged …"        the image is refused, and why; begin again
//!                "0" "The gateway does not answer …"      it was tried and does not lead there, and why; the error
//!                                                         “cannot connect” and the state follow
//!                "https://air.example.org"                 connected, as after Improv's own command
//! ```
//!
//! A part that is not the next one changes nothing and is answered with where to go on, so a client may repeat itself.

use crate::Millis;
use casement_proto::device_settings::{self, DeviceSettings, IMAGE_BYTES_MAX, SettingsError, Wifi};
use core::fmt::{self, Write as _};

/// The command that carries settings.
pub const SETTINGS: u8 = 0xc5;

/// Most bytes of an image in one packet.
pub const PART_BYTES_MAX: usize = DATA_BYTES_MAX - 6;

/// Most bytes of a sentence in a result.
pub const WORDS_BYTES_MAX: usize = DATA_BYTES_MAX / 2;

/// Longest pause within a packet; what came before it was no packet.
pub const GAP_MS: u64 = 500;

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// 1 state, 2 error, 3 command, 4 result.
    pub kind: u8,
    /// What it carries.
    pub data: heapless::Vec<u8, DATA_BYTES_MAX>,
}

impl Packet {
    /// Whether it asks which networks are in reach: look first, and answer it with what was found.
    pub fn asks_for_networks(&self) -> bool {
        self.kind == COMMAND && command(&self.data).is_some_and(|(command, _)| command == NETWORKS)
    }
}

/// Finds packets in a stream of bytes, and finds the next one after anything that is none.
#[derive(Clone, Debug, Default)]
pub struct Parser {
    /// Always the beginning of a packet as far as can be told, or empty.
    bytes: heapless::Vec<u8, PACKET_BYTES_MAX>,
    last: Millis,
}

impl Parser {
    /// A parser that has seen nothing.
    pub const fn new() -> Self {
        Self { bytes: heapless::Vec::new(), last: Millis(0) }
    }

    /// Takes a byte. Ask [`Parser::packet`] afterwards until it has no more.
    pub fn push(&mut self, byte: u8, now: Millis) {
        self.idle(now);
        self.last = now;
        if self.bytes.push(byte).is_err() {
            // Nobody asked for the packet that fills the buffer.
            self.forget(1);
            let _room = self.bytes.push(byte);
        }
        self.align();
    }

    /// Gives up a packet whose rest does not come. Call it now and then while nothing arrives.
    pub fn idle(&mut self, now: Millis) {
        if self.whole().is_none() && !self.bytes.is_empty() && now.since(self.last) > GAP_MS {
            self.last = now;
            self.forget(1);
            self.align();
        }
    }

    /// The next packet.
    pub fn packet(&mut self) -> Option<Packet> {
        loop {
            let whole = self.whole()?;
            let (check, body) = self.bytes.get(..whole)?.split_last()?;
            if sum(body) == *check {
                let kind = *body.get(TYPE_AT)?;
                let data = heapless::Vec::from_slice(body.get(HEADER_BYTES..)?).ok()?;
                self.forget(whole);
                self.align();
                return Some(Packet { kind, data });
            }
            self.forget(1);
            self.align();
        }
    }

    /// Length of the packet at the front once all of it is there.
    fn whole(&self) -> Option<usize> {
        let whole = HEADER_BYTES + usize::from(*self.bytes.get(HEADER_BYTES - 1)?) + 1;
        (self.bytes.len() >= whole).then_some(whole)
    }

    /// Drops bytes until those at the front can be the beginning of a packet.
    fn align(&mut self) {
        let starts = |rest: &[u8]| rest.iter().zip(MAGIC).all(|(have, want)| have == want);
        let at = (0..self.bytes.len()).find(|at| self.bytes.get(*at..).is_some_and(starts));
        self.forget(at.unwrap_or(self.bytes.len()));
    }

    fn forget(&mut self, count: usize) {
        let left = self.bytes.len().saturating_sub(count);
        let from = self.bytes.len() - left;
        self.bytes.copy_within(from.., 0);
        self.bytes.truncate(left);
    }
}

/// A network in reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network<'a> {
    /// Its name.
    pub ssid: &'a str,
    /// How strong it is, in dBm.
    pub rssi_dbm: i8,
    /// Whether it wants a password.
    pub secured: bool,
}

/// What a device says about itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Version of the firmware.
    pub version: &'a str,
    /// The chip, for example `ESP32-C3`.
    pub chip: &'a str,
    /// What the device is called.
    pub name: &'a str,
    /// What it has been told so far.
    pub settings: &'a DeviceSettings,
    /// Networks that the last scan found, strongest first.
    pub networks: &'a [Network<'a>],
}

/// How far provisioning is, as Improv counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for credentials.
    Ready = 2,
    /// Tries them.
    Provisioning = 3,
    /// They work.
    Provisioned = 4,
}

/// Answers packets. It holds the parts of an image until they are whole.
#[derive(Clone, Debug)]
pub struct Session {
    state: State,
    /// What it was before the attempt.
    before: State,
    /// The command that is answered when the attempt is over.
    pending: u8,
    image: heapless::Vec<u8, IMAGE_BYTES_MAX>,
}

impl Session {
    /// A session of a device that is connected or not.
    pub const fn new(connected: bool) -> Self {
        let state = if connected { State::Provisioned } else { State::Ready };
        Self { state, before: state, pending: WIFI, image: heapless::Vec::new() }
    }

    /// How far it is.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Takes a packet and answers it through `send`, a packet at a time with line breaks around it. Gives the settings
    /// to try when it brought some: connect with them, then say [`Session::connected`] or [`Session::failed`], and
    /// keep them only in the first case.
    pub fn take(
        &mut self,
        packet: &Packet,
        facts: &Facts<'_>,
        send: &mut dyn FnMut(&[u8]),
    ) -> Option<DeviceSettings> {
        if packet.kind != COMMAND {
            return None;
        }
        let Some((command, value)) = command(&packet.data) else {
            error(Error::Malformed, send);
            return None;
        };
        match command {
            WIFI => match wifi(value) {
                Some(wifi) if self.state != State::Provisioning => {
                    let mut settings = facts.settings.clone();
                    settings.wifi = Some(wifi);
                    self.begin(WIFI, send);
                    return Some(settings);
                }
                Some(_) => state(self.state, send),
                None => error(Error::Malformed, send),
            },
            STATE => {
                state(self.state, send);
                if self.state == State::Provisioned {
                    result(STATE, &[url(facts.settings)], send);
                }
            }
            INFO => result(INFO, &["casement", facts.version, facts.chip, facts.name], send),
            NETWORKS => {
                for network in facts.networks.iter().take(NETWORKS_MAX) {
                    let mut rssi = heapless::String::<4>::new();
                    // Four characters hold every i8.
                    let _fits = write!(rssi, "{}", network.rssi_dbm);
                    let secured = if network.secured { "YES" } else { "NO" };
                    result(NETWORKS, &[network.ssid, &rssi, secured], send);
                }
                result(NETWORKS, &[], send);
            }
            SETTINGS => return self.part(value, facts, send),
            _ => error(Error::UnknownCommand, send),
        }
        None
    }

    /// The settings work: the gateway, or at least the network, was reached.
    pub fn connected(&mut self, settings: &DeviceSettings, send: &mut dyn FnMut(&[u8])) {
        self.state = State::Provisioned;
        self.before = State::Provisioned;
        state(self.state, send);
        result(self.pending, &[url(settings)], send);
    }

    /// The settings do not work, and this is why: a sentence of at most [`WORDS_BYTES_MAX`] bytes. Improv itself has one
    /// word for all of it, which most take for a wrong password; whoever sent settings by our own command is told more.
    pub fn failed_because(&mut self, why: &dyn fmt::Display, send: &mut dyn FnMut(&[u8])) {
        if self.pending == SETTINGS {
            let mut words = heapless::String::<WORDS_BYTES_MAX>::new();
            // Longer ones are cut at the part that does not fit: the error says it, too.
            let _fits = write!(words, "{why}");
            result(SETTINGS, &["0", &words], send);
        }
        self.failed(send);
    }

    /// The settings do not work.
    pub fn failed(&mut self, send: &mut dyn FnMut(&[u8])) {
        self.state = self.before;
        error(Error::CannotConnect, send);
        state(self.state, send);
    }

    fn begin(&mut self, command: u8, send: &mut dyn FnMut(&[u8])) {
        self.image.clear();
        self.pending = command;
        self.before = self.state;
        self.state = State::Provisioning;
        error(Error::None, send);
        state(self.state, send);
    }

    fn part(
        &mut self,
        value: &[u8],
        facts: &Facts<'_>,
        send: &mut dyn FnMut(&[u8]),
    ) -> Option<DeviceSettings> {
        let [t0, t1, o0, o1, bytes @ ..] = value else {
            error(Error::Malformed, send);
            return None;
        };
        if self.state == State::Provisioning {
            state(self.state, send);
            return None;
        }
        let total = usize::from(u16::from_le_bytes([*t0, *t1]));
        let offset = usize::from(u16::from_le_bytes([*o0, *o1]));
        if offset == 0 {
            self.image.clear();
        }
        let outcome = if total > IMAGE_BYTES_MAX || offset + bytes.len() > total {
            Err(SettingsError::Unreadable)
        } else {
            if offset == self.image.len() {
                // The total fits, so this part does.
                let _fits = self.image.extend_from_slice(bytes);
            }
            if self.image.len() < total || total == 0 {
                let mut next = heapless::String::<8>::new();
                let _fits = write!(next, "{}", self.image.len());
                result(SETTINGS, &[&next], send);
                return None;
            }
            match device_settings::image_bytes(&self.image) {
                Some(len) if len == total => facts.settings.clone().changed_by(&self.image),
                Some(_) | None => Err(SettingsError::Unreadable),
            }
        };
        self.image.clear();
        match outcome {
            Ok(settings) => {
                self.begin(SETTINGS, send);
                Some(settings)
            }
            Err(why) => {
                let mut words = heapless::String::<160>::new();
                // Words that do not fit are cut: the error packet says it, too.
                let _fits = write!(words, "{why}");
                error(Error::Malformed, send);
                result(SETTINGS, &["0", &words], send);
                None
            }
        }
    }
}

/// Writes a packet, without line breaks; `None` when the data or the buffer is too small.
pub fn encode(kind: u8, data: &[u8], out: &mut [u8]) -> Option<usize> {
    let len = u8::try_from(data.len()).ok()?;
    let whole = out.get_mut(..HEADER_BYTES + data.len() + 1)?;
    let (check, body) = whole.split_last_mut()?;
    let (head, rest) = body.split_at_mut_checked(HEADER_BYTES)?;
    let (magic, kind_and_len) = head.split_at_mut_checked(MAGIC.len())?;
    magic.copy_from_slice(MAGIC);
    kind_and_len.copy_from_slice(&[kind, len]);
    rest.copy_from_slice(data);
    *check = sum(body);
    Some(HEADER_BYTES + data.len() + 1)
}

/// Command and value of a command packet.
fn command(data: &[u8]) -> Option<(u8, &[u8])> {
    let [command, len, value @ ..] = data else { return None };
    (usize::from(*len) == value.len()).then_some((*command, value))
}

fn wifi(value: &[u8]) -> Option<Wifi> {
    let (ssid, rest) = counted(value)?;
    let (password, rest) = counted(rest)?;
    if rest.is_empty() { Wifi::new(ssid, password).ok() } else { None }
}

fn counted(value: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = value.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*len))?;
    Some((core::str::from_utf8(text).ok()?, rest))
}

fn url(settings: &DeviceSettings) -> &str {
    settings.gateway.as_ref().map_or("", |gateway| gateway.as_str())
}

fn state(state: State, send: &mut dyn FnMut(&[u8])) {
    packet(CURRENT_STATE, &[state as u8], send);
}

fn error(error: Error, send: &mut dyn FnMut(&[u8])) {
    packet(ERROR, &[error as u8], send);
}

fn result(command: u8, texts: &[&str], send: &mut dyn FnMut(&[u8])) {
    let mut data = heapless::Vec::<u8, DATA_BYTES_MAX>::new();
    let mut put = |bytes: &[u8]| data.extend_from_slice(bytes).is_ok();
    put(&[command, 0]);
    for text in texts {
        let Ok(len) = u8::try_from(text.len()) else { continue };
        // A text that does not fit is left empty, so that those behind it keep their places.
        if !(text.len() <= WORDS_BYTES_MAX && put(&[len]) && put(text.as_bytes())) {
            put(&[0]);
        }
    }
    let len = u8::try_from(data.len().saturating_sub(2)).unwrap_or(u8::MAX);
    if let Some(place) = data.get_mut(1) {
        *place = len;
    }
    packet(RESULT, &data, send);
}

fn packet(kind: u8, data: &[u8], send: &mut dyn FnMut(&[u8])) {
    let mut out = [b'\n'; PACKET_BYTES_MAX + 2];
    let Some(inner) = out.get_mut(1..) else { return };
    let Some(len) = encode(kind, data, inner) else { return };
    if let Some(end) = out.get_mut(1 + len) {
        *end = b'\n';
    }
    // A line of the log may have been under way, and one may follow.
    send(out.get(..len + 2).unwrap_or_default());
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

#[derive(Clone, Copy)]
enum Error {
    None = 0,
    Malformed = 1,
    UnknownCommand = 2,
    CannotConnect = 3,
}

/// Most bytes that one packet carries.
pub const DATA_BYTES_MAX: usize = 255;
/// Most bytes of a packet.
pub const PACKET_BYTES_MAX: usize = HEADER_BYTES + DATA_BYTES_MAX + 1;

const MAGIC: &[u8; 7] = b"IMPROV\x01";
const HEADER_BYTES: usize = 9;
const TYPE_AT: usize = 7;
const NETWORKS_MAX: usize = 32;

const CURRENT_STATE: u8 = 1;
const ERROR: u8 = 2;
const COMMAND: u8 = 3;
const RESULT: u8 = 4;

const WIFI: u8 = 1;
const STATE: u8 = 2;
const INFO: u8 = 3;
const NETWORKS: u8 = 4;

#[cfg(test)]
mod tests;
