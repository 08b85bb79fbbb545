//! The set-up portal: one form, shown in the device's own network to whoever joins it.
//!
//! Phones ask for a page of their maker's after joining (`/hotspot-detect.html`, `/generate_204`, `/connecttest.txt`), and
//! show whatever else comes back. So every path gives the form, and nothing is redirected. The device's network has a
//! password of its own (WPA2), shown on the screen or printed on the unit: what is typed here is not for the street.

use crate::improv::{Facts, Network};
use crate::page::{Answer, Body, HTML, Plain, TEXT};
use casement_proto::DeviceSettings;
use casement_proto::device_settings::{self, GatewayUrl, SettingsError, Wifi};
use core::fmt::{self, Write as _};

/// Most bytes of a form that is sent back: every field at its longest, each byte as three, and their names.
pub const FORM_BYTES_MAX: usize = 1_536;

/// Answers a request of somebody in the device's own network. When the form was filled in well, the settings to try are
/// given, too: connect with them, and keep them only when that works.
pub fn answer(
    method: &str,
    body: &[u8],
    facts: &Facts<'_>,
    out: &mut [u8],
) -> (Answer, Option<DeviceSettings>) {
    let mut page = Body::new(out);
    let (status, tried, written) = match method {
        "GET" | "HEAD" => (200, None, form(&mut page, facts, None)),
        "POST" => match filled(body, facts.settings) {
            Ok(settings) => (200, Some(settings), trying(&mut page)),
            Err(why) => (400, None, form(&mut page, facts, Some(why))),
        },
        _ => (405, None, page.write_str("only GET and POST\n")),
    };
    let content_type = if status == 405 { TEXT } else { HTML };
    match written {
        Ok(()) => (page.answer(status, content_type), tried),
        Err(fmt::Error) => (Answer { status: 500, content_type: TEXT, len: 0 }, tried),
    }
}

fn head(out: &mut Body<'_>) -> fmt::Result {
    out.write_str(concat!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">",
        "<style>:root{color-scheme:light dark;font:1.1rem/1.5 system-ui,sans-serif}",
        "body{max-width:26rem;margin:1.5rem auto;padding:0 1rem}label{display:block;margin-top:1rem}",
        "input,button{width:100%;box-sizing:border-box;font:inherit;padding:.6rem;margin-top:.2rem}",
        "button{margin-top:1.5rem}</style><title>Set up</title><h1>Set up</h1>"
    ))
}

fn form(out: &mut Body<'_>, facts: &Facts<'_>, why: Option<SettingsError>) -> fmt::Result {
    head(out)?;
    if let Some(why) = why {
        write!(out, "<p role=alert><strong>That did not work: {}.</strong></p>", Plain(why))?;
    }
    out.write_str(concat!(
        "<form method=post action=/><label>Wi-Fi<input name=ssid list=n required maxlength=32 autocapitalize=none ",
        "autocorrect=off></label><datalist id=n>"
    ))?;
    for Network { ssid, .. } in facts.networks.iter().take(NETWORKS_MAX) {
        write!(out, "<option value=\"{}\">", Plain(ssid))?;
    }
    out.write_str(concat!(
        "</datalist><label>Its password<input name=password type=password maxlength=64 autocomplete=off></label>",
        "<label>Gateway<input name=gateway type=url maxlength=128 placeholder=\"https://air.example.org\" value=\""
    ))?;
    write!(out, "{}", Plain(facts.settings.gateway.as_ref().map_or("", GatewayUrl::as_str)))?;
    // A token that is there already is kept, and never shown.
    let hint = if facts.settings.token.is_some() { "unchanged" } else { "cas_dev_…" };
    writeln!(
        out,
        "\"></label><label>Token of this device<input name=token maxlength=128 autocomplete=off placeholder=\"{hint}\">\
         </label><button>Connect</button></form><p><small>{}, {}, firmware {}</small></p></html>",
        Plain(facts.name),
        Plain(facts.chip),
        Plain(facts.version)
    )
}

fn trying(out: &mut Body<'_>) -> fmt::Result {
    head(out)?;
    out.write_str(concat!(
        "<p>The device is connecting. Its own network goes away while it does, and comes back if it could not.</p>",
        "</html>\n"
    ))
}

fn filled(body: &[u8], before: &DeviceSettings) -> Result<DeviceSettings, SettingsError> {
    if body.len() > FORM_BYTES_MAX {
        return Err(SettingsError::Unreadable);
    }
    let ssid = field(body, "ssid", SettingsError::Ssid)?;
    let password = field(body, "password", SettingsError::Password)?;
    let gateway = field(body, "gateway", SettingsError::Url)?;
    let token = field(body, "token", SettingsError::Token)?;
    let mut settings = before.clone();
    settings.wifi = Some(Wifi::new(&ssid, &password)?);
    if !gateway.trim().is_empty() {
        settings.gateway = Some(GatewayUrl::parse(gateway.trim())?);
    }
    if !token.trim().is_empty() {
        settings.token = Some(device_settings::token(token.trim())?);
    }
    Ok(settings)
}

/// A field of a form (`application/x-www-form-urlencoded`, WHATWG URL §5.1); empty when it is not there.
fn field(
    body: &[u8],
    name: &str,
    error: SettingsError,
) -> Result<heapless::String<FIELD_BYTES_MAX>, SettingsError> {
    let mut value = heapless::Vec::<u8, FIELD_BYTES_MAX>::new();
    let found = body.split(|byte| *byte == b'&').find_map(|pair| {
        let (key, value) = pair.split_at_checked(name.len())?;
        value
            .split_first()
            .filter(|(equals, _)| key == name.as_bytes() && **equals == b'=')
            .map(|(_, rest)| rest)
    });
    let mut rest = found.unwrap_or_default();
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'+', _) => (b' ', after),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => return Err(error),
            },
            (b'%', _) => return Err(error),
            (plain, _) => (*plain, after),
        };
        value.push(byte).map_err(|_| error)?;
        rest = after;
    }
    heapless::String::from_utf8(value).map_err(|_| error)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

const FIELD_BYTES_MAX: usize = 160;
const NETWORKS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::ANSWER_BYTES_MAX;
    use proptest::prelude::*;
    use std::string::{String, ToString};

    fn ask(method: &str, body: &[u8], settings: &DeviceSettings) -> (u16, String, Option<DeviceSettings>) {
        let networks = [Network { ssid: "School \"<1>", rssi_dbm: -51, secured: true }];
        let facts =
            Facts { version: "1.4.0", chip: "ESP32-C3", name: "Stamp", settings, networks: &networks };
        let mut out = [0; ANSWER_BYTES_MAX];
        let (answer, settings) = answer(method, body, &facts, &mut out);
        (answer.status, core::str::from_utf8(&out[..answer.len]).unwrap().to_string(), settings)
    }

    #[test]
    fn the_form_offers_networks_and_shows_no_secret() {
        let mut settings = DeviceSettings::default();
        settings.token = device_settings::token("cas_dev_s3cret").ok();
        settings.gateway = GatewayUrl::parse("https://air.example.org").ok();
        settings.wifi = Wifi::new("Home", "correct horse").ok();
        let (status, page, tried) = ask("GET", b"", &settings);
        assert_eq!((status, tried), (200, None));
        assert!(
            page.contains("<option value=\"School &quot;&lt;1&gt;\">")
                && page.contains("value=\"https://air."),
            "{page}"
        );
        assert!(!page.contains("s3cret") && !page.contains("correct horse"));
    }

    #[test]
    fn a_filled_form_gives_settings_to_try_and_blank_fields_change_nothing() {
        let mut before = DeviceSettings::default();
        before.token = device_settings::token("cas_dev_old").ok();
        let body =
            b"ssid=B%C3%BCro+1&password=p%26ss%3D%2Bword&gateway=https%3A%2F%2Fair.example.org%2F&token=";
        let (status, page, tried) = ask("POST", body, &before);
        let mut expected = before.clone();
        expected.wifi = Wifi::new("Büro 1", "p&ss=+word").ok();
        expected.gateway = GatewayUrl::parse("https://air.example.org").ok();
        assert_eq!((status, tried), (200, Some(expected)));
        assert!(page.contains("connecting"));
    }

    #[test]
    fn a_form_that_cannot_be_is_shown_again_with_the_reason() {
        let long = std::format!("ssid=a&password={}", "x".repeat(200));
        let huge = "a".repeat(FORM_BYTES_MAX + 1);
        for (body, why) in [
            ("", "name has 1 to 32"),
            ("ssid=", "name has 1 to 32"),
            ("xssid=a", "name has 1 to 32"),
            ("ssid=%zz", "name has 1 to 32"),
            ("ssid=%f", "name has 1 to 32"),
            ("ssid=%ff", "name has 1 to 32"),
            ("ssid=Home&password=short", "8 to 63 characters"),
            (long.as_str(), "8 to 63 characters"),
            ("ssid=Home&gateway=http://a", "https://host"),
            ("ssid=Home&token=a+b", "a token has"),
            (huge.as_str(), "no settings"),
        ] {
            let (status, page, tried) = ask("POST", body.as_bytes(), &DeviceSettings::default());
            assert_eq!((status, tried), (400, None), "{body}");
            assert!(page.contains(why) && page.contains("<form"), "{body}: {page}");
        }
        assert_eq!(ask("PUT", b"", &DeviceSettings::default()).0, 405);
    }

    #[test]
    fn the_longest_form_fits() {
        let encoded = |count: usize| "%41".repeat(count);
        let body = std::format!(
            "ssid={}&password={}&gateway=https%3A%2F%2F{}&token={}",
            encoded(32),
            encoded(64),
            encoded(120),
            encoded(128)
        );
        assert!(body.len() <= FORM_BYTES_MAX, "{}", body.len());
        assert!(ask("POST", body.as_bytes(), &DeviceSettings::default()).2.is_some());
    }

    proptest! {
        #[test]
        fn whatever_is_sent_gets_an_answer(body in prop::collection::vec(any::<u8>(), 0..300), fields in "(ssid|token|gateway)=[a-z%0-9&=+]{0,40}") {
            for body in [body.as_slice(), fields.as_bytes()] {
                let (status, page, tried) = ask("POST", body, &DeviceSettings::default());
                prop_assert!(matches!((status, tried.is_some()), (200, true) | (400, false)));
                prop_assert!(page.ends_with("</html>\n"));
            }
        }
    }
}
