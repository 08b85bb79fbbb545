//! Live readings: one connection that loses nothing, even when the gateway restarts.

use crate::Stage;
use anyhow::{Context, Result, ensure};
use harness::wait::unix_ms;
use harness::{Client, eventually};
use serde_json::{Value, json};
use std::time::Duration;

const STREAM: &str = "/api/v1/stream";

async fn post(device: &Client, seq: u64) -> Result<()> {
    let batch = json!({"boot": 1, "readings": [{"seq": seq, "time": unix_ms(), "co2": 400 + seq}]});
    device.ingest(&batch).await?.expect(200)?;
    Ok(())
}

fn co2(event: &Value) -> u64 {
    event["values"]["co2"].as_f64().unwrap_or(0.0) as u64
}

#[tokio::test]
async fn a_stream_starts_with_everything_and_goes_on_with_each_reading() -> Result<()> {
    let stage = Stage::set().await?;
    post(&stage.device, 1).await?;
    for client in [stage.reader.fresh(), stage.gateway.client_h2()?] {
        let mut events = client.get(STREAM).events().await?;
        let first = events.within(Duration::from_secs(20)).await?.context("an event")?;
        assert_eq!(first.name, "snapshot");
        let devices = first.json()?["devices"].as_array().context("devices")?.clone();
        assert!(devices.iter().any(|device| device["id"] == "desk"), "{devices:?}");

        let seq = 100 + u64::from(first.data.len() as u32);
        post(&stage.device, seq).await?;
        let event = events.named("reading").await?;
        let id = event.id.as_deref().context("an id")?;
        assert!(id.parse::<u64>().is_ok(), "id {id:?}");
        let reading = event.json()?;
        assert_eq!((&reading["device"], &reading["state"]), (&json!("desk"), &json!("ok")), "{reading}");
        assert_eq!(co2(&reading), 400 + seq, "{reading}");
        assert!(reading["time"].is_string() && reading["time_ms"].is_i64(), "{reading}");
    }
    Ok(())
}

#[tokio::test]
async fn a_stream_can_be_of_one_device() -> Result<()> {
    let stage = Stage::set().await?;
    let other = stage.reader.with_token(&stage.home.add_device("shelf", "Study").await?);
    let mut events = stage.reader.fresh().get(&format!("{STREAM}?device=shelf")).events().await?;
    events.named("snapshot").await?;
    post(&stage.device, 1).await?;
    post(&other, 2).await?;
    assert_eq!(events.named("reading").await?.json()?["device"], "shelf");
    Ok(())
}

#[tokio::test]
async fn a_quiet_stream_beats_every_fifteen_seconds() -> Result<()> {
    let stage = Stage::set().await?;
    let mut events = stage.reader.fresh().get(STREAM).events().await?;
    loop {
        let event = events.within(Duration::from_secs(20)).await?.context("the stream ended")?;
        if event.name == "ping" {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn who_was_away_gets_what_happened_meanwhile() -> Result<()> {
    let stage = Stage::set().await?;
    let mut events = stage.reader.fresh().get(STREAM).events().await?;
    events.named("snapshot").await?;
    post(&stage.device, 1).await?;
    let id = events.named("reading").await?.id.context("an id")?;
    drop(events);
    for seq in 2..=20 {
        post(&stage.device, seq).await?;
    }
    let mut events = stage.reader.fresh().get(STREAM).header("last-event-id", &id).events().await?;
    let mut seen = Vec::new();
    while seen.len() < 19 {
        seen.push(co2(&events.named("reading").await?.json()?) - 400);
    }
    assert_eq!(seen, (2..=20).collect::<Vec<_>>());
    post(&stage.device, 21).await?;
    assert_eq!(co2(&events.named("reading").await?.json()?), 421);
    Ok(())
}

#[tokio::test]
async fn a_restart_of_the_gateway_loses_no_event() -> Result<()> {
    let Stage { home, gateway, reader, device, .. } = Stage::set().await?;
    home.keep_ports(&gateway)?;
    let mut events = reader.fresh().get(STREAM).events().await?;
    events.named("snapshot").await?;
    let (mut seen, mut last_id) = (Vec::new(), String::new());
    let mut gateway = Some(gateway);
    let mut seq = 0;
    for hard in [true, false, true] {
        for _ in 0..3 {
            seq += 1;
            post(&device, seq).await?;
            let event = events.named("reading").await?;
            seen.push(co2(&event.json()?) - 400);
            last_id = event.id.context("an id")?;
        }
        // This one is stored, but the viewer may be cut off before it hears of it.
        seq += 1;
        post(&device, seq).await?;
        let running = gateway.take().context("a gateway")?;
        if hard {
            running.kill().await?;
        } else {
            ensure!(running.terminate().await?.code == Some(0));
        }
        while let Some(event) = events.within(Duration::from_secs(20)).await? {
            if event.name == "reading" {
                seen.push(co2(&event.json()?) - 400);
                last_id = event.id.context("an id")?;
            }
        }
        gateway = Some(home.serve().await?);
        // A device that posts before the viewer is back must be seen, too.
        seq += 1;
        post(&device.fresh(), seq).await?;
        events = reader.fresh().get(STREAM).header("last-event-id", &last_id).events().await?;
        while seen.last() != Some(&seq) {
            let event = events.named("reading").await?;
            seen.push(co2(&event.json()?) - 400);
            last_id = event.id.context("an id")?;
        }
    }
    assert_eq!(seen, (1..=seq).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn an_id_nobody_gave_out_starts_afresh() -> Result<()> {
    let stage = Stage::set().await?;
    post(&stage.device, 1).await?;
    for id in ["99999999999999", "-1", "nonsense", "18446744073709551616"] {
        let mut events = stage.reader.fresh().get(STREAM).header("last-event-id", id).events().await?;
        events.named("snapshot").await.with_context(|| id.to_owned())?;
    }
    Ok(())
}

#[tokio::test]
async fn open_streams_do_not_hold_up_the_end() -> Result<()> {
    let stage = Stage::set().await?;
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut events = stage.reader.fresh().get(STREAM).events().await?;
        events.named("snapshot").await?;
        streams.push(events);
    }
    let ended = stage.gateway.terminate().await?;
    assert_eq!(ended.code, Some(0));
    assert!(ended.after < Duration::from_secs(20), "{:?}", ended.after);
    // The viewers see the end of their stream and can come back.
    for events in &mut streams {
        while events.within(Duration::from_secs(5)).await?.is_some() {}
    }
    Ok(())
}

#[tokio::test]
async fn viewers_that_leave_are_forgotten() -> Result<()> {
    let stage = Stage::set().await?;
    for _ in 0..200 {
        let mut events = stage.reader.fresh().get(STREAM).events().await?;
        events.named("snapshot").await?;
    }
    let viewers = || async {
        let text = stage.reader.get("/metrics").send().await?.expect(200)?.text()?.to_owned();
        let line = text.lines().find(|line| line.starts_with("casement_stream_viewers ")).map(str::to_owned);
        anyhow::Ok(line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()))
    };
    if viewers().await?.is_some() {
        eventually("every viewer to be forgotten", async || {
            Ok(viewers().await?.filter(|count| *count == 0.0))
        })
        .await?;
    }
    stage.reader.get("/readyz").send().await?.expect(200)?;
    stage.strike().await
}
