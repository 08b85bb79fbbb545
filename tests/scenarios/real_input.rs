//! Real room measurements, imported from a foreign CSV, against a calculation that shares nothing with the gateway.

use anyhow::{Context, Result, ensure};
use harness::csv_rows;
use harness::wait::rfc3339;
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

/// The clock in Brussels, by hand: an hour ahead of UTC, two from 2026-03-29T01:00Z to 2026-10-25T01:00Z.
fn brussels(unix_ms: i64) -> String {
    let summer = (1_774_746_000_000..1_792_890_000_000).contains(&unix_ms);
    rfc3339(unix_ms + if summer { 7_200_000 } else { 3_600_000 })[..19].replace('T', " ")
}

#[tokio::test]
async fn no_reading_is_lost_or_doubled_where_the_clock_is_put_forward_or_back() -> Result<()> {
    let home = Home::with("[access]\ndashboard = \"public\"\n[site]\ntime_zone = \"Europe/Brussels\"\n")?;
    // Two days around each border, a reading every ten minutes, as a logger with local time writes them.
    let moments: Vec<i64> = [1_774_656_000_000, 1_792_800_000_000]
        .iter()
        .flat_map(|from| (0..2 * 144).map(move |n| from + n * 600_000))
        .collect();
    ensure!(brussels(1_792_888_200_000) == "2026-10-25 02:30:00");
    ensure!(brussels(1_792_891_800_000) == "2026-10-25 02:30:00", "this hour happens twice");
    ensure!(brussels(1_774_745_999_000) == "2026-03-29 01:59:59");
    ensure!(brussels(1_774_746_000_000) == "2026-03-29 03:00:00");
    let mut text = "Date,CO2\n".to_owned();
    for (n, moment) in moments.iter().enumerate() {
        text.push_str(&format!("{},{}\n", brussels(*moment), 400 + n));
    }
    let file = home.path("logger.csv");
    std::fs::write(&file, text)?;
    let file = file.to_str().context("a path of text")?;
    let map = ["--device", "desk", "--time-zone", "Europe/Brussels", "--map", "Date=time,CO2=co2"];
    let import = [&["import", file][..], &map].concat();
    let ran = home.run(&import).await?.expect(0)?;
    ensure!(ran.stdout.contains("576 new, 0 there already, 0 refused"), "{ran:?}");
    let ran = home.run(&import).await?.expect(0)?;
    ensure!(ran.stdout.contains("0 new, 576 there already, 0 refused"), "{ran:?}");

    let gateway = home.serve().await?;
    let reader = gateway.client()?;
    let rows = csv_rows::all(&reader, "desk", "co2").await?;
    ensure!(rows.iter().map(|row| row.time_ms).eq(moments.iter().copied()), "{} rows", rows.len());
    // Two days by the hour are 48 buckets, whatever the clock on the wall does, and nothing is missing in them.
    for from in [1_774_656_000_000_i64, 1_792_800_000_000] {
        let to = from + 2 * 86_400_000;
        let path = format!("/api/v1/readings?device=desk&metric=co2&from={from}&to={to}&max_points=48");
        let chart = reader.json(&path).await?;
        let counts: Vec<i64> = chart["points"]
            .as_array()
            .context("points")?
            .iter()
            .filter_map(|point| point[4].as_i64())
            .collect();
        ensure!(counts == [6; 48] && chart["gaps"] == serde_json::json!([]), "{chart}");
    }
    ensure!(gateway.terminate().await?.code == Some(0));

    // What is exported in that time zone is imported as the same readings.
    let exported = home.run(&["export"]).await?.expect(0)?;
    ensure!(exported.stdout.contains(",2026-10-25T02:30:00+02:00,"), "summer");
    ensure!(exported.stdout.contains(",2026-10-25T02:30:00+01:00,"), "winter");
    let back = home.path("back.csv");
    std::fs::write(&back, exported.stdout)?;
    let ran = home.run(&["import", back.to_str().context("a path of text")?]).await?.expect(0)?;
    ensure!(ran.stdout.contains("0 new, 576 there already, 0 refused"), "{ran:?}");
    Ok(())
}
