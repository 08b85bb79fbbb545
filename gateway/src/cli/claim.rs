//! `casement claim`: a link that signs an administrator in, once.

use super::{Context, Done, Failure, Json, out, say};
use crate::config::Config;
use crate::disk::Lock;
use crate::guard::Secret;
use crate::store::Store;
use crate::telemetry::time;
use crate::{access, clock, keeper, provision};
use clap::Args;
use qrcodegen_no_heap::{QrCode, QrCodeEcc, Version};
use serde_json::json;
use std::fmt::Write as _;
use std::io::IsTerminal;

#[derive(Args)]
pub(super) struct Claim {
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(Claim { json: Json { json } }: Claim, context: &Context) -> Done {
    let (config, store) = context.store().await?;
    let link = Link::make(&config, &*store).await;
    store.close().await;
    let link = link?;
    if json {
        return out(&format!("{:#}\n", link.json()));
    }
    link.show()
}

/// A link that signs an administrator in.
pub(super) struct Link {
    /// The link itself.
    url: Secret,
    /// When it is over, in unix milliseconds.
    until_ms: i64,
}

impl Link {
    /// Makes one; earlier ones that nobody has used are over then.
    pub(super) async fn make(config: &Config, store: &dyn Store) -> Result<Self, Failure> {
        let now_ms = clock::now_ms();
        let base = dashboard(config).await;
        let secret = access::claim(store, now_ms).await?;
        Ok(Self {
            url: Secret::new(format!("{base}/claim#{}", secret.reveal())),
            until_ms: now_ms + access::CLAIM_MS,
        })
    }

    /// For programs.
    pub(super) fn json(&self) -> serde_json::Value {
        json!({ "url": self.url.reveal(), "expires": time::rfc3339(self.until_ms) })
    }

    /// Alone on stdout for a program; for a person with what to know of it and a QR code, on stderr.
    pub(super) fn show(&self) -> Done {
        if std::io::stdout().is_terminal() {
            let minutes = access::CLAIM_MS / 60_000;
            say(&format!(
                "Open this within {minutes} minutes to sign in as an administrator. It works once; keep it to yourself:"
            ));
        }
        out(&format!("{}\n", self.url.reveal()))?;
        if std::io::stderr().is_terminal()
            && let Some(code) = qr(self.url.reveal(), std::env::var_os("NO_COLOR").is_none())
        {
            say(&code);
        }
        Ok(())
    }
}

/// Where browsers find the dashboard: by the first name that leads here from elsewhere, else on this machine.
pub(super) async fn dashboard(config: &Config) -> String {
    // The running gateway knows its ports and names best.
    let holder = Lock::is_held(&config.lock_file()).then(|| Lock::holder(&config.lock_file())).flatten();
    let listening = holder.map_or_else(|| config.listen.https.clone(), |holder| holder.https);
    let port = listening.first().map_or(443, std::net::SocketAddr::port);
    let mut names = config.tls.names.clone();
    if names.is_empty()
        && let Ok(view) = keeper::peek(config, clock::now_ms()).await
    {
        names = view.wanted;
    }
    provision::address(&names, port).unwrap_or_else(|| format!("https://localhost:{port}"))
}

/// The largest code that is drawn: version 10 takes 271 bytes, and 33 lines of a terminal.
const CODE_VERSION_MAX: Version = Version::new(10);

/// Light modules around a code (ISO/IEC 18004 §6.3.8 wants four; readers are content with two, and lines are few).
const QUIET: i32 = 2;

/// A text as a QR code of half blocks, two modules to a character; `None` when it is too long. With colours it is dark on
/// light whatever the terminal's colours are; without, as on most terminals, light on dark is assumed.
fn qr(text: &str, colour: bool) -> Option<String> {
    let mut buffer = [0; CODE_VERSION_MAX.buffer_len()];
    let mut scratch = [0; CODE_VERSION_MAX.buffer_len()];
    let code = QrCode::encode_text(
        text,
        &mut scratch,
        &mut buffer,
        QrCodeEcc::Low,
        Version::MIN,
        CODE_VERSION_MAX,
        None,
        true,
    )
    .ok()?;
    let (on, off) = if colour { ("\u{1b}[97;40m", "\u{1b}[0m") } else { ("", "") };
    let light = |x: i32, y: i32| y < code.size() + QUIET && !code.get_module(x, y);
    let mut picture = String::new();
    for y in (-QUIET..code.size() + QUIET).step_by(2) {
        picture.push_str(on);
        for x in -QUIET..code.size() + QUIET {
            picture.push(match (light(x, y), light(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        let _infallible = writeln!(picture, "{off}");
    }
    Some(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the picture back as a camera would.
    fn read(picture: &str) -> String {
        let rows: Vec<Vec<char>> = picture.lines().map(|line| line.chars().collect()).collect();
        let (width, height) = (rows[0].len(), rows.len() * 2);
        let scale = 4;
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width * scale, height * scale, |x, y| {
            let (x, y) = (x / scale, y / scale);
            let light = match rows[y / 2][x] {
                '█' => true,
                '▀' => y % 2 == 0,
                '▄' => y % 2 == 1,
                _ => false,
            };
            if light { 255 } else { 0 }
        });
        image.detect_grids()[0].decode().unwrap().1
    }

    #[test]
    fn a_phone_reads_the_code_off_a_terminal_of_80_by_24() {
        let link = format!("https://air.example.org/claim#cas_clm_{}", "m2".repeat(16));
        let picture = qr(&link, false).unwrap();
        assert!(picture.lines().count() <= 24 && picture.lines().all(|line| line.chars().count() <= 80));
        assert_eq!(read(&picture), link);
        let coloured = qr(&link, true).unwrap();
        assert_eq!(coloured.replace("\u{1b}[97;40m", "").replace("\u{1b}[0m", ""), picture);
        assert!(qr(&"x".repeat(300), false).is_none());
    }
}
