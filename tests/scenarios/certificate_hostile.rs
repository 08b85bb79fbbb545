//! An authority that is down, slow, broken or unwilling never hurts: HTTPS keeps answering with what it has, the
//! authority is left in peace, and when it is well again there is a certificate.

use crate::certificate::{Stage, Wish, anybody, in_plain_words, quiet, status};
use anyhow::{Context, Result, ensure};
use harness::client::shown;
use harness::unreliable_ca::{Fault, Kind};
use harness::wait::{PATIENCE, Stopwatch, unix_ms};
use harness::{Client, Gateway, Home, Version, eventually, report, within};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// The longest first back-off, and what an attempt itself takes.
const BACK_OFF: Duration = Duration::from_secs(90 + 20);

/// Somebody who opens one connection after the other and asks for a page, whatever happens.
struct Visitor {
    answered: Arc<AtomicUsize>,
    leave: Arc<AtomicBool>,
    visits: tokio::task::JoinHandle<Result<()>>,
}

impl Visitor {
    fn at(address: SocketAddr) -> Self {
        let (answered, leave) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&answered), Arc::clone(&leave));
        let visits = tokio::spawn(async move {
            while !end.load(Ordering::SeqCst) {
                let client = Client::trusting_anything(address, Version::Http1)?;
                client.get("/healthz").send().await?.expect(200)?;
                count.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        });
        Self { answered, leave, visits }
    }

    /// How often it was answered; an error when it once was not.
    async fn leaves(self) -> Result<usize> {
        self.leave.store(true, Ordering::SeqCst);
        self.visits.await?.context("HTTPS did not answer")?;
        Ok(self.answered.load(Ordering::SeqCst))
    }
}

/// What happens to an authority, and what the gateway is to say of it.
struct Misfortune {
    name: &'static str,
    /// One of these is the problem's name.
    problems: &'static [&'static str],
    /// There is a certificate already, and a second name makes another one necessary.
    has_old: bool,
    /// The gateway is killed while it waits, and started again.
    restart: bool,
    /// The authority asked to be left alone for so long.
    wait_s: i64,
    /// Changes the authority from the start.
    wish: Wish<'static>,
}

impl Misfortune {
    const fn new(name: &'static str, problems: &'static [&'static str]) -> Self {
        let wish = Wish::names(&["air.example.test"]);
        Self { name, problems, has_old: false, restart: false, wait_s: 0, wish }
    }

    const fn with_old(mut self) -> Self {
        self.has_old = true;
        self
    }

    const fn with_restart(mut self) -> Self {
        self.restart = true;
        self
    }

    const fn waiting(mut self, seconds: i64) -> Self {
        self.wait_s = seconds;
        self
    }

    /// From the first attempt, which fails, to the certificate.
    async fn befalls(
        self,
        begin: impl AsyncFnOnce(&Stage) -> Result<()>,
        end: impl AsyncFnOnce(&Stage) -> Result<()>,
    ) -> Result<Option<(&'static str, String)>> {
        let name = self.name;
        self.happens(begin, end).await.context(name)
    }

    async fn happens(
        self,
        begin: impl AsyncFnOnce(&Stage) -> Result<()>,
        end: impl AsyncFnOnce(&Stage) -> Result<()>,
    ) -> Result<Option<(&'static str, String)>> {
        let Some(stage) = Stage::set("a_hostile_authority", self.wish).await? else { return Ok(None) };
        let mut old = None;
        if self.has_old {
            let gateway = stage.home.serve().await?;
            old = Some(stage.issued(&gateway, PATIENCE).await?);
            gateway.kill().await?;
            stage.want(&["air.example.test", "co2.example.test"])?;
        }
        let (orders_before, total_before) = (stage.ca.count(Kind::NewOrder), stage.ca.total());
        let challenges_before = answered_challenges(&stage);
        begin(&stage).await?;
        let began = unix_ms();
        let mut gateway = stage.home.serve().await?;
        ensure!(gateway.ready_after() < Duration::from_secs(5), "ready after {:?}", gateway.ready_after());
        let visitor = Visitor::at(gateway.https());

        // The attempt fails, and that is told.
        let told = within(Duration::from_secs(100), "the failure to be told", async || {
            let status = stage.status().await?;
            let at = status["acme"]["last_error"]["at_ms"].as_i64().unwrap_or_default();
            Ok((at >= began && status["acme"]["running"].is_null()).then_some(status))
        })
        .await
        .with_context(|| format!("requests: {}\n{}", stage.ca.summary(), gateway.log()))?;
        let now = unix_ms();
        let error = &told["acme"]["last_error"];
        let problem = error["problem"].as_str().unwrap_or_default();
        ensure!(
            self.problems.contains(&problem),
            "the problem is called {problem}, not {:?}: {error}",
            self.problems
        );
        in_plain_words(&error["text"])?;
        in_plain_words(&error["fix"])?;
        in_plain_words(&told["headline"])?;
        let acme = &told["acme"];
        ensure!(acme["next_reason"] == "retry" && acme["stopped"].is_null(), "{acme}");
        let next = acme["next_attempt_ms"].as_i64().context("no next attempt")?;
        let soonest = 60_000.max(self.wait_s * 1000) - 10_000;
        let latest = 91_000.max(self.wait_s * 1000 + 31_000);
        ensure!(
            (soonest..=latest).contains(&(next - now)),
            "the next attempt is in {} ms: {acme}",
            next - now
        );
        ensure!(stage.ca.count(Kind::NewOrder) <= orders_before + 1, "{}", stage.ca.summary());

        // Meanwhile the old certificate is shown, or the gateway's own.
        let meanwhile = shown(gateway.https(), Some("air.example.test")).await?;
        match &old {
            Some(old) => ensure!(meanwhile.serial == old.serial, "another certificate: {}", meanwhile.issuer),
            None => ensure!(!meanwhile.is_from("Pebble"), "a certificate from nowhere"),
        }
        let mut visits = 0;
        let mut visitor = Some(visitor);
        if self.restart {
            visits += visitor.take().context("a visitor")?.leaves().await?;
            gateway.kill().await?;
            let before = stage.ca.total();
            gateway = stage.home.serve().await?;
            visitor = Some(Visitor::at(gateway.https()));
            quiet(&stage, before, Duration::from_secs(5)).await.context("after a restart")?;
            let kept = status(&stage.home).await?["acme"]["next_attempt_ms"].as_i64();
            ensure!(kept == Some(next), "the next attempt was at {next}, after a restart at {kept:?}");
        }

        // It gets well, and everything else comes by itself.
        end(&stage).await?;
        let clock = Stopwatch::start();
        let patience = BACK_OFF.max(Duration::from_secs(self.wait_s.unsigned_abs() + 50));
        let recovered = match &old {
            Some(old) => stage.renewed(&gateway, old, patience).await,
            None => stage.issued(&gateway, patience).await,
        };
        let recovered = recovered.with_context(|| gateway.log())?;
        ensure!(recovered.is_from("Pebble"), "{}", recovered.issuer);
        ensure!(recovered.names.len() == if self.has_old { 2 } else { 1 }, "{:?}", recovered.names);
        let took = clock.elapsed();
        visits += visitor.take().context("a visitor")?.leaves().await?;

        // The authority was left in peace between the attempts, and asked for little in them.
        let seen = stage.ca.seen();
        let (first_end, second_begin) = (now + 2000, next - 1000);
        let between = seen.iter().filter(|seen| (first_end..second_begin).contains(&seen.at_ms)).count();
        ensure!(between == 0, "{between} requests before the time: {seen:?}");
        let orders = stage.ca.count(Kind::NewOrder) - orders_before;
        ensure!(orders <= 2, "{orders} orders in two attempts: {}", stage.ca.summary());
        let challenges = answered_challenges(&stage) - challenges_before;
        ensure!(challenges <= 4, "{challenges} validations: {}", stage.ca.summary());
        let status = stage.status().await?;
        ensure!(
            status["verdict"] == "private"
                && status["acme"]["last_error"].is_null() | status["acme"]["last_success"].is_string(),
            "{status}"
        );
        let attempts = crate::rows(&status["acme"]["attempts"]);
        ensure!(attempts.first().is_some_and(|attempt| attempt["ok"] == true), "{status}");
        ensure!(attempts.get(1).is_some_and(|attempt| attempt["ok"] == false), "{status}");
        let total = stage.ca.total() - total_before;
        let ended = gateway.terminate().await?;
        ensure!(ended.code == Some(0), "{ended:?}");
        let row = format!(
            "{problem}: {orders} orders, {total} requests, {visits} visits all answered, well again after {:.0} s",
            took.as_secs_f64()
        );
        Ok(Some((self.name, row)))
    }
}

/// How many challenges were said to be ready.
fn answered_challenges(stage: &Stage) -> usize {
    let ready = |payload: &Option<Value>| payload.as_ref().is_some_and(|payload| payload.is_object());
    stage.ca.seen().iter().filter(|seen| seen.kind == Kind::Challenge && ready(&seen.payload)).count()
}

async fn mend(stage: &Stage) -> Result<()> {
    stage.ca.mend();
    Ok(())
}

/// All at once, because each of them waits for its back-off.
#[tokio::test]
async fn a_hostile_authority_never_hurts() -> Result<()> {
    let fails = |kinds: &'static [Kind], fault: Fault| {
        async move |stage: &Stage| {
            stage.ca.fail(kinds, fault);
            Ok(())
        }
    };
    let down = Misfortune::new("down", &["unreachable"])
        .with_restart()
        .befalls(async |stage| stage.ca.down().await, async |stage| stage.ca.up().await);
    let hangs = Misfortune::new("hangs", &["timeout"]).befalls(fails(&[], Fault::Hang), mend);
    let hangs_later = Misfortune::new("hangs at the order", &["timeout"])
        .with_old()
        .befalls(fails(&[Kind::NewOrder], Fault::Hang), mend);
    let gone = Misfortune::new("503 with HTML", &["bad_answer", "serverInternal", "unreachable"])
        .with_old()
        .with_restart()
        .befalls(fails(&[], Fault::html(503)), mend);
    let broken = Misfortune::new("500 with HTML at the order", &["bad_answer", "serverInternal"])
        .with_old()
        .befalls(fails(&[Kind::NewOrder], Fault::html(500)), mend);
    let busy = Misfortune::new("429 with Retry-After", &["rateLimited"])
        .with_old()
        .with_restart()
        .waiting(100)
        .befalls(fails(&[Kind::NewOrder], Fault::too_many(100)), mend);
    let unwilling = Misfortune::new("a refused order", &["unauthorized"])
        .with_old()
        .befalls(fails(&[Kind::NewOrder], Fault::problem(403, "unauthorized", "not today")), mend);
    // The order lives on; a restart is no reason to ask after it before its time.
    let cut = Misfortune::new("cut at the last step", &["unreachable", "timeout"])
        .with_restart()
        .befalls(fails(&[Kind::Finalize], Fault::Cut), mend);
    let garbage = Misfortune::new("garbage", &["bad_answer"])
        .befalls(fails(&[Kind::Directory], Fault::garbage()), mend);
    let garbage_later = Misfortune::new("a garbage order", &["bad_answer"])
        .with_old()
        .befalls(fails(&[Kind::NewOrder, Kind::Order], Fault::garbage()), mend);
    let huge = Misfortune::new("a huge answer", &["bad_answer"])
        .befalls(fails(&[Kind::Directory], Fault::huge()), mend);
    let elsewhere = Misfortune::new("DNS leads elsewhere", &["connection", "unauthorized"]).befalls(
        async |stage| stage.pebble.set_a("air.example.test", &["127.0.0.77"]).await,
        async |stage| stage.pebble.set_a("air.example.test", &["127.0.0.1"]).await,
    );
    let no_dns =
        Misfortune::new("no DNS", &["dns", "connection", "malformed", "unauthorized", "serverInternal"])
            .befalls(
                async |stage| stage.pebble.break_dns("air.example.test", true).await,
                async |stage| stage.pebble.break_dns("air.example.test", false).await,
            );
    // HTTP-01 cannot work here; the second attempt takes the other challenge without being told.
    let mut closed = Misfortune::new("port 80 is closed", &["connection", "unauthorized"]);
    closed.wish.plan = |plan| plan.http_port = 1;
    let closed = closed.befalls(async |_| Ok(()), async |_| Ok(()));

    let rows = tokio::try_join!(
        down,
        hangs,
        hangs_later,
        gone,
        broken,
        busy,
        unwilling,
        cut,
        garbage,
        garbage_later,
        huge,
        elsewhere,
        no_dns,
        closed,
        half_of_all_nonces_are_bad()
    )?;
    let rows = [
        rows.0, rows.1, rows.2, rows.3, rows.4, rows.5, rows.6, rows.7, rows.8, rows.9, rows.10, rows.11,
        rows.12, rows.13, rows.14,
    ];
    let rows: Vec<(&str, String)> = rows.into_iter().flatten().collect();
    report::figures(
        "certificate_hostile",
        "a hostile authority (limits: one order per attempt, 4 validations)",
        &rows,
    );
    Ok(())
}

async fn half_of_all_nonces_are_bad() -> Result<Option<(&'static str, String)>> {
    let name = "half of all nonces are bad";
    let Some(stage) = Stage::set("a_hostile_authority", Wish::names(&["air.example.test"])).await? else {
        return Ok(None);
    };
    stage.ca.spoil_nonces(50);
    let gateway = stage.home.serve().await?;
    let visitor = Visitor::at(gateway.https());
    // It may succeed all the same; if it does not, it says so, and a well authority makes it good.
    let first = within(Duration::from_secs(60), "an end of the first attempt", async || {
        let attempts = stage.status().await?["acme"]["attempts"].clone();
        Ok(crate::rows(&attempts).first().cloned())
    })
    .await
    .context(name)?;
    let orders = stage.ca.count(Kind::NewOrder);
    let refused = stage.ca.seen().iter().filter(|seen| seen.status == Some(400)).count();
    let made =
        stage.ca.seen().iter().filter(|seen| seen.kind == Kind::NewOrder && seen.status == Some(201)).count();
    ensure!(made <= 1, "{name}: {made} orders were made of {orders} requests: {}", stage.ca.summary());
    if first["ok"] != true {
        ensure!(first["problem"] == "badNonce", "{name}: {first}");
        in_plain_words(&first["text"])?;
        stage.ca.mend();
    }
    stage.issued(&gateway, BACK_OFF).await.context(name)?;
    let visits = visitor.leaves().await?;
    let row = format!("issued at once: {}, {refused} refusals, {visits} visits all answered", first["ok"]);
    Ok(Some((name, row)))
}

/// What no waiting can mend: it stops, says so, survives a restart, and goes on when somebody who mended it asks.
async fn stops(
    problem: &str,
    wish: Wish<'_>,
    begin: impl AsyncFnOnce(&Stage) -> Result<()>,
    end: impl AsyncFnOnce(&Stage) -> Result<()>,
) -> Result<()> {
    let Some(stage) = Stage::set("a_hopeless_problem", wish).await? else { return Ok(()) };
    begin(&stage).await?;
    let gateway = stage.home.serve().await?;
    let status = eventually("the stop to be shown", async || {
        let status = stage.status().await?;
        Ok(status["acme"]["stopped"].is_object().then_some(status))
    })
    .await
    .with_context(|| format!("{problem}; requests: {}\n{}", stage.ca.summary(), gateway.log()))?;
    let stopped = &status["acme"]["stopped"];
    ensure!(stopped["problem"] == problem, "{problem}: {stopped}");
    in_plain_words(&stopped["text"])?;
    in_plain_words(&stopped["fix"])?;
    in_plain_words(&status["headline"])?;
    let next = status["acme"]["next_attempt_ms"].as_i64().unwrap_or(i64::MAX);
    ensure!(next - unix_ms() > 20 * 3_600_000, "{problem}: the next attempt is in {} ms", next - unix_ms());
    let metrics = anybody(&gateway)?.get("/metrics").send().await?.expect(200)?;
    ensure!(
        metrics.text()?.lines().any(|line| line == "casement_certificate_stopped 1"),
        "{}",
        metrics.text()?
    );

    let before = stage.ca.total();
    quiet(&stage, before, Duration::from_secs(2)).await?;
    gateway.kill().await?;
    let gateway = stage.home.serve().await?;
    quiet(&stage, before, Duration::from_secs(3)).await.context("after a restart")?;
    anybody(&gateway)?.get("/healthz").send().await?.expect(200)?;

    end(&stage).await?;
    stage.home.run(&["cert", "renew"]).await?.expect(0)?;
    ensure!(shown(gateway.https(), None).await?.is_from("Pebble"), "{problem}");
    let status = stage.status().await?;
    ensure!(status["acme"]["stopped"].is_null() && status["verdict"] == "private", "{status}");
    Ok(())
}

#[tokio::test]
async fn a_hopeless_problem_stops_until_somebody_mends_it() -> Result<()> {
    const NAME: &str = "air.example.test";
    let wish = Wish::names(&[NAME]);
    let blocked = Wish {
        plan: |plan| plan.blocklist = vec!["blocked.example"],
        ..Wish::names(&["air.blocked.example"])
    };
    let refused = |name: &'static str| {
        async move |stage: &Stage| {
            stage.ca.fail(&[Kind::NewOrder], Fault::problem(400, name, "no, and never"));
            Ok(())
        }
    };
    tokio::try_join!(
        // At the validation, as Boulder does it, and once more at the last step, when records changed meanwhile.
        stops(
            "caa",
            wish,
            async |stage| {
                stage.ca.refuse_validations("caa", "CAA record for air.example.test prevents issuance");
                Ok(())
            },
            mend,
        ),
        stops(
            "caa",
            wish,
            async |stage| {
                let refusal = Fault::problem(403, "caa", "CAA record for air.example.test prevents issuance");
                stage.ca.fail(&[Kind::Finalize], refusal);
                Ok(())
            },
            mend,
        ),
        stops("rejectedIdentifier", wish, refused("rejectedIdentifier"), mend),
        stops("unsupportedIdentifier", wish, refused("unsupportedIdentifier"), mend),
        // The real thing, as far as it goes: what is on the list stays there, so another name is wanted.
        stops("rejectedIdentifier", blocked, async |_| Ok(()), async |stage| { stage.want(&[NAME]) }),
    )?;
    Ok(())
}

#[tokio::test]
async fn nothing_is_validated_in_vain_more_than_four_times_an_hour() -> Result<()> {
    let wish = Wish { acme: "challenge = \"http-01\"", ..Wish::names(&["air.example.test"]) };
    let Some(stage) = Stage::set("validated_in_vain", wish).await? else { return Ok(()) };
    stage.pebble.set_a("air.example.test", &["127.0.0.77"]).await?;
    let gateway = stage.home.serve().await?;
    eventually("the first failure", async || {
        Ok((stage.status().await?["acme"]["last_error"].is_object()).then_some(()))
    })
    .await?;
    let mut last = String::new();
    for _ in 0..6 {
        let ran = stage.home.run(&["cert", "renew"]).await?.expect(1)?;
        ensure!(ran.stderr.contains("fix:"), "{ran:?}");
        last = ran.stderr;
    }
    let validations = answered_challenges(&stage);
    ensure!(validations <= 4, "{validations} validations: {}", stage.ca.summary());
    ensure!(validations >= 3, "it gave up early, after {validations}: {last}");
    // Another name would be another matter; this one waits, and says for how long.
    let status = stage.status().await?;
    in_plain_words(&status["acme"]["last_error"]["text"])?;
    anybody(&gateway)?.get("/healthz").send().await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_request_to_replace_that_is_refused_is_sent_once_more_without_it() -> Result<()> {
    let scenario = "a_refused_replacement";
    let wish = Wish { acme: "profile = \"default\"", ..Wish::names(&["air.example.test"]) };
    let Some(stage) = Stage::set(scenario, wish).await? else { return Ok(()) };
    if !stage.pebble.is_recent(scenario) {
        return Ok(());
    }
    let gateway = stage.home.serve().await?;
    let first = stage.issued(&gateway, PATIENCE).await?;
    stage.ca.refuse_replacements();
    stage.home.run(&["cert", "renew"]).await?.expect(0)?;
    ensure!(shown(gateway.https(), None).await?.serial != first.serial, "still the old one");
    let orders = stage.ca.orders();
    ensure!(orders.len() <= 3, "{orders:?}");
    ensure!(orders.last().is_some_and(|order| order["replaces"].is_null()), "{orders:?}");
    Ok(())
}

#[tokio::test]
async fn an_authority_in_disguise_is_not_trusted() -> Result<()> {
    let Some(stage) = Stage::set("in_disguise", Wish::names(&["air.example.test"])).await? else {
        return Ok(());
    };
    // The bundle names another authority than the one that signed the directory's certificate.
    let other = stage.home.path("other.pem");
    std::fs::write(&other, harness::pki::Authority::root("Another authority")?.pem())?;
    stage.home.set_tls(&format!(
        "source = \"acme\"\nnames = [\"air.example.test\"]\n\n[tls.acme]\ndirectory = {:?}\nca_bundle = {other:?}\n",
        stage.ca.directory()
    ))?;
    let gateway = stage.home.serve().await?;
    let error = failure(&stage.home, &gateway).await?;
    ensure!(
        ["unreachable", "bad_answer"].contains(&error["problem"].as_str().unwrap_or_default()),
        "{error}"
    );
    ensure!(stage.ca.total() == 0, "it spoke to a stranger");
    Ok(())
}

/// The first failure that is told.
async fn failure(home: &Home, gateway: &Gateway) -> Result<Value> {
    eventually("a failure to be told", async || {
        let error = status(home).await?["acme"]["last_error"].clone();
        Ok(error.is_object().then_some(error))
    })
    .await
    .with_context(|| gateway.log())
}
