//! The pages' text: filled templates and a table of rooms that needs no script. Pure.

use crate::answer::certificate::CertificateView;
use crate::answer::{DeviceView, DevicesView};
use crate::telemetry::time;
use std::fmt::Write;

/// What stands where no page is.
pub(super) const NOT_FOUND: &str =
    "<main><h1>There is no such page</h1><p><a href=\"/\">All rooms</a></p></main>";

/// The page that flashes a board, where no script runs.
pub(super) const FLASH: &str = "<main><p><a href=\"/\">All rooms</a></p><h1>Add a device</h1>\
     <p>This page talks to a board over a cable, and needs scripts for that. Without them, on the server: \
     <code>casement device image room-101 --wifi NAME</code> writes the settings of a device into a file, to be flashed \
     beside its firmware.</p></main>";

/// What stands where only an administrator sees more.
pub(super) const NO_ADMIN: &str = "<main><p><a href=\"/\">All rooms</a></p><h1>Checks</h1><p>They are shown to administrators. \
     On the server, <code>casement claim</code> prints a link that signs one in.</p></main>";

/// Where no script runs, the checks run when somebody asks.
pub(super) const DOCTOR: &str = "<main><p><a href=\"/\">All rooms</a></p><h1>Checks</h1>\
     <p><a href=\"/doctor?plain=1\">Look at everything now</a>; it takes some seconds.</p></main>";

/// What the checks found, as a table.
pub(super) fn doctor(report: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| escape(value.as_str().unwrap_or_default());
    let mut page =
        "<main><p><a href=\"/\">All rooms</a></p><h1>Checks</h1><table class=\"plain\"><tbody>".to_owned();
    for check in report["checks"].as_array().into_iter().flatten() {
        let fix = match check["fix"].as_str() {
            Some(fix) => format!("<br>Fix: {}", escape(fix)),
            None => String::new(),
        };
        let _infallible = write!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}{fix}</td></tr>",
            text(&check["title"]),
            text(&check["status"]),
            text(&check["text"]),
        );
    }
    page + "</tbody></table></main>"
}

/// Replaces `<!--casement:NAME-->` markers.
pub(super) fn fill(template: &str, parts: &[(&str, &str)]) -> String {
    let mut page =
        String::with_capacity(template.len() + parts.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut rest = template;
    // One pass: what was filled in is never looked at again, whatever a room is called.
    while let Some((before, after)) = rest.split_once("<!--casement:") {
        page.push_str(before);
        match after.split_once("-->") {
            Some((name, tail)) => {
                match parts.iter().find(|(known, _)| *known == name) {
                    Some((_, text)) => page.push_str(text),
                    None => {
                        let _infallible = write!(page, "<!--casement:{name}-->");
                    }
                }
                rest = tail;
            }
            None => {
                page.push_str("<!--casement:");
                rest = after;
            }
        }
    }
    page.push_str(rest);
    page
}

/// The certificate as a table; nothing of it for strangers.
pub(super) fn certificate(view: Option<&CertificateView>) -> String {
    let mut page = "<main><p><a href=\"/\">All rooms</a></p><h1>Certificate</h1>".to_owned();
    match view {
        None => page.push_str("<p><a href=\"/login?next=%2Fcertificate\">Sign in</a> to see this.</p>"),
        Some(view) => {
            let _infallible = write!(page, "<p>{}</p><table class=\"plain\"><tbody>", escape(&view.headline));
            for (name, value) in view.rows() {
                let _infallible =
                    write!(page, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escape(&value));
            }
            page.push_str("</tbody></table>");
        }
    }
    page + "</main>"
}

/// Text as it may stand in an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// JSON as it may stand in a script element: without `<`, nothing can end the element.
pub(super) fn json_in_html(value: &serde_json::Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// Text as it may stand in a query or one segment of a path (RFC 3986 §2.3).
pub(super) fn percent(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            safe.push(char::from(byte));
        } else {
            let _infallible = write!(safe, "%{byte:02X}");
        }
    }
    safe
}

/// Where to go after signing in: a path of ours, never another site.
pub(super) fn local_path(next: Option<&str>) -> &str {
    next.filter(|path| {
        path.starts_with('/')
            && !path.starts_with("//")
            && !path.contains('\\')
            && path.len() <= 2048
            && path.bytes().all(|byte| (0x21..0x7f).contains(&byte))
    })
    .unwrap_or("/")
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The media type of an embedded file.
pub(super) fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("webmanifest") => "application/manifest+json",
        Some("json") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// What a device's room is called.
fn room_of(device: &DeviceView) -> &str {
    device.room.as_deref().or(device.name.as_deref()).unwrap_or(&device.id)
}

/// Is there such a room?
pub(super) fn has_room(view: &DevicesView, room: &str) -> bool {
    view.devices.iter().any(|device| room_of(device) == room)
}

/// Every room in a table.
pub(super) fn rooms(view: &DevicesView) -> String {
    let mut html = format!("<main><h1>{}</h1>", escape(&view.site.name));
    if view.devices.is_empty() {
        html.push_str(
            "<p>No device has been added. On the server: <code>casement device add room-101 --room \"Room 101\"</code></p>",
        );
    } else {
        table(&mut html, view, |_| true);
    }
    html.push_str("</main>");
    html
}

/// One room in a table.
pub(super) fn room(view: &DevicesView, room: &str) -> String {
    if !has_room(view, room) {
        return NOT_FOUND.to_owned();
    }
    let mut html = format!("<main><p><a href=\"/\">All rooms</a></p><h1>{}</h1>", escape(room));
    table(&mut html, view, |device| room_of(device) == room);
    html.push_str("</main>");
    html
}

fn table(html: &mut String, view: &DevicesView, wanted: impl Fn(&DeviceView) -> bool) {
    html.push_str(
        "<table class=\"plain\"><thead><tr><th scope=\"col\">Room</th><th scope=\"col\">Air</th>\
         <th scope=\"col\">Now</th><th scope=\"col\">Temperature</th><th scope=\"col\">Humidity</th>\
         <th scope=\"col\">Age</th></tr></thead><tbody>",
    );
    let mut devices: Vec<_> = view.devices.iter().filter(|device| wanted(device)).collect();
    // Worst first, as on the page that scripts make; the sort keeps the order of names within.
    devices.sort_by_key(|device| match (device.presence, device.band) {
        ("offline", _) => 4,
        (_, Some("now")) => 0,
        (_, Some("soon")) => 1,
        (_, Some("good")) => 2,
        _ => 3,
    });
    for device in devices {
        let room = room_of(device);
        let word = match (device.presence, device.band) {
            ("offline", _) => "✕ Offline",
            ("never", _) => "◌ No data",
            (_, Some("good")) => "● Good",
            (_, Some("soon")) => "▲ Air soon",
            (_, Some("now")) => "■ Air now",
            _ => "◌ No verdict",
        };
        let last = |name: &str, unit: &str, decimals: usize| {
            device.last_value(name).map_or_else(|| "–".to_owned(), |v| format!("{v:.decimals$} {unit}"))
        };
        let age = device.age_s.map_or_else(|| "–".to_owned(), |s| time::age((s * 1000.0) as i64));
        let simulated = if device.simulated { " <small>simulated</small>" } else { "" };
        let _infallible = write!(
            html,
            "<tr><th scope=\"row\"><a href=\"/r/{}\">{}</a>{simulated}</th><td>{word}</td><td>{}</td><td>{}</td><td>{}</td><td>{age}</td></tr>",
            percent(room),
            escape(room),
            escape(&device.headline_text()),
            last("temperature", "°C", 1),
            last("humidity", "%", 0),
        );
    }
    html.push_str("</tbody></table>");
}

/// Whether a request was brought about by another site. A browser says so; older ones name the page they come from.
pub(super) fn from_elsewhere(site: Option<&str>, referer: Option<&str>, host: Option<&str>) -> bool {
    match (site, referer) {
        (Some(site), _) => site != "same-origin" && site != "none",
        (None, Some(referer)) => {
            let origin = referer.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
            origin.is_none() || origin != host
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_filled_once_and_unknown_ones_stay() {
        let page = fill(
            "a<!--casement:x-->b<!--casement:y-->c<!--casement:x-->",
            &[("x", "<!--casement:y-->"), ("z", "never")],
        );
        assert_eq!(page, "a<!--casement:y-->b<!--casement:y-->c<!--casement:y-->");
        assert_eq!(fill("<!--casement:x", &[("x", "1")]), "<!--casement:x");
    }

    #[test]
    fn nothing_from_outside_becomes_markup() {
        assert_eq!(escape("<b a=\"'&\">"), "&lt;b a=&quot;&#39;&amp;&quot;&gt;");
        let boot = json_in_html(&serde_json::json!({"room": "</script><script>alert(1)</script>"}));
        assert!(!boot.contains('<'), "{boot}");
        assert_eq!(percent("Lab 1/ä"), "Lab%201%2F%C3%A4");
    }

    #[test]
    fn signing_in_never_leads_to_another_site() {
        for (next, path) in [
            (Some("/r/Lab?r=7d"), "/r/Lab?r=7d"),
            (Some("//evil.example"), "/"),
            (Some("https://evil.example"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("/a\r\nSet-Cookie: x"), "/"),
            (Some(""), "/"),
            (None, "/"),
        ] {
            assert_eq!(local_path(next), path, "{next:?}");
        }
    }

    #[test]
    fn requests_of_other_sites_are_known() {
        let host = Some("air.example.org");
        for (site, referer, elsewhere) in [
            (None, None, false),
            (Some("none"), None, false),
            (Some("same-origin"), Some("https://air.example.org/r/x"), false),
            (Some("cross-site"), None, true),
            (Some("same-site"), None, true),
            (None, Some("https://air.example.org/r/x?y"), false),
            (None, Some("https://air.example.org"), false),
            (None, Some("https://evil.example/air.example.org"), true),
            (None, Some("https://air.example.org.evil.example/"), true),
            (None, Some("nonsense"), true),
        ] {
            assert_eq!(from_elsewhere(site, referer, host), elsewhere, "{site:?} {referer:?}");
        }
    }
}
