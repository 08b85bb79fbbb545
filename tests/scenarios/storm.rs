//! Many who ask while many send.

use anyhow::{Result, ensure};
use harness::wait::unix_ms;
use harness::{Home, csv_rows, report};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const DEVICES: i64 = 6;
const BATCHES: i64 = 40;
const READINGS: i64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_questions_neither_stops_nor_misses_what_is_acknowledged() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let begin = unix_ms() - DEVICES * BATCHES * READINGS * 1_000;
    let (asking, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let mut questions = tokio::task::JoinSet::new();
    for who in 0..8 {
        let (reader, asking, asked) = (gateway.client()?, Arc::clone(&asking), Arc::clone(&asked));
        questions.spawn(async move {
            let device = who % DEVICES;
            while asking.load(Ordering::SeqCst) {
                for ask in [
                    format!("/api/v1/readings?device=room-{device}&metric=co2&from=0&max_points=1000"),
                    format!("/api/v1/readings?device=room-{device}&metric=co2&from=now-1h&max_points=10000"),
                    format!("/api/v1/statistics?device=room-{device}&metric=co2&from=0&above=800"),
                    "/api/v1/devices".to_owned(),
                    format!("/api/v1/devices/room-{device}/ledger"),
                ] {
                    let answer = reader.get(&ask).send().await?;
                    // Until it is registered there is nothing to be found.
                    ensure!(answer.status == 200 || answer.status == 404, "{ask}: {answer}");
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            }
            anyhow::Ok(())
        });
    }
    let mut sending = tokio::task::JoinSet::new();
    for device in 0..DEVICES {
        let id = format!("room-{device}");
        let token = home.add_device(&id, "Hall").await?;
        let (sender, reader) = (gateway.client()?.with_token(&token), gateway.client()?);
        sending.spawn(async move {
            for batch in 0..BATCHES {
                let first = batch * READINGS;
                let readings: Vec<_> = (first..first + READINGS)
                    .map(|n| json!({"seq": n, "time": begin + n * 1_000, "co2": 400 + n % 900}))
                    .collect();
                let answer = sender.ingest(&json!({"boot": 1, "readings": readings})).await?;
                ensure!(answer.status == 200 && answer.json()?["stored"] == READINGS, "{answer}");
                // What is acknowledged is seen by the very next question.
                let ask = format!("/api/v1/statistics?device={id}&metric=co2&from=0");
                let count = reader.get(&ask).send().await?.json()?["count"].as_i64();
                ensure!(count == Some(first + READINGS), "{id}: {count:?} of {}", first + READINGS);
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = sending.join_next().await {
        done??;
    }
    asking.store(false, Ordering::SeqCst);
    while let Some(done) = questions.join_next().await {
        done??;
    }
    for device in 0..DEVICES {
        let rows = csv_rows::all(&gateway.client()?, &format!("room-{device}"), "co2").await?;
        ensure!(rows.len() as i64 == BATCHES * READINGS, "{} rows", rows.len());
    }
    report::figures(
        "storm",
        "questions while readings come in",
        &[
            ("readings stored, each seen by the next question", (DEVICES * BATCHES * READINGS).to_string()),
            ("other questions answered meanwhile", asked.load(Ordering::SeqCst).to_string()),
        ],
    );
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}
