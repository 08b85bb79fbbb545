//! Percentiles, time above a threshold, and proof that nothing is missing.

use anyhow::{Result, ensure};
use harness::Home;
use harness::wait::unix_ms;
use serde_json::json;

/// Some days ago, so that every day but the last can be put together.
const BEGAN_AGO_MS: i64 = 3 * 86_400_000;

#[tokio::test]
async fn percentiles_are_exact_and_time_above_a_threshold_leaves_silence_out() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let token = home.add_device("desk", "Attic").await?;
    let device = gateway.client()?.with_token(&token);
    let begin = unix_ms() - BEGAN_AGO_MS;
    // A reading a minute, from 400 ppm to 1,399 and again, with two hours of silence after the first thousand.
    let time = |n: i64| begin + n * 60_000 + if n >= 1_000 { 7_200_000 } else { 0 };
    for part in 0..4 {
        let readings: Vec<_> = (part * 500..(part + 1) * 500)
            .map(|n| json!({"seq": n, "time": time(n), "co2": 400 + n % 1_000}))
            .collect();
        ensure!(device.ingest(&json!({"boot": 1, "readings": readings})).await?.status == 200);
    }
    let reader = gateway.client()?;
    let ask =
        format!("/api/v1/statistics?device=desk&metric=co2&from={begin}&percentiles=0,50,95,100&above=1000");
    let found = reader.get(&ask).send().await?.json()?;
    assert_eq!((&found["count"], &found["unit"]), (&json!(2_000), &json!("ppm")), "{found}");
    assert_eq!(found["percentiles"], json!([[0, 400], [50, 899], [95, 1349], [100, 1399]]));
    assert_eq!((&found["min"], &found["mean"], &found["max"]), (&json!(400), &json!(899.5), &json!(1399)));
    // 399 values above in each thousand; the last of the first thousand holds into the silence, and the very last for ever.
    assert_eq!(found["above"], json!({"threshold": 1000, "readings": 798, "seconds": 2.0 * 398.0 * 60.0}));
    assert_eq!(found["measured_s"], json!(1998.0 * 60.0));
    // The same after a restart.
    gateway.terminate().await?;
    let gateway = home.serve().await?;
    let reader = gateway.client()?;
    assert_eq!(reader.get(&ask).send().await?.json()?["percentiles"], found["percentiles"]);

    let nothing = reader.get("/api/v1/statistics?device=desk&metric=co2&from=0&to=1").send().await?.json()?;
    assert_eq!(
        (&nothing["count"], &nothing["percentiles"], &nothing["mean"]),
        (&json!(0), &json!([]), &json!(null))
    );
    for bad in [
        "device=desk",
        "metric=co2",
        "device=desk&metric=co2&percentiles=101",
        "device=desk&metric=co2&above=x",
        "device=desk&metric=co2&from=5&to=4",
    ] {
        reader.get(&format!("/api/v1/statistics?{bad}")).send().await?.problem(400)?;
    }
    reader.get("/api/v1/statistics?device=nobody&metric=co2").send().await?.problem(404)?;
    Ok(())
}

#[tokio::test]
async fn nothing_missing_can_be_shown_and_what_is_missing_is_named() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let token = home.add_device("desk", "Attic").await?;
    let device = gateway.client()?.with_token(&token);
    let begin = unix_ms() - BEGAN_AGO_MS;
    let send = async |boot: u64, numbers: Vec<i64>| {
        let readings: Vec<_> =
            numbers.iter().map(|n| json!({"seq": n, "time": begin + n * 1_000, "co2": 500})).collect();
        let answer = device.ingest(&json!({"boot": boot, "readings": readings})).await?;
        ensure!(answer.status == 200, "{answer}");
        anyhow::Ok(())
    };
    // In disorder, twice, and over the border of a block of the ledger.
    send(7, (65_000..66_000).rev().collect()).await?;
    send(7, (64_500..65_500).collect()).await?;
    let reader = gateway.client()?;
    let ledger = reader.get("/api/v1/devices/desk/ledger").send().await?.json()?;
    assert_eq!((&ledger["seen"], &ledger["missing"]), (&json!(1_500), &json!(0)));
    let boot = json!({"boot": 7, "first": 64_500, "last": 65_999, "seen": 1_500, "missing": 0, "holes": []});
    assert_eq!(ledger["boots"], json!([boot]));

    send(8, vec![0, 1, 2, 10, 11, 20]).await?;
    gateway.kill().await?;
    let gateway = home.serve().await?;
    let ledger = gateway.client()?.get("/api/v1/devices/desk/ledger").send().await?.json()?;
    let holes = json!([[3, 9], [12, 19]]);
    let second = json!({"boot": 8, "first": 0, "last": 20, "seen": 6, "missing": 15, "holes": holes});
    assert_eq!(ledger["boots"], json!([boot, second]));
    let shown = home.run(&["device", "show", "desk"]).await?.expect(0)?;
    assert!(shown.stdout.contains("15 missing of 1521 numbered readings"), "{}", shown.stdout);
    assert!(shown.stdout.contains("3–9, 12–19"), "{}", shown.stdout);
    let shown = home.run(&["device", "show", "desk", "--json"]).await?.expect(0)?;
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout)?;
    assert_eq!(shown["ledger"]["boots"], ledger["boots"]);
    gateway.client()?.get("/api/v1/devices/nobody/ledger").send().await?.problem(404)?;
    Ok(())
}
