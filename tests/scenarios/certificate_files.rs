//! Certificates that somebody else makes: read, checked, watched, swapped without a dropped request, and taken over.

use crate::certificate::{Stage, Wish, in_plain_words, status, unpadded};
use anyhow::{Context, Result, ensure};
use harness::client::shown;
use harness::gateway::binary;
use harness::pki::{Authority, Pair, replace};
use harness::wait::{PATIENCE, Stopwatch, unix_ms};
use harness::{Client, Gateway, Home, Version, eventually, report, within};
use serde_json::Value;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

const NAME: &str = "air.example.test";

/// An authority with one between it and the leaves, a pair of its, and a gateway's home that reads the pair.
struct Desk {
    root: Authority,
    middle: Authority,
    home: Home,
    cert: PathBuf,
    key: PathBuf,
}

impl Desk {
    fn set() -> Result<Self> {
        let root = Authority::root("Root of the scenario")?;
        let middle = root.intermediate("Middle of the scenario")?;
        let home = Home::public()?;
        let (cert, key) = (home.path("fullchain.pem"), home.path("privkey.pem"));
        let desk = Self { root, middle, home, cert, key };
        desk.middle.issue(&[NAME])?.write(&desk.cert, &desk.key)?;
        desk.read_from(&desk.cert, &desk.key)?;
        Ok(desk)
    }

    fn read_from(&self, cert: &Path, key: &Path) -> Result<()> {
        self.home.set_tls(&format!(
            "source = \"files\"\nnames = [{NAME:?}]\n\n[tls.files]\ncert = {cert:?}\nkey = {key:?}\n"
        ))
    }

    /// A client that trusts the root, and so needs the whole chain.
    fn client(&self, gateway: &Gateway) -> Result<Client> {
        Client::trusting(gateway.https(), NAME, &[self.root.der()], Version::Http1)
    }
}

/// Waits until the gateway shows this pair; gives how long that took.
async fn shows(gateway: &Gateway, pair: &Pair, patience: Duration) -> Result<Duration> {
    let (wanted, clock) = (pair.der()?, Stopwatch::start());
    within(patience, "the new pair to be shown", async || {
        Ok((shown(gateway.https(), Some(NAME)).await?.chain.first() == Some(&wanted)).then_some(()))
    })
    .await
    .with_context(|| gateway.log())?;
    Ok(clock.elapsed())
}

#[tokio::test]
async fn changed_files_are_noticed_without_a_signal_and_at_once_with_one() -> Result<()> {
    let desk = Desk::set()?;
    let gateway = desk.home.serve().await?;
    desk.client(&gateway)?.get("/healthz").send().await?.expect(200)?;

    let second = desk.middle.issue(&[NAME])?;
    second.write(&desk.cert, &desk.key)?;
    let alone = shows(&gateway, &second, Duration::from_secs(3)).await?;
    let third = desk.middle.issue(&[NAME])?;
    third.write(&desk.cert, &desk.key)?;
    gateway.reload()?;
    let told = shows(&gateway, &third, Duration::from_secs(3)).await?;
    desk.client(&gateway)?.get("/healthz").send().await?.expect(200)?;
    report::figures(
        "certificate_files",
        "files that changed (goal: noticed within 3 s)",
        &[
            ("noticed alone after", format!("{:.0} ms", alone.as_secs_f64() * 1000.0)),
            ("with SIGHUP after", format!("{:.0} ms", told.as_secs_f64() * 1000.0)),
        ],
    );
    let status = status(&desk.home).await?;
    ensure!(
        status["source"] == "files" && status["verdict"] == "private" && status["acme"].is_null(),
        "{status}"
    );
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn a_broken_pair_is_refused_and_the_old_one_stays() -> Result<()> {
    let desk = Desk::set()?;
    let gateway = desk.home.serve().await?;
    let good = shown(gateway.https(), None).await?;
    let (one, two) = (desk.middle.issue(&[NAME])?, desk.middle.issue(&[NAME])?);
    let cut = one.chain().chars().take(one.leaf.len() / 2).collect::<String>();
    let cases = [
        ("the key of another", one.chain(), two.key.clone()),
        ("no PEM", "certificate to follow\n".to_owned(), one.key.clone()),
        ("half a file", cut, one.key.clone()),
        ("an empty file", String::new(), one.key.clone()),
        ("no key", one.chain(), one.chain()),
        ("an authority's certificate alone", desk.root.pem(), one.key.clone()),
    ];
    for (what, chain, key) in cases {
        let said = gateway.log().len();
        replace(&desk.key, &key)?;
        replace(&desk.cert, &chain)?;
        gateway.reload()?;
        eventually("the refusal to be told", async || {
            let log = gateway.log();
            let new = log.get(said..).unwrap_or_default();
            Ok((new.contains("fullchain.pem") || new.contains("privkey.pem")).then_some(()))
        })
        .await
        .with_context(|| format!("{what}: {}", gateway.log()))?;
        ensure!(shown(gateway.https(), None).await?.serial == good.serial, "{what} is shown");
        desk.client(&gateway)?.get("/healthz").send().await?.expect(200).context(what)?;
    }
    // Told once, not with every look.
    let lines = gateway.log().lines().count();
    tokio::time::sleep(Duration::from_secs(5)).await;
    ensure!(gateway.log().lines().count() <= lines + 2, "it repeats itself:\n{}", gateway.log());
    one.write(&desk.cert, &desk.key)?;
    shows(&gateway, &one, Duration::from_secs(3)).await?;
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn a_pair_that_is_broken_from_the_start_is_named_with_a_fix() -> Result<()> {
    let desk = Desk::set()?;
    desk.middle.issue(&[NAME])?.write(&desk.cert, &desk.home.path("other.pem"))?;
    let ran = desk.home.run(&["check"]).await?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    ensure!(ran.code == Some(64) && said.contains("fullchain.pem"), "{ran:?}");
    std::fs::remove_file(&desk.cert)?;
    let ran = desk.home.run(&["check"]).await?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    ensure!(ran.code == Some(64) && said.contains("fullchain.pem"), "{ran:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_odd_about_a_pair_is_said_in_plain_words() -> Result<()> {
    let desk = Desk::set()?;
    let fresh = desk.middle.issue(&[NAME])?;
    let expired = desk.middle.issue_expired(&[NAME])?;
    let other = desk.middle.issue(&["other.example.test"])?;
    let cases = [("expired", &expired), ("wrong_names", &other), ("private", &fresh)];
    for (verdict, pair) in cases {
        pair.write(&desk.cert, &desk.key)?;
        let gateway = desk.home.serve().await?;
        shows(&gateway, pair, PATIENCE).await.context(verdict)?;
        let status = status(&desk.home).await?;
        ensure!(status["verdict"] == verdict, "{verdict}: {status}");
        in_plain_words(&status["headline"])?;
        let people = desk.home.run(&["cert", "status"]).await?.expect(0)?;
        ensure!(people.stdout.contains(status["headline"].as_str().unwrap_or("?")), "{people:?}");
        let warned = gateway.log().lines().any(|line| line.contains(" WARN ") || line.contains("ERROR"));
        ensure!(warned || verdict == "private", "no warning about {verdict}:\n{}", gateway.log());
        ensure!(gateway.terminate().await?.code == Some(0));
    }
    Ok(())
}

#[tokio::test]
async fn a_chain_out_of_order_is_shown_in_order() -> Result<()> {
    let desk = Desk::set()?;
    let lower = desk.middle.intermediate("Lower of the scenario")?;
    let pair = lower.issue(&[NAME])?;
    for chain in [
        format!("{}{}{}", pair.leaf, desk.middle.pem(), lower.pem()),
        format!("{}{}{}", lower.pem(), desk.middle.pem(), pair.leaf),
        format!("{}{}{}{}", desk.root.pem(), desk.middle.pem(), lower.pem(), pair.leaf),
    ] {
        replace(&desk.key, &pair.key)?;
        replace(&desk.cert, &chain)?;
        let gateway = desk.home.serve().await?;
        let shown = shown(gateway.https(), None).await?;
        ensure!(shown.chain.first() == Some(&pair.der()?), "the leaf does not come first");
        desk.client(&gateway)?.get("/healthz").send().await?.expect(200)?;
        let told = gateway.log().lines().any(|line| line.contains("WARN") && line.contains("chain"));
        ensure!(told, "it is not told:\n{}", gateway.log());
    }
    Ok(())
}

/// Like certbot: the files of each renewal in `archive`, and links to the latest in `live`.
struct Lineage {
    live: PathBuf,
    archive: PathBuf,
    count: u32,
}

impl Lineage {
    fn at(folder: &Path) -> Result<Self> {
        let (live, archive) = (folder.join("live").join(NAME), folder.join("archive").join(NAME));
        std::fs::create_dir_all(&live)?;
        std::fs::create_dir_all(&archive)?;
        Ok(Self { live, archive, count: 0 })
    }

    fn renew(&mut self, pair: &Pair) -> Result<()> {
        self.count += 1;
        for (name, text) in [
            ("cert", pair.leaf.clone()),
            ("chain", pair.intermediates.clone()),
            ("fullchain", pair.chain()),
            ("privkey", pair.key.clone()),
        ] {
            let file = format!("{name}{}.pem", self.count);
            std::fs::write(self.archive.join(&file), text)?;
            let link = self.live.join(format!("{name}.pem"));
            if self.count > 1 {
                std::fs::remove_file(&link)?;
            }
            symlink(Path::new("../../archive").join(NAME).join(file), link)?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_certbot_lineage_is_followed() -> Result<()> {
    let desk = Desk::set()?;
    let mut lineage = Lineage::at(&desk.home.path("letsencrypt"))?;
    let first = desk.middle.issue(&[NAME])?;
    lineage.renew(&first)?;
    desk.read_from(&lineage.live, Path::new(""))?;
    desk.home.run(&["check"]).await?.expect(0)?;
    let gateway = desk.home.serve().await?;
    shows(&gateway, &first, PATIENCE).await?;
    for _ in 0..2 {
        let next = desk.middle.issue(&[NAME])?;
        lineage.renew(&next)?;
        shows(&gateway, &next, Duration::from_secs(3)).await?;
        desk.client(&gateway)?.get("/healthz").send().await?.expect(200)?;
    }
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

/// A home whose authority cannot be reached, with what is imported as its only certificate.
fn alone() -> Result<(Authority, Home)> {
    let authority = Authority::root("Root of the scenario")?;
    let home = Home::public()?;
    let bundle = home.path("bundle.pem");
    std::fs::write(&bundle, authority.pem())?;
    home.set_tls(&format!(
        "source = \"acme\"\nnames = [{NAME:?}]\n\n[tls.acme]\n\
         directory = \"https://127.0.0.1:1/dir\"\nca_bundle = {bundle:?}\n"
    ))?;
    Ok((authority.intermediate("Middle of the scenario")?, home))
}

async fn import(home: &Home, args: &[&Path]) -> Result<harness::Ran> {
    let mut all = vec!["cert", "import"];
    for arg in args {
        all.push(arg.to_str().context("a path of text")?);
    }
    home.run(&all).await
}

#[tokio::test]
async fn a_certificate_is_taken_over_and_shown_at_once() -> Result<()> {
    let (authority, home) = alone()?;
    let mut lineage = Lineage::at(&home.path("letsencrypt"))?;
    let first = authority.issue(&[NAME])?;
    lineage.renew(&first)?;
    // Before the gateway ever ran.
    import(&home, &[&lineage.live]).await?.expect(0)?;
    let file = home.data_dir().join("certs/acme.pem");
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    let kept = std::fs::read_to_string(&file)?;
    let place = |what: &str| kept.find(what).with_context(|| format!("no {what} in acme.pem"));
    ensure!(place("PRIVATE KEY")? < place("BEGIN CERTIFICATE")?, "the key comes first");
    let gateway = home.serve().await?;
    ensure!(
        shown(gateway.https(), None).await?.chain.first() == Some(&first.der()?),
        "not what was imported"
    );

    // While it runs, from two files.
    let second = authority.issue(&[NAME])?;
    let (cert, key) = (home.path("c.pem"), home.path("k.pem"));
    second.write(&cert, &key)?;
    import(&home, &[&cert, Path::new("--key"), &key]).await?.expect(0)?;
    let at_once = shows(&gateway, &second, Duration::from_secs(2)).await?;
    ensure!(at_once < Duration::from_millis(500), "shown {at_once:?} after the command had ended");
    let state = status(&home).await?;
    assert_eq!(state["verdict"], "private", "{state}");
    let serial = state["shown"]["serial"].as_str().map(unpadded);
    assert_eq!(serial, Some(shown(gateway.https(), None).await?.serial));
    // It is good for a long time, so nobody is asked for another one before that.
    let next = state["acme"]["next_attempt_ms"].as_i64().context("no next attempt")?;
    ensure!(next - unix_ms() > 20 * 86_400_000, "{state}");

    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_used_is_not_taken_over() -> Result<()> {
    let (authority, home) = alone()?;
    let (good, file) = (authority.issue(&[NAME])?, home.data_dir().join("certs/acme.pem"));
    let (cert, key) = (home.path("c.pem"), home.path("k.pem"));
    good.write(&cert, &key)?;
    import(&home, &[&cert, Path::new("--key"), &key]).await?.expect(0)?;
    let before = std::fs::read(&file)?;
    let gateway = home.serve().await?;
    std::fs::create_dir(home.path("empty"))?;
    let args = |paths: &[&str]| paths.iter().map(|path| home.path(path)).collect::<Vec<_>>();
    for (args, hint) in
        [(args(&["nothing.pem"]), "nothing.pem"), (args(&["empty"]), "empty"), (args(&["c.pem"]), "key")]
    {
        let args: Vec<&Path> = args.iter().map(PathBuf::as_path).collect();
        let ran = import(&home, &args).await?.expect(1)?;
        ensure!(ran.stderr.contains(hint) && ran.stderr.contains("fix:"), "{hint}: {ran:?}");
    }
    let (expired, other) = (authority.issue_expired(&[NAME])?, authority.issue(&["other.example.test"])?);
    let mixed = Pair { key: expired.key.clone(), ..good.clone() };
    let mut wrong = Vec::new();
    for (what, pair) in [("expired", &expired), ("another key", &mixed), ("other names", &other)] {
        pair.write(&cert, &key)?;
        let ran = import(&home, &[&cert, Path::new("--key"), &key]).await?;
        if ran.code != Some(1) || !ran.stderr.contains("c.pem") || !ran.stderr.contains("fix:") {
            wrong.push((what, ran));
        }
    }
    ensure!(wrong.is_empty(), "taken, or refused without place and fix: {wrong:?}");
    ensure!(std::fs::read(&file)? == before, "a refused import changed the file");
    shows(&gateway, &good, PATIENCE).await?;
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn what_was_taken_over_is_renewed_when_due() -> Result<()> {
    let wish = Wish { acme: "profile = \"default\"", ..Wish::names(&[NAME]) };
    let Some(stage) = Stage::set("taken_over_and_renewed", wish).await? else { return Ok(()) };
    // Five of six days are over.
    let now = std::time::SystemTime::now();
    let day = Duration::from_secs(86_400);
    let pair = Authority::root("Another authority")?.issue_for(&[NAME], now - day * 5, now + day)?;
    let (cert, key) = (stage.home.path("c.pem"), stage.home.path("k.pem"));
    pair.write(&cert, &key)?;
    import(&stage.home, &[&cert, Path::new("--key"), &key]).await?.expect(0)?;
    let gateway = stage.home.serve().await?;
    let issued = stage.issued(&gateway, PATIENCE).await?;
    ensure!(issued.names == [NAME], "{:?}", issued.names);
    Ok(())
}

#[tokio::test]
async fn an_unreadable_key_is_named_with_owner_mode_and_the_mode_needed() -> Result<()> {
    const NOBODY: u32 = 65_534;
    let scenario = "an_unreadable_key";
    let desk = Desk::set()?;
    let me = std::fs::metadata(desk.home.config())?.uid();
    if me != 0 {
        report::skipped(scenario, "only root can run the gateway as somebody else");
        return Ok(());
    }
    if Command::new("setpriv").arg("--version").output().await.is_err() {
        report::skipped(scenario, "there is no setpriv (util-linux) here");
        return Ok(());
    }
    // Everything is the other user's, but the key.
    let folder = desk.home.path("");
    std::fs::create_dir_all(desk.home.data_dir())?;
    for path in [&folder, &desk.home.config(), &desk.home.data_dir(), &desk.cert] {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))?;
    std::fs::set_permissions(&desk.key, std::fs::Permissions::from_mode(0o600))?;

    let mut child = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(binary()?)
        .arg("serve")
        .arg("--config")
        .arg(desk.home.config())
        .current_dir(&folder)
        .env_clear()
        .env("HOME", &folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("stderr is piped")?).lines();
    let mut said = String::new();
    let told = async {
        while let Some(line) = lines.next_line().await? {
            said.push_str(&line);
            said.push('\n');
            if ["privkey.pem", "root", "600", "640"].iter().all(|word| said.contains(word)) {
                break;
            }
        }
        anyhow::Ok(())
    };
    let ended = tokio::time::timeout(Duration::from_secs(10), told).await;
    for word in ["privkey.pem", "root", "600", "640"] {
        ensure!(said.contains(word), "{word:?} is not mentioned ({ended:?}):\n{said}");
    }
    Ok(())
}

/// Asks for a page again and again, on one connection or on one each, until told; counts answers and failures.
async fn browse(
    client: Client,
    keep: bool,
    end: Arc<AtomicBool>,
    failures: Arc<std::sync::Mutex<Vec<String>>>,
    answers: Arc<AtomicUsize>,
) -> Result<()> {
    while !end.load(Ordering::SeqCst) {
        let fresh = client.fresh();
        let used = if keep { &client } else { &fresh };
        match used.get("/healthz").send().await {
            Ok(answer) if answer.status == 200 => {
                answers.fetch_add(1, Ordering::SeqCst);
            }
            other => {
                let mut failures = failures.lock().map_err(|_| anyhow::anyhow!("a poisoned lock"))?;
                failures.push(format!("keep {keep}: {other:?}"));
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_hundred_swaps_under_load_drop_no_request() -> Result<()> {
    const SWAPS: usize = 100;
    let desk = Desk::set()?;
    // A whole pair is switched with one rename of a link.
    let pairs = [desk.middle.issue(&[NAME])?, desk.middle.issue(&[NAME])?];
    for (name, pair) in ["a", "b"].iter().zip(&pairs) {
        let folder = desk.home.path(name);
        std::fs::create_dir(&folder)?;
        pair.write(&folder.join("fullchain.pem"), &folder.join("privkey.pem"))?;
    }
    let live = desk.home.path("live");
    let switch = |to: &str| -> Result<()> {
        let beside = desk.home.path("live.new");
        symlink(to, &beside)?;
        Ok(std::fs::rename(&beside, &live)?)
    };
    switch("a")?;
    desk.read_from(&live, Path::new(""))?;
    let gateway = desk.home.serve().await?;
    shows(&gateway, &pairs[0], PATIENCE).await?;

    let (end, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let failures = Arc::new(std::sync::Mutex::new(Vec::new()));
    let h2 = Client::trusting(gateway.https(), NAME, &[desk.root.der()], Version::Http2)?;
    let h1 = desk.client(&gateway)?;
    let mut browsing = Vec::new();
    for (client, keep) in [(h1.fresh(), true), (h2, true), (h1.fresh(), false), (h1, false)] {
        let (end, failures, answers) = (Arc::clone(&end), Arc::clone(&failures), Arc::clone(&answers));
        browsing.push(tokio::spawn(browse(client, keep, end, failures, answers)));
    }
    let mut delays = Vec::new();
    for swap in 1..=SWAPS {
        let new = swap % 2;
        switch(["a", "b"][new])?;
        gateway.reload()?;
        let clock = Stopwatch::start();
        let wanted = pairs[new].der()?;
        while shown(gateway.https(), None).await?.chain.first() != Some(&wanted) {
            ensure!(clock.elapsed() < PATIENCE, "swap {swap} is not shown:\n{}", gateway.log());
        }
        delays.push(clock.ms());
        // Every certificate serves for a while.
        let so_far = answers.load(Ordering::SeqCst);
        eventually("twenty more answers", async || {
            let done = answers.load(Ordering::SeqCst) >= so_far + 20;
            let failed = failures.lock().is_ok_and(|failures| !failures.is_empty());
            Ok((done || failed).then_some(()))
        })
        .await?;
    }
    end.store(true, Ordering::SeqCst);
    for one in browsing {
        one.await??;
    }
    delays.sort_by(f64::total_cmp);
    let failed = failures.lock().map_err(|_| anyhow::anyhow!("a poisoned lock"))?.clone();
    report::figures(
        "certificate_swaps",
        "swaps under load (goals: no failed request, the new certificate within 20 ms)",
        &[
            ("swaps", SWAPS.to_string()),
            ("requests answered, on kept and on new connections", answers.load(Ordering::SeqCst).to_string()),
            ("requests failed", failed.len().to_string()),
            (
                "SIGHUP to the end of the first handshake with the new one",
                format!("median {:.1} ms, worst {:.1} ms", delays[SWAPS / 2], delays[SWAPS - 1]),
            ),
        ],
    );
    ensure!(failed.is_empty(), "{} failed, the first: {}", failed.len(), failed[0]);
    ensure!(answers.load(Ordering::SeqCst) > SWAPS, "too little load to say anything");
    ensure!(delays[SWAPS - 1] < 3_000.0, "the worst took {:.0} ms", delays[SWAPS - 1]);
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn an_imported_certificate_is_shown_to_the_next_handshake() -> Result<()> {
    const SWAPS: usize = 20;
    let (authority, home) = alone()?;
    let folders = ["a", "b"].map(|name| home.path(name));
    let pairs = [authority.issue(&[NAME])?, authority.issue(&[NAME])?];
    for (folder, pair) in folders.iter().zip(&pairs) {
        std::fs::create_dir(folder)?;
        pair.write(&folder.join("fullchain.pem"), &folder.join("privkey.pem"))?;
    }
    let gateway = home.serve().await?;
    let client = Client::trusting_anything(gateway.https(), Version::Http1)?;
    client.get("/healthz").send().await?.expect(200)?;
    let mut delays = Vec::new();
    for swap in 0..SWAPS {
        import(&home, &[&folders[swap % 2]]).await?.expect(0)?;
        let clock = Stopwatch::start();
        let wanted = pairs[swap % 2].der()?;
        while shown(gateway.https(), None).await?.chain.first() != Some(&wanted) {
            ensure!(clock.elapsed() < PATIENCE, "import {swap} is not shown:\n{}", gateway.log());
        }
        delays.push(clock.ms());
        // The connection from before all that goes on.
        client.get("/healthz").send().await?.expect(200)?;
    }
    delays.sort_by(f64::total_cmp);
    report::figures(
        "certificate_imports",
        "imports into a running gateway (goal: shown within 20 ms of the answer)",
        &[(
            "end of the command to the end of a handshake with it",
            format!("median {:.1} ms, worst {:.1} ms", delays[SWAPS / 2], delays[SWAPS - 1]),
        )],
    );
    ensure!(delays[SWAPS - 1] < 1_000.0, "the worst took {:.0} ms", delays[SWAPS - 1]);
    Ok(())
}

#[tokio::test]
async fn small_devices_can_be_spared_the_last_certificate_of_the_chain() -> Result<()> {
    let desk = Desk::set()?;
    let lower = desk.middle.intermediate("Lower of the scenario")?;
    lower.issue(&[NAME])?.write(&desk.cert, &desk.key)?;
    for (kind, short) in [("full", 3), ("short", 2)] {
        desk.home.set_tls(&format!(
            "source = \"files\"\nnames = [{NAME:?}]\ndevice_chain = {kind:?}\n\n[tls.files]\ncert = {:?}\nkey = {:?}\n",
            desk.cert, desk.key
        ))?;
        let gateway = desk.home.serve().await?;
        // Without ALPN, as small devices come.
        assert_eq!(shown(gateway.https(), Some(NAME)).await?.chain.len(), short, "{kind}");
        let browser = Client::trusting(gateway.https(), NAME, &[desk.root.der()], Version::Http2)?;
        browser.get("/healthz").send().await?.expect(200)?;
    }
    Ok(())
}

/// Only so that a status can be shown for a gateway that never ran.
#[tokio::test]
async fn the_status_is_told_without_a_gateway() -> Result<()> {
    let desk = Desk::set()?;
    let before = status(&desk.home).await?;
    let gateway = desk.home.serve().await?;
    let during = status(&desk.home).await?;
    gateway.terminate().await?;
    let after = status(&desk.home).await?;
    for state in [&before, &during, &after] {
        let serial: Option<&Value> = state["shown"].get("serial");
        ensure!(serial.is_some_and(Value::is_string) && state["verdict"] == "private", "{state}");
        ensure!(state["shown"]["serial"] == during["shown"]["serial"], "{state}");
    }
    Ok(())
}
