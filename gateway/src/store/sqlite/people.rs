//! Devices and tokens.

use super::{engine, keep_or_close};
use crate::reading::Device;
use crate::store::rows::{self, DeviceColumns, TOKENS, TokenColumns};
use crate::store::{CLAIM_REMEMBERED_MS, StoreError, Token};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use sqlx::sqlite::SqlitePool;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};

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
    let rows: Vec<DeviceColumns> =
        sqlx::query_as("SELECT uid, room, name, simulated, created_ms FROM device ORDER BY uid")
            .fetch_all(readers)
            .await?;
    rows.into_iter().map(rows::device).collect()
}

/// Keeps a token and gives its number.
pub(super) async fn add_token(writer: &SqlitePool, token: &Token) -> Result<i64, StoreError> {
    let (scope, device, parent) = rows::scope_columns(&token.scope);
    // Whoever signs in clears away what is over, so that it does not pile up for years.
    if parent.is_some() {
        sqlx::query(
            "DELETE FROM token WHERE scope LIKE 'session%' AND expires_ms <= ?1 OR scope = 'claim' AND expires_ms <= ?2",
        )
        .bind(token.created_ms)
        .bind(token.created_ms - CLAIM_REMEMBERED_MS)
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

/// The token with this hash. The index sees eight bytes of the hash; the rest is compared in constant time.
pub(super) async fn token(readers: &SqlitePool, hash: &[u8; 32]) -> Result<Option<Token>, sqlx::Error> {
    let (lookup, _) = hash.split_at(8);
    let sql = AssertSqlSafe(format!("{TOKENS} WHERE t.lookup = ?"));
    for row in sqlx::query_as::<_, TokenColumns>(sql).bind(lookup).fetch_all(readers).await? {
        let token = rows::token(row)?;
        if verify_slices_are_equal(&token.hash, hash).is_ok() {
            return Ok(Some(token));
        }
    }
    Ok(None)
}

/// Every token except sessions, oldest first.
pub(super) async fn tokens(readers: &SqlitePool) -> Result<Vec<Token>, sqlx::Error> {
    let sql = AssertSqlSafe(format!("{TOKENS} WHERE t.scope NOT LIKE 'session%' ORDER BY t.id"));
    let rows: Vec<TokenColumns> = sqlx::query_as(sql).fetch_all(readers).await?;
    rows.into_iter().map(rows::token).collect()
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
