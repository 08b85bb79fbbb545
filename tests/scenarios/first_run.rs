//! A newcomer starts the program in an empty folder, and signs in.

use anyhow::{Context, Result, ensure};
use harness::{Gateway, Home, raw};
use std::time::Duration;

const ANY_PORTS: [(&str, &str); 2] =
    [("CASEMENT_LISTEN__HTTP", r#"["127.0.0.1:0"]"#), ("CASEMENT_LISTEN__HTTPS", r#"["127.0.0.1:0"]"#)];

#[tokio::test]
async fn serve_needs_no_configuration() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data_dir = folder.path().join("casement-data");
    let gateway = Gateway::launch(folder.path(), &data_dir, &["serve"], &ANY_PORTS).await?;
    for client in [gateway.client()?, gateway.client_h2()?] {
        client.get("/healthz").send().await?.expect(200)?;
        client.get("/readyz").send().await?.expect(200)?;
    }
    let certificate = std::fs::read(data_dir.join("certs/self-signed.pem"))?;
    let ended = gateway.terminate().await?;
    assert_eq!(ended.code, Some(0));
    assert!(ended.after < Duration::from_secs(20), "{:?}", ended.after);
    assert_eq!(ended.stdout.lines().count(), 1, "only the ready line belongs on stdout: {}", ended.stdout);

    let gateway = Gateway::launch(folder.path(), &data_dir, &["serve"], &ANY_PORTS).await?;
    assert!(certificate == std::fs::read(data_dir.join("certs/self-signed.pem"))?, "a new certificate");
    // The client trusts the file; the gateway must also show that very certificate.
    gateway.client()?.get("/healthz").send().await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn private_keys_are_for_the_owner_alone() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::private()?;
    let gateway = home.serve().await?;
    let certs = gateway.data_dir().join("certs");
    assert_eq!(std::fs::metadata(&certs)?.permissions().mode() & 0o777, 0o700);
    for entry in std::fs::read_dir(&certs)? {
        let entry = entry?;
        let holds_key = String::from_utf8_lossy(&std::fs::read(entry.path())?).contains("PRIVATE KEY");
        let mode = entry.metadata()?.permissions().mode() & 0o777;
        assert!(!holds_key || mode == 0o600, "{:?} has mode {mode:o}", entry.path());
    }
    Ok(())
}

#[tokio::test]
async fn http_leads_to_https_with_host_and_query_kept() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let http = gateway.http();
    let target = "/r/Room%20101?r=24h&x=%26";
    for method in ["GET", "HEAD", "POST"] {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {http}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = raw::plain(http, &request).await?;
        assert_eq!(answer.status, 301, "{method}");
        let expected = format!("{}{target}", gateway.url());
        assert_eq!(answer.header("location"), Some(expected.as_str()), "{method}");
    }
    let request = "GET /?a=1 HTTP/1.1\r\nHost: air.example.org\r\nConnection: close\r\n\r\n";
    let answer = raw::plain(http, request).await?;
    let location = answer.header("location").unwrap_or_default();
    assert!(location.starts_with("https://air.example.org") && location.ends_with("/?a=1"), "{location}");
    Ok(())
}

#[tokio::test]
async fn what_a_host_header_cannot_be_is_not_echoed() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    for host in ["a b", "evil.example/path", "x@y", "\"><script>", ""] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = raw::plain(gateway.http(), &request).await?;
        let location = answer.header("location").unwrap_or_default();
        assert!(answer.status == 400 || !location.contains(host) || host.is_empty(), "{host:?} → {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_dashboard_is_private_by_default() -> Result<()> {
    let home = Home::private()?;
    let gateway = home.serve().await?;
    let client = gateway.client()?;
    let page = client.get("/").accept("text/html").send().await?;
    match page.status {
        302 | 303 | 307 => {
            let to = page.header("location").unwrap_or_default();
            assert!(to.starts_with("/login"), "{to}");
        }
        200 | 401 => assert!(page.text()?.contains("action=\"/login\""), "{page}"),
        _ => panic!("{page}"),
    }
    for path in ["/api/v1/devices", "/api/v1/readings?device=a&metric=co2", "/api/v1/stream"] {
        client.get(path).send().await?.problem(401)?;
    }
    // The way in, and what monitors ask, are open.
    client.get("/login").send().await?.expect(200)?;
    client.get("/healthz").send().await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_token_signs_a_browser_in_and_out() -> Result<()> {
    let home = Home::private()?;
    let gateway = home.serve().await?;
    let token = home.create_token("read").await?;
    let client = gateway.client()?;

    let answer = client.post("/login").form(&[("token", &token)]).send().await?.expect(303)?;
    assert_eq!(answer.header("location"), Some("/"));
    let cookie = answer.header("set-cookie").context("no cookie")?;
    for attribute in ["HttpOnly", "Secure", "SameSite=", "Path=/"] {
        assert!(cookie.contains(attribute), "no {attribute} in {cookie}");
    }
    assert!(!cookie.contains(&token), "the cookie is the token itself");
    let session = cookie.split(';').next().unwrap_or_default();
    client.get("/").header("cookie", session).send().await?.expect(200)?;
    client.get("/api/v1/devices").header("cookie", session).send().await?.expect(200)?;
    client.get("/api/v1/devices").header("cookie", &format!("{session}x")).send().await?.problem(401)?;

    client.post("/logout").header("cookie", session).send().await?.expect(303)?;
    client.get("/api/v1/devices").header("cookie", session).send().await?.problem(401)?;
    Ok(())
}

#[tokio::test]
async fn signing_in_refuses_what_is_not_an_api_token() -> Result<()> {
    let home = Home::private()?;
    let gateway = home.serve().await?;
    let device = home.add_device("desk", "Study").await?;
    let client = gateway.client()?;
    for wrong in ["", "nonsense", "cas_api_0000000000000000000000000000000000000000000", &device] {
        let answer = client.post("/login").form(&[("token", wrong)]).send().await?;
        ensure!(
            answer.header("set-cookie").is_none_or(|cookie| cookie.contains("Max-Age=0")),
            "{wrong}: {answer}"
        );
        ensure!(answer.status == 401 || answer.status == 303, "{wrong}: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn signing_in_leads_nowhere_else() -> Result<()> {
    let home = Home::private()?;
    let gateway = home.serve().await?;
    let token = home.create_token("read").await?;
    let client = gateway.client()?;
    for (next, kept) in [
        ("%2Fr%2FRoom%25201%3Fr%3D7d", Some("/r/Room%201?r=7d")),
        ("https%3A%2F%2Fevil.example%2F", None),
        ("%2F%2Fevil.example%2F", None),
        ("%2F%5Cevil.example%2F", None),
        ("%2F%09%2Fevil.example", None),
    ] {
        let answer =
            client.post("/login").form(&[("token", &token), ("next", next)]).send().await?.expect(303)?;
        let location = answer.header("location").unwrap_or_default();
        assert_eq!(location, kept.unwrap_or("/"), "next={next}");
    }
    Ok(())
}

#[tokio::test]
async fn a_public_dashboard_needs_no_token() -> Result<()> {
    let home = Home::public()?;
    let gateway = home.serve().await?;
    let client = gateway.client()?;
    let page = client.get("/").accept("text/html").send().await?.expect(200)?;
    assert!(page.content_type().starts_with("text/html"), "{page}");
    client.json("/api/v1/devices").await?;
    // Reading is public; writing is not.
    client.post("/api/v1/readings").json(&serde_json::json!({"readings": []})).send().await?.problem(401)?;
    Ok(())
}
