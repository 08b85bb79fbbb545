//! Two numbers that may not creep: memory at rest, and the time from start to the first answer.

use anyhow::{Context, Result, ensure};
use harness::wait::{Stopwatch, unix_ms};
use harness::{Gateway, Home, eventually, report};
use serde_json::json;

/// Memory that belongs to the process, its share of shared pages included, in kB.
fn pss_kb(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// Memory once it no longer changes.
async fn at_rest(gateway: &Gateway) -> Result<u64> {
    let mut before = 0;
    eventually("memory to settle", async || {
        let now = pss_kb(gateway.pid())?;
        let settled = now.abs_diff(before) < 64;
        before = now;
        Ok(settled.then_some(now))
    })
    .await
}

#[tokio::test]
async fn memory_and_start_are_measured() -> Result<()> {
    let home = Home::public()?;
    // The first start makes the store and the certificate.
    home.serve().await?.terminate().await?;
    let (mut ready_ms, mut answered_ms) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        let clock = Stopwatch::start();
        let gateway = home.serve().await?;
        ready_ms.push(gateway.ready_after().as_secs_f64() * 1000.0);
        gateway.client()?.get("/healthz").send().await?.expect(200)?;
        answered_ms.push(clock.ms());
        gateway.terminate().await?;
    }
    let median = |mut figures: Vec<f64>| {
        figures.sort_by(f64::total_cmp);
        format!(
            "{:.1} ms (best {:.1}, worst {:.1})",
            figures[figures.len() / 2],
            figures[0],
            figures[figures.len() - 1]
        )
    };

    let gateway = home.serve().await?;
    let idle = at_rest(&gateway).await?;
    let device = gateway.client()?.with_token(&home.add_device("desk", "Study").await?);
    let now = unix_ms();
    for batch in 0..200_i64 {
        let readings: Vec<_> =
            (0..50).map(|i| json!({"time": now - (batch * 50 + i) * 1000, "co2": 600 + i})).collect();
        device.ingest(&json!({"readings": readings})).await?.expect(200)?;
    }
    for _ in 0..20 {
        device.fresh().get("/").send().await?.expect(200)?;
        gateway.client_h2()?.json("/api/v1/readings?device=desk&metric=co2&from=now-24h").await?;
    }
    let after = at_rest(&gateway).await?;
    let mb = |kb: u64| format!("{:.1} MB", kb as f64 / 1024.0);
    report::figures(
        "memory_and_start",
        "memory and start (goals: 12 MB idle, 50 ms to the first answer)",
        &[
            ("start to ready line", median(ready_ms)),
            ("start to first HTTPS 200, stored certificate", median(answered_ms)),
            ("PSS idle", mb(idle)),
            ("PSS at rest after 10,000 readings and 40 page views", mb(after)),
        ],
    );
    for kb in [idle, after] {
        ensure!(kb <= 30 * 1024, "PSS {kb} kB");
    }
    Ok(())
}
