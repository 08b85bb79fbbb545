//! `casement device image`: settings that are flashed onto a device beside its firmware.

use super::device::{device_id, issue, revoke_one, revoke_others};
use super::{Context, Done, Failure, out, say, watched};
use crate::config::Config;
use crate::guard::Secret;
use crate::keeper::{self, Trust};
use crate::reading::Device;
use crate::releases::Releases;
use crate::store::{Store, StoreError};
use crate::telemetry::time;
use crate::{clock, disk, provision};
use casement_proto::DeviceId;
use casement_proto::device_settings::{
    BrokerUrl, DeviceSettings, GatewayUrl, MODULES, QuietHours, SettingsError, Sound, UpdatePolicy, Wifi,
    module, room,
};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fmt::Write as _;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

/// Largest file with names or a password, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a board looks for settings that were flashed (the partition `setup`, firmware/tools/partitions.py).
const SETUP_AT: &str = "0x3D0000";

#[derive(Args)]
pub(super) struct Image {
    /// The device; one that is not there is added, one that is there gets a new token
    #[arg(value_parser = device_id)]
    id: Option<DeviceId>,
    /// Many at once: room-01..room-30, or a file with one device a line, its room behind it
    #[arg(long, value_name = "FILE|FIRST..LAST", conflicts_with = "id")]
    devices: Option<String>,
    /// Name of the Wi-Fi; its password is asked for
    #[arg(long, value_name = "SSID")]
    wifi: Option<String>,
    /// File with the Wi-Fi's password, - for stdin
    #[arg(long, value_name = "FILE", requires = "wifi")]
    wifi_password_file: Option<PathBuf>,
    /// The Wi-Fi has no password
    #[arg(long, requires = "wifi", conflicts_with = "wifi_password_file")]
    wifi_open: bool,
    /// The gateway as devices see it [default: by tls.names and listen.https]
    #[arg(long)]
    url: Option<String>,
    /// An MQTT broker to send readings to in place of the gateway, mqtts://host; the gateway does not fetch them there yet
    #[arg(long, value_name = "URL", requires = "mqtt_users")]
    mqtt: Option<String>,
    /// Where to write who may send there, USER:PASSWORD, as mosquitto_passwd -U takes it
    #[arg(long, value_name = "FILE", requires = "mqtt")]
    mqtt_users: Option<PathBuf>,
    /// The room it hangs in; with --devices FIRST..LAST, {} stands for the number
    #[arg(long)]
    room: Option<String>,
    /// PEM certificate of the authority of the gateway, and of the broker [default: what the gateway shows, where devices do not know it]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Seconds between readings, 1 to 3600
    #[arg(long, value_name = "SECONDS")]
    period: Option<u32>,
    /// Thresholds of the light [default: site.bands]
    #[arg(long, value_name = "ID")]
    profile: Option<String>,
    /// Metres over the sea
    #[arg(long, value_name = "METRES", allow_hyphen_values = true)]
    altitude: Option<i16>,
    /// What the sensor takes the lowest CO2 of a week to be, in ppm; 0: no self-calibration
    #[arg(long, value_name = "PPM")]
    self_calibration: Option<u16>,
    /// The sensor module on its serial line
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(MODULES))]
    module: Option<String>,
    /// Brightness of light and screen, in percent
    #[arg(long, value_name = "PERCENT")]
    brightness: Option<u8>,
    /// Quiet hours, for example 22:00-07:00, by --utc-offset
    #[arg(long, value_name = "FROM-TO", value_parser = quiet)]
    quiet: Option<QuietHours>,
    /// Minutes east of UTC
    #[arg(long, value_name = "MINUTES", allow_hyphen_values = true)]
    utc_offset: Option<i16>,
    /// When it makes itself heard
    #[arg(long, value_enum)]
    sound: Option<SoundName>,
    /// Which firmware it installs by itself: newest, stay or a version
    #[arg(long, value_parser = update)]
    update: Option<UpdatePolicy>,
    /// Let an estimate of CO2 move the light of a device that measures none
    #[arg(long)]
    light_from_estimate: bool,
    /// The file; with --devices the folder [default: ID.settings.bin, here]
    #[arg(long, short, value_name = "FILE|FOLDER")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum SoundName {
    /// Never
    Off,
    /// When the air should be changed at once
    Now,
    /// When it should be changed soon, too
    Soon,
}

fn quiet(text: &str) -> Result<QuietHours, String> {
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        (hour < 24 && minute < 60).then_some(hour * 60 + minute)
    };
    let span = text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
    span.and_then(|(from, to)| QuietHours::new(from, to).ok())
        .ok_or_else(|| "write two different times of the day: 22:00-07:00".to_owned())
}

fn update(text: &str) -> Result<UpdatePolicy, String> {
    match text {
        "newest" => Ok(UpdatePolicy::Newest),
        "stay" => Ok(UpdatePolicy::Stay),
        version => version
            .parse()
            .map(UpdatePolicy::Exactly)
            .map_err(|_| "use newest, stay, or a version such as 1.4.0".to_owned()),
    }
}

/// A device to be made an image for.
struct Wanted {
    id: DeviceId,
    room: Option<String>,
    file: PathBuf,
}

pub(super) async fn run(command: Image, context: &Context) -> Done {
    let config = context.config()?;
    // Everything that can be wrong is found out before a token is made.
    let wanted = wanted(&command)?;
    let url = address(&command, &config)?;
    let trust = trust(&command, &config, &url)?;
    let mut settings = common(&command, &config)?;
    for one in &wanted {
        room(one.room.as_deref().unwrap_or_default()).map_err(|error| refused(error, "--room"))?;
    }
    settings.wifi = wifi(&command)?;
    let (_, store) = context.store().await?;
    // Without it the devices would take no release of this gateway, ever.
    settings.release_key = Some(Releases::of(&config.data_dir).public_key()?);
    let known = store.devices().await?;
    let progress = progress(wanted.len());
    let mut rotated = Vec::new();
    let mut users = String::new();
    for one in &wanted {
        let there = known.iter().find(|device| device.id == one.id);
        if there.is_some() {
            rotated.push(one.id.to_string());
        } else {
            add(&*store, one).await?;
        }
        let shown = one.room.as_deref().or_else(|| there.and_then(|device| device.room.as_deref()));
        settings.room = room(shown.unwrap_or_default()).unwrap_or_default();
        let token = issue(&*store, one.id).await?;
        let _fits = writeln!(users, "{}:{}", one.id, token.reveal());
        let written = image(&settings, one, &url, &token, trust.authority.as_deref())
            // The broker's half first: an image that it knows nothing of is of no use.
            .and_then(|bytes| {
                command.mqtt_users.as_deref().map_or(Ok(()), |file| write(file, users.as_bytes()))?;
                write(&one.file, &bytes)
            });
        if let Err(failure) = written {
            // What nobody holds opens nothing; the device goes on with the token it has.
            revoke_one(&*store, &token).await?;
            return Err(failure);
        }
        revoke_others(&*store, one.id, &token).await?;
        progress.inc(1);
        progress.suspend(|| out(&format!("{}\n", one.file.display())))?;
    }
    progress.finish_and_clear();
    store.close().await;
    tell(&wanted, &rotated, &settings, &trust);
    if let (Some(url), Some(file)) = (&command.mqtt, &command.mqtt_users) {
        say(&format!(
            "Readings go to {url}, topic casement/DEVICE/readings. {} holds who may send: \
             mosquitto_passwd -U makes it a password file; keep it to yourself until then.",
            file.display()
        ));
    }
    Ok(())
}

fn tell(wanted: &[Wanted], rotated: &[String], settings: &DeviceSettings, trust: &Trust) {
    if let [one] = wanted {
        say(&format!(
            "Flash it beside the firmware: esptool write-flash {SETUP_AT} {}\nIt holds a token{}: keep it to yourself, and delete it afterwards.",
            one.file.display(),
            if settings.wifi.is_some() { " and the Wi-Fi's password" } else { "" },
        ));
    } else {
        say(&format!(
            "{} images. Flash each beside the firmware: esptool write-flash {SETUP_AT} FILE\nThey hold tokens{}: keep them to yourself, and delete them afterwards.",
            wanted.len(),
            if settings.wifi.is_some() { " and the Wi-Fi's password" } else { "" },
        ));
    }
    if !rotated.is_empty() {
        say(&format!("The tokens that these had before have ended: {}", rotated.join(", ")));
    }
    if settings.wifi.is_none() {
        say("No Wi-Fi is in it (--wifi SSID): the device keeps the one it has, or waits to be told.");
    }
    if let Some(until_ms) = trust.until_ms {
        say(&format!(
            "The certificate in tls.files signs itself and ends {}; devices must be set up again when another one takes its place. tls.source = \"acme\" or \"self-signed\" spares that.",
            time::rfc3339(until_ms)
        ));
    }
}

fn refused(error: SettingsError, option: &str) -> Failure {
    Failure::usage(error, format!("mend {option}"))
}

/// Settings that all of them share.
fn common(command: &Image, config: &Config) -> Result<DeviceSettings, Failure> {
    let mut settings = DeviceSettings::default();
    settings.profile = config.site.bands;
    if let Some(seconds) = command.period {
        let ms = seconds.saturating_mul(1000);
        settings = settings.with_period_ms(ms).map_err(|error| refused(error, "--period"))?;
    }
    if let Some(id) = &command.profile {
        settings = settings.with_profile(id).map_err(|error| {
            let known: Vec<_> = casement_proto::band::PROFILES.iter().map(|profile| profile.id).collect();
            Failure::usage(error, format!("use one of {}", known.join(", ")))
        })?;
    }
    if let Some(metres) = command.altitude {
        settings = settings.with_altitude_m(metres).map_err(|error| refused(error, "--altitude"))?;
    }
    if let Some(ppm) = command.self_calibration {
        let ppm = (ppm > 0).then_some(ppm);
        settings =
            settings.with_self_calibration_ppm(ppm).map_err(|error| refused(error, "--self-calibration"))?;
    }
    if let Some(percent) = command.brightness {
        settings =
            settings.with_brightness_percent(percent).map_err(|error| refused(error, "--brightness"))?;
    }
    if let Some(minutes) = command.utc_offset {
        settings = settings.with_utc_offset_min(minutes).map_err(|error| refused(error, "--utc-offset"))?;
    }
    if let Some(url) = &command.mqtt {
        settings.broker = Some(BrokerUrl::parse(url).map_err(|error| refused(error, "--mqtt"))?);
    }
    if let Some(name) = &command.module {
        settings.module = Some(module(name).map_err(|error| refused(error, "--module"))?);
    }
    settings.quiet = command.quiet;
    settings.sound = match command.sound {
        None | Some(SoundName::Off) => Sound::Off,
        Some(SoundName::Now) => Sound::Now,
        Some(SoundName::Soon) => Sound::SoonAndNow,
    };
    settings.update = command.update.unwrap_or_default();
    Ok(settings.with_light_from_estimate(command.light_from_estimate))
}

fn address(command: &Image, config: &Config) -> Result<GatewayUrl, Failure> {
    let port = config.listen.https.first().map_or(443, std::net::SocketAddr::port);
    let url = command.url.clone().or_else(|| provision::address(&config.tls.own_names(), port)).ok_or_else(
        || {
            Failure::usage(
                "tls.names has no name under which a device finds this gateway",
                "say it: --url https://air.example.org, and put that name into tls.names",
            )
        },
    )?;
    GatewayUrl::parse(&url).map_err(|error| refused(error, "--url"))
}

fn trust(command: &Image, config: &Config, url: &GatewayUrl) -> Result<Trust, Failure> {
    let Some(file) = &command.ca else {
        let trust = keeper::trust(config)
            .map_err(|why| Failure::new(why, "or name the authority's certificate: --ca FILE"))?;
        let (name, _) = url.name_and_port();
        if !trust.covers(name) {
            return Err(Failure::new(
                format!(
                    "devices would refuse the gateway: its certificate is for {}, not for {name}",
                    trust.names.join(", ")
                ),
                format!(
                    "add \"{name}\" to tls.names and start the gateway, or use one of those names: --url"
                ),
            ));
        }
        return Ok(trust);
    };
    let pem = read(file, "--ca")?;
    let der = CertificateDer::from_pem_slice(&pem).map_err(|_| {
        Failure::usage(format!("{} holds no certificate in PEM form", file.display()), "mend --ca")
    })?;
    Ok(Trust { authority: Some(der.to_vec()), names: Vec::new(), until_ms: None })
}

fn wifi(command: &Image) -> Result<Option<Wifi>, Failure> {
    let Some(ssid) = &command.wifi else { return Ok(None) };
    let password = match &command.wifi_password_file {
        _ if command.wifi_open => String::new(),
        Some(file) => {
            let text = String::from_utf8(read(file, "--wifi-password-file")?)
                .map_err(|_| refused(SettingsError::Password, "--wifi-password-file"))?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None if std::io::stdin().is_terminal() => rpassword::prompt_password(format!("Password of {ssid}: "))
            .map_err(|error| {
                Failure::new(
                    format!("the password could not be read: {error}"),
                    "use --wifi-password-file FILE",
                )
            })?,
        None => {
            return Err(Failure::usage(
                "there is no terminal to ask for the Wi-Fi's password on",
                "use --wifi-password-file FILE (- for stdin), or --wifi-open for a network without one",
            ));
        }
    };
    if password.is_empty() && !command.wifi_open {
        return Err(Failure::usage(
            "the Wi-Fi's password is empty",
            "use --wifi-open for a network without one",
        ));
    }
    Wifi::new(ssid, &password).map(Some).map_err(|error| match error {
        SettingsError::Ssid => refused(error, "--wifi"),
        other => Failure::usage(other, "is it the right password?"),
    })
}

fn read(file: &Path, option: &str) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::usage(format!("{} cannot be read: {error}", file.display()), format!("mend {option}"))
    };
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        let opened = std::fs::File::open(file).map_err(unreadable)?;
        opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::usage(
            format!("{} is larger than {FILE_BYTES_MAX} bytes", file.display()),
            "is it the right file?",
        ));
    }
    Ok(bytes)
}

fn wanted(command: &Image) -> Result<Vec<Wanted>, Failure> {
    let named = |id: DeviceId| format!("{id}.settings.bin");
    let Some(many) = &command.devices else {
        let id =
            command.id.ok_or_else(|| Failure::usage("no device is named", "name one, or use --devices"))?;
        let file = command.output.clone().unwrap_or_else(|| PathBuf::from(named(id)));
        let file = if file.is_dir() { file.join(named(id)) } else { file };
        let label = command.room.as_deref().map(provision::label).transpose();
        let room = label.map_err(|why| Failure::usage(why, "mend --room"))?;
        return Ok(vec![Wanted { id, room, file }]);
    };
    let folder = command.output.clone().unwrap_or_else(|| PathBuf::from("."));
    if !folder.is_dir() {
        return Err(Failure::usage(
            format!("{} is no folder", folder.display()),
            format!("make it: mkdir -p {}", folder.display()),
        ));
    }
    let devices = if many.contains("..") || many.contains('…') {
        let series = provision::series(many).map_err(|why| Failure::usage(why, "mend --devices"))?;
        let room = |number: &str| command.room.as_deref().map(|room| room.replace("{}", number));
        series.into_iter().map(|(id, number)| (id, room(&number))).collect()
    } else {
        listed(many)?
    };
    devices
        .into_iter()
        .map(|(id, room)| {
            let room = room.as_deref().map(provision::label).transpose();
            let room = room.map_err(|why| Failure::usage(format!("the room of {id}: {why}"), "mend it"))?;
            Ok(Wanted { id, room, file: folder.join(named(id)) })
        })
        .collect()
}

/// Devices of a file: one a line, its room behind it; empty lines and what stands behind # do not count.
fn listed(file: &str) -> Result<Vec<(DeviceId, Option<String>)>, Failure> {
    let text = String::from_utf8(read(Path::new(file), "--devices")?)
        .map_err(|_| Failure::usage(format!("{file} is no text"), "write one device a line"))?;
    let mut devices: Vec<(DeviceId, Option<String>)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (id, room) = line.split_once([' ', '\t', ',', ';']).unwrap_or((line, ""));
        let wrong = |why: String| Failure::usage(format!("{file}, line {}: {why}", at + 1), "mend that line");
        let id = device_id(id).map_err(wrong)?;
        if devices.iter().any(|(other, _)| *other == id) {
            return Err(wrong(format!("{id} stands there twice")));
        }
        let room = room.trim_matches([' ', '\t', ',', ';', '"']);
        devices.push((id, Some(room.to_owned()).filter(|room| !room.is_empty())));
    }
    match devices.len() {
        0 => Err(Failure::usage(format!("{file} names no device"), "write one a line, its room behind it")),
        count if count > provision::DEVICES_MAX => Err(Failure::usage(
            format!("{file} names {count} devices; at most {} are made at once", provision::DEVICES_MAX),
            "split it",
        )),
        _ => Ok(devices),
    }
}

async fn add(store: &dyn Store, one: &Wanted) -> Done {
    let device = Device {
        id: one.id,
        room: one.room.clone(),
        name: None,
        simulated: false,
        created_ms: clock::now_ms(),
    };
    match store.add_device(&device).await {
        // Somebody else has added it meanwhile.
        Ok(()) | Err(StoreError::Exists(_)) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

fn image(
    settings: &DeviceSettings,
    one: &Wanted,
    url: &GatewayUrl,
    token: &Secret,
    authority: Option<&[u8]>,
) -> Result<Vec<u8>, Failure> {
    let settings = provision::introduce(settings.clone(), one.id, url, token.reveal(), authority)
        .map_err(|error| refused(error, "--ca, or the chain of the gateway"))?;
    Ok(settings.encode().to_vec())
}

fn write(file: &Path, bytes: &[u8]) -> Done {
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    disk::write_private(&whole, bytes).map_err(|error| {
        Failure::new(
            format!("{} could not be written: {error}", file.display()),
            "does its folder exist, may this user write there, and is there room?",
        )
    })
}

fn progress(count: usize) -> ProgressBar {
    if !watched() || count < 2 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count as u64).with_style(style)
}
