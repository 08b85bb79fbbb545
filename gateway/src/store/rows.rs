//! What both databases give as rows, read once for both: columns as plain tuples in, the store's types out.

use super::chunked::shelf::{DeviceRow, NamesKey};
use super::{Scope, Token};
use crate::reading::Device;
use casement_proto::DeviceId;

/// Columns of a device, as the engine knows it: number, name, sealed, newest_ms.
pub(super) type EngineColumns = (i64, String, i64, Option<i64>);

/// Columns of a device, as people know it: name, room, display name, simulated, created_ms.
pub(super) type DeviceColumns = (String, Option<String>, Option<String>, bool, i64);

/// Columns of a block of the ledger: device, boot, block, data.
pub(super) type NamesColumns = (i64, i64, i64, Vec<u8>);

/// Columns of a token, in the order of [`TOKENS`].
pub(super) type TokenColumns = (
    i64,
    Vec<u8>,
    String,
    String,
    Option<String>,
    Option<i64>,
    Option<String>,
    i64,
    Option<i64>,
    Option<i64>,
);

/// Selects [`TokenColumns`]; a `WHERE` may follow.
pub(super) const TOKENS: &str =
    "SELECT t.id, t.hash, t.hint, t.scope, d.uid, t.parent, t.name, t.created_ms, t.expires_ms, t.revoked_ms
    FROM token t LEFT JOIN device d ON d.id = t.device ";

fn device_id(text: &str) -> Result<DeviceId, sqlx::Error> {
    DeviceId::parse(text).ok_or_else(|| sqlx::Error::Decode(format!("bad device name {text:?}").into()))
}

/// A device as the engine knows it.
pub(super) fn device_row((device, id, sealed, newest_ms): EngineColumns) -> Result<DeviceRow, sqlx::Error> {
    Ok(DeviceRow { device, id: device_id(&id)?, sealed, newest_ms })
}

/// A device as people know it.
pub(super) fn device((id, room, name, simulated, created_ms): DeviceColumns) -> Result<Device, sqlx::Error> {
    Ok(Device { id: device_id(&id)?, room, name, simulated, created_ms })
}

/// A block of the ledger.
pub(super) fn names_row((device, boot, block, data): NamesColumns) -> (NamesKey, Vec<u8>) {
    ((device, unsigned(boot), unsigned(block)), data)
}

/// A scope as columns: its name, the device's name, and the number of the token that a session came from.
pub(super) fn scope_columns(scope: &Scope) -> (&'static str, Option<&str>, Option<i64>) {
    match scope {
        Scope::Device(device) => ("device", Some(device.as_str()), None),
        Scope::Read => ("read", None, None),
        Scope::Admin => ("admin", None, None),
        Scope::Session { parent, admin: false } => ("session", None, Some(*parent)),
        Scope::Session { parent, admin: true } => ("session-admin", None, Some(*parent)),
        Scope::Claim => ("claim", None, None),
    }
}

/// A token.
pub(super) fn token(columns: TokenColumns) -> Result<Token, sqlx::Error> {
    let (id, hash, hint, scope, device, parent, name, created_ms, expires_ms, revoked_ms) = columns;
    let bad = |what: &str| sqlx::Error::Decode(format!("token {id} with a bad {what}").into());
    let session = |admin| parent.map(|parent| Scope::Session { parent, admin });
    let scope = match scope.as_str() {
        "device" => device.map(|device| device_id(&device).map(Scope::Device)).transpose()?,
        "read" => Some(Scope::Read),
        "admin" => Some(Scope::Admin),
        "session" => session(false),
        "session-admin" => session(true),
        "claim" => Some(Scope::Claim),
        _ => None,
    };
    Ok(Token {
        id,
        hash: hash.try_into().map_err(|_| bad("hash"))?,
        hint,
        scope: scope.ok_or_else(|| bad("scope"))?,
        name,
        created_ms,
        expires_ms,
        revoked_ms,
    })
}

/// Boot, sequence and block numbers are checked to be at most 2^63-1 where they are decoded.
pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// A number that a database keeps as a signed one, and that is never below zero.
pub(super) fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}
