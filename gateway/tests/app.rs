//! The whole application in this process, on port 0, spoken to over TLS through its public API.

mod update;

use anyhow::{Context, Result, ensure};
use casement::access;
use casement::app::App;
use casement::config;
use casement::edge::Passed;
use casement::guard::TokenKind;
use casement::reading::Device;
use casement::store::{self, Scope};
use casement_proto::DeviceId;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

struct TestApp {
    https: SocketAddr,
    http: SocketAddr,
    tls: TlsConnector,
    shutdown: CancellationToken,
    running: JoinHandle<Result<()>>,
    device_token: String,
    read_token: String,
    place: tempfile::TempDir,
}

impl TestApp {
    async fn start(dashboard: &str) -> Result<Self> {
        let _already_set = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let place = tempfile::tempdir()?;
        let text = format!(
            "data_dir = {:?}\n[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\n[access]\ndashboard = \"{dashboard}\"\n",
            place.path()
        );
        let (config, _) = config::parse(None, &text, &[])?;
        let store = store::open(&config.store_url, place.path()).await?;
        let id = DeviceId::parse("desk").context("a good name")?;
        let device = Device { id, room: Some("Study".into()), name: None, simulated: false, created_ms: 0 };
        store.add_device(&device).await?;
        let (device_token, kept) = access::issue(TokenKind::Device, Scope::Device(id), None, 0, None);
        store.add_token(&kept).await?;
        let (read_token, kept) = access::issue(TokenKind::Api, Scope::Read, None, 0, None);
        store.add_token(&kept).await?;
        store.close().await;

        let shutdown = CancellationToken::new();
        let app = App::build(config, Passed::default(), shutdown.clone()).await?;
        let addresses = app.addresses();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(place.path().join("certs/own-authority.pem"))?)?;
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self {
            https: *addresses.https.first().context("HTTPS listens")?,
            http: *addresses.http.first().context("HTTP listens")?,
            tls: TlsConnector::from(Arc::new(tls)),
            shutdown,
            running: tokio::spawn(app.run()),
            device_token: device_token.reveal().to_owned(),
            read_token: read_token.reveal().to_owned(),
            place,
        })
    }

    async fn connect(&self) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.https).await?;
        Ok(self.tls.connect(ServerName::try_from("localhost")?, stream).await?)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        let connection = tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        drop(sender);
        connection.abort();
        Ok(Response::from_parts(head, body))
    }

    async fn get(&self, path: &str, token: Option<&str>) -> Result<(StatusCode, Value)> {
        let mut request = Request::get(path).header("host", "localhost");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = self.send(request.body(Full::default())?).await?;
        Ok((response.status(), serde_json::from_slice(response.body()).unwrap_or(Value::Null)))
    }

    async fn post(&self, body: impl Into<Bytes>, token: &str) -> Result<(StatusCode, Value)> {
        let request = Request::post("/api/v1/readings")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(body.into()))?;
        let response = self.send(request).await?;
        ensure!(response.headers().contains_key("content-length"), "small devices need the length");
        Ok((response.status(), serde_json::from_slice(response.body())?))
    }

    async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        self.running.await?
    }
}

#[tokio::test]
async fn a_reading_goes_in_and_comes_out() -> Result<()> {
    let app = TestApp::start("private").await?;
    let batch =
        json!({"boot": 1, "readings": [{"seq": 1, "co2": 812}, {"seq": 2, "co2": 99999}]}).to_string();
    let (status, ack) = app.post(batch.clone(), &app.device_token).await?;
    assert_eq!(
        (status, &ack["stored"], &ack["rejected"][0]["index"]),
        (StatusCode::OK, &json!(1), &json!(1))
    );
    let (_, again) = app.post(batch, &app.device_token).await?;
    assert_eq!((&again["stored"], &again["duplicate"]), (&json!(0), &json!(1)));
    let (_, devices) = app.get("/api/v1/devices", Some(&app.read_token)).await?;
    let device = &devices["devices"][0];
    assert_eq!((&device["room"], &device["presence"]), (&json!("Study"), &json!("online")));
    assert_eq!((&device["last"]["values"]["co2"], &device["band"]), (&json!(812), &json!("good")));
    let (_, series) =
        app.get("/api/v1/readings?device=desk&metric=co2&from=now-1h", Some(&app.read_token)).await?;
    assert_eq!((&series["step_s"], &series["points"][0][1]), (&json!(0), &json!(812)));
    app.stop().await
}

#[tokio::test]
async fn everybody_gets_what_is_theirs_and_nothing_else() -> Result<()> {
    let app = TestApp::start("private").await?;
    let (device, read) = (app.device_token.clone(), app.read_token.clone());
    for (path, token, expected) in [
        ("/api/v1/devices", None, 401),
        ("/api/v1/devices", Some("cas_api_wrong"), 401),
        ("/api/v1/devices", Some(device.as_str()), 403),
        ("/api/v1/devices", Some(read.as_str()), 200),
        ("/api/v1/readings?device=desk&metric=co2", None, 401),
        ("/api/v1/stream", None, 401),
        ("/dev?deviceId=desk", None, 401),
        ("/api/v1/metrics", None, 200),
        ("/healthz", None, 200),
        ("/readyz", None, 200),
        ("/", None, 303),
        ("/r/Study", None, 303),
        ("/login", None, 200),
        ("/api/v1/nothing", Some(read.as_str()), 404),
    ] {
        let (status, _) = app.get(path, token).await?;
        assert_eq!(status.as_u16(), expected, "{path} with {token:?}");
    }
    let (status, problem) = app.post(r#"{"readings":[]}"#, &read).await?;
    assert_eq!((status.as_u16(), &problem["code"]), (403, &json!("forbidden")));
    let other = json!({"device": "other", "readings": [{"co2": 1}]}).to_string();
    assert_eq!(app.post(other, &device).await?.0.as_u16(), 403);
    app.stop().await
}

#[tokio::test]
async fn bad_input_has_a_status_and_a_reason() -> Result<()> {
    let app = TestApp::start("private").await?;
    let too_many = format!(r#"{{"readings":[{}]}}"#, vec![r#"{"co2":1}"#; 10_001].join(","));
    for (body, status) in [
        ("", 400),
        ("{", 400),
        (r#"{"readings":5}"#, 400),
        (r#"{"boot":-1,"readings":[]}"#, 400),
        (too_many.as_str(), 413),
        (&"x".repeat((1 << 20) + 1), 413),
    ] {
        let (found, problem) = app.post(body.to_owned(), &app.device_token).await?;
        assert_eq!(found.as_u16(), status, "{problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
    }
    let (_, devices) = app.get("/api/v1/devices", Some(&app.read_token)).await?;
    assert_eq!(devices["devices"][0]["presence"], "never", "nothing of it was stored");
    app.stop().await
}

#[tokio::test]
async fn many_who_write_at_once_are_all_acknowledged_and_all_stored() -> Result<()> {
    let app = Arc::new(TestApp::start("public").await?);
    let mut writers = Vec::new();
    for writer in 0..20u64 {
        let app = Arc::clone(&app);
        writers.push(tokio::spawn(async move {
            let mut stored = 0;
            for seq in 0..10u64 {
                let readings: Vec<_> =
                    (0..10).map(|i| json!({"seq": seq * 10 + i, "co2": 500 + i})).collect();
                let batch = json!({"boot": writer, "readings": readings}).to_string();
                let (status, ack) = app.post(batch, &app.device_token).await?;
                ensure!(status == StatusCode::OK, "{ack}");
                stored += ack["stored"].as_u64().context("a number")?;
            }
            Ok::<u64, anyhow::Error>(stored)
        }));
    }
    let mut stored = 0;
    for writer in writers {
        stored += writer.await??;
    }
    assert_eq!(stored, 2_000);
    let path = "/api/v1/readings?device=desk&metric=co2&from=now-1h&max_points=10000";
    let (_, series) = app.get(path, None).await?;
    assert_eq!(series["points"].as_array().map(Vec::len), Some(2_000));
    Arc::into_inner(app).context("nobody else holds it")?.stop().await
}

#[tokio::test]
async fn one_address_cannot_take_every_seat() -> Result<()> {
    let app = TestApp::start("public").await?;
    let mut held = Vec::new();
    for _ in 0..casement::edge::PLAIN_CONNECTIONS_PER_ADDRESS_MAX {
        let mut stream = TcpStream::connect(app.http).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        let mut first = [0];
        stream.read_exact(&mut first).await?;
        held.push(stream);
    }
    let mut refused = TcpStream::connect(app.http).await?;
    let mut rest = Vec::new();
    // Closed at once, or reset because the request was not read.
    let closed = refused.read_to_end(&mut rest).await;
    assert!(closed.is_err() || rest.is_empty());
    drop(held);
    // A place is free again as soon as one of them has gone.
    loop {
        let mut stream = TcpStream::connect(app.http).await?;
        let mut first = [0];
        if stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.is_ok()
            && stream.read_exact(&mut first).await.is_ok()
        {
            break;
        }
    }
    app.stop().await
}

#[tokio::test]
async fn stopping_ends_live_streams_and_finishes_requests() -> Result<()> {
    let app = TestApp::start("public").await?;
    let mut stream = app.connect().await?;
    stream.write_all(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut seen = Vec::new();
    while !seen.windows(15).any(|window| window == b"event: snapshot") {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).await?;
        ensure!(count > 0, "the stream ended early");
        seen.extend_from_slice(&buffer[..count]);
    }
    app.stop().await?;
    // What follows is the end of the stream and of the connection, not a cut.
    stream.read_to_end(&mut seen).await?;
    assert!(seen.ends_with(b"0\r\n\r\n"), "the body is finished");
    Ok(())
}

#[tokio::test]
async fn who_guesses_tokens_has_to_wait_and_who_has_one_does_not() -> Result<()> {
    let app = TestApp::start("private").await?;
    let mut waiting = None;
    for _ in 0..=casement::guard::GUESSES_MAX {
        let request = Request::get("/api/v1/devices")
            .header("host", "localhost")
            .header("authorization", "Bearer cas_api_guess")
            .body(Full::default())?;
        let response = app.send(request).await?;
        match response.status().as_u16() {
            401 => ensure!(waiting.is_none(), "the wait does not end by asking again"),
            429 => waiting = response.headers().get("retry-after").cloned(),
            other => anyhow::bail!("unexpected {other}"),
        }
    }
    let seconds: u64 = waiting.context("somebody had to wait")?.to_str()?.parse()?;
    assert!((1..=60).contains(&seconds));
    assert_eq!(app.get("/api/v1/devices", Some(&app.read_token)).await?.0, StatusCode::OK);
    app.stop().await
}
