//! The device's own page in the local network: what it shows, for people and for programs that polled the device before
//! there was a gateway.
//!
//! | path | answer |
//! |---|---|
//! | `/` | the page; new numbers come by themselves every five seconds (without scripts: every thirty); nothing from elsewhere |
//! | `/json` | `{"timestamp":…,"tvoc":…,"eco2":…}` first, as those programs read it, then everything else |
//! | `/memory/…` | free heap in bytes, as text |
//!
//! There is no way to change anything here and nothing that is secret, so it asks nobody who they are.

use crate::Millis;
use crate::node::{Display, Link, Primary, Trouble, Vitals};
use crate::record::Values;
use casement_proto::{Band, Method, Quantity, State};
use core::fmt::{self, Write};

/// Room for the largest answer.
pub const ANSWER_BYTES_MAX: usize = 9_216;

/// Sent with every answer: nothing is loaded from elsewhere, nothing runs but one script of its own, nothing is kept.
pub const HEADERS: &[(&str, &str)] = &[
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-X+tahw80Q4I22fiiQEHo0nVUzC+QYiyK+3lP+fqF9S4='; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
];

/// What there is to tell.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What the device is called.
    pub device: &'a str,
    /// What the room is called; may be empty.
    pub room: &'a str,
    /// What the screen shows.
    pub display: Display,
    /// The latest values, while they are fresh.
    pub values: Option<&'a Values>,
    /// What is wrong.
    pub trouble: Option<Trouble>,
    /// The time in milliseconds since 1970, if it is known.
    pub unix_ms: Option<i64>,
    /// How long the device has been running.
    pub uptime: Millis,
    /// The chip.
    pub vitals: Vitals<'a>,
}

/// An answer; its body lies in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Bytes of the body.
    pub len: usize,
}

/// Answers a request. `path` is the request's target; what follows `?` does not matter.
pub fn answer(method: &str, path: &str, view: &View<'_>, out: &mut [u8]) -> Answer {
    let path = path.split('?').next().unwrap_or_default();
    let mut body = Body::new(out);
    let (status, content_type, written) = match path {
        _ if !matches!(method, "GET" | "HEAD") => (405, TEXT, body.write_str("only GET\n")),
        "/" => (200, HTML, page(&mut body, view)),
        // The old device said so, and those who poll it may look.
        "/json" => (200, HTML, json(&mut body, view)),
        _ if path.starts_with("/memory/") => (200, TEXT, memory(&mut body, view)),
        _ => (404, TEXT, body.write_str("there is nothing here\n")),
    };
    match written {
        Ok(()) => body.answer(status, content_type),
        // The buffer is too small: half a page would be worse than none.
        Err(fmt::Error) => Answer { status: 500, content_type: TEXT, len: 0 },
    }
}

fn memory(out: &mut Body<'_>, view: &View<'_>) -> fmt::Result {
    match view.vitals.heap_free {
        Some((free, _)) => write!(out, "{free}"),
        None => out.write_str("unknown"),
    }
}

fn json(out: &mut Body<'_>, view: &View<'_>) -> fmt::Result {
    // The old device had no word for a clock that nobody set, either.
    write!(out, "{{\"timestamp\":{}", view.unix_ms.unwrap_or(0).div_euclid(1_000))?;
    for name in ["tvoc", "eco2"] {
        write!(out, ",\"{name}\":")?;
        match view.values.and_then(|values| values.iter().find(|(quantity, _)| quantity.name() == name)) {
            Some((quantity, value)) => number(out, quantity, *value)?,
            None => out.write_str("null")?,
        }
    }
    for (quantity, value) in view.values.into_iter().flatten() {
        if !matches!(quantity.name(), "tvoc" | "eco2") {
            write!(out, ",\"{}\":", quantity.name())?;
            number(out, quantity, *value)?;
        }
    }
    write!(out, ",\"state\":\"{}\"", view.display.state.as_str())?;
    if let Some(band) = view.display.band {
        write!(out, ",\"band\":\"{}\"", band.as_str())?;
    }
    if let Some(trouble) = view.trouble {
        write!(out, ",\"trouble\":\"{}\"", trouble.code())?;
    }
    write!(out, ",\"queued\":{},\"uptime_s\":{}", view.display.queued, view.uptime.0 / 1_000)?;
    out.write_str("}\n")
}

/// The only script: it brings new numbers every five seconds, without a screen reader beginning anew. Its hash is in
/// [`HEADERS`]; a browser that finds another one complains, and `tests/browser` hears it.
const SCRIPT: &str = concat!(
    "setInterval(async()=>{const t=await(await fetch(\"/\")).text(),d=new DOMParser().parseFromString(t,\"text/html\")",
    ".querySelector(\"main\");if(d)document.querySelector(\"main\").innerHTML=d.innerHTML},5e3)"
);

fn page(out: &mut Body<'_>, view: &View<'_>) -> fmt::Result {
    let title = if view.room.is_empty() { view.device } else { view.room };
    begin(out, title, "<noscript><meta http-equiv=refresh content=30></noscript>")?;
    // The sign in front of the words is the screen's: a colour never stands alone.
    let (class, sign, words) = match view.display.band {
        Some(Band::Good) => ("good", "●", "The air is good."),
        Some(Band::Soon) => ("soon", "▲", "Air soon."),
        Some(Band::Now) => ("now", "■", "Air now."),
        None => ("none", "○", "Nothing to say about the air yet."),
    };
    write!(out, "<h1>{}</h1><section class=\"air {class}\"><p class=n>", Plain(title))?;
    match view.display.primary {
        Some(Primary::Co2(ppm)) => write!(out, "{ppm} <small>ppm CO₂</small>")?,
        Some(Primary::Eco2(ppm)) => write!(out, "≈{ppm} <small>ppm eCO₂, estimated</small>")?,
        None => out.write_str("–")?,
    }
    write!(out, "</p><p><b>{sign} {words}</b>{}</p></section>", trust(view.display.state))?;
    if let Some(trouble) = view.trouble {
        write!(out, "<p role=alert>{}</p>", Plain(&trouble))?;
    }
    if let Some(values) = view.values {
        out.write_str("<section class=card><table>")?;
        for (quantity, value) in values {
            row(out, quantity, *value)?;
        }
        out.write_str("</table></section>")?;
    }
    out.write_str("<footer>")?;
    out.write_str(match view.display.link {
        Link::Online => "Connected to the gateway.",
        Link::Waiting => "In the network; the gateway has not answered lately.",
        Link::Offline => "Not connected.",
        Link::TokenRefused => "The gateway does not know this device.",
    })?;
    match view.display.queued {
        0 => {}
        1 => out.write_str(" One reading waits.")?,
        many => write!(out, " {many} readings wait.")?,
    }
    let Vitals { firmware, board, .. } = view.vitals;
    let minutes = view.uptime.0 / 60_000;
    write!(out, "<br>{}, {}, firmware {}, up ", Plain(view.device), Plain(board), Plain(firmware))?;
    match minutes {
        0..=119 => write!(out, "{minutes} min")?,
        120..=2_879 => write!(out, "{} h", minutes / 60)?,
        _ => write!(out, "{} days", minutes / 1_440)?,
    }
    if let Some((free, _)) = view.vitals.heap_free {
        write!(out, ", {free} bytes free")?;
    }
    writeln!(out, ". <a href=/json>JSON</a></footer></main><script>{SCRIPT}</script></html>")
}

/// The beginning of a page, up to its contents. The colours are those of the gateway's pages.
pub(crate) fn begin(out: &mut Body<'_>, title: &str, more: &str) -> fmt::Result {
    write!(
        out,
        "<!doctype html><html lang=en><meta charset=utf-8>{more}\
         <meta name=viewport content=\"width=device-width,initial-scale=1\"><title>{}</title><style>",
        Plain(title)
    )?;
    out.write_str(concat!(
        ":root{color-scheme:light dark;--wall:#e9e4da;--paper:#fcfbf8;--ink:#1b242c;--soft:#4a545d;--edge:#d3ccbe;",
        "--accent:#0d6c73;--on:#fff;--bad:#8c2f17;font:17px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}",
        ".good{--a:#b9dfe6;--b:#ecf7f2;--i:#10323a}.soon{--a:#fbe6bd;--b:#f1bf74;--i:#2c1c05}",
        ".now{--a:#41160b;--b:#642814;--i:#fff6ef}.none{--a:#dcdedd;--b:#e9ebea;--i:#2a3035}",
        "@media(prefers-color-scheme:dark){:root{--wall:#0b0e13;--paper:#131920;--ink:#eef2f6;--soft:#aab5c0;",
        "--edge:#2c3641;--accent:#8cc4ff;--on:#06121f;--bad:#ff8ba5}.good{--a:#0a1a33;--b:#103560;--i:#eef6ff}",
        ".soon{--a:#2b2001;--b:#4d3800;--i:#ffee9e}.now{--a:#3c0a19;--b:#7d1230;--i:#fff2f5}",
        ".none{--a:#1a2129;--b:#222a33;--i:#e4e9ee}}",
        "*{box-sizing:border-box}body{margin:0;background:var(--wall);color:var(--ink)}",
        "main{max-width:30rem;margin:0 auto;padding:1.4rem 1rem 2rem}h1{font-size:1.6rem;line-height:1.2;margin:0 0 1rem}",
        "p{margin:.5rem 0}.card,.air,[role=alert]{border:1px solid var(--edge);border-radius:1rem;padding:1rem 1.1rem;",
        "margin:0 0 1rem;background:var(--paper)}",
        ".air{background:linear-gradient(var(--a),var(--b));color:var(--i);border:0;padding:1.4rem 1.3rem}",
        ".n{font-size:4rem;line-height:1;font-weight:300;margin:0 0 .6rem}.n small{font-size:1rem;font-weight:400}",
        "[role=alert]{border-left:.4rem solid var(--bad)}a{color:var(--accent)}",
        "footer{color:var(--soft);font-size:.85rem}table{width:100%;border-spacing:0}td{padding:.35rem 0}",
        "td+td{text-align:right;white-space:nowrap}td[colspan]{padding:0 0 .35rem}meter{width:100%;height:.6rem}"
    ))?;
    out.write_str("</style><main>")
}

fn row(out: &mut Body<'_>, quantity: &Quantity, value: f64) -> fmt::Result {
    let (label, method) = match quantity {
        Quantity::Known(metric) => (metric.label, Some(metric.method)),
        Quantity::Custom(_) => (quantity.name(), None),
    };
    write!(out, "<tr><td>{}", Plain(label))?;
    if method == Some(Method::Estimated) {
        out.write_str(" <small>estimated</small>")?;
    }
    out.write_str("<td>")?;
    number(out, quantity, value)?;
    write!(out, " {}", quantity.unit())?;
    // The two gauges of the old page, with their scales the right way round, and one for what is measured.
    let scale = match quantity.name() {
        "co2" | "eco2" => Some((350, 2_000)),
        "tvoc" => Some((0, 600)),
        _ => None,
    };
    if let Some((min, max)) = scale {
        write!(out, "<tr><td colspan=2><meter min={min} max={max} value=")?;
        number(out, quantity, value)?;
        out.write_str("></meter>")?;
    }
    Ok(())
}

const fn trust(state: State) -> &'static str {
    match state {
        State::Ok => "",
        State::WarmingUp => " The sensor is warming up.",
        State::Conditioning => " The sensor is finding its baseline; that takes hours.",
        State::Calibrating => " The sensor is being calibrated.",
        State::Suspect => " Do not trust this number.",
        State::Failed => " The sensor has failed.",
    }
}

/// A number with the digits that its metric has. Not by `{:.2}`: what formats any float takes 9 KB of a chip's flash.
fn number(out: &mut Body<'_>, quantity: &Quantity, value: f64) -> fmt::Result {
    let (digits, trim) = match quantity {
        Quantity::Known(metric) => (u32::from(metric.precision), false),
        Quantity::Custom(_) => (3, true),
    };
    let scale = 10_u64.pow(digits.min(6));
    // A cast stops at the largest number there is.
    let scaled = (value.abs() * scale as f64 + 0.5) as u64;
    if value < 0.0 && scaled > 0 {
        out.write_str("-")?;
    }
    write!(out, "{}", scaled / scale)?;
    let (mut part, mut width) = (scaled % scale, digits as usize);
    while trim && width > 0 && part.is_multiple_of(10) {
        (part, width) = (part / 10, width - 1);
    }
    if width > 0 { write!(out, ".{part:0width$}") } else { Ok(()) }
}

/// Text that cannot become markup.
pub(crate) struct Plain<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Escape<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.chars().try_for_each(|it| match it {
                    '<' => self.0.write_str("&lt;"),
                    '>' => self.0.write_str("&gt;"),
                    '&' => self.0.write_str("&amp;"),
                    '"' => self.0.write_str("&quot;"),
                    '\'' => self.0.write_str("&#39;"),
                    other => self.0.write_char(other),
                })
            }
        }
        write!(Escape(f), "{}", self.0)
    }
}

/// A body that grows in a buffer and never beyond it.
pub(crate) struct Body<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Body<'a> {
    pub(crate) const fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    pub(crate) const fn answer(&self, status: u16, content_type: &'static str) -> Answer {
        Answer { status, content_type, len: self.len }
    }
}

impl Write for Body<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let place = self.out.get_mut(self.len..).and_then(|rest| rest.get_mut(..text.len()));
        place.ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

pub(crate) const HTML: &str = "text/html; charset=UTF-8";
pub(crate) const TEXT: &str = "text/plain; charset=UTF-8";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Fault;
    use crate::uplink::UploadError;
    use std::string::{String, ToString};

    fn values(all: &[(&str, f64)]) -> Values {
        all.iter().map(|(name, value)| (Quantity::parse(name).unwrap(), *value)).collect()
    }

    fn view(values: Option<&Values>) -> View<'_> {
        View {
            device: "stamp-1",
            room: "",
            display: Display::default(),
            values,
            trouble: None,
            unix_ms: Some(1_605_430_000_999),
            uptime: Millis(7_200_000),
            vitals: Vitals {
                firmware: "1.4.0",
                board: "atom-echo",
                heap_free: Some((91_234, 60_000)),
                ..Vitals::default()
            },
        }
    }

    fn get(path: &str, view: &View<'_>) -> (Answer, String) {
        let mut out = [0; ANSWER_BYTES_MAX];
        let answer = answer("GET", path, view, &mut out);
        (answer, core::str::from_utf8(&out[..answer.len]).unwrap().to_string())
    }

    #[test]
    fn json_begins_as_the_old_device_had_it() {
        // S-07: {"timestamp":epoch,"tvoc":n,"eco2":n} as text/html; here each number under its right name.
        let seed = values(&[("eco2", 437.0), ("tvoc", 12.0)]);
        let (answer, body) = get("/json", &view(Some(&seed)));
        assert_eq!((answer.status, answer.content_type), (200, "text/html; charset=UTF-8"));
        assert!(body.starts_with(r#"{"timestamp":1605430000,"tvoc":12,"eco2":437,"#), "{body}");
        let real = values(&[("co2", 812.4), ("temperature", 22.456), ("my_own", 0.5)]);
        let mut it = view(Some(&real));
        it.unix_ms = None;
        it.trouble = Some(Trouble::Sensor(Fault::Crc));
        assert_eq!(
            get("/json?x=1", &it).1,
            concat!(
                r#"{"timestamp":0,"tvoc":null,"eco2":null,"co2":812,"temperature":22.46,"my_own":0.5,"state":"ok","#,
                r#""trouble":"sensor_checksum","queued":0,"uptime_s":7200}"#,
                "\n"
            )
        );
    }

    #[test]
    fn numbers_have_the_digits_of_their_metric() {
        for (name, value, text) in [
            ("temperature", 22.456, "22.46"),
            ("temperature", -0.004, "0.00"),
            ("temperature", -7.25, "-7.25"),
            ("temperature", 0.05, "0.05"),
            ("co2", 812.5, "813"),
            ("my_own", 0.5, "0.5"),
            ("my_own", -1_000_000.0, "-1000000"),
            ("my_own", 0.0305, "0.031"),
            ("my_own", f64::NAN, "0"),
        ] {
            let mut out = [0; 64];
            let mut body = Body::new(&mut out);
            number(&mut body, &Quantity::parse(name).unwrap(), value).unwrap();
            let len = body.len;
            assert_eq!(core::str::from_utf8(&out[..len]), Ok(text), "{name} {value}");
        }
    }

    #[test]
    fn every_path_and_method_has_an_answer() {
        for (method, path, status, body) in [
            ("GET", "/memory/gc", 200, "91234"),
            ("GET", "/memory/", 200, "91234"),
            ("GET", "/js/kuma-gauge.jquery.js", 404, "there is nothing here\n"),
            ("GET", "", 404, "there is nothing here\n"),
            ("POST", "/json", 405, "only GET\n"),
        ] {
            let mut out = [0; ANSWER_BYTES_MAX];
            let it = answer(method, path, &view(None), &mut out);
            assert_eq!((it.status, &out[..it.len]), (status, body.as_bytes()), "{method} {path}");
        }
        assert_eq!(answer("HEAD", "/", &view(None), &mut [0; ANSWER_BYTES_MAX]).status, 200);
    }

    #[test]
    fn the_page_says_what_the_screen_says_and_loads_nothing() {
        let both = values(&[("eco2", 437.0), ("tvoc", 12.0)]);
        let mut it = view(Some(&both));
        it.display.primary = Some(Primary::Eco2(437));
        it.display.band = Some(Band::Good);
        it.trouble = Some(Trouble::Upload(UploadError::Token));
        let (answer, body) = get("/", &it);
        assert_eq!(answer.status, 200);
        for part in [
            "≈437",
            "estimated",
            "● The air is good.",
            "does not know this device",
            "<meter min=0 max=600 value=12>",
        ] {
            assert!(body.contains(part), "{part} in {body}");
        }
        assert!(!body.contains("http:") && !body.contains("https:") && !body.contains("src="), "{body}");
        assert_eq!((body.matches("<script>").count(), body.matches(SCRIPT).count()), (1, 1));
    }

    #[test]
    fn what_a_room_is_called_cannot_become_markup() {
        let mut it = view(None);
        (it.room, it.device) = ("<script>alert('x')</script>", "a\"&b");
        let body = get("/", &it).1;
        assert!(
            !body.contains("<script>alert") && body.contains("&lt;script&gt;alert(&#39;x&#39;)"),
            "{body}"
        );
        assert!(body.contains("a&quot;&amp;b"));
    }

    #[test]
    fn the_largest_page_fits_and_a_small_buffer_gives_no_half_page() {
        let mut all = Values::new();
        for metric in casement_proto::metric::METRICS.iter().take(crate::record::SAMPLE_VALUES_MAX) {
            all.push((Quantity::Known(metric), metric.max)).unwrap();
        }
        let name = "&".repeat(64);
        let mut it = view(Some(&all));
        (it.room, it.device) = (&name, &name);
        it.display.queued = u32::MAX;
        it.trouble = Some(Trouble::Upload(UploadError::Certificate(crate::uplink::Certificate::NotYet)));
        assert_eq!(get("/", &it).0.status, 200);
        let len = get("/", &it).0.len;
        for size in [0, 1, len - 1] {
            let mut out = [0; ANSWER_BYTES_MAX];
            assert_eq!(
                answer("GET", "/", &it, &mut out[..size]),
                Answer { status: 500, content_type: TEXT, len: 0 }
            );
        }
    }
}
