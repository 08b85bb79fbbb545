//! Sockets that the service manager has opened: they are used, they outlive the gateway, and nobody is refused while it
//! restarts. A shell stands in for systemd and does what it does: descriptors from 3 on, and three variables.

use anyhow::{Context, Result, ensure};
use harness::wait::{Stopwatch, unix_ms};
use harness::{Home, Passing, csv_rows, report};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Devices that send one reading after the other, each over a new connection.
const WORKERS: u64 = 6;
/// How often the gateway is restarted meanwhile.
const RESTARTS: u64 = 4;

#[tokio::test]
async fn sockets_that_are_passed_are_used() -> Result<()> {
    let (http, https) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    // By name; what the configuration says is heard besides, and differs.
    let home = Home::public()?;
    let sockets = Passing::files(&[https.as_fd(), http.as_fd()]).named(&["https", "http"]);
    let gateway = home.serve_on(&sockets).await?;
    ensure!(gateway.https() == https.local_addr()?, "{:?}", gateway.https());
    ensure!(gateway.http() == http.local_addr()?, "{:?}", gateway.http());
    ensure!(gateway.log().contains("which the configuration does not name"), "{}", gateway.log());
    gateway.client()?.get("/healthz").send().await?.expect(200)?;
    let ended = gateway.terminate().await?;
    ensure!(ended.code == Some(0), "{ended:?}");

    // By address; nothing else is bound, which would fail.
    let tls = "source = \"self-signed\"\n";
    let (at_http, at_https) = (http.local_addr()?.to_string(), https.local_addr()?.to_string());
    let home = Home::with_tls(&at_http, &at_https, tls, "[access]\ndashboard = \"public\"\n")?;
    let gateway = home.serve_on(&Passing::files(&[http.as_fd(), https.as_fd()])).await?;
    ensure!(!gateway.log().contains("WARN"), "{}", gateway.log());
    gateway.client()?.get("/healthz").send().await?.expect(200)?;
    ensure!(gateway.terminate().await?.code == Some(0));

    // Meant for another process: they are not there, and the addresses are taken.
    let ran = home.refuse(&Passing::files(&[http.as_fd(), https.as_fd()]).meant_for(1)).await?.expect(1)?;
    ensure!(ran.stderr.contains("cannot be listened at"), "{}", ran.stderr);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_used_is_said_and_nothing_starts() -> Result<()> {
    let home = Home::public()?;
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    let file = std::fs::File::open(home.config())?;
    let many = [tcp.as_fd(); 17];
    for (what, sockets, said) in [
        ("a stranger", Passing::files(&[tcp.as_fd()]).named(&["gopher"]), "neither http nor https"),
        ("without a name", Passing::files(&[tcp.as_fd()]), "neither http nor https"),
        ("too many", Passing::files(&many), "at most 16"),
        ("far too many", Passing::files(&[]).said_to_be("4294967295"), "at most 16"),
        ("no number", Passing::files(&[]).said_to_be("two"), "LISTEN_FDS=\"two\" is not a number"),
        ("a file", Passing::files(&[file.as_fd()]).named(&["https"]), "is no socket"),
        ("not there", Passing::files(&[]).said_to_be("1"), "is no socket"),
        ("UDP", Passing::files(&[udp.as_fd()]).named(&["https"]), "does not listen for TCP"),
    ] {
        let ran = home.refuse(&sockets).await?.expect(1).context(what)?;
        ensure!(ran.stdout.is_empty() && ran.stderr.contains(said), "{what}: {ran:?}");
        ensure!(ran.stderr.contains("fix: "), "{what}: {ran:?}");
    }
    Ok(())
}

/// What a device saw.
#[derive(Default)]
struct Seen {
    refused: AtomicU64,
    cut: AtomicU64,
    longest_ms: AtomicU64,
}

/// Sends numbered readings until told to stop, each until it is acknowledged; gives the times of those that were.
async fn device(
    at: SocketAddr,
    client: Arc<harness::Client>,
    keeps: bool,
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
) -> Result<BTreeSet<i64>> {
    let start = unix_ms() - 3_600_000;
    let mut acknowledged = BTreeSet::new();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let batch = json!({"boot": 1, "readings": [{"seq": n, "time": start + n, "co2": 600}]});
        let clock = Stopwatch::start();
        loop {
            let fresh = (!keeps).then(|| client.fresh());
            match fresh.as_ref().unwrap_or(&client).ingest(&batch).await {
                Ok(answer) => {
                    ensure!(answer.status == 200, "{at}: {answer}");
                    break;
                }
                Err(error) => {
                    let refused = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
                    if refused.into_iter().any(|cause| cause.kind() == std::io::ErrorKind::ConnectionRefused)
                    {
                        seen.refused.fetch_add(1, Ordering::Relaxed);
                    } else {
                        seen.cut.fetch_add(1, Ordering::Relaxed);
                    }
                    ensure!(
                        !stop.load(Ordering::Relaxed) || clock.elapsed() < Duration::from_secs(20),
                        "{error:#}"
                    );
                }
            }
        }
        seen.longest_ms.fetch_max(clock.elapsed().as_millis() as u64, Ordering::Relaxed);
        acknowledged.insert(start + n);
        n += 1;
    }
    Ok(acknowledged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_under_load_refuses_nobody_and_loses_nothing() -> Result<()> {
    let (http, https) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let home = Home::public()?;
    let sockets = Passing::files(&[http.as_fd(), https.as_fd()]).named(&["http", "https"]);
    let mut gateway = home.serve_on(&sockets).await?;
    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
    let mut devices = Vec::new();
    for n in 0..WORKERS {
        let id = format!("device-{n}");
        let token = home.add_device(&id, "Hall").await?;
        let client = Arc::new(gateway.client()?.with_token(&token));
        // One of three keeps its connection, which a restart ends; the others come anew each time.
        let task = device(gateway.https(), client, n % 3 == 0, Arc::clone(&stop), Arc::clone(&seen));
        devices.push((id, tokio::spawn(task)));
    }
    let reader = gateway.client()?;
    let stored = async || {
        let mut all = Vec::new();
        for n in 0..WORKERS {
            all.push(csv_rows::all(&reader.fresh(), &format!("device-{n}"), "co2").await?.len());
        }
        anyhow::Ok(all)
    };
    for _ in 0..RESTARTS {
        // Everybody has got through since the last one.
        let before = stored().await?;
        harness::eventually("readings of every device", async || {
            let now = stored().await?;
            Ok(now.iter().zip(&before).all(|(now, before)| now > before).then_some(()))
        })
        .await?;
        let ended = gateway.terminate().await?;
        ensure!(ended.code == Some(0), "{ended:?}");
        gateway = home.serve_on(&sockets).await?;
    }
    stop.store(true, Ordering::Relaxed);
    let mut total = 0;
    for (id, task) in devices {
        let acknowledged = task.await??;
        let mut found = BTreeSet::new();
        for row in csv_rows::all(&reader.fresh(), &id, "co2").await? {
            ensure!(found.insert(row.time_ms), "{id}: {} is there twice", row.time_ms);
        }
        ensure!(
            acknowledged.is_subset(&found),
            "{id}: {} acknowledged readings are missing",
            acknowledged.difference(&found).count()
        );
        total += acknowledged.len();
    }
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    report::figures(
        "restart",
        "restarts with passed sockets, under load",
        &[
            ("restarts", RESTARTS.to_string()),
            ("readings acknowledged", total.to_string()),
            ("connections refused (goal: 0)", count(&seen.refused).to_string()),
            ("requests cut and sent again", count(&seen.cut).to_string()),
            ("longest wait for an acknowledgement", format!("{} ms", count(&seen.longest_ms))),
        ],
    );
    ensure!(count(&seen.refused) == 0, "{} connections were refused", count(&seen.refused));
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}
