//! The fleet against a small TLS server: same certificates, same wire, a store made of a set.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// 22 November 2026.
const T0: i64 = 1_795_341_600_000;

/// `(token, boot, seq)` to its time in milliseconds and the body it came in.
type Stored = BTreeMap<(String, u64, u64), i64>;

#[derive(Default)]
struct Seen {
    stored: Stored,
    connections: usize,
    requests: usize,
    /// What to answer first, before everything is taken: a status line with headers, or nothing at all.
    answers: VecDeque<Option<&'static str>>,
    /// Close each connection after one answer without saying so.
    hang_up: bool,
    /// Requests that get no answer, over a connection that stays open.
    stalls: usize,
    names: Vec<String>,
}

struct Server {
    url: String,
    roots: Arc<RootCertStore>,
    seen: Arc<Mutex<Seen>>,
    _serving: tokio::task::JoinHandle<()>,
}

async fn serve(seen: Seen) -> Server {
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let root = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let seen = Arc::new(Mutex::new(seen));
    let shared = seen.clone();
    let _serving = tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, seen) = (acceptor.clone(), shared.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(tcp).await else { return };
                seen.lock().unwrap().connections += 1;
                while let Some(answer) = exchange(&mut stream, &seen).await {
                    if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                    if seen.lock().unwrap().hang_up {
                        return;
                    }
                }
            });
        }
    });
    Server { url, roots: Arc::new(roots), seen, _serving }
}

/// Reads a request and makes up the answer; `None` to close.
async fn exchange(stream: &mut (impl AsyncReadExt + Unpin), seen: &Mutex<Seen>) -> Option<String> {
    let mut bytes = Vec::new();
    let (head, from) = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break (String::from_utf8(bytes[..end].to_vec()).unwrap(), end + 4);
        }
    };
    let header = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap().to_owned()
    };
    let len: usize = header("Content-Length").parse().unwrap();
    while bytes.len() < from + len {
        stream.read_buf(&mut bytes).await.ok()?;
    }
    assert!(head.starts_with("POST /api/v1/readings HTTP/1.1\r\n"), "{head}");
    let token = header("Authorization").strip_prefix("Bearer ").unwrap().to_owned();
    let body: serde_json::Value = serde_json::from_slice(&bytes[from..]).unwrap();
    let stalls = {
        let mut seen = seen.lock().unwrap();
        let stalls = seen.stalls > 0;
        seen.stalls = seen.stalls.saturating_sub(1);
        stalls
    };
    if stalls {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let mut seen = seen.lock().unwrap();
    seen.requests += 1;
    if let Some(answer) = seen.answers.pop_front() {
        return answer.map(str::to_owned);
    }
    let (mut stored, mut duplicate) = (0, 0);
    for reading in body["readings"].as_array().unwrap() {
        let name = (token.clone(), body["boot"].as_u64().unwrap(), reading["seq"].as_u64().unwrap());
        match seen.stored.insert(name, reading["time"].as_i64().unwrap()) {
            None => stored += 1,
            Some(_) => duplicate += 1,
        }
        let quantities =
            reading.as_object().unwrap().keys().filter(|key| !["seq", "time"].contains(&key.as_str()));
        seen.names.extend(quantities.cloned());
    }
    let body = format!(r#"{{"stored":{stored},"duplicate":{duplicate},"rejected":[]}}"#);
    Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

fn fleet(server: &Server, count: u64) -> Fleet {
    let device = |index: u64| Virtual {
        token: format!("cas_dev_{index}"),
        kind: RoomKind::ALL[usize::try_from(index).unwrap() % 4],
        seed: index,
        boot: 1_795_341_600,
        estimated: index == 3,
    };
    Fleet {
        url: server.url.clone(),
        roots: server.roots.clone(),
        devices: (0..count).map(device).collect(),
        speed: 60.0,
        period_ms: 1_000,
        backfill: Duration::ZERO,
        outages: false,
        duration: Some(Duration::from_millis(2_500)),
    }
}

/// The date begins at T0 with the first look at it.
fn clock() -> impl Fn() -> i64 + Clone + Send + Sync + 'static {
    let started = Instant::now();
    move || T0 + i64::try_from(started.elapsed().as_millis()).unwrap()
}

async fn run_quietly(fleet: Fleet) -> Totals {
    run(fleet, clock(), CancellationToken::new(), |_| {}).await.unwrap()
}

fn times(seen: &Seen, token: &str) -> Vec<(u64, i64)> {
    seen.stored.iter().filter(|(name, _)| name.0 == token).map(|(name, at)| (name.1, *at)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_sends_its_history_and_then_its_present() {
    let server = serve(Seen::default()).await;
    let mut fleet = fleet(&server, 4);
    fleet.backfill = Duration::from_secs(24 * 3_600);
    let heard = Arc::new(Mutex::new(0));
    let last = heard.clone();
    let progress = move |totals: &Totals| *last.lock().unwrap() = totals.stored;
    let totals = run(fleet, clock(), CancellationToken::new(), progress).await.unwrap();
    let seen = server.seen.lock().unwrap();
    assert_eq!(totals.stored as usize, seen.stored.len());
    assert_eq!(Totals { stored: totals.stored, ..Totals::default() }, totals);
    assert_eq!(*heard.lock().unwrap(), totals.stored);
    // One connection for each device, whatever the number of uploads.
    assert_eq!(seen.connections, 4);
    assert!(seen.requests > 4 * 15);
    for (device, gaps) in [("cas_dev_0", 0), ("cas_dev_1", 0), ("cas_dev_2", 1), ("cas_dev_3", 0)] {
        let times = times(&seen, device);
        let holes: Vec<_> =
            times.windows(2).map(|pair| pair[1].1 - pair[0].1).filter(|step| *step > 60_000).collect();
        assert_eq!(holes.len(), gaps, "{device}: {holes:?}");
        assert!(holes.iter().all(|hole| (80 * 60_000..83 * 60_000).contains(hole)), "{holes:?}");
        assert!(times.first().unwrap().1 < T0 - 86_300_000);
        assert!(times.last().unwrap().1 > T0);
        assert!(times.iter().filter(|(_, at)| *at < T0).all(|(_, at)| at % 60_000 == 0));
        // The gap is a power cut: the device counts from one again under another boot.
        let boots: std::collections::BTreeSet<_> = times.iter().map(|(boot, _)| *boot).collect();
        assert_eq!(boots.len(), 1 + gaps, "{device}");
    }
    assert!(seen.names.iter().any(|name| name == "eco2") && seen.names.iter().any(|name| name == "co2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_never_came_leads_to_a_duplicate_and_no_loss() {
    // Nothing at all, a gateway that is starting, half an answer: then it works.
    let answers = [
        None,
        Some("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 2\r\n\r\n{}"),
        Some("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    let server = serve(Seen { answers: answers.into(), ..Seen::default() }).await;
    let mut fleet = fleet(&server, 1);
    fleet.duration = Some(Duration::from_secs(5));
    let totals = run_quietly(fleet).await;
    let seen = server.seen.lock().unwrap();
    assert_eq!((totals.stored as usize, totals.queued), (seen.stored.len(), 0));
    let times = times(&seen, "cas_dev_0");
    assert!(times.len() >= 4 && times.windows(2).all(|pair| pair[1].1 - pair[0].1 == 1_000), "{times:?}");
    assert!(totals.failed_uploads >= 2, "{totals:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_of_an_outage_arrive_late_and_leave_no_gap() {
    // The first exchange hangs, and the wire goes away under it.
    let server = serve(Seen { stalls: 1, ..Seen::default() }).await;
    let settings = Settings::new(1_000, device::BATCH, "common").unwrap();
    let plan = Plan {
        room: Room::new(RoomKind::Office, 1, false, T0),
        token: "cas_dev_0".to_owned(),
        boot: 1,
        seed: 1,
        speed: 1.0,
        live: settings,
        history: settings,
        backfill_ms: 0,
        hole_ms: None,
        outages: Outages::once(2_000, 4_000),
        until: Instant::now().checked_add(Duration::from_millis(6_500)),
    };
    let gateway = Gateway::new(&server.url, server.roots.clone()).unwrap();
    let (report, _reports) = mpsc::channel(1);
    let totals = device::run(plan, gateway, clock(), CancellationToken::new(), report, 0).await;
    let seen = server.seen.lock().unwrap();
    let times = times(&seen, "cas_dev_0");
    assert!(times.len() >= 5 && times.windows(2).all(|pair| pair[1].1 - pair[0].1 == 1_000), "{times:?}");
    assert_eq!((totals.stored as usize, totals.queued, totals.failed_uploads), (times.len(), 0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_closed_while_idle_is_no_failure() {
    let server = serve(Seen { hang_up: true, ..Seen::default() }).await;
    let totals = run_quietly(fleet(&server, 1)).await;
    assert!(totals.stored >= 2, "{totals:?}");
    assert_eq!(totals.failed_uploads, 0);
    assert!(server.seen.lock().unwrap().connections >= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_nobody_vouches_for_gets_nothing() {
    let (server, stranger) = (serve(Seen::default()).await, serve(Seen::default()).await);
    let mut fleet = fleet(&server, 1);
    fleet.roots = stranger.roots.clone();
    // By address the certificate is as wrong as by signature.
    let by_address = Fleet {
        url: fleet.url.replace("localhost", "127.0.0.1"),
        roots: server.roots.clone(),
        ..fleet.clone()
    };
    for fleet in [fleet, by_address] {
        let (stop, stopping) = (CancellationToken::new(), CancellationToken::new());
        let token = stop.clone();
        let ender = tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(1_500)) => token.cancel(),
                () = stopping.cancelled() => {}
            }
        });
        let totals = run(fleet, clock(), stop, |_| {}).await.unwrap();
        ender.await.unwrap();
        assert_eq!(totals.stored, 0);
        assert!(totals.queued >= 1 && totals.failed_uploads >= 1, "{totals:?}");
    }
    assert_eq!(server.seen.lock().unwrap().requests, 0);
}

#[tokio::test]
async fn a_fleet_that_cannot_start_says_why() {
    let server = serve(Seen::default()).await;
    for url in
        ["http://localhost", "https://", "https://a b", "https://h:99999", "localhost:8443", "https://h/x"]
    {
        let fleet = Fleet { url: url.to_owned(), ..fleet(&server, 1) };
        let outcome = run(fleet, clock(), CancellationToken::new(), |_| {}).await;
        assert!(matches!(outcome, Err(FleetError::Gateway(GatewayError::Url(_)))), "{url}");
    }
    let fleet = Fleet { period_ms: 10, ..fleet(&server, 1) };
    let outcome = run(fleet, clock(), CancellationToken::new(), |_| {}).await;
    assert!(matches!(outcome, Err(FleetError::Settings(SettingsError::Period))));
}

#[test]
fn a_token_is_not_printed() {
    let device = Virtual {
        token: "cas_dev_secret".to_owned(),
        kind: RoomKind::Office,
        seed: 1,
        boot: 1,
        estimated: false,
    };
    assert!(!format!("{device:?}").contains("secret"));
}
