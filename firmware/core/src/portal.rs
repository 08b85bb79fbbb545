//! The set-up portal: one form, shown in the device's own network to whoever joins it.
//!
//! Phones ask for a page of their maker's after joining (`/hotspot-detect.html`, `/generate_204`, `/connecttest.txt`), and
//! show whatever else comes back. So every path gives the form, and nothing is redirected. The device's network has a
//! password of its own (WPA2), shown on the screen or on the serial line: what is typed here is not for the street.

use crate::NotJoined;
use crate::http::Request;
use crate::improv::{Facts, Network};
use crate::page::{Answer, Body, HTML, Plain, TEXT, begin};
use casement_proto::DeviceSettings;
use casement_proto::device_settings::{self, GatewayUrl, SettingsError, Wifi};
use core::fmt::{self, Write as _};

/// Most bytes of a form that is sent back: every field at its longest, each byte as three, and their names.
pub const FORM_BYTES_MAX: usize = 1_536;

/// What somebody gave the device to try, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The network.
    pub wifi: Wifi,
    /// Why it was not joined.
    pub why: NotJoined,
}

/// Answers a request of somebody in the device's own network. `tried` is what came of the last form. When this one was
/// filled in well, the settings to try are given, too: connect with them, and keep them only when that works.
pub fn answer(
    request: &Request<'_>,
    facts: &Facts<'_>,
    tried: Option<&Tried>,
    out: &mut [u8],
) -> (Answer, Option<DeviceSettings>) {
    let mut page = Body::new(out);
    let (status, wanted, written) = match request.method {
        "GET" | "HEAD" => (200, None, form(&mut page, facts, tried, None)),
        "POST" => match filled(request.body, facts.settings) {
            Ok(settings) => {
                let written = trying(&mut page, facts, &settings);
                (200, Some(settings), written)
            }
            Err(why) => (400, None, form(&mut page, facts, None, Some((why, request.body)))),
        },
        _ => (405, None, page.write_str("only GET and POST\n")),
    };
    let content_type = if status == 405 { TEXT } else { HTML };
    match written {
        Ok(()) => (page.answer(status, content_type), wanted),
        Err(fmt::Error) => (Answer { status: 500, content_type: TEXT, len: 0 }, wanted),
    }
}

const STYLE: &str = concat!(
    "<style>fieldset{border:0;margin:0;padding:0}legend,.f{display:block;font-weight:600;margin:1.1rem 0 .4rem;padding:0}",
    "fieldset:first-of-type legend{margin-top:0}input:not([type=radio]),button{width:100%;font:inherit;font-weight:400;color:inherit;",
    "padding:.7rem .8rem;border:1px solid var(--soft);border-radius:.6rem;background:var(--wall)}",
    ".w{display:flex;align-items:center;gap:.7rem;padding:.75rem .1rem;border-bottom:1px solid var(--edge)}",
    ".w input[type=radio]{width:1.2rem;height:1.2rem;flex:none;accent-color:var(--accent);margin:0}",
    ".w b{flex:1;font-weight:400;overflow-wrap:anywhere}.w span,.h{color:var(--soft);font-size:.85rem}",
    "button{margin-top:1.4rem;background:var(--accent);color:var(--on);border:0;font-weight:600;padding:.9rem}",
    "input:focus-visible,button:focus-visible,summary:focus-visible{outline:3px solid var(--accent);outline-offset:2px}",
    "summary{margin-top:1.1rem;font-weight:600;cursor:pointer;overflow-wrap:anywhere}li{margin:.5rem 0}ol{padding-left:1.2rem}</style>"
);

fn form(
    out: &mut Body<'_>,
    facts: &Facts<'_>,
    tried: Option<&Tried>,
    refused: Option<(SettingsError, &[u8])>,
) -> fmt::Result {
    begin(out, "Set up", STYLE)?;
    out.write_str("<h1>Set up this device</h1>")?;
    if let Some(Tried { wifi, why }) = tried {
        let what_to_do = match why {
            NotJoined::Missing => "Is it spelled right, switched on, and a network of 2.4 GHz?",
            NotJoined::Password => "Type it again: capitals count.",
            NotJoined::Address => "Restart the router, or ask who runs it.",
        };
        let name = Plain(wifi.ssid());
        write!(out, "<p role=alert><b>“{name}” did not work: {why}.</b> {what_to_do}</p>")?;
    }
    if let Some((why, _)) = refused {
        write!(out, "<p role=alert><b>That did not work: {}.</b></p>", Plain(why))?;
    }
    // What was typed is there again, the passwords aside.
    let typed = |name, error| {
        let text = refused.and_then(|(_, body)| field(body, name, error).ok());
        text.unwrap_or_default()
    };
    let chosen = match tried {
        Some(tried) => heapless::String::try_from(tried.wifi.ssid()).unwrap_or_default(),
        None => name_of(refused.map_or(&[][..], |(_, body)| body)).unwrap_or_default(),
    };
    out.write_str("<form method=post action=/ class=card><fieldset><legend>Wi-Fi</legend>")?;
    let mut listed = false;
    let networks = facts.networks.iter().take(NETWORKS_MAX);
    for Network { ssid, rssi_dbm, secured } in networks {
        let name = Plain(ssid);
        let checked = if chosen == *ssid { " checked" } else { "" };
        listed |= chosen == *ssid;
        let signal = match rssi_dbm {
            -60.. => "strong",
            -75.. => "good",
            _ => "weak",
        };
        let open = if *secured { "" } else { ", no password" };
        write!(
            out,
            "<label class=w><input type=radio name=ssid value=\"{name}\"{checked}><b>{name}</b><span>{signal}{open}</span></label>"
        )?;
    }
    let other = if listed { "" } else { chosen.as_str() };
    let (label, hint) = match facts.networks {
        [] => ("Name of the network", ""),
        _ => ("Another network", "only if it is not in the list"),
    };
    write!(
        out,
        "<label class=f>{label}<input name=other maxlength=32 value=\"{}\" placeholder=\"{hint}\" autocapitalize=none \
         autocorrect=off spellcheck=false autocomplete=off></label></fieldset>\
         <label class=f>Password of the Wi-Fi<input name=password maxlength=64 autocapitalize=none autocorrect=off \
         spellcheck=false autocomplete=off placeholder=\"none for an open network\"></label>",
        Plain(other)
    )?;
    // Who was told of a gateway already need not see this.
    let typed_gateway = typed("gateway", SettingsError::Url);
    let gateway = facts.settings.gateway.as_ref();
    let shown =
        if typed_gateway.is_empty() { gateway.map_or("", GatewayUrl::as_str) } else { &typed_gateway };
    match (gateway, &facts.settings.token) {
        (Some(url), Some(_)) => write!(out, "<details><summary>Gateway: {}</summary>", Plain(url.host()))?,
        _ => out.write_str("<details open><summary>Gateway</summary>")?,
    }
    // A token that is there already is kept, and never shown.
    let hint = if facts.settings.token.is_some() { "unchanged" } else { "cas_dev_…" };
    writeln!(
        out,
        "<label class=f>Address<input name=gateway type=url maxlength=128 placeholder=\"https://air.example.org\" \
         value=\"{}\"></label><label class=f>Token of this device<input name=token maxlength=128 autocapitalize=none \
         autocorrect=off spellcheck=false autocomplete=off placeholder=\"{hint}\"></label></details>\
         <button>Connect</button></form><footer>{}, {}, firmware {}</footer></main></html>",
        Plain(shown),
        Plain(facts.name),
        Plain(facts.chip),
        Plain(facts.version)
    )
}

fn trying(out: &mut Body<'_>, facts: &Facts<'_>, wanted: &DeviceSettings) -> fmt::Result {
    begin(out, "Connecting", STYLE)?;
    let name = wanted.wifi.as_ref().map_or("", Wifi::ssid);
    writeln!(
        out,
        "<h1>Connecting to “{}”</h1><section class=card><ol><li>This device's own network goes away now. Your phone \
         returns to its usual one by itself.<li>After half a minute the device is in the Wi-Fi, and its light or screen \
         shows the air.<li>If its own network comes back, it did not work. Join it again: this page then says \
         why.</ol></section><footer>{}, {}, firmware {}</footer></main></html>",
        Plain(name),
        Plain(facts.name),
        Plain(facts.chip),
        Plain(facts.version)
    )
}

/// The network that was chosen: a name that was typed goes over one from the list.
fn name_of(body: &[u8]) -> Result<heapless::String<FIELD_BYTES_MAX>, SettingsError> {
    let other = field(body, "other", SettingsError::Ssid)?;
    if other.is_empty() { field(body, "ssid", SettingsError::Ssid) } else { Ok(other) }
}

fn filled(body: &[u8], before: &DeviceSettings) -> Result<DeviceSettings, SettingsError> {
    if body.len() > FORM_BYTES_MAX {
        return Err(SettingsError::Unreadable);
    }
    let ssid = name_of(body)?;
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
const NETWORKS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::ANSWER_BYTES_MAX;
    use proptest::prelude::*;
    use std::string::{String, ToString};

    fn ask(method: &str, body: &[u8], settings: &DeviceSettings) -> (u16, String, Option<DeviceSettings>) {
        let networks = [Network { ssid: "School \"<1>", rssi_dbm: -51, secured: true }];
        told(method, body, settings, &networks, None)
    }

    fn told(
        method: &str,
        body: &[u8],
        settings: &DeviceSettings,
        networks: &[Network<'_>],
        tried: Option<&Tried>,
    ) -> (u16, String, Option<DeviceSettings>) {
        let facts = Facts { version: "1.4.0", chip: "ESP32-C3", name: "Stamp", settings, networks };
        let mut out = [0; ANSWER_BYTES_MAX];
        let request = Request { method, target: "/generate_204", body };
        let (answer, settings) = answer(&request, &facts, tried, &mut out);
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
            page.contains("value=\"School &quot;&lt;1&gt;\"><b>School &quot;&lt;1&gt;</b><span>strong<")
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
        assert!(page.contains("Connecting to “Büro 1”"));
        let (_, _, other) = ask("POST", b"ssid=School&other=Attic&password=", &before);
        assert_eq!(other.unwrap().wifi, Wifi::new("Attic", "").ok(), "what is typed goes over the list");
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
    fn what_did_not_work_is_said_in_words_and_the_network_is_chosen_again() {
        let networks = [
            Network { ssid: "School", rssi_dbm: -51, secured: true },
            Network { ssid: "Guest", rssi_dbm: -80, secured: false },
        ];
        let settings = DeviceSettings::default();
        for (ssid, why, words, again) in [
            ("School", NotJoined::Password, "refuses the password", "value=\"School\" checked>"),
            ("Attic", NotJoined::Missing, "2.4 GHz", "name=other maxlength=32 value=\"Attic\""),
            ("Guest", NotJoined::Address, "gives no address", "value=\"Guest\" checked>"),
        ] {
            let tried = Tried { wifi: Wifi::new(ssid, "a secret").unwrap(), why };
            let (status, page, _) = told("GET", b"", &settings, &networks, Some(&tried));
            assert!(status == 200 && page.contains("role=alert") && page.contains(words), "{page}");
            assert!(page.contains(again) && !page.contains("a secret"), "{again} in {page}");
            assert!(page.contains("weak, no password"));
        }
        let (_, page, _) =
            told("POST", b"ssid=Guest&gateway=air&password=a+secret", &settings, &networks, None);
        assert!(page.contains("value=\"Guest\" checked>") && page.contains("value=\"air\""), "{page}");
        assert!(!page.contains("a secret"));
    }

    #[test]
    fn the_largest_page_fits() {
        let name = "\"".repeat(32);
        let networks = [Network { ssid: &name, rssi_dbm: -80, secured: false }; 20];
        let mut settings = DeviceSettings::default();
        settings.gateway = GatewayUrl::parse(&std::format!("https://{}", "g".repeat(120))).ok();
        settings.token = device_settings::token("t").ok();
        let tried = Tried { wifi: Wifi::new(&name, "").unwrap(), why: NotJoined::Missing };
        assert_eq!(told("GET", b"", &settings, &networks, Some(&tried)).0, 200);
        let body = std::format!("other={}&gateway={}", "%22".repeat(32), "%22".repeat(160));
        assert_eq!(told("POST", body.as_bytes(), &settings, &networks, None).0, 400);
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
        fn whatever_is_sent_gets_an_answer(body in prop::collection::vec(any::<u8>(), 0..300), fields in "(ssid|other|token|gateway)=[a-z%0-9&=+]{0,40}") {
            for body in [body.as_slice(), fields.as_bytes()] {
                let (status, page, tried) = ask("POST", body, &DeviceSettings::default());
                prop_assert!(matches!((status, tried.is_some()), (200, true) | (400, false)));
                prop_assert!(page.ends_with("</html>\n"));
            }
        }
    }
}
