//! What a full handshake costs: Casement and a tuned nginx, same certificate, same client, TLS 1.3 with X25519.

use crate::median;
use anyhow::{Context, Result, bail};
use harness::pki::Authority;
use harness::ports::Port;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const HANDSHAKES: usize = 3000;
/// Handshakes under valgrind, which is some fifty times slower: the difference of the two runs is what counts.
const COUNTED: [usize; 2] = [100, 500];

const NAME: &str = "co2.example.test";

pub(crate) fn compare(peers: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let root = Authority::root("Root")?;
    let middle = root.intermediate("Middle")?;
    let pair = middle.issue(&[NAME])?;
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    pair.write(&cert, &key)?;
    let mut roots = RootCertStore::empty();
    roots.add(root.der())?;
    let client = Arc::new(client(roots)?);
    let servers = [Server::Casement, Server::Nginx];

    let mut cpu = [Vec::new(), Vec::new()];
    for round in 1..=ROUNDS {
        for (server, figures) in servers.iter().zip(&mut cpu) {
            let running = server.start(peers, folder.path(), &[])?;
            // The first ones warm caches up.
            shake(running.address, &client, 300)?;
            let before = cpu_ms(running.pid())?;
            shake(running.address, &client, HANDSHAKES)?;
            figures.push((cpu_ms(running.pid())? - before) / HANDSHAKES as f64 * 1000.0);
            running.stop()?;
        }
        println!("round {round}: casement {:.0} µs, nginx {:.0} µs", cpu[0][round - 1], cpu[1][round - 1]);
    }
    let [ours, theirs] = [median(&mut cpu[0]), median(&mut cpu[1])];
    println!(
        "CPU of a full handshake, median of {ROUNDS} rounds of {HANDSHAKES}: casement {ours:.0} µs, nginx {theirs:.0} µs, ratio {:.2}",
        ours / theirs
    );

    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("SKIPPED instructions: valgrind is not installed (Debian: apt install valgrind)");
        return Ok(());
    }
    let mut counts = [0.0; 2];
    for (server, count) in servers.iter().zip(&mut counts) {
        let mut totals = [0.0; 2];
        for (handshakes, total) in COUNTED.iter().zip(&mut totals) {
            let log = folder.path().join("callgrind.log");
            let tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-file"];
            let mut wrapper: Vec<String> = tool.iter().map(|part| (*part).to_owned()).collect();
            wrapper.pop();
            wrapper.push(format!("--log-file={}", log.display()));
            let running = server.start(peers, folder.path(), &wrapper)?;
            shake(running.address, &client, *handshakes)?;
            running.stop()?;
            let text = std::fs::read_to_string(&log)?;
            *total = collected(&text).with_context(|| text.clone())?;
        }
        *count = (totals[1] - totals[0]) / (COUNTED[1] - COUNTED[0]) as f64;
    }
    println!(
        "instructions of a full handshake (callgrind): casement {:.0} k, nginx {:.0} k, ratio {:.2}",
        counts[0] / 1000.0,
        counts[1] / 1000.0,
        counts[0] / counts[1]
    );
    Ok(())
}

fn collected(log: &str) -> Option<f64> {
    let line = log.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

fn client(roots: RootCertStore) -> Result<ClientConfig> {
    let provider =
        CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Full handshakes, one after the other; each connection is closed politely when it stands.
fn shake(address: SocketAddr, config: &Arc<ClientConfig>, count: usize) -> Result<()> {
    for _ in 0..count {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        let mut tls = ClientConnection::new(Arc::clone(config), ServerName::try_from(NAME)?)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        tls.send_close_notify();
        while tls.wants_write() {
            tls.write_tls(&mut stream)?;
        }
        stream.flush()?;
        stream.shutdown(std::net::Shutdown::Write)?;
        // The server's work is done when it has closed, too.
        let mut rest = [0; 4096];
        while matches!(stream.read(&mut rest), Ok(1..)) {}
    }
    Ok(())
}

enum Server {
    Casement,
    Nginx,
}

struct Running {
    child: Child,
    address: SocketAddr,
    _ports: [Port; 2],
}

impl Server {
    fn start(&self, peers: &Path, folder: &Path, wrapper: &[String]) -> Result<Running> {
        let ports = [Port::reserve()?, Port::reserve()?];
        let address: SocketAddr = ([127, 0, 0, 1], ports[1].number()).into();
        let command: Vec<String> = match self {
            Self::Casement => {
                let data = folder.join(format!("data-{}", ports[1].number()));
                let config = folder.join("casement.toml");
                std::fs::write(
                    &config,
                    format!(
                        "data_dir = {data:?}\n[listen]\nhttp = []\nhttps = [\"{address}\"]\n[tls]\nsource = \"files\"\nnames = [\"{NAME}\"]\n[tls.files]\ncert = {:?}\nkey = {:?}\n",
                        folder.join("cert.pem"),
                        folder.join("key.pem")
                    ),
                )?;
                let binary = harness::gateway::binary()?;
                vec![
                    binary.display().to_string(),
                    "serve".into(),
                    "--config".into(),
                    config.display().to_string(),
                ]
            }
            Self::Nginx => {
                let config = folder.join("nginx.conf");
                std::fs::write(&config, nginx(folder, address))?;
                let binary = peers.join("usr/sbin/nginx");
                vec![
                    binary.display().to_string(),
                    "-p".into(),
                    folder.display().to_string(),
                    "-c".into(),
                    config.display().to_string(),
                ]
            }
        };
        let all: Vec<String> = wrapper.iter().cloned().chain(command).collect();
        let (program, arguments) = all.split_first().context("a command")?;
        let log = std::fs::File::create(folder.join("server.log"))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| program.clone())?;
        let mut running = Running { child, address, _ports: ports };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = running.child.try_wait()? {
                bail!("{program} ended, {status}: {}", std::fs::read_to_string(folder.join("server.log"))?);
            }
            anyhow::ensure!(begun.elapsed() < Duration::from_secs(60), "{program} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }
}

/// One process, no session cache, no log, HTTP/2, small records: what a handshake needs and nothing else.
fn nginx(folder: &Path, address: SocketAddr) -> String {
    let here = folder.display();
    format!(
        "daemon off; master_process off; worker_processes 1; pid {here}/nginx.pid; error_log {here}/nginx.log crit;\n\
         events {{ worker_connections 1024; multi_accept on; }}\n\
         http {{ access_log off; client_body_temp_path {here}; proxy_temp_path {here}; fastcgi_temp_path {here}; uwsgi_temp_path {here}; scgi_temp_path {here};\n\
         server {{ listen {address} ssl http2 backlog=511; server_name {NAME};\n\
         ssl_certificate {here}/cert.pem; ssl_certificate_key {here}/key.pem;\n\
         ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache off; ssl_ecdh_curve X25519; ssl_buffer_size 4k; ssl_prefer_server_ciphers off;\n\
         location / {{ return 200 'ok'; }} }} }}\n"
    )
}

impl Running {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .context("a process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// CPU time of a process with all its threads, in milliseconds, from the scheduler's own account (nanoseconds).
fn cpu_ms(pid: u32) -> Result<f64> {
    let mut total = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let ns: f64 = text.split_whitespace().next().context("schedstat")?.parse()?;
        total += ns / 1e6;
    }
    Ok(total)
}
