//! A device that is set up over a serial line, without the device: what comes on stdin is the line, what goes to stdout
//! answers, by the [`Session`] that runs on boards. The browser test of the page `/flash` talks to it.
//!
//! `improv PASSWORD`: a network lets in whoever knows PASSWORD. Settings that work are told on stderr, one line of `key
//! value` for each, and an empty line; bytes are in hexadecimal.

use casement_core::Millis;
use casement_core::improv::{Facts, Network, Parser, Session};
use casement_proto::DeviceSettings;
use std::io::{Read, Write};
use std::process::ExitCode;

const NETWORKS: [Network<'static>; 3] = [
    Network { ssid: "Schule", rssi_dbm: -48, secured: true },
    Network { ssid: "Schule", rssi_dbm: -71, secured: true },
    Network { ssid: "Gäste", rssi_dbm: -66, secured: false },
];

fn main() -> ExitCode {
    let Some(right) = std::env::args().nth(1) else {
        let _lost = writeln!(std::io::stderr(), "usage: improv PASSWORD");
        return ExitCode::from(2);
    };
    let mut settings = DeviceSettings::default();
    let (mut session, mut parser) = (Session::new(false), Parser::new());
    let mut send = |bytes: &[u8]| {
        let mut out = std::io::stdout().lock();
        // Whoever hung up is told nothing more.
        let _lost = out.write_all(bytes).and_then(|()| out.flush());
    };
    for byte in std::io::stdin().lock().bytes().map_while(Result::ok) {
        // Pauses within a packet do not come about here, so time stands still.
        parser.push(byte, Millis(0));
        while let Some(packet) = parser.packet() {
            let facts = Facts {
                version: "0.1.0",
                chip: "ESP32-C3",
                name: "stand-in",
                settings: &settings,
                networks: &NETWORKS,
            };
            let Some(wanted) = session.take(&packet, &facts, &mut send) else { continue };
            let lets_in = |wifi: &casement_proto::device_settings::Wifi| {
                NETWORKS.iter().any(|network| {
                    network.ssid == wifi.ssid() && (!network.secured || wifi.password() == right)
                })
            };
            if wanted.wifi.as_ref().is_some_and(lets_in) {
                settings = wanted;
                session.connected(&settings, &mut send);
                tell(&settings);
            } else {
                session.failed(&mut send);
            }
        }
    }
    ExitCode::SUCCESS
}

fn tell(settings: &DeviceSettings) {
    let mut err = std::io::stderr().lock();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = |name: &str, value: Option<&str>| format!("{name} {}\n", value.unwrap_or_default());
    let told = [
        text("device", settings.device.as_ref().map(|id| id.as_str())),
        text("gateway", settings.gateway.as_ref().map(|url| url.as_str())),
        text("token", settings.token.as_ref().map(|token| token.reveal().as_str())),
        text("room", Some(&settings.room)),
        text("ssid", settings.wifi.as_ref().map(|wifi| wifi.ssid())),
        text("ca", Some(&hex(settings.ca.as_deref().unwrap_or_default()))),
    ];
    let _lost = writeln!(err, "{}", told.concat());
}
