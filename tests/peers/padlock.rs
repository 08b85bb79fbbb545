//! From an empty folder to a certificate of Pebble's on the HTTPS port: Casement and Caddy, in turns.

use crate::median;
use anyhow::{Context, Result};
use harness::client::shown;
use harness::pebble::Plan;
use harness::ports::Port;
use harness::wait::Stopwatch;
use harness::{Home, Pebble, UnreliableCa};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 7;

/// Longest wait for a certificate.
const PATIENCE: Duration = Duration::from_secs(8);

const NAME: &str = "co2.example.test";

pub(crate) async fn compare(peers: &Path) -> Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let (a, requests) = casement().await?;
        // Pebble gives Retry-After as seconds or as a date, as it likes; Caddy 2.6 stumbles over the date.
        let mut stumbles = 0;
        let (b, their_requests) = loop {
            match caddy(peers).await {
                Ok(done) => break done,
                Err(error) if format!("{error:?}").contains("invalid Retry-After") && stumbles < 20 => {
                    stumbles += 1
                }
                Err(error) => return Err(error),
            }
        };
        println!(
            "round {round}: casement {a:.0} ms, {requests} requests; caddy {b:.0} ms, {their_requests} requests"
        );
        ours.push(a);
        theirs.push(b);
    }
    let (a, b) = (median(&mut ours), median(&mut theirs));
    println!(
        "empty folder to a trusted certificate, median of {ROUNDS}: casement {a:.0} ms, caddy {b:.0} ms, ratio {:.2}",
        a / b
    );
    Ok(())
}

async fn casement() -> Result<(f64, usize)> {
    let (http, https) = (Port::reserve()?, Port::reserve()?);
    let ca =
        Pebble::start("peers", &Plan::checking(http.number(), https.number())).await?.context("no pebble")?;
    let proxy = UnreliableCa::before(&ca).await?;
    let tls = format!(
        "source = \"acme\"\nnames = [\"{NAME}\"]\n[tls.acme]\ndirectory = \"{}\"\nca_bundle = {:?}\n",
        proxy.directory(),
        ca.ca_bundle()
    );
    let home = Home::with_tls(&http.local(), &https.local(), &tls, "")?;
    let clock = Stopwatch::start();
    let gateway = home.serve().await?;
    let took = until_trusted(gateway.https(), &clock).await?;
    let requests = proxy.total();
    gateway.terminate().await?;
    Ok((took, requests))
}

async fn caddy(peers: &Path) -> Result<(f64, usize)> {
    let (http, https) = (Port::reserve()?, Port::reserve()?);
    let ca =
        Pebble::start("peers", &Plan::checking(http.number(), https.number())).await?.context("no pebble")?;
    let proxy = UnreliableCa::before(&ca).await?;
    let folder = tempfile::tempdir()?;
    let config = format!(
        "{{\n admin off\n auto_https disable_redirects\n skip_install_trust\n http_port {}\n https_port {}\n storage file_system {}\n acme_ca {}\n acme_ca_root {}\n}}\nhttps://{NAME} {{\n respond \"ok\"\n}}\n",
        http.number(),
        https.number(),
        folder.path().join("storage").display(),
        proxy.directory(),
        ca.ca_bundle().display(),
    );
    let file = folder.path().join("Caddyfile");
    std::fs::write(&file, config)?;
    let clock = Stopwatch::start();
    let child = Command::new(peers.join("usr/bin/caddy"))
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(&file)
        .env("HOME", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.path().join("log"))?)
        .spawn()?;
    let _ended = Ended(child);
    let address: SocketAddr = ([127, 0, 0, 1], https.number()).into();
    let took = until_trusted(address, &clock)
        .await
        .with_context(|| std::fs::read_to_string(folder.path().join("log")).unwrap_or_default())?;
    Ok((took, proxy.total()))
}

/// Shakes hands until the authority's certificate is there; every 10 ms, as a newcomer's browser would not.
async fn until_trusted(address: SocketAddr, clock: &Stopwatch) -> Result<f64> {
    let trusted = async {
        loop {
            if let Ok(shown) = shown(address, Some(NAME)).await
                && shown.issuer.contains("Pebble")
            {
                return clock.ms();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, trusted).await.context("no certificate in time")
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}
