//! Readings out: section 4 of the contract.

use crate::Stage;
use anyhow::{Context, Result, ensure};
use harness::csv_rows::{self, COLUMNS};
use harness::wait::{parse_rfc3339, rfc3339, unix_ms};
use harness::{Answer, Client};
use serde_json::{Value, json};

/// Posts readings of `co2`, one every `step_ms` from `from`, and gives them as (time, value).
async fn fill(device: &Client, from: i64, step_ms: i64, count: i64) -> Result<Vec<(i64, f64)>> {
    let taken: Vec<(i64, f64)> =
        (0..count).map(|i| (from + i * step_ms, 400.0 + ((i * 7919) % 2003) as f64 / 4.0)).collect();
    for part in taken.chunks(5000) {
        let readings: Vec<Value> = part.iter().map(|(time, co2)| json!({"time": time, "co2": co2})).collect();
        let answer = device.ingest(&json!({"readings": readings})).await?.expect(200)?.json()?;
        ensure!(answer["stored"] == part.len(), "{answer}");
    }
    Ok(taken)
}

async fn co2(reader: &Client, rest: &str) -> Result<Value> {
    reader.json(&format!("/api/v1/readings?device=desk&metric=co2&{rest}")).await
}

fn points(answer: &Value) -> Vec<Vec<f64>> {
    let list = answer["points"].as_array().map_or(&[][..], Vec::as_slice);
    let numbers =
        |point: &Value| serde_json::from_value(point.clone()).expect("a point is a list of numbers");
    list.iter().map(numbers).collect()
}

#[tokio::test]
async fn few_readings_come_as_they_are() -> Result<()> {
    let stage = Stage::set().await?;
    let from = unix_ms() - 3_600_000;
    let taken = fill(&stage.device, from, 10_000, 100).await?;
    let answer = co2(&stage.reader, &format!("from={from}&to={}", from + 1_000_000)).await?;
    assert_eq!(
        (&answer["device"], &answer["metric"], &answer["unit"]),
        (&json!("desk"), &json!("co2"), &json!("ppm"))
    );
    assert_eq!(answer["step_s"], 0);
    let expected: Vec<Vec<f64>> = taken.iter().map(|(time, value)| vec![*time as f64, *value]).collect();
    assert_eq!(points(&answer), expected);
    assert_eq!(answer["gaps"], json!([]));
    Ok(())
}

#[tokio::test]
async fn many_readings_come_as_buckets_that_lose_nothing() -> Result<()> {
    let stage = Stage::set().await?;
    let from = unix_ms() - 7 * 86_400_000;
    let taken = fill(&stage.device, from, 7_000, 20_000).await?;
    let to = from + 7_000 * 20_000;
    for max in [1, 2, 10, 100, 500, 1000] {
        let answer = co2(&stage.reader, &format!("from={from}&to={to}&max_points={max}")).await?;
        let step_ms = (answer["step_s"].as_f64().context("step_s")? * 1000.0) as i64;
        let points = points(&answer);
        ensure!(
            step_ms > 0 && (1..=max).contains(&points.len()),
            "{max}: {} points of {step_ms} ms",
            points.len()
        );
        for point in &points {
            let start = point[0] as i64;
            let inside: Vec<f64> =
                taken.iter().filter(|(t, _)| (start..start + step_ms).contains(t)).map(|(_, v)| *v).collect();
            let sum: f64 = inside.iter().sum();
            let [min, mean, max] = [1, 2, 3].map(|i| point[i]);
            ensure!(point[4] as usize == inside.len(), "count of {point:?} is {}", inside.len());
            ensure!(min == inside.iter().copied().fold(f64::MAX, f64::min), "min of {point:?}");
            ensure!(max == inside.iter().copied().fold(f64::MIN, f64::max), "max of {point:?}");
            ensure!((mean - sum / inside.len() as f64).abs() < 1e-6, "mean of {point:?}");
        }
        let count: f64 = points.iter().map(|point| point[4]).sum();
        assert_eq!(count as usize, taken.len(), "{max}");
        ensure!(points.is_sorted_by(|a, b| a[0] < b[0]), "buckets out of order");
    }
    // A thousand is also what one gets without asking.
    let answer = co2(&stage.reader, &format!("from={from}&to={to}")).await?;
    ensure!((100..=1000).contains(&points(&answer).len()), "{} points", points(&answer).len());
    Ok(())
}

#[tokio::test]
async fn a_range_holds_its_start_and_not_its_end() -> Result<()> {
    let stage = Stage::set().await?;
    let first = (unix_ms() / 1000 - 3600) * 1000;
    fill(&stage.device, first, 1000, 10).await?;
    for (from, to, expected) in [
        (first, first + 10_000, 10),
        (first, first + 9_000, 9),
        (first + 1, first + 10_000, 9),
        (first + 3000, first + 3001, 1),
        (first + 3001, first + 4000, 0),
        (first + 3000, first + 3000, 0),
    ] {
        let count =
            async |range: String| -> Result<usize> { Ok(points(&co2(&stage.reader, &range).await?).len()) };
        if from < to {
            assert_eq!(count(format!("from={from}&to={to}")).await?, expected, "{from} {to}");
            assert_eq!(
                count(format!("from={}&to={}", rfc3339(from), rfc3339(to))).await?,
                expected,
                "{from} {to}"
            );
        }
        let path = format!("/api/v1/readings?device=desk&metric=co2&from={from}&to={to}");
        let csv = stage.reader.get(&path).accept("text/csv").send().await?;
        if from < to {
            assert_eq!(csv_rows::parse(csv.expect(200)?.text()?)?.len(), expected);
        }
    }
    // An offset's plus sign, written plainly in a query, is a space; both must be understood.
    let offset = rfc3339(first).replace('Z', "%2B00:00");
    assert_eq!(points(&co2(&stage.reader, &format!("from={offset}&to=now")).await?).len(), 10);
    assert_eq!(points(&co2(&stage.reader, "from=now-24h").await?).len(), 10);
    assert_eq!(points(&co2(&stage.reader, "from=now-30m&to=now").await?).len(), 0);
    Ok(())
}

#[tokio::test]
async fn silence_is_a_gap_and_not_a_line() -> Result<()> {
    let stage = Stage::set().await?;
    let first = unix_ms() - 6 * 3_600_000;
    let before = fill(&stage.device, first, 10_000, 60).await?;
    let after = fill(&stage.device, first + 2 * 3_600_000, 10_000, 60).await?;
    let (silent_from, silent_to) = (before[59].0, after[0].0);
    for max in [20, 50, 1000] {
        let answer =
            co2(&stage.reader, &format!("from={first}&to={}&max_points={max}", after[59].0 + 1)).await?;
        let step_ms = (answer["step_s"].as_f64().context("step_s")? * 1000.0) as i64;
        let gaps: Vec<(i64, i64)> = serde_json::from_value(answer["gaps"].clone())?;
        ensure!(gaps.len() == 1, "{max}: {gaps:?}");
        let (from, to) = gaps[0];
        // A bucket that is partly silent is not a gap, so the edges may move inwards by a bucket.
        ensure!(
            (silent_from..=silent_from + step_ms).contains(&from),
            "{max}: starts {} s late",
            (from - silent_from) / 1000
        );
        ensure!(
            (silent_to - step_ms..=silent_to).contains(&to),
            "{max}: ends {} s early",
            (silent_to - to) / 1000
        );
        // A bucket that a gap ends in begins before that end.
        let inside = |point: &&Vec<f64>| from < point[0] as i64 && (point[0] as i64) + step_ms.max(1) <= to;
        ensure!(points(&answer).iter().find(inside).is_none(), "{max}: a point inside the gap");
    }
    Ok(())
}

#[tokio::test]
async fn every_raw_reading_streams_as_csv_and_ndjson() -> Result<()> {
    let stage = Stage::set().await?;
    let from = unix_ms() - 86_400_000;
    let taken = fill(&stage.device, from, 1000, 30_000).await?;
    let rows = csv_rows::all(&stage.reader, "desk", "co2").await?;
    assert!(rows.iter().map(|row| (row.time_ms, row.value)).eq(taken.iter().copied()), "{} rows", rows.len());
    let last = rows.last().context("a row")?;
    for (column, value) in
        [("device", "desk"), ("room", "Study"), ("metric", "co2"), ("unit", "ppm"), ("state", "ok")]
    {
        assert_eq!(last.field(column), value, "{column}");
    }
    assert!(last.field("time_utc").ends_with('Z'), "{last:?}");
    // Local time with its offset is the same moment.
    assert_eq!(parse_rfc3339(last.field("time_local"))?, last.time_ms, "{last:?}");

    let path = format!("/api/v1/readings?device=desk&metric=co2&from={from}&to={}", from + 86_400_000);
    let answer = stage.reader.get(&path).accept("application/x-ndjson").send().await?.expect(200)?;
    assert!(answer.content_type().starts_with("application/x-ndjson"), "{}", answer.content_type());
    let lines: Vec<Value> = answer.text()?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(lines.len(), taken.len());
    let mut keys: Vec<&str> = lines[0].as_object().context("an object")?.keys().map(String::as_str).collect();
    let mut expected = COLUMNS.to_vec();
    keys.sort_unstable();
    expected.sort_unstable();
    assert_eq!(keys, expected);
    for (line, row) in lines.iter().zip(&rows) {
        ensure!(line["value"].as_f64() == Some(row.value), "{line} is not {row:?}");
        ensure!(line["time_utc"] == row.field("time_utc"), "{line} is not {row:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_spreadsheet_opens_the_csv_of_a_room_with_a_comma() -> Result<()> {
    let stage = Stage::set().await?;
    let token = stage.home.add_device("loft", "Loft, \"north\"\u{e9}").await?;
    stage
        .reader
        .with_token(&token)
        .ingest(&json!({"readings": [{"time": unix_ms(), "co2": 600}]}))
        .await?
        .expect(200)?;
    let rows = csv_rows::all(&stage.reader, "loft", "co2").await?;
    assert_eq!(rows[0].field("room"), "Loft, \"north\"\u{e9}");
    // The device's own query of its format works where no header can be set (a link on the page).
    let path = "/api/v1/readings?device=loft&metric=co2&from=now-1h&format=csv";
    let answer = stage.reader.get(path).send().await?.expect(200)?;
    assert!(answer.content_type().starts_with("text/csv"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn devices_are_listed_with_their_last_reading() -> Result<()> {
    let stage = Stage::set().await?;
    stage.home.run(&["device", "add", "new", "--room", "Attic", "--name", "Fresh one"]).await?.expect(0)?;
    let now = unix_ms();
    let batch = json!({"readings": [
        {"time": now - 60_000, "co2": 500, "temperature": 20.5},
        {"time": now, "co2": 812, "temperature": 22.4, "state": "warming_up"}]});
    stage.device.ingest(&batch).await?.expect(200)?;
    let listing = stage.reader.json("/api/v1/devices").await?;
    parse_rfc3339(listing["server_time"].as_str().context("server_time")?)?;
    let devices = listing["devices"].as_array().context("devices")?;
    let by_id = |id: &str| devices.iter().find(|device| device["id"] == id).cloned().unwrap_or_default();
    let desk = by_id("desk");
    assert_eq!((&desk["room"], &desk["presence"]), (&json!("Study"), &json!("online")), "{desk}");
    assert_eq!(
        (&desk["last"]["time_ms"], &desk["last"]["state"]),
        (&json!(now), &json!("warming_up")),
        "{desk}"
    );
    assert_eq!(desk["last"]["values"]["co2"].as_f64(), Some(812.0), "{desk}");
    assert_eq!(desk["last"]["values"]["temperature"].as_f64(), Some(22.4), "{desk}");
    assert!(desk["age_s"].as_f64().is_some_and(|age| (0.0..60.0).contains(&age)), "{desk}");
    let new = by_id("new");
    assert_eq!(
        (&new["presence"], &new["last"], &new["name"]),
        (&json!("never"), &Value::Null, &json!("Fresh one"))
    );
    assert_eq!(stage.reader.json("/api/v1/devices/desk").await?["id"], "desk");
    let text = listing.to_string();
    assert!(!text.contains("cas_dev_"), "tokens are nobody's business: {text}");
    Ok(())
}

#[tokio::test]
async fn the_metric_table_names_every_quantity() -> Result<()> {
    let stage = Stage::set().await?;
    let listing = stage.reader.json("/api/v1/metrics").await?;
    let metrics = listing["metrics"].as_array().context("metrics")?;
    for (name, unit, method) in [
        ("co2", "ppm", "measured"),
        ("eco2", "ppm", "estimated"),
        ("tvoc", "ppb", "estimated"),
        ("temperature", "°C", "measured"),
        ("humidity", "%RH", "measured"),
        ("pressure", "hPa", "measured"),
        ("pm1", "µg/m³", "measured"),
        ("pm2_5", "µg/m³", "measured"),
        ("pm4", "µg/m³", "measured"),
        ("pm10", "µg/m³", "measured"),
        ("voc_index", "", "estimated"),
        ("nox_index", "", "estimated"),
        ("illuminance", "lx", "measured"),
        ("noise", "dB(A)", "measured"),
        ("formaldehyde", "ppb", "measured"),
        ("radon", "Bq/m³", "measured"),
        ("battery", "V", "measured"),
        ("rssi", "dBm", "measured"),
    ] {
        let found = metrics.iter().find(|metric| metric["name"] == name).with_context(|| name.to_owned())?;
        assert_eq!((&found["unit"], &found["method"]), (&json!(unit), &json!(method)), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn the_api_describes_itself() -> Result<()> {
    let stage = Stage::set().await?;
    let document = stage.reader.json("/api/openapi.json").await?;
    assert!(
        document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")),
        "{}",
        document["openapi"]
    );
    for (path, method) in [
        ("/api/v1/readings", "post"),
        ("/api/v1/readings", "get"),
        ("/api/v1/devices", "get"),
        ("/api/v1/devices/{id}", "get"),
        ("/api/v1/stream", "get"),
        ("/api/v1/metrics", "get"),
        ("/api/openapi.json", "get"),
        ("/healthz", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
        ("/dev", "get"),
    ] {
        let operation = &document["paths"][path][method];
        assert!(operation["responses"].is_object(), "{method} {path} is not described");
    }
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    Ok(())
}

#[tokio::test]
async fn monitors_get_answers() -> Result<()> {
    let stage = Stage::set().await?;
    stage.device.ingest(&json!({"readings": [{"co2": 600}]})).await?.expect(200)?;
    for path in ["/healthz", "/readyz"] {
        stage.reader.get(path).send().await?.expect(200)?;
        stage.reader.request("HEAD".parse()?, path).send().await?.expect(200)?;
    }
    let answer = stage.reader.get("/metrics").send().await?.expect(200)?;
    let text = answer.text()?;
    let samples = text.lines().filter(|line| line.starts_with("casement_")).count();
    assert!(samples > 0 && text.contains("# TYPE casement_"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let value = line.rsplit(' ').next().unwrap_or_default();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn small_answers_say_their_length() -> Result<()> {
    let stage = Stage::set().await?;
    for path in ["/api/v1/metrics", "/api/v1/devices", "/dev?deviceId=desk", "/healthz", "/api/v1/nothing"] {
        let answer = stage.reader.get(path).send().await?;
        answer.measured().with_context(|| path.to_owned())?;
    }
    Ok(())
}

// S-13: the answer that widgets on phones have read for years. Flask put a space after each comma.
const SEED_DEVICE: &str = "{\n  \"device_id\": \"esp32-co2\", \n  \"eco2\": 437, \n  \"epoch\": 1605430000, \n  \"found\": true, \n  \"timestamp\": \"Sun, 15 Nov 2020 08:46:40 GMT\", \n  \"tvoc\": 12\n}\n";
const SEED_UNKNOWN: &str = "{\n  \"found\": false\n}\n";

#[tokio::test]
async fn the_old_device_service_is_answered_byte_for_byte() -> Result<()> {
    let stage = Stage::set().await?;
    let old = stage.reader.with_token(&stage.home.add_device("esp32-co2", "Kitchen").await?);
    let batch = json!({"readings": [
        {"time": 1_605_429_999_000_i64, "eco2": 400, "tvoc": 0},
        {"time": 1_605_430_000_000_i64, "eco2": 437, "tvoc": 12}]});
    old.ingest(&batch).await?.expect(200)?;

    let check = |answer: &Answer, body: &str| -> Result<()> {
        ensure!(answer.status == 200, "{answer}");
        ensure!(answer.content_type() == "application/json", "{answer}");
        ensure!(answer.header("access-control-allow-origin") == Some("*"), "no CORS: {:?}", answer.headers);
        answer.measured()?;
        ensure!(answer.text()? == body, "{answer}\nis not\n{body}");
        Ok(())
    };
    check(&stage.reader.get("/dev?deviceId=esp32-co2").send().await?, SEED_DEVICE)?;
    for query in ["?deviceId=nobody", "?deviceId=", "", "?deviceid=esp32-co2", "?deviceId=%00%ff"] {
        check(&stage.reader.get(&format!("/dev{query}")).send().await?, SEED_UNKNOWN).context(query)?;
    }
    let head = stage.reader.request("HEAD".parse()?, "/dev?deviceId=esp32-co2").send().await?.expect(200)?;
    assert!(head.body.is_empty());
    let post = stage.reader.post("/dev?deviceId=esp32-co2").send().await?.expect(405)?;
    let mut allowed: Vec<&str> = post.header("allow").unwrap_or_default().split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "OPTIONS"]);
    Ok(())
}
