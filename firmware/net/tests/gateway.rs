//! The device's connection against the gateway itself, with its self-signed certificate and its real records.
//!
//! `$CASEMENT_BIN` names the program; `tests/run` sets it. Without it nothing is tried, which is said loudly.

mod server;

use casement_core::{Ack, UploadError, uplink};
use casement_net::{CertificateFault, Fault, Gateway, HttpsConnection, Limits, Network, Trust, clock};
use casement_proto::device_settings::GatewayUrl;
use casement_proto::wire::Batch;
use casement_proto::{Quantity, Reading, ReadingTime};
use embedded_svc::http::Method;
use embedded_svc::http::client::asynch::Client;
use futures_lite::future::block_on;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use server::with_tls;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

type Https<'a> = HttpsConnection<'a, edge_nal_std::Stack, edge_nal_std::Stack>;

struct Running {
    child: Child,
    folder: PathBuf,
    port: String,
    token: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is this test's own child, and its folder.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        let _removed = std::fs::remove_dir_all(&self.folder);
    }
}

fn program(binary: &Path, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments).arg("--config").arg(folder.join("casement.toml"));
    command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn start(binary: &Path) -> Running {
    let folder = std::env::temp_dir().join(format!("casement-net-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let settings = format!(
        "data_dir = {:?}\n[listen]\nhttp = []\nhttps = [\"127.0.0.1:0\"]\n[tls]\nsource = \"self-signed\"\n",
        folder.join("data")
    );
    std::fs::write(folder.join("casement.toml"), settings).expect("a configuration");
    let mut child =
        program(binary, &folder, &["serve"]).stdout(Stdio::piped()).spawn().expect("the gateway starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a ready line");
    let port = line.split_once("127.0.0.1:").expect("its address").1.split('"').next().expect("its port");
    let added = program(binary, &folder, &["device", "add", "room-1"]).output().expect("adds a device");
    let token = String::from_utf8(added.stdout).expect("text").trim().to_owned();
    assert!(token.starts_with("cas_dev_"), "{token}");
    Running { child, port: port.to_owned(), folder, token }
}

fn post(client: &mut Client<Https<'_>>, host: &str, token: &str, boot: u64) -> Result<Ack, UploadError> {
    let now_ms = i64::try_from(clock::unix_s().expect("is set") * 1_000).expect("fits");
    let reading = |seq: u64| {
        let mut reading = Reading::new(ReadingTime::At(now_ms - 60_000 + seq as i64 * 1_000))
            .with(Quantity::parse("co2").expect("known"), 800.0 + seq as f64);
        reading.seq = Some(seq);
        reading
    };
    let readings: Vec<_> = (1..=20).map(reading).collect();
    let batch = Batch { boot: Some(boot), readings: &readings, health: None };
    let mut scratch = vec![0; 6_400];
    block_on(uplink::post(client, &uplink::Target { host, token }, &batch, &mut scratch))
}

#[expect(clippy::disallowed_methods, reason = "the gateway takes the real date, too")]
fn real_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

async fn length_of(client: &mut Client<Https<'_>>, host: &str, path: &str) -> (u16, usize) {
    let headers = [("Host", host)];
    let request = client.request(Method::Get, path, &headers).await.expect("opens");
    let mut response = request.submit().await.expect("answers");
    let (mut total, mut buffer) = (0, [0; 512]);
    loop {
        match response.read(&mut buffer).await.expect("reads") {
            0 => return (response.status(), total),
            len => total += len,
        }
    }
}

#[test]
fn the_gateway_and_a_device_understand_each_other() {
    let binary = std::env::var_os("CASEMENT_BIN").map(PathBuf::from).filter(|path| path.is_file());
    let Some(binary) = binary else {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/artifacts/skipped");
        let text = "SKIPPED device_gateway: $CASEMENT_BIN names no program, a device's TLS was not tried against it\n";
        std::fs::create_dir_all(folder).expect("the folder can be made");
        std::fs::write(format!("{folder}/device_gateway.txt"), text).expect("the note can be written");
        eprint!("{text}");
        return;
    };
    let gateway = start(&binary);
    let certificate = CertificateDer::from_pem_file(gateway.folder.join("data/certs/own-authority.pem"));
    let certificate = certificate.expect("the gateway's authority");
    let tcp = edge_nal_std::Stack::new();
    with_tls(|tls| {
        // The certificate was made a moment ago, by the real clock.
        clock::set(real_s());
        let trust = Trust::own(&certificate).expect("a certificate");
        let url = GatewayUrl::parse(&format!("https://localhost:{}", gateway.port)).expect("an address");
        let there = Gateway::new(&url);
        let connection = |trust| {
            let network = Network { tcp: &tcp, dns: &tcp, tls, trust };
            HttpsConnection::new(network, &there, Limits::default())
        };
        let mut client = Client::wrap(connection(&trust));
        let ack = |stored, duplicate| Ok((stored, duplicate));
        let brief = |result: Result<Ack, _>| result.map(|ack| (ack.stored, ack.duplicate));
        assert_eq!(brief(post(&mut client, there.host(), &gateway.token, 1)), ack(20, 0));
        assert_eq!(brief(post(&mut client, there.host(), &gateway.token, 1)), ack(0, 20));
        assert_eq!(post(&mut client, there.host(), "cas_dev_nobody", 1), Err(UploadError::Token));
        // Larger than any buffer of ours, in records that fit.
        let (status, length) = block_on(length_of(&mut client, there.host(), "/api/openapi.json"));
        assert!(status == 200 && length > 12_000, "{status} {length}");
        let mut connection_now = client.release();
        assert_eq!((connection_now.handshakes().done, connection_now.last_fault()), (1, None));
        block_on(connection_now.close());
        let mut client = Client::wrap(connection_now);
        assert_eq!(brief(post(&mut client, there.host(), &gateway.token, 2)), ack(20, 0));
        let handshakes = client.release().handshakes();
        assert_eq!((handshakes.done, handshakes.offered), (2, 1));
        // Let's Encrypt vouches for it not.
        let public = Trust::lets_encrypt().expect("is built in");
        let mut client = Client::wrap(connection(&public));
        assert!(post(&mut client, there.host(), &gateway.token, 3).is_err());
        let fault = client.release().last_fault();
        assert_eq!(fault, Some(Fault::Certificate(CertificateFault::UnknownAuthority)));
    });
}
