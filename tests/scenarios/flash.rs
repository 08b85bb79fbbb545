//! What the page that adds a device asks the gateway for: boards, images, and a device with its settings.

use crate::{Stage, rows};
use anyhow::{Result, ensure};
use serde_json::json;

fn holds(image: &[u8], text: &str) -> bool {
    image.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn an_administrator_gets_the_newest_image_and_a_device_with_its_settings() -> Result<()> {
    let stage = Stage::set().await?;
    let admin = stage.reader.with_token(&stage.home.create_token("admin").await?);
    let firmware = stage.home.data_dir().join("firmware/nanoc6");
    for (version, bytes) in [("0.9.0", "old"), ("0.10.0", "new")] {
        std::fs::create_dir_all(firmware.join(version))?;
        std::fs::write(firmware.join(version).join("flash.bin"), bytes)?;
    }
    let overview = admin.json("/api/v1/flash").await?;
    let boards = overview["boards"].as_array().map_or(&[][..], Vec::as_slice);
    let of = |name: &str| boards.iter().find(|board| board["board"] == name).cloned().unwrap_or_default();
    assert_eq!(of("nanoc6")["image"]["version"], "0.10.0");
    assert_eq!(of("nanoc6")["chip"], "esp32c6");
    assert!(of("core2")["image"].is_null() && of("core2")["flash_mib"] == 16, "{overview}");
    assert!(
        overview["gateway"]["problem"].is_null() && overview["gateway"]["until_ms"].is_null(),
        "{overview}"
    );
    let url = of("nanoc6")["image"]["url"].as_str().unwrap_or_default().to_owned();
    assert_eq!(&admin.get(&url).send().await?.expect(200)?.body[..], b"new");
    for path in ["nanoc6/7.0.0", "nanoc6/..%2f..", "%2e%2e/0.10.0", "core2/1.0.0", "nanoc6/0.10.0.0"] {
        admin.get(&format!("/api/v1/flash/images/{path}")).send().await?.problem(404)?;
    }

    let key = stage.home.run(&["release", "key"]).await?.expect(0)?.stdout;
    let add = |wish: serde_json::Value| admin.post("/api/v1/flash/devices").json(&wish).send();
    let gateway = "https://localhost:8443";
    for (n, id) in [(1, "physics-lab"), (2, "physics-lab-2")] {
        let answer = add(json!({"room": "Physics lab", "url": gateway})).await?.expect(201)?;
        assert_eq!(answer.headers["location"].to_str()?, format!("/api/v1/devices/{id}"), "{n}");
        ensure!(answer.body.starts_with(b"CSET") && holds(&answer.body, id) && holds(&answer.body, gateway));
        let hex: String = answer.body.iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(hex.contains(key.trim()), "it must know whose releases to take");
        let text = String::from_utf8_lossy(&answer.body);
        let token: String = text.split("cas_dev_").nth(1).unwrap_or_default().chars().take(64).collect();
        let device = stage.reader.with_token(&format!("cas_dev_{token}"));
        device.ingest(&json!({"readings": [{"age_ms": 0, "co2": 600}]})).await?.expect(200)?;
    }

    for (wish, status, hint) in [
        (json!({"room": "", "url": gateway}), 400, "room"),
        (json!({"room": "x".repeat(65), "url": gateway}), 400, "64 bytes"),
        (json!({"room": "a\u{7}b", "url": gateway}), 400, "printable"),
        (json!({"room": "a", "url": "http://localhost"}), 400, "https://"),
        (json!({"room": "a", "id": "no id!", "url": gateway}), 400, "named"),
        (json!({"room": "a", "url": gateway, "more": 1}), 400, "more"),
        (json!({"room": "a".repeat(4096), "url": gateway}), 400, "request"),
        (json!({"room": "a", "id": "desk", "url": gateway}), 409, "already"),
        (json!({"room": "a", "url": "https://air.example.org"}), 409, "tls.names"),
    ] {
        let problem = add(wish.clone()).await?.problem(status)?;
        let detail = problem["detail"].as_str().unwrap_or_default();
        ensure!(detail.contains(hint), "{wish}: {problem}");
    }
    let devices = stage.reader.json("/api/v1/devices").await?;
    assert_eq!(rows(&devices).len(), 3, "what is refused adds nobody");
    stage.strike().await
}
