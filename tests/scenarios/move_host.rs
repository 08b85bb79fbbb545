//! A gateway moves to another machine, and nobody who talks to it notices.

use crate::certificate::{self, Wish};
use anyhow::{Context, Result, ensure};
use harness::client::shown;
use harness::unreliable_ca::Kind;
use harness::wait::{PATIENCE, Stopwatch, unix_ms};
use harness::{Client, Gateway, Home, Version, report};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const NAME: &str = "air.casement.test";

/// What the API says, without what depends on the moment.
async fn answers(client: &Client, start: i64) -> Result<Vec<Value>> {
    let mut devices = client.json("/api/v1/devices").await?;
    without_moments(&mut devices);
    let range = format!("/api/v1/readings?device=desk&metric=co2&from={}&to={}", start, start + 4_000_000);
    Ok(vec![devices, client.json(&range).await?, client.json(&format!("{range}&max_points=50")).await?])
}

fn without_moments(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.contains("age") && !name.contains("server_time"));
            fields.values_mut().for_each(without_moments);
        }
        Value::Array(items) => items.iter_mut().for_each(without_moments),
        _ => {}
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path of text")
}

async fn visitor(stage: &certificate::Stage, gateway: &Gateway) -> Result<Client> {
    Client::trusting(gateway.https(), NAME, &[stage.pebble.root().await?], Version::Http1)
}

#[tokio::test]
async fn another_machine_goes_on_with_the_same_certificate_tokens_and_answers() -> Result<()> {
    let Some(stage) = certificate::Stage::set("move_host", Wish::names(&[NAME])).await? else {
        return Ok(());
    };
    let a = &stage.home;
    let gateway = a.serve().await?;
    let before = stage.issued(&gateway, PATIENCE).await?;
    let token = a.add_device("desk", "Study").await?;
    let reader = a.create_token("read").await?;
    let client = visitor(&stage, &gateway).await?;
    // 2026-01-01: an answer about it does not depend on the moment.
    let start = 1_767_225_600_000;
    let readings: Vec<Value> =
        (0..4_000).map(|n| json!({"seq": n, "time": start + n * 1000, "co2": 400 + n % 900})).collect();
    let batch = json!({"boot": 1, "readings": readings});
    client.with_token(&token).ingest(&batch).await?.expect(200)?;
    // What is signed with this key is trusted by devices that are out there.
    let key = a.run(&["release", "key"]).await?.expect(0)?.stdout;
    // While it runs.
    let clock = Stopwatch::start();
    let file = a.path("move.backup");
    let made = a.run(&["backup", text(&file)?, "--with-keys"]).await?.expect(0)?;
    assert!(made.stderr.contains("private keys"), "{made:?}");
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    ensure!(gateway.terminate().await?.code == Some(0));
    // What a running gateway has learned of rhythms it learns again after a start; compared is what both say after one.
    let gateway = a.serve().await?;
    let said = answers(&visitor(&stage, &gateway).await?.with_token(&reader), start).await?;
    ensure!(gateway.terminate().await?.code == Some(0));

    let orders = stage.ca.count(Kind::NewOrder);
    let b = Home::private()?;
    let config = std::fs::read_to_string(a.config())?;
    std::fs::write(b.config(), config.replace(text(&a.data_dir())?, text(&b.data_dir())?))?;
    let verified = b.run(&["restore", text(&file)?, "--verify"]).await?.expect(0)?;
    assert!(verified.stdout.contains("4,000 readings") && !b.data_dir().exists(), "{verified:?}");
    let restored = b.run(&["restore", text(&file)?]).await?.expect(0)?;
    assert!(restored.stderr.contains("lead its names here"), "{restored:?}");
    for key in ["certs/acme.pem", "firmware/signing.key"] {
        let meta = std::fs::metadata(b.data_dir().join(key))?;
        assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{key}");
    }
    assert_eq!(std::fs::read_to_string(b.data_dir().join("casement.toml.from-backup"))?, config);
    let gateway = b.serve().await?;
    // Ready means: the certificate is the one that the names have had.
    let after = shown(gateway.https(), None).await?;
    let took = clock.elapsed();
    assert_eq!(after.serial, before.serial);
    let client = visitor(&stage, &gateway).await?;
    ensure!(answers(&client.with_token(&reader), start).await? == said, "the answers differ");
    let again = client.with_token(&token).ingest(&batch).await?.expect(200)?.json()?;
    assert_eq!(crate::ack(&again), (0, 4_000, 0), "what it has sent before is known");
    assert_eq!(b.run(&["release", "key"]).await?.expect(0)?.stdout, key);
    assert_eq!(stage.ca.count(Kind::NewOrder), orders, "no new order");
    // It has the account, too: an order of the new machine needs no new one.
    let accounts = stage.ca.count(Kind::NewAccount);
    b.run(&["cert", "renew"]).await?.expect(0)?;
    assert_eq!(stage.ca.count(Kind::NewAccount), accounts, "no new account");
    report::figures(
        "move_host",
        "A gateway with 4,000 readings moves: backup, restore, first answer with the same certificate",
        &[("seconds", format!("{:.2}", took.as_secs_f64()))],
    );
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn a_damaged_move_changes_nothing_and_what_was_there_is_kept() -> Result<()> {
    let a = Home::public()?;
    let gateway = a.serve().await?;
    let token = a.add_device("desk", "Study").await?;
    let sent = json!({"readings": [{"time": unix_ms(), "co2": 600}]});
    gateway.client()?.with_token(&token).ingest(&sent).await?.expect(200)?;
    let file = a.path("move.backup");
    a.run(&["backup", text(&file)?, "--with-keys"]).await?.expect(0)?;
    let whole = std::fs::read(&file)?;

    let b = Home::public()?;
    let gateway = b.serve().await?;
    ensure!(gateway.terminate().await?.code == Some(0));
    let own = std::fs::read(b.data_dir().join("certs/self-signed.pem"))?;
    // In its last bytes are the keys' sum; before them, keys; the middle is the store.
    for (what, bad) in [
        ("cut off", whole[..whole.len() - 100].to_vec()),
        ("longer", [&whole[..], b"x"].concat()),
        ("a key changed", {
            let mut bad = whole.clone();
            let at = bad.len() - 200;
            bad[at] ^= 1;
            bad
        }),
    ] {
        let damaged = b.path("damaged");
        std::fs::write(&damaged, bad)?;
        for args in [&["restore", text(&damaged)?, "--verify"][..], &["restore", text(&damaged)?]] {
            let ran = b.run(args).await?.expect(1)?;
            assert!(ran.stderr.contains("nothing was changed"), "{what}: {ran:?}");
        }
        assert_eq!(std::fs::read(b.data_dir().join("certs/self-signed.pem"))?, own, "{what}");
        assert!(!b.data_dir().join(".restoring-keys").exists(), "{what}");
    }
    let ran = b.run(&["restore", text(&file)?]).await?.expect(0)?;
    assert!(ran.stderr.contains("certs.before-restore-"), "{ran:?}");
    assert_ne!(std::fs::read(b.data_dir().join("certs/self-signed.pem"))?, own);
    let kept: Vec<_> =
        std::fs::read_dir(b.data_dir())?.filter_map(|entry| entry.ok()).map(|entry| entry.path()).collect();
    let kept = kept
        .iter()
        .find(|path| path.to_string_lossy().contains("certs.before-restore-"))
        .context("the old one")?;
    assert_eq!(std::fs::read(kept.join("self-signed.pem"))?, own);
    Ok(())
}
