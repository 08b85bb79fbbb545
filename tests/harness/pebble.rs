//! Pebble, a certificate authority for tests, and the DNS that it asks.
//!
//! `$PEBBLE_DIR` names the folder with `pebble` and `pebble-challtestsrv` (`tests/tools/pebble` fetches it). Without it
//! they are looked for in `$PATH` and where that script keeps them. When there is none, scenarios say so and end.

use crate::client::{Client, Shown, Version};
use crate::pki::Authority;
use crate::ports::Port;
use crate::report;
use crate::wait::{eventually, rfc3339};
use anyhow::{Context, Result, ensure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// What an authority is to be like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it looks for HTTP-01 answers.
    pub http_port: u16,
    /// Where it looks for TLS-ALPN-01 answers.
    pub tls_port: u16,
    /// Its profiles, and for how many seconds their certificates are good.
    pub profiles: Vec<(&'static str, u32)>,
    /// Key id and key (base64url) that a new account must bring.
    pub external_account: Option<(&'static str, &'static str)>,
    /// How many of a hundred good nonces it refuses.
    pub nonce_reject: u8,
    /// How many of a hundred valid authorizations it uses again.
    pub authz_reuse: u8,
    /// Domains for which it never issues.
    pub blocklist: Vec<&'static str>,
}

impl Plan {
    /// An authority that is kind in every respect, and checks at these ports.
    #[must_use]
    pub fn checking(http_port: u16, tls_port: u16) -> Self {
        Self {
            http_port,
            tls_port,
            profiles: vec![("default", 90 * 86_400), ("shortlived", 6 * 86_400)],
            external_account: None,
            nonce_reject: 0,
            authz_reuse: 0,
            blocklist: Vec::new(),
        }
    }
}

/// A running authority. Dropping it kills it.
#[derive(Debug)]
pub struct Pebble {
    _pebble: Child,
    _dns: Child,
    acme: Port,
    management: Port,
    dns_management: Port,
    dns_port: Port,
    folder: TempDir,
    /// Signs what HTTPS between gateway, proxy and authority shows.
    web: Authority,
    directory: Value,
}

/// The folder with both programs; `None` when they are nowhere.
///
/// # Errors
/// When `$PEBBLE_DIR` names a folder that does not hold them.
pub fn folder() -> Result<Option<PathBuf>> {
    if let Some(named) = std::env::var_os("PEBBLE_DIR").filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        ensure!(
            has_both(&named),
            "PEBBLE_DIR names {}, where pebble and pebble-challtestsrv are not",
            named.display()
        );
        return Ok(Some(named));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let kept =
        std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/casement/pebble/usr/bin"));
    Ok(std::env::split_paths(&path).chain(kept).find(|folder| has_both(folder)))
}

fn has_both(folder: &Path) -> bool {
    ["pebble", "pebble-challtestsrv"].iter().all(|program| folder.join(program).is_file())
}

impl Pebble {
    /// Starts an authority and waits until it answers. `None`, and said loudly, when there is no Pebble here.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(scenario: &str, plan: &Plan) -> Result<Option<Self>> {
        let Some(programs) = folder()? else {
            report::skipped(scenario, "there is no pebble here; tests/tools/pebble fetches it");
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("pebble-").tempdir()?;
        let web = Authority::root("Web of the test authority")?;
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        web.issue(&["localhost", "127.0.0.1"])?.write(&cert, &key)?;
        std::fs::write(folder.path().join("web.pem"), web.pem())?;

        let [acme, management, dns_management, dns] =
            [Port::reserve()?, Port::reserve()?, Port::reserve()?, Port::reserve()?];
        let config = json!({"pebble": {
            "listenAddress": acme.local(),
            "managementListenAddress": management.local(),
            "certificate": cert,
            "privateKey": key,
            "httpPort": plan.http_port,
            "tlsPort": plan.tls_port,
            "retryAfter": {"authz": 1, "order": 1},
            "keyAlgorithm": "ecdsa",
            "externalAccountBindingRequired": plan.external_account.is_some(),
            "externalAccountMACKeys": plan.external_account.iter().copied().collect::<std::collections::BTreeMap<_, _>>(),
            "domainBlocklist": plan.blocklist,
            "certificateValidityPeriod": plan.profiles.first().map_or(0, |&(_, seconds)| seconds),
            "profiles": plan.profiles.iter().map(|&(name, seconds)| {
                (name, json!({"description": format!("{seconds} s"), "validityPeriod": seconds}))
            }).collect::<std::collections::BTreeMap<_, _>>(),
        }});
        let config_file = folder.path().join("pebble.json");
        std::fs::write(&config_file, config.to_string())?;

        // Release 2.4 knows neither `-dnsserver` nor `-doh`.
        let helper = programs.join("pebble-challtestsrv");
        let usage =
            Command::new(&helper).arg("-h").output().await.context("pebble-challtestsrv does not run")?;
        let usage = String::from_utf8_lossy(&usage.stderr).into_owned();
        let dns_flag = if usage.contains("-dnsserver") { "-dnsserver" } else { "-dns01" };
        let mut helper = program(&helper, folder.path(), "dns.log")?;
        helper.args([dns_flag, &dns.local(), "-management", &dns_management.local()]);
        helper.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        if usage.contains("-doh ") {
            helper.args(["-doh", ""]);
        }
        let mut pebble = program(&programs.join("pebble"), folder.path(), "pebble.log")?;
        pebble
            .arg("-config")
            .arg(&config_file)
            .args(["-dnsserver", &dns.local(), "-strict"])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", plan.nonce_reject.to_string())
            .env("PEBBLE_AUTHZREUSE", plan.authz_reuse.to_string());
        let (dns_child, mut child) = (helper.spawn()?, pebble.spawn()?);

        let client = Client::trusting(acme.local().parse()?, "localhost", &[web.der()], Version::Http1)?;
        let log = folder.path().join("pebble.log");
        let directory = eventually("pebble to answer", async || {
            if let Some(ended) = child.try_wait()? {
                anyhow::bail!("pebble ended, {ended}:\n{}", std::fs::read_to_string(&log)?);
            }
            Ok(match client.get("/dir").send().await {
                Ok(answer) => Some(answer.expect(200)?.json()?),
                Err(_) => None,
            })
        })
        .await?;
        let started = Self {
            _pebble: child,
            _dns: dns_child,
            acme,
            management,
            dns_management,
            dns_port: dns,
            folder,
            web,
            directory,
        };
        eventually("its DNS to answer", async || {
            Ok(started.dns("clear-request-history", &json!({})).await.ok())
        })
        .await?;
        Ok(Some(started))
    }

    /// Whether this release offers profiles and renewal information (2.4 does not); says loudly that the scenario is
    /// skipped when not.
    #[must_use]
    pub fn is_recent(&self, scenario: &str) -> bool {
        let recent =
            self.directory["meta"]["profiles"].is_object() && self.directory["renewalInfo"].is_string();
        if !recent {
            report::skipped(scenario, "this pebble knows no profiles or no renewal information; 2.10 does");
        }
        recent
    }

    /// Where it speaks ACME.
    ///
    /// # Errors
    /// Never: the address is one.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.acme.local().parse()?)
    }

    /// The authority behind the certificates of its HTTPS, and of everything that stands in front of it.
    #[must_use]
    pub const fn web(&self) -> &Authority {
        &self.web
    }

    /// A file with that authority's certificate, for `tls.acme.ca_bundle`.
    #[must_use]
    pub fn ca_bundle(&self) -> PathBuf {
        self.folder.path().join("web.pem")
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("pebble.log")).unwrap_or_default()
    }

    /// The root of what it issues.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn root(&self) -> Result<CertificateDer<'static>> {
        let answer = self.manage()?.get("/roots/0").send().await?.expect(200)?;
        Ok(CertificateDer::from_pem_slice(&answer.body)?)
    }

    /// Makes it suggest to renew this certificate in this time.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn suggest_window(&self, certificate: &Shown, from_ms: i64, to_ms: i64) -> Result<()> {
        let window = json!({"suggestedWindow": {"start": rfc3339(from_ms), "end": rfc3339(to_ms)}});
        let body = json!({"Certificate": certificate.pem()?, "ARIResponse": window.to_string()});
        self.manage()?.post("/set-renewal-info/").json(&body).send().await?.expect(200)?;
        Ok(())
    }

    fn manage(&self) -> Result<Client> {
        Client::trusting(self.management.local().parse()?, "localhost", &[self.web.der()], Version::Http1)
    }

    /// Where its DNS takes questions, over UDP and TCP.
    #[must_use]
    pub fn dns_address(&self) -> String {
        self.dns_port.local()
    }

    /// Makes `host` have these IPv4 addresses. Every other name has 127.0.0.1.
    ///
    /// # Errors
    /// When its DNS does not answer.
    pub async fn set_a(&self, host: &str, addresses: &[&str]) -> Result<()> {
        self.dns("clear-a", &json!({"host": host})).await?;
        self.dns("add-a", &json!({"host": host, "addresses": addresses})).await
    }

    /// Makes `host` have these IPv6 addresses. Other names have none.
    ///
    /// # Errors
    /// When its DNS does not answer.
    pub async fn set_aaaa(&self, host: &str, addresses: &[&str]) -> Result<()> {
        self.dns("clear-aaaa", &json!({"host": host})).await?;
        self.dns("add-aaaa", &json!({"host": host, "addresses": addresses})).await
    }

    /// Makes `host` allow certificates from this authority alone. Pebble itself does not look at that (its issue 476);
    /// whoever asks this DNS does.
    ///
    /// # Errors
    /// When its DNS does not answer.
    pub async fn set_caa(&self, host: &str, issuer: &str) -> Result<()> {
        self.dns("add-caa", &json!({"host": host, "policies": [{"tag": "issue", "value": issuer}]})).await
    }

    /// Lets everybody issue for `host` again.
    ///
    /// # Errors
    /// When its DNS does not answer.
    pub async fn clear_caa(&self, host: &str) -> Result<()> {
        self.dns("clear-caa", &json!({"host": host})).await
    }

    /// Makes questions about `host` fail, or answers them again.
    ///
    /// # Errors
    /// When its DNS does not answer.
    pub async fn break_dns(&self, host: &str, broken: bool) -> Result<()> {
        self.dns(if broken { "set-servfail" } else { "clear-servfail" }, &json!({"host": host})).await
    }

    async fn dns(&self, what: &str, body: &Value) -> Result<()> {
        let body = body.to_string();
        let request = format!(
            "POST /{what} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = crate::raw::plain(self.dns_management.local().parse()?, &request).await?;
        // To clear the history of no host in particular is a question that is refused, and an answer.
        ensure!(answer.status == 200 || what.starts_with("clear-request"), "{what} {body}: {answer:?}");
        Ok(())
    }
}

fn program(path: &Path, folder: &Path, log: &str) -> Result<Command> {
    let log = File::create(folder.join(log))?;
    let mut command = Command::new(path);
    command
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    Ok(command)
}
