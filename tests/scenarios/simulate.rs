//! Virtual devices that run the firmware's own core post to a running gateway.

use anyhow::{Context, Result};
use harness::{Home, csv_rows};

#[tokio::test]
async fn simulated_devices_post_over_real_https() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let certificate = gateway.data_dir().join("certs/self-signed.pem");
    let certificate = certificate.to_str().context("a path of text")?;
    let args = [
        "simulate",
        "--url",
        &gateway.url(),
        "--ca",
        certificate,
        "--devices",
        "2",
        "--duration",
        "8",
        "--period-ms",
        "1000",
    ];
    home.run(&args).await?.expect(0)?;
    let reader = gateway.client()?;
    for id in ["sim-1", "sim-2"] {
        let device = reader.json(&format!("/api/v1/devices/{id}")).await?;
        assert_eq!(device["simulated"], true, "{device}");
        // Eight samples fit in eight seconds; a busy machine may miss some.
        let rows = csv_rows::all(&reader, id, "co2").await?;
        assert!(rows.len() >= 4, "{id}: {} readings", rows.len());
        assert!(rows.iter().all(|row| (300.0..10_000.0).contains(&row.value)), "{id}: {rows:?}");
        assert!(rows.is_sorted_by(|a, b| a.time_ms < b.time_ms), "{id}: two readings of one moment");
    }
    Ok(())
}

#[tokio::test]
async fn a_simulated_device_uses_the_token_it_is_given() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let token = home.path("token");
    std::fs::write(&token, home.add_device("porch", "Porch").await?)?;
    let certificate = gateway.data_dir().join("certs/self-signed.pem");
    let args = [
        "simulate",
        "--url",
        &gateway.url(),
        "--ca",
        certificate.to_str().context("a path of text")?,
        "--token-file",
        token.to_str().context("a path of text")?,
        "--duration",
        "3",
        "--period-ms",
        "1000",
    ];
    home.run(&args).await?.expect(0)?;
    assert!(!csv_rows::all(&gateway.client()?, "porch", "co2").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_simulated_device_does_not_trust_a_stranger() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let token = home.path("token");
    std::fs::write(&token, home.add_device("porch", "Porch").await?)?;
    // Without the gateway's own certificate among the trusted ones, no reading may leave the device.
    let args = [
        "simulate",
        "--url",
        &gateway.url(),
        "--token-file",
        token.to_str().context("a path of text")?,
        "--duration",
        "2",
        "--period-ms",
        "1000",
    ];
    let _refused = home.run(&args).await?;
    assert_eq!(csv_rows::all(&gateway.client()?, "porch", "co2").await?, []);
    Ok(())
}
