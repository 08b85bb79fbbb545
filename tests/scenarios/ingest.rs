//! Readings in: section 3 of the contract.

use crate::{Stage, ack};
use anyhow::Result;
use harness::csv_rows::{self, Row};
use harness::wait::{parse_rfc3339, rfc3339, unix_ms};
use harness::{Answer, cbor};
use serde_json::{Value, json};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

async fn rows(stage: &Stage, metric: &str) -> Result<Vec<Row>> {
    csv_rows::all(&stage.reader, "desk", metric).await
}

async fn values(stage: &Stage, metric: &str) -> Result<Vec<f64>> {
    Ok(rows(stage, metric).await?.iter().map(|row| row.value).collect())
}

async fn post(stage: &Stage, batch: &Value) -> Result<(u64, u64, usize)> {
    Ok(ack(&stage.device.ingest(batch).await?.expect(200)?.json()?))
}

fn codes(answer: &Value) -> Vec<(u64, String)> {
    let list = answer["rejected"].as_array().map_or(&[][..], Vec::as_slice);
    list.iter()
        .map(|rejected| {
            assert!(rejected["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{rejected}");
            let index = rejected["index"].as_u64().expect("an index");
            (index, rejected["code"].as_str().expect("a code").to_owned())
        })
        .collect()
}

#[tokio::test]
async fn a_batch_is_stored_once_however_often_it_is_sent() -> Result<()> {
    let stage = Stage::set().await?;
    let now = unix_ms();
    let batch = json!({"boot": 17, "readings": [
        {"seq": 1041, "time": rfc3339(now - MINUTE), "co2": 812, "temperature": 22.4, "humidity": 41.0},
        {"seq": 1042, "age_ms": 1200, "co2": 815, "state": "ok"}]});
    let answer = stage.device.ingest(&batch).await?.expect(200)?;
    answer.measured()?;
    let body = answer.json()?;
    assert_eq!(ack(&body), (2, 0, 0));
    let server_time = parse_rfc3339(body["server_time"].as_str().unwrap())?;
    assert!((unix_ms() - server_time).abs() < MINUTE, "{body}");

    assert_eq!(post(&stage, &batch).await?, (0, 2, 0));
    // What names a reading is (boot, seq): a resent one may say another age.
    let later = json!({"boot": 17, "readings": [
        {"seq": 1042, "age_ms": 9000, "co2": 815}, {"seq": 1043, "age_ms": 100, "co2": 816}]});
    assert_eq!(post(&stage, &later).await?, (1, 1, 0));
    assert_eq!(values(&stage, "co2").await?, [812.0, 815.0, 816.0]);
    // Another boot counts from the start again.
    assert_eq!(post(&stage, &json!({"boot": 18, "readings": [{"seq": 1041, "co2": 700}]})).await?, (1, 0, 0));
    assert_eq!(values(&stage, "co2").await?, [812.0, 815.0, 816.0, 700.0]);
    assert_eq!(values(&stage, "temperature").await?, [22.4]);
    stage.strike().await
}

#[tokio::test]
async fn without_clock_and_number_uptime_names_a_reading() -> Result<()> {
    let stage = Stage::set().await?;
    let batch = |uptime_ms: u64, ages_ms: &[u64]| {
        let readings: Vec<_> = ages_ms.iter().map(|age_ms| json!({"age_ms": age_ms, "co2": 600})).collect();
        json!({"boot": 3, "uptime_ms": uptime_ms, "readings": readings})
    };
    assert_eq!(post(&stage, &batch(60_000, &[20_000, 10_000])).await?, (2, 0, 0));
    // Each attempt takes another time on its way: these say the same two readings are some seconds older.
    assert_eq!(post(&stage, &batch(63_000, &[23_000, 13_000])).await?, (0, 2, 0));
    let bad = json!({"boot": 3, "uptime_ms": -1, "readings": [{"age_ms": 1, "co2": 600}]});
    stage.device.ingest(&bad).await?.expect(400)?;
    stage.strike().await
}

#[tokio::test]
async fn the_same_reading_twice_in_one_batch_is_one_reading() -> Result<()> {
    let stage = Stage::set().await?;
    let reading = json!({"seq": 1, "time": unix_ms(), "co2": 600});
    assert_eq!(post(&stage, &json!({"boot": 1, "readings": [reading, reading]})).await?, (1, 1, 0));
    assert_eq!(values(&stage, "co2").await?, [600.0]);
    Ok(())
}

#[tokio::test]
async fn without_a_number_the_time_names_a_reading() -> Result<()> {
    let stage = Stage::set().await?;
    let time = unix_ms() - MINUTE;
    let batch = json!({"readings": [{"time": time, "co2": 500}, {"time": time + 1000, "co2": 501}]});
    assert_eq!(post(&stage, &batch).await?, (2, 0, 0));
    assert_eq!(post(&stage, &batch).await?, (0, 2, 0));
    // The name is (device, metric, time): another metric of the same moment is new.
    assert_eq!(post(&stage, &json!({"readings": [{"time": time, "temperature": 21.5}]})).await?, (1, 0, 0));
    assert_eq!(values(&stage, "co2").await?, [500.0, 501.0]);
    assert_eq!(values(&stage, "temperature").await?, [21.5]);
    Ok(())
}

#[tokio::test]
async fn two_devices_may_use_the_same_numbers() -> Result<()> {
    let stage = Stage::set().await?;
    let other = stage.reader.with_token(&stage.home.add_device("shelf", "Study").await?);
    let batch = json!({"boot": 1, "readings": [{"seq": 1, "time": unix_ms(), "co2": 600}]});
    assert_eq!(post(&stage, &batch).await?, (1, 0, 0));
    assert_eq!(ack(&other.ingest(&batch).await?.expect(200)?.json()?), (1, 0, 0));
    assert_eq!(csv_rows::all(&stage.reader, "shelf", "co2").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn rejected_readings_are_listed_and_the_others_stored() -> Result<()> {
    let stage = Stage::set().await?;
    let now = unix_ms();
    let batch = json!({"boot": 1, "readings": [
        {"seq": 1, "time": now, "co2": 601},
        {"seq": 2, "time": now + 1, "co2": 40_001},
        {"seq": 3, "time": now + 2, "co2": "602"},
        {"seq": 4, "time": now + 3, "CO2": 603},
        {"seq": 5, "time": "yesterday", "co2": 604},
        {"seq": 6, "time": now + 5, "co2": 605, "state": "fine"},
        {"seq": -7, "time": now + 6, "co2": 606},
        {"seq": 8, "time": now + 7, "humidity": 100.5},
        "not a reading",
        {"seq": 10, "time": now + 9},
        {"seq": 11, "time": now + 10, "co2": 611}]});
    let first = stage.device.ingest(&batch).await?.expect(200)?.json()?;
    assert_eq!(ack(&first), (2, 0, 9));
    let expected = [
        (1, "out_of_range"),
        (2, "wrong_type"),
        (3, "bad_name"),
        (4, "bad_time"),
        (5, "bad_state"),
        (6, "bad_seq"),
        (7, "out_of_range"),
        (8, "wrong_type"),
        (9, "empty"),
    ];
    assert_eq!(codes(&first), expected.map(|(index, code)| (index, code.to_owned())));
    let second = stage.device.ingest(&batch).await?.expect(200)?.json()?;
    assert_eq!((ack(&second), codes(&second)), ((0, 2, 9), codes(&first)));
    assert_eq!(values(&stage, "co2").await?, [601.0, 611.0]);
    Ok(())
}

#[tokio::test]
async fn cbor_means_the_same_as_json() -> Result<()> {
    let stage = Stage::set().await?;
    let now = unix_ms();
    let batch = json!({"boot": 17, "readings": [
        {"seq": 1, "time": rfc3339(now), "co2": 812, "temperature": 22.4},
        {"seq": 2, "time": now + 1, "co2": 815.5, "state": "suspect"}]});
    let send = |bytes: Vec<u8>| stage.device.post("/api/v1/readings").body("application/cbor", bytes).send();
    let answer = send(cbor::encode(&batch)).await?.expect(200)?;
    answer.measured()?;
    assert_eq!(ack(&answer.json()?), (2, 0, 0));
    assert_eq!(post(&stage, &batch).await?, (0, 2, 0));
    let found = rows(&stage, "co2").await?;
    assert_eq!(
        found.iter().map(|row| (row.value, row.field("state"))).collect::<Vec<_>>(),
        [(812.0, "ok"), (815.5, "suspect")]
    );
    assert_eq!(values(&stage, "temperature").await?, [22.4]);

    // {"readings": [{"co2": NaN}, {"co2": Infinity}, {"co2": -Infinity}]}, half, single and double precision
    let infinite = [
        &[0xa1, 0x68][..],
        b"readings",
        &[0x83],
        &[0xa1, 0x63],
        b"co2",
        &[0xf9, 0x7e, 0x00],
        &[0xa1, 0x63],
        b"co2",
        &[0xfa, 0x7f, 0x80, 0, 0],
        &[0xa1, 0x63],
        b"co2",
        &[0xfb, 0xff, 0xf0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let answer = send(infinite).await?.expect(200)?.json()?;
    assert_eq!(ack(&answer), (0, 0, 3));
    assert!(codes(&answer).iter().all(|(_, code)| code == "not_finite"), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_reading_keeps_the_time_it_was_taken() -> Result<()> {
    let stage = Stage::set().await?;
    let before = unix_ms();
    let taken = before - 3 * DAY;
    let batch = json!({"readings": [
        {"time": rfc3339(taken), "m1": 1},
        {"time": "2026-02-03T04:05:06.789+05:30", "m2": 2},
        {"time": taken + 7, "m3": 3},
        {"age_ms": 10 * MINUTE, "m4": 4},
        {"m5": 5}]});
    assert_eq!(post(&stage, &batch).await?, (5, 0, 0));
    let after = unix_ms();
    for (metric, from, to) in [
        ("m1", taken, taken),
        ("m2", 1_770_071_706_789, 1_770_071_706_789),
        ("m3", taken + 7, taken + 7),
        ("m4", before - 10 * MINUTE, after - 10 * MINUTE),
        ("m5", before, after),
    ] {
        let found = rows(&stage, metric).await?;
        assert_eq!(found.len(), 1, "{metric}");
        assert!(
            (from..=to).contains(&found[0].time_ms),
            "{metric}: {} not in {from}..={to}",
            found[0].time_ms
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_absurd_time_counts_as_unknown() -> Result<()> {
    let stage = Stage::set().await?;
    let before = unix_ms();
    let batch = json!({"boot": 1, "readings": [
        {"seq": 1, "time": "2000-01-01T00:00:07Z", "m1": 1},
        {"seq": 2, "time": "2014-12-31T23:59:59Z", "m2": 1},
        {"seq": 3, "time": before + DAY + 10 * MINUTE, "m3": 1},
        {"seq": 4, "time": 0, "m4": 1},
        {"seq": 5, "time": 9e300, "m5": 1},
        {"seq": 6, "age_ms": 9_000_000_000_000_000_u64, "m6": 1},
        // These are odd, but may be true.
        {"seq": 7, "time": "2015-01-01T00:00:00Z", "k1": 1},
        {"seq": 8, "time": before + DAY - 10 * MINUTE, "k2": 1}]});
    assert_eq!(post(&stage, &batch).await?, (8, 0, 0));
    let after = unix_ms();
    for metric in ["m1", "m2", "m3", "m4", "m5", "m6"] {
        let time = rows(&stage, metric).await?[0].time_ms;
        assert!((before..=after).contains(&time), "{metric}: {}", rfc3339(time));
    }
    assert_eq!(rows(&stage, "k1").await?[0].time_ms, 1_420_070_400_000);
    assert_eq!(rows(&stage, "k2").await?[0].time_ms, before + DAY - 10 * MINUTE);
    // Sent again, they are still the same readings, although the time of receipt is another.
    assert_eq!(post(&stage, &batch).await?, (0, 8, 0));
    Ok(())
}

#[tokio::test]
async fn other_names_are_kept_as_custom_metrics() -> Result<()> {
    let stage = Stage::set().await?;
    let long = "abcdefghijklmnopqrstuvwxyz_01234";
    let batch = json!({"readings": [{"time": unix_ms(), "window_open": 1, long: -1e12, "co2": 500}]});
    assert_eq!(post(&stage, &batch).await?, (1, 0, 0));
    let found = rows(&stage, "window_open").await?;
    assert_eq!((found[0].value, found[0].field("unit")), (1.0, ""));
    assert_eq!(values(&stage, long).await?, [-1e12]);
    assert_eq!(rows(&stage, "co2").await?[0].field("unit"), "ppm");
    Ok(())
}

#[tokio::test]
async fn values_come_back_as_they_were_sent() -> Result<()> {
    let stage = Stage::set().await?;
    let now = unix_ms();
    let sent =
        [22.4, 0.1, 0.004_764_163_024_164_14, 572.666_666_666_667, 1e-300, -0.5, 123_456_789.123_456_78];
    let readings: Vec<Value> =
        sent.iter().zip(0..).map(|(value, i)| json!({"time": now + i, "exact": value})).collect();
    assert_eq!(post(&stage, &json!({"readings": readings})).await?, (sent.len() as u64, 0, 0));
    assert_eq!(values(&stage, "exact").await?, sent);
    let path = format!("/api/v1/readings?device=desk&metric=exact&from={now}&to={}", now + 100);
    let points = stage.reader.json(&path).await?["points"].clone();
    let through_json: Vec<f64> =
        points.as_array().unwrap().iter().map(|point| point[1].as_f64().unwrap()).collect();
    assert_eq!(through_json, sent);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_read_is_400_and_stores_nothing() -> Result<()> {
    let stage = Stage::set().await?;
    let deep = format!(r#"{{"readings":[{{"co2":{}1{}}}]}}"#, "[".repeat(50_000), "]".repeat(50_000));
    let half = r#"{"readings":[{"time":1795341600000,"co2":600},{"time":17"#;
    for text in [
        "",
        "{",
        "[]",
        "null",
        "7",
        "\"text\"",
        "{}",
        r#"{"readings":{}}"#,
        r#"{"readings":[{"co2":NaN}]}"#,
        r#"{"readings":[{"co2":Infinity}]}"#,
        r#"{"readings":[{"co2":1e999}]}"#,
        r#"{"boot":-1,"readings":[]}"#,
        r#"{"boot":"x","readings":[]}"#,
        r#"{"readings":[{"co2":600}]} trailing"#,
        half,
        &deep,
    ] {
        let body = text.to_owned();
        let answer = stage.device.post("/api/v1/readings").body("application/json", body).send().await?;
        let start: String = text.chars().take(60).collect();
        answer.problem(400).map_err(|error| error.context(start))?;
    }
    let batch = cbor::encode(&json!({"readings": [{"time": unix_ms(), "co2": 600}]}));
    let not_utf8 = b"{\"readings\":[{\"\xff\xfe\":1}]}".to_vec();
    let deep = [&[0xa1, 0x68][..], b"readings", &[0x81; 100_000]].concat();
    for (kind, bytes) in [
        ("application/json", not_utf8),
        ("application/json", batch.clone()),
        ("application/cbor", batch[..batch.len() - 1].to_vec()),
        ("application/cbor", [&batch[..], &[0]].concat()),
        ("application/cbor", deep),
        ("application/cbor", vec![]),
        // A list that claims 2^63 readings must not be believed.
        ("application/cbor", [&[0xa1, 0x68][..], b"readings", &[0x9b, 0x7f], &[0xff; 7]].concat()),
    ] {
        stage.device.post("/api/v1/readings").body(kind, bytes).send().await?.problem(400)?;
    }
    assert_eq!(rows(&stage, "co2").await?, []);
    stage.strike().await
}

#[tokio::test]
async fn who_may_not_write_stores_nothing() -> Result<()> {
    let stage = Stage::set().await?;
    let batch = json!({"readings": [{"time": unix_ms(), "co2": 600}]});
    let attempt = |authorization: Option<String>| {
        let draft = stage.reader.post("/api/v1/readings").json(&batch);
        match authorization {
            Some(value) => draft.header("authorization", &value),
            None => draft,
        }
        .send()
    };
    let mut almost = stage.token.clone();
    let last = almost.pop().unwrap();
    almost.push(if last == 'a' { 'b' } else { 'a' });
    for (what, authorization) in [
        ("none", None),
        ("empty", Some("Bearer ".to_owned())),
        ("unknown", Some("Bearer cas_dev_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned())),
        ("one letter off", Some(format!("Bearer {almost}"))),
        ("another scheme", Some(format!("Basic {}", stage.token))),
        ("huge", Some(format!("Bearer {}", "x".repeat(4000)))),
    ] {
        let answer = attempt(authorization).await?;
        answer.problem(401).map_err(|error| error.context(what))?;
        // RFC 9110, 11.6.1: a 401 names a scheme.
        assert!(
            answer.header("www-authenticate").is_some_and(|scheme| scheme.starts_with("Bearer")),
            "{what}"
        );
    }
    // The scheme's name is case-insensitive (RFC 9110, 11.1).
    attempt(Some(format!("bearer {}", stage.token))).await?.expect(200)?;

    let read = stage.home.create_token("read").await?;
    attempt(Some(format!("Bearer {read}"))).await?.problem(403)?;

    stage.home.run(&["device", "revoke", "desk"]).await?.expect(0)?;
    attempt(Some(format!("Bearer {}", stage.token))).await?.problem(401)?;
    assert_eq!(rows(&stage, "co2").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_device_speaks_for_itself_alone() -> Result<()> {
    let stage = Stage::set().await?;
    stage.home.add_device("shelf", "Study").await?;
    let now = unix_ms();
    for batch in [
        json!({"device": "shelf", "readings": [{"time": now, "co2": 600}]}),
        json!({"readings": [{"time": now, "co2": 600}, {"device": "shelf", "time": now + 1, "co2": 601}]}),
        json!({"device": "nobody-knows-me", "readings": [{"time": now, "co2": 600}]}),
    ] {
        stage.device.ingest(&batch).await?.problem(403)?;
    }
    assert_eq!(rows(&stage, "co2").await?, []);
    let own = json!({"device": "desk", "readings": [{"time": now, "device": "desk", "co2": 600}]});
    assert_eq!(post(&stage, &own).await?, (1, 0, 0));
    Ok(())
}

#[tokio::test]
async fn a_batch_may_hold_ten_thousand_readings_and_no_more() -> Result<()> {
    let stage = Stage::set().await?;
    let now = unix_ms();
    let batch = |n: i64| json!({"readings": (0..n).map(|i| json!({"time": now - n + i, "n": i})).collect::<Vec<_>>()});
    stage.device.ingest(&batch(10_001)).await?.problem(413)?;
    assert_eq!(rows(&stage, "n").await?, []);
    assert_eq!(post(&stage, &batch(10_000)).await?, (10_000, 0, 0));
    let found = values(&stage, "n").await?;
    assert!(found.iter().copied().eq((0..10_000).map(f64::from)), "{} rows", found.len());
    assert_eq!(post(&stage, &batch(10_000)).await?, (0, 10_000, 0));
    assert_eq!(post(&stage, &json!({"readings": []})).await?, (0, 0, 0));
    Ok(())
}

#[tokio::test]
async fn a_body_over_one_mebibyte_is_413() -> Result<()> {
    let stage = Stage::set().await?;
    let reading = json!({"readings": [{"time": unix_ms(), "co2": 600}]}).to_string();
    let padded = |bytes: usize| format!("{reading}{}", " ".repeat(bytes - reading.len()));
    for client in [stage.device.fresh(), stage.gateway.client_h2()?.with_token(&stage.token)] {
        for bytes in [(1 << 20) + 1, 4 << 20] {
            let draft = client.post("/api/v1/readings").body("application/json", padded(bytes));
            draft.send().await?.problem(413)?;
        }
        assert_eq!(rows(&stage, "co2").await?, []);
    }
    stage
        .device
        .post("/api/v1/readings")
        .body("application/json", padded(1 << 20))
        .send()
        .await?
        .expect(200)?;
    assert_eq!(rows(&stage, "co2").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn other_kinds_of_body_are_415() -> Result<()> {
    let stage = Stage::set().await?;
    let body = json!({"readings": [{"time": unix_ms(), "co2": 600}]}).to_string();
    let send = |kind: &'static str| stage.device.post("/api/v1/readings").body(kind, body.clone()).send();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/jsonx",
        "nonsense",
    ] {
        send(kind).await?.problem(415).map_err(|error| error.context(kind))?;
    }
    assert_eq!(rows(&stage, "co2").await?, []);
    send("Application/JSON; charset=utf-8").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn other_methods_and_paths_answer_as_problems_too() -> Result<()> {
    let stage = Stage::set().await?;
    let problem = |answer: &Answer, status| answer.problem(status).map(drop);
    let answer = stage.device.request("DELETE".parse()?, "/api/v1/readings").send().await?;
    problem(&answer, 405)?;
    let allowed = answer.header("allow").unwrap_or_default();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    problem(&stage.reader.get("/api/v1/no-such-thing").send().await?, 404)?;
    problem(&stage.reader.get("/api/v1/devices/nobody").send().await?, 404)?;
    problem(&stage.reader.get("/api/v2/readings").send().await?, 404)?;
    Ok(())
}
