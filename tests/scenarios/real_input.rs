//! Real room measurements, imported from a foreign CSV, against a calculation that shares nothing with the gateway.

use anyhow::{Context, Result, ensure};
use harness::csv_rows;
use harness::{Client, Home, Ran, report};
use serde_json::Value;
use std::path::{Path, PathBuf};

const FILES: [(&str, usize); 2] = [("office-co2-2015-02-02.csv", 2665), ("office-co2-2015-02-04.csv", 8143)];
const MAP: &str = "Date=time,Temperature=temperature,Humidity=humidity,Light=illuminance,CO2=co2,\
                   HumidityRatio=humidity_ratio,Occupancy=occupancy";
/// Metric and its column in the file.
const COLUMNS: [(&str, usize); 6] = [
    ("temperature", 1),
    ("humidity", 2),
    ("illuminance", 3),
    ("co2", 4),
    ("humidity_ratio", 5),
    ("occupancy", 6),
];

/// The folder with the measurements, or `None` after saying loudly that it is missing.
fn shared_data(scenario: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("CASEMENT_SHARED_DATA").map_or_else(beside, PathBuf::from);
    let missing = FILES.iter().find(|(name, _)| !folder.join(name).is_file());
    if let Some((name, _)) = missing {
        report::skipped(
            &format!("real_input_{scenario}"),
            &format!("no {name} in $CASEMENT_SHARED_DATA or ../shared/data beside the repository"),
        );
        return None;
    }
    Some(folder)
}

/// One line of a file: when, and its columns as numbers.
struct Measured {
    time_ms: i64,
    values: [f64; 7],
}

/// Reads a file by hand. The times are winter time in Belgium, so UTC+1; no time zone database is needed for that.
fn read(path: &Path) -> Result<Vec<Measured>> {
    let text = std::fs::read_to_string(path)?;
    text.lines()
        .skip(1)
        .map(|line| {
            let columns: Vec<&str> = line.split(',').map(|column| column.trim_matches('"')).collect();
            let mut values = [0.0; 7];
            for (at, column) in columns.iter().enumerate().skip(1) {
                values[at] = column.parse().with_context(|| line.to_owned())?;
            }
            Ok(Measured { time_ms: winter_time_ms(columns[0]).with_context(|| line.to_owned())?, values })
        })
        .collect()
}

/// `2015-02-02 14:19:59` at UTC+1 as milliseconds since 1970, by counting days.
fn winter_time_ms(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let years: i64 = (1970..year).map(|year| 365 + i64::from(leap(year))).sum();
    let days = years + lengths[..usize::try_from(month).ok()? - 1].iter().sum::<i64>() + day - 1;
    let seconds = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    Some((days * 86_400 + seconds - 3600) * 1000)
}

#[test]
fn the_independent_clock_agrees_with_known_moments() {
    assert_eq!(winter_time_ms("1970-01-01 01:00:00"), Some(0));
    assert_eq!(winter_time_ms("2015-01-01 01:00:00"), Some(1_420_070_400_000));
    assert_eq!(winter_time_ms("2020-11-15 09:46:40"), Some(1_605_430_000_000));
}

async fn import(home: &Home, file: &Path) -> Result<Ran> {
    let file = file.to_str().context("a path of text")?;
    home.run(&["import", file, "--device", "office", "--time-zone", "Europe/Brussels", "--map", MAP])
        .await?
        .expect(0)
}

fn query(metric: &str, from: i64, to: i64, max_points: usize) -> String {
    format!("/api/v1/readings?device=office&metric={metric}&from={from}&to={to}&max_points={max_points}")
}

/// Compares minimum, mean, maximum and count of every bucket, and that no reading is outside of them.
async fn compare(client: &Client, measured: &[Measured], max_points: usize) -> Result<usize> {
    let from = measured.first().context("a row")?.time_ms;
    let to = measured.last().context("a row")?.time_ms + 1;
    let mut buckets = 0;
    for (metric, column) in COLUMNS {
        let answer = client.json(&query(metric, from, to, max_points)).await?;
        let step_ms = answer["step_s"].as_f64().context("step_s")? * 1000.0;
        let points: Vec<Vec<f64>> = serde_json::from_value(answer["points"].clone())?;
        ensure!(points.len() <= max_points, "{metric}: {} points", points.len());
        let mut seen = 0;
        for point in &points {
            let inside = |row: &&Measured| {
                let time = row.time_ms as f64;
                if step_ms == 0.0 { time == point[0] } else { point[0] <= time && time < point[0] + step_ms }
            };
            let values: Vec<f64> = measured.iter().filter(inside).map(|row| row.values[column]).collect();
            ensure!(!values.is_empty(), "{metric}: a point out of nothing: {point:?}");
            let min = values.iter().copied().fold(f64::INFINITY, f64::min);
            let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let (found_min, found_mean, found_max, count) = match point[..] {
                [_, value] => (value, value, value, 1.0),
                [_, min, mean, max, count] => (min, mean, max, count),
                _ => anyhow::bail!("{metric}: {point:?}"),
            };
            ensure!(count == values.len() as f64, "{metric}: {point:?} should count {}", values.len());
            ensure!(
                found_min == min && found_max == max,
                "{metric}: {point:?} should be from {min} to {max}"
            );
            ensure!(
                (found_mean - mean).abs() <= 1e-9 * mean.abs().max(1e-3),
                "{metric}: {point:?}, mean {mean}"
            );
            seen += values.len();
        }
        ensure!(seen == measured.len(), "{metric}: {seen} of {} readings", measured.len());
        buckets += points.len();
    }
    Ok(buckets)
}

#[tokio::test]
async fn imported_measurements_answer_like_the_files() -> Result<()> {
    let Some(folder) = shared_data("answers") else { return Ok(()) };
    let home = Home::public()?;
    // The first file while nothing runs, the second while the gateway serves.
    let mut measured = read(&folder.join(FILES[0].0))?;
    assert_eq!(measured.len(), FILES[0].1);
    import(&home, &folder.join(FILES[0].0)).await?;
    let gateway = home.serve().await?;
    let client = gateway.client()?;
    let mut buckets = 0;
    for max_points in [10, 137, 1000, 10_000] {
        buckets += compare(&client, &measured, max_points).await?;
    }
    let second = read(&folder.join(FILES[1].0))?;
    assert_eq!(second.len(), FILES[1].1);
    import(&home, &folder.join(FILES[1].0)).await?;
    measured.extend(second);
    assert!(measured.is_sorted_by(|a, b| a.time_ms < b.time_ms));
    for max_points in [24, 500, 1000] {
        buckets += compare(&client, &measured, max_points).await?;
    }
    // Twice changes nothing, running or not.
    let before = csv_rows::all(&client, "office", "co2").await?;
    assert_eq!(before.len(), measured.len());
    import(&home, &folder.join(FILES[0].0)).await?;
    assert!(before == csv_rows::all(&client, "office", "co2").await?);
    gateway.terminate().await?;
    import(&home, &folder.join(FILES[1].0)).await?;
    let gateway = home.serve().await?;
    assert!(before == csv_rows::all(&gateway.client()?, "office", "co2").await?);
    compare(&gateway.client()?, &measured, 1000).await?;

    // The two files leave a day unmeasured between them, which is a gap and not a line.
    let answer = client_json(&gateway.client()?, &measured).await?;
    let gaps: Vec<(i64, i64)> = serde_json::from_value(answer["gaps"].clone())?;
    let (end, start) = (measured[FILES[0].1 - 1].time_ms, measured[FILES[0].1].time_ms);
    ensure!(gaps.iter().any(|(from, to)| to - from > (start - end) / 2), "{gaps:?}");
    report::figures(
        "real_input",
        "real measurements against an independent calculation",
        &[
            ("readings", measured.len().to_string()),
            ("metrics", COLUMNS.len().to_string()),
            ("buckets compared, all equal", buckets.to_string()),
        ],
    );
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

async fn client_json(client: &Client, measured: &[Measured]) -> Result<Value> {
    let (first, last) = (&measured[0], &measured[measured.len() - 1]);
    client.json(&query("co2", first.time_ms, last.time_ms + 1, 1000)).await
}

#[tokio::test]
async fn what_is_exported_can_be_imported_elsewhere() -> Result<()> {
    let Some(folder) = shared_data("export") else { return Ok(()) };
    let home = Home::public()?;
    import(&home, &folder.join(FILES[0].0)).await?;
    let gateway = home.serve().await?;
    let measured = read(&folder.join(FILES[0].0))?;
    let (from, to) = (measured[0].time_ms, measured[measured.len() - 1].time_ms + 1);
    let client = gateway.client()?;
    for format in ["csv", "ndjson"] {
        let exported = home.run(&["export", "--device", "office", "--format", format]).await?.expect(0)?;
        let elsewhere = Home::public()?;
        let file = elsewhere.path(&format!("office.{format}"));
        std::fs::write(&file, &exported.stdout)?;
        elsewhere.run(&["import", file.to_str().context("a path of text")?]).await?.expect(0)?;
        let other = elsewhere.serve().await?;
        for (metric, _) in COLUMNS {
            for max_points in [100, 1000] {
                let path = query(metric, from, to, max_points);
                assert_eq!(client.json(&path).await?, other.client()?.json(&path).await?, "{format}: {path}");
            }
        }
        let raw = csv_rows::all(&client, "office", "co2").await?;
        assert_eq!(raw, csv_rows::all(&other.client()?, "office", "co2").await?, "{format}");
    }
    Ok(())
}
