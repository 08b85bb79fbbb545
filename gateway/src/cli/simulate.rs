//! `casement simulate`: virtual devices, the firmware core on this machine.

use super::{Context, Done, Failure, device, say};
use crate::clock;
use crate::reading::Device;
use crate::simulate::{self, Fleet, RoomKind, Totals, Virtual};
use crate::store::{Store, StoreError};
use crate::tls::self_signed;
use casement_proto::DeviceId;
use clap::Args;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Most devices in one fleet; each takes some 250 kB.
const DEVICES_MAX: u32 = 2_000;

#[derive(Args)]
pub(super) struct Simulate {
    /// The gateway, for example https://air.example.org
    #[arg(long)]
    url: String,
    /// File with one device token a line; one device each
    #[arg(long, value_name = "FILE", required_unless_present = "devices")]
    token_file: Option<PathBuf>,
    /// PEM certificate to trust [default: the system's, and the self-signed one in data_dir with --devices]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Register so many devices, sim-1 to sim-N, in the local store and run them
    #[arg(long, value_name = "N", conflicts_with = "token_file", value_parser = clap::value_parser!(u32).range(1..=i64::from(DEVICES_MAX)))]
    devices: Option<u32>,
    /// Milliseconds between readings
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1_000..=3_600_000))]
    period_ms: u64,
    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// How much faster than the clock the rooms live
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// What every room is: classroom, office, bedroom or meeting [default: a mixture]
    #[arg(long, value_parser = kind)]
    kind: Option<RoomKind>,
    /// Let Wi-Fi fail now and then
    #[arg(long)]
    outages: bool,
}

fn kind(text: &str) -> Result<RoomKind, String> {
    RoomKind::parse(text).ok_or_else(|| format!("use {}", RoomKind::ALL.map(RoomKind::as_str).join(", ")))
}

pub(super) fn speed(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|speed| (0.1..=10_000.0).contains(speed))
        .ok_or_else(|| "use a number from 0.1 to 10000".to_owned())
}

pub(super) async fn run(command: Simulate, context: &Context) -> Done {
    let mut roots = system_roots();
    if let Some(ca) = &command.ca {
        trust(&mut roots, ca)?;
    }
    let tokens = match (&command.token_file, command.devices) {
        (Some(file), _) => tokens_of(file)?,
        (None, count) => {
            let (config, store) = context.store().await?;
            if command.ca.is_none() {
                let own = self_signed::certificate(&config.certs_dir());
                if own.exists() {
                    trust(&mut roots, &own)?;
                }
            }
            let tokens = register(&*store, count.unwrap_or(1)).await?;
            store.close().await;
            tokens
        }
    };
    let mut devices = virtuals(tokens, false);
    if let Some(kind) = command.kind {
        devices.iter_mut().for_each(|device| device.kind = kind);
    }
    let fleet = Fleet {
        url: command.url,
        roots: Arc::new(roots),
        devices,
        speed: command.speed,
        period_ms: command.period_ms,
        backfill: Duration::ZERO,
        outages: command.outages,
        duration: command.duration.map(Duration::from_secs),
    };
    let shutdown = CancellationToken::new();
    let interrupted = shutdown.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel();
        }
    });
    let totals = simulate::run(fleet, clock::now_ms, shutdown, |_: &Totals| {}).await.map_err(|error| {
        Failure::usage(format!("{:#}", anyhow::Error::new(error)), "for example --url https://127.0.0.1:8443")
    })?;
    say(&format!(
        "{} stored, {} duplicate, {} rejected, {} uploads failed, {} dropped, {} still queued",
        totals.stored,
        totals.duplicate,
        totals.rejected,
        totals.failed_uploads,
        totals.dropped,
        totals.queued
    ));
    if totals.stored == 0 && totals.failed_uploads > 0 {
        return Err(Failure::new(
            "nothing reached the gateway",
            "is the URL right, is the token alive, and is its certificate trusted (--ca FILE)?",
        ));
    }
    Ok(())
}

/// Rooms of the demo, and what kind of room each is.
const ROOMS: &[(&str, RoomKind)] = &[
    ("Room 101", RoomKind::Classroom),
    ("Library", RoomKind::Office),
    ("Meeting room", RoomKind::Meeting),
    ("Bedroom", RoomKind::Bedroom),
];

/// Registers simulated devices and gives their tokens; those of an earlier run end.
pub(super) async fn register(store: &dyn Store, count: u32) -> Result<Vec<String>, Failure> {
    let mut tokens = Vec::new();
    for index in 0..count {
        let (room, _) = room(index);
        let id = DeviceId::parse(&format!("sim-{}", index + 1))
            .ok_or_else(|| Failure::new("the simulated device has a bad name", "report this"))?;
        let device =
            Device { id, room: Some(room), name: None, simulated: true, created_ms: clock::now_ms() };
        match store.add_device(&device).await {
            Ok(()) | Err(StoreError::Exists(_)) => {}
            Err(error) => return Err(error.into()),
        }
        device::revoke(store, id).await?;
        tokens.push(device::issue(store, id).await?.reveal().to_owned());
    }
    Ok(tokens)
}

fn room(index: u32) -> (String, RoomKind) {
    let at = usize::try_from(index).unwrap_or(0);
    let (name, kind) = ROOMS.get(at % ROOMS.len()).copied().unwrap_or(("Room", RoomKind::Office));
    match at / ROOMS.len() {
        0 => (name.to_owned(), kind),
        floor => (format!("{name} {}", floor + 1), kind),
    }
}

/// Virtual devices for tokens. With `estimates` the fourth is of the kind that only guesses CO2 from gases.
pub(super) fn virtuals(tokens: Vec<String>, estimates: bool) -> Vec<Virtual> {
    // Seconds since 1970: a fleet that starts again never reuses a boot number.
    let boot = clock::now_ms().unsigned_abs() / 1000;
    tokens
        .into_iter()
        .zip(0u32..)
        .map(|(token, index)| Virtual {
            token,
            kind: room(index).1,
            seed: u64::from(index) + 1,
            boot,
            estimated: estimates && index % 4 == 3,
        })
        .collect()
}

fn tokens_of(file: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::new(
            format!("{} cannot be read: {error}", file.display()),
            "check the path and its permissions",
        )
    })?;
    let tokens: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if tokens.is_empty() || tokens.len() > DEVICES_MAX as usize {
        return Err(Failure::usage(
            format!("{} holds {} tokens", file.display(), tokens.len()),
            format!("put 1 to {DEVICES_MAX} device tokens into it, one a line"),
        ));
    }
    Ok(tokens)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    roots
}

/// Trusts the certificates in a PEM file.
pub(super) fn trust(roots: &mut RootCertStore, file: &Path) -> Done {
    let bad = |why: String| {
        Failure::usage(format!("{}: {why}", file.display()), "--ca needs a readable PEM certificate")
    };
    let bytes = std::fs::read(file).map_err(|error| bad(error.to_string()))?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        count += 1;
    }
    if count == 0 { Err(bad("holds no certificate".to_owned())) } else { Ok(()) }
}
