//! `casement cert`: what is shown, another one now, one that is there already.

use super::{Context, Done, Failure, Json, list, out, say, watched};
use crate::answer::certificate::{CertificateView, span};
use crate::app::Door;
use crate::clock;
use crate::config::{Config, TlsSource};
use crate::disk::{self, Holder, Lock, LockError};
use crate::keeper::{self, REQUEST_FILE, Request};
use crate::renewal::{Attempt, Outcome, words};
use crate::tls::acme;
use crate::tls::pair::Pair;
use clap::{Args, Subcommand};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an order may take before the command gives up waiting: all of its own timeouts, and some.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often the command looks how an order goes.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Subcommand)]
pub(super) enum Cert {
    /// What is shown, what happened, what is next
    Status(#[command(flatten)] Json),
    /// Order a certificate now
    Renew(Renew),
    /// Take over a certificate that is there already, certbot's for example; it is renewed when it is due
    Import(Import),
}

#[derive(Args)]
pub(super) struct Renew {
    /// Rehearse: order from the staging directory of Let's Encrypt, or the configured one, and throw it away
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(super) struct Import {
    /// PEM chain, or the folder of a certbot lineage: /etc/letsencrypt/live/NAME
    path: PathBuf,
    /// PEM private key [default: privkey.pem beside the chain]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(super) async fn run(command: Cert, context: &Context) -> Done {
    let config = context.config()?;
    match command {
        Cert::Status(Json { json }) => status(&config, json).await,
        Cert::Renew(Renew { dry_run }) => renew(&config, dry_run).await,
        Cert::Import(import) => take(&config, &import),
    }
}

async fn status(config: &Config, json: bool) -> Done {
    let view = keeper::peek(config, clock::now_ms()).await.map_err(|error| {
        Failure::new(error, "start the gateway once: it makes a certificate; or run this as its user")
    })?;
    if json {
        let text = serde_json::to_string_pretty(&view).map_err(|error| Failure::new(error, "report this"))?;
        return out(&format!("{text}\n"));
    }
    out(&told(&view))
}

/// The state for people: the first line answers the question.
fn told(view: &CertificateView) -> String {
    let mut text = format!("{}\n\n", view.headline);
    for (name, value) in view.rows() {
        let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        text.push_str(&format!("{name:<13} {value}\n"));
    }
    if let Some(acme) = view.acme.as_ref().filter(|acme| !acme.attempts.is_empty()) {
        let rows = acme.attempts.iter().map(|attempt| {
            vec![
                attempt.at.clone(),
                format!("{:.1} s", attempt.took_ms as f64 / 1000.0),
                attempt.challenge.clone(),
                if attempt.dry_run { "rehearsal" } else { "" }.to_owned(),
                attempt.text.clone(),
            ]
        });
        text.push('\n');
        text.push_str(&list::table(&["WHEN", "TOOK", "CHALLENGE", "", "RESULT"], rows.collect()));
    }
    text
}

async fn renew(config: &Config, dry_run: bool) -> Done {
    if !matches!(config.tls.source, TlsSource::Acme(_)) {
        return Err(Failure::new(
            "tls.source is not \"acme\": there is no authority to ask",
            "set tls.source = \"acme\", or renew the files where they come from",
        ));
    }
    let request = Request { id: format!("cli-{}-{}", std::process::id(), clock::now_ms()), dry_run };
    disk::private_dir(&config.data_dir).map_err(|error| unusable(&config.data_dir, &error))?;
    let attempt = match Lock::take(&config.lock_file()) {
        Err(LockError::Held(holder)) => through_gateway(config, &request, holder.as_ref()).await?,
        Ok(lock) => alone(config, request, lock).await?,
        Err(LockError::Unusable(error)) => return Err(unusable(&config.lock_file(), &error)),
    };
    match attempt.outcome {
        Outcome::Issued { until_ms } if dry_run => {
            let took = attempt.took_ms as f64 / 1000.0;
            say(&format!(
                "{} → valid in {took:.1} s, good for {}. Nothing was changed; renewal would succeed.",
                attempt.challenge.name(),
                span(until_ms - clock::now_ms())
            ));
            Ok(())
        }
        Outcome::Issued { until_ms } => {
            say(&format!(
                "A certificate for {} was issued; it ends in {}.",
                attempt.names.join(", "),
                span(until_ms - clock::now_ms())
            ));
            Ok(())
        }
        Outcome::Failed(trouble) => {
            let said = words::explain(&trouble);
            Err(Failure::new(format!("{}\n{}: {}", said.text, trouble.problem, trouble.detail), said.fix))
        }
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        format!("{} cannot be used: {error}", path.display()),
        "set data_dir, or run this as the gateway's user",
    )
}

/// Asks the running gateway: it has the ports. A file says what, a signal that there is something.
async fn through_gateway(
    config: &Config,
    request: &Request,
    holder: Option<&Holder>,
) -> Result<Attempt, Failure> {
    let pid = gateway(holder)?;
    let file = config.acme_dir().join(REQUEST_FILE);
    let json = serde_json::to_vec(request).map_err(|error| Failure::new(error, "report this"))?;
    disk::private_dir(&config.acme_dir())
        .and_then(|()| disk::write_private(&file, &json))
        .map_err(|error| unusable(&file, &error))?;
    signal(pid)?;
    say(&format!("The running gateway (process {}) does it.", pid.as_raw_nonzero()));
    followed(config, request, || !Lock::is_held(&config.lock_file())).await
}

fn gateway(holder: Option<&Holder>) -> Result<Pid, Failure> {
    let pid = holder.and_then(|holder| i32::try_from(holder.pid).ok()).and_then(Pid::from_raw);
    pid.ok_or_else(|| {
        Failure::new(
            "a gateway holds the data folder, but does not say which process it is",
            "try again in a second",
        )
    })
}

fn signal(pid: Pid) -> Done {
    kill_process(pid, Signal::HUP).map_err(|error| {
        Failure::new(
            format!("the running gateway (process {}) cannot be told: {error}", pid.as_raw_nonzero()),
            "run this as its user, or with sudo",
        )
    })
}

/// Waits for the attempt, and tells how it goes.
async fn followed(config: &Config, request: &Request, gone: impl Fn() -> bool) -> Result<Attempt, Failure> {
    let mut last_step = String::new();
    let follow = async {
        loop {
            let memory = acme::memory(&config.acme_dir()).unwrap_or_default();
            if let Some(attempt) =
                memory.attempts.iter().find(|attempt| attempt.request.as_ref() == Some(&request.id))
            {
                return Ok(attempt.clone());
            }
            if let Some((_, text)) = memory.declined.as_ref().filter(|(id, _)| *id == request.id) {
                return Err(Failure::new(
                    format!("no certificate was ordered: {text}"),
                    "wait, or mend what the last attempts failed of: `casement cert status`",
                ));
            }
            if let Some(running) = memory.running.filter(|running| running.step != last_step) {
                say(&format!("  {} …", running.step));
                last_step = running.step;
            }
            if gone() {
                return Err(Failure::new(
                    "the gateway ended meanwhile",
                    "look at its log, start it and try again",
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, follow).await.unwrap_or_else(|_| {
        Err(Failure::new("the order takes too long", "`casement cert status` tells how it goes"))
    })
}

/// Orders a certificate while no gateway runs.
pub(super) async fn order_alone(config: &Config, request: Request) -> Result<Attempt, Failure> {
    match Lock::take(&config.lock_file()) {
        Ok(lock) => alone(config, request, lock).await,
        Err(LockError::Held(_)) => Err(Failure::new(
            "a gateway has been started meanwhile",
            "it orders the certificate itself: casement cert status",
        )),
        Err(LockError::Unusable(error)) => Err(unusable(&config.lock_file(), &error)),
    }
}

/// Nobody runs: this process opens the door just for the authority.
async fn alone(config: &Config, request: Request, lock: Lock) -> Result<Attempt, Failure> {
    let door = Door::open(config, lock).await?;
    door.keeper.ask(request.clone()).map_err(|error| Failure::new(error, "set tls.source = \"acme\""))?;
    let attempt = followed(config, &request, || false).await;
    door.close().await;
    attempt
}

fn take(config: &Config, import: &Import) -> Done {
    if !matches!(config.tls.source, TlsSource::Acme(_)) {
        return Err(Failure::new(
            "tls.source is not \"acme\": an imported certificate would not be renewed",
            format!(
                "set tls.source = \"acme\"; or tls.source = \"files\" with tls.files.cert = {:?}",
                import.path
            ),
        ));
    }
    let beside = || match import.path.is_dir() {
        true => PathBuf::new(),
        false => import.path.with_file_name("privkey.pem"),
    };
    let key = import.key.clone().unwrap_or_else(beside);
    let (cert_file, key_file) = crate::tls::pair::lineage(&import.path, &key);
    let pair = Pair::from_files(&cert_file, &key_file).map_err(|error| {
        Failure::new(error, "give a PEM chain and its key: casement cert import CHAIN --key KEY")
    })?;
    let now_ms = clock::now_ms();
    if !pair.facts.is_in_date(now_ms) {
        return Err(Failure::new(
            format!("the certificate in {} is not in date", cert_file.display()),
            "nothing was changed; let Casement order one: casement cert renew",
        ));
    }
    let names = &config.tls.names;
    if !names.is_empty() && pair.facts.missing(names).len() == names.len() {
        return Err(Failure::new(
            format!(
                "the certificate in {} is for {}, none of tls.names",
                cert_file.display(),
                pair.facts.names.join(", ")
            ),
            "nothing was changed; name the right one, or change tls.names",
        ));
    }
    for doubt in keeper::doubts(&pair, &config.tls.names, now_ms).iter().chain(&pair.oddities) {
        say(&format!("warning: {doubt}"));
    }
    let read = |file: &Path| std::fs::read_to_string(file).map_err(|error| unusable(file, &error));
    let chain = read(&cert_file)?;
    let bundle =
        if cert_file == key_file { chain } else { format!("{}\n{chain}", read(&key_file)?.trim_end()) };
    let target = keeper::bundle(config);
    disk::private_dir(&config.data_dir)
        .and_then(|()| disk::private_dir(&config.certs_dir()))
        .and_then(|()| disk::write_private(&target, bundle.as_bytes()))
        .map_err(|error| unusable(&target, &error))?;
    let lock = config.lock_file();
    let shown = if Lock::is_held(&lock) {
        signal(gateway(Lock::holder(&lock).as_ref())?)?;
        "the running gateway shows it"
    } else {
        "the gateway shows it from its next start on"
    };
    if watched() || !pair.facts.names.is_empty() {
        say(&format!(
            "{} is kept as {}; {shown}. It ends in {} and is renewed when it is due.",
            pair.facts.names.join(", "),
            target.display(),
            span(pair.facts.not_after_ms - now_ms)
        ));
    }
    Ok(())
}
