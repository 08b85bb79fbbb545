//! The gateway as people, devices and scripts meet it. One file per story; each starts the real binary and drives it
//! through the contract alone.
#![allow(clippy::disallowed_methods, reason = "a driver at the edge: it times the program from outside")]

mod backup;
mod backup_routine;
mod bench;
mod certificate;
mod certificate_files;
mod certificate_hostile;
mod claim;
mod cli;
mod doctor;
mod durability;
mod first_run;
mod flash;
mod full_disk;
mod ingest;
mod init;
mod load;
mod memory_and_start;
mod move_host;
mod postgres;
mod read_only;
mod reading;
mod real_input;
mod release;
mod scan;
mod simulate;
mod sockets;
mod statistics;
mod storm;
mod stream;
mod unfriendly;

use anyhow::Result;
use harness::{Client, Gateway, Home};
use serde_json::Value;

/// The usual stage: a gateway that everybody may read, one device, and the means to speak for both.
struct Stage {
    home: Home,
    gateway: Gateway,
    /// Nobody in particular.
    reader: Client,
    /// The device `desk` in the room `Study`.
    device: Client,
    token: String,
}

impl Stage {
    async fn set() -> Result<Self> {
        let home = Home::public()?;
        let gateway = home.serve().await?;
        let token = home.add_device("desk", "Study").await?;
        let reader = gateway.client()?;
        let device = reader.with_token(&token);
        Ok(Self { home, gateway, reader, device, token })
    }

    /// Ends the gateway politely, which also checks that it never panicked.
    async fn strike(self) -> Result<()> {
        let ended = self.gateway.terminate().await?;
        anyhow::ensure!(ended.code == Some(0), "{ended:?}");
        Ok(())
    }
}

/// How many readings an acknowledgement says were stored, known before, and refused.
fn ack(answer: &Value) -> (u64, u64, usize) {
    let count = |field: &str| answer[field].as_u64().unwrap_or(u64::MAX);
    (count("stored"), count("duplicate"), answer["rejected"].as_array().map_or(usize::MAX, Vec::len))
}

/// The rows of a listing, whether it is a list or an object that holds one.
fn rows(listing: &Value) -> &[Value] {
    let held = || listing.as_object().and_then(|object| object.values().find_map(Value::as_array));
    listing.as_array().or_else(held).map_or(&[], Vec::as_slice)
}
