//! The disk fills up while the gateway runs, and has room again.

use crate::certificate;
use anyhow::{Result, ensure};
use harness::unreliable_ca::Kind;
use harness::wait::{PATIENCE, eventually, unix_ms};
use harness::{Home, SmallDisk, csv_rows, report};
use serde_json::json;
use std::time::Duration;

/// How long the gateway rests after an order that failed on this machine, with its jitter.
const BACKOFF: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_full_disk_refuses_readings_answers_questions_and_recovers() -> Result<()> {
    let home = Home::public()?;
    let data = home.data_dir();
    let Some(disk) = SmallDisk::mount(&data, "2m")? else {
        report::skipped("full_disk", "this user may not mount a small file system (needs root)");
        return Ok(());
    };
    let gateway = home.serve().await?;
    let token = home.add_device("desk", "Study").await?;
    let (reader, device) = (gateway.client()?, gateway.client()?.with_token(&token));
    let start = unix_ms() - 86_400_000;
    let batch = |n: i64| {
        let readings: Vec<_> = (n * 500..(n + 1) * 500)
            .map(|seq| json!({"seq": seq, "time": start + seq * 100, "co2": 400 + seq % 1000}))
            .collect();
        json!({"boot": 1, "readings": readings})
    };

    let mut stored = 0;
    let refused = loop {
        let answer = device.ingest(&batch(stored)).await?;
        if answer.status != 200 {
            break answer;
        }
        stored += 1;
        ensure!(stored < 500, "two megabytes hold no 250,000 readings");
    };
    refused.problem(507)?;
    ensure!(refused.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{refused}");
    // What was acknowledged can still be read, and nothing of the refused batch is there.
    let rows = csv_rows::all(&reader, "desk", "co2").await?;
    ensure!(rows.len() as i64 == stored * 500, "{} rows of {stored} batches", rows.len());
    device.ingest(&batch(stored)).await?.problem(507)?;

    disk.resize("64m")?;
    eventually("the gateway takes readings again", async || {
        let answer = device.ingest(&batch(stored)).await?;
        Ok((answer.status == 200).then_some(()))
    })
    .await?;
    let rows = csv_rows::all(&reader, "desk", "co2").await?;
    ensure!(rows.len() as i64 == (stored + 1) * 500, "{} rows of {} batches", rows.len(), stored + 1);
    ensure!(gateway.terminate().await?.code == Some(0));
    drop(disk);
    Ok(())
}

#[tokio::test]
async fn a_full_disk_stops_an_order_before_the_authority_hears_of_it_and_nothing_else() -> Result<()> {
    let wish = certificate::Wish::names(&["air.example.test"]);
    let Some(stage) = certificate::Stage::set("full_disk_order", wish).await? else { return Ok(()) };
    let Some(disk) = SmallDisk::mount(&stage.home.data_dir(), "4m")? else {
        report::skipped("full_disk_order", "this user may not mount a small file system (needs root)");
        return Ok(());
    };
    let gateway = stage.home.serve().await?;
    let first = stage.issued(&gateway, PATIENCE).await?;
    let orders = stage.ca.count(Kind::NewOrder);

    disk.fill()?;
    stage.want(&["air.example.test", "room.example.test"])?;
    gateway.reload()?;
    eventually("the order to fail here", async || {
        Ok(gateway.log().contains("The certificate could not be kept on this machine").then_some(()))
    })
    .await?;
    ensure!(stage.ca.count(Kind::NewOrder) == orders, "{}", stage.ca.summary());
    let client = stage.client(&gateway, "air.example.test").await?;
    client.get("/healthz").send().await?.expect(200)?;

    disk.empty()?;
    let renewed = stage.renewed(&gateway, &first, BACKOFF + PATIENCE).await?;
    ensure!(renewed.names == ["air.example.test", "room.example.test"], "{:?}", renewed.names);
    ensure!(stage.ca.count(Kind::NewOrder) == orders + 1, "{}", stage.ca.summary());
    ensure!(gateway.terminate().await?.code == Some(0));
    drop(disk);
    Ok(())
}
