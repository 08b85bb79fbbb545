//! The same gateway over PostgreSQL: what it promises, it promises there, too.

use anyhow::{Result, ensure};
use harness::postgres::{PASSWORD, Server, programs};
use harness::{Home, csv_rows, eventually, report};
use serde_json::json;

/// 2026-01-01.
const EPOCH_MS: i64 = 1_767_225_600_000;

/// A server, or `None` and said loudly.
fn server(scenario: &str) -> Result<Option<Server>> {
    let Some(programs) = programs()? else {
        report::skipped(
            scenario,
            "there is no PostgreSQL here; tests/tools/postgres says where it comes from",
        );
        return Ok(None);
    };
    Server::start(&programs).map(Some)
}

fn home(url: &str) -> Result<Home> {
    Home::with(&format!("[access]\ndashboard = \"public\"\n\n[store]\nurl = {url:?}\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_over_postgresql_loses_and_doubles_nothing() -> Result<()> {
    let Some(server) = server("postgres_kill")? else { return Ok(()) };
    let home = home(&server.create("rooms")?)?;
    crate::durability::kill_under_load(&home, 6, "durability-postgres", "kill -9 under load, over PostgreSQL")
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_share_one_database() -> Result<()> {
    let Some(server) = server("postgres_two")? else { return Ok(()) };
    let url = server.create("rooms")?;
    let (one, two) = (home(&url)?, home(&url)?);
    let (at_one, at_two) = (one.serve().await?, two.serve().await?);
    // What is registered with one is known to the other.
    let token = two.add_device("desk", "Study").await?;
    let readings: Vec<_> =
        (0..50).map(|n| json!({"time": EPOCH_MS + n * 1_000, "seq": n, "co2": 500 + n})).collect();
    let batch = json!({"boot": 7, "readings": readings});
    let sent = at_one.client()?.with_token(&token).ingest(&batch).await?.expect(200)?.json()?;
    ensure!(crate::ack(&sent) == (50, 0, 0), "{sent}");
    let again = at_two.client()?.with_token(&token).ingest(&batch).await?.expect(200)?.json()?;
    ensure!(crate::ack(&again) == (0, 50, 0), "{again}");
    for gateway in [&at_one, &at_two] {
        let rows = csv_rows::all(&gateway.client()?, "desk", "co2").await?;
        ensure!(rows.len() == 50, "{}", rows.len());
    }
    // The page of the other one shows it, too.
    let reader = at_two.client()?;
    eventually("the other gateway shows the newest reading", async || {
        let devices = reader.get("/api/v1/devices").send().await?.expect(200)?.json()?;
        Ok(devices.to_string().contains("549").then_some(()))
    })
    .await?;

    // The password is in the configuration and nowhere else.
    let checked = one.run(&["check"]).await?.expect(0)?;
    ensure!(checked.stdout.contains("casement:***@"), "{}", checked.stdout);
    let file = one.path("backup.casement");
    let backup = one.run(&["backup", file.to_str().unwrap_or_default()]).await?;
    ensure!(backup.code != Some(0) && backup.stderr.contains("pg_dump"), "{backup:?}");
    let wrong = home(&server.url("missing"))?;
    let failed = wrong.run(&["device", "list"]).await?;
    ensure!(failed.code != Some(0) && failed.stderr.contains("missing"), "{failed:?}");
    let (ended_one, ended_two) = (at_one.terminate().await?, at_two.terminate().await?);
    for text in [
        &checked.stdout,
        &checked.stderr,
        &backup.stderr,
        &failed.stderr,
        &ended_one.stderr,
        &ended_two.stderr,
    ] {
        ensure!(!text.contains("s3cret") && !text.contains(PASSWORD), "{text}");
    }
    Ok(())
}
