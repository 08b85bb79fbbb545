//! Firmware over the air: the device's own state machine against the real gateway, over TLS.

use super::TestApp;
use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use casement::releases::Releases;
use casement_core::Millis;
use casement_core::update::{
    Event, Failure, FetchError, Identity, Kept, Phase, SECTOR_BYTES, Slot, Step, Then, Updater,
};
use casement_proto::device_settings::UpdatePolicy;
use casement_proto::{BoardId, Release, Version};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Response, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const OLD: Version = Version { major: 1, minor: 0, patch: 0 };
const NEW: Version = Version { major: 1, minor: 1, patch: 0 };
const SIZE: usize = 200_100;

fn board() -> BoardId {
    BoardId::parse("stamp-c3").expect("a good name")
}

/// A device: the state machine, its other slot, and what is on its flash.
struct Device {
    updater: Updater,
    kept: Option<Kept>,
    slot: Vec<u8>,
    keys: [[u8; 32]; 1],
    now: Millis,
    /// Requests for parts.
    asked: Vec<u32>,
}

impl Device {
    fn new(key: [u8; 32]) -> Self {
        let (updater, _) = Updater::start(who(Slot::A, OLD), None, UpdatePolicy::Newest, Millis(0));
        Self { updater, kept: None, slot: vec![0xff; SIZE], keys: [key], now: Millis(0), asked: Vec::new() }
    }

    fn tell(&mut self, event: Event<'_>) -> Step {
        self.now = self.now.after(1);
        let step = self.updater.handle(event, self.now, true, 0, &self.keys);
        self.kept = step.keep.or(self.kept);
        step
    }

    /// The moment comes that the state machine waits for.
    fn wait(&mut self, step: &Step) -> Step {
        self.now = step.wake_at.unwrap_or(self.now);
        self.tell(Event::Due)
    }

    /// The power fails. What is kept and what lies in the slot stays.
    fn restart(&mut self, slot: Slot, version: Version) -> Step {
        let (updater, step) =
            Updater::start(who(slot, version), self.kept, UpdatePolicy::Newest, self.now.after(1));
        self.updater = updater;
        self.kept = step.keep.or(self.kept);
        step
    }

    /// Asks what there is, and tells the state machine.
    async fn ask(&mut self, app: &TestApp, running: Version) -> Result<Step> {
        let path = format!("/api/v1/firmware?board={}&version={running}", board());
        let answer = get(app, &path, None).await?;
        Ok(match answer.status() {
            StatusCode::OK => self.tell(Event::Offered(answer.body())),
            StatusCode::NO_CONTENT => self.tell(Event::NothingOffered),
            other => bail!("{other}: {:?}", answer.body()),
        })
    }

    /// Does what a driver does, until the slot is to be booted or nothing is left to do.
    async fn go_on(&mut self, app: &TestApp, mut step: Step) -> Result<Then> {
        loop {
            step = match step.then {
                Then::Fetch { from, to } => {
                    self.asked.push(from);
                    let answer = get(app, &path(), Some((from, to))).await?;
                    self.take(from, to, &answer)?
                }
                Then::Hash(bytes) => {
                    let slot = self.slot.get(..bytes as usize).context("the slot is that large")?;
                    let hash = digest(&SHA256, slot).as_ref().try_into()?;
                    self.tell(Event::Hashed(Some(hash)))
                }
                done => return Ok(done),
            }
        }
    }

    fn take(&mut self, from: u32, to: u32, answer: &Response<Bytes>) -> Result<Step> {
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            let status = answer.status().as_u16();
            return Ok(self.tell(Event::FetchFailed(FetchError::Status(status))));
        }
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let (range, length) = (format!("bytes {from}-{}/{SIZE}", to - 1), (to - from).to_string());
        ensure!(header("content-range") == Some(range.as_str()), "{:?}", answer.headers());
        ensure!(header("content-length") == Some(length.as_str()), "small devices need the length");
        self.write(from, answer.body())?;
        Ok(self.tell(Event::Fetched(to)))
    }

    fn write(&mut self, from: u32, bytes: &[u8]) -> Result<()> {
        let begin = from as usize;
        let place = self.slot.get_mut(begin..begin + bytes.len()).context("the slot has room")?;
        place.copy_from_slice(bytes);
        Ok(())
    }
}

fn who(slot: Slot, version: Version) -> Identity {
    Identity { board: board(), version, slot, slot_bytes: 0x1e_0000 }
}

fn path() -> String {
    format!("/api/v1/firmware/{}/{NEW}/image", board())
}

async fn get(app: &TestApp, path: &str, part: Option<(u32, u32)>) -> Result<Response<Bytes>> {
    let mut request = Request::get(path)
        .header("host", "localhost")
        .header("authorization", format!("Bearer {}", app.device_token));
    if let Some((from, to)) = part {
        request = request.header("range", format!("bytes={from}-{}", to - 1));
    }
    app.send(request.body(Full::default())?).await
}

fn firmware() -> Vec<u8> {
    (0..SIZE).map(|at| (at * 31 / 7) as u8).collect()
}

/// A release on the gateway for everybody.
fn publish(app: &TestApp) -> Result<Releases> {
    let (bytes, releases) = (firmware(), Releases::of(app.place.path()));
    let sha256 = digest(&SHA256, &bytes).as_ref().try_into()?;
    releases.add(&Release { board: board(), version: NEW, size: SIZE as u32, sha256 }, &bytes, None)?;
    releases.decide(|rollout| rollout.set_stage(board(), NEW, 100))?;
    Ok(releases)
}

fn says(version: Version, update: Option<String>) -> String {
    let health = json!({"firmware": version.to_string(), "board": "stamp-c3", "rssi": -61, "update": update});
    json!({"boot": 3, "health": health, "readings": [{"co2": 700}]}).to_string()
}

#[tokio::test]
async fn a_device_fetches_an_update_in_parts_through_a_cut_and_a_power_failure() -> Result<()> {
    let app = TestApp::start("private").await?;
    let releases = publish(&app)?;
    let mut device = Device::new(releases.public_key()?);

    let step = device.ask(&app, OLD).await?;
    let Then::Fetch { from: 0, to } = step.then else { bail!("{step:?}") };
    let answer = get(&app, &path(), Some((0, to))).await?;
    let step = device.take(0, to, &answer)?;

    // The second part breaks off in its middle.
    let Then::Fetch { from, to } = step.then else { bail!("{step:?}") };
    let mut stream = app.connect().await?;
    let token = &app.device_token;
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nRange: bytes={from}-{}\r\n\r\n",
        path(),
        to - 1
    );
    stream.write_all(head.as_bytes()).await?;
    let mut got = Vec::new();
    let body = loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await?;
        ensure!(count > 0, "it ended by itself");
        got.extend_from_slice(&buffer[..count]);
        let end = got.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
        if let Some(end) = end.filter(|end| got.len() - end > 3 * SECTOR_BYTES as usize) {
            break got.split_off(end);
        }
    };
    drop(stream);
    ensure!(body.len() < (to - from) as usize, "it was to break off");
    device.write(from, &body)?;
    let upto = from + u32::try_from(body.len())?;
    let _more = device.tell(Event::Fetched(upto));
    let step = device.tell(Event::FetchFailed(FetchError::Connection));
    assert_eq!(step.then, Then::Nothing, "it pauses first");

    // Then the power fails, too. What lies in whole sectors is not fetched again.
    let _boot = device.restart(Slot::A, OLD);
    let step = device.ask(&app, OLD).await?;
    let then = device.go_on(&app, step).await?;
    assert_eq!(then, Then::Boot(Slot::B));
    assert_eq!(device.asked.first(), Some(&(upto / SECTOR_BYTES * SECTOR_BYTES)));
    assert!(device.slot == firmware(), "every byte arrived");

    // On trial, until the gateway takes a reading.
    let _boot = device.restart(Slot::B, NEW);
    assert!(device.updater.on_trial());
    let said = device.updater.status().map(|status| status.to_string());
    assert_eq!(said.as_deref(), Some("trying 1.1.0"));
    let (status, _) = app.post(says(NEW, said), &app.device_token).await?;
    assert_eq!(status, StatusCode::OK);
    let _kept = device.tell(Event::Acknowledged);
    assert!(!device.updater.on_trial() && device.updater.status().is_none());
    let step = device.ask(&app, NEW).await?;
    assert_eq!((step.then, &device.updater.kept().phase), (Then::Nothing, &Phase::Idle));

    let (_, shown) = app.get("/api/v1/devices/desk", Some(&app.read_token)).await?;
    let health = &shown["health"];
    assert_eq!(
        (&health["firmware"], &health["rssi"], &health["boot"]),
        (&json!("1.1.0"), &json!(-61), &json!(3))
    );
    app.stop().await
}

#[tokio::test]
async fn altered_firmware_is_not_booted_and_not_offered_to_others() -> Result<()> {
    let app = TestApp::start("private").await?;
    let releases = publish(&app)?;
    let mut device = Device::new(releases.public_key()?);
    let step = device.ask(&app, OLD).await?;
    // Somebody alters one byte of the file; its size stays.
    let mut altered = firmware();
    altered[150_000] ^= 1;
    let file = app.place.path().join("firmware/stamp-c3/1.1.0/ota.bin");
    std::fs::write(&file, &altered)?;
    assert_eq!(device.go_on(&app, step).await?, Then::Nothing);
    let failed = device.updater.kept().failed.context("it failed")?;
    assert_eq!((failed.version, failed.why), (NEW, Failure::WrongHash));
    assert_eq!(device.asked.iter().filter(|from| **from == 0).count(), 2, "it was fetched twice");
    let said = device.updater.status().map(|status| status.to_string());
    assert_eq!(app.post(says(OLD, said), &app.device_token).await?.0, StatusCode::OK);
    let question = format!("/api/v1/firmware?board={}&version={OLD}", board());
    assert_eq!(get(&app, &question, None).await?.status(), StatusCode::NO_CONTENT, "it has paused");
    app.stop().await
}

#[tokio::test]
async fn a_manifest_of_another_gateway_or_board_is_refused() -> Result<()> {
    let app = TestApp::start("private").await?;
    let releases = publish(&app)?;
    let mut stranger = Device::new([7; 32]);
    assert_eq!(stranger.ask(&app, OLD).await?.then, Then::Nothing);
    assert_eq!(stranger.updater.refusal(), Some(casement_core::update::Refusal::Signature));

    // A device that lies about its board gets a manifest that it does not take.
    let other = BoardId::parse("nanoc6").context("a good name")?;
    let mut device = Device::new(releases.public_key()?);
    device.updater =
        Updater::start(Identity { board: other, ..who(Slot::A, OLD) }, None, UpdatePolicy::Newest, Millis(0))
            .0;
    assert_eq!(device.ask(&app, OLD).await?.then, Then::Nothing);
    assert_eq!(device.updater.refusal(), Some(casement_core::update::Refusal::Board));
    app.stop().await
}

#[tokio::test]
async fn a_release_that_vanishes_or_is_withdrawn_ends_a_fetch_and_nothing_else() -> Result<()> {
    let app = TestApp::start("private").await?;
    let releases = publish(&app)?;
    let mut device = Device::new(releases.public_key()?);
    let step = device.ask(&app, OLD).await?;
    assert!(matches!(step.then, Then::Fetch { .. }));
    // Cut short on disk: an error of the gateway, after which a device tries again later.
    let file = app.place.path().join("firmware/stamp-c3/1.1.0/ota.bin");
    std::fs::write(&file, &firmware()[..5_000])?;
    assert_eq!(device.go_on(&app, step).await?, Then::Nothing);
    assert!(matches!(device.updater.kept().phase, Phase::Fetching { .. }));
    std::fs::write(&file, firmware())?;
    // Nobody is offered it any more: what was fetched is let go.
    releases.decide(|rollout| rollout.set_stage(board(), NEW, 0))?;
    let step = device.ask(&app, OLD).await?;
    assert_eq!((step.then, &device.updater.kept().phase), (Then::Nothing, &Phase::Idle));
    releases.decide(|rollout| rollout.set_stage(board(), NEW, 100))?;
    let step = device.ask(&app, OLD).await?;
    let step = device.wait(&step);
    releases.remove(&board(), NEW)?;
    assert_eq!(device.go_on(&app, step).await?, Then::Nothing);
    assert_eq!(device.updater.kept().phase, Phase::Idle, "404 ends it");
    assert_eq!(device.ask(&app, OLD).await?.then, Then::Nothing);
    app.stop().await
}
