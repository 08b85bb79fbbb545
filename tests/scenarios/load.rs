//! More than the gateway can take: it says so, and what it says is true.

use anyhow::{Result, ensure};
use harness::wait::{Stopwatch, unix_ms};
use harness::{Home, csv_rows, report};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

const CONNECTIONS: i64 = 12;
const BATCHES: i64 = 60;
const READINGS: i64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_is_stored_or_refused_but_never_half() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let start = unix_ms() - 3_600_000;
    let clock = Stopwatch::start();
    let mut posts = tokio::task::JoinSet::new();
    for connection in 0..CONNECTIONS {
        let id = format!("device-{connection}");
        let token = home.add_device(&id, "Hall").await?;
        let client = Arc::new(gateway.client_h2()?.with_token(&token));
        for batch in 0..BATCHES {
            let (client, id) = (Arc::clone(&client), id.clone());
            posts.spawn(async move {
                let first = batch * READINGS;
                let readings: Vec<_> =
                    (first..first + READINGS).map(|n| json!({"seq": n, "time": start + n, "n": n})).collect();
                let answer = client.ingest(&json!({"boot": 1, "readings": readings})).await?;
                anyhow::Ok((id, first, answer))
            });
        }
    }
    let mut stored = BTreeSet::new();
    let (mut accepted, mut refused) = (0_i64, 0_i64);
    while let Some(post) = posts.join_next().await {
        let (id, first, answer) = post??;
        if answer.status == 200 {
            ensure!(answer.json()?["stored"] == READINGS, "{answer}");
            stored.extend((first..first + READINGS).map(|n| (id.clone(), start + n)));
            accepted += 1;
        } else {
            ensure!(answer.status == 503 || answer.status == 429, "{answer}");
            answer.problem(answer.status)?;
            let wait = answer.header("retry-after").and_then(|after| after.parse::<u32>().ok());
            ensure!(wait.is_some_and(|seconds| seconds > 0), "no Retry-After in {:?}", answer.headers);
            refused += 1;
        }
    }
    let took = clock.elapsed();

    let reader = gateway.client()?;
    let mut found = BTreeSet::new();
    for connection in 0..CONNECTIONS {
        let id = format!("device-{connection}");
        for row in csv_rows::all(&reader, &id, "n").await? {
            ensure!(found.insert((id.clone(), row.time_ms)), "{id}: {} is there twice", row.time_ms);
        }
    }
    ensure!(
        stored.is_subset(&found),
        "{} acknowledged readings are missing",
        stored.difference(&found).count()
    );
    ensure!(found.is_subset(&stored), "{} refused readings are stored", found.difference(&stored).count());
    report::figures(
        "load",
        "a burst of batches over HTTP/2",
        &[
            ("batches sent at once", (CONNECTIONS * BATCHES).to_string()),
            ("stored", accepted.to_string()),
            ("refused with Retry-After", refused.to_string()),
            ("readings per second", format!("{:.0}", (accepted * READINGS) as f64 / took.as_secs_f64())),
        ],
    );
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}
