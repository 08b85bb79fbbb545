//! The program itself on its serial line: a fresh device answers Improv and shows how to set it up; settings that lead to
//! the real gateway are taken, all others are refused with the reason, and leave what was set before.

mod audit;
mod cable;
#[path = "../../net/tests/server/mod.rs"]
mod server;
mod there;

use cable::{Device, command, part};
use casement_proto::DeviceSettings;
use casement_proto::device_settings::{self, GatewayUrl, Wifi};
use server::{Authority, Leaf};
use std::net::TcpListener;
use std::time::Duration;
use there::Gateway;

const STATE: u8 = 2;
const INFO: u8 = 3;
const NETWORKS: u8 = 4;

#[test]
fn a_fresh_device_answers_improv_and_shows_its_set_up_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut device = Device::start(folder.path());
    device.send(&command(STATE, &[]));
    assert_eq!(device.hear(1), ["state 2"]);
    device.send(&command(INFO, &[]));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        device.hear(1),
        [format!("result 3 [\"casement\", \"{version}\", \"host\", \"Casement sim\"]")]
    );
    device.send(&command(NETWORKS, &[]));
    assert_eq!(device.hear(2), [r#"result 4 ["Simulated", "-48", "YES"]"#, "result 4 []"]);
    let picture = std::fs::read(folder.path().join("screens/now.png")).expect("a screen");
    assert_eq!(&picture[1..4], b"PNG");
}

/// Settings for a gateway on this machine.
fn settings(port: u16, token: &str, ca: &[u8]) -> DeviceSettings {
    let mut settings = DeviceSettings::default().with_period_ms(1_000).expect("is allowed");
    settings.gateway = Some(GatewayUrl::parse(&format!("https://localhost:{port}")).expect("an address"));
    settings.token = Some(device_settings::token(token).expect("is one"));
    settings.ca = Some(device_settings::ca(ca).expect("a certificate"));
    settings.wifi = Some(Wifi::new("Simulated", "correct horse").expect("is allowed"));
    settings
}

#[test]
fn settings_are_taken_when_they_lead_to_the_gateway_and_refused_with_the_reason_otherwise() {
    let Some(binary) = there::binary("improv_against_the_gateway") else { return };
    let (authority, stranger) = (Authority::new(), Authority::new());
    let gateway = Gateway::install(&binary, &authority.sign(Leaf::good("localhost").wide()));
    let folder = tempfile::tempdir().expect("a folder");
    let mut device = Device::start(folder.path());
    let (port, token) = (gateway.port, gateway.token.as_str());
    let good = settings(port, token, authority.der()).encode();
    let ours = format!("https://localhost:{port}");

    // A port that is nobody's, because it is ours and we do not listen any more.
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let unknown = "cas_dev_0000000000000000000000000000000000000000000000000000000000000000";
    let named = |name: &str| {
        let mut settings = settings(port, token, authority.der());
        settings.gateway = Some(GatewayUrl::parse(&format!("https://{name}:{port}")).expect("an address"));
        settings
    };
    let bad = [
        (settings(nobody, token, authority.der()), "The gateway does not answer."),
        (settings(port, token, stranger.der()), "The gateway's authority is unknown here."),
        (settings(port, unknown, authority.der()), "The gateway does not know this device."),
        // The right machine under a name that its certificate does not have.
        (named("127.0.0.1"), "The certificate is for another name."),
    ];
    for (settings, why) in &bad {
        let said = device.offer(&settings.encode(), 5);
        assert_eq!([&said[0], &said[1], &said[3], &said[4]], ["error 0", "state 3", "error 3", "state 2"]);
        assert!(said[2].starts_with(&format!("result c5 [\"0\", \"{why}")), "{said:?}");
    }

    // Half a packet, and the client begins again: at the latest its second question is heard.
    let half = part(&good, 0);
    device.send(&half[..half.len() / 2]);
    let heard = (0..10).find_map(|_| {
        device.send(&command(STATE, &[]));
        device.hear_within(Duration::from_millis(700))
    });
    assert_eq!(heard.as_deref(), Some("state 2"));
    while device.hear_within(Duration::from_millis(700)).is_some() {}

    // Parts that come twice, or too early, change nothing: the answer says where to go on.
    for (offset, answer) in [(0, 249), (0, 249), (498, 249), (249, 498), (249, 498)] {
        device.send(&part(&good, offset));
        assert_eq!(device.hear(1), [format!("result c5 [\"{answer}\"]")], "part at {offset}");
    }
    // A damaged image is refused before anything is tried.
    let mut damaged = good.to_vec();
    damaged[300] ^= 1;
    let said = device.offer(&damaged, 2);
    assert_eq!(said[0], "error 1");
    assert!(said[1].starts_with("result c5 [\"0\", \"the settings"), "{said:?}");

    let said = device.offer(&good, 4);
    assert_eq!(said, ["error 0", "state 3", "state 4", &format!("result c5 [\"{ours}\"]")]);
    device.logs(" stored");

    // What works stays when something new does not.
    for (settings, why) in &bad {
        let said = device.offer(&settings.encode(), 5);
        assert_eq!([&said[1], &said[3], &said[4]], ["state 3", "error 3", "state 4"], "{why}");
        assert!(said[2].contains(why), "{said:?}");
    }
    let before = gateway.stored(authority.der()).names.len();
    let connected = ["state 4".to_owned(), format!("result 2 [\"{ours}\"]")];
    device.send(&command(STATE, &[]));
    assert_eq!(device.hear(2), connected);
    // Over a power cut, too.
    drop(device);
    let mut device = Device::start(folder.path());
    device.send(&command(STATE, &[]));
    assert_eq!(device.hear(2), connected);
    device.logs(" stored");
    let after = gateway.stored(authority.der());
    assert!(after.names.len() > before && before > 0, "{before}, then {}", after.names.len());
}
