//! The real gateway, as a process: started, killed and asked.
#![allow(dead_code, unreachable_pub, reason = "it is a module of a test")]

use super::audit::{Found, Name};
use super::server::Chain;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The real date, by which the gateway lives.
#[expect(clippy::disallowed_methods, reason = "the gateway takes the real date, too")]
pub fn real_unix_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis())
        .expect("fits")
}

const ARTIFACTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/artifacts");

fn keep(kind: &str, name: &str, text: &str) {
    let folder = format!("{ARTIFACTS}/{kind}");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    std::fs::write(format!("{folder}/{name}.txt"), text).expect("the file can be written");
    eprint!("{text}");
}

/// Keeps a table for the end of `tests/run`.
pub fn figures(name: &str, title: &str, rows: &[(&str, String)]) {
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    let lines: String = rows.iter().map(|(label, value)| format!("  {label:width$}  {value}\n")).collect();
    keep("figures", name, &format!("{title}\n{lines}"));
}

/// Writes `cert.pem` and `key.pem`.
pub fn write_chain(folder: &Path, chain: &Chain) {
    let pem = |label: &str, der: &[u8]| pem::encode(&pem::Pem::new(label, der));
    let certificates: String =
        chain.certificates.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect();
    std::fs::write(folder.join("cert.pem"), certificates).expect("writes");
    let PrivateKeyDer::Pkcs8(key) = &chain.key else { panic!("is PKCS #8") };
    std::fs::write(folder.join("key.pem"), pem("PRIVATE KEY", key.secret_pkcs8_der())).expect("writes");
}

/// Says loudly that something was not tried.
pub fn skipped(test: &str, why: &str) {
    keep("skipped", test, &format!("SKIPPED {test}: {why}\n"));
}

/// The gateway's program; `None`, said loudly, without one.
pub fn binary(test: &str) -> Option<PathBuf> {
    let binary = std::env::var_os("CASEMENT_BIN").map(PathBuf::from).filter(|path| path.is_file());
    if binary.is_none() {
        skipped(test, "$CASEMENT_BIN names no program, the device was not tried against it");
    }
    binary
}

pub struct Gateway {
    binary: PathBuf,
    folder: tempfile::TempDir,
    child: Option<Child>,
    pub port: u16,
    pub token: String,
    pub kills: u32,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Gateway {
    /// Sets a gateway up with a certificate, registers a device, and starts it.
    pub fn install(binary: &Path, chain: &Chain) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_chain(folder.path(), chain);
        let mut gateway =
            Self { binary: binary.to_owned(), folder, child: None, port: 0, token: String::new(), kills: 0 };
        gateway.start();
        let added = gateway.command(&["device", "add", "room-1"]).output().expect("adds a device");
        gateway.token = String::from_utf8(added.stdout).expect("text").trim().to_owned();
        assert!(gateway.token.starts_with("cas_dev_"), "{}", String::from_utf8_lossy(&added.stderr));
        gateway
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--config").arg(self.folder.path().join("casement.toml"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command beside the running gateway, and gives what it printed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let done = self.command(arguments).output().expect("runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(done.status.success(), "{arguments:?}: {}{}", text(&done.stdout), text(&done.stderr));
        text(&done.stdout)
    }

    /// Where it keeps everything.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts it, on the port it had, and waits until it is ready.
    pub fn start(&mut self) {
        let at = |name: &str| self.folder.path().join(name);
        let settings = format!(
            "data_dir = {:?}\n[access]\ndashboard = \"public\"\n[listen]\nhttp = []\nhttps = [\"127.0.0.1:{}\"]\n\
             [tls]\nsource = \"files\"\nnames = [\"localhost\"]\n[tls.files]\ncert = {:?}\nkey = {:?}\n",
            at("data"),
            self.port,
            at("cert.pem"),
            at("key.pem"),
        );
        std::fs::write(at("casement.toml"), settings).expect("a configuration");
        let log = std::fs::File::options().create(true).append(true).open(at("log")).expect("a log");
        let mut child = self.command(&["serve"]).stdout(Stdio::piped()).stderr(log).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a ready line");
        let port = line.split_once("127.0.0.1:").and_then(|(_, rest)| rest.split('"').next()?.parse().ok());
        self.port = port.unwrap_or_else(|| {
            panic!("no ready line: {line:?}\n{}", std::fs::read_to_string(at("log")).unwrap_or_default())
        });
        self.child = Some(child);
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("is ours");
            child.wait().expect("is ours");
            self.kills += 1;
        }
    }

    /// Everything it has of the device, by its ledger and by its export.
    pub fn stored(&self, root: &[u8]) -> Found {
        let ledger: serde_json::Value =
            serde_json::from_str(&self.get("/api/v1/devices/room-1/ledger", "application/json", root))
                .expect("JSON");
        let number = |value: &serde_json::Value| value.as_u64().expect("a number");
        let mut found = Found::default();
        for boot in ledger["boots"].as_array().expect("a list") {
            let mut names: std::collections::BTreeSet<Name> = (number(&boot["first"])
                ..=number(&boot["last"]))
                .map(|seq| (number(&boot["boot"]), seq))
                .collect();
            for hole in boot["holes"].as_array().expect("a list") {
                for seq in number(&hole[0])..=number(&hole[1]) {
                    names.remove(&(number(&boot["boot"]), seq));
                }
            }
            assert_eq!(names.len() as u64, number(&boot["seen"]), "the ledger shows not all holes: {boot}");
            found.names.extend(names);
        }
        let path = "/api/v1/readings?device=room-1&metric=co2&from=946684800000&to=4102444800000";
        let text = self.get(path, "text/csv", root);
        let mut rows = csv::Reader::from_reader(text.as_bytes());
        let column =
            rows.headers().expect("columns").iter().position(|name| name == "value").expect("a value");
        found.rows =
            rows.records().map(|row| row.expect("a row")[column].parse().expect("a number")).collect();
        found
    }

    fn get(&self, path: &str, accept: &str, root: &[u8]) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(root.to_vec())).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).expect("is there");
        tcp.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        let mut tls = StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("a client"), tcp);
        // HTTP/1.0: the answer ends with the connection.
        write!(tls, "GET {path} HTTP/1.0\r\nHost: localhost:{}\r\nAccept: {accept}\r\n\r\n", self.port)
            .expect("sends");
        let mut answer = String::new();
        tls.read_to_string(&mut answer).expect("a whole answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(" 200 ") && !head.to_lowercase().contains("chunked"), "{head}\n{body}");
        body.to_owned()
    }
}
