//! The disk fills up while the gateway runs, and has room again.

use anyhow::{Result, ensure};
use harness::wait::{eventually, unix_ms};
use harness::{Home, csv_rows, report};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system of its own; gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(at: &Path) -> Option<Self> {
        let options = ["-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs"];
        let mounted =
            Command::new("mount").args(options).arg(at).output().is_ok_and(|ran| ran.status.success());
        mounted.then(|| Self(at.to_owned()))
    }

    fn grow(&self) -> Result<()> {
        let ran = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&self.0).output()?;
        ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because the gateway of a failed test may still be ending.
        let _left_behind = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_readings_answers_questions_and_recovers() -> Result<()> {
    let home = Home::public()?;
    let data = home.data_dir();
    std::fs::create_dir_all(&data)?;
    let Some(disk) = SmallDisk::mount(&data) else {
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

    disk.grow()?;
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
