//! The store carried away in one file, and put back.

use crate::Stage;
use anyhow::{Context, Result, bail, ensure};
use harness::gateway::binary;
use harness::wait::{Stopwatch, eventually, rfc3339};
use harness::{Client, Home, Ran, SmallDisk, csv_rows, report};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// 2026-01-01.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// Bytes before the payload.
const HEADER: usize = 168;

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path of text")
}

async fn backup(home: &Home, dest: &Path) -> Result<Value> {
    let ran = home.run(&["backup", text(dest)?, "--json"]).await?.expect(0)?;
    serde_json::from_str(&ran.stdout).with_context(|| ran.stdout)
}

async fn restore(home: &Home, args: &[&str]) -> Result<Ran> {
    let all: Vec<&str> = ["restore"].iter().chain(args).copied().collect();
    home.run(&all).await
}

fn batch(range: std::ops::Range<u64>) -> Value {
    let readings: Vec<Value> = range
        .map(|n| json!({"seq": n, "time": EPOCH_MS + n * 1000, "co2": 400 + n % 1600, "temperature": 20.5}))
        .collect();
    json!({"boot": 1, "readings": readings})
}

async fn post(device: &Client, range: std::ops::Range<u64>) -> Result<()> {
    let (stored, duplicate, refused) = crate::ack(&device.ingest(&batch(range)).await?.expect(200)?.json()?);
    ensure!(duplicate == 0 && refused == 0, "{stored} stored, {duplicate} known, {refused} refused");
    Ok(())
}

/// What the API says, without what depends on the moment.
async fn answers(reader: &Client) -> Result<BTreeMap<String, String>> {
    let mut said = BTreeMap::new();
    let mut devices = reader.json("/api/v1/devices").await?;
    without_ages(&mut devices);
    said.insert("devices".to_owned(), devices.to_string());
    for metric in ["co2", "temperature"] {
        let range = format!("from={EPOCH_MS}&to={}", EPOCH_MS + 40_000_000);
        let path = format!("/api/v1/readings?device=desk&metric={metric}&{range}");
        for points in [100, 10_000] {
            let path = format!("{path}&max_points={points}");
            said.insert(path.clone(), reader.json(&path).await?.to_string());
        }
        let csv = reader.get(&path).accept("text/csv").send().await?.expect(200)?;
        said.insert(format!("{metric} as csv"), csv.text()?.to_owned());
    }
    Ok(said)
}

/// The first answer that differs, and from where on.
fn equal(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Result<()> {
    assert!(one.keys().eq(other.keys()));
    for (path, text) in one {
        let same = text.chars().zip(other[path].chars()).take_while(|(a, b)| a == b).count();
        let from = |text: &str| text.chars().skip(same.saturating_sub(80)).take(160).collect::<String>();
        ensure!(*text == other[path], "{path}:\n…{}\n…{}", from(text), from(&other[path]));
    }
    Ok(())
}

fn without_ages(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.contains("age") && !name.contains("server_time"));
            fields.values_mut().for_each(without_ages);
        }
        Value::Array(items) => items.iter_mut().for_each(without_ages),
        _ => {}
    }
}

fn left_over(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.contains(".casement-") || name.contains("restoring") {
            found.push(path);
        }
    }
    Ok(found)
}

#[tokio::test]
async fn a_backup_in_a_fresh_home_gives_the_same_answers() -> Result<()> {
    let stage = Stage::set().await?;
    for n in 0..5 {
        post(&stage.device, n * 5_000..(n + 1) * 5_000).await?;
    }
    let dest = stage.home.path("air.backup");
    let made = backup(&stage.home, &dest).await?;
    assert_eq!(
        (&made["devices"], &made["readings"], &made["values"]),
        (&json!(1), &json!(25_000), &json!(50_000))
    );
    assert_eq!(made["file"], text(&dest)?);
    assert_eq!(made["bytes"], std::fs::metadata(&dest)?.len());
    assert!(made["created"].as_str().is_some_and(|at| harness::wait::parse_rfc3339(at).is_ok()), "{made}");
    if let Ok(sum) = Command::new("sha256sum").arg(&dest).output() {
        assert_eq!(made["sha256"].as_str(), String::from_utf8(sum.stdout)?.split(' ').next());
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&dest)?.permissions());
    assert_eq!(mode & 0o777, 0o600);
    let exported = stage.home.run(&["export"]).await?.expect(0)?.stdout;
    // What is only in memory, such as the period that a device keeps to, is learned again after every start.
    let Stage { home, gateway, token, .. } = stage;
    ensure!(gateway.terminate().await?.code == Some(0));
    let gateway = home.serve().await?;
    let before = answers(&gateway.client()?).await?;
    ensure!(gateway.terminate().await?.code == Some(0));

    let other = Home::public()?;
    let good = restore(&other, &[text(&dest)?, "--verify"]).await?.expect(0)?;
    assert!(good.stdout.contains("25,000 readings"), "{good:?}");
    assert!(!other.data_dir().exists(), "to verify changes nothing");
    let put = restore(&other, &[text(&dest)?]).await?.expect(0)?;
    assert!(put.stdout.contains("1 device") && put.stdout.contains("25,000 readings"), "{put:?}");
    assert!(put.stdout.contains("newest of 2026-01-01T06:56:39Z"), "{put:?}");
    assert_eq!(other.run(&["export"]).await?.expect(0)?.stdout, exported);
    let gateway = other.serve().await?;
    let reader = gateway.client()?;
    equal(&answers(&reader).await?, &before)?;
    // Devices go on with the tokens they have, and what they sent before is known.
    let again = reader.with_token(&token).ingest(&batch(24_990..25_010)).await?.expect(200)?.json()?;
    assert_eq!(crate::ack(&again), (10, 10, 0));
    ensure!(gateway.terminate().await?.code == Some(0));
    assert_eq!(left_over(&other.data_dir())?, [""; 0].map(PathBuf::from));
    Ok(())
}

/// Posts until told to stop; `acked` counts the readings that were acknowledged.
async fn keep_posting(device: Client, acked: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> Result<()> {
    while !stop.load(Ordering::SeqCst) {
        let from = acked.load(Ordering::SeqCst);
        let answer = match device.ingest(&batch(from..from + 20)).await {
            Ok(answer) => answer,
            // The gateway may be killed on purpose.
            Err(_) => return Ok(()),
        };
        if answer.status == 200 {
            acked.fetch_add(20, Ordering::SeqCst);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_has_everything_acknowledged_before_it_once() -> Result<()> {
    let stage = Stage::set().await?;
    for n in 0..6 {
        post(&stage.device, n * 5_000..(n + 1) * 5_000).await?;
    }
    let (acked, stop) = (Arc::new(AtomicU64::new(30_000)), Arc::new(AtomicBool::new(false)));
    let posting = tokio::spawn(keep_posting(stage.device.fresh(), Arc::clone(&acked), Arc::clone(&stop)));
    let mut bounds = Vec::new();
    for round in 0..5 {
        let reached = acked.load(Ordering::SeqCst);
        eventually("the load to go on", async || Ok((acked.load(Ordering::SeqCst) > reached).then_some(())))
            .await?;
        let dest = stage.home.path(&format!("round-{round}"));
        let before = acked.load(Ordering::SeqCst);
        let made = backup(&stage.home, &dest).await?;
        // One batch may be stored and not be acknowledged yet.
        let after = acked.load(Ordering::SeqCst) + 20;
        let held = made["readings"].as_u64().context("a number")?;
        ensure!((before..=after).contains(&held), "{before} to {after}, but {held}");
        bounds.push((dest, before, held));
    }
    stop.store(true, Ordering::SeqCst);
    posting.await??;
    for (dest, before, held) in bounds {
        let other = Home::public()?;
        restore(&other, &[text(&dest)?]).await?.expect(0)?;
        let gateway = other.serve().await?;
        let mut times: Vec<i64> =
            csv_rows::all(&gateway.client()?, "desk", "co2").await?.iter().map(|row| row.time_ms).collect();
        times.sort_unstable();
        let expected: Vec<i64> = (0..held).map(|n| (EPOCH_MS + n * 1000) as i64).collect();
        ensure!(times == expected, "{} rows for {held} readings, {before} acknowledged", times.len());
        gateway.terminate().await?;
    }
    stage.strike().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_during_a_backup_leaves_a_whole_one_or_none() -> Result<()> {
    let home = Home::public()?;
    let token = home.add_device("desk", "Study").await?;
    let gateway = home.serve().await?;
    let device = gateway.client()?.with_token(&token);
    for n in 0..20 {
        post(&device, n * 5_000..(n + 1) * 5_000).await?;
    }
    gateway.terminate().await?;
    let folder = home.path("backups");
    std::fs::create_dir(&folder)?;
    let dest = folder.join("air.backup");
    let config = home.config();
    let args = ["backup", text(&dest)?, "--force", "--config", text(&config)?];

    // First the gateway is killed: the backup does not depend on it.
    let mut seen = 0;
    for round in 0..4 {
        let gateway = home.serve().await?;
        let (acked, stop) =
            (Arc::new(AtomicU64::new(100_000 + round * 100_000)), Arc::new(AtomicBool::new(false)));
        let device = gateway.client()?.with_token(&token);
        let posting = tokio::spawn(keep_posting(device, acked, Arc::clone(&stop)));
        let mut child = Command::new(binary()?).args(args).stdout(std::process::Stdio::null()).spawn()?;
        while left_over(&folder)?.is_empty() && child.try_wait()?.is_none() {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        gateway.kill().await?;
        seen += u64::from(child.try_wait()?.is_none());
        let ended = child.wait()?;
        stop.store(true, Ordering::SeqCst);
        posting.await??;
        ensure!(ended.success(), "{ended}");
        restore(&home, &[text(&dest)?, "--verify"]).await?.expect(0)?;
        assert_eq!(left_over(&folder)?, [""; 0].map(PathBuf::from));
    }

    // Then the backup itself, at any moment: the last whole one stays.
    let (mut killed, mut whole) = (0, 0);
    std::fs::remove_file(&dest)?;
    for round in 0..12u64 {
        // First where there is none, then where there is one already.
        if round == 6 {
            home.run(&args[..3]).await?.expect(0)?;
        }
        let mut child = Command::new(binary()?).args(args).stdout(std::process::Stdio::null()).spawn()?;
        std::thread::sleep(std::time::Duration::from_millis(4 + round % 6 * 16));
        child.kill()?;
        killed += u64::from(!child.wait()?.success());
        ensure!(round < 6 || dest.exists(), "the last whole one is gone");
        if dest.exists() {
            restore(&home, &[text(&dest)?, "--verify"]).await?.expect(0)?;
            whole += 1;
        }
    }
    backup(&home, &folder.join("another")).await?;
    home.run(&args[..3]).await?.expect(0)?;
    restore(&home, &[text(&dest)?, "--verify"]).await?.expect(0)?;
    // What the killed ones left, the next one to the same place has cleared away.
    assert_eq!(left_over(&folder)?, [""; 0].map(PathBuf::from));
    report::figures(
        "backup-kill",
        "kill -9 during backups",
        &[
            ("gateways killed while a backup was under way", seen.to_string()),
            ("backups killed", killed.to_string()),
            (
                "looks at DEST afterwards: nothing there, or a good backup",
                format!("{} and {whole}", 12 - whole),
            ),
        ],
    );
    ensure!(killed > 0, "no backup was killed before its end");
    Ok(())
}

#[tokio::test]
async fn what_is_interrupted_leaves_nothing() -> Result<()> {
    let stage = Stage::set().await?;
    for n in 0..3 {
        post(&stage.device, n * 5_000..(n + 1) * 5_000).await?;
    }
    let Stage { home, gateway, .. } = stage;
    ensure!(gateway.terminate().await?.code == Some(0));
    let interrupt = |child: &mut std::process::Child| -> Result<Option<i32>> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id())?).context("a process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        Ok(child.wait()?.code())
    };
    let under_way = async || {
        let found = || Ok((!left_over(&home.data_dir())?.is_empty()).then_some(()));
        eventually("it to be under way", async || found()).await
    };
    let folder = home.path("backups");
    std::fs::create_dir(&folder)?;
    let config = home.config();
    // Nobody reads what it writes, so it cannot end by itself.
    let mut child = Command::new(binary()?)
        .args(["backup", "-", "--config", text(&config)?])
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    under_way().await?;
    assert_eq!(interrupt(&mut child)?, Some(1));
    assert_eq!(left_over(&home.data_dir())?, [""; 0].map(PathBuf::from));

    // Nobody sends the end of what it reads.
    let mut child = Command::new(binary()?)
        .args(["restore", "-", "--force", "--config", text(&config)?])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let dest = folder.join("air.backup");
    backup(&home, &dest).await?;
    let whole = std::fs::read(&dest)?;
    let mut input = child.stdin.take().context("stdin is piped")?;
    std::io::Write::write_all(&mut input, &whole[..whole.len() - 1])?;
    under_way().await?;
    assert_eq!(interrupt(&mut child)?, Some(1));
    assert_eq!(left_over(&home.data_dir())?, [""; 0].map(PathBuf::from));
    home.run(&["device", "show", "desk"]).await?.expect(0)?;
    drop(input);
    Ok(())
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_changes_nothing() -> Result<()> {
    let stage = Stage::set().await?;
    post(&stage.device, 0..3_000).await?;
    let dest = stage.home.path("air.backup");
    backup(&stage.home, &dest).await?;
    let whole = std::fs::read(&dest)?;
    let Stage { home, gateway, .. } = stage;
    ensure!(gateway.terminate().await?.code == Some(0));
    let kept = home.run(&["export"]).await?.expect(0)?.stdout;
    let files = || -> Result<Vec<_>> {
        let mut names: Vec<_> =
            std::fs::read_dir(home.data_dir())?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
        names.sort();
        Ok(names)
    };
    let there = files()?;

    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let newer = {
        let mut bytes = whole.clone();
        bytes[19] = 3;
        bytes
    };
    let payload = whole[HEADER..].to_vec();
    let mut cases: Vec<(String, Vec<u8>, &str)> = vec![
        ("empty".into(), Vec::new(), "empty"),
        ("a letter".into(), b"Dear diary, today the air was good.\n".to_vec(), "not a backup"),
        ("a database".into(), payload, "not a backup"),
        ("half of the header".into(), whole[..HEADER / 2].to_vec(), "cut off"),
        ("the header alone".into(), whole[..HEADER].to_vec(), "cut off"),
        ("cut off in the middle".into(), whole[..whole.len() / 2].to_vec(), "cut off"),
        ("one byte short".into(), whole[..whole.len() - 1].to_vec(), "cut off"),
        ("one byte too long".into(), [&whole[..], b"x"].concat(), "after its end"),
        ("a newer format".into(), newer, "later version"),
        ("first bit of the payload".into(), flipped(HEADER), "SHA-256"),
        ("a bit in the middle".into(), flipped(HEADER + (whole.len() - HEADER) / 2), "SHA-256"),
        ("last bit of the payload".into(), flipped(whole.len() - 1), "SHA-256"),
        ("zeros".into(), [&whole[..whole.len() - 4096], &[0; 4096][..]].concat(), "SHA-256"),
    ];
    for at in (20..HEADER).step_by(12) {
        cases.push((format!("byte {at} of the header"), flipped(at), "header is damaged"));
    }
    let bad = home.path("bad.backup");
    for (name, bytes, reason) in &cases {
        std::fs::write(&bad, bytes)?;
        for more in [&["--verify"][..], &[], &["--force"]] {
            let args: Vec<&str> = [text(&bad)?].iter().chain(more).copied().collect();
            let ran = restore(&home, &args).await?;
            ensure!(ran.code == Some(1), "{name} {more:?}: {ran:?}");
            // Without --force, what is there may be told first; but only of what could be a backup.
            let told = ran.stderr.contains(reason)
                || more.is_empty() && ran.stderr.contains("3,000 readings")
                || more.is_empty() && ran.stderr.contains("3000 readings");
            ensure!(told && ran.stderr.contains("fix:") && ran.stdout.is_empty(), "{name} {more:?}: {ran:?}");
            ensure!(!ran.stderr.contains("panicked"), "{ran:?}");
        }
        // The same through a pipe, where nobody knows the length beforehand.
        let ran = piped(&home, &["restore", "-", "--verify"], &bad)?;
        ensure!(ran.code == Some(1) && ran.stderr.contains(reason), "{name} by stdin: {ran:?}");
    }
    assert_eq!(home.run(&["export"]).await?.expect(0)?.stdout, kept);
    assert_eq!(files()?, there);
    let ran = restore(&home, &[text(&home.path("not-there"))?]).await?.expect(1)?;
    assert!(ran.stderr.contains("not-there"), "{ran:?}");
    Ok(())
}

fn piped(home: &Home, args: &[&str], input: &Path) -> Result<Ran> {
    let ran = Command::new(binary()?)
        .args(args)
        .arg("--config")
        .arg(home.config())
        .stdin(std::fs::File::open(input)?)
        .output()?;
    Ok(Ran {
        code: ran.status.code(),
        stdout: String::from_utf8_lossy(&ran.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&ran.stderr).into_owned(),
    })
}

#[tokio::test]
async fn nothing_is_restored_onto_a_running_gateway() -> Result<()> {
    let stage = Stage::set().await?;
    post(&stage.device, 0..100).await?;
    let dest = stage.home.path("air.backup");
    backup(&stage.home, &dest).await?;
    post(&stage.device, 100..200).await?;
    for more in [&[][..], &["--force"]] {
        let args: Vec<&str> = [text(&dest)?].iter().chain(more).copied().collect();
        let ran = restore(&stage.home, &args).await?.expect(1)?;
        let pid = stage.gateway.pid().to_string();
        assert!(ran.stderr.contains(&pid) && ran.stderr.contains("systemctl stop"), "{ran:?}");
    }
    restore(&stage.home, &[text(&dest)?, "--verify"]).await?.expect(0)?;
    post(&stage.device, 200..300).await?;
    assert_eq!(csv_rows::all(&stage.reader, "desk", "co2").await?.len(), 300);
    stage.strike().await
}

#[tokio::test]
async fn what_is_there_is_replaced_only_by_force_and_kept_beside() -> Result<()> {
    let stage = Stage::set().await?;
    post(&stage.device, 0..1_000).await?;
    let dest = stage.home.path("air.backup");
    backup(&stage.home, &dest).await?;
    post(&stage.device, 1_000..1_500).await?;
    let home = stage.home;
    // Killed, so that the last readings are in the log beside the store only.
    stage.gateway.kill().await?;
    assert!(home.data_dir().join("casement.db-wal").exists());

    let ran = restore(&home, &[text(&dest)?]).await?.expect(1)?;
    assert!(ran.stderr.contains("1500 readings") && ran.stderr.contains("--force"), "{ran:?}");
    let ran = restore(&home, &[text(&dest)?, "--force", "--json"]).await?.expect(0)?;
    let put: Value = serde_json::from_str(&ran.stdout)?;
    assert_eq!((&put["devices"], &put["readings"]), (&json!(1), &json!(1_000)));
    let kept = PathBuf::from(put["kept"].as_str().context("the old one is kept")?);
    let name = kept.file_name().unwrap_or_default().to_string_lossy().into_owned();
    assert!(name.starts_with("casement.db.before-restore-20"), "{name}");
    assert!(!home.data_dir().join("casement.db-wal").exists(), "the old log is not beside the new store");

    let gateway = home.serve().await?;
    assert_eq!(csv_rows::all(&gateway.client()?, "desk", "co2").await?.len(), 1_000);
    ensure!(gateway.terminate().await?.code == Some(0));

    // Nothing of the old one is lost, whatever was in its log.
    std::fs::rename(&kept, home.data_dir().join("casement.db"))?;
    let gateway = home.serve().await?;
    assert_eq!(csv_rows::all(&gateway.client()?, "desk", "co2").await?.len(), 1_500);
    ensure!(gateway.terminate().await?.code == Some(0));

    // A store that is no longer one is kept, too, with what lies beside it.
    let db = home.data_dir().join("casement.db");
    std::fs::write(&db, "not a database, but somebody may want to look into it".repeat(100))?;
    std::fs::write(home.data_dir().join("casement.db-wal"), "its log")?;
    let ran = restore(&home, &[text(&dest)?]).await?.expect(1)?;
    assert!(ran.stderr.contains("--force"), "{ran:?}");
    let ran = restore(&home, &[text(&dest)?, "--force", "--json"]).await?.expect(0)?;
    let put: Value = serde_json::from_str(&ran.stdout)?;
    let kept = put["kept"].as_str().context("the old one is kept")?;
    assert!(std::fs::read_to_string(kept)?.starts_with("not a database"));
    let gateway = home.serve().await?;
    assert_eq!(csv_rows::all(&gateway.client()?, "desk", "co2").await?.len(), 1_000);
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn a_command_that_has_the_store_open_is_waited_for_or_named() -> Result<()> {
    let stage = Stage::set().await?;
    post(&stage.device, 0..100).await?;
    let dest = stage.home.path("air.backup");
    backup(&stage.home, &dest).await?;
    let home = stage.home;
    ensure!(stage.gateway.terminate().await?.code == Some(0));
    // An export that nobody reads keeps the store open.
    let rows = home.path("rows.csv");
    let mut lines = String::from("time_utc,device,metric,value\n");
    for n in 0..60_000u64 {
        lines.push_str(&format!("{},desk,noise,{}\n", rfc3339((EPOCH_MS + n) as i64), n % 90));
    }
    std::fs::write(&rows, lines)?;
    home.run(&["import", text(&rows)?]).await?.expect(0)?;
    let mut export = Command::new(binary()?)
        .args(["export", "--config", text(&home.config())?])
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut first = [0; 1];
    std::io::Read::read_exact(export.stdout.as_mut().context("stdout is piped")?, &mut first)?;
    let ran = restore(&home, &[text(&dest)?, "--force"]).await?.expect(1)?;
    assert!(ran.stderr.contains("another command"), "{ran:?}");
    export.kill()?;
    export.wait()?;
    restore(&home, &[text(&dest)?, "--force"]).await?.expect(0)?;
    Ok(())
}

#[tokio::test]
async fn what_a_backup_would_destroy_is_refused() -> Result<()> {
    let stage = Stage::set().await?;
    post(&stage.device, 0..100).await?;
    let data = stage.home.data_dir();
    std::fs::write(stage.home.path("letter"), "Dear diary")?;
    std::os::unix::fs::symlink(data.join("casement.db"), stage.home.path("alias"))?;
    for (dest, force, hint) in [
        (stage.home.path("letter"), false, "--force"),
        (data.join("casement.db"), true, "belongs to"),
        (data.join("casement.db-wal"), true, "belongs to"),
        (data.join("../data/casement.db"), true, "belongs to"),
        (stage.home.path("alias"), true, "belongs to"),
        (data.join("casement.lock"), true, "belongs to"),
        (data.clone(), true, "not a file"),
        (PathBuf::from("/dev/null"), true, "not a file"),
        (stage.home.path("nowhere/air.backup"), false, "not a file"),
    ] {
        let mut args = vec!["backup", text(&dest)?];
        args.extend(force.then_some("--force"));
        let ran = stage.home.run(&args).await?.expect(1)?;
        assert!(ran.stderr.contains(hint) && ran.stderr.contains("fix:"), "{}: {ran:?}", dest.display());
    }
    assert_eq!(std::fs::read(stage.home.path("letter"))?, b"Dear diary");
    post(&stage.device, 100..200).await?;
    stage.home.run(&["backup", text(&stage.home.path("letter"))?, "--force"]).await?.expect(0)?;
    restore(&stage.home, &[text(&stage.home.path("letter"))?, "--verify"]).await?.expect(0)?;

    let nothing = Home::public()?;
    let ran = nothing.run(&["backup", text(&nothing.path("x"))?]).await?.expect(1)?;
    assert!(ran.stderr.contains("no store") && !nothing.data_dir().exists(), "{ran:?}");
    stage.strike().await
}

#[tokio::test]
async fn a_backup_goes_through_a_pipe() -> Result<()> {
    let stage = Stage::set().await?;
    post(&stage.device, 0..5_000).await?;
    let ran = Command::new(binary()?).args(["backup", "-", "--config"]).arg(stage.home.config()).output()?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let file = stage.home.path("piped");
    std::fs::write(&file, ran.stdout)?;
    stage.home.run(&["backup", "-", "--json"]).await?.expect(2)?;
    let other = Home::public()?;
    let ran = piped(&other, &["restore", "-"], &file)?.expect(0)?;
    assert!(ran.stdout.contains("5,000 readings"), "{ran:?}");
    let gateway = other.serve().await?;
    for metric in ["co2", "temperature"] {
        let rows = csv_rows::all(&gateway.client()?, "desk", metric).await?;
        assert_eq!(rows, csv_rows::all(&stage.reader, "desk", metric).await?);
    }
    gateway.terminate().await?;
    stage.strike().await
}

#[tokio::test]
async fn too_little_room_is_told_with_what_is_needed_before_anything_is_written() -> Result<()> {
    let stage = Stage::set().await?;
    let small = stage.home.path("small");
    let Some(_disk) = SmallDisk::mount(&small, "256k")? else {
        report::skipped("backup_room", "this user may not mount a small file system (needs root)");
        return stage.strike().await;
    };
    // Few enough that they stay in the log for an hour, where they take the most room.
    for n in 0..3 {
        post(&stage.device, n * 5_000..(n + 1) * 5_000).await?;
    }
    let ran = stage.home.run(&["backup", text(&small.join("air.backup"))?]).await?.expect(1)?;
    assert!(ran.stderr.contains("needs") && ran.stderr.contains("has 0.3 MB"), "{ran:?}");
    assert_eq!(std::fs::read_dir(&small)?.count(), 0);
    let dest = stage.home.path("air.backup");
    backup(&stage.home, &dest).await?;

    // A data folder with too little room for what is in the backup.
    let other = Home::public()?;
    let Some(_disk) = SmallDisk::mount(&other.data_dir(), "256k")? else {
        bail!("it could be mounted before")
    };
    let ran = restore(&other, &[text(&dest)?]).await?.expect(1)?;
    assert!(ran.stderr.contains("needs") && ran.stderr.contains("has 0.3 MB"), "{ran:?}");
    assert!(!other.data_dir().join("casement.db").exists());
    assert_eq!(left_over(&other.data_dir())?, [""; 0].map(PathBuf::from));
    stage.strike().await
}

#[tokio::test]
async fn the_time_of_a_backup_is_measured() -> Result<()> {
    let stage = Stage::set().await?;
    let batches: u64 = match std::env::var("CASEMENT_BACKUP_READINGS") {
        Ok(text) => text.parse::<u64>().context("CASEMENT_BACKUP_READINGS")? / 10_000,
        Err(_) => 10,
    };
    for n in 0..batches {
        post(&stage.device, n * 10_000..(n + 1) * 10_000).await?;
    }
    let dest = stage.home.path("air.backup");
    let clock = Stopwatch::start();
    let made = backup(&stage.home, &dest).await?;
    let backup_ms = clock.ms();
    let clock = Stopwatch::start();
    restore(&stage.home, &[text(&dest)?, "--verify"]).await?.expect(0)?;
    let verify_ms = clock.ms();
    let other = Home::public()?;
    let clock = Stopwatch::start();
    restore(&other, &[text(&dest)?]).await?.expect(0)?;
    let restore_ms = clock.ms();
    let bytes = made["bytes"].as_u64().context("a number")?;
    report::figures(
        "backup",
        &format!("backup of {} readings, {:.1} MB, gateway running", made["readings"], bytes as f64 / 1e6),
        &[
            ("backup", format!("{backup_ms:.0} ms")),
            ("restore --verify", format!("{verify_ms:.0} ms")),
            ("restore", format!("{restore_ms:.0} ms")),
        ],
    );
    stage.strike().await
}
