//! From an empty folder to a padlock with a live reading, and what is said when that cannot be.

use anyhow::{Context, Result, ensure};
use harness::gateway::run;
use harness::pebble::Plan;
use harness::ports::Port;
use harness::wait::{Stopwatch, unix_ms};
use harness::{Client, Gateway, Pebble, Ran, Version, report};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const NAME: &str = "air.casement.test";

/// An empty folder and an authority.
struct Stage {
    folder: TempDir,
    pebble: Pebble,
    ports: [Port; 2],
}

impl Stage {
    async fn set(scenario: &str) -> Result<Option<Self>> {
        let ports = [Port::reserve()?, Port::reserve()?];
        let plan = Plan::checking(ports[0].number(), ports[1].number());
        let Some(pebble) = Pebble::start(scenario, &plan).await? else { return Ok(None) };
        Ok(Some(Self { folder: tempfile::tempdir()?, pebble, ports }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn directory(&self) -> Result<String> {
        Ok(format!("https://{}/dir", self.pebble.address()?))
    }

    async fn casement(&self, args: &[&str]) -> Result<Ran> {
        run(self.folder.path(), args, &[("CASEMENT_CONFIG", "casement.toml")]).await
    }

    /// `casement init NAME` with everything that a test has to say, and more.
    async fn init(&self, name: &str, more: &[&str]) -> Result<Ran> {
        let (directory, bundle) = (self.directory()?, self.pebble.ca_bundle());
        let [http, https] = [&self.ports[0], &self.ports[1]].map(Port::local);
        let dns = self.pebble.dns_address();
        let mut args = vec!["init", name, "--directory", &directory, "--data-dir", "data"];
        args.extend(["--ca-bundle", bundle.to_str().context("a path of text")?]);
        args.extend(["--http", &http, "--https", &https, "--contact", "me@example.org", "--dns", &dns]);
        args.extend(more);
        self.casement(&args).await
    }

    async fn serve(&self) -> Result<Gateway> {
        let env = [("CASEMENT_CONFIG", "casement.toml")];
        Gateway::launch(self.folder.path(), &self.path("data"), &["serve"], &env).await
    }

    /// A browser's view: the name must be in the certificate, and the authority's root behind it.
    async fn visitor(&self, gateway: &Gateway) -> Result<Client> {
        let root: CertificateDer<'static> = self.pebble.root().await?;
        Client::trusting(gateway.https(), NAME, &[root], Version::Http2)
    }
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

#[tokio::test]
async fn two_commands_lead_from_an_empty_folder_to_a_padlock_with_a_live_reading() -> Result<()> {
    let Some(stage) = Stage::set("init: two commands").await? else { return Ok(()) };
    let clock = Stopwatch::start();
    // The first command.
    let ran = stage.init(NAME, &["--json"]).await?.expect(0)?;
    let initialised = clock.elapsed();
    let told: Value = serde_json::from_str(&ran.stdout)?;
    let link = told["claim"]["url"].as_str().context("a link")?.to_owned();
    let (_, secret) = link.split_once("/claim#").context("a link to claim")?;
    ensure!(link.starts_with(&format!("https://{NAME}:")), "{link}");
    // The second command.
    let gateway = stage.serve().await?;
    let visitor = stage.visitor(&gateway).await?;
    let signed_in = visitor.post("/claim").form(&[("code", secret)]).send().await?.expect(303)?;
    let cookie = signed_in.header("set-cookie").and_then(|set| set.split(';').next()).context("a cookie")?;
    // What the page "Add a device" does, and then the device itself.
    let at = format!("https://{NAME}:{}", gateway.https().port());
    let added = visitor
        .post("/api/v1/flash/devices")
        .header("cookie", cookie)
        .header("sec-fetch-site", "same-origin")
        .json(&json!({"room": "Study", "url": at}))
        .send()
        .await?
        .expect(201)?;
    let settings = String::from_utf8_lossy(&added.body);
    let token =
        settings.find("cas_dev_").and_then(|from| settings.get(from..from + 72)).context("a token")?;
    let sent = json!({"readings": [{"time": unix_ms(), "co2": 612}]});
    visitor.with_token(token).ingest(&sent).await?.expect(200)?;
    let page = visitor.get("/").header("cookie", cookie).send().await?.expect(200)?;
    let took = clock.elapsed();
    assert!(page.text()?.contains("612 ppm") && page.text()?.contains("Study"), "{}", page.text()?);
    report::figures(
        "init",
        "From an empty folder to a padlock with a live reading, against Pebble, two commands",
        &[
            ("casement init, s", format!("{:.2}", initialised.as_secs_f64())),
            ("until the page shows the reading, s", format!("{:.2}", took.as_secs_f64())),
        ],
    );
    ensure!(took.as_secs() < 60, "{took:?}");

    let config = text(&stage.path("casement.toml"))?;
    // Directory and bundle are what a test needs and a server does not.
    assert!(config.lines().count() <= 12, "{config}");
    let mode = std::fs::metadata(stage.path("casement.toml"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    stage.casement(&["check"]).await?.expect(0)?;
    assert!(!format!("{}{}", gateway.log(), ran.stderr).contains(secret), "the secret is in a log");

    // Once more, while it runs: nothing is changed, and what is there is told.
    let again = stage.init(NAME, &[]).await?.expect(0)?;
    for part in ["is there already", "runs already", "changes nothing", "casement claim", NAME] {
        assert!(again.stderr.contains(part), "{part}: {again:?}");
    }
    assert!(again.stdout.is_empty(), "there is an administrator, so there is no link: {again:?}");
    assert_eq!(text(&stage.path("casement.toml"))?, config);
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn what_would_not_work_is_told_before_anything_is_done() -> Result<()> {
    let Some(stage) = Stage::set("init: what would not work").await? else { return Ok(()) };
    // Nobody there has a record of that name.
    stage.pebble.break_dns("nowhere.casement.test", true).await?;
    let ran = stage.init("nowhere.casement.test", &[]).await?.expect(3)?;
    assert!(ran.stderr.contains("Fix:") && ran.stderr.contains("nothing was changed"), "{ran:?}");
    assert!(!stage.path("casement.toml").exists() && !stage.path("data").exists());
    for (args, part) in [
        (vec!["init", "https://air.example.org/"], "without scheme"),
        (vec!["init", "air.example.org", "--contact", "nobody"], "mailto:"),
        (vec!["init", "air.example.org", "--directory", "http://ca.example"], "https://"),
        (vec!["init", "air.example.org", "--ca-bundle", "no.pem"], "--ca-bundle"),
        (vec!["init", "air.example.org", "--https", "443"], "--https"),
        (vec!["init", "air.example.org", "--wait", "0"], "--wait"),
    ] {
        let ran = stage.casement(&args).await?.expect(2)?;
        assert!(ran.stderr.contains(part), "{args:?}: {ran:?}");
        assert!(!stage.path("casement.toml").exists());
    }
    Ok(())
}

#[tokio::test]
async fn a_refused_order_says_why_and_the_next_run_goes_on_from_there() -> Result<()> {
    let Some(stage) = Stage::set("init: a refused order").await? else { return Ok(()) };
    // The authority looks for the name elsewhere, where nobody is.
    stage.pebble.set_a(NAME, &["127.0.0.99"]).await?;
    let ran = stage.init(NAME, &["--yes"]).await?.expect(1)?;
    assert!(ran.stderr.contains("no certificate was issued") && ran.stderr.contains("fix:"), "{ran:?}");
    assert!(ran.stdout.is_empty(), "no link before HTTPS can be trusted: {ran:?}");
    let config = text(&stage.path("casement.toml"))?;
    stage.pebble.set_a(NAME, &["127.0.0.1"]).await?;
    let ran = stage.init(NAME, &[]).await?.expect(0)?;
    assert!(ran.stderr.contains("is there already") && ran.stdout.contains("/claim#cas_clm_"), "{ran:?}");
    assert_eq!(text(&stage.path("casement.toml"))?, config);
    Ok(())
}

#[tokio::test]
async fn a_configuration_is_never_lost() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("casement.toml");
    let init = async |args: &[&str]| {
        let mut all = vec!["init"];
        all.extend(args);
        all.extend([
            "--data-dir",
            "data",
            "--no-start",
            "--yes",
            "--http",
            "127.0.0.1:0",
            "--https",
            "127.0.0.1:0",
        ]);
        run(folder.path(), &all, &[("CASEMENT_CONFIG", "casement.toml")]).await
    };
    // A name of the own network: nobody has to be asked, and the gateway vouches for itself.
    let ran = init(&["pi.local"]).await?.expect(0)?;
    assert!(ran.stderr.contains("casement serve --config") && ran.stdout.is_empty(), "{ran:?}");
    let first = text(&file)?;
    assert!(first.contains("\"self-signed\"") && first.lines().count() <= 12, "{first}");
    let ran = init(&["other.local"]).await?.expect(1)?;
    assert!(ran.stderr.contains("it is for pi.local") && ran.stderr.contains("--force"), "{ran:?}");
    assert_eq!(text(&file)?, first);
    init(&["other.local", "--force"]).await?.expect(0)?;
    assert!(text(&file)?.contains("other.local"));
    assert_eq!(text(&folder.path().join("casement.toml.old"))?, first);
    // A file that somebody broke is not written over either, and says what is wrong with it.
    std::fs::write(&file, "data_dri = \"x\"\n")?;
    let ran = init(&["other.local"]).await?.expect(64)?;
    assert!(ran.stderr.contains("data_dir"), "{ran:?}");
    Ok(())
}
