//! Devices and tokens.

use crate::reading::Device;
use crate::store::rows::{self, DeviceColumns, TOKENS, TokenColumns};
use crate::store::{CLAIM_REMEMBERED_MS, Token};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

/// Registers a device; `false` when there is one of that name.
pub(super) async fn add_device(connection: &mut PgConnection, device: &Device) -> Result<bool, sqlx::Error> {
    let added = sqlx::query(
        "INSERT INTO device (uid, room, name, simulated, created_ms) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(device.id.as_str())
    .bind(device.room.as_deref())
    .bind(device.name.as_deref())
    .bind(device.simulated)
    .bind(device.created_ms)
    .execute(connection)
    .await?;
    Ok(added.rows_affected() > 0)
}

/// Every device, in order of its id.
pub(super) async fn devices(connection: &mut PgConnection) -> Result<Vec<Device>, sqlx::Error> {
    let rows: Vec<DeviceColumns> =
        sqlx::query_as("SELECT uid, room, name, simulated, created_ms FROM device ORDER BY uid")
            .fetch_all(connection)
            .await?;
    rows.into_iter().map(rows::device).collect()
}

/// Keeps a token and gives its number; `None` when it is for a device that is not there.
pub(super) async fn add_token(
    connection: &mut PgConnection,
    token: &Token,
) -> Result<Option<i64>, sqlx::Error> {
    let (scope, device, parent) = rows::scope_columns(&token.scope);
    let mut tx = connection.begin().await?;
    // Whoever signs in clears away what is over, so that it does not pile up for years.
    if parent.is_some() {
        sqlx::query(
            "DELETE FROM token WHERE scope LIKE 'session%' AND expires_ms <= $1 OR scope = 'claim' AND expires_ms <= $2",
        )
        .bind(token.created_ms)
        .bind(token.created_ms - CLAIM_REMEMBERED_MS)
        .execute(&mut *tx)
            .await?;
    }
    let (lookup, _) = token.hash.split_at(8);
    let added = sqlx::query_scalar(
        "INSERT INTO token (lookup, hash, hint, scope, device, parent, name, created_ms, expires_ms, revoked_ms)
         SELECT $1, $2, $3, $4, (SELECT id FROM device WHERE uid = $5), $6, $7, $8, $9, $10
         WHERE $5::text IS NULL OR EXISTS (SELECT FROM device WHERE uid = $5) RETURNING id",
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
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(added)
}

/// The token with this hash. The index sees eight bytes of the hash; the rest is compared in constant time.
pub(super) async fn token(
    connection: &mut PgConnection,
    hash: &[u8; 32],
) -> Result<Option<Token>, sqlx::Error> {
    let (lookup, _) = hash.split_at(8);
    let sql = AssertSqlSafe(format!("{TOKENS} WHERE t.lookup = $1"));
    for row in sqlx::query_as::<_, TokenColumns>(sql).bind(lookup).fetch_all(connection).await? {
        let token = rows::token(row)?;
        if verify_slices_are_equal(&token.hash, hash).is_ok() {
            return Ok(Some(token));
        }
    }
    Ok(None)
}

/// Every token except sessions, oldest first.
pub(super) async fn tokens(connection: &mut PgConnection) -> Result<Vec<Token>, sqlx::Error> {
    let sql = AssertSqlSafe(format!("{TOKENS} WHERE t.scope NOT LIKE 'session%' ORDER BY t.id"));
    let rows: Vec<TokenColumns> = sqlx::query_as(sql).fetch_all(connection).await?;
    rows.into_iter().map(rows::token).collect()
}

/// Revokes a token and its sessions.
pub(super) async fn revoke_token(
    connection: &mut PgConnection,
    id: i64,
    now_ms: i64,
) -> Result<bool, sqlx::Error> {
    let mut tx = connection.begin().await?;
    let revoked = sqlx::query("UPDATE token SET revoked_ms = $1 WHERE id = $2 AND revoked_ms IS NULL")
        .bind(now_ms)
        .bind(id)
        .execute(&mut *tx)
        .await?;
    sqlx::query("DELETE FROM token WHERE parent = $1").bind(id).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(revoked.rows_affected() > 0)
}
