//! `casement init`: from nothing to a gateway with a certificate, and a link for its first administrator.

use super::backup::leave_a_way_back;
use super::cert;
use super::claim::{Link, dashboard};
use super::doctor::{Paint, TROUBLED, line, progress, server};
use super::{Context, Done, Failure, Json, USAGE, out, say};
use crate::answer::certificate::{CertificateView, Verdict};
use crate::config::starter::Starter;
use crate::config::{self, Config, Loaded, SYSTEM_FILE, Sources, TlsSource};
use crate::disk::{self, Lock};
use crate::doctor::checks::Status;
use crate::doctor::{Report, probe};
use crate::keeper::{self, Request};
use crate::store::{self, Scope};
use crate::{clock, renewal};
use clap::Args;
use serde_json::{Value, json};
use std::io::{BufRead, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long systemd may take to start the unit; its own limit is 90 s.
const SYSTEMD_TIMEOUT: Duration = Duration::from_secs(100);

/// How often is looked whether the certificate is there.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Longest wait for a certificate that can be asked for, in seconds.
const WAIT_MAX: u64 = 3_600;

#[derive(Args)]
pub(super) struct Init {
    /// The name of the gateway, or its IP address [default: this machine's public addresses]
    name: Option<String>,
    /// Whom the certificate authority may write to: me@example.org
    #[arg(long, value_name = "E-MAIL")]
    contact: Option<String>,
    /// Another certificate authority than Let's Encrypt
    #[arg(long, value_name = "URL")]
    directory: Option<String>,
    /// PEM to trust for that directory
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// Where everything is kept [default: /var/lib/casement]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Where to take plain HTTP [default: [::]:80]
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<SocketAddr>,
    /// Where to take HTTPS [default: [::]:443]
    #[arg(long, value_name = "ADDR:PORT")]
    https: Option<SocketAddr>,
    /// Go on whatever the checks find, and ask nothing
    #[arg(long, short)]
    yes: bool,
    /// Write a new configuration where there is one; the old one is kept beside it
    #[arg(long)]
    force: bool,
    /// Write the configuration and nothing else: no start, no certificate, no link
    #[arg(long)]
    no_start: bool,
    /// Longest wait for the certificate
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..=WAIT_MAX))]
    wait: u64,
    /// Ask this DNS server instead of the system's: 1.1.1.1, or with a port 127.0.0.1:5353
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = server)]
    dns: Option<SocketAddr>,
    #[command(flatten)]
    json: Json,
}

impl Init {
    fn starter(&self) -> Result<Starter, Failure> {
        // A unit runs elsewhere: what is relative here must not be there.
        let absolute = |path: &Path| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| {
                Failure::usage(format!("{} is not UTF-8", path.display()), "choose another path")
            })
        };
        let address = |given: Option<SocketAddr>, usual: &str| {
            vec![given.map_or_else(|| usual.to_owned(), |address| address.to_string())]
        };
        Ok(Starter {
            data_dir: absolute(self.data_dir.as_deref().unwrap_or(Path::new("/var/lib/casement")))?,
            http: address(self.http, "[::]:80"),
            https: address(self.https, "[::]:443"),
            name: self.name.clone(),
            contact: self.contact.clone(),
            directory: self.directory.clone(),
            ca_bundle: self.ca_bundle.as_deref().map(absolute).transpose()?,
            time_zone: config::system_zone(),
        })
    }

    /// The flags that only a new configuration would heed.
    fn unheeded(&self) -> Vec<&'static str> {
        let given = [
            ("--contact", self.contact.is_some()),
            ("--directory", self.directory.is_some()),
            ("--ca-bundle", self.ca_bundle.is_some()),
            ("--data-dir", self.data_dir.is_some()),
            ("--http", self.http.is_some()),
            ("--https", self.https.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect()
    }
}

/// What there is before anything is done.
struct Ground {
    /// The configuration, written or not.
    loaded: Loaded,
    /// Where it is, or will be.
    file: PathBuf,
    /// What is to be written there.
    text: Option<String>,
}

pub(super) async fn run(init: Init, context: &Context) -> Done {
    let paint = Paint::when(std::io::stderr().is_terminal());
    let ground = ground(&init, context)?;
    let config = ground.loaded.config.clone();
    let done = |text: &str| say(&format!(" {} {text}", paint.mark(Status::Ok)));

    let running = Lock::is_held(&config.lock_file());
    let mut checks = Value::Null;
    if !running {
        let report = examined(&init, &ground, &paint).await?;
        checks = serde_json::to_value(report.json()).unwrap_or_default();
    }
    let file = ground.file.display().to_string();
    match &ground.text {
        Some(text) => {
            write(&ground.file, text)?;
            done(&format!("{file} is written"));
        }
        None => done(&format!("{file} is there already, and stays as it is")),
    }
    let start = decide(&Situation {
        running,
        start: !init.no_start,
        unit: ground.file == Path::new(SYSTEM_FILE) && !units().is_empty(),
        root: disk::user() == 0,
    });
    let since_ms = clock::now_ms();
    let by_hand = format!("casement serve --config {file}");
    let mut next = None;
    match start {
        Start::Runs if ground.text.is_some() => {
            next = Some("sudo systemctl restart casement".to_owned());
            done("a gateway runs already; it takes the new configuration over when it is started again");
        }
        Start::Runs => done("the gateway runs already"),
        Start::Unit => {
            started(&units()).await?;
            done("casement.service is started, now and after every boot");
        }
        Start::Sudo => next = Some("sudo systemctl enable --now casement".to_owned()),
        Start::Alone | Start::Nothing => next = Some(by_hand),
    }
    let certificate = match start {
        Start::Runs if ground.text.is_some() => None,
        Start::Runs => Some(awaited(&config, 0, init.wait).await?),
        Start::Unit => Some(awaited(&config, since_ms, init.wait).await?),
        Start::Alone => ordered(&config).await?,
        Start::Sudo | Start::Nothing => None,
    };
    if let Some(view) = &certificate {
        done(&view.headline);
    }
    let link = match start {
        Start::Runs | Start::Unit | Start::Alone => first_link(&config).await?,
        Start::Sudo | Start::Nothing => None,
    };
    tell(&init, &Outcome { config: &config, ground: &ground, checks, certificate, next, link }).await
}

/// What there is now.
struct Outcome<'a> {
    config: &'a Config,
    ground: &'a Ground,
    checks: Value,
    certificate: Option<CertificateView>,
    next: Option<String>,
    link: Option<Link>,
}

async fn tell(init: &Init, outcome: &Outcome<'_>) -> Done {
    let url = dashboard(outcome.config).await;
    if init.json.json {
        let json = json!({
            "config": outcome.ground.file,
            "written": outcome.ground.text.is_some(),
            "data_dir": outcome.config.data_dir,
            "url": url,
            "checks": outcome.checks,
            "certificate": outcome.certificate,
            "next": outcome.next,
            "claim": outcome.link.as_ref().map(Link::json),
        });
        return out(&format!("{json:#}\n"));
    }
    if let Some(next) = &outcome.next {
        say(&format!("\n  Start it:   {next}"));
    }
    say(&format!("\n  Dashboard:  {url}/\n"));
    match &outcome.link {
        Some(link) => link.show(),
        None if outcome.certificate.is_some() => {
            say("  There is an administrator already. Another link to sign in: casement claim");
            Ok(())
        }
        None => {
            say("  A link to sign in, once it runs: casement claim");
            Ok(())
        }
    }
}

// ---------------------------------------------------------------------------------------------------- the configuration

fn ground(init: &Init, context: &Context) -> Result<Ground, Failure> {
    let file = context.sources.named().unwrap_or_else(|| PathBuf::from(SYSTEM_FILE));
    let file = std::path::absolute(&file).unwrap_or(file);
    if file.exists() && !init.force {
        let sources = Sources { argument: Some(file.clone()), ..context.sources.clone() };
        let loaded = Context { sources }.load()?;
        let names = &loaded.config.tls.names;
        if let Some(name) = &init.name
            && !names.iter().any(|known| known.eq_ignore_ascii_case(name))
        {
            let is = if names.is_empty() { "this machine's addresses".to_owned() } else { names.join(", ") };
            return Err(Failure::new(
                format!("{} is there already, and it is for {is}", file.display()),
                format!(
                    "add \"{name}\" to tls.names there; or write a new one, which keeps the old one beside it: --force"
                ),
            ));
        }
        let unheeded = init.unheeded();
        if !unheeded.is_empty() {
            let flags = unheeded.join(", ");
            say(&format!(
                "warning: {flags} changes nothing: the configuration is there; --force writes a new one"
            ));
        }
        return Ok(Ground { loaded, file, text: None });
    }
    let text = init.starter()?.text();
    may_write(&file)?;
    let (config, warnings) =
        config::parse(Some(&file), &text, &context.sources.environment).map_err(|bad| {
            let told: Vec<String> = bad.problems.iter().map(|problem| problem.what.clone()).collect();
            let fixes: Vec<String> = bad.problems.iter().map(|problem| problem.fix.clone()).collect();
            Failure { code: USAGE, what: told.join("; "), fix: fixes.join("; ") }
        })?;
    if let TlsSource::Acme(acme) = &config.tls.source
        && let Some(bundle) = acme.ca_bundle.as_ref().filter(|bundle| std::fs::File::open(bundle).is_err())
    {
        let why = disk::why_unreadable(bundle);
        return Err(Failure::usage(
            format!("{} cannot be read: {why}", bundle.display()),
            "name a PEM file: --ca-bundle FILE",
        ));
    }
    let loaded = Loaded { config, file: Some(file.clone()), warnings };
    Ok(Ground { loaded, file, text: Some(text) })
}

/// Says at once when the configuration could not be written in the end.
fn may_write(file: &Path) -> Done {
    use rustix::fs::{Access, access};
    let above = file.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    access(above, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        Failure::new(
            format!("{} cannot be written: {above:?}: {error}", file.display()),
            "run this with sudo; or keep everything in a folder of yours: --config casement.toml --data-dir casement-data --http 127.0.0.1:8080 --https 127.0.0.1:8443",
        )
    })
}

fn write(file: &Path, text: &str) -> Done {
    let failed = |error: std::io::Error| {
        Failure::new(
            format!("{} cannot be written: {error}", file.display()),
            "check the path and its permissions",
        )
    };
    std::fs::create_dir_all(disk::folder_of(file)).map_err(failed)?;
    if file.exists() {
        let mut old = file.as_os_str().to_owned();
        old.push(".old");
        std::fs::rename(file, &old).map_err(failed)?;
        say(&format!("The old configuration is kept as {}.", PathBuf::from(old).display()));
    }
    disk::write_public(file, text.as_bytes()).map_err(failed)
}

// ------------------------------------------------------------------------------------------------------------ the checks

/// Looks before anything is done; what is wrong is told, and somebody has to say that it does not matter.
async fn examined(init: &Init, ground: &Ground, paint: &Paint) -> Result<Report, Failure> {
    let loaded = Loaded {
        config: ground.loaded.config.clone(),
        file: ground.loaded.file.clone(),
        warnings: ground.loaded.warnings.clone(),
    };
    let bar = progress();
    let tell = |text: &'static str| bar.set_message(text);
    let facts = probe::examine_loaded(loaded, init.dns, None, &tell).await;
    bar.finish_and_clear();
    let report = Report::before_start(&facts);
    let (good, problems) = (report.count(Status::Ok), report.count(Status::Problem));
    let mut text = String::new();
    for told in &report.told {
        if matches!(told.finding.status, Status::Warning | Status::Problem) {
            line(&mut text, told.title, &told.finding, paint);
        }
    }
    say(&format!(" {} {good} checks are good{}", paint.mark(Status::Ok), format!("\n{text}").trim_end()));
    if problems == 0 || init.yes {
        return Ok(report);
    }
    let stop = || Failure {
        code: TROUBLED,
        what: format!("{problems} of the checks found that it would not work; nothing was changed",),
        fix: "mend what is marked ✗ and run this again; or go on all the same: --yes".to_owned(),
    };
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(stop());
    }
    say("It will not work like this. Go on all the same? [y/N]");
    let mut answer = String::new();
    let _nothing_typed = std::io::stdin().lock().read_line(&mut answer);
    if answer.trim().eq_ignore_ascii_case("y") || answer.trim().eq_ignore_ascii_case("yes") {
        return Ok(report);
    }
    Err(stop())
}

// ------------------------------------------------------------------------------------------------------------- the start

/// What decides who starts the gateway.
#[derive(Clone, Copy)]
struct Situation {
    /// One runs on the data folder.
    running: bool,
    /// It is to be started.
    start: bool,
    /// systemd runs this machine, and has a unit for this configuration.
    unit: bool,
    /// This is root.
    root: bool,
}

/// Who starts the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// Nobody: it runs.
    Runs,
    /// systemd, now.
    Unit,
    /// systemd, when somebody tells it who may.
    Sudo,
    /// The person; until then only the certificate is seen to.
    Alone,
    /// The person, and nothing else is done.
    Nothing,
}

const fn decide(situation: &Situation) -> Start {
    match situation {
        Situation { running: true, .. } => Start::Runs,
        Situation { start: false, .. } => Start::Nothing,
        Situation { unit: true, root: true, .. } => Start::Unit,
        Situation { unit: true, root: false, .. } => Start::Sudo,
        Situation { unit: false, .. } => Start::Alone,
    }
}

/// The units that systemd has, where it runs (sd_booted(3)).
fn units() -> Vec<&'static str> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Vec::new();
    }
    let known = |unit: &&str| {
        let mut ask = Command::new("systemctl");
        ask.args(["cat", unit]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        ask.status().is_ok_and(|status| status.success())
    };
    if known(&"casement.service") {
        ["casement.socket", "casement.service"].into_iter().filter(known).collect()
    } else {
        Vec::new()
    }
}

async fn started(units: &[&'static str]) -> Done {
    let mut tell = Command::new("systemctl");
    tell.args(["enable", "--now"]).args(units).stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || tell.output());
    let fix = "its log says why: journalctl -u casement -n 50";
    match tokio::time::timeout(SYSTEMD_TIMEOUT, run).await {
        Ok(Ok(Ok(ran))) if ran.status.success() => Ok(()),
        Ok(Ok(Ok(ran))) => {
            let said = String::from_utf8_lossy(&ran.stderr);
            Err(Failure::new(format!("systemd could not start the unit: {}", said.trim()), fix))
        }
        Ok(Ok(Err(error))) => Err(Failure::new(format!("systemctl: {error}"), fix)),
        Ok(Err(error)) => Err(Failure::new(error, "report this")),
        Err(_) => Err(Failure::new("systemd takes too long to start the unit", fix)),
    }
}

// ------------------------------------------------------------------------------------------------------- the certificate

/// How it stands with the certificate.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// It is there.
    Done,
    /// Not yet; what is being done.
    Waits(String),
    /// An attempt failed: what, and the fix.
    Failed(String, String),
}

/// Judges by what is shown and what happened since an instant.
fn standing(view: &CertificateView, since_ms: i64) -> Standing {
    let Some(acme) = &view.acme else { return Standing::Done };
    if matches!(view.verdict, Verdict::Trusted | Verdict::Private) {
        return Standing::Done;
    }
    if let Some(running) = &acme.running {
        return Standing::Waits(running.step.clone());
    }
    match &acme.last_error {
        Some(error) if acme.last_attempt_ms.is_some_and(|at| at >= since_ms) => {
            Standing::Failed(format!("{} ({})", error.text, error.detail), error.fix.clone())
        }
        _ => Standing::Waits("waiting for the gateway to ask for a certificate".to_owned()),
    }
}

/// Waits until the running gateway has its certificate.
async fn awaited(config: &Config, since_ms: i64, seconds: u64) -> Result<CertificateView, Failure> {
    let bar = progress();
    let look = async {
        loop {
            // There is none in the first moment.
            if let Ok(view) = keeper::peek(config, clock::now_ms()).await {
                match standing(&view, since_ms) {
                    Standing::Done => return Ok(view),
                    Standing::Waits(step) => bar.set_message(step),
                    Standing::Failed(what, fix) => {
                        return Err(Failure::new(
                            format!("no certificate was issued: {what}"),
                            format!("{fix} The gateway runs and tries again by itself: casement cert status"),
                        ));
                    }
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(seconds), look).await;
    bar.finish_and_clear();
    found.unwrap_or_else(|_| {
        Err(Failure::new(
            format!("there is no certificate after {seconds} s"),
            "the gateway goes on trying; `casement cert status` tells how it goes, `casement doctor` what is in the way",
        ))
    })
}

/// Gets the certificate while no gateway runs, unless it is there.
async fn ordered(config: &Config) -> Result<Option<CertificateView>, Failure> {
    let peek = async || keeper::peek(config, clock::now_ms()).await.ok();
    if !matches!(config.tls.source, TlsSource::Acme(_)) {
        return Ok(peek().await);
    }
    let there = peek().await.filter(|view| standing(view, i64::MAX) == Standing::Done);
    if there.is_some() {
        return Ok(there);
    }
    disk::private_dir(&config.data_dir).map_err(|error| {
        Failure::new(
            format!("the data folder {} cannot be used: {error}", config.data_dir.display()),
            "choose another one: --data-dir FOLDER",
        )
    })?;
    let id = format!("init-{}-{}", std::process::id(), clock::now_ms());
    let attempt = cert::order_alone(config, Request { id, dry_run: false }).await?;
    if let renewal::Outcome::Failed(trouble) = attempt.outcome {
        let said = renewal::words::explain(&trouble);
        return Err(Failure::new(
            format!("no certificate was issued: {} ({})", said.text, trouble.detail),
            format!("{} Then run this again.", said.fix),
        ));
    }
    Ok(peek().await)
}

/// A link for the first administrator; `None` when somebody may administer already.
async fn first_link(config: &Config) -> Result<Option<Link>, Failure> {
    disk::private_dir(&config.data_dir).map_err(|error| Failure::from(anyhow::Error::new(error)))?;
    leave_a_way_back(config).await?;
    let store = store::open(&config.store_url, &config.data_dir).await?;
    let now_ms = clock::now_ms();
    let administered = store.tokens().await?.iter().any(|token| {
        token.scope == Scope::Admin
            && token.revoked_ms.is_none()
            && token.expires_ms.is_none_or(|end| end > now_ms)
    });
    let link = if administered { None } else { Some(Link::make(config, &*store).await?) };
    store.close().await;
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_started_by_whoever_can() {
        let situation = Situation { running: false, start: true, unit: true, root: true };
        for (situation, start) in [
            (situation, Start::Unit),
            (Situation { root: false, ..situation }, Start::Sudo),
            (Situation { unit: false, ..situation }, Start::Alone),
            (Situation { start: false, ..situation }, Start::Nothing),
            (Situation { running: true, start: false, ..situation }, Start::Runs),
        ] {
            assert_eq!(decide(&situation), start);
        }
    }
}
