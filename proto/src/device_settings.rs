//! What can be set on a device, with bounds, and its one binary form: on flash, over the serial line, and in the image
//! that is flashed onto thirty units of a school.
//!
//! ```text
//! "CSET"  form:u8=1  0:u8  len:u16  { key:u8 len:u16 value } …  crc32:u32
//! ```
//!
//! Numbers are little-endian, `len` counts the entries, and the CRC covers everything before it. Bytes after the CRC
//! are not looked at, so an erased sector may follow. An entry that is not there changes nothing, and an empty value
//! takes an optional setting away: a small image (Wi-Fi and token, say) goes over what a device has already. Keys that
//! this program does not know are passed over; a key never changes its meaning, so images of form 1 stay readable.

use crate::band::{self, PROFILES, Profile};
use crate::crc::Crc32;
use crate::device::DeviceId;
use crate::release::Version;
use core::fmt;
use core::ops::RangeInclusive;
use heapless::{String, Vec};

/// Shortest and longest time between two readings, in milliseconds.
pub const PERIOD_MS: RangeInclusive<u32> = 1_000..=3_600_000;
/// Fewest and most readings in one upload. The most decides how much memory a device sets aside.
pub const BATCH: RangeInclusive<u16> = 1..=100;
/// Lowest and highest place that makes sense, in metres over the sea: the Dead Sea and La Rinconada.
pub const ALTITUDE_M: RangeInclusive<i16> = -430..=5_100;
/// What the lowest CO2 of a week may be taken to be, in ppm. Outdoor air is above 400; the rest is for places where
/// windows never open.
pub const SELF_CALIBRATION_PPM: RangeInclusive<u16> = 400..=1_000;
/// Minutes east of UTC, from Baker Island to Kiribati.
pub const UTC_OFFSET_MIN: RangeInclusive<i16> = -720..=840;
/// Longest name of a network, in bytes (IEEE 802.11).
pub const SSID_BYTES_MAX: usize = 32;
/// Longest password of a network: 63 characters, or 64 hexadecimal digits of a key (WPA2).
pub const PASSWORD_BYTES_MAX: usize = 64;
/// Longest address of a gateway or a broker, in bytes.
pub const URL_BYTES_MAX: usize = 128;
/// Longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 128;
/// Longest certificate of an authority, in bytes of DER. One with an RSA key of 4,096 bits takes about 1,400.
pub const CA_BYTES_MAX: usize = 2_048;
/// Longest password of a device's own network, in bytes.
pub const OWN_PASSWORD_BYTES_MAX: usize = 16;
/// Longest name of a room, in bytes of UTF-8.
pub const ROOM_BYTES_MAX: usize = 64;
/// Longest name of a sensor module, in bytes.
pub const MODULE_BYTES_MAX: usize = 16;
/// The sensor modules that today's firmware knows, for those who write settings. Later firmware may know more, so an image
/// may name others.
pub const MODULES: &[&str] = &["MhZ19", "S8", "PmsX003"];
/// Most bytes of an image: every setting at its longest fits, and so does the image into one sector of 4,096 bytes.
pub const IMAGE_BYTES_MAX: usize = 3_072;

/// Something that is never shown by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps it.
    pub const fn new(inner: T) -> Self {
        Self(inner)
    }

    /// The thing itself, for the one who needs it.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A network to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wifi {
    ssid: String<SSID_BYTES_MAX>,
    password: Secret<String<PASSWORD_BYTES_MAX>>,
}

impl Wifi {
    /// Takes the name of a network and its password; an empty password means an open network.
    ///
    /// # Errors
    /// [`SettingsError::Ssid`] or [`SettingsError::Password`].
    pub fn new(ssid: &str, password: &str) -> Result<Self, SettingsError> {
        let name = String::try_from(ssid).map_err(|_| SettingsError::Ssid)?;
        if name.is_empty() || ssid.contains('\0') {
            return Err(SettingsError::Ssid);
        }
        let fits = match password.len() {
            0 => true,
            8..=63 => password.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            64 => password.bytes().all(|byte| byte.is_ascii_hexdigit()),
            _ => false,
        };
        let password = String::try_from(password).ok().filter(|_| fits).ok_or(SettingsError::Password)?;
        Ok(Self { ssid: name, password: Secret::new(password) })
    }

    /// Name of the network.
    pub fn ssid(&self) -> &str {
        &self.ssid
    }

    /// Its password; empty for an open network.
    pub fn password(&self) -> &str {
        self.password.reveal()
    }
}

/// Where the gateway is: `https://host` or `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayUrl(String<URL_BYTES_MAX>);

impl GatewayUrl {
    /// Takes an address; a slash at its end is left out.
    ///
    /// # Errors
    /// [`SettingsError::Url`]
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        address("https://", text).map(Self).ok_or(SettingsError::Url)
    }

    /// The address as text, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a request's `Host` header says: name, and port if there is one.
    pub fn host(&self) -> &str {
        self.0.strip_prefix("https://").unwrap_or_default()
    }

    /// Name to look up and to verify, without brackets, and port.
    pub fn name_and_port(&self) -> (&str, u16) {
        name_and_port(self.host(), 443)
    }
}

/// Where an MQTT broker is that takes readings in the gateway's place: `mqtts://host` or `mqtts://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl(String<URL_BYTES_MAX>);

impl BrokerUrl {
    /// Takes an address; a slash at its end is left out.
    ///
    /// # Errors
    /// [`SettingsError::Broker`]
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        address("mqtts://", text).map(Self).ok_or(SettingsError::Broker)
    }

    /// The address as text, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name to look up and to verify, without brackets, and port: 8883 unless another one is named.
    pub fn name_and_port(&self) -> (&str, u16) {
        name_and_port(self.0.strip_prefix("mqtts://").unwrap_or_default(), 8_883)
    }
}

/// A whole address of a server, without a slash at its end; `None` for anything else.
fn address(scheme: &str, text: &str) -> Option<String<URL_BYTES_MAX>> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let host = text.strip_prefix(scheme)?;
    let (name, port) = match host.rsplit_once(':') {
        // The colons of an IPv6 address are inside brackets.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let named = match bare {
        Some(address) => address.parse::<core::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
        }
    };
    let port = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    String::try_from(text).ok().filter(|_| named && port)
}

/// The parts of an address behind its scheme, the name without brackets.
fn name_and_port(host: &str, usual: u16) -> (&str, u16) {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().unwrap_or(usual)),
        _ => (host, usual),
    };
    (name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name), port)
}

/// When lights are out and nothing sounds, in minutes after local midnight. Over midnight when the end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietHours {
    from_min: u16,
    to_min: u16,
}

impl QuietHours {
    /// Takes two moments of the day.
    ///
    /// # Errors
    /// [`SettingsError::QuietHours`] when one is past 23:59, or both are the same.
    pub const fn new(from_min: u16, to_min: u16) -> Result<Self, SettingsError> {
        if from_min >= DAY_MIN || to_min >= DAY_MIN || from_min == to_min {
            return Err(SettingsError::QuietHours);
        }
        Ok(Self { from_min, to_min })
    }

    /// Beginning and end, in minutes after midnight.
    pub const fn span_min(&self) -> (u16, u16) {
        (self.from_min, self.to_min)
    }

    /// Whether a minute of the day is quiet.
    pub const fn holds(&self, minute: u16) -> bool {
        if self.from_min < self.to_min {
            self.from_min <= minute && minute < self.to_min
        } else {
            self.from_min <= minute || minute < self.to_min
        }
    }
}

/// When a device makes itself heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sound {
    /// Never.
    #[default]
    Off,
    /// When the air should be changed at once.
    Now,
    /// When it should be changed soon, too.
    SoonAndNow,
}

/// Which firmware a device installs by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdatePolicy {
    /// Whatever the gateway offers, if it is newer.
    #[default]
    Newest,
    /// None: it stays on the version it has.
    Stay,
    /// This version and no other, even if it is older than the one that runs.
    Exactly(Version),
}

/// Settings that are within their bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSettings {
    /// What the gateway calls this device.
    pub device: Option<DeviceId>,
    /// The network to join.
    pub wifi: Option<Wifi>,
    /// Where readings go.
    pub gateway: Option<GatewayUrl>,
    /// The MQTT broker that readings go to in place of the gateway. The device's name is its user there, and the token
    /// its password.
    pub broker: Option<BrokerUrl>,
    /// What proves to the gateway who is sending.
    pub token: Option<Secret<String<TOKEN_BYTES_MAX>>>,
    /// The certificate of the gateway's own authority, as DER; with none the public ones count.
    pub ca: Option<Vec<u8, CA_BYTES_MAX>>,
    /// Whose signature a release needs beside those built in: an Ed25519 public key.
    pub release_key: Option<[u8; 32]>,
    /// What the room is called.
    pub room: String<ROOM_BYTES_MAX>,
    /// Thresholds of the light.
    pub profile: &'static Profile,
    /// Which firmware to install.
    pub update: UpdatePolicy,
    /// When to be quiet; needs the clock.
    pub quiet: Option<QuietHours>,
    /// When to sound.
    pub sound: Sound,
    /// The password of the network that the device opens to be set up. Each device makes one from chance; an image only
    /// has it when somebody put it there, so that one for thirty devices takes none of theirs away.
    pub own_password: Option<Secret<String<OWN_PASSWORD_BYTES_MAX>>>,
    /// The sensor module on the serial line, by the name that the firmware's table of modules has for it.
    pub module: Option<String<MODULE_BYTES_MAX>>,
    period_ms: u32,
    batch: u16,
    light_from_estimate: bool,
    altitude_m: i16,
    /// Lowest CO2 of a week in ppm; 0 when the sensor does not calibrate itself.
    self_calibration_ppm: u16,
    utc_offset_min: i16,
    brightness_percent: u8,
}

/// Why settings were refused. Each text says what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// The bytes are no image, or only a part of one.
    Unreadable,
    /// The image is of a form that only a later version knows.
    Form(u8),
    /// The CRC does not fit.
    Damaged,
    /// The device's name.
    Device,
    /// The network's name.
    Ssid,
    /// The network's password.
    Password,
    /// The gateway's address.
    Url,
    /// The broker's address.
    Broker,
    /// The sensor module's name.
    Module,
    /// The token.
    Token,
    /// The authority's certificate.
    Ca,
    /// The room's name.
    Room,
    /// The period is outside [`PERIOD_MS`].
    Period,
    /// The batch is outside [`BATCH`].
    Batch,
    /// There is no such threshold profile.
    Profile,
    /// The altitude is outside [`ALTITUDE_M`].
    Altitude,
    /// The target is outside [`SELF_CALIBRATION_PPM`].
    SelfCalibration,
    /// More than 100 %.
    Brightness,
    /// The password of the device's own network.
    OwnPassword,
    /// Not two different moments of a day.
    QuietHours,
    /// The time zone is outside [`UTC_OFFSET_MIN`].
    UtcOffset,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "these are no settings, or only a part of them; make the image again",
            Self::Form(form) => {
                return write!(f, "the settings have form {form}, this firmware knows form {FORM}; update it first");
            }
            Self::Damaged => "the settings were damaged on the way; send them again",
            Self::Device => "a device is named [A-Za-z0-9][A-Za-z0-9._:-]{0,63}",
            Self::Ssid => "a network's name has 1 to 32 bytes",
            Self::Password => "a network's password has 8 to 63 characters or 64 hexadecimal digits; none for an open network",
            Self::Url => "the gateway's address is https://host or https://host:port, up to 128 bytes",
            Self::Broker => "the broker's address is mqtts://host or mqtts://host:port, up to 128 bytes",
            Self::Module => "a sensor module's name has 1 to 16 letters and digits",
            Self::Token => "a token has 1 to 128 letters, digits, dots, dashes or underscores",
            Self::Ca => "the authority's certificate is DER of up to 2048 bytes",
            Self::Room => "a room's name has up to 64 bytes and no control characters",
            Self::Period => "the period must be between 1 s and 1 h",
            Self::Batch => "a batch holds between 1 and 100 readings",
            Self::Profile => "there is no threshold profile of this name",
            Self::Altitude => "the altitude must be between -430 m and 5100 m",
            Self::SelfCalibration => "self-calibration goes by 400 to 1000 ppm; 0 turns it off",
            Self::Brightness => "the brightness is between 0 % and 100 %",
            Self::OwnPassword => "the password of the device's own network has 8 to 16 printable characters",
            Self::QuietHours => "quiet hours go from one minute of the day to another",
            Self::UtcOffset => "the time zone is between 720 minutes west and 840 minutes east of UTC",
        })
    }
}

impl core::error::Error for SettingsError {}

impl Default for DeviceSettings {
    /// Nothing to connect to; a reading every 5 s, up to 20 in one upload, the first profile, no light from estimates,
    /// sea level, self-calibration at 400 ppm, UTC, full brightness, no quiet hours, no sound, the newest firmware.
    fn default() -> Self {
        Self {
            device: None,
            wifi: None,
            gateway: None,
            broker: None,
            token: None,
            ca: None,
            release_key: None,
            room: String::new(),
            profile: &PROFILES[0],
            update: UpdatePolicy::Newest,
            quiet: None,
            sound: Sound::Off,
            own_password: None,
            module: None,
            period_ms: 5_000,
            batch: 20,
            light_from_estimate: false,
            altitude_m: 0,
            self_calibration_ppm: *SELF_CALIBRATION_PPM.start(),
            utc_offset_min: 0,
            brightness_percent: 100,
        }
    }
}

/// Takes a token of printable characters that need no escaping in a header (RFC 6750 §2.1).
///
/// # Errors
/// [`SettingsError::Token`]
pub fn token(text: &str) -> Result<Secret<String<TOKEN_BYTES_MAX>>, SettingsError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    let fits = !text.is_empty() && text.bytes().all(plain);
    String::try_from(text).ok().filter(|_| fits).map(Secret::new).ok_or(SettingsError::Token)
}

/// Takes the name of a room; an empty one means that it has none.
///
/// # Errors
/// [`SettingsError::Room`]
pub fn room(text: &str) -> Result<String<ROOM_BYTES_MAX>, SettingsError> {
    let fits = !text.chars().any(char::is_control);
    String::try_from(text).ok().filter(|_| fits).ok_or(SettingsError::Room)
}

/// Takes a password for the device's own network (WPA2).
///
/// # Errors
/// [`SettingsError::OwnPassword`]
pub fn own_password(text: &str) -> Result<Secret<String<OWN_PASSWORD_BYTES_MAX>>, SettingsError> {
    let fits = text.len() >= 8 && text.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
    String::try_from(text).ok().filter(|_| fits).map(Secret::new).ok_or(SettingsError::OwnPassword)
}

/// Takes the name of a sensor module. Whether there is such a one, only the firmware knows.
///
/// # Errors
/// [`SettingsError::Module`]
pub fn module(text: &str) -> Result<String<MODULE_BYTES_MAX>, SettingsError> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    String::try_from(text).ok().filter(|_| fits).ok_or(SettingsError::Module)
}

/// Takes an authority's certificate as DER.
///
/// # Errors
/// [`SettingsError::Ca`] when it is too long, or its outermost element is not a sequence of exactly its length.
pub fn ca(der: &[u8]) -> Result<Vec<u8, CA_BYTES_MAX>, SettingsError> {
    let inner = match der {
        [0x30, 0x82, high, low, inner @ ..] => (usize::from(*high) << 8 | usize::from(*low), inner),
        [0x30, 0x81, len, inner @ ..] => (usize::from(*len), inner),
        _ => return Err(SettingsError::Ca),
    };
    if inner.0 != inner.1.len() {
        return Err(SettingsError::Ca);
    }
    Vec::from_slice(der).map_err(|_| SettingsError::Ca)
}

impl DeviceSettings {
    /// Milliseconds between two readings. Readings lie on multiples of it.
    pub const fn period_ms(&self) -> u32 {
        self.period_ms
    }

    /// Most readings in one upload.
    pub const fn batch(&self) -> u16 {
        self.batch
    }

    /// Whether estimated CO2 may move the light of a device that measures none.
    pub const fn light_from_estimate(&self) -> bool {
        self.light_from_estimate
    }

    /// Height over the sea in metres: sensors compensate the air pressure with it.
    pub const fn altitude_m(&self) -> i16 {
        self.altitude_m
    }

    /// What the sensor takes the lowest CO2 of a week to be, in ppm; `None` when it does not calibrate itself.
    pub const fn self_calibration_ppm(&self) -> Option<u16> {
        if self.self_calibration_ppm == 0 { None } else { Some(self.self_calibration_ppm) }
    }

    /// Minutes east of UTC. The device does not know of summer time; whoever sets this does.
    pub const fn utc_offset_min(&self) -> i16 {
        self.utc_offset_min
    }

    /// Brightness of light and screen.
    pub const fn brightness_percent(&self) -> u8 {
        self.brightness_percent
    }

    /// Sets the period.
    ///
    /// # Errors
    /// [`SettingsError::Period`]
    pub fn with_period_ms(mut self, ms: u32) -> Result<Self, SettingsError> {
        self.period_ms = bounded(ms, &PERIOD_MS, SettingsError::Period)?;
        Ok(self)
    }

    /// Sets the batch.
    ///
    /// # Errors
    /// [`SettingsError::Batch`]
    pub fn with_batch(mut self, readings: u16) -> Result<Self, SettingsError> {
        self.batch = bounded(readings, &BATCH, SettingsError::Batch)?;
        Ok(self)
    }

    /// Sets the thresholds by the id of a profile.
    ///
    /// # Errors
    /// [`SettingsError::Profile`]
    pub fn with_profile(mut self, id: &str) -> Result<Self, SettingsError> {
        self.profile = band::profile(id).ok_or(SettingsError::Profile)?;
        Ok(self)
    }

    /// Lets estimated CO2 move the light of a device that measures none. Off by default: eCO2 reacts to alcohol and
    /// cleaning agents and says little about ventilation.
    #[must_use]
    pub const fn with_light_from_estimate(mut self, on: bool) -> Self {
        self.light_from_estimate = on;
        self
    }

    /// Sets the altitude.
    ///
    /// # Errors
    /// [`SettingsError::Altitude`]
    pub fn with_altitude_m(mut self, metres: i16) -> Result<Self, SettingsError> {
        self.altitude_m = bounded(metres, &ALTITUDE_M, SettingsError::Altitude)?;
        Ok(self)
    }

    /// Sets what self-calibration goes by; `None` turns it off.
    ///
    /// # Errors
    /// [`SettingsError::SelfCalibration`]
    pub fn with_self_calibration_ppm(mut self, ppm: Option<u16>) -> Result<Self, SettingsError> {
        let checked = ppm.map(|ppm| bounded(ppm, &SELF_CALIBRATION_PPM, SettingsError::SelfCalibration));
        self.self_calibration_ppm = checked.transpose()?.unwrap_or(0);
        Ok(self)
    }

    /// Sets the time zone.
    ///
    /// # Errors
    /// [`SettingsError::UtcOffset`]
    pub fn with_utc_offset_min(mut self, minutes: i16) -> Result<Self, SettingsError> {
        self.utc_offset_min = bounded(minutes, &UTC_OFFSET_MIN, SettingsError::UtcOffset)?;
        Ok(self)
    }

    /// Sets the brightness.
    ///
    /// # Errors
    /// [`SettingsError::Brightness`]
    pub fn with_brightness_percent(mut self, percent: u8) -> Result<Self, SettingsError> {
        self.brightness_percent = bounded(percent, &(0..=100), SettingsError::Brightness)?;
        Ok(self)
    }

    /// Whether there is all it takes to send readings. A broker asks for the device's name, too.
    pub const fn complete(&self) -> bool {
        let named = match self.broker {
            Some(_) => self.device.is_some(),
            None => self.gateway.is_some(),
        };
        self.wifi.is_some() && named && self.token.is_some()
    }

    /// Writes all settings as an image of form 1.
    pub fn encode(&self) -> Vec<u8, IMAGE_BYTES_MAX> {
        let mut out = Vec::new();
        let mut put = |bytes: &[u8]| {
            // Every setting at its longest fits; a test holds that.
            let _fits = out.extend_from_slice(bytes);
        };
        put(MAGIC);
        put(&[FORM, 0, 0, 0]);
        let mut entry = |key: Key, parts: &[&[u8]]| {
            let len = parts.iter().map(|part| part.len()).sum::<usize>();
            put(&[key as u8]);
            put(&u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
            parts.iter().for_each(|part| put(part));
        };
        entry(Key::Device, &[self.device.as_ref().map_or("", DeviceId::as_str).as_bytes()]);
        match &self.wifi {
            None => entry(Key::Wifi, &[]),
            Some(wifi) => {
                let len = u8::try_from(wifi.ssid.len()).unwrap_or(u8::MAX);
                entry(Key::Wifi, &[&[len], wifi.ssid.as_bytes(), wifi.password().as_bytes()]);
            }
        }
        entry(Key::Gateway, &[self.gateway.as_ref().map_or("", GatewayUrl::as_str).as_bytes()]);
        entry(Key::Token, &[self.token.as_ref().map_or("", |token| token.reveal()).as_bytes()]);
        entry(Key::Ca, &[self.ca.as_deref().unwrap_or_default()]);
        entry(Key::Signer, &[self.release_key.as_ref().map_or(&[][..], |key| key)]);
        entry(Key::Room, &[self.room.as_bytes()]);
        entry(Key::Profile, &[self.profile.id.as_bytes()]);
        match self.update {
            UpdatePolicy::Newest => entry(Key::Update, &[&[0]]),
            UpdatePolicy::Stay => entry(Key::Update, &[&[1]]),
            UpdatePolicy::Exactly(Version { major, minor, patch }) => {
                entry(Key::Update, &[&[2], &major.to_le_bytes(), &minor.to_le_bytes(), &patch.to_le_bytes()])
            }
        }
        match self.quiet {
            None => entry(Key::Quiet, &[]),
            Some(QuietHours { from_min, to_min }) => {
                entry(Key::Quiet, &[&from_min.to_le_bytes(), &to_min.to_le_bytes()]);
            }
        }
        let sound = SOUNDS.iter().position(|sound| *sound == self.sound).unwrap_or(0);
        entry(Key::Sound, &[&[u8::try_from(sound).unwrap_or(0)]]);
        entry(Key::Period, &[&self.period_ms.to_le_bytes()]);
        entry(Key::Batch, &[&self.batch.to_le_bytes()]);
        entry(Key::LightFromEstimate, &[&[u8::from(self.light_from_estimate)]]);
        entry(Key::Altitude, &[&self.altitude_m.to_le_bytes()]);
        entry(Key::SelfCalibration, &[&self.self_calibration_ppm.to_le_bytes()]);
        entry(Key::UtcOffset, &[&self.utc_offset_min.to_le_bytes()]);
        entry(Key::Brightness, &[&[self.brightness_percent]]);
        if let Some(password) = &self.own_password {
            entry(Key::OwnPassword, &[password.reveal().as_bytes()]);
        }
        entry(Key::Broker, &[self.broker.as_ref().map_or("", BrokerUrl::as_str).as_bytes()]);
        entry(Key::Module, &[self.module.as_deref().unwrap_or_default().as_bytes()]);
        let entries = u16::try_from(out.len().saturating_sub(HEADER_BYTES)).unwrap_or(u16::MAX);
        if let Some(place) = out.get_mut(6..8) {
            place.copy_from_slice(&entries.to_le_bytes());
        }
        let check = Crc32::new().with(&out).value();
        let _fits = out.extend_from_slice(&check.to_le_bytes());
        out
    }

    /// Settings as an image says, and defaults where it says nothing.
    ///
    /// # Errors
    /// See [`SettingsError`]; an image is taken whole or not at all.
    pub fn decode(image: &[u8]) -> Result<Self, SettingsError> {
        Self::default().changed_by(image)
    }

    /// These settings, with what an image says over them.
    ///
    /// # Errors
    /// See [`SettingsError`]; an image is taken whole or not at all.
    pub fn changed_by(self, image: &[u8]) -> Result<Self, SettingsError> {
        let mut rest = entries(image)?;
        let mut settings = self;
        while let Some((key, after)) = rest.split_first() {
            let (len, after) = after.split_first_chunk().ok_or(SettingsError::Unreadable)?;
            let (value, after) = after
                .split_at_checked(usize::from(u16::from_le_bytes(*len)))
                .ok_or(SettingsError::Unreadable)?;
            rest = after;
            if let Some(key) = KEYS.iter().find(|known| **known as u8 == *key) {
                settings = settings.with(*key, value)?;
            }
        }
        Ok(settings)
    }

    fn with(mut self, key: Key, value: &[u8]) -> Result<Self, SettingsError> {
        let there = !value.is_empty();
        match key {
            Key::Device => {
                let parse = |text| DeviceId::parse(text).ok_or(SettingsError::Device);
                self.device = there.then(|| parse(text(value, SettingsError::Device)?)).transpose()?;
            }
            Key::Wifi => {
                self.wifi = match value.split_first() {
                    None => None,
                    Some((len, names)) => {
                        let (ssid, password) =
                            names.split_at_checked(usize::from(*len)).ok_or(SettingsError::Ssid)?;
                        let password = text(password, SettingsError::Password)?;
                        Some(Wifi::new(text(ssid, SettingsError::Ssid)?, password)?)
                    }
                };
            }
            Key::Gateway => {
                self.gateway =
                    there.then(|| GatewayUrl::parse(text(value, SettingsError::Url)?)).transpose()?;
            }
            Key::Token => {
                self.token = there.then(|| token(text(value, SettingsError::Token)?)).transpose()?;
            }
            Key::Ca => self.ca = there.then(|| ca(value)).transpose()?,
            Key::Signer => {
                self.release_key = there.then(|| number(value)).transpose()?;
            }
            Key::Room => self.room = room(text(value, SettingsError::Room)?)?,
            Key::Profile => return self.with_profile(text(value, SettingsError::Profile)?),
            Key::Update => {
                self.update = match value {
                    [0] => UpdatePolicy::Newest,
                    [1] => UpdatePolicy::Stay,
                    [2, a, b, c, d, e, f] => UpdatePolicy::Exactly(Version {
                        major: u16::from_le_bytes([*a, *b]),
                        minor: u16::from_le_bytes([*c, *d]),
                        patch: u16::from_le_bytes([*e, *f]),
                    }),
                    _ => return Err(SettingsError::Unreadable),
                };
            }
            Key::Quiet => {
                self.quiet = match value {
                    [] => None,
                    [a, b, c, d] => {
                        Some(QuietHours::new(u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]))?)
                    }
                    _ => return Err(SettingsError::QuietHours),
                };
            }
            Key::Sound => {
                let [at] = number(value)?;
                self.sound = *SOUNDS.get(usize::from(at)).ok_or(SettingsError::Unreadable)?;
            }
            Key::Period => return self.with_period_ms(u32::from_le_bytes(number(value)?)),
            Key::Batch => return self.with_batch(u16::from_le_bytes(number(value)?)),
            Key::LightFromEstimate => {
                self.light_from_estimate = match value {
                    [0] => false,
                    [1] => true,
                    _ => return Err(SettingsError::Unreadable),
                };
            }
            Key::Altitude => return self.with_altitude_m(i16::from_le_bytes(number(value)?)),
            Key::SelfCalibration => {
                let ppm = u16::from_le_bytes(number(value)?);
                return self.with_self_calibration_ppm(Some(ppm).filter(|ppm| *ppm > 0));
            }
            Key::UtcOffset => return self.with_utc_offset_min(i16::from_le_bytes(number(value)?)),
            Key::Brightness => {
                let [percent] = number(value)?;
                return self.with_brightness_percent(percent);
            }
            Key::OwnPassword => {
                self.own_password =
                    there.then(|| own_password(text(value, SettingsError::OwnPassword)?)).transpose()?;
            }
            Key::Broker => {
                let parse = |value| BrokerUrl::parse(text(value, SettingsError::Broker)?);
                self.broker = there.then(|| parse(value)).transpose()?;
            }
            Key::Module => {
                let parse = |value| module(text(value, SettingsError::Module)?);
                self.module = there.then(|| parse(value)).transpose()?;
            }
        }
        Ok(self)
    }
}

/// Length of the image that a run of bytes begins with; `None` when it begins with none, or is too short to tell.
pub fn image_bytes(bytes: &[u8]) -> Option<usize> {
    let [m0, m1, m2, m3, _, _, l0, l1] = *bytes.first_chunk::<HEADER_BYTES>()?;
    let len = HEADER_BYTES + usize::from(u16::from_le_bytes([l0, l1])) + CRC_BYTES;
    ([m0, m1, m2, m3] == *MAGIC && len <= IMAGE_BYTES_MAX).then_some(len)
}

/// The entries of a whole image.
fn entries(image: &[u8]) -> Result<&[u8], SettingsError> {
    let whole = image_bytes(image).and_then(|len| image.get(..len)).ok_or(SettingsError::Unreadable)?;
    let (body, check) = whole.split_last_chunk::<CRC_BYTES>().ok_or(SettingsError::Unreadable)?;
    if Crc32::new().with(body).value() != u32::from_le_bytes(*check) {
        return Err(SettingsError::Damaged);
    }
    match body.get(4) {
        Some(&FORM) => body.get(HEADER_BYTES..).ok_or(SettingsError::Unreadable),
        other => Err(SettingsError::Form(other.copied().unwrap_or(0))),
    }
}

fn text(value: &[u8], error: SettingsError) -> Result<&str, SettingsError> {
    core::str::from_utf8(value).map_err(|_| error)
}

fn number<const N: usize>(value: &[u8]) -> Result<[u8; N], SettingsError> {
    value.try_into().map_err(|_| SettingsError::Unreadable)
}

fn bounded<T: PartialOrd>(
    value: T,
    range: &RangeInclusive<T>,
    error: SettingsError,
) -> Result<T, SettingsError> {
    if range.contains(&value) { Ok(value) } else { Err(error) }
}

/// Names of entries. A number is never used again for anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Key {
    Device = 1,
    Wifi = 2,
    Gateway = 3,
    Token = 4,
    Ca = 5,
    Signer = 6,
    Room = 7,
    Profile = 8,
    Update = 9,
    Quiet = 10,
    Sound = 11,
    Period = 12,
    Batch = 13,
    LightFromEstimate = 14,
    Altitude = 15,
    SelfCalibration = 16,
    UtcOffset = 17,
    Brightness = 18,
    OwnPassword = 40,
    Broker = 19,
    Module = 20,
}

const KEYS: &[Key] = &[
    Key::Device,
    Key::Wifi,
    Key::Gateway,
    Key::Token,
    Key::Ca,
    Key::Signer,
    Key::Room,
    Key::Profile,
    Key::Update,
    Key::Quiet,
    Key::Sound,
    Key::Period,
    Key::Batch,
    Key::LightFromEstimate,
    Key::Altitude,
    Key::SelfCalibration,
    Key::UtcOffset,
    Key::Brightness,
    Key::OwnPassword,
    Key::Broker,
    Key::Module,
];

const SOUNDS: [Sound; 3] = [Sound::Off, Sound::Now, Sound::SoonAndNow];
const MAGIC: &[u8; 4] = b"CSET";
const FORM: u8 = 1;
const HEADER_BYTES: usize = 8;
const CRC_BYTES: usize = 4;
const DAY_MIN: u16 = 24 * 60;

#[cfg(test)]
mod tests;
