//! Firmware for devices: what people add and stage, and what devices are given of it.

use crate::Stage;
use anyhow::{Context, Result, ensure};
use harness::gateway::binary;
use harness::wait::within;
use harness::{Client, Home};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// An image for an ESP32-C3 that says it is this version, with so many bytes in its one segment.
fn image(version: &str, bytes: usize) -> Vec<u8> {
    let mut data: Vec<u8> = (0..bytes.max(256)).map(|at| (at * 13 / 5) as u8).collect();
    data[..256].fill(0);
    data[..4].copy_from_slice(&0xabcd_5432_u32.to_le_bytes());
    data[16..16 + version.len()].copy_from_slice(version.as_bytes());
    let mut image = vec![0; 24];
    (image[0], image[1], image[12]) = (0xe9, 1, 5);
    image.extend(0x3c00_0020_u32.to_le_bytes());
    image.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    image.extend(&data);
    image.resize((image.len() + 1).next_multiple_of(16), 0);
    let checksum = data.iter().fold(0xef, |sum, byte| sum ^ byte);
    *image.last_mut().expect("it is not empty") = checksum;
    image
}

/// A whole flash with this firmware in its first slot.
fn flash(firmware: &[u8]) -> Vec<u8> {
    let mut flash = vec![0xff; 0x10000];
    flash[0x8000..0x8008].copy_from_slice(&[0xaa, 0x50, 0, 0x10, 0, 0, 1, 0]);
    flash.extend(firmware);
    flash
}

fn put(home: &Home, name: &str, bytes: &[u8]) -> Result<String> {
    let file = home.path(name);
    std::fs::write(&file, bytes)?;
    Ok(file.to_str().context("a path of text")?.to_owned())
}

async fn add(home: &Home, version: &str) -> Result<Vec<u8>> {
    let bytes = image(version, 150_000);
    let file = put(home, "ota.bin", &bytes)?;
    home.run(&["release", "add", "stamp-c3", version, "--image", &file]).await?.expect(0)?;
    Ok(bytes)
}

async fn listed(home: &Home) -> Result<Value> {
    let ran = home.run(&["release", "list", "--json"]).await?.expect(0)?;
    serde_json::from_str(&ran.stdout).with_context(|| ran.stdout)
}

async fn asks(device: &Client, running: &str) -> Result<u16> {
    let path = format!("/api/v1/firmware?board=stamp-c3&version={running}");
    Ok(device.get(&path).send().await?.status)
}

#[tokio::test]
async fn a_release_goes_from_a_file_to_the_devices_it_is_staged_for() -> Result<()> {
    let stage = Stage::set().await?;
    let (home, device) = (&stage.home, &stage.device);
    assert_eq!(asks(device, "1.0.0").await?, 204, "there is none");
    let bytes = add(home, "1.1.0").await?;
    assert_eq!(asks(device, "1.0.0").await?, 204, "it is staged for nobody");
    home.run(&["release", "stage", "stamp-c3", "1.1.0", "100"]).await?.expect(0)?;

    let manifest = device.get("/api/v1/firmware?board=stamp-c3&version=1.0.0").send().await?.expect(200)?;
    manifest.measured()?;
    // "casement release", form, board, version, size, hash, signature: proto's release module has the layout.
    let head = b"casement release\x01\x08stamp-c3\x01\0\x01\0\0\0";
    assert!(manifest.body.starts_with(head) && manifest.body.len() == head.len() + 4 + 32 + 64);
    let size = manifest.body.get(head.len()..head.len() + 4).context("a size")?;
    assert_eq!(u32::from_le_bytes(size.try_into()?) as usize, bytes.len());
    assert_eq!((asks(device, "1.1.0").await?, asks(device, "1.2.0").await?), (204, 204), "it is not newer");

    // Held where it is, held at the version, and let go.
    for (args, expected) in [
        (&["hold", "desk"][..], 204),
        (&["hold", "desk", "1.1.0"], 200),
        (&["hold", "desk", "1.0.0"], 204),
        (&["unhold", "desk"], 200),
    ] {
        let mut all = vec!["release"];
        all.extend(args);
        home.run(&all).await?.expect(0)?;
        assert_eq!(asks(device, "1.0.0").await?, expected, "{args:?}");
    }
    home.run(&["release", "hold", "desk"]).await?.expect(0)?;
    let listing = listed(home).await?;
    let row = &listing["releases"][0];
    assert_eq!(
        (&row["state"], &row["percent"], &row["flash"]),
        (&json!("staged"), &json!(100), &json!(false))
    );
    assert_eq!(listing["held"], json!([{"device": "desk", "version": null}]));
    let table = home.run(&["release", "list"]).await?.expect(0)?.stdout;
    assert!(table.contains("100 %") && table.contains("where it is"), "{table}");
    home.run(&["release", "remove", "stamp-c3", "1.1.0"]).await?.expect(0)?;
    assert_eq!(listed(home).await?["releases"], json!([]));
    stage.strike().await
}

#[tokio::test]
async fn an_image_is_sent_whole_or_in_parts_to_devices_and_nobody_else() -> Result<()> {
    let stage = Stage::set().await?;
    let (home, device) = (&stage.home, &stage.device);
    let bytes = add(home, "1.1.0").await?;
    let path = "/api/v1/firmware/stamp-c3/1.1.0/image";
    let whole = device.get(path).send().await?.expect(200)?;
    whole.measured()?;
    assert!(whole.body == bytes);
    let tag = whole.header("etag").context("an ETag")?.to_owned();
    let size = bytes.len();
    for (range, from, to) in [
        ("bytes=0-65535".to_owned(), 0, 65_536),
        ("bytes=65536-131071".to_owned(), 65_536, 131_072),
        (format!("bytes=131072-{}", size + 5), 131_072, size),
        ("bytes=-10".to_owned(), size - 10, size),
    ] {
        let part = device.get(path).header("range", &range).send().await?.expect(206)?;
        part.measured()?;
        assert!(part.body == bytes[from..to], "{range}");
        let expected = format!("bytes {from}-{}/{size}", to - 1);
        assert_eq!((part.header("content-range"), part.header("etag")), (Some(&*expected), Some(&*tag)));
    }
    let beyond = device.get(path).header("range", &format!("bytes={size}-")).send().await?;
    beyond.problem(416)?;
    assert_eq!(beyond.header("content-range"), Some(&*format!("bytes */{size}")));
    for (known, status) in [(tag.as_str(), 206), ("\"another\"", 200)] {
        let part = device.get(path).header("range", "bytes=0-9").header("if-range", known).send().await?;
        assert_eq!(part.status, status, "{known}");
    }
    // A browser's protocol gets the same bytes.
    let h2 = stage.gateway.client_h2()?.with_token(&stage.token);
    assert!(h2.get(path).send().await?.expect(200)?.body == bytes);

    let reading = home.create_token("read").await?;
    for (client, path, status) in [
        (stage.reader.fresh(), path, 401),
        (stage.reader.with_token("cas_dev_wrong"), path, 401),
        (stage.reader.with_token(&reading), path, 403),
        (stage.reader.with_token("cas_dev_wrong"), "/api/v1/firmware?board=stamp-c3&version=1.0.0", 401),
        (device.fresh(), "/api/v1/firmware/nanoc6/1.1.0/image", 404),
        (device.fresh(), "/api/v1/firmware/stamp-c3/1.2.0/image", 404),
        (device.fresh(), "/api/v1/firmware/..%2f..%2fx/1.1.0/image", 400),
        (device.fresh(), "/api/v1/firmware/stamp-c3/1.1/image", 400),
        (device.fresh(), "/api/v1/firmware?board=Stamp&version=1.0.0", 400),
        (device.fresh(), "/api/v1/firmware?board=stamp-c3", 400),
        (device.fresh(), "/api/v1/firmware", 400),
    ] {
        client.get(path).send().await?.problem(status).with_context(|| path.to_owned())?;
    }
    assert_eq!(device.get("/api/v1/firmware?board=nanoc6&version=1.0.0").send().await?.status, 204);
    // Once it has said which board it is, another one's image is not for it.
    add_for(home, "nanoc6").await?;
    let other = "/api/v1/firmware/nanoc6/1.1.0/image";
    assert_eq!(device.get(other).send().await?.status, 200);
    device.ingest(&json!({"health": {"board": "stamp-c3"}, "readings": []})).await?.expect(200)?;
    device.get(other).send().await?.problem(404)?;

    // Cut short on disk: nobody is sent half an image.
    home.run(&["release", "stage", "stamp-c3", "1.1.0", "100"]).await?.expect(0)?;
    assert_eq!(asks(device, "1.0.0").await?, 200);
    std::fs::write(home.data_dir().join("firmware/stamp-c3/1.1.0/ota.bin"), &bytes[..1000])?;
    device.get(path).send().await?.problem(500)?;
    assert_eq!(asks(device, "1.0.0").await?, 500);
    let states = listed(home).await?;
    let damaged = states["releases"].as_array().context("a list")?;
    assert!(damaged.iter().any(|row| row["board"] == "stamp-c3" && row["state"] == "damaged"), "{states}");
    stage.strike().await
}

async fn add_for(home: &Home, board: &str) -> Result<()> {
    let mut bytes = image("1.1.0", 5_000);
    // An ESP32-C6.
    bytes[12] = 13;
    let file = put(home, "other.bin", &bytes)?;
    home.run(&["release", "add", board, "1.1.0", "--image", &file]).await?.expect(0)?;
    Ok(())
}

#[tokio::test]
async fn what_is_no_firmware_is_refused_in_words_and_leaves_nothing() -> Result<()> {
    let home = Home::private()?;
    let good = image("1.1.0", 150_000);
    let mut damaged = good.clone();
    damaged[70_000] ^= 1;
    let whole = flash(&good);
    let files = [
        ("good", put(&home, "good", &good)?),
        ("text", put(&home, "text", b"PK\x03\x04")?),
        ("empty", put(&home, "empty", b"")?),
        ("cut", put(&home, "cut", &good[..100_000])?),
        ("damaged", put(&home, "damaged", &damaged)?),
        ("other", put(&home, "other", &image("1.2.0", 150_000))?),
        ("huge", put(&home, "huge", &image("1.1.0", 0x1e_0000))?),
        ("flash", put(&home, "flash", &whole)?),
        ("elsewhere", put(&home, "elsewhere", &flash(&image("1.1.0", 150_001)))?),
        ("missing", home.path("missing").display().to_string()),
    ];
    let file =
        |name: &str| files.iter().find(|(known, _)| *known == name).map_or("", |(_, file)| file.as_str());
    for (name, says) in [
        ("text", "0x50"),
        ("empty", "cut short"),
        ("cut", "cut short"),
        ("damaged", "checksum"),
        ("other", "1.2.0"),
        ("huge", "bytes are more"),
        ("flash", "0xff"),
        ("missing", "No such file"),
    ] {
        let args = ["release", "add", "stamp-c3", "1.1.0", "--image", file(name)];
        let ran = home.run(&args).await?.expect(1)?;
        assert!(
            ran.stdout.is_empty() && ran.stderr.contains(says) && ran.stderr.contains("fix:"),
            "{name}: {ran:?}"
        );
    }
    for (name, says) in
        [("good", "partition table"), ("elsewhere", "another firmware"), ("missing", "No such file")]
    {
        let args = ["release", "add", "stamp-c3", "1.1.0", "--image", file("good"), "--flash", file(name)];
        let ran = home.run(&args).await?.expect(1)?;
        assert!(ran.stderr.contains(says) && ran.stderr.contains("fix:"), "{name}: {ran:?}");
    }
    let args = ["release", "add", "nanoc6", "1.1.0", "--image", file("good")];
    let ran = home.run(&args).await?.expect(1)?;
    assert!(ran.stderr.contains("for an ESP32-C3, and nanoc6 has an esp32c6"), "{ran:?}");
    assert!(!home.data_dir().exists(), "nothing was made");
    for args in [
        &["release", "add", "Stamp", "1.1.0", "--image", "x"][..],
        &["release", "add", "../x", "1.1.0", "--image", "x"],
        &["release", "add", "stamp-c3", "1.1", "--image", "x"],
        &["release", "add", "stamp-c3", "1.1.0"],
        &["release", "stage", "stamp-c3", "1.1.0", "101"],
        &["release", "hold", "-"],
    ] {
        home.run(args).await?.expect(2)?;
    }
    for args in [
        &["release", "stage", "stamp-c3", "1.1.0", "10"][..],
        &["release", "remove", "stamp-c3", "1.1.0"],
        &["release", "hold", "nobody"],
        &["release", "unhold", "nobody"],
    ] {
        let ran = home.run(args).await?.expect(1)?;
        assert!(ran.stderr.contains("fix:"), "{ran:?}");
    }

    // Without a gateway, with both files; and the same version never twice.
    let args = ["release", "add", "stamp-c3", "1.1.0", "--image", file("good"), "--flash", file("flash")];
    let ran = home.run(&args).await?.expect(0)?;
    assert!(ran.stdout.is_empty() && ran.stderr.contains("ESP32-C3"), "{ran:?}");
    let folder = home.data_dir().join("firmware/stamp-c3/1.1.0");
    assert!(
        std::fs::read(folder.join("ota.bin"))? == good && std::fs::read(folder.join("flash.bin"))? == whole
    );
    let again = home.run(&args).await?.expect(1)?;
    assert!(again.stderr.contains("there already"), "{again:?}");
    Ok(())
}

#[tokio::test]
async fn the_signing_key_is_private_and_stays() -> Result<()> {
    let stage = Stage::set().await?;
    let home = &stage.home;
    let key = home.run(&["release", "key"]).await?.expect(0)?.stdout;
    let hex = key.trim_end();
    ensure!(hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key:?}");
    add(home, "1.1.0").await?;
    assert_eq!(home.run(&["release", "key"]).await?.expect(0)?.stdout, key);
    let file = home.data_dir().join("firmware/signing.key");
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    let secret: String = std::fs::read(&file)?.iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(!secret.is_empty() && !stage.gateway.log().contains(&secret), "the key is in the log");
    // A key that others could have read signs nothing.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
    let image = put(home, "next.bin", &image("1.2.0", 5_000))?;
    let args = ["release", "add", "stamp-c3", "1.2.0", "--image", &image];
    let ran = home.run(&args).await?.expect(1)?;
    assert!(ran.stderr.contains("0644") && ran.stderr.contains("chmod 600"), "{ran:?}");
    assert!(!home.data_dir().join("firmware/stamp-c3/1.2.0").exists());
    stage.strike().await
}

#[tokio::test]
async fn a_release_that_fails_pauses_by_itself_and_devices_say_how_they_are() -> Result<()> {
    let stage = Stage::set().await?;
    let (home, device) = (&stage.home, &stage.device);
    add(home, "1.1.0").await?;
    home.run(&["release", "stage", "stamp-c3", "1.1.0", "100"]).await?.expect(0)?;
    let other = stage.reader.with_token(&home.add_device("shelf", "Study").await?);
    assert_eq!(asks(&other, "1.0.0").await?, 200);

    let (_, none) = (0, stage.reader.json("/api/v1/devices/desk").await?);
    assert!(none["health"].is_null());
    let health = json!({
        "firmware": "1.0.0", "board": "stamp-c3", "reset": "panic", "uptime_s": 12, "heap_free": 100_000,
        "heap_free_min": 90_000, "rssi": -61, "queued": 3, "dropped": 0, "faults": 0, "uploads_failed": 1,
        "radio_restarts": 0, "update": "failed 1.1.0 crashed", "trouble": "no_network", "later": [1],
    });
    device.ingest(&json!({"boot": 17, "health": health, "readings": [{"co2": 700}]})).await?.expect(200)?;
    assert_eq!(asks(&other, "1.0.0").await?, 204, "one of one failed");
    let shown = stage.reader.json("/api/v1/devices/desk").await?["health"].clone();
    for (name, value) in [
        ("firmware", json!("1.0.0")),
        ("board", json!("stamp-c3")),
        ("reset", json!("panic")),
        ("boot", json!(17)),
        ("heap_free", json!(100_000)),
        ("rssi", json!(-61)),
        ("queued", json!(3)),
        ("trouble", json!("no_network")),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    assert!(shown["age_s"].as_f64().is_some_and(|age| age < 20.0), "{shown}");

    // It is written down, for the listing and for the next start.
    let paused = within(Duration::from_secs(60), "the release pauses", async || {
        let row = listed(home).await?["releases"][0].clone();
        Ok((row["state"] == "paused").then_some(row))
    });
    let row = paused.await?;
    assert_eq!((&row["running"], &row["failed"]), (&json!(0), &json!(1)));
    let show = home.run(&["device", "show", "desk"]).await?.expect(0)?.stdout;
    for fact in ["failed 1.1.0 crashed", "no_network", "-61 dBm", "1.0.0"] {
        assert!(show.contains(fact), "{fact}: {show}");
    }
    let show = home.run(&["device", "show", "desk", "--json"]).await?.expect(0)?.stdout;
    let show: Value = serde_json::from_str(&show)?;
    assert_eq!((&show["health"]["boot"], &show["health"]["rssi"]), (&json!(17), &json!(-61)));
    ensure!(stage.gateway.log().contains("has paused"), "the log does not say so");

    // Somebody has looked into it and goes on.
    home.run(&["release", "stage", "stamp-c3", "1.1.0", "100"]).await?.expect(0)?;
    assert_eq!(asks(&other, "1.0.0").await?, 200);
    stage.strike().await
}

/// What lies in the folder of the board's releases, by name.
fn there(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn kill_9_while_a_release_is_added_leaves_all_of_it_or_nothing() -> Result<()> {
    let home = Home::private()?;
    let bytes = image("1.1.0", 1_500_000);
    let (image, flash) = (put(&home, "ota.bin", &bytes)?, put(&home, "flash.bin", &flash(&bytes))?);
    let config: PathBuf = home.config();
    let args = ["release", "add", "stamp-c3", "1.1.0", "--image", &image, "--flash", &flash];
    let board = home.data_dir().join("firmware/stamp-c3");
    let (mut none, mut whole, mut half) = (0, 0, 0);
    for round in 0..16_u32 {
        let mut child =
            Command::new(binary()?).args(args).arg("--config").arg(&config).stderr(Stdio::null()).spawn()?;
        // Killed as soon as so many files of it can be seen, or a little after.
        let seen = round % 4;
        while there(&board.join(".new")).len() < seen as usize
            && !board.join("1.1.0").exists()
            && child.try_wait()?.is_none()
        {
            std::thread::yield_now();
        }
        for _ in 0..round * 20 {
            std::thread::yield_now();
        }
        child.kill()?;
        child.wait()?;
        half += u32::from(board.join(".new").exists());
        let listing = listed(&home).await?;
        match listing["releases"].as_array().map(Vec::as_slice) {
            Some([]) => none += 1,
            Some([row]) => {
                assert_eq!((&row["state"], &row["flash"]), (&json!("waiting"), &json!(true)), "{listing}");
                home.run(&["release", "remove", "stamp-c3", "1.1.0"]).await?.expect(0)?;
                whole += 1;
            }
            _ => anyhow::bail!("{listing}"),
        }
    }
    // The interesting moment was met: files lay there, and no release.
    ensure!(half > 0, "no kill came while it was being put together");
    home.run(&args).await?.expect(0)?;
    assert_eq!(there(&board), ["1.1.0"], "what the killed ones left is cleared away");
    assert_eq!(listed(&home).await?["releases"][0]["state"], "waiting");
    harness::report::figures(
        "release-kill",
        "kill -9 while a release is added",
        &[
            ("killed", "16".to_owned()),
            ("looks at it afterwards: nothing there, or all of it", format!("{none} and {whole}")),
            ("killed while it was being put together", half.to_string()),
        ],
    );
    Ok(())
}
