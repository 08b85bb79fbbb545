//! Certificates that nobody has to think about: ordered, shown, renewed and resumed, with Pebble as the authority.

use anyhow::{Context, Result, ensure};
use harness::client::{handshake_for, shown, with_roots};
use harness::pebble::Plan;
use harness::ports::{Port, Turn, has_ipv6};
use harness::tap::{Heard, Tap};
use harness::unreliable_ca::{Kind, from_base64url};
use harness::wait::{PATIENCE, Stopwatch, unix_ms};
use harness::{Client, Gateway, Home, Pebble, Shown, UnreliableCa, Version, eventually, raw, report, within};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion, version};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::FromDer;

/// A gateway that is to get its certificate from Pebble, through a proxy that counts and that fails when told.
pub(crate) struct Stage {
    pub(crate) home: Home,
    pub(crate) pebble: Pebble,
    pub(crate) ca: UnreliableCa,
    /// Keep the gateway's ports for it; Pebble was told which.
    _ports: [Port; 2],
    more: String,
}

/// What a stage is to be like.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// The names of the certificate.
    pub(crate) names: &'a [&'a str],
    /// The host at which the gateway listens.
    pub(crate) host: &'a str,
    /// More keys of `[tls.acme]`.
    pub(crate) acme: &'a str,
    /// Changes the authority's plan.
    pub(crate) plan: fn(&mut Plan),
}

impl<'a> Wish<'a> {
    pub(crate) const fn names(names: &'a [&'a str]) -> Self {
        Self { names, host: "127.0.0.1", acme: "", plan: |_| {} }
    }
}

impl Stage {
    /// Everything but the gateway itself. `None` when there is no Pebble here, which has been said.
    pub(crate) async fn set(scenario: &str, wish: Wish<'_>) -> Result<Option<Self>> {
        let ports = [Port::reserve()?, Port::reserve()?];
        let mut plan = Plan::checking(ports[0].number(), ports[1].number());
        (wish.plan)(&mut plan);
        let Some(pebble) = Pebble::start(scenario, &plan).await? else { return Ok(None) };
        let ca = UnreliableCa::before(&pebble).await?;
        let [http, https] = ports.each_ref().map(|port| format!("{}:{}", wish.host, port.number()));
        let home = Home::with_tls(&http, &https, "", "[access]\ndashboard = \"public\"\n")?;
        let more = wish.acme.to_owned();
        let stage = Self { home, pebble, ca, _ports: ports, more };
        stage.want(wish.names)?;
        Ok(Some(stage))
    }

    /// Writes these names into the configuration.
    pub(crate) fn want(&self, names: &[&str]) -> Result<()> {
        self.home.set_tls(&format!(
            "source = \"acme\"\nnames = {names:?}\n\n[tls.acme]\ndirectory = {:?}\nca_bundle = {:?}\n{}\n",
            self.ca.directory(),
            self.pebble.ca_bundle(),
            self.more,
        ))
    }

    /// Waits until the gateway shows a certificate of the authority's.
    pub(crate) async fn issued(&self, gateway: &Gateway, patience: Duration) -> Result<Shown> {
        let address = reachable(gateway);
        let found = within(patience, "a certificate from the authority", async || {
            let shown = shown(address, None).await?;
            Ok(shown.is_from("Pebble").then_some(shown))
        })
        .await;
        match found {
            Ok(shown) => self.remembered().await.map(|()| shown),
            Err(error) => {
                let status = self.home.run(&["cert", "status", "--json"]).await.map(|ran| ran.stdout);
                Err(error.context(format!("requests: {}; status: {status:?}", self.ca.summary())))
            }
        }
    }

    /// Waits until the gateway shows another certificate than this one.
    pub(crate) async fn renewed(&self, gateway: &Gateway, old: &Shown, patience: Duration) -> Result<Shown> {
        let address = reachable(gateway);
        let shown = within(patience, "another certificate", async || {
            let shown = shown(address, None).await?;
            Ok((shown.serial != old.serial).then_some(shown))
        })
        .await
        .with_context(|| format!("requests: {}", self.ca.summary()))?;
        self.remembered().await.map(|()| shown)
    }

    /// A certificate is shown before it is told: waits until the attempt is over.
    async fn remembered(&self) -> Result<()> {
        eventually("the attempt to be remembered", async || {
            let acme = self.status().await?["acme"].clone();
            Ok((acme["running"].is_null() && acme["attempts"][0]["ok"] == true).then_some(()))
        })
        .await
    }

    /// A client that asks for `name` and trusts the authority's root alone.
    pub(crate) async fn client(&self, gateway: &Gateway, name: &str) -> Result<Client> {
        Client::trusting(reachable(gateway), name, &[self.pebble.root().await?], Version::Http1)
    }

    /// What `cert status --json` says.
    pub(crate) async fn status(&self) -> Result<Value> {
        status(&self.home).await
    }
}

/// What `cert status --json` says.
pub(crate) async fn status(home: &Home) -> Result<Value> {
    let ran = home.run(&["cert", "status", "--json"]).await?.expect(0)?;
    serde_json::from_str(&ran.stdout).with_context(|| format!("not JSON: {ran:?}"))
}

/// Where the gateway takes HTTPS, also when it listens everywhere.
pub(crate) fn reachable(gateway: &Gateway) -> SocketAddr {
    let mut address = gateway.https();
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::from([127, 0, 0, 1]));
    }
    address
}

/// A client that takes any certificate: the gateway's own is for its names, not for the address it is reached at.
pub(crate) fn anybody(gateway: &Gateway) -> Result<Client> {
    Client::trusting_anything(reachable(gateway), Version::Http1)
}

/// Checks that a text is for people: a sentence, and nothing of what programs say to each other.
pub(crate) fn in_plain_words(text: &Value) -> Result<()> {
    let text = text.as_str().unwrap_or_default();
    let odd = ["urn:", "::", "Error(", "Some(", "{", "panicked"];
    ensure!(text.len() > 10 && text.contains(' ') && !odd.iter().any(|odd| text.contains(odd)), "{text:?}");
    Ok(())
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    names.sort();
    names
}

/// From an empty folder to a trusted certificate; gives how long that took, and with how many requests.
async fn from_nothing(scenario: &str, wish: Wish<'_>) -> Result<Option<(Stage, Gateway, Shown)>> {
    let Some(stage) = Stage::set(scenario, wish).await? else { return Ok(None) };
    let gateway = stage.home.serve().await?;
    let shown = stage.issued(&gateway, PATIENCE).await?;
    ensure!(shown.names == sorted(wish.names), "{:?}", shown.names);
    for name in wish.names {
        stage.client(&gateway, name).await?.get("/healthz").send().await?.expect(200)?;
    }
    // Authorities refuse an address as common name. (Old releases of Pebble put one there by themselves.)
    for seen in stage.ca.seen().iter().filter(|seen| seen.kind == Kind::Finalize) {
        let csr = seen.payload.as_ref().and_then(|payload| payload["csr"].as_str()).unwrap_or_default();
        let csr = from_base64url(csr).context("a CSR in base64url")?;
        let (_, csr) = x509_parser::certification_request::X509CertificationRequest::from_der(&csr)?;
        let subject = csr.certification_request_info.subject.to_string();
        ensure!(
            wish.names.iter().all(|name| name.parse::<IpAddr>().is_err() || !subject.contains(name)),
            "{subject}"
        );
    }
    ensure!(stage.ca.count(Kind::NewOrder) == 1, "{}", stage.ca.summary());
    Ok(Some((stage, gateway, shown)))
}

#[tokio::test]
async fn the_authority_and_what_stands_before_it_do_what_they_are_told() -> Result<()> {
    use harness::unreliable_ca::Fault;
    let wish = Wish::names(&["air.example.test"]);
    let Some(stage) = Stage::set("the_authority", wish).await? else { return Ok(()) };
    let (ca, address) = (&stage.ca, stage.ca.directory());
    let address: SocketAddr = address.trim_start_matches("https://").trim_end_matches("/dir").parse()?;
    let client = Client::trusting(address, "127.0.0.1", &[stage.pebble.web().der()], Version::Http1)?;
    let directory = client.json("/dir").await?;
    // Pebble makes its addresses from the Host of the request.
    let order = directory["newOrder"].as_str().unwrap_or_default();
    assert!(order.starts_with(&format!("https://{address}/")), "{directory}");
    assert_eq!((ca.count(Kind::Directory), ca.total()), (1, 1));

    ca.fail(&[Kind::Directory], Fault::too_many(77));
    let answer = client.get("/dir").send().await?;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("77")));
    ca.mend();
    ca.hide_renewal_info();
    assert!(client.json("/dir").await?["renewalInfo"].is_null());
    ca.down().await?;
    client.fresh().get("/dir").send().await.expect_err("it is down");
    ca.up().await?;
    client.fresh().json("/dir").await?;
    assert_eq!(ca.count(Kind::Directory), 4);
    stage.pebble.root().await?;
    stage.pebble.set_a("air.example.test", &["127.0.0.2"]).await?;
    stage.pebble.set_caa("air.example.test", "nobody.example").await?;
    stage.pebble.clear_caa("air.example.test").await?;
    Ok(())
}

#[tokio::test]
async fn a_name_gets_its_certificate_with_ten_requests_and_https_answers_before() -> Result<()> {
    let scenario = "a_name_gets_its_certificate";
    let wish = Wish { acme: "challenge = \"http-01\"", ..Wish::names(&["air.example.test"]) };
    let Some(stage) = Stage::set(scenario, wish).await? else { return Ok(()) };
    stage.ca.fail(&[], harness::unreliable_ca::Fault::Hang);
    let clock = Stopwatch::start();
    let gateway = stage.home.serve().await?;
    anybody(&gateway)?.get("/healthz").send().await?.expect(200)?;
    let before = shown(gateway.https(), Some("air.example.test")).await?;
    ensure!(!before.is_from("Pebble"), "{}", before.issuer);
    let waited = clock.ms();
    drop(gateway);

    // The same from nothing, undisturbed.
    let Some(stage) = Stage::set(scenario, wish).await? else { return Ok(()) };
    let clock = Stopwatch::start();
    let gateway = stage.home.serve().await?;
    let issued = stage.issued(&gateway, PATIENCE).await?;
    let took = clock.ms();
    assert_eq!(issued.names, ["air.example.test"]);
    stage.client(&gateway, "air.example.test").await?.get("/healthz").send().await?.expect(200)?;
    let seen = stage.ca.seen();
    let requests =
        1 + seen.iter().position(|seen| seen.kind == Kind::Certificate).context("no certificate fetched")?;
    report::figures(
        "certificate_first",
        "from an empty folder to a certificate (goal: at most 10 requests to the authority)",
        &[
            ("start to the certificate being shown", format!("{took:.0} ms")),
            ("requests to the authority", format!("{requests} ({})", stage.ca.summary())),
            ("start to HTTPS answering while the authority hangs", format!("{waited:.0} ms")),
        ],
    );
    ensure!(requests <= 10, "{requests} requests: {}", stage.ca.summary());

    // Kept: a restart shows the same one and asks for nothing.
    let orders = stage.ca.count(Kind::NewOrder);
    gateway.kill().await?;
    let gateway = stage.home.serve().await?;
    assert_eq!(shown(gateway.https(), None).await?.serial, issued.serial);
    assert_eq!(stage.ca.count(Kind::NewOrder), orders);
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn tls_alpn_01_needs_no_plain_listener() -> Result<()> {
    // Nothing can be had at the port where HTTP-01 would be checked.
    let wish = Wish {
        acme: "challenge = \"tls-alpn-01\"",
        plan: |plan| plan.http_port = 1,
        ..Wish::names(&["air.example.test"])
    };
    let Some((stage, gateway, _)) = from_nothing("tls_alpn_01", wish).await? else { return Ok(()) };
    // Whoever else comes with that protocol learns nothing and harms nothing.
    let tls = with_roots([stage.pebble.root().await?], &[b"acme-tls/1"])?;
    let name = ServerName::try_from("air.example.test")?;
    if let Ok(mut stream) = handshake_for(gateway.https(), name, tls).await {
        let mut byte = [0];
        let _closed = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut byte)).await?;
        ensure!(!matches!(read, Ok(1)), "it answers a request under acme-tls/1");
    }
    stage.client(&gateway, "air.example.test").await?.get("/healthz").send().await?.expect(200)?;
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn tls_alpn_01_is_chosen_where_there_is_no_plain_listener() -> Result<()> {
    let wish = Wish { plan: |plan| plan.http_port = 1, ..Wish::names(&["air.example.test"]) };
    let Some(stage) = Stage::set("tls_alpn_01_chosen", wish).await? else { return Ok(()) };
    stage.home.set_http("")?;
    let gateway = stage.home.serve().await?;
    stage.issued(&gateway, PATIENCE).await?;
    assert_eq!(stage.status().await?["acme"]["attempts"][0]["challenge"], "tls-alpn-01");
    Ok(())
}

#[tokio::test]
async fn several_names_share_one_certificate() -> Result<()> {
    let names = ["air.example.test", "co2.example.test", "127.0.0.1"];
    for acme in ["challenge = \"http-01\"", "challenge = \"tls-alpn-01\""] {
        let wish = Wish { acme, ..Wish::names(&names) };
        let Some((_, gateway, issued)) = from_nothing("several_names", wish).await? else { return Ok(()) };
        // With any name, with none, and with one that nobody owns.
        for name in [Some("air.example.test"), Some("co2.example.test"), None, Some("other.example.test")] {
            assert_eq!(shown(gateway.https(), name).await?.serial, issued.serial, "{name:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_ipv4_address_gets_a_short_lived_certificate() -> Result<()> {
    for acme in ["challenge = \"http-01\"", "challenge = \"tls-alpn-01\"\nprofile = \"default\""] {
        let wish = Wish { acme, ..Wish::names(&["127.0.0.1"]) };
        let Some((stage, _gateway, issued)) = from_nothing("an_ipv4_address", wish).await? else {
            return Ok(());
        };
        if stage.pebble.is_recent("an_ipv4_address_profile") {
            // Whatever is configured: for addresses there is only this profile.
            assert_eq!(stage.ca.orders()[0]["profile"], "shortlived", "{:?}", stage.ca.orders());
            assert!((issued.validity_s() - 6 * 86_400).abs() < 60, "{} s", issued.validity_s());
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_ipv6_address_gets_a_certificate() -> Result<()> {
    if !has_ipv6() {
        report::skipped("an_ipv6_address", "this machine has no ::1");
        return Ok(());
    }
    for acme in ["challenge = \"http-01\"", "challenge = \"tls-alpn-01\""] {
        let wish = Wish { host: "[::1]", acme, ..Wish::names(&["::1"]) };
        if from_nothing("an_ipv6_address", wish).await?.is_none() {
            break;
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_names_it_is_the_addresses_of_this_machine() -> Result<()> {
    let _turn = Turn::take("addresses").await?;
    let wish = Wish { host: if has_ipv6() { "[::]" } else { "0.0.0.0" }, ..Wish::names(&[]) };
    let Some(stage) = Stage::set("without_names", wish).await? else { return Ok(()) };
    let gateway = stage.home.serve().await?;
    let issued = stage.issued(&gateway, PATIENCE).await?;
    assert!(!issued.names.is_empty());
    let wanted = stage.status().await?["wanted"].clone();
    let mut wanted: Vec<String> = serde_json::from_value(wanted)?;
    wanted.sort();
    assert_eq!(issued.names, wanted);
    for name in &wanted {
        let address: IpAddr = name.parse().with_context(|| format!("{name} is not an address"))?;
        // Loopback is the last resort.
        ensure!(own_address().is_none() || !address.is_loopback(), "{wanted:?}");
        let reached = SocketAddr::new(address, gateway.https().port());
        let client = Client::trusting(reached, name, &[stage.pebble.root().await?], Version::Http1)?;
        client.get("/healthz").send().await?.expect(200)?;
    }
    if let Some(own) = own_address() {
        ensure!(wanted.contains(&own.to_string()), "{own} is not among {wanted:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_address_that_changes_is_ordered_anew() -> Result<()> {
    let _turn = Turn::take("addresses").await?;
    let Some(address) = ExtraAddress::give("10.99.77.1")? else {
        report::skipped("another_address", "only root with iproute2 can give this machine another address");
        return Ok(());
    };
    drop(address);
    // Short lives, so that the pause between two certificates is a few seconds and not an hour.
    let plan = |plan: &mut Plan| plan.profiles = vec![("default", 100), ("shortlived", 100)];
    let wish = Wish { host: "0.0.0.0", plan, ..Wish::names(&[]) };
    let Some(stage) = Stage::set("another_address", wish).await? else { return Ok(()) };
    if !stage.pebble.is_recent("another_address") {
        return Ok(());
    }
    stage.ca.hide_renewal_info();
    let gateway = stage.home.serve().await?;
    let first = stage.issued(&gateway, PATIENCE).await?;
    ensure!(!first.names.contains(&"10.99.77.1".to_owned()), "{:?}", first.names);
    let _extra = ExtraAddress::give("10.99.77.1")?;
    // Nobody tells the gateway.
    let second = stage.renewed(&gateway, &first, Duration::from_secs(45)).await?;
    ensure!(second.names.contains(&"10.99.77.1".to_owned()), "{:?}", second.names);
    let attempts = stage.status().await?["acme"]["attempts"].clone();
    assert_eq!(attempts[0]["reason"], "names", "{attempts}");
    Ok(())
}

/// Another address of this machine, until it is dropped.
struct ExtraAddress(&'static str);

impl ExtraAddress {
    fn give(address: &'static str) -> Result<Option<Self>> {
        let added = ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"]);
        Ok(added.then_some(Self(address)))
    }
}

impl Drop for ExtraAddress {
    fn drop(&mut self) {
        ip(&["addr", "del", &format!("{}/32", self.0), "dev", "lo"]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    let ran = std::process::Command::new("ip").args(arguments).output();
    ran.is_ok_and(|output| output.status.success())
}

/// The address with which this machine would speak to others. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
}

/// As the authority gives it to its customers.
const ACCOUNT: (&str, &str) = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

#[tokio::test]
async fn an_external_account_is_bound() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("hmac");
    std::fs::write(&file, format!("{}\n", ACCOUNT.1))?;
    let acme = format!("eab_kid = {:?}\neab_hmac_file = {file:?}", ACCOUNT.0);
    let wish = Wish {
        acme: &acme,
        plan: |plan| plan.external_account = Some(ACCOUNT),
        ..Wish::names(&["air.example.test"])
    };
    from_nothing("an_external_account", wish).await?;
    Ok(())
}

#[tokio::test]
async fn a_missing_external_account_stops_and_says_so() -> Result<()> {
    let wish =
        Wish { plan: |plan| plan.external_account = Some(ACCOUNT), ..Wish::names(&["air.example.test"]) };
    let Some(stage) = Stage::set("a_missing_external_account", wish).await? else { return Ok(()) };
    let gateway = stage.home.serve().await?;
    let status = eventually("the stop to be shown", async || {
        let status = stage.status().await?;
        Ok(status["acme"]["stopped"].is_object().then_some(status))
    })
    .await?;
    let stopped = &status["acme"]["stopped"];
    assert_eq!(stopped["problem"], "externalAccountRequired", "{stopped}");
    in_plain_words(&stopped["text"])?;
    in_plain_words(&stopped["fix"])?;
    ensure!(stopped["fix"].as_str().unwrap_or_default().contains("eab_kid"), "{stopped}");
    let next = status["acme"]["next_attempt_ms"].as_i64().unwrap_or(i64::MAX);
    ensure!(next - unix_ms() > 20 * 3_600_000, "the next attempt is in {} s", (next - unix_ms()) / 1000);
    assert_eq!((stage.ca.count(Kind::NewOrder), status["verdict"].as_str()), (0, Some("self_signed")));

    // Not even a restart tries again.
    let before = stage.ca.total();
    gateway.kill().await?;
    let gateway = stage.home.serve().await?;
    quiet(&stage, before, Duration::from_secs(3)).await?;
    anybody(&gateway)?.get("/healthz").send().await?.expect(200)?;
    Ok(())
}

/// Checks that nothing is asked of the authority for a while.
pub(crate) async fn quiet(stage: &Stage, before: usize, time: Duration) -> Result<()> {
    let clock = Stopwatch::start();
    while clock.elapsed() < time {
        let now = stage.ca.total();
        ensure!(now == before, "{} requests in what should be silence: {}", now - before, stage.ca.summary());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_renewal_happens_by_itself_and_keeps_the_profile() -> Result<()> {
    let short = |names: &'static [&'static str], acme: &'static str, plan: fn(&mut Plan), seconds: i64| async move {
        let wish = Wish { acme, plan, ..Wish::names(names) };
        let Some(stage) = Stage::set("a_renewal_happens", wish).await? else { return Ok(()) };
        if !stage.pebble.is_recent("a_renewal_happens") {
            return Ok(());
        }
        // Pebble suggests to renew a certificate of less than three days at once.
        stage.ca.hide_renewal_info();
        let gateway = stage.home.serve().await?;
        let first = stage.issued(&gateway, PATIENCE).await?;
        ensure!((first.validity_s() - seconds).abs() < 5, "{names:?}: {} s", first.validity_s());
        let status = stage.status().await?;
        let next = status["acme"]["next_attempt_ms"].as_i64().unwrap_or_default();
        let half = first.not_before_ms + seconds * 500;
        ensure!((next - half).abs() < 5_000, "half of the time is {half}, next attempt {next}: {status}");
        assert_eq!(status["acme"]["next_reason"], "renewal", "{status}");

        let mut last = first.clone();
        for round in 1..=2 {
            let renewed = stage.renewed(&gateway, &last, Duration::from_secs(seconds.unsigned_abs())).await?;
            ensure!(unix_ms() < last.not_after_ms, "{names:?}: renewed after it had ended");
            ensure!((renewed.validity_s() - seconds).abs() < 5, "round {round}: {} s", renewed.validity_s());
            assert_eq!(renewed.names, first.names);
            last = renewed;
        }
        ensure!(stage.ca.count(Kind::NewOrder) == 3, "{}", stage.ca.summary());
        assert_eq!(stage.ca.count(Kind::NewAccount), 1, "one account is enough");
        let profiles: Vec<Value> = stage.ca.orders().iter().map(|order| order["profile"].clone()).collect();
        ensure!(profiles.iter().all(|profile| *profile == profiles[0]), "{profiles:?}");
        let attempts = stage.status().await?["acme"]["attempts"].clone();
        let reasons: Vec<&str> = crate::rows(&attempts)
            .iter()
            .map(|attempt| attempt["reason"].as_str().unwrap_or_default())
            .collect();
        assert_eq!(reasons, ["renewal", "renewal", "first"], "newest first: {attempts}");
        ensure!(gateway.terminate().await?.code == Some(0));
        anyhow::Ok(())
    };
    tokio::try_join!(
        short(
            &["127.0.0.1"],
            "",
            |plan| plan.profiles = vec![("default", 90 * 86_400), ("shortlived", 30)],
            30
        ),
        short(
            &["air.example.test"],
            "profile = \"default\"",
            |plan| plan.profiles = vec![("default", 26), ("shortlived", 86_400)],
            26
        ),
    )?;
    Ok(())
}

#[tokio::test]
async fn the_authority_says_when_to_renew_and_hears_what_is_replaced() -> Result<()> {
    const LIFETIME_S: u32 = 240;
    let scenario = "renewal_information";
    let wish = Wish {
        acme: "profile = \"default\"",
        plan: |plan| plan.profiles = vec![("default", LIFETIME_S)],
        ..Wish::names(&["air.example.test"])
    };
    let Some(stage) = Stage::set(scenario, wish).await? else { return Ok(()) };
    if !stage.pebble.is_recent(scenario) {
        return Ok(());
    }
    let gateway = stage.home.serve().await?;
    let first = stage.issued(&gateway, PATIENCE).await?;
    let now = unix_ms();
    stage.pebble.suggest_window(&first, now - 7_200_000, now - 3_600_000).await?;
    let renewed = stage.renewed(&gateway, &first, Duration::from_secs(60)).await?;
    ensure!(
        unix_ms() < first.not_before_ms + i64::from(LIFETIME_S) * 500,
        "half of the lifetime is over anyway"
    );
    let orders = stage.ca.orders();
    assert_eq!(orders.len(), 2, "{orders:?}");
    assert!(orders[0]["replaces"].is_null(), "{orders:?}");
    ensure!(orders[1]["replaces"].as_str().is_some_and(|id| id.contains('.')), "{orders:?}");
    ensure!(stage.pebble.log().contains("is a replacement of"), "pebble does not know of a replacement");

    // A later window is a promise that is kept, and told.
    let (from, to) = (renewed.not_before_ms + 150_000, renewed.not_before_ms + 160_000);
    stage.pebble.suggest_window(&renewed, from, to).await?;
    let status = within(Duration::from_secs(60), "the new window to be known", async || {
        let status = stage.status().await?;
        Ok(status["acme"]["ari"].is_object().then_some(status))
    })
    .await?;
    let acme = &status["acme"];
    assert_eq!(acme["attempts"][0]["reason"], "ari", "{acme}");
    let second = |ms: &Value| ms.as_i64().unwrap_or_default() / 1000;
    assert_eq!(
        (second(&acme["ari"]["start_ms"]), second(&acme["ari"]["end_ms"])),
        (from / 1000, to / 1000),
        "{acme}"
    );
    let next = acme["next_attempt_ms"].as_i64().unwrap_or_default();
    ensure!((from - 1000..=to + 1000).contains(&next) && acme["next_reason"] == "ari", "{acme}");
    assert_eq!(stage.ca.count(Kind::NewOrder), 2, "{}", stage.ca.summary());
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn a_kill_in_the_middle_of_an_order_costs_no_second_order() -> Result<()> {
    let cut = |kind: Kind| async move {
        let Some(stage) = Stage::set("a_kill_in_the_middle", Wish::names(&["air.example.test"])).await?
        else {
            return Ok(());
        };
        stage.ca.fail(&[kind], harness::unreliable_ca::Fault::Swallow);
        let gateway = stage.home.serve().await?;
        stage.ca.wait_for(kind, 1, PATIENCE).await?;
        // The authority has done what it was asked for; nobody heard of it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        gateway.kill().await?;
        stage.ca.mend();
        let gateway = stage.home.serve().await?;
        let issued = stage.issued(&gateway, PATIENCE).await.with_context(|| format!("{kind:?}"))?;
        stage.client(&gateway, "air.example.test").await?.get("/healthz").send().await?.expect(200)?;
        ensure!(stage.ca.count(Kind::NewOrder) == 1, "{kind:?}: {}", stage.ca.summary());
        ensure!(stage.ca.count(Kind::NewAccount) <= 1, "{kind:?}: {}", stage.ca.summary());
        let attempts = stage.status().await?["acme"]["attempts"].clone();
        ensure!(attempts[0]["ok"] == true && attempts[0]["reason"] == "resume", "{kind:?}: {attempts}");
        // What is done with is cleared away.
        let acme = stage.home.data_dir().join("acme");
        ensure!(!acme.join("order.json").exists() && !acme.join("order.key").exists(), "{kind:?}");
        drop(issued);
        anyhow::Ok(())
    };
    tokio::try_join!(cut(Kind::Authorization), cut(Kind::Finalize), cut(Kind::Certificate))?;
    Ok(())
}

#[tokio::test]
async fn other_names_are_ordered_and_the_old_certificate_is_shown_meanwhile() -> Result<()> {
    let wish = Wish::names(&["air.example.test"]);
    let Some((stage, gateway, first)) = from_nothing("other_names", wish).await? else { return Ok(()) };
    gateway.kill().await?;
    stage.want(&["air.example.test", "co2.example.test"])?;
    let gateway = stage.home.serve().await?;
    let renewed = stage.renewed(&gateway, &first, PATIENCE).await?;
    assert_eq!(renewed.names, ["air.example.test", "co2.example.test"]);
    let status = stage.status().await?;
    assert_eq!(
        (&status["acme"]["attempts"][0]["reason"], &status["verdict"]),
        (&json!("names"), &json!("private"))
    );
    assert_eq!(stage.ca.count(Kind::NewAccount), 1, "the account is kept");

    // A running gateway is told; it needs no restart.
    stage.want(&["air.example.test", "room.example.test"])?;
    gateway.reload()?;
    let third = stage.renewed(&gateway, &renewed, PATIENCE).await?;
    assert_eq!(third.names, ["air.example.test", "room.example.test"]);
    assert_eq!(stage.ca.count(Kind::NewOrder), 3, "{}", stage.ca.summary());
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn two_starts_at_once_are_refused_clearly() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let ran = home.run(&["serve"]).await?.expect(1)?;
    assert!(ran.stdout.is_empty(), "{ran:?}");
    let pid = gateway.pid().to_string();
    assert!(ran.stderr.contains(&pid) && ran.stderr.contains("fix:"), "pid {pid}: {}", ran.stderr);
    gateway.client()?.get("/healthz").send().await?.expect(200)?;
    let lock: Value = serde_json::from_str(&std::fs::read_to_string(home.data_dir().join("casement.lock"))?)?;
    assert_eq!(lock["pid"], gateway.pid(), "{lock}");

    // What was killed holds nothing.
    gateway.kill().await?;
    drop(home.serve().await?.terminate().await?);
    for _ in 0..3 {
        let (one, two) = tokio::join!(home.serve(), home.serve());
        let started = [&one, &two].iter().filter(|start| start.is_ok()).count();
        ensure!(started == 1, "{started} of two started: {one:?} {two:?}");
        for gateway in [one, two].into_iter().flatten() {
            gateway.kill().await?;
        }
    }
    Ok(())
}

/// A home whose authority cannot be reached; more keys of `[tls.acme]` may follow.
fn forsaken(more: &str) -> Result<Home> {
    let home = Home::public()?;
    let bundle = home.path("bundle.pem");
    std::fs::write(&bundle, harness::pki::Authority::root("Nobody")?.pem())?;
    home.set_tls(&format!(
        "source = \"acme\"\nnames = [\"air.example.test\"]\n\n[tls.acme]\n\
         directory = \"https://127.0.0.1:1/dir\"\nca_bundle = {bundle:?}\n{more}\n"
    ))?;
    Ok(home)
}

/// As authorities make them.
const TOKEN: &str = "Zm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm8";

async fn plain(gateway: &Gateway, path: &str) -> Result<raw::RawAnswer> {
    raw::plain(gateway.http(), &request("GET", "air.example.test", path)).await
}

#[tokio::test]
async fn only_challenges_are_answered_over_plain_http() -> Result<()> {
    let gateway = forsaken("")?.serve().await?;
    for path in [TOKEN, "x", "", "..", "%2e%2e/%2e%2e/etc/passwd", "a/b", &"x".repeat(3000)] {
        let answer = plain(&gateway, &format!("/.well-known/acme-challenge/{path}")).await?;
        let allowed: &[u16] = if path == TOKEN || path == "x" { &[404] } else { &[400, 404, 301, 414, 431] };
        ensure!(allowed.contains(&answer.status), "{path}: {}", answer.status);
    }
    for path in ["/.well-known/security.txt", "/.well-known/", "/.well-known/acme-challeng", "/"] {
        assert_eq!(plain(&gateway, path).await?.status, 301, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn challenges_of_another_machines_account_are_answered() -> Result<()> {
    let thumbprint = "a".repeat(43);
    let gateway = forsaken(&format!("thumbprint = {thumbprint:?}"))?.serve().await?;
    let answer = plain(&gateway, &format!("/.well-known/acme-challenge/{TOKEN}")).await?;
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((answer.status, body.trim_end()), (200, format!("{TOKEN}.{thumbprint}").as_str()));
    // A token that is none is not repeated.
    let answer = plain(&gateway, "/.well-known/acme-challenge/%3Cscript%3E").await?;
    ensure!(answer.status == 404 || answer.status == 400, "{}", answer.status);
    Ok(())
}

fn request(method: &str, host: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn renewing_on_request_and_for_practice() -> Result<()> {
    let wish = Wish { acme: "profile = \"default\"", ..Wish::names(&["air.example.test"]) };
    let Some((stage, gateway, first)) = from_nothing("renewing_on_request", wish).await? else {
        return Ok(());
    };
    let file = stage.home.data_dir().join("certs/acme.pem");
    let kept = std::fs::read(&file)?;

    let ran = stage.home.run(&["cert", "renew", "--dry-run"]).await?.expect(0)?;
    ensure!(!ran.stderr.is_empty(), "progress is told: {ran:?}");
    assert_eq!(stage.ca.count(Kind::NewOrder), 2);
    assert_eq!(shown(gateway.https(), None).await?.serial, first.serial, "practice changes nothing");
    ensure!(std::fs::read(&file)? == kept, "practice changes nothing on disk");

    stage.home.run(&["cert", "renew"]).await?.expect(0)?;
    let second = shown(gateway.https(), None).await?;
    assert_ne!(second.serial, first.serial);
    assert_eq!(stage.ca.count(Kind::NewOrder), 3);
    let attempts = stage.status().await?["acme"]["attempts"].clone();
    assert_eq!((&attempts[0]["reason"], &attempts[0]["ok"]), (&json!("asked"), &json!(true)), "{attempts}");

    // When it fails, it says what, why, and the fix; what is shown stays.
    stage.ca.down().await?;
    for args in [&["cert", "renew"][..], &["cert", "renew", "--dry-run"]] {
        let ran = stage.home.run(args).await?.expect(1)?;
        ensure!(ran.stderr.contains("fix:") && !ran.stderr.contains("panicked"), "{ran:?}");
    }
    assert_eq!(shown(gateway.https(), None).await?.serial, second.serial);
    stage.ca.up().await?;

    // Without a running gateway.
    gateway.terminate().await?;
    let status = stage.status().await?;
    assert_eq!(status["shown"]["serial"].as_str().map(unpadded), Some(second.serial.clone()), "{status}");
    stage.home.run(&["cert", "renew", "--dry-run"]).await?.expect(0)?;
    stage.home.run(&["cert", "renew"]).await?.expect(0)?;
    let gateway = stage.home.serve().await?;
    let third = shown(gateway.https(), None).await?;
    ensure!(third.is_from("Pebble") && third.serial != second.serial, "{}", third.serial);
    Ok(())
}

/// A serial number without leading zeros, as a handshake shows it.
pub(crate) fn unpadded(serial: &str) -> String {
    serial.replace(':', "").to_lowercase().trim_start_matches('0').to_owned()
}

#[tokio::test]
async fn the_state_is_seen_by_programs_and_people() -> Result<()> {
    let wish = Wish { acme: "profile = \"default\"", ..Wish::names(&["air.example.test"]) };
    let Some((stage, gateway, issued)) = from_nothing("the_state_is_seen", wish).await? else {
        return Ok(());
    };
    let client = stage.client(&gateway, "air.example.test").await?;
    let status = client.json("/api/v1/certificate").await?;
    let told = stage.status().await?;
    for key in ["source", "verdict", "wanted", "shown"] {
        let drop_days = |value: &Value| {
            let mut value = value.clone();
            if let Some(object) = value.as_object_mut() {
                object.remove("days_left");
            }
            value
        };
        assert_eq!(drop_days(&status[key]), drop_days(&told[key]), "{key}");
    }
    assert_eq!((status["source"].as_str(), status["verdict"].as_str()), (Some("acme"), Some("private")));
    in_plain_words(&status["headline"])?;
    assert_eq!(status["wanted"], json!(["air.example.test"]));
    let shown = &status["shown"];
    assert_eq!(shown["serial"].as_str().map(unpadded), Some(issued.serial.clone()), "{shown}");
    // The last good second is still good.
    let not_after = shown["not_after_ms"].as_i64().unwrap_or_default();
    ensure!((0..=1000).contains(&(not_after - issued.not_after_ms)), "{shown}");
    assert_eq!((&shown["publicly_trusted"], &shown["origin"]), (&json!(false), &json!("acme")), "{shown}");
    ensure!(shown["days_left"].as_f64().is_some_and(|days| days > 89.0 && days <= 90.0), "{shown}");
    ensure!(crate::rows(&shown["chain"]).len() == issued.chain.len() - 1, "{shown}");
    assert_eq!(status["hsts"], false, "not for a private authority");
    let acme = &status["acme"];
    assert_eq!(acme["directory"], stage.ca.directory());
    ensure!(acme["account"].as_str().is_some_and(|account| account.starts_with("https://")), "{acme}");
    ensure!(acme["thumbprint"].as_str().is_some_and(|thumbprint| thumbprint.len() == 43), "{acme}");
    for key in ["running", "stopped", "last_error"] {
        ensure!(acme[key].is_null(), "{key}: {acme}");
    }
    let attempt = &acme["attempts"][0];
    assert_eq!(
        (&attempt["ok"], &attempt["reason"], &attempt["dry_run"]),
        (&json!(true), &json!("first"), &json!(false))
    );

    let people = stage.home.run(&["cert", "status"]).await?.expect(0)?;
    ensure!(people.stdout.contains("air.example.test") && !people.stdout.contains('\u{1b}'), "{people:?}");

    let metrics = client.get("/metrics").send().await?.expect(200)?;
    let value = |name: &str| -> Result<f64> {
        let line = metrics.text()?.lines().find(|line| line.starts_with(name) && !line.starts_with('#'));
        let line = line.with_context(|| format!("no {name}"))?;
        Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
    };
    assert_eq!(value("casement_certificate_not_after_timestamp_seconds")? as i64, not_after / 1000);
    assert!((value("casement_certificate_days_left")? - 90.0).abs() < 1.0);
    assert_eq!(value("casement_certificate_publicly_trusted")? as i64, 0);
    assert_eq!(value("casement_certificate_stopped")? as i64, 0);
    assert_eq!(value("casement_certificate_attempts_total{outcome=\"issued\"}")? as i64, 1);
    assert!(value("casement_certificate_next_attempt_timestamp_seconds")? * 1000.0 > unix_ms() as f64);
    assert!(value("casement_certificate_last_success_timestamp_seconds")? > 1e9);
    // The count was taken after the certificate; renewal information may have been asked for since.
    assert!(value("casement_acme_requests_total")? as usize >= 8);

    // Asking for a renewal is for admins, from here.
    let path = "/api/v1/certificate/renew";
    let body = json!({"dry_run": false});
    let before = stage.ca.count(Kind::NewOrder);
    let plain = client.post(path).json(&body).send().await?;
    ensure!(plain.status == 401 || plain.status == 403, "{plain}");
    let reader = client.with_token(&stage.home.create_token("read").await?);
    reader.post(path).json(&body).send().await?.problem(403)?;
    let admin = client.with_token(&stage.home.create_token("admin").await?);
    // A browser that is signed in asks from these pages, and from no others.
    let token = stage.home.create_token("admin").await?;
    let signed_in = client.post("/login").form(&[("token", &token)]).send().await?.expect(303)?;
    let cookie =
        signed_in.header("set-cookie").and_then(|cookie| cookie.split(';').next()).context("no cookie")?;
    for (header, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let foreign =
            client.post(path).header("cookie", cookie).header(header, value).json(&body).send().await?;
        ensure!(foreign.status == 403, "{header}: {value}: {foreign}");
    }
    assert_eq!(stage.ca.count(Kind::NewOrder), before);
    let accepted = admin.post(path).json(&body).send().await?.expect(202)?.json()?;
    assert_eq!(accepted["accepted"], true);
    stage.renewed(&gateway, &issued, PATIENCE).await?;
    ensure!(gateway.terminate().await?.code == Some(0));

    let home = Home::public()?;
    let gateway = home.serve().await?;
    let admin = gateway.client()?.with_token(&home.create_token("admin").await?);
    admin.post(path).json(&body).send().await?.problem(409)?;
    let status = admin.json("/api/v1/certificate").await?;
    assert_eq!((&status["source"], &status["verdict"]), (&json!("self-signed"), &json!("self_signed")));
    ensure!(status["acme"].is_null(), "{status}");
    // A good attempt has nothing to explain.
    in_plain_words(&attempt["text"])?;
    for key in ["problem", "name", "detail", "fix"] {
        ensure!(attempt[key].is_null(), "{key}: {attempt}");
    }
    Ok(())
}

#[tokio::test]
async fn hsts_is_sent_when_it_helps_or_is_asked_for() -> Result<()> {
    for (hsts, sent) in [("auto", false), ("always", true), ("never", false)] {
        let tls = format!("source = \"self-signed\"\nhsts = {hsts:?}\n");
        let home = Home::with_tls("127.0.0.1:0", "127.0.0.1:0", &tls, "")?;
        let gateway = home.serve().await?;
        let answer = gateway.client()?.get("/healthz").send().await?.expect(200)?;
        let header = answer.header("strict-transport-security");
        ensure!(header.is_some() == sent, "{hsts}: {header:?}");
    }
    Ok(())
}

fn speaking(data_dir: &Path, versions: &[&'static SupportedProtocolVersion]) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(data_dir.join("certs/self-signed.pem"))? {
        roots.add(certificate?)?;
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// One request on a connection of its own; says how the hands were shaken.
async fn visit(address: SocketAddr, tls: &Arc<ClientConfig>) -> Result<HandshakeKind> {
    let name = ServerName::try_from("localhost")?;
    let mut stream = handshake_for(address, name, Arc::clone(tls)).await?;
    stream.write_all(request("GET", "localhost", "/healthz").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    stream.get_ref().1.handshake_kind().context("no handshake")
}

#[tokio::test]
async fn small_devices_resume_their_session_after_a_restart() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    home.keep_ports(&gateway)?;
    let versions: [(&str, &'static SupportedProtocolVersion); 2] =
        [("TLS 1.2", &version::TLS12), ("TLS 1.3", &version::TLS13)];
    let mut clients = Vec::new();
    for (what, version) in versions {
        let tls = Arc::new(speaking(&home.data_dir(), &[version])?);
        ensure!(visit(gateway.https(), &tls).await? == HandshakeKind::Full, "{what}");
        ensure!(visit(gateway.https(), &tls).await? == HandshakeKind::Resumed, "{what} does not resume");
        clients.push((what, tls));
    }
    gateway.kill().await?;
    let gateway = home.serve().await?;
    for (what, tls) in clients {
        let kind = visit(gateway.https(), &tls).await?;
        ensure!(kind == HandshakeKind::Resumed, "{what} does not resume after a restart: {kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_key_exchange_withstands_what_is_to_come() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(home.data_dir().join("certs/self-signed.pem"))? {
        roots.add(certificate?)?;
    }
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519];
    let tls = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = handshake_for(gateway.https(), ServerName::try_from("localhost")?, Arc::new(tls)).await?;
    let group = stream.get_ref().1.negotiated_key_exchange_group().context("no key exchange")?.name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    Ok(())
}

/// Fetches something long and gives the sizes of the records that carried it.
async fn records(gateway: &Gateway, tls: ClientConfig, path: &str) -> Result<(usize, Vec<usize>)> {
    let h2 = tls.alpn_protocols == [b"h2".to_vec()];
    let (tapped, heard): (_, Heard) = Tap::on(TcpStream::connect(gateway.https()).await?);
    let name = ServerName::try_from("localhost")?;
    let mut stream = TlsConnector::from(Arc::new(tls)).connect(name, tapped).await?;
    let length = if h2 {
        let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(8 << 20)
            .max_frame_size(64 << 10)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(connection);
        let uri = format!("https://localhost{path}");
        let request = hyper::Request::get(uri).body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        ensure!(answer.status() == 200, "{}", answer.status());
        answer.into_body().collect().await?.to_bytes().len()
    } else {
        stream.write_all(request("GET", "localhost", path).as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        answer.len()
    };
    Ok((length, heard.data_records()))
}

#[tokio::test]
async fn records_fit_small_devices_and_are_large_for_browsers() -> Result<()> {
    /// What is not payload in a record: a header or nonce, a kind, a tag, and some slack.
    const OVERHEAD: usize = 64;
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let path = "/api/openapi.json";
    let mut rows = Vec::new();
    for (what, protocol, versions) in [
        ("TLS 1.2, no ALPN", None, &[&version::TLS12][..]),
        ("TLS 1.3, no ALPN", None, &[&version::TLS13]),
        ("TLS 1.3, http/1.1", Some(&b"http/1.1"[..]), &[&version::TLS13]),
        ("TLS 1.3, h2", Some(&b"h2"[..]), &[&version::TLS13]),
    ] {
        let mut tls = speaking(&home.data_dir(), versions)?;
        tls.alpn_protocols = protocol.iter().map(|protocol| protocol.to_vec()).collect();
        let (length, records) = records(&gateway, tls, path).await?;
        ensure!(length > 12_000, "{path} is too short for this: {length} bytes");
        let largest = records.iter().copied().max().context("no records")?;
        rows.push((what, format!("{largest} bytes in the largest of {}", records.len())));
        if protocol == Some(b"h2") {
            ensure!(largest > 4096 + OVERHEAD, "{what}: {records:?}");
        } else {
            ensure!(largest <= 4096 + OVERHEAD, "{what}: {records:?}");
        }
    }
    report::figures(
        "certificate_records",
        "TLS records (goal: at most 4096 bytes for clients without HTTP/2)",
        &rows,
    );
    Ok(())
}
