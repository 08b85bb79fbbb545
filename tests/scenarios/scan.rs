//! What a scanner of TLS servers finds. It takes a minute: testssl.sh tries every protocol, cipher and old sin.

use anyhow::{Context, Result, ensure};
use harness::pki::Authority;
use harness::report;
use harness::{Home, wait::Stopwatch};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Findings that the authority decides (lifetime, revocation, who trusts it), the owner of the domain (CAA), or the
/// scanner's own machine.
const NOT_OURS: &[&str] = &[
    "cert_expirationStatus",
    "cert_notAfter",
    "cert_validityPeriod",
    "cert_revocation",
    "cert_ocspURL",
    "cert_crlDistributionPoints",
    "cert_chain_of_trust",
    "cert_trust",
    "cert_commonName",
    "OCSP_stapling",
    "DNS_CAArecord",
    "engine_problem",
];

#[tokio::test]
async fn a_scanner_has_nothing_to_complain_about() -> Result<()> {
    let Some(tools) = tools().await? else {
        report::skipped("testssl", "testssl.sh could not be fetched; what a scanner finds was not checked");
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let root = Authority::root("Scenario Root")?;
    root.intermediate("Scenario Middle")?
        .issue(&["localhost"])?
        .write(&path("cert.pem"), &path("key.pem"))?;
    std::fs::write(path("root.pem"), root.pem())?;
    let tls = format!(
        "source = \"files\"\nnames = [\"localhost\"]\nhsts = \"always\"\n[tls.files]\ncert = {:?}\nkey = {:?}\n",
        path("cert.pem"),
        path("key.pem")
    );
    let home = Home::with_tls("127.0.0.1:0", "127.0.0.1:0", &tls, "[access]\ndashboard = \"public\"\n")?;
    let gateway = home.serve().await?;
    let clock = Stopwatch::start();
    let found = path("found.json");
    let bin = tools.join("usr/bin");
    let search = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let scan = Command::new("bash")
        .arg(bin.join("testssl"))
        .args(["--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--ip", "127.0.0.1"])
        .args(["--severity", "LOW", "--jsonfile"])
        .arg(&found)
        .arg(format!("localhost:{}", gateway.https().port()))
        .env("PATH", search)
        .env("LD_LIBRARY_PATH", tools.join("usr/lib/x86_64-linux-gnu"))
        .env("TESTSSL_INSTALL_DIR", tools.join("etc/testssl"))
        .env("ADDITIONAL_CA_FILES", path("root.pem"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let scan =
        tokio::time::timeout(Duration::from_secs(400), scan).await.context("the scan does not end")??;
    let told = String::from_utf8_lossy(&scan.stdout).into_owned();
    // A scan that broke off finds nothing, too.
    ensure!(told.contains("Done ") && told.contains("TLS 1.3"), "the scan is not complete:\n{told}");
    let all: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&found)?)?;
    let ours: Vec<String> = all
        .iter()
        .filter(|finding| ["LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL"].contains(&text(finding, "severity")))
        .filter(|finding| !NOT_OURS.iter().any(|known| text(finding, "id").starts_with(known)))
        .map(|finding| {
            format!("{} {}: {}", text(finding, "severity"), text(finding, "id"), text(finding, "finding"))
        })
        .collect();
    report::figures(
        "testssl",
        "testssl.sh with our defaults",
        &[
            ("findings at LOW or above that the authority does not decide (goal 0)", ours.len().to_string()),
            ("seconds", format!("{:.0}", clock.ms() / 1000.0)),
        ],
    );
    assert!(ours.is_empty(), "{}", ours.join("\n"));
    gateway.terminate().await?;
    Ok(())
}

fn text<'a>(finding: &'a Value, field: &str) -> &'a str {
    finding[field].as_str().unwrap_or_default()
}

/// The folder with the scanner; `None` when it cannot be had.
async fn tools() -> Result<Option<PathBuf>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/peers");
    let output = Command::new(script).output().await.context(script)?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return Ok(None);
    }
    Ok(Some(PathBuf::from(String::from_utf8(output.stdout)?.trim())))
}
