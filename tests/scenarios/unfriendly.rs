//! Clients that are slow, broken or hostile.

use crate::Stage;
use anyhow::{Result, ensure};
use harness::csv_rows;
use harness::raw::{self, Ending};
use harness::wait::{Dice, Stopwatch, unix_ms};
use harness::{Home, report};
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// By then every slow client must have been sent away.
const ENOUGH: Duration = Duration::from_secs(60);

fn request(stage: &Stage, length: usize) -> String {
    format!(
        "POST /api/v1/readings HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
        stage.gateway.https(),
        stage.token,
    )
}

/// With 408 or without a word; anything but waiting for ever, or storing what never arrived.
fn sent_away(what: &str, ending: Ending) -> Result<()> {
    match ending {
        Ending::Closed => Ok(()),
        Ending::Answer(answer) if answer.status == 408 => Ok(()),
        other => anyhow::bail!("{what}: {other:?}"),
    }
}

#[tokio::test]
async fn a_slow_client_is_sent_away_and_nothing_is_stored() -> Result<()> {
    let stage = Stage::set().await?;
    let body = json!({"boot": 1, "readings": [{"seq": 1, "time": unix_ms(), "co2": 600}]}).to_string();
    let head = request(&stage, body.len());
    let connect = || raw::tls(stage.gateway.https(), stage.gateway.data_dir());

    // All at once: the scenario takes as long as the most patient limit.
    let stalled_body = async {
        let mut stream = connect().await?;
        stream.write_all(format!("{head}{}", &body[..body.len() - 1]).as_bytes()).await?;
        sent_away("a body that stops", raw::ending(&mut stream, ENOUGH).await?)
    };
    let dripping_body = async {
        let mut stream = connect().await?;
        stream.write_all(request(&stage, 100_000).as_bytes()).await?;
        let clock = Stopwatch::start();
        let (mut from, mut to) = tokio::io::split(stream);
        let spaces = " ".repeat(100_000);
        let ending = tokio::select! {
            ending = raw::ending(&mut from, ENOUGH) => ending?,
            sent = raw::drip(&mut to, spaces.as_bytes(), Duration::from_millis(100)) => {
                ensure!(sent < spaces.len(), "100,000 bytes took {:?}", clock.elapsed());
                Ending::Closed
            }
        };
        sent_away("a body that drips", ending)
    };
    let stalled_head = async {
        let mut stream = connect().await?;
        stream.write_all(&head.as_bytes()[..head.len() - 2]).await?;
        sent_away("a header that stops", raw::ending(&mut stream, ENOUGH).await?)
    };
    let no_handshake = async {
        let mut stream = TcpStream::connect(stage.gateway.https()).await?;
        sent_away("no TLS handshake", raw::ending(&mut stream, ENOUGH).await?)
    };
    let silent_plain = async {
        let mut stream = TcpStream::connect(stage.gateway.http()).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a").await?;
        sent_away("a plain header that stops", raw::ending(&mut stream, ENOUGH).await?)
    };
    tokio::try_join!(stalled_body, dripping_body, stalled_head, no_handshake, silent_plain)?;

    assert_eq!(csv_rows::all(&stage.reader.fresh(), "desk", "co2").await?, []);
    stage.strike().await
}

#[tokio::test]
async fn a_slow_client_does_not_hold_up_the_others() -> Result<()> {
    let stage = Stage::set().await?;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = raw::tls(stage.gateway.https(), stage.gateway.data_dir()).await?;
        stream.write_all(request(&stage, 1000).as_bytes()).await?;
        slow.push(stream);
    }
    let batch = json!({"readings": [{"time": unix_ms(), "co2": 600}]});
    stage.device.ingest(&batch).await?.expect(200)?;
    stage.reader.get("/api/v1/devices").send().await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_stores_nothing() -> Result<()> {
    let stage = Stage::set().await?;
    let body = json!({"boot": 1, "readings": [{"seq": 1, "time": unix_ms(), "co2": 600}]}).to_string();
    for cut in [1, body.len() / 2, body.len() - 1] {
        let mut stream = raw::tls(stage.gateway.https(), stage.gateway.data_dir()).await?;
        stream.write_all(format!("{}{}", request(&stage, body.len()), &body[..cut]).as_bytes()).await?;
        stream.shutdown().await?;
        drop(stream);
    }
    stage
        .device
        .ingest(&json!({"boot": 1, "readings": [{"seq": 2, "time": unix_ms(), "co2": 700}]}))
        .await?
        .expect(200)?;
    let found: Vec<f64> =
        csv_rows::all(&stage.reader, "desk", "co2").await?.iter().map(|row| row.value).collect();
    assert_eq!(found, [700.0]);
    Ok(())
}

#[tokio::test]
async fn noise_on_every_port_does_no_harm() -> Result<()> {
    let stage = Stage::set().await?;
    let mut dice = Dice::new(1);
    let mut noise: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
            .to_vec(),
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n".to_vec(),
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100_000)).into_bytes(),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(10_000)).into_bytes(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET /%00%ff%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
    ];
    noise.extend(
        (0..40).map(|_| (0..dice.range(1, 600)).map(|_| dice.range(0, 256) as u8).collect::<Vec<_>>()),
    );
    for bytes in &noise {
        for address in [stage.gateway.http(), stage.gateway.https()] {
            let mut stream = TcpStream::connect(address).await?;
            let _closed_early = stream.write_all(bytes).await;
            let _closed_early = stream.shutdown().await;
        }
        let mut inside = raw::tls(stage.gateway.https(), stage.gateway.data_dir()).await?;
        let _closed_early = inside.write_all(bytes).await;
        let _closed_early = inside.shutdown().await;
    }
    stage.reader.fresh().get("/readyz").send().await?.expect(200)?;
    stage.strike().await
}

#[tokio::test]
async fn odd_queries_are_refused_with_a_reason() -> Result<()> {
    let stage = Stage::set().await?;
    let now = unix_ms();
    stage.device.ingest(&json!({"readings": [{"time": now, "co2": 600}]})).await?.expect(200)?;
    for (query, status) in [
        ("metric=co2", 400),
        ("device=desk", 400),
        ("device=nobody&metric=co2", 404),
        ("device=desk&metric=CO2", 400),
        ("device=desk&metric=co2&from=yesterday", 400),
        ("device=desk&metric=co2&from=now-5parsecs", 400),
        ("device=desk&metric=co2&from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 400),
        ("device=desk&metric=co2&max_points=0", 400),
        ("device=desk&metric=co2&max_points=-5", 400),
        ("device=desk&metric=co2&max_points=lots", 400),
        ("device=%00&metric=co2", 404),
        ("device=desk%27%3B--&metric=co2", 404),
    ] {
        let answer = stage.reader.get(&format!("/api/v1/readings?{query}")).send().await?;
        // A name that no device can have may be called malformed or unknown.
        let answer =
            if status == 404 && answer.status == 400 { answer.problem(400) } else { answer.problem(status) };
        answer.map_err(|error| error.context(query))?;
    }
    // Far out, but well-formed.
    for query in ["from=-62135596800000&to=253402300799000", "from=0&to=9007199254740991", "from=now-10000d"]
    {
        let path = format!("/api/v1/readings?device=desk&metric=co2&{query}");
        let answer = stage.reader.get(&path).send().await?;
        ensure!(answer.status == 200 || answer.status == 400, "{query}: {answer}");
    }
    stage.strike().await
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_sending() -> Result<()> {
    // hyper's client forgives a stream that is reset after its answer; curl, which people use, does not.
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        report::skipped(
            "refusal",
            "curl is not installed; refusals of requests with a body were not checked",
        );
        return Ok(());
    }
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let (renew, login) = ("/api/v1/certificate/renew", "/login");
    for round in 0..25 {
        for (path, header, expected) in
            [(renew, "content-type: application/json", "401"), (login, "sec-fetch-site: cross-site", "403")]
        {
            let told = tokio::process::Command::new("curl")
                .args([
                    "-sk",
                    "--http2",
                    "--max-time",
                    "20",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code} %{errormsg}",
                ])
                .args(["-H", header, "--data-binary", &"x".repeat(900), &format!("{}{path}", gateway.url())])
                .output()
                .await?;
            let told = String::from_utf8_lossy(&told.stdout).into_owned();
            ensure!(told.trim() == expected, "round {round}, {path}: {told}");
        }
    }
    Ok(())
}
