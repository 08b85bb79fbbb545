//! Backups by themselves: made, looked at, kept, and let go; and what happens when the disk is full.

use crate::Stage;
use anyhow::{Context, Result, ensure};
use harness::wait::{Stopwatch, unix_ms};
use harness::{Client, Gateway, Home, SmallDisk, eventually, report, within};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The shortest time between two that can be configured: a start is followed by one after six seconds.
const OFTEN: &str = "[access]\ndashboard = \"public\"\n[backup]\nevery = \"1m\"\n";

fn batch(range: std::ops::Range<i64>) -> Value {
    let start = unix_ms() - 86_400_000;
    let readings: Vec<Value> = range
        .map(|n| json!({"seq": n, "time": start + n * 100, "co2": 400 + n * 7 % 1600, "temperature": 20.5}))
        .collect();
    json!({"boot": 1, "readings": readings})
}

/// The same with values that no codec makes small, so that a backup takes its time.
fn large(range: std::ops::Range<i64>) -> Value {
    let mut batch = batch(range);
    for (n, reading) in (0..).zip(batch["readings"].as_array_mut().into_iter().flatten()) {
        let noise = |by: f64| (f64::from(n) * by).sin() * 1e3;
        (reading["a"], reading["b"]) = (json!(noise(1.7)), json!(noise(0.9)));
    }
    batch
}

fn kept(folder: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut names: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    names.retain(|path| path.extension().is_some_and(|ending| ending == "backup"));
    names.sort();
    Ok(names)
}

/// Waits until so many backups are there. The first comes six seconds after the start.
async fn there(folder: &Path, count: usize) -> Result<Vec<PathBuf>> {
    within(Duration::from_secs(90), "a backup", async || {
        let names = kept(folder)?;
        Ok((names.len() >= count).then_some(names))
    })
    .await
}

async fn counter(reader: &Client, name: &str) -> Result<f64> {
    let text = reader.get("/metrics").send().await?.expect(200)?;
    let line = text.text()?.lines().find(|line| line.starts_with(&format!("casement_{name} ")));
    let value = line.and_then(|line| line.rsplit(' ').next()).with_context(|| format!("no {name}"))?;
    Ok(value.parse()?)
}

async fn finding(home: &Home) -> Result<Value> {
    let ran = home.run(&["doctor", "--json"]).await?;
    let said: Value = serde_json::from_str(&ran.stdout)?;
    let checks = said["checks"].as_array().context("checks")?;
    checks.iter().find(|check| check["id"] == "backup").cloned().context("a check of backups")
}

/// Has backups made from now on; a reload is heard at once.
/// Waits for what lasts some milliseconds only: looked for each millisecond, where `within` looks at longer and longer
/// intervals.
async fn soon(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let clock = Stopwatch::start();
    while !is_so() {
        ensure!(clock.elapsed() < Duration::from_secs(60), "waited a minute in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn begin(home: &Home, gateway: &Gateway) -> Result<()> {
    let text = std::fs::read_to_string(home.config())?;
    std::fs::write(home.config(), text.replace("\"off\"", "\"1m\""))?;
    gateway.reload()
}

async fn set() -> Result<(Home, Gateway, Client)> {
    let home = Home::with(OFTEN)?;
    let gateway = home.serve().await?;
    let token = home.add_device("desk", "Study").await?;
    let device = gateway.client()?.with_token(&token);
    Ok((home, gateway, device))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_made_looked_at_and_told_and_old_ones_go() -> Result<()> {
    let (home, gateway, device) = set().await?;
    device.ingest(&batch(0..2_000)).await?.expect(200)?;
    let folder = home.data_dir().join("backups");
    std::fs::create_dir(&folder)?;
    // A week of them from before, and something of somebody else's.
    for day in 1..=9 {
        std::fs::write(folder.join(format!("casement-2026010{day}T120000Z.backup")), "old")?;
    }
    std::fs::write(folder.join("mine.backup"), "not one of these")?;
    let newest = within(Duration::from_secs(60), "a new backup", async || {
        let names = kept(&folder)?;
        let new = names.iter().find(|name| {
            name.to_string_lossy().contains("casement-")
                && std::fs::metadata(name).is_ok_and(|meta| meta.len() > 1_000)
        });
        Ok(new.cloned())
    })
    .await?;
    // It has its name only when it is good, and is for its owner alone.
    let verified = home.run(&["restore", "--verify", newest.to_str().context("text")?]).await?.expect(0)?;
    assert!(verified.stdout.contains("2,000 readings"), "{verified:?}");
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&newest)?.permissions()) & 0o777,
        0o600
    );
    eventually("the old ones to go", async || {
        // Seven are kept, and what is not one of them.
        Ok((kept(&folder)?.len() == 8).then_some(()))
    })
    .await?;
    let names: Vec<String> = kept(&folder)?
        .iter()
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names[0], "casement-20260104T120000Z.backup", "{names:?}");
    assert!(names.contains(&"mine.backup".to_owned()));
    assert!(
        !folder.join("unverified").exists()
            && std::fs::read_dir(&folder)?
                .all(|entry| !entry
                    .is_ok_and(|entry| entry.file_name().to_string_lossy().contains(".casement-")))
    );

    eventually("the counters to tell", async || {
        Ok((counter(&device, "backups_kept").await? == 7.0).then_some(()))
    })
    .await?;
    let seconds = unix_ms() as f64 / 1000.0;
    let last = counter(&device, "backup_last_success_timestamp_seconds").await?;
    ensure!((seconds - 120.0..=seconds).contains(&last), "{last}");
    assert_eq!(counter(&device, "backup_failed").await?, 0.0);
    let told = finding(&home).await?;
    assert!(
        told["status"] == "ok" && told["text"].as_str().is_some_and(|text| text.contains("7 kept")),
        "{told}"
    );

    // A restart makes none before it is time, and knows what there is.
    ensure!(gateway.terminate().await?.code == Some(0));
    let gateway = home.serve().await?;
    assert_eq!(counter(&gateway.client()?, "backup_last_success_timestamp_seconds").await?, last);
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_the_backup_and_no_reading() -> Result<()> {
    let home = Home::with(&OFTEN.replace("1m", "off"))?;
    let Some(disk) = SmallDisk::mount(&home.data_dir(), "8m")? else {
        report::skipped("backup_full_disk", "this user may not mount a small file system (needs root)");
        return Ok(());
    };
    let gateway = home.serve().await?;
    let token = home.add_device("desk", "Study").await?;
    let device = gateway.client()?.with_token(&token);
    for n in 0..60 {
        device.ingest(&batch(n * 1_000..(n + 1) * 1_000)).await?.expect(200)?;
    }
    // There is room for readings to come, and none for a second store.
    disk.fill()?;
    let filler = std::fs::File::options().write(true).open(home.data_dir().join("filler"))?;
    filler.set_len(filler.metadata()?.len().saturating_sub(200_000))?;
    // Only now one is due.
    begin(&home, &gateway)?;
    within(Duration::from_secs(60), "the failure to be told", async || {
        Ok((counter(&device, "backup_failed").await? == 1.0).then_some(()))
    })
    .await?;
    // It is counted first and written down then.
    let told = within(Duration::from_secs(30), "doctor to know it", async || {
        let told = finding(&home).await?;
        Ok((told["status"] == "problem").then_some(told))
    })
    .await?;
    let text = told["text"].as_str().unwrap_or_default();
    assert!(text.contains("needs") || text.contains("full"), "{told}");
    assert!(told["fix"].as_str().is_some_and(|fix| fix.contains("room")), "{told}");
    let folder = home.data_dir().join("backups");
    assert!(kept(&folder)?.is_empty() && !folder.join("unverified").exists());
    device.ingest(&batch(100_000..100_010)).await?.expect(200)?;
    // Room again: the next attempt succeeds by itself, a minute after the one that failed.
    disk.empty()?;
    disk.resize("64m")?;
    there(&folder, 1).await?;
    eventually("the failure to be over", async || {
        Ok((counter(&device, "backup_failed").await? == 0.0).then_some(()))
    })
    .await?;
    ensure!(gateway.terminate().await?.code == Some(0));
    drop(disk);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_and_a_stop_in_the_middle_leave_no_half_backup() -> Result<()> {
    let home = Home::with(&OFTEN.replace("1m", "off"))?;
    let gateway = home.serve().await?;
    let token = home.add_device("desk", "Study").await?;
    let device = gateway.client()?.with_token(&token);
    for n in 0..20 {
        device.ingest(&large(n * 5_000..(n + 1) * 5_000)).await?.expect(200)?;
    }
    let folder = home.data_dir().join("backups");
    // Not before there is something to copy.
    begin(&home, &gateway)?;
    soon("a backup to begin", || {
        let Ok(entries) = std::fs::read_dir(&folder) else { return false };
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains(".casement-"))
    })
    .await?;
    gateway.kill().await?;
    ensure!(kept(&folder)?.is_empty(), "{:?}", kept(&folder)?);
    // The next start makes it anew, and a polite stop in its middle is quick.
    let gateway = home.serve().await?;
    // What the killed one left is written over, which makes it newer.
    let left = folder.join(".unverified.casement-copy");
    soon("the next one to begin", || {
        std::fs::metadata(&left)
            .and_then(|meta| meta.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age < Duration::from_millis(300)))
    })
    .await?;
    let clock = Stopwatch::start();
    let ended = gateway.terminate().await?;
    ensure!(ended.code == Some(0) && clock.elapsed() < Duration::from_secs(10), "{:?}", clock.elapsed());
    let gateway = home.serve().await?;
    let made = there(&folder, 1).await?;
    home.run(&["restore", "--verify", made[0].to_str().context("text")?]).await?.expect(0)?;
    ensure!(gateway.terminate().await?.code == Some(0));
    let rest: Vec<_> = std::fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<std::io::Result<_>>()?;
    assert!(rest.iter().all(|name| !name.to_string_lossy().contains("casement-copy")), "{rest:?}");
    Ok(())
}

#[tokio::test]
async fn a_backup_that_cannot_be_is_a_problem_of_the_configuration() -> Result<()> {
    for (section, part) in [
        ("every = \"1s\"", "1m to 366d"),
        ("every = \"daily\"", "off"),
        ("keep = 0", "1 to 1000"),
        ("folder = \"\"", "backup.folder"),
        ("folder = \"/dev/null/x\"", "not a folder"),
        ("evry = \"1d\"", "every"),
    ] {
        let home = Home::with(&format!("[backup]\n{section}\n"))?;
        let ran = home.run(&["check"]).await?.expect(64)?;
        assert!(ran.stderr.contains(part), "{section}: {ran:?}");
    }
    let home = Home::with("[backup]\nevery = \"off\"\n")?;
    let ran = home.run(&["check"]).await?.expect(0)?;
    assert!(ran.stdout.contains("every = \"off\""), "{ran:?}");
    let stage = Stage::set().await?;
    let told = finding(&stage.home).await?;
    assert!(
        told["status"] == "ok" && told["text"].as_str().is_some_and(|text| text.contains("none")),
        "{told}"
    );
    stage.strike().await
}
