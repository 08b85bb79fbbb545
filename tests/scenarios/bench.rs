//! `casement bench`: every figure is there, and nothing stays behind. No time is judged.

use anyhow::{Context, Result, ensure};
use harness::gateway::{Ran, binary, run};
use harness::wait::PATIENCE;
use harness::{Home, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;

/// What every whole run tells.
const FIGURES: &[&str] = &[
    "disk.fsync_4k.p50_ms",
    "disk.fsync_4k.p99_ms",
    "ingest.single.acks_per_s",
    "ingest.single.begin_per_s",
    "ingest.single.end_per_s",
    "ingest.single.commits_per_s",
    "ingest.single.p50_ms",
    "ingest.single.p99_ms",
    "ingest.single.p999_ms",
    "ingest.single.cpu_s_per_1000",
    "ingest.single.refused",
    "ingest.batch360.readings_per_s",
    "ingest.batch360.begin_per_s",
    "ingest.batch360.end_per_s",
    "ingest.batch360.commits_per_s",
    "ingest.batch360.p50_ms",
    "ingest.batch360.p99_ms",
    "ingest.batch360.p999_ms",
    "ingest.batch360.cpu_s_per_1000",
    "ingest.batch360.refused",
    "https.readings_per_s",
    "https.begin_per_s",
    "https.end_per_s",
    "https.p50_ms",
    "https.p99_ms",
    "https.p999_ms",
    "https.server_cpu_s_per_1000",
    "https.client_cpu_s_per_1000",
    "https.refused",
    "load.values",
    "load.values_per_s",
    "load.compact_s",
    "https.watched_mb",
    "query.p95.p50_ms",
    "query.p95.cold_ms",
    "query.p95.points",
    "size.generated.bytes_per_value",
    "size.generated.mb",
    "size.generated.values",
    "query.day.p50_ms",
    "query.day.cold_ms",
    "query.day.points",
    "query.year.p50_ms",
    "query.year.cold_ms",
    "query.year.points",
    "query.latest.p50_ms",
    "query.latest.cold_ms",
    "query.latest.devices",
    "query.export.p50_ms",
    "query.export.cold_ms",
    "query.export.rows",
    "query.export.rows_per_s",
    "memory.start.pss_mb",
    "memory.start.rss_mb",
    "memory.ingest.pss_mb",
    "memory.ingest.rss_mb",
    "memory.gateway_start.pss_mb",
    "memory.gateway_start.rss_mb",
    "memory.gateway_https.pss_mb",
    "memory.gateway_https.rss_mb",
    "memory.https.pss_mb",
    "memory.https.rss_mb",
    "memory.queries.pss_mb",
    "memory.queries.rss_mb",
    "memory.gateway_data.pss_mb",
    "memory.gateway_data.rss_mb",
    "memory.gateway_read.pss_mb",
    "memory.gateway_read.rss_mb",
];

/// Runs it with a configuration that it must not touch, and a folder for temporary files that it must leave empty.
async fn bench(home: &Home, args: &[&str]) -> Result<Ran> {
    let temporary = home.path("tmp");
    std::fs::create_dir_all(&temporary)?;
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path of text");
    let (config, temporary_text) = (text(&home.config())?, text(&temporary)?);
    let mut all = vec!["bench", "--config", &config];
    all.extend(args);
    let folder = temporary.parent().context("a folder above")?;
    let ran = run(folder, &all, &[("TMPDIR", &temporary_text)]).await?;
    ensure!(!home.data_dir().exists(), "the configured data folder was touched");
    ensure!(!folder.join("casement-data").exists(), "the default data folder was touched");
    let left: Vec<_> = std::fs::read_dir(&temporary)?.collect();
    ensure!(left.is_empty(), "something stays behind: {left:?}");
    Ok(ran)
}

fn figure(report: &Value, name: &str) -> Result<f64> {
    report["figures"][name].as_f64().with_context(|| format!("no {name} in {report:#}"))
}

#[tokio::test]
async fn every_figure_is_there_and_nothing_stays_behind() -> Result<()> {
    let home = Home::private()?;
    let ran = bench(&home, &["--json", "--points", "10000", "--seconds", "1"]).await?.expect(0)?;
    ensure!(ran.stderr.is_empty(), "nobody watches: {}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).with_context(|| ran.stdout.clone())?;
    for name in FIGURES {
        let value = figure(&report, name)?;
        let may_be_nothing = name.contains("refused") || name.contains("cpu_s");
        ensure!(value > 0.0 || may_be_nothing && value == 0.0, "{name} is {value}");
    }
    let told = report["figures"].as_object().context("figures")?;
    let unknown: Vec<_> = told.keys().filter(|name| !FIGURES.contains(&name.as_str())).collect();
    ensure!(unknown.is_empty(), "figures that nobody promised: {unknown:?}");

    // One reading in two thousand is missing.
    let values = figure(&report, "load.values")?;
    ensure!((9_900.0..=10_000.0).contains(&values), "{values}");
    ensure!(figure(&report, "query.year.points")? > 1_000.0, "{report:#}");
    ensure!(figure(&report, "query.latest.devices")? > 100.0, "{report:#}");
    for key in ["cpu", "file_system", "folder"] {
        ensure!(report["machine"][key].as_str().is_some_and(|text| !text.is_empty()), "{report:#}");
    }
    ensure!(report["settings"]["points"] == 10_000, "{report:#}");
    Ok(())
}

#[tokio::test]
async fn parts_are_chosen_and_a_table_is_shown() -> Result<()> {
    let home = Home::private()?;
    let ran = bench(&home, &["--points", "10000", "--only", "size"]).await?.expect(0)?;
    ensure!(ran.stdout.contains("B/value") && !ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
    ensure!(!ran.stdout.contains("acknowledgement") && !ran.stdout.contains("HTTPS"), "{}", ran.stdout);
    Ok(())
}

#[tokio::test]
async fn a_real_file_is_measured_like_an_import() -> Result<()> {
    let home = Home::private()?;
    let file = home.path("real.csv");
    let rows: String =
        (0..300).map(|n| format!("{},{}\n", 1_700_000_000_000_i64 + n * 60_000, 500 + n)).collect();
    std::fs::write(&file, format!("when,ppm\n{rows}"))?;
    let file = file.to_str().context("a path of text")?;
    let args =
        ["--json", "--points", "10000", "--only", "size", "--real", file, "--map", "when=time,ppm=co2"];
    let ran = bench(&home, &args).await?.expect(0)?;
    let report: Value = serde_json::from_str(&ran.stdout)?;
    ensure!(figure(&report, "size.real.values")? == 300.0, "{report:#}");
    ensure!(figure(&report, "size.real.bytes_per_value")? > 0.0, "{report:#}");

    // What cannot be imported is told in the words of the import.
    let args = ["--only", "size", "--real", file, "--map", "nobody=time,ppm=co2"];
    let ran = bench(&home, &args).await?.expect(1)?;
    ensure!(ran.stderr.contains("nobody") && ran.stderr.contains("fix:"), "{}", ran.stderr);
    Ok(())
}

#[tokio::test]
async fn the_generated_readings_can_be_had_and_imported() -> Result<()> {
    let home = Home::private()?;
    let ran = bench(&home, &["--data", "--points", "10000"]).await?.expect(0)?;
    let lines = ran.stdout.lines().count();
    ensure!((2_480..=2_500).contains(&lines), "one reading in two thousand is missing: {lines}");
    let again = bench(&home, &["--data", "--points", "10000"]).await?.expect(0)?;
    ensure!(again.stdout == ran.stdout, "the data differ from run to run");

    let file = home.path("readings.lp");
    std::fs::write(&file, &ran.stdout)?;
    let file = file.to_str().context("a path of text")?;
    for told in [
        format!("{lines} rows: {lines} new, 0 there already, 0 refused\n"),
        format!("{lines} rows: 0 new, {lines} there already, 0 refused\n"),
    ] {
        let imported = home.run(&["import", file]).await?.expect(0)?;
        ensure!(imported.stdout == told, "{} instead of {told}", imported.stdout);
    }
    Ok(())
}

#[tokio::test]
async fn a_folder_that_is_not_empty_is_refused() -> Result<()> {
    let home = Home::private()?;
    let folder = home.path("disk");
    std::fs::create_dir(&folder)?;
    let precious = folder.join("precious");
    std::fs::write(&precious, "keep me")?;
    let dir = folder.to_str().context("a path of text")?;
    let ran = bench(&home, &["--dir", dir, "--points", "10000", "--only", "size"]).await?.expect(2)?;
    ensure!(ran.stderr.contains("not empty") && ran.stdout.is_empty(), "{ran:?}");
    ensure!(std::fs::read_to_string(&precious)? == "keep me", "it was touched");

    // An empty one is used and left empty; one that is not there is made and taken away.
    std::fs::remove_file(&precious)?;
    let ran =
        bench(&home, &["--json", "--dir", dir, "--points", "10000", "--only", "size"]).await?.expect(0)?;
    let report: Value = serde_json::from_str(&ran.stdout)?;
    ensure!(report["machine"]["folder"].as_str().is_some_and(|at| at.ends_with("disk")), "{report:#}");
    ensure!(std::fs::read_dir(&folder)?.count() == 0, "it is left empty");
    std::fs::remove_dir(&folder)?;
    bench(&home, &["--dir", dir, "--points", "10000", "--only", "size"]).await?.expect(0)?;
    ensure!(!folder.exists(), "it is gone again");
    Ok(())
}

#[tokio::test]
async fn flags_have_limits() -> Result<()> {
    let home = Home::private()?;
    for args in [
        &["--points", "9999"][..],
        &["--points", "100000001"],
        &["--seconds", "0"],
        &["--seconds", "601"],
        &["--only", "nothing"],
        &["--map", "a=time"],
        &["--real", "not-there.csv"],
        &["--data", "--json"],
        &["--data", "--only", "size"],
    ] {
        let ran = bench(&home, args).await?;
        ensure!(ran.code == Some(2) && ran.stdout.is_empty(), "{args:?}: {ran:?}");
    }
    Ok(())
}

#[tokio::test]
async fn ctrl_c_takes_everything_away() -> Result<()> {
    let home = Home::private()?;
    let temporary = home.path("tmp");
    std::fs::create_dir(&temporary)?;
    let mut child = tokio::process::Command::new(binary()?)
        .args(["bench", "--only", "https", "--seconds", "60"])
        .env("TMPDIR", &temporary)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    // Until its gateway runs, too.
    let certificate = |place: std::fs::DirEntry| place.path().join("https/data/certs/self-signed.pem");
    let running =
        async || Ok(std::fs::read_dir(&temporary)?.flatten().map(certificate).find(|file| file.exists()));
    eventually("the gateway of the bench", running).await?;
    let pid =
        child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).context("a process")?;
    kill_process(pid, Signal::INT)?;
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.context("it does not end")??;
    ensure!(status.code() == Some(130), "{status}");
    let left: Vec<_> = std::fs::read_dir(&temporary)?.collect();
    ensure!(left.is_empty(), "something stays behind: {left:?}");
    Ok(())
}
