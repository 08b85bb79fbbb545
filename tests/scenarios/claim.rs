//! The first administrator comes in by a link.

use crate::rows;
use anyhow::{Context, Result, ensure};
use harness::{Client, Gateway, Home};
use serde_json::Value;

/// The link that `casement claim` prints, and the secret in it.
async fn link(home: &Home) -> Result<(String, String)> {
    let ran = home.run(&["claim"]).await?.expect(0)?;
    let link = ran.stdout.strip_suffix('\n').context("a line")?.to_owned();
    let (_, secret) = link.split_once("/claim#").with_context(|| format!("not a link: {link}"))?;
    ensure!(secret.starts_with("cas_clm_") && ran.stdout.lines().count() == 1, "{ran:?}");
    Ok((link.clone(), secret.to_owned()))
}

async fn use_up(client: &Client, secret: &str) -> Result<harness::client::Answer> {
    client.post("/claim").form(&[("code", secret)]).send().await
}

fn cookie(answer: &harness::client::Answer) -> Result<String> {
    let set = answer.header("set-cookie").context("a cookie")?;
    for part in ["__Host-casement=", "Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        ensure!(set.contains(part), "{part} is missing: {set}");
    }
    Ok(set.split(';').next().unwrap_or_default().to_owned())
}

async fn is_admin(client: &Client, cookie: &str) -> Result<bool> {
    // Only an administrator may see what there is to be flashed.
    Ok(client.get("/api/v1/flash").header("cookie", cookie).send().await?.status == 200)
}

async fn tokens(home: &Home) -> Result<Vec<Value>> {
    let listing = home.run(&["token", "list", "--json"]).await?.expect(0)?;
    Ok(rows(&serde_json::from_str(&listing.stdout)?).to_vec())
}

#[tokio::test]
async fn a_link_signs_one_administrator_in_once() -> Result<()> {
    let home = Home::private()?;
    let gateway = home.serve().await?;
    let (client, other) = (gateway.client()?, gateway.client()?);
    let (link, secret) = link(&home).await?;
    ensure!(link.starts_with(&format!("https://localhost:{}/claim#", gateway.https().port())), "{link}");

    // To look at the page uses nothing up, whoever looks.
    for _ in 0..3 {
        let page = client.get("/claim").send().await?.expect(200)?;
        assert!(page.text()?.contains("casement claim"), "{}", page.text()?);
        assert_eq!(page.header("cache-control"), Some("no-store"));
    }
    // Two browsers at once: one is in, one is told.
    let (one, two) = tokio::join!(use_up(&client, &secret), use_up(&other, &secret));
    let (mut winner, mut loser) = (one?, two?);
    if winner.status != 303 {
        std::mem::swap(&mut winner, &mut loser);
    }
    assert_eq!((winner.status, loser.status), (303, 410));
    assert_eq!(winner.header("location"), Some("/"));
    assert!(loser.header("set-cookie").is_none() && loser.text()?.contains("used already"));
    let session = cookie(&winner)?;
    assert!(is_admin(&client, &session).await?);
    assert_eq!(use_up(&client, &secret).await?.status, 410);

    // The secret opens nothing else, and neither it nor the session stands in the log or the listing.
    assert_eq!(client.with_token(&secret).get("/api/v1/devices").send().await?.status, 401);
    let log = gateway.log();
    let listing = home.run(&["token", "list"]).await?.expect(0)?.stdout;
    for text in [&log, &listing] {
        assert!(!text.contains(&secret) && !text.contains(session.split('=').nth(1).unwrap_or("?")));
    }
    // The session is as good as the token in the list, and ends with it.
    let all = tokens(&home).await?;
    assert!(all.iter().any(|token| token["scope"] == "claim" && token["revoked"].is_string()), "{all:?}");
    let admin = all.iter().find(|token| token["scope"] == "admin").context("an admin token")?;
    home.run(&["token", "revoke", &admin["id"].to_string()]).await?.expect(0)?;
    assert!(!is_admin(&client, &session).await?);
    ensure!(gateway.terminate().await?.code == Some(0));
    Ok(())
}

#[tokio::test]
async fn a_link_may_be_made_before_the_gateway_runs_and_survives_its_restarts() -> Result<()> {
    let home = Home::private()?;
    let (_, secret) = link(&home).await?;
    home.serve().await?.kill().await?;
    let gateway = home.serve().await?;
    let client = gateway.client()?;
    let session = cookie(&use_up(&client, &secret).await?.expect(303)?)?;
    assert!(is_admin(&client, &session).await?);
    gateway.kill().await?;
    let gateway = home.serve().await?;
    let client = gateway.client()?;
    assert_eq!(use_up(&client, &secret).await?.status, 410, "used is used");
    assert!(is_admin(&client, &session).await?);
    Ok(())
}

#[tokio::test]
async fn a_newer_link_takes_the_place_of_an_older_one() -> Result<()> {
    let home = Home::private()?;
    let gateway = home.serve().await?;
    let client = gateway.client()?;
    let (_, first) = link(&home).await?;
    let ran = home.run(&["claim", "--json"]).await?.expect(0)?;
    let told: Value = serde_json::from_str(&ran.stdout)?;
    let minutes =
        harness::wait::parse_rfc3339(told["expires"].as_str().context("a time")?)? - harness::wait::unix_ms();
    assert!((59 * 60_000..=60 * 60_000).contains(&minutes), "{told}");
    let second = told["url"].as_str().context("a link")?;
    let answer = use_up(&client, &first).await?.expect(410)?;
    assert!(answer.text()?.contains("newer one"), "{}", answer.text()?);
    // The whole link will do in the form, as people paste it.
    use_up(&client, second).await?.expect(303)?;
    Ok(())
}

#[tokio::test]
async fn who_has_no_link_is_told_and_has_to_wait() -> Result<()> {
    let home = Home::private()?;
    let gateway = home.serve().await?;
    let client = gateway.client()?;
    let admin = home.create_token("admin").await?;
    for (code, status) in [("", 401), ("#", 401), ("cas_clm_nobody", 401), (admin.as_str(), 401)] {
        let answer = use_up(&client, code).await?.expect(status)?;
        assert!(answer.header("set-cookie").is_none());
        assert!(answer.text()?.contains("server"), "{code}: what to do must be said");
    }
    assert_eq!(use_up(&client, &"x".repeat(5_000)).await?.status, 400);
    let foreign =
        client.post("/claim").header("sec-fetch-site", "cross-site").form(&[("code", "x")]).send().await?;
    assert_eq!(foreign.status, 403);
    let mut last = use_up(&client, "cas_clm_nobody").await?;
    for _ in 0..60 {
        last = use_up(&client, "cas_clm_nobody").await?;
    }
    assert_eq!(last.status, 429);
    assert!(last.header("retry-after").is_some());
    // Whoever has a good one never waits.
    let (_, good) = link(&home).await?;
    use_up(&client, &good).await?.expect(303)?;
    Ok(())
}

#[tokio::test]
async fn a_link_that_is_too_old_says_so() -> Result<()> {
    let home = Home::private()?;
    let gateway: Gateway = home.serve().await?;
    let (_, secret) = link(&home).await?;
    // Nobody waits an hour: the row is made an hour older, as the store keeps it.
    let file = gateway.data_dir().join("casement.db");
    let sql = "UPDATE token SET created_ms = created_ms - 3600001, expires_ms = expires_ms - 3600001 WHERE scope = 'claim'";
    let ran = std::process::Command::new("python3")
        .args([
            "-c",
            "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()",
        ])
        .arg(&file)
        .arg(sql)
        .output();
    match ran {
        Ok(ran) => ensure!(ran.status.success(), "{ran:?}"),
        Err(error) => {
            eprintln!("SKIPPED: there is no python3 to make a link older: {error}");
            return Ok(());
        }
    }
    let answer = use_up(&gateway.client()?, &secret).await?.expect(410)?;
    assert!(answer.text()?.contains("too old") && answer.text()?.contains("casement claim"));
    let state = home.run(&["token", "list"]).await?.expect(0)?.stdout;
    assert!(state.lines().any(|line| line.contains("claim") && line.contains("over")), "{state}");
    Ok(())
}
