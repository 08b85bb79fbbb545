//! `casement device`: who may send readings.

use super::{Context, Done, Failure, Json, list, out, secret};
use crate::access;
use crate::answer::{self, HealthView};
use crate::clock;
use crate::guard::{self, Secret};
use crate::provision::label;
use crate::reading::{Device as Registered, Start};
use crate::store::{Scope, Store, StoreError};
use crate::telemetry::condition::rank;
use crate::telemetry::time;
use crate::updates;
use casement_proto::DeviceId;
use clap::Subcommand;
use serde_json::json;

#[derive(Subcommand)]
pub(super) enum Device {
    /// Register a device and print its token
    Add {
        /// Its name: letters, digits, . _ : -
        #[arg(value_parser = device_id)]
        id: DeviceId,
        /// The room it hangs in
        #[arg(long, value_parser = label)]
        room: Option<String>,
        /// A name for people
        #[arg(long, value_parser = label)]
        name: Option<String>,
    },
    /// List all devices
    List(#[command(flatten)] Json),
    /// Show one device
    Show {
        #[arg(value_parser = device_id)]
        id: DeviceId,
        #[command(flatten)]
        json: Json,
    },
    /// Give a device a new token; the old one ends at once
    Rotate {
        #[arg(value_parser = device_id)]
        id: DeviceId,
    },
    /// Write settings to flash onto a device: gateway, a new token, Wi-Fi
    Image(Box<super::image::Image>),
    /// End a device's token; its readings stay
    Revoke {
        #[arg(value_parser = device_id)]
        id: DeviceId,
    },
}

pub(super) fn device_id(text: &str) -> Result<DeviceId, String> {
    DeviceId::parse(text).ok_or_else(|| {
        "a device is named by 1 to 64 letters, digits, . _ : - and begins with a letter or digit".to_owned()
    })
}

pub(super) async fn run(command: Device, context: &Context) -> Done {
    if let Device::Image(image) = command {
        return super::image::run(*image, context).await;
    }
    let (config, store) = context.store().await?;
    match command {
        Device::Add { id, room, name } => {
            let device = Registered { id, room, name, simulated: false, created_ms: clock::now_ms() };
            store.add_device(&device).await.map_err(|error| match error {
                StoreError::Exists(_) => Failure::new(
                    format!("device {id} exists already"),
                    format!("`casement device rotate {id}` gives it a new token"),
                ),
                other => other.into(),
            })?;
            let token = issue(&*store, id).await?;
            secret(&token, &format!("Put this token into {id}; it is shown this once:"))?;
        }
        Device::List(Json { json }) => {
            let rows = rows(&*store).await?;
            if json {
                let devices: Vec<_> = rows.iter().map(Row::json).collect();
                out(&format!("{:#}\n", json!({ "devices": devices })))?;
            } else {
                let cells = rows.iter().map(Row::cells).collect();
                out(&list::table(&["DEVICE", "ROOM", "NAME", "LAST", "AGE", "TOKEN"], cells))?;
            }
        }
        Device::Show { id, json: Json { json } } => {
            let rows = rows(&*store).await?;
            let row = rows.iter().find(|row| row.device.id == id).ok_or_else(|| missing(id))?;
            let ledger = store.ledger(&id).await?;
            let reports = updates::reports(&config.data_dir).map_err(|error| {
                Failure::new(format!("device-health.json: {error}"), "remove it; devices report again")
            })?;
            let said = reports.get(&id).map(|report| answer::health(report.clone(), clock::now_ms()));
            if json {
                let mut shown = row.json();
                shown["ledger"] =
                    serde_json::to_value(answer::ledger(&id, &ledger)).map_err(anyhow::Error::new)?;
                shown["health"] = serde_json::to_value(&said).map_err(anyhow::Error::new)?;
                out(&format!("{shown:#}\n"))?;
            } else {
                out(&list::table(&["DEVICE", "ROOM", "NAME", "LAST", "AGE", "TOKEN"], vec![row.cells()]))?;
                out(&arrived(&ledger))?;
                out(&said.as_ref().map_or_else(String::new, health))?;
            }
        }
        Device::Rotate { id } => {
            known(&*store, id).await?;
            revoke(&*store, id).await?;
            let token = issue(&*store, id).await?;
            secret(
                &token,
                &format!("Put this token into {id}; it is shown this once, and the old one has ended:"),
            )?;
        }
        Device::Image(_) => {}
        Device::Revoke { id } => {
            known(&*store, id).await?;
            if revoke(&*store, id).await? == 0 {
                return Err(Failure::new(
                    format!("device {id} has no token"),
                    format!("`casement device rotate {id}` makes one"),
                ));
            }
        }
    }
    store.close().await;
    Ok(())
}

/// How a device said it was.
fn health(said: &HealthView) -> String {
    let rows = said.facts().into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    format!("\n{}", list::table(&["HEALTH", ""], rows))
}

/// Starts of a device that are told one by one.
const STARTS_TOLD: usize = 10;

/// What has arrived, by the device's own numbers; nothing when it does not number its readings.
fn arrived(starts: &[Start]) -> String {
    if starts.is_empty() {
        return String::new();
    }
    let seen: u64 = starts.iter().map(|start| start.seen).sum();
    let missing: u64 = starts.iter().map(Start::missing).sum();
    let mut text = format!("\n{missing} missing of {} numbered readings\n", seen + missing);
    let rows = starts.iter().rev().take(STARTS_TOLD).map(|start| {
        let holes: Vec<String> =
            start.holes.iter().take(3).map(|(first, last)| format!("{first}–{last}")).collect();
        vec![
            start.boot.to_string(),
            format!("{}–{}", start.first, start.last),
            start.seen.to_string(),
            start.missing().to_string(),
            if start.holes.len() > holes.len() {
                format!("{} …", holes.join(", "))
            } else {
                holes.join(", ")
            },
        ]
    });
    text.push_str(&list::table(&["BOOT", "NUMBERS", "ARRIVED", "MISSING", "WHICH"], rows.collect()));
    text
}

fn missing(id: DeviceId) -> Failure {
    Failure::new(format!("there is no device {id}"), "`casement device list` shows all")
}

pub(super) async fn known(store: &dyn Store, id: DeviceId) -> Done {
    let known = store.devices().await?.iter().any(|device| device.id == id);
    if known { Ok(()) } else { Err(missing(id)) }
}

/// Makes a device's token.
pub(super) async fn issue(store: &dyn Store, id: DeviceId) -> Result<Secret, Failure> {
    Ok(access::device_token(store, id, clock::now_ms()).await?)
}

/// Ends the tokens that a device had before this one.
pub(super) async fn revoke_others(store: &dyn Store, id: DeviceId, token: &Secret) -> Done {
    let kept = guard::hash(token.reveal());
    for token in store.tokens().await? {
        if token.scope == Scope::Device(id) && token.revoked_ms.is_none() && token.hash != kept {
            store.revoke_token(token.id, clock::now_ms()).await?;
        }
    }
    Ok(())
}

/// Ends one token.
pub(super) async fn revoke_one(store: &dyn Store, token: &Secret) -> Done {
    if let Some(token) = store.token(&guard::hash(token.reveal())).await? {
        store.revoke_token(token.id, clock::now_ms()).await?;
    }
    Ok(())
}

/// Ends every token of a device; gives how many there were.
pub(super) async fn revoke(store: &dyn Store, id: DeviceId) -> Result<usize, Failure> {
    let mut ended = 0;
    for token in store.tokens().await? {
        if token.scope == Scope::Device(id) && token.revoked_ms.is_none() {
            ended += usize::from(store.revoke_token(token.id, clock::now_ms()).await?);
        }
    }
    Ok(ended)
}

struct Row {
    device: Registered,
    last: Option<(i64, String)>,
    hint: Option<String>,
}

async fn rows(store: &dyn Store) -> Result<Vec<Row>, Failure> {
    let latest = store.latest().await?;
    let tokens = store.tokens().await?;
    let rows = store.devices().await?.into_iter().map(|device| Row {
        last: latest.iter().find(|reading| reading.device == device.id).map(|reading| {
            let mut values = reading.values.clone();
            values.sort_by_key(|(quantity, _)| rank(quantity));
            let values: Vec<String> =
                values.iter().take(3).map(|(q, v)| format!("{} {v}", q.name())).collect();
            (reading.t_ms, values.join(", "))
        }),
        hint: tokens
            .iter()
            .find(|token| token.scope == Scope::Device(device.id) && token.revoked_ms.is_none())
            .map(|token| token.hint.clone()),
        device,
    });
    Ok(rows.collect())
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let dash = || "–".to_owned();
        vec![
            self.device.id.to_string(),
            self.device.room.clone().unwrap_or_else(dash),
            self.device.name.clone().unwrap_or_else(dash),
            self.last.as_ref().map_or_else(dash, |(_, values)| values.clone()),
            self.last.as_ref().map_or_else(dash, |(t_ms, _)| time::age(clock::now_ms() - t_ms)),
            self.hint.as_ref().map_or_else(dash, |hint| format!("{hint}…")),
        ]
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "id": self.device.id.as_str(),
            "room": self.device.room,
            "name": self.device.name,
            "simulated": self.device.simulated,
            "created": time::rfc3339(self.device.created_ms),
            "last": self.last.as_ref().map(|(t_ms, _)| time::rfc3339(*t_ms)),
            "token": self.hint,
        })
    }
}
