//! The command line: what it prints, where, and how it ends.

use crate::rows;
use anyhow::{Context, Result, ensure};
use harness::gateway::run;
use harness::wait::unix_ms;
use harness::{Client, Gateway, Home};
use serde_json::{Value, json};
use std::path::Path;

async fn posts(client: &Client, token: &str) -> Result<u16> {
    let batch = json!({"readings": [{"time": unix_ms(), "co2": 600}]});
    Ok(client.with_token(token).ingest(&batch).await?.status)
}

async fn listed(home: &Home, what: &str) -> Result<Value> {
    let listing = home.run(&[what, "list", "--json"]).await?.expect(0)?;
    serde_json::from_str(&listing.stdout).with_context(|| listing.stdout)
}

fn row(listing: &Value, key: &str, value: &str) -> Result<Value> {
    let found = rows(listing).iter().find(|row| row[key] == value);
    found.cloned().with_context(|| format!("no {key} = {value} in {listing}"))
}

#[tokio::test]
async fn a_good_configuration_passes() -> Result<()> {
    let home = Home::public()?;
    let ran = home.run(&["check"]).await?.expect(0)?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(!said.is_empty() && !said.contains('\u{1b}'), "{said:?}");
    // To look at a configuration leaves no trace.
    assert!(!home.data_dir().join("casement.db").exists());
    Ok(())
}

#[tokio::test]
async fn every_problem_of_a_configuration_is_listed_with_its_place() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("casement.toml");
    let text = "data_dir = 7\n\
                \n\
                [listen]\n\
                http = [\"127.0.0.1:0\"]\n\
                htpps = [\"127.0.0.1:0\"]\n\
                https = [\"nonsense\"]\n\
                \n\
                [access]\n\
                dashboard = \"open\"\n\
                \n\
                [store]\n\
                raw_days = -1\n";
    std::fs::write(&file, text)?;
    let path = file.to_str().context("a path of text")?;
    let ran = run(folder.path(), &["check", "--config", path], &[]).await?.expect(64)?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    for (line, key) in
        [(1, "data_dir"), (5, "htpps"), (6, "listen.https"), (9, "access.dashboard"), (12, "store.raw_days")]
    {
        let place = format!("casement.toml:{line}");
        let found = said.lines().any(|said| said.contains(&place) && said.contains(key));
        assert!(found, "no line names {place} and {key}:\n{said}");
    }
    // The unknown key is answered with the one that was meant, and the choice with its choices.
    let about = |key: &str| said.lines().skip_while(|line| !line.contains(key)).take(3).collect::<String>();
    assert!(
        about("htpps").contains("\"https\"")
            || about("htpps").contains("`https`")
            || about("htpps").contains("https?"),
        "{said}"
    );
    assert!(
        about("access.dashboard").contains("public") && about("access.dashboard").contains("private"),
        "{said}"
    );

    // Nothing else starts on such a file either.
    let ran = run(folder.path(), &["serve", "--config", path], &[]).await?.expect(64)?;
    assert!(ran.stdout.is_empty() && ran.stderr.contains("casement.toml:5"), "{ran:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_not_toml_is_shown_where_it_breaks() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("casement.toml");
    std::fs::write(&file, "[listen]\nhttp = [\"127.0.0.1:0\"\n[access]\n")?;
    let path = file.to_str().context("a path of text")?;
    let ran = run(folder.path(), &["check", "--config", path], &[]).await?.expect(64)?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("casement.toml:2") || said.contains("casement.toml:3"), "{said}");

    let ran = run(folder.path(), &["check", "--config", "not-there.toml"], &[]).await?;
    ensure!(ran.code.is_some_and(|code| code != 0) && ran.stderr.contains("not-there.toml"), "{ran:?}");
    Ok(())
}

#[tokio::test]
async fn the_environment_beats_the_file_and_is_checked_like_it() -> Result<()> {
    let home = Home::private()?;
    let config = home.config();
    let config = config.to_str().context("a path of text")?;
    let folder = tempfile::tempdir()?;

    let open = [("CASEMENT_ACCESS__DASHBOARD", "public")];
    let gateway =
        Gateway::launch(folder.path(), &home.data_dir(), &["serve", "--config", config], &open).await?;
    gateway.client()?.json("/api/v1/devices").await?;
    gateway.terminate().await?;

    for (name, value) in [
        ("CASEMENT_ACCESS__DASHBOARD", "open"),
        ("CASEMENT_LISTEN__HTPPS", "[]"),
        ("CASEMENT_LISTEN__HTTPS", "nonsense"),
    ] {
        let ran = run(folder.path(), &["check", "--config", config], &[(name, value)]).await?.expect(64)?;
        ensure!(format!("{}{}", ran.stdout, ran.stderr).contains(name), "{name} is not named: {ran:?}");
    }

    let named = [("CASEMENT_CONFIG", config)];
    run(folder.path(), &["device", "add", "desk"], &named).await?.secret("cas_dev_")?;
    row(&listed(&home, "device").await?, "id", "desk")?;
    Ok(())
}

#[tokio::test]
async fn a_device_is_added_listed_renewed_and_revoked_while_the_gateway_runs() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let client = gateway.client()?;

    // `add_device` accepts nothing but the token on stdout.
    let first = home.add_device("desk", "Study").await?;
    assert_eq!(posts(&client, &first).await?, 200);
    let second = home.run(&["device", "rotate", "desk"]).await?.secret("cas_dev_")?;
    assert_ne!(first, second);
    assert_eq!((posts(&client, &first).await?, posts(&client, &second).await?), (401, 200));

    home.run(&["device", "add", "shelf", "--room", "Study", "--name", "Book shelf"])
        .await?
        .secret("cas_dev_")?;
    let listing = listed(&home, "device").await?;
    assert_eq!(rows(&listing).len(), 2);
    let shelf = row(&listing, "id", "shelf")?;
    assert_eq!((&shelf["room"], &shelf["name"]), (&json!("Study"), &json!("Book shelf")));
    assert!(!listing.to_string().contains(&second), "a listing shows no secret");
    let shown = home.run(&["device", "show", "desk", "--json"]).await?.expect(0)?;
    assert_eq!(serde_json::from_str::<Value>(&shown.stdout)?["id"], "desk");
    let table = home.run(&["device", "list"]).await?.expect(0)?;
    assert!(table.stdout.contains("Book shelf") && !table.stdout.contains('\u{1b}'), "{}", table.stdout);

    home.run(&["device", "revoke", "desk"]).await?.expect(0)?;
    assert_eq!(posts(&client, &second).await?, 401);
    // What it sent stays.
    assert_eq!(harness::csv_rows::all(&client, "desk", "co2").await?.len(), 2);
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn commands_work_while_nothing_runs() -> Result<()> {
    let home = Home::public()?;
    let token = home.add_device("desk", "Study").await?;
    let read = home.create_token("read").await?;
    let gateway = home.serve().await?;
    assert_eq!(posts(&gateway.client()?, &token).await?, 200);
    gateway.client()?.with_token(&read).json("/api/v1/devices").await?;
    Ok(())
}

#[tokio::test]
async fn tokens_are_listed_without_their_secret_and_can_be_revoked() -> Result<()> {
    let home = Home::private()?;
    let gateway = home.serve().await?;
    let create = ["token", "create", "--scope", "read", "--name", "wall"];
    let secret = home.run(&create).await?.secret("cas_")?;
    let admin = home.create_token("admin").await?;
    let client = gateway.client()?;
    for token in [&secret, &admin] {
        client.with_token(token).json("/api/v1/devices").await?;
    }
    let listing = listed(&home, "token").await?;
    let wall = row(&listing, "name", "wall")?;
    assert_eq!(wall["scope"], "read");
    assert!(!listing.to_string().contains(&secret), "{listing}");
    let id = wall["id"].as_str().map_or_else(|| wall["id"].to_string(), str::to_owned);
    home.run(&["token", "revoke", &id]).await?.expect(0)?;
    client.with_token(&secret).get("/api/v1/devices").send().await?.problem(401)?;
    client.with_token(&admin).json("/api/v1/devices").await?;
    Ok(())
}

/// A file with a token is its owner's alone.
fn image(path: &Path) -> Result<Vec<u8>> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "{} has mode {mode:o}", path.display());
    let bytes = std::fs::read(path)?;
    ensure!(bytes.starts_with(b"CSET"), "{} is no image", path.display());
    Ok(bytes)
}

fn holds(image: &[u8], text: &str) -> bool {
    image.windows(text.len()).any(|part| part == text.as_bytes())
}

/// The token in an image.
fn token_in(image: &[u8]) -> Result<String> {
    let at = image.windows(8).position(|part| part == b"cas_dev_").context("there is no token in it")?;
    let token = image[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_');
    Ok(String::from_utf8(token.copied().collect())?[..8 + 64].to_owned())
}

#[tokio::test]
async fn settings_are_written_into_a_file_for_one_device_or_thirty() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let client = gateway.client()?;
    let old = home.add_device("desk", "Study").await?;
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name).to_str().map(str::to_owned).context("a path of text");
    std::fs::write(at("password")?, "correct horse\n")?;
    let url = "https://127.0.0.1:8443";
    let password = at("password")?;
    let wifi = ["--wifi", "Schule", "--wifi-password-file", &password, "--url", url];

    let file = at("desk.bin")?;
    let mut args = vec!["device", "image", "desk", "--period", "60", "-o", &file];
    args.extend(wifi);
    let ran = home.run(&args).await?.expect(0)?;
    assert_eq!(ran.stdout.trim(), file, "the path, alone");
    let one = image(Path::new(&file))?;
    for text in ["desk", "Study", "Schule", "correct horse", url] {
        assert!(holds(&one, text), "{text}");
    }
    let key = home.run(&["release", "key"]).await?.expect(0)?;
    let hex: String = one.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(hex.contains(key.stdout.trim()), "whose releases it takes: {}", key.stdout);
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("cas_dev_"), "{ran:?}");
    assert_eq!(posts(&client, &token_in(&one)?).await?, 200);
    assert_eq!(posts(&client, &old).await?, 401, "one device has one token");

    let many = at("many")?;
    std::fs::create_dir(&many)?;
    let mut args = vec!["device", "image", "--devices", "room-01..room-30", "--room", "Room {}", "-o", &many];
    args.extend(wifi);
    let ran = home.run(&args).await?.expect(0)?;
    assert_eq!(ran.stdout.lines().count(), 30);
    let last = image(&Path::new(&many).join("room-30.settings.bin"))?;
    assert!(holds(&last, "Room 30") && holds(&last, "room-30"));
    assert_eq!(posts(&client, &token_in(&last)?).await?, 200);
    let listing = listed(&home, "device").await?;
    assert_eq!(row(&listing, "id", "room-07")?["room"], "Room 07");

    // To a broker: it must know what the image says, and nobody else may read it.
    let (users, file) = (at("users")?, at("hall.bin")?);
    let broker = ["--mqtt", "mqtts://broker.example.org", "--mqtt-users", &users, "--module", "S8"];
    let mut args = vec!["device", "image", "hall", "-o", &file, "--url", url];
    args.extend(broker);
    let ran = home.run(&args).await?.expect(0)?;
    ensure!(ran.stderr.contains("mosquitto_passwd -U"), "{ran:?}");
    let one = image(Path::new(&file))?;
    assert!(holds(&one, "mqtts://broker.example.org") && holds(&one, "S8"));
    assert_eq!(std::fs::read_to_string(&users)?, format!("hall:{}\n", token_in(&one)?));
    assert_eq!(std::fs::metadata(&users)?.permissions().mode() & 0o777, 0o600);

    let list = at("list")?;
    std::fs::write(&list, "# a school\nlab, Physics lab\n\ngym\n")?;
    home.run(&["device", "image", "--devices", &list, "-o", &many, "--url", url]).await?.expect(0)?;
    assert!(holds(&image(&Path::new(&many).join("lab.settings.bin"))?, "Physics lab"));

    // What cannot be written leaves the device the token it has.
    let kept = token_in(&image(&Path::new(&many).join("gym.settings.bin"))?)?;
    let nowhere = at("no/such/folder/x.bin")?;
    let ran = home.run(&["device", "image", "gym", "-o", &nowhere, "--url", url]).await?.expect(1)?;
    assert!(ran.stderr.contains("fix:"), "{ran:?}");
    assert_eq!(posts(&client, &kept).await?, 200);

    std::fs::write(at("twice")?, "lab\nlab\n")?;
    for (args, code, hint) in [
        (&["device", "image", "x", "--url", "http://a"][..], 2, "https://"),
        (&["device", "image", "x", "--url", "https://air.example.org"], 1, "tls.names"),
        (&["device", "image", "x"], 2, "--url"),
        (&["device", "image", "x", "--url", url, "--wifi", "Net"], 2, "--wifi-password-file"),
        (&["device", "image", "x", "--url", url, "--period", "0"], 2, "1 s"),
        (&["device", "image", "x", "--url", url, "--profile", "none"], 2, "use one of"),
        (&["device", "image", "--devices", "a1..b2", "--url", url], 2, "room-01..room-30"),
        (&["device", "image", "--devices", &at("twice")?, "--url", url], 2, "line 2"),
        (&["device", "image"], 2, "--devices"),
        (&["device", "image", "x", "--url", url, "--mqtt", "mqtts://b"], 2, "--mqtt-users"),
        (
            &["device", "image", "x", "--url", url, "--mqtt", "mqtt://b", "--mqtt-users", &users],
            2,
            "mqtts://",
        ),
        (&["device", "image", "x", "--url", url, "--module", "S9"], 2, "PmsX003"),
    ] {
        let ran = home.run(args).await?;
        ensure!(ran.code == Some(code) && ran.stderr.contains(hint), "{args:?}: {ran:?}");
    }
    let listing = listed(&home, "device").await?;
    assert!(!rows(&listing).iter().any(|row| row["id"] == "x"), "what is refused adds nobody");
    Ok(())
}

#[tokio::test]
async fn errors_say_what_and_how_to_mend_it() -> Result<()> {
    let home = Home::public()?;
    home.add_device("desk", "Study").await?;
    for (args, code, hint) in [
        (&["device", "add", "desk"][..], 1, "rotate"),
        (&["device", "rotate", "nobody"], 1, "nobody"),
        (&["device", "revoke", "nobody"], 1, "nobody"),
        (&["device", "add", "not an id!"], 2, "not an id!"),
        (&["token", "create", "--scope", "everything"], 2, "read"),
        (&["token", "revoke", "nothing"], 1, "nothing"),
        (&["import", "not-there.csv"], 1, "not-there.csv"),
        (&["frobnicate"], 2, "frobnicate"),
    ] {
        let ran = home.run(args).await?;
        ensure!(ran.code == Some(code), "{args:?}: {ran:?}");
        ensure!(
            ran.stdout.is_empty() && ran.stderr.contains(hint),
            "{args:?} does not mention {hint:?}: {ran:?}"
        );
        ensure!(!ran.stderr.contains("panicked"), "{ran:?}");
    }
    Ok(())
}

#[tokio::test]
async fn help_and_version_are_there() -> Result<()> {
    let here = Path::new(".");
    let help = run(here, &["--help"], &[]).await?.expect(0)?;
    for command in
        ["serve", "demo", "check", "device", "token", "simulate", "import", "export", "backup", "restore"]
    {
        assert!(help.stdout.contains(command), "{command} is missing:\n{}", help.stdout);
        let own = run(here, &[command, "--help"], &[]).await?.expect(0)?;
        assert!(own.stdout.contains("--config"), "{command}: {}", own.stdout);
    }
    let version = run(here, &["--version"], &[]).await?.expect(0)?;
    assert!(version.stdout.starts_with("casement 0."), "{}", version.stdout);
    Ok(())
}

#[tokio::test]
async fn a_taken_port_is_named() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let second = Home::public()?;
    second.keep_ports(&gateway)?;
    let ran = second.run(&["serve"]).await?.expect(1)?;
    let port = gateway.https().port().to_string();
    let http = gateway.http().port().to_string();
    assert!(ran.stdout.is_empty(), "{ran:?}");
    assert!(ran.stderr.contains(&port) || ran.stderr.contains(&http), "{ran:?}");
    Ok(())
}

#[tokio::test]
async fn a_reload_keeps_what_works() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let good = std::fs::read_to_string(home.config())?;
    std::fs::write(home.config(), "[listen]\nhtpps = []\n")?;
    gateway.reload()?;
    harness::eventually("the bad file to be reported", async || {
        Ok(gateway.log().contains("htpps").then_some(()))
    })
    .await?;
    gateway.client()?.get("/healthz").send().await?.expect(200)?;
    std::fs::write(home.config(), good)?;
    gateway.reload()?;
    gateway.client()?.get("/healthz").send().await?.expect(200)?;
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn a_file_that_holds_no_readings_is_refused() -> Result<()> {
    let home = Home::private()?;
    let file = home.path("letter.txt");
    for (text, code) in [("Dear diary,\n", 2), ("", 2), (&"x".repeat(200_000), 1)] {
        std::fs::write(&file, text)?;
        let ran = home.run(&["import", file.to_str().context("a path of text")?]).await?.expect(code)?;
        ensure!(ran.stderr.contains("letter.txt") && ran.stderr.contains("fix:"), "{ran:?}");
    }
    Ok(())
}
