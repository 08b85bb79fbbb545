//! `casement doctor` names real faults, each with its fix, and leaves nothing behind.

use anyhow::{Context, Result, ensure};
use harness::directory::{Directory, Says};
use harness::dns::Dns;
use harness::gateway::binary;
use harness::pki::{Authority, Pair};
use harness::ports::{Port, has_ipv6};
use harness::wait::Stopwatch;
use harness::{Gateway, Home, Ran, SmallDisk, eventually, report};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const NAME: &str = "air.example.test";

/// A whole run may take this long.
const RUN_MAX: Duration = Duration::from_secs(20);

/// What a run said.
struct Examined {
    ran: Ran,
    said: Value,
    took: Duration,
}

impl Examined {
    fn finding(&self, id: &str) -> Result<&Value> {
        let checks = self.said["checks"].as_array().context("a list of checks")?;
        checks.iter().find(|check| check["id"] == id).with_context(|| format!("there is no check {id}"))
    }

    fn is(&self, id: &str, status: &str) -> Result<&Self> {
        let finding = self.finding(id)?;
        ensure!(finding["status"] == status, "{id} should be {status}: {finding}\n{}", self.ran.stderr);
        Ok(self)
    }

    /// A check names a fault: what it says, and how to mend it. The exit code says so, too.
    fn names(&self, id: &str, status: &str, what: &[&str], fix: &[&str]) -> Result<()> {
        let finding = self.is(id, status)?.finding(id)?;
        let has = |field: &str, parts: &[&str]| {
            let text = finding[field].as_str().unwrap_or_default();
            match parts.iter().find(|part| !text.contains(**part)) {
                Some(part) => Err(anyhow::anyhow!("{part:?} is missing in the {field} of {id}: {finding}")),
                None => Ok(()),
            }
        };
        has("text", what)?;
        has("fix", fix)?;
        if status == "problem" {
            ensure!(self.ran.code == Some(3), "a problem, and exit code {:?}", self.ran.code);
        }
        Ok(())
    }

    fn of(ran: Ran, took: Duration) -> Result<Self> {
        ensure!(took < RUN_MAX, "it took {took:?}");
        let said: Value = serde_json::from_str(&ran.stdout).with_context(|| format!("{ran:?}"))?;
        let count = |status: &str| {
            said["checks"]
                .as_array()
                .map_or(0, |checks| checks.iter().filter(|check| check["status"] == status).count())
        };
        ensure!(said["problems"] == count("problem") && said["warnings"] == count("warning"), "{said}");
        ensure!(ran.code == Some(if count("problem") > 0 { 3 } else { 0 }), "{ran:?}");
        ensure!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        for check in said["checks"].as_array().context("a list")? {
            let fixed = check["fix"].is_string();
            let wanted = check["status"] == "problem" || check["status"] == "warning";
            ensure!(fixed == wanted, "a fix where something is wrong: {check}");
        }
        Ok(Self { ran, said, took })
    }
}

async fn examine(home: &Home, dns: Option<&Dns>) -> Result<Examined> {
    let address = dns.map(Dns::address);
    let mut args = vec!["doctor", "--json"];
    args.extend(address.iter().flat_map(|address| ["--dns", address.as_str()]));
    let clock = Stopwatch::start();
    let ran = home.run(&args).await?;
    Examined::of(ran, clock.elapsed())
}

/// A gateway that wants a certificate from a private authority, and the DNS that leads to it.
struct Stage {
    home: Home,
    dns: Dns,
    directory: Directory,
    bundle: PathBuf,
    _ports: [Port; 2],
}

impl Stage {
    async fn set() -> Result<Self> {
        let (dns, directory) = (Dns::start().await?, Directory::start().await?);
        let ports = [Port::reserve()?, Port::reserve()?];
        let home = Home::with_tls(&ports[0].local(), &ports[1].local(), "", "")?;
        let bundle = home.path("root.pem");
        std::fs::write(&bundle, directory.root())?;
        dns.set(NAME, &["127.0.0.1"])?;
        let stage = Self { home, dns, directory, bundle, _ports: ports };
        stage.want(&stage.directory.url(), "")?;
        Ok(stage)
    }

    /// Writes this directory and more keys of `[tls.acme]` into the configuration.
    fn want(&self, directory: &str, more: &str) -> Result<()> {
        self.home.set_tls(&format!(
            "source = \"acme\"\nnames = [{NAME:?}]\n\n[tls.acme]\ndirectory = {directory:?}\nca_bundle = {:?}\n{more}\n",
            self.bundle
        ))
    }

    async fn examine(&self) -> Result<Examined> {
        examine(&self.home, Some(&self.dns)).await
    }
}

/// An address of this machine's own at which nobody listens; `None` where there is only loopback.
fn other_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // No packet is sent.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
}

#[tokio::test]
async fn faults_of_names_and_dns_are_named() -> Result<()> {
    let stage = Stage::set().await?;
    let gateway = stage.home.serve().await?;
    let good = stage.examine().await?;
    for id in [
        "configuration",
        "folder",
        "folder_mode",
        "private_files",
        "store",
        "gateway",
        "gateway_answers",
        "names",
        "dns",
        "dns_a",
        "dns_aaaa",
        "caa",
        "authority",
        "profile",
        "binding",
        "clock",
        "clock_dates",
        "listeners",
        "port_http",
        "port_https",
        "challenge",
        "redirect",
        "tls_versions",
        "tls_old",
        "tls_alpn",
        "tls_key_exchange",
        "tls_nameless",
        "hsts",
        "csp",
        "tls_grade",
        "open_files",
    ] {
        good.is(id, "ok")?;
    }
    let caa = good.finding("caa")?["text"].as_str().unwrap_or_default();
    ensure!(
        caa.contains(&format!("{NAME}. CAA 0 issue \"ca.test; validationmethods=http-01,tls-alpn-01\"")),
        "{caa}"
    );

    stage.dns.set(NAME, &["198.51.100.77"])?;
    let wrong = stage.examine().await?;
    wrong.names(
        "dns_a",
        "problem",
        &[NAME, "198.51.100.77", "not this machine"],
        &["Change the A record", "198.51.100.77"],
    )?;

    stage.dns.set(NAME, &["127.0.0.1", "2001:db8::7"])?;
    stage.examine().await?.names(
        "dns_aaaa",
        "problem",
        &[NAME, "2001:db8::7", "prefers IPv6; validation will fail"],
        &["Remove the AAAA record", "2001:db8::7"],
    )?;

    stage.dns.set(NAME, &[])?;
    stage.examine().await?.names("dns", "problem", &[NAME, "no address"], &["Publish", NAME, " A "])?;
    stage.dns.forget(NAME);
    stage.examine().await?.names("dns", "problem", &[NAME, "does not exist"], &["Publish", NAME, " A "])?;
    drop(gateway);
    report::figures(
        "doctor",
        "casement doctor (goal: 20 s at most)",
        &[
            ("checks", good.said["checks"].as_array().map_or(0, Vec::len).to_string()),
            ("a run when all is well", format!("{:.2} s", good.took.as_secs_f64())),
            ("a run when a name leads elsewhere", format!("{:.2} s", wrong.took.as_secs_f64())),
        ],
    );
    Ok(())
}

#[tokio::test]
async fn caa_records_that_forbid_are_named_with_the_record_to_publish() -> Result<()> {
    let stage = Stage::set().await?;
    let publish = format!("{NAME}. CAA 0 issue \"ca.test; validationmethods=http-01,tls-alpn-01\"");
    for (at, records, what) in [
        ("example.test", &[(0, "issue", "elsewhere.test")][..], "allows elsewhere.test and not ca.test"),
        (NAME, &[(0, "issue", ";")], "allows nobody"),
        (NAME, &[(0, "issue", "ca.test; accounturi=https://ca.test/acct/8")], "https://ca.test/acct/8"),
        (NAME, &[(0, "issue", "ca.test; validationmethods=dns-01")], "only by dns-01"),
    ] {
        stage.dns.set_caa(at, records);
        stage.examine().await?.names("caa", "problem", &[NAME, what], &[&publish])?;
        stage.dns.set_caa(at, &[]);
    }
    stage.dns.set_caa(NAME, &[(128, "tbs", "x"), (0, "issue", "ca.test")]);
    stage.examine().await?.names(
        "caa",
        "problem",
        &["critical", "tbs"],
        &["Remove the record", "CAA 128 tbs"],
    )?;
    stage.dns.set_caa(NAME, &[(0, "issue", "ca.test; validationmethods=http-01")]);
    stage.examine().await?.is("caa", "ok")?;
    stage.dns.set_caa(NAME, &[]);
    stage.dns.break_caa("example.test");
    stage.examine().await?.names(
        "caa",
        "problem",
        &["SERVFAIL", "refuse"],
        &["DNS servers of example.test"],
    )?;
    Ok(())
}

#[tokio::test]
async fn closed_and_taken_ports_are_named() -> Result<()> {
    let stage = Stage::set().await?;
    let gateway = stage.home.serve().await?;
    match other_address() {
        None => report::skipped("doctor_closed_port", "this machine has only loopback addresses"),
        Some(address) => {
            let (http, https) = (gateway.http().port(), gateway.https().port());
            stage.dns.set(NAME, &[&address.to_string()])?;
            let closed = stage.examine().await?;
            closed.is("dns_a", "ok")?;
            closed.names(
                "port_http",
                "problem",
                &[&SocketAddr::new(address, http).to_string(), "closed"],
                &["listen.http"],
            )?;
            closed.names(
                "port_https",
                "problem",
                &[&SocketAddr::new(address, https).to_string(), "closed"],
                &["listen.https"],
            )?;

            // Somebody else sits there and answers everything.
            let stranger = TcpListener::bind((address, http)).await?;
            let server = tokio::spawn(async move {
                while let Ok((mut stream, _)) = stranger.accept().await {
                    let mut request = [0; 1024];
                    let _read = stream.read(&mut request).await;
                    let page = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
                    let _written = stream.write_all(page.as_bytes()).await;
                }
            });
            let taken = stage.examine().await?;
            taken.names(
                "challenge",
                "problem",
                &["something else answers", "200"],
                &["/.well-known/acme-challenge/"],
            )?;
            taken.names("redirect", "warning", &["does not lead to HTTPS"], &["https://"])?;
            server.abort();
        }
    }
    if has_ipv6() {
        stage.dns.set(NAME, &["127.0.0.1", "::1"])?;
        stage.examine().await?.names(
            "dns_aaaa",
            "problem",
            &["::1", "nothing answers"],
            &["listen there, too", "[::]:80"],
        )?;
    } else {
        report::skipped("doctor_closed_ipv6", "this machine has no IPv6");
    }
    drop(gateway);
    Ok(())
}

#[tokio::test]
async fn faults_of_the_authority_are_named() -> Result<()> {
    let stage = Stage::set().await?;
    let three_hours = 3 * 3_600_000 + 60_000;
    for (ahead_ms, status, what) in [
        (three_hours, "problem", "3 hours behind"),
        (-three_hours, "problem", "3 hours ahead"),
        (20_000, "warning", "behind"),
    ] {
        stage.directory.say(Says { ahead_ms, ..Says::default() });
        stage.examine().await?.names("clock", status, &[what], &["timedatectl set-ntp true"])?;
    }
    stage.directory.say(Says { binding_required: true, ..Says::default() });
    stage.examine().await?.names(
        "binding",
        "problem",
        &["external account binding"],
        &["tls.acme.eab_kid", "tls.acme.eab_hmac_file"],
    )?;
    let key = stage.home.path("eab.key");
    stage.want(&stage.directory.url(), &format!("eab_kid = \"kid\"\neab_hmac_file = {key:?}"))?;
    stage.examine().await?.names(
        "binding",
        "problem",
        &["eab.key", "no such file"],
        &["base64url", "0600"],
    )?;
    std::fs::write(&key, "aGVsbG8taGVsbG8taGVsbG8\n")?;
    stage.examine().await?.is("binding", "ok")?;

    stage.directory.say(Says { profiles: vec!["classic", "shortlived"], ..Says::default() });
    stage.want(&stage.directory.url(), "profile = \"tlsserver\"")?;
    stage.examine().await?.names(
        "profile",
        "problem",
        &["tlsserver", "classic, shortlived"],
        &["Leave tls.acme.profile empty"],
    )?;

    let nobody = Port::reserve()?;
    stage.want(&format!("https://{}/dir", nobody.local()), "")?;
    stage.examine().await?.names(
        "authority",
        "problem",
        &["could not be reached"],
        &["tls.acme.directory", "curl"],
    )?;
    stage.want(&stage.directory.url(), "")?;
    std::fs::write(&stage.bundle, Authority::root("Somebody else")?.pem())?;
    stage.examine().await?.names(
        "authority",
        "problem",
        &["certificate"],
        &["root.pem", "tls.acme.ca_bundle"],
    )?;

    // A public authority: nothing here is known to browsers, and the name is one of a local network.
    stage.home.set_tls(&format!(
        "source = \"acme\"\nnames = [\"gateway.local\"]\n\n[tls.acme]\ndirectory = {:?}\n",
        stage.directory.url()
    ))?;
    let public = stage.examine().await?;
    public.names("names_public", "problem", &["gateway.local", "local network"], &["domain of your own"])?;
    public.names("listeners", "problem", &["ports 80 and 443"], &["listen.http = [\"[::]:80\"]"])?;
    public.names("authority", "problem", &["certificate"], &["tls.acme.ca_bundle"])?;
    Ok(())
}

#[tokio::test]
async fn a_gateway_with_a_certificate_of_its_authority_is_well() -> Result<()> {
    let wish = crate::certificate::Wish::names(&[NAME]);
    let Some(stage) = crate::certificate::Stage::set("doctor_with_pebble", wish).await? else {
        return Ok(());
    };
    let gateway = stage.home.serve().await?;
    stage.issued(&gateway, Duration::from_secs(60)).await?;
    let dns = Dns::start().await?;
    dns.set(NAME, &["127.0.0.1"])?;
    let well = examine(&stage.home, Some(&dns)).await?;
    ensure!(well.said["problems"] == 0, "{}", well.said);
    for id in [
        "dns_a",
        "caa",
        "authority",
        "profile",
        "clock",
        "port_http",
        "port_https",
        "challenge",
        "certificate",
        "certificate_names",
        "certificate_chain",
        "certificate_trust",
        "certificate_shown",
        "renewal",
    ] {
        well.is(id, "ok")?;
    }
    // What it prints names the account, and would be accepted.
    let account = crate::certificate::status(&stage.home).await?["acme"]["account"].clone();
    let account = account.as_str().context("an account")?;
    for (value, what) in [
        ("digicert.com".to_owned(), "digicert.com"),
        (format!("pebble.letsencrypt.org; accounturi={account}8"), "another account"),
    ] {
        dns.set_caa(NAME, &[(0, "issue", &value)]);
        let fix = format!("; accounturi={account}; validationmethods=http-01,tls-alpn-01\"");
        examine(&stage.home, Some(&dns)).await?.names(
            "caa",
            "problem",
            &[NAME, what],
            &["CAA 0 issue", &fix],
        )?;
    }
    dns.set_caa(
        NAME,
        &[(0, "issue", &format!("pebble.letsencrypt.org; accounturi={account}; validationmethods=http-01"))],
    );
    examine(&stage.home, Some(&dns)).await?.is("caa", "ok")?;
    drop(gateway);
    Ok(())
}

/// Takes questions and connections, and never says a word.
struct Silence {
    dns: tokio::net::UdpSocket,
    tcp: TcpListener,
}

impl Silence {
    async fn falls() -> Result<Self> {
        Ok(Self {
            dns: tokio::net::UdpSocket::bind("127.0.0.1:0").await?,
            tcp: TcpListener::bind("127.0.0.1:0").await?,
        })
    }
}

#[tokio::test]
async fn silence_on_all_sides_does_not_keep_it() -> Result<()> {
    let (stage, silence) = (Stage::set().await?, Silence::falls().await?);
    let gateway = stage.home.serve().await?;
    stage.want(&format!("https://{}/dir", silence.tcp.local_addr()?), "")?;
    let clock = Stopwatch::start();
    let dns = silence.dns.local_addr()?.to_string();
    let ran = stage.home.run(&["doctor", "--json", "--dns", &dns]).await?;
    let examined = Examined::of(ran, clock.elapsed())?;
    examined.names("dns", "problem", &[NAME, "cannot be looked up"], &["--dns 1.1.1.1"])?;
    examined.names("authority", "problem", &["did not answer in time"], &["tls.acme.directory"])?;
    drop(gateway);

    // A gateway that is stopped in the middle of everything, and a name that leads to silence.
    let stage = Stage::set().await?;
    let gateway = stage.home.serve().await?;
    let pid = gateway.pid().to_string();
    let signal = |name: &str| Command::new("kill").args([name, &pid]).status();
    ensure!(signal("-STOP")?.success(), "it could not be stopped");
    let hanging = stage.examine().await;
    signal("-CONT")?;
    let hanging = hanging?;
    hanging.names("gateway_answers", "problem", &["does not answer"], &["systemctl restart casement"])?;
    report::figures(
        "doctor_silence",
        "casement doctor when nothing answers (goal: 20 s at most)",
        &[
            ("neither DNS nor the authority", format!("{:.1} s", examined.took.as_secs_f64())),
            ("the gateway hangs", format!("{:.1} s", hanging.took.as_secs_f64())),
        ],
    );
    drop(gateway);
    Ok(())
}

/// A gateway that reads its certificate from files.
struct Files {
    home: Home,
    root: Authority,
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn set() -> Result<Self> {
        let home = Home::public()?;
        let (cert, key) = (home.path("fullchain.pem"), home.path("privkey.pem"));
        home.set_tls(&format!(
            "source = \"files\"\nnames = [{NAME:?}]\n\n[tls.files]\ncert = {cert:?}\nkey = {key:?}\n"
        ))?;
        let files = Self { home, root: Authority::root("Root of the scenario")?, cert, key };
        files.show(&files.root.issue(&[NAME])?)?;
        Ok(files)
    }

    fn show(&self, pair: &Pair) -> Result<()> {
        pair.write(&self.cert, &self.key)?;
        mode(&self.key, 0o600)
    }
}

fn mode(path: &Path, mode: u32) -> Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .with_context(|| path.display().to_string())
}

#[tokio::test]
async fn faults_of_certificate_files_are_named() -> Result<()> {
    let files = Files::set()?;
    let good = examine(&files.home, None).await?;
    for id in [
        "certificate",
        "certificate_pair",
        "certificate_dates",
        "certificate_ends",
        "certificate_names",
        "certificate_chain",
    ] {
        good.is(id, "ok")?;
    }
    for id in ["names", "dns_a", "caa", "authority", "binding"] {
        good.is(id, "skipped")?;
        ensure!(good.finding(id)?["text"] == "tls.source is \"files\"", "{}", good.said);
    }

    files.show(&files.root.issue_expired(&[NAME])?)?;
    examine(&files.home, None).await?.names(
        "certificate_dates",
        "problem",
        &["ended"],
        &["Renew", "tls.source = \"acme\""],
    )?;

    let day = Duration::from_secs(86_400);
    let now = SystemTime::now();
    files.show(&files.root.issue_for(&[NAME], now - day * 88, now + day * 2 + day / 2)?)?;
    examine(&files.home, None).await?.names(
        "certificate_ends",
        "problem",
        &["ends in 2 days"],
        &["Renew"],
    )?;
    files.show(&files.root.issue_for(&[NAME], now + day, now + day * 90)?)?;
    examine(&files.home, None).await?.names(
        "certificate_dates",
        "problem",
        &["begins only in"],
        &["clock"],
    )?;

    files.show(&files.root.issue(&["old.example.test"])?)?;
    examine(&files.home, None).await?.names(
        "certificate_names",
        "problem",
        &["old.example.test", NAME],
        &["Get a certificate for air.example.test"],
    )?;

    let (one, two) = (files.root.issue(&[NAME])?, files.root.issue(&[NAME])?);
    files.show(&Pair { key: two.key, ..one.clone() })?;
    examine(&files.home, None).await?.names(
        "certificate_pair",
        "problem",
        &["fullchain.pem", "privkey.pem", "not a pair"],
        &["Put the key in place"],
    )?;
    files.show(&Pair { intermediates: files.root.issue(&["x.test"])?.leaf, ..one.clone() })?;
    examine(&files.home, None).await?.names(
        "certificate_chain",
        "warning",
        &["do not belong"],
        &["leaf first"],
    )?;
    std::fs::write(&files.cert, "certificate to follow\n")?;
    examine(&files.home, None).await?.names(
        "certificate",
        "problem",
        &["fullchain.pem", "PEM"],
        &["BEGIN CERTIFICATE"],
    )?;
    std::fs::remove_file(&files.cert)?;
    examine(&files.home, None).await?.names(
        "certificate",
        "problem",
        &["fullchain.pem", "no such file"],
        &["tls.files.cert"],
    )?;

    files.show(&one)?;
    mode(&files.key, 0o644)?;
    std::fs::create_dir_all(files.home.data_dir())?;
    mode(&files.home.data_dir(), 0o700)?;
    examine(&files.home, None).await?.names(
        "private_files",
        "problem",
        &["privkey.pem"],
        &["chmod 0600", "privkey.pem"],
    )?;
    Ok(())
}

#[tokio::test]
async fn a_key_that_this_user_may_not_read_is_named_with_the_mode_needed() -> Result<()> {
    const NOBODY: u32 = 65_534;
    let files = Files::set()?;
    if std::fs::metadata(files.home.config())?.uid() != 0 {
        report::skipped("doctor_unreadable_key", "only root can run the doctor as somebody else");
        return Ok(());
    }
    if Command::new("setpriv").arg("--version").output().is_err() {
        report::skipped("doctor_unreadable_key", "there is no setpriv (util-linux) here");
        return Ok(());
    }
    let folder = files.home.path("");
    std::fs::create_dir_all(files.home.data_dir())?;
    mode(&files.home.data_dir(), 0o700)?;
    for path in [&folder, &files.home.config(), &files.home.data_dir(), &files.cert] {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    mode(&folder, 0o755)?;
    let as_nobody = async || {
        let clock = Stopwatch::start();
        let output = tokio::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(binary()?)
            .args(["doctor", "--json", "--config"])
            .arg(files.home.config())
            .current_dir(&folder)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .await?;
        let ran = Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        Examined::of(ran, clock.elapsed())
    };
    as_nobody().await?.names(
        "certificate",
        "problem",
        &["privkey.pem", "belongs to root", "mode 0600"],
        &["Needed is mode", "0640", "privkey.pem"],
    )?;
    // Root may read everything; what counts is as whom the gateway runs.
    let running = tokio::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(binary()?)
        .args(["serve", "--config"])
        .arg(files.home.config())
        .current_dir(&folder)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    eventually("the gateway to answer", async || {
        let examined = examine(&files.home, None).await?;
        Ok(examined.is("gateway_answers", "ok").is_ok().then_some(()))
    })
    .await?;
    examine(&files.home, None).await?.names(
        "certificate_shown",
        "problem",
        &["privkey.pem", "belongs to root", "mode 0600", "as whom the gateway runs"],
        &["Needed is mode 0640", "setfacl", "privkey.pem"],
    )?;
    drop(running);

    chown(files.home.data_dir(), Some(0), Some(0))?;
    as_nobody().await?.names(
        "folder",
        "problem",
        &["belongs to root", "mode 0700", "cannot be entered"],
        &["sudo -u casement"],
    )?;
    Ok(())
}

#[tokio::test]
async fn faults_of_the_machine_are_named() -> Result<()> {
    let home = Home::private()?;
    let before = examine(&home, None).await?;
    before.names(
        "gateway",
        "problem",
        &["none runs on", "data"],
        &["systemctl enable --now casement", "casement serve"],
    )?;
    before.is("folder", "ok")?;
    before.is("certificate", "ok")?;
    ensure!(!home.data_dir().exists(), "a look made the data folder");

    let gateway = home.serve().await?;
    let private = examine(&home, None).await?;
    private.names("sign_in", "warning", &["no token"], &["casement token create --scope read"])?;
    private.names("certificate_trust", "warning", &["self-signed"], &["tls.source = \"acme\""])?;
    ensure!(private.ran.code == Some(0), "warnings alone are no problem: {:?}", private.said);
    ensure!(private.said["grade"] == "T", "{}", private.said["grade"]);

    let key = home.data_dir().join("certs/self-signed.key");
    mode(&key, 0o644)?;
    mode(&home.data_dir(), 0o755)?;
    let open = examine(&home, None).await?;
    open.names("private_files", "problem", &["self-signed.key"], &["chmod 0600", "self-signed.key"])?;
    open.names("folder_mode", "problem", &["0755"], &["chmod 0700"])?;
    mode(&key, 0o600)?;
    mode(&home.data_dir(), 0o700)?;
    let mended = examine(&home, None).await?;
    mended.is("private_files", "ok")?.is("folder_mode", "ok")?;
    let left: Vec<_> = std::fs::read_dir(home.data_dir())?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(!left.iter().any(|name| name.to_string_lossy().contains("doctor")), "{left:?}");
    end(gateway).await?;

    // Somebody else sits where the gateway would listen.
    let stranger = Port::reserve()?;
    let listener = TcpListener::bind(stranger.local()).await?;
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _written = stream.write_all(b"SSH-2.0-stranger\r\n").await;
        }
    });
    home.set_http(&stranger.local())?;
    examine(&home, None).await?.names(
        "port_http",
        "problem",
        &[&stranger.local(), "taken by another program"],
        &["ss -ltnp", "listen.http"],
    )?;
    server.abort();

    // A store that is none.
    std::fs::write(home.data_dir().join("casement.db"), vec![b'x'; 8192])?;
    for beside in ["casement.db-wal", "casement.db-shm"] {
        let _gone = std::fs::remove_file(home.data_dir().join(beside));
    }
    examine(&home, None).await?.names("store", "problem", &["not a store of Casement"], &["backup"])?;

    std::fs::write(home.config(), "nonsense = 1\n[tls]\nsource = \"acmee\"\n")?;
    let bad = examine(&home, None).await?;
    bad.names("configuration", "problem", &["nonsense", "acmee"], &["casement check"])?;
    bad.is("store", "skipped")?;
    Ok(())
}

async fn end(gateway: Gateway) -> Result<()> {
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_named() -> Result<()> {
    let home = Home::public()?;
    let Some(disk) = SmallDisk::mount(&home.data_dir(), "4m")? else {
        report::skipped("doctor_full_disk", "this user may not mount a small file system (needs root)");
        return Ok(());
    };
    let gateway = home.serve().await?;
    disk.fill()?;
    let full = examine(&home, None).await?;
    full.names("disk", "problem", &["the disk is full"], &["Make room"])?;
    full.names("folder", "problem", &["cannot be written", "No space left"], &["Make room"])?;
    drop(gateway);
    drop(disk);
    Ok(())
}

#[tokio::test]
async fn people_get_a_page_that_answers_first() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let ran = home.run(&["doctor"]).await?.expect(0)?;
    let lines: Vec<&str> = ran.stdout.lines().collect();
    ensure!(
        lines.first().is_some_and(|line| line.contains("casement") && line.contains("works")),
        "{}",
        ran.stdout
    );
    ensure!(lines.last().is_some_and(|line| line.ends_with("0 problems · exit 0")), "{}", ran.stdout);
    for part in [" ✓ ", " ! ", "     Fix: ", "skipped, tls.source is \"self-signed\"", "\nTLS\n"] {
        ensure!(ran.stdout.contains(part), "{part:?} is missing in\n{}", ran.stdout);
    }
    ensure!(!ran.stdout.contains('\u{1b}'), "colours without a terminal:\n{}", ran.stdout);
    drop(gateway);
    let ran = home.run(&["doctor"]).await?.expect(3)?;
    ensure!(
        ran.stdout.contains(" ✗ Gateway") && ran.stdout.trim_end().ends_with("· exit 3"),
        "{}",
        ran.stdout
    );
    let ran = home.run(&["doctor", "--dns", "nonsense"]).await?.expect(2)?;
    ensure!(ran.stderr.contains("1.1.1.1"), "{}", ran.stderr);
    Ok(())
}
