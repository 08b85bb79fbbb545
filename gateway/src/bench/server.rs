//! A real gateway, and other commands of this program, as children: so that their CPU and memory are theirs alone.

use super::BenchError;
use crate::reading::Device;
use crate::store::{self, Scope, Store};
use crate::tls::self_signed;
use crate::{access, clock, guard};
use casement_proto::DeviceId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a gateway may take to get ready.
const READY: Duration = Duration::from_secs(60);

/// How much of a child's log is shown.
const LOG_LINES_SHOWN: usize = 12;

/// How often somebody looks whether a child has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A child that ends with this.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A folder with the data of one gateway, and nobody's configuration.
pub(super) struct Home {
    folder: PathBuf,
}

impl Home {
    pub(super) fn make(folder: PathBuf) -> Result<Self, BenchError> {
        let home = Self { folder };
        for folder in [&home.folder, &home.data()] {
            std::fs::create_dir(folder).map_err(BenchError::io("a folder cannot be made"))?;
        }
        // An empty one, so that the machine's own is not looked for.
        std::fs::write(home.config(), "").map_err(BenchError::io("a file cannot be written"))?;
        Ok(home)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn config(&self) -> PathBuf {
        self.folder.join("casement.toml")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub(super) async fn store(&self) -> Result<Arc<dyn Store>, BenchError> {
        Ok(store::open("sqlite:casement.db", &self.data()).await?)
    }

    /// A command of this program in this home. Nothing of the surroundings reaches it.
    fn spawn(&self, arguments: &[&str]) -> Result<Ends, BenchError> {
        let failed = BenchError::io("this program cannot be started once more");
        let log = File::create(self.log()).map_err(&failed)?;
        let child = Command::new(std::env::current_exe().map_err(&failed)?)
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .env_clear()
            .env("CASEMENT_DATA_DIR", self.data())
            .env("CASEMENT_LISTEN__HTTP", "[]")
            .env("CASEMENT_LISTEN__HTTPS", "[\"127.0.0.1:0\"]")
            .env("CASEMENT_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        Ok(Ends(child))
    }

    fn said(&self, what: &'static str) -> BenchError {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES_SHOWN)..).unwrap_or_default();
        BenchError::Child { what, said: last.join("\n") }
    }

    /// Runs a command to its end; `tell` hears now and then that it still runs.
    pub(super) async fn run(&self, arguments: &[&str], tell: impl Fn()) -> Result<(), BenchError> {
        let mut child = self.spawn(arguments)?;
        loop {
            match child.0.try_wait().map_err(BenchError::io("a command cannot be waited for"))? {
                Some(status) if status.success() => return Ok(()),
                Some(_) => return Err(self.said("the command failed")),
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
            tell();
        }
    }

    /// Registers a device and gives its token.
    pub(super) async fn device(store: &dyn Store, name: &str) -> Result<guard::Secret, BenchError> {
        let id = DeviceId::parse(name).ok_or(BenchError::TooFew)?;
        let now_ms = clock::now_ms();
        let device = Device { id, room: None, name: None, simulated: true, created_ms: now_ms };
        store.add_device(&device).await?;
        let (secret, token) = access::issue(guard::TokenKind::Device, Scope::Device(id), None, now_ms, None);
        store.add_token(&token).await?;
        Ok(secret)
    }

    /// Makes a token that reads.
    pub(super) async fn reader(store: &dyn Store) -> Result<guard::Secret, BenchError> {
        let (secret, token) = access::issue(guard::TokenKind::Api, Scope::Read, None, clock::now_ms(), None);
        store.add_token(&token).await?;
        Ok(secret)
    }

    /// Starts a gateway and waits until it is ready.
    pub(super) async fn serve(&self) -> Result<Gateway, BenchError> {
        #[derive(Deserialize)]
        struct Ready {
            https: Vec<SocketAddr>,
        }
        let mut child = self.spawn(&["serve"])?;
        let stdout = child.0.stdout.take().ok_or_else(|| self.said("the gateway has no voice"))?;
        let first = tokio::task::spawn_blocking(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            stdout.read_line(&mut line).map(|_| (line, stdout))
        });
        let (line, stdout) = tokio::time::timeout(READY, first)
            .await
            .ok()
            .and_then(Result::ok)
            .and_then(Result::ok)
            .ok_or_else(|| self.said("the gateway did not get ready"))?;
        let ready: Option<Ready> =
            line.strip_prefix("ready ").and_then(|json| serde_json::from_str(json).ok());
        let address = ready
            .and_then(|ready| ready.https.first().copied())
            .ok_or_else(|| self.said("the gateway did not get ready"))?;
        Ok(Gateway { address, tls: self.trusting()?, child, _stdout: stdout })
    }

    /// TLS that trusts the certificate this home's gateway has made.
    fn trusting(&self) -> Result<TlsConnector, BenchError> {
        let file = self_signed::authority_certificate(&self.data().join("certs"));
        let certificate = CertificateDer::from_pem_file(file)
            .map_err(|_| self.said("the gateway's certificate cannot be read"))?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate)?;
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }

    pub(super) fn remove(self) -> Result<(), BenchError> {
        std::fs::remove_dir_all(&self.folder).map_err(BenchError::io("a folder cannot be removed"))
    }
}

/// A running gateway. Dropping it ends it.
pub(super) struct Gateway {
    address: SocketAddr,
    tls: TlsConnector,
    child: Ends,
    _stdout: BufReader<ChildStdout>,
}

impl Gateway {
    pub(super) fn pid(&self) -> u32 {
        self.child.0.id()
    }

    pub(super) async fn connect(&self) -> Result<TlsStream<TcpStream>, BenchError> {
        let failed = BenchError::io("the gateway cannot be connected to");
        let tcp = TcpStream::connect(self.address).await.map_err(&failed)?;
        tcp.set_nodelay(true).map_err(&failed)?;
        let name = ServerName::IpAddress(self.address.ip().into());
        self.tls.connect(name, tcp).await.map_err(failed)
    }
}
