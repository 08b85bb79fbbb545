//! Devices and tokens.

use super::{engine, keep_or_close};
use crate::reading::Device;
use crate::store::{Scope, StoreError, Token};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use casement_proto::DeviceId;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Connection, Row, SqliteConnection};

/// Registers a device.
pub(super) async fn add_device(writer: &SqlitePool, device: &Device) -> Result<(), StoreError> {
    let added = sqlx::query(
        "INSERT INTO device (uid, room, name, simulated, created_ms) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(device.id.as_str())
    .bind(device.room.as_deref())
    .bind(device.name.as_deref())
    .bind(device.simulated)
    .bind(device.created_ms)
    .execute(writer)
    .await
    .map_err(engine)?;
    if added.rows_affected() == 0 {
        return Err(StoreError::Exists(format!("device {}", device.id)));
    }
    Ok(())
}

/// Every device, in order of its id.
pub(super) async fn devices(readers: &SqlitePool) -> Result<Vec<Device>, sqlx::Error> {
    let rows = sqlx::query("SELECT uid, room, name, simulated, created_ms FROM device ORDER BY uid")
        .fetch_all(readers)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Device {
                id: device_id(row, 0)?,
                room: row.try_get(1)?,
                name: row.try_get(2)?,
                simulated: row.try_get(3)?,
                created_ms: row.try_get(4)?,
            })
        })
        .collect()
}

/// The device's name in a column.
pub(super) fn device_id(row: &SqliteRow, column: usize) -> Result<DeviceId, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    DeviceId::parse(text).ok_or_else(|| sqlx::Error::Decode(format!("bad device name {text:?}").into()))
}

/// Keeps a token and gives its number.
pub(super) async fn add_token(writer: &SqlitePool, token: &Token) -> Result<i64, StoreError> {
    let (scope, device, parent) = match &token.scope {
        Scope::Device(device) => ("device", Some(device.as_str()), None),
        Scope::Read => ("read", None, None),
        Scope::Admin => ("admin", None, None),
        Scope::Session { parent, admin: false } => ("session", None, Some(*parent)),
        Scope::Session { parent, admin: true } => ("session-admin", None, Some(*parent)),
    };
    // Whoever signs in clears away the sessions that are over, so that they do not pile up for years.
    if parent.is_some() {
        sqlx::query("DELETE FROM token WHERE scope LIKE 'session%' AND expires_ms <= ?")
            .bind(token.created_ms)
            .execute(writer)
            .await
            .map_err(engine)?;
    }
    let (lookup, _) = token.hash.split_at(8);
    let added: Option<i64> = sqlx::query_scalar(
        "INSERT INTO token (lookup, hash, hint, scope, device, parent, name, created_ms, expires_ms, revoked_ms)
         SELECT ?1, ?2, ?3, ?4, (SELECT id FROM device WHERE uid = ?5), ?6, ?7, ?8, ?9, ?10
         WHERE ?5 IS NULL OR EXISTS (SELECT 1 FROM device WHERE uid = ?5) RETURNING id",
    )
    .bind(lookup)
    .bind(token.hash.as_slice())
    .bind(&token.hint)
    .bind(scope)
    .bind(device)
    .bind(parent)
    .bind(token.name.as_deref())
    .bind(token.created_ms)
    .bind(token.expires_ms)
    .bind(token.revoked_ms)
    .fetch_optional(writer)
    .await
    .map_err(engine)?;
    added.ok_or_else(|| StoreError::Missing(format!("device {}", device.unwrap_or_default())))
}

/// The columns that [`read`] reads, in its order.
macro_rules! select_tokens {
    ($which:literal) => {
        concat!(
            "SELECT t.id, t.hash, t.hint, t.scope, d.uid, t.parent, t.name, t.created_ms, t.expires_ms, t.revoked_ms ",
            "FROM token t LEFT JOIN device d ON d.id = t.device ",
            $which
        )
    };
}

/// The token with this hash. The index sees eight bytes of the hash; the rest is compared in constant time.
pub(super) async fn token(readers: &SqlitePool, hash: &[u8; 32]) -> Result<Option<Token>, sqlx::Error> {
    let (lookup, _) = hash.split_at(8);
    for row in sqlx::query(select_tokens!("WHERE t.lookup = ?")).bind(lookup).fetch_all(readers).await? {
        let token = read(&row)?;
        if verify_slices_are_equal(&token.hash, hash).is_ok() {
            return Ok(Some(token));
        }
    }
    Ok(None)
}

/// Every token except sessions, oldest first.
pub(super) async fn tokens(readers: &SqlitePool) -> Result<Vec<Token>, sqlx::Error> {
    let rows = sqlx::query(select_tokens!("WHERE t.scope NOT LIKE 'session%' ORDER BY t.id"))
        .fetch_all(readers)
        .await?;
    rows.iter().map(read).collect()
}

/// Revokes a token and its sessions.
pub(super) async fn revoke_token(writer: &SqlitePool, id: i64, now_ms: i64) -> Result<bool, sqlx::Error> {
    let mut connection = writer.acquire().await?;
    let outcome = revoke(&mut connection, id, now_ms).await;
    keep_or_close(connection, outcome)
}

async fn revoke(connection: &mut SqliteConnection, id: i64, now_ms: i64) -> Result<bool, sqlx::Error> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    let revoked = sqlx::query("UPDATE token SET revoked_ms = ? WHERE id = ? AND revoked_ms IS NULL")
        .bind(now_ms)
        .bind(id)
        .execute(&mut *tx)
        .await?;
    sqlx::query("DELETE FROM token WHERE parent = ?").bind(id).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(revoked.rows_affected() > 0)
}

fn read(row: &SqliteRow) -> Result<Token, sqlx::Error> {
    let hash: &[u8] = row.try_get(1)?;
    let scope: &str = row.try_get(3)?;
    let bad = |what: &str| sqlx::Error::Decode(format!("token with a bad {what}").into());
    Ok(Token {
        id: row.try_get(0)?,
        hash: hash.try_into().map_err(|_| bad("hash"))?,
        hint: row.try_get(2)?,
        scope: match scope {
            "device" => Scope::Device(device_id(row, 4)?),
            "read" => Scope::Read,
            "admin" => Scope::Admin,
            "session" => Scope::Session { parent: row.try_get(5)?, admin: false },
            "session-admin" => Scope::Session { parent: row.try_get(5)?, admin: true },
            _ => return Err(bad("scope")),
        },
        name: row.try_get(6)?,
        created_ms: row.try_get(7)?,
        expires_ms: row.try_get(8)?,
        revoked_ms: row.try_get(9)?,
    })
}
