//! `casement serve` and `casement demo`: the gateway in the foreground.

use super::{Context, Done, Failure, out, say, simulate, watched};
use crate::app::{Addresses, App};
use crate::clock;
use crate::config::{Config, Loaded, Sources};
use crate::edge::Passed;
use crate::simulate::{Fleet, Totals};
use crate::tls::self_signed;
use clap::Args;
use rustls::RootCertStore;
use sd_notify::NotifyState;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The whole process ends this long after it was told to, whatever still runs.
const STOP: Duration = Duration::from_secs(18);

/// How much history the demo's rooms have.
const DEMO_HISTORY: Duration = Duration::from_secs(24 * 3600);

#[derive(Args)]
pub(super) struct Demo {
    /// Simulated rooms
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=200))]
    rooms: u32,
    /// How much faster than the clock the rooms live
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = simulate::speed)]
    speed: f64,
}

pub(super) async fn serve(passed: Passed, context: &Context) -> Done {
    let Loaded { config, warnings, .. } = context.load()?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let shutdown = CancellationToken::new();
    let app = App::build(config, passed, shutdown.clone()).await?;
    foreground(app, context.sources.clone(), shutdown).await
}

pub(super) async fn demo(demo: Demo, context: &Context) -> Done {
    // The demo is for the person at the keyboard: a server's own configuration is not its business.
    let context = &Context { sources: Sources { without_system_file: true, ..context.sources.clone() } };
    let mut config = context.config()?;
    config.dashboard_public = true;
    config.backups.every_ms = None;
    let shutdown = CancellationToken::new();
    let app = App::build(config.clone(), Passed::default(), shutdown.clone()).await?;
    let addresses = app.addresses();
    let address = *addresses
        .https
        .first()
        .ok_or_else(|| Failure::new("there is no HTTPS listener", "give listen.https an address"))?;
    let url = format!("https://{}", reachable(address));
    let fleet = fleet(&demo, &config, &url).await?;
    say(&format!(
        "\n  {url}/\n\n  {} simulated rooms. The browser will warn: this certificate is the gateway's own.\n  Data is in {}. Ctrl-C ends it.\n",
        demo.rooms,
        config.data_dir.display()
    ));
    let rooms = tokio::spawn(crate::simulate::run(fleet, clock::now_ms, shutdown.clone(), |_: &Totals| {}));
    let mut sources = context.sources.clone();
    // The demo stays public whatever a reload finds.
    sources.environment.push(("CASEMENT_ACCESS__DASHBOARD".to_owned(), "public".to_owned()));
    let done = foreground(app, sources, shutdown.clone()).await;
    shutdown.cancel();
    if let Ok(Err(error)) = rooms.await {
        return Err(Failure::new(error, "report this"));
    }
    done
}

/// The simulated rooms, which trust the certificate that the gateway has made.
async fn fleet(demo: &Demo, config: &Config, url: &str) -> Result<Fleet, Failure> {
    let mut roots = RootCertStore::empty();
    simulate::trust(&mut roots, &self_signed::certificate(&config.certs_dir()))?;
    let store = crate::store::open(&config.store_url, &config.data_dir).await?;
    let tokens = simulate::register(&*store, demo.rooms).await?;
    // A demo that runs again goes on where it was.
    let newest = store.latest().await?.iter().map(|reading| reading.t_ms).max();
    store.close().await;
    let backfill = match newest {
        Some(t_ms) => {
            Duration::from_millis(clock::now_ms().saturating_sub(t_ms).unsigned_abs()).min(DEMO_HISTORY)
        }
        None => DEMO_HISTORY,
    };
    Ok(Fleet {
        url: url.to_owned(),
        roots: Arc::new(roots),
        devices: simulate::virtuals(tokens, true),
        speed: demo.speed,
        period_ms: 2_000,
        backfill,
        outages: false,
        duration: None,
    })
}

/// An address that a client on this machine can connect to and that the certificate names.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        return SocketAddr::from(([127, 0, 0, 1], address.port()));
    }
    address
}

/// Runs the gateway until a signal ends it.
async fn foreground(app: App, sources: Sources, shutdown: CancellationToken) -> Done {
    let failed =
        |error: std::io::Error| Failure::new(error, "the system does not let this process hear signals");
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    let addresses = app.addresses();
    let reloader = app.reloader(sources);
    let mut running = tokio::spawn(app.run());
    ready(&addresses)?;
    tell_systemd(&[NotifyState::Ready]);
    // Half the time that systemd allows between two signs of life.
    let mut pulse = sd_notify::watchdog_enabled().map(|limit| tokio::time::interval(limit / 2));
    loop {
        tokio::select! {
            ended = &mut running => return finished(ended),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                if let Ok(now) = NotifyState::monotonic_usec_now() {
                    tell_systemd(&[NotifyState::Reloading, now]);
                }
                reloader.reload();
                tell_systemd(&[NotifyState::Ready]);
            }
            () = tick(&mut pulse) => tell_systemd(&[NotifyState::Watchdog]),
        }
    }
    tracing::info!("stopping: finishing what is running");
    tell_systemd(&[NotifyState::Stopping]);
    drop(reloader);
    shutdown.cancel();
    tokio::select! {
        ended = &mut running => finished(ended),
        _ = interrupt.recv() => Err(Failure::new("stopped at once", "what was acknowledged is stored")),
        () = tokio::time::sleep(STOP) => {
            tracing::warn!("not everything finished in time");
            Ok(())
        }
    }
}

async fn tick(pulse: &mut Option<tokio::time::Interval>) {
    match pulse {
        Some(pulse) => drop(pulse.tick().await),
        None => std::future::pending().await,
    }
}

fn finished(ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> Done {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(panic) => Err(Failure::new(panic, "report this; what was acknowledged is stored")),
    }
}

/// The one line on stdout: everything listens.
fn ready(addresses: &Addresses) -> Done {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        https: &'a [SocketAddr],
        http: &'a [SocketAddr],
        mqtts: [SocketAddr; 0],
        pid: u32,
    }
    let line = Line { https: &addresses.https, http: &addresses.http, mqtts: [], pid: std::process::id() };
    let line = serde_json::to_string(&line).map_err(|error| Failure::new(error, "report this"))?;
    if watched() {
        tracing::info!(https = ?addresses.https, http = ?addresses.http, "ready");
    }
    out(&format!("ready {line}\n"))
}

fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
