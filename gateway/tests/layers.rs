//! Arrows point down: reads the sources and checks what docs/architecture.md promises about them.
//!
//! The tables here are the truth; the crate documentation in `src/lib.rs` shows the same rows. Test code
//! (`#[cfg(test)]`) may name what it likes.

mod source;

use source::{Named, Source, read, root, sources, tokens};
use std::collections::BTreeSet;

/// The gateway's modules, top row first. A module names modules of lower rows and itself, never a neighbour.
const ROWS: &[(&str, &[&str])] = &[
    ("program", &["cli"]),
    ("composition", &["app", "bench"]),
    ("surfaces", &["api", "web", "edge"]),
    ("desk", &["desk"]),
    ("services", &["access", "intake", "simulate", "keeper", "doctor", "backup", "updates"]),
    ("fan-out", &["live"]),
    ("adapters", &["store", "tls", "config", "observe", "machine", "releases", "archive"]),
    ("files", &["disk"]),
    ("rules", &["answer", "ingest", "export", "provision"]),
    ("basic rules", &["telemetry", "guard", "renewal", "rollout"]),
    ("ground", &["clock", "reading"]),
];

/// Modules that decide and do nothing else, with everything below them. Both rows of rules are among them.
const PURE: &[&str] = &[
    "answer",
    "archive::schedule",
    "bench::generate",
    "bench::report",
    "bench::statistics",
    "backup::header",
    "config::file",
    "config::keys",
    "config::starter",
    "doctor::checks",
    "doctor::facts",
    "edge::redirect",
    "edge::roles",
    "export",
    "guard",
    "ingest",
    "intake::pace",
    "provision",
    "renewal",
    "rollout",
    "simulate::chance",
    "simulate::outage",
    "simulate::room",
    "store::chunked::blob",
    "store::chunked::block",
    "store::chunked::fold",
    "store::chunked::memory",
    "store::chunked::names",
    "store::chunked::numbers",
    "store::chunked::record",
    "store::chunked::rules",
    "store::chunked::summary",
    "telemetry",
    "web::plain",
];

/// What a pure module never names: runtimes, sockets, files, the clock, chance, the log.
const IMPURE: &[&str] = &[
    "tokio",
    "tokio_util",
    "tokio_rustls",
    "sqlx",
    "axum",
    "hyper",
    "hyper_util",
    "tower",
    "tower_http",
    "rustls",
    "tracing",
    "aws_lc_rs::rand",
    "std::net",
    "std::fs",
    "std::io",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "clock::now_ms",
    "clock::steady",
];

/// Values out of impure crates, each with the one pure module that may name it.
const PURE_VALUES: &[(&str, &str)] = &[
    // An address is a key here; no socket is opened with it.
    ("guard", "std::net::IpAddr"),
    // Names of certificates are addresses, too.
    ("renewal::names", "std::net::IpAddr"),
    ("renewal::names", "std::net::Ipv4Addr"),
    ("renewal::names", "std::net::Ipv6Addr"),
    // What was found out about addresses; nobody is asked any more.
    ("doctor::checks", "std::net::IpAddr"),
    ("doctor::checks", "std::net::SocketAddr"),
    ("doctor::facts", "std::net::IpAddr"),
    ("doctor::facts", "std::net::SocketAddr"),
    ("edge::roles", "std::net::IpAddr"),
    ("edge::roles", "std::net::SocketAddr"),
    // The types of the http crate, as axum hands them on.
    ("edge::redirect", "axum::http"),
];

/// Which modules may name a crate. Replacing it touches these and nothing else.
const OWNERS: &[(&str, &[&str])] = &[
    ("anyhow", &["app", "cli"]),
    ("axum", &["api", "web", "edge", "desk"]),
    ("base64", &["tls"]),
    ("bytes", &["tls"]),
    ("casement_core", &["simulate"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("crc32fast", &["store"]),
    ("comfy_table", &["cli"]),
    ("csv", &["cli", "ingest"]),
    ("embedded_svc", &["simulate"]),
    ("hickory_resolver", &["doctor"]),
    ("hyper", &["edge", "tls"]),
    ("hyper_rustls", &["tls"]),
    ("hyper_util", &["edge", "tls"]),
    ("if_addrs", &["machine"]),
    ("indicatif", &["cli"]),
    ("instant_acme", &["tls"]),
    ("libsqlite3_sys", &["store"]),
    ("pco", &["store"]),
    ("prometheus_client", &["observe"]),
    ("rcgen", &["tls"]),
    ("qrcodegen_no_heap", &["cli"]),
    ("rumqttc", &[]),
    ("rpassword", &["cli"]),
    ("rust_embed", &["web"]),
    ("rustix", &["disk", "cli", "doctor", "bench"]),
    ("rustls", &["tls", "edge", "simulate", "cli", "doctor", "bench"]),
    ("rustls_native_certs", &["cli"]),
    ("sd_listen_fds", &["edge"]),
    ("sd_notify", &["cli"]),
    ("sqlx", &["store"]),
    ("strsim", &["config"]),
    ("tokio_rustls", &["edge", "simulate", "doctor", "bench"]),
    ("toml", &["config"]),
    ("tower", &["edge"]),
    ("tower_http", &["api", "web"]),
    ("tracing_subscriber", &["observe"]),
    ("webpki_roots", &["tls"]),
    ("x509_parser", &["tls"]),
];

/// The readers of time: the clock, and the loops that drive virtual devices. Everybody else is told what time it is.
const READERS_OF_TIME: &[&str] = &["clock", "simulate", "simulate::connection", "simulate::device"];

#[test]
fn a_module_names_only_lower_rows() {
    let sources = sources("gateway/src");
    none(arrows(&sources));
}

#[test]
fn every_module_stands_in_one_row() {
    let lib = read("gateway/src/lib.rs");
    let tokens = tokens(&lib);
    let mut declared: Vec<_> = tokens
        .windows(3)
        .filter(|three| three[0].text == "mod" && three[2].text == ";")
        .map(|three| three[1].text.as_str())
        .collect();
    let mut placed: Vec<_> = ROWS.iter().flat_map(|(_, modules)| modules.iter().copied()).collect();
    declared.sort_unstable();
    placed.sort_unstable();
    assert_eq!(declared, placed);
}

#[test]
fn the_crate_documentation_shows_the_same_rows() {
    let lib = read("gateway/src/lib.rs");
    let shown: Vec<Vec<&str>> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .map(|row| row.split("[`").skip(1).filter_map(|rest| rest.split('`').next()).collect())
        .filter(|modules: &Vec<_>| !modules.is_empty())
        .collect();
    let rows: Vec<Vec<&str>> = ROWS.iter().map(|(_, modules)| modules.to_vec()).collect();
    assert_eq!(shown, rows);
}

#[test]
fn rules_decide_and_do_nothing_else() {
    let sources = sources("gateway/src");
    none(sources.iter().flat_map(impurities).collect());
    for (row, modules) in ROWS.iter().filter(|(row, _)| row.ends_with("rules")) {
        assert!(modules.iter().all(|module| PURE.contains(module)), "{row}");
    }
    for module in PURE {
        assert!(sources.iter().any(|source| source.is_in(module)), "there is no {module}");
    }
    for (module, value) in PURE_VALUES {
        let used = sources
            .iter()
            .any(|source| source.is_in(module) && source.paths.iter().any(|path| path.starts_with(value)));
        assert!(used, "{module} does not need {value}");
    }
}

#[test]
fn a_dependency_has_an_owner() {
    none(sources("gateway/src").iter().flat_map(strangers).collect());
}

#[test]
fn time_is_an_argument() {
    none(sources("gateway/src").iter().flat_map(readers_of_time).collect());
}

#[test]
fn the_program_is_the_command_line_and_nothing_else() {
    let main = Source::new("main.rs", &read("gateway/src/main.rs"));
    let named: Vec<_> = main.paths.iter().map(|path| path.names.join("::")).collect();
    let ours: Vec<_> = named.iter().filter(|path| path.starts_with("casement")).collect();
    assert_eq!(ours, ["casement::cli::main"]);
}

#[test]
fn what_devices_and_gateway_share_depends_on_neither() {
    for (folder, allowed) in [
        ("proto", &[][..]),
        ("firmware/core", &["casement-proto"][..]),
        ("firmware/screen", &["casement-core", "casement-proto"][..]),
        ("firmware/sensors", &["casement-core", "casement-proto"][..]),
    ] {
        let names: Vec<_> = allowed.iter().map(|name| name.replace('-', "_")).collect();
        assert_eq!(our_crates(&read(&format!("{folder}/Cargo.toml"))), allowed, "{folder}/Cargo.toml");
        let sources = sources(&format!("{folder}/src"));
        assert!(!sources.is_empty());
        for source in &sources {
            for path in &source.paths {
                let first = path.names.first().map_or("", String::as_str);
                let stranger = first.starts_with("casement") && !names.iter().any(|name| name == first);
                assert!(!stranger, "{folder}/src/{}:{}: {first}", source.file, path.line);
            }
        }
        assert!(read(&format!("{folder}/src/lib.rs")).contains("#![no_std]"), "{folder}");
    }
}

#[test]
fn the_firmware_core_needs_no_allocator() {
    let folders = ["firmware/core/src", "firmware/screen/src", "firmware/sensors/src"];
    for source in folders.into_iter().flat_map(sources) {
        for path in source.paths.iter().filter(|path| path.names.len() > 1) {
            let first = path.names.first().map_or("", String::as_str);
            assert!(!["std", "alloc"].contains(&first), "{}:{}: {first}", source.file, path.line);
        }
    }
}

#[test]
fn scenarios_know_the_contract_and_nothing_else() {
    assert_eq!(our_crates(&read("tests/Cargo.toml")), [""; 0]);
}

#[test]
fn the_documents_name_what_exists() {
    let decisions = std::fs::read_dir(root().join("docs/decisions")).expect("there are decisions");
    let mut pages = vec!["README.md".to_owned(), "docs/architecture.md".to_owned()];
    pages.extend(decisions.map(|entry| {
        let entry = entry.expect("the decisions can be listed");
        format!("docs/decisions/{}", entry.file_name().to_string_lossy())
    }));
    none(pages.iter().flat_map(|page| dead_ends(page, &read(page))).collect());
}

// ------------------------------------------------------------------------------------------------------- the checkers

/// Names of modules that do not lie below.
fn arrows(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources {
        let Some(own) = source.module.first() else { continue };
        for path in &source.paths {
            let Some(target) = path.within_the_crate(&source.module) else { continue };
            let Some(name) = target.first().filter(|name| *name != own) else { continue };
            let verdict = match (row(own), row(name)) {
                (Some(from), Some(to)) if from < to => continue,
                (Some(from), Some(to)) if from == to => "is a neighbour",
                (Some(_), Some(_)) => "lies above",
                _ => "stands in no row",
            };
            wrong.push(format!("{}:{}: {} {verdict}", source.file, path.line, target.join("::")));
        }
    }
    wrong
}

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|(_, modules)| modules.contains(&module))
}

/// What a pure module must not name, and names.
fn impurities(source: &Source) -> Vec<String> {
    if !PURE.iter().any(|module| source.is_in(module)) {
        return Vec::new();
    }
    let excused = |path: &Named| {
        PURE_VALUES.iter().any(|(module, value)| source.is_in(module) && path.starts_with(value))
    };
    let impure = |path: &Named| IMPURE.iter().any(|name| path.starts_with(name) || path.starts_at_home(name));
    source.complain(|path| (impure(path) && !excused(path)).then_some("in a pure module"))
}

/// Crates that are named away from home.
fn strangers(source: &Source) -> Vec<String> {
    source.complain(|path| {
        let (_, owners) = OWNERS.iter().find(|(name, _)| path.names.len() > 1 && path.starts_with(name))?;
        let at_home = source.module.first().is_some_and(|own| owners.contains(&own.as_str()));
        (!at_home).then_some("belongs elsewhere")
    })
}

/// Looks at a clock.
fn readers_of_time(source: &Source) -> Vec<String> {
    if READERS_OF_TIME.contains(&source.module.join("::").as_str()) {
        return Vec::new();
    }
    source.complain(|path| {
        let looks = path.names.last().is_some_and(|last| last == "now")
            && path.names.iter().any(|name| {
                ["Instant", "SystemTime", "Timestamp", "Zoned", "UtcDateTime"].contains(&name.as_str())
            });
        looks.then_some("reads the clock")
    })
}

/// Which of the project's own crates a manifest depends on, in whatever table; a crate may test itself.
fn our_crates(manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("a manifest is TOML");
    let own = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    let mut found = BTreeSet::new();
    let mut tables = vec![&manifest];
    while let Some(table) = tables.pop() {
        for (key, value) in table {
            let Some(inner) = value.as_table() else { continue };
            if key.ends_with("dependencies") {
                found.extend(inner.iter().map(|(name, value)| {
                    value.get("package").and_then(toml::Value::as_str).unwrap_or(name).to_owned()
                }));
            } else {
                tables.push(inner);
            }
        }
    }
    found.retain(|name| name.starts_with("casement") && Some(name.as_str()) != own);
    found.into_iter().collect()
}

/// What a page names and the workspace does not have: a file as `folder/file`, a name in a file as `folder/file` · `name`.
fn dead_ends(page: &str, text: &str) -> Vec<String> {
    let ours = ["deploy/", "docs/", "firmware/", "gateway/", "proto/", "tests/"];
    let spans: Vec<&str> = text.split('`').collect();
    let mut wrong = Vec::new();
    for (at, path) in spans.iter().enumerate().skip(1).step_by(2) {
        let plain = !path.contains(|c: char| c.is_whitespace() || "<>*{}".contains(c));
        if !plain || path.contains("NNNN") || !ours.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        let name =
            spans.get(at + 2).filter(|_| spans.get(at + 1).is_some_and(|between| between.trim() == "·"));
        if !root().join(path).exists() {
            wrong.push(format!("{page}: there is no {path}"));
        } else if let Some(name) = name.filter(|name| !read(path).contains(**name)) {
            wrong.push(format!("{page}: there is no {name} in {path}"));
        }
    }
    wrong
}

fn none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

// ------------------------------------------------------------------------------------------------- the checkers can fail

fn complaints(file: &str, text: &str) -> Vec<String> {
    let source = Source::new(file, text);
    let checks = [impurities(&source), strangers(&source), readers_of_time(&source)];
    let mut told = arrows(&[source]);
    told.extend(checks.into_iter().flatten());
    told
}

#[test]
fn what_points_up_or_sideways_is_found() {
    for (file, text, expected) in [
        ("store/sqlite/mod.rs", "use crate::api::router;", "store/sqlite/mod.rs:1: api::router lies above"),
        ("api/mod.rs", "\nuse crate::{clock, web::{self}};", "api/mod.rs:2: web::self is a neighbour"),
        ("live.rs", "fn f() { crate::intake::submit() }", "live.rs:1: intake::submit lies above"),
        ("tls/mod.rs", "use super::store::Device as D;", "tls/mod.rs:1: store::Device is a neighbour"),
        ("tls/files/deep.rs", "use super::super::super::edge;", "tls/files/deep.rs:1: edge lies above"),
        ("telemetry/trend.rs", "use crate::store;", "telemetry/trend.rs:1: store lies above"),
        (
            "telemetry/trend.rs",
            "use crate::{reading::Device, store::Store};",
            "telemetry/trend.rs:1: store::Store lies above",
        ),
        ("desk.rs", "use crate::helpers::f;", "desk.rs:1: helpers::f stands in no row"),
    ] {
        assert_eq!(complaints(file, text), [expected], "{text}");
    }
}

#[test]
fn rules_that_do_something_are_found() {
    for (file, text, path) in [
        ("ingest/csv.rs", "use std::{fmt, fs::File};", "std::fs::File"),
        ("telemetry/mod.rs", "async fn f() { tokio::time::sleep(x).await }", "tokio::time::sleep"),
        ("guard.rs", "use std::net::{IpAddr, TcpStream};", "std::net::TcpStream"),
        ("answer.rs", "use std::net::IpAddr;", "std::net::IpAddr"),
        ("export.rs", "fn f() -> i64 { clock::now_ms() }", "clock::now_ms"),
        ("simulate/room.rs", "use crate::clock::steady;", "crate::clock::steady"),
        ("web/plain.rs", "fn f() { tracing::info!(\"x\") }", "tracing::info"),
    ] {
        assert_eq!(complaints(file, text), [format!("{file}:1: {path} in a pure module")]);
    }
}

#[test]
fn a_crate_away_from_home_and_a_look_at_the_clock_are_found() {
    for (file, text, expected) in [
        ("intake.rs", "fn f(e: sqlx::Error) {}", "sqlx::Error belongs elsewhere"),
        ("cli/check.rs", "use casement_core::Node;", "casement_core::Node belongs elsewhere"),
        ("keeper.rs", "use instant_acme::Account;", "instant_acme::Account belongs elsewhere"),
        ("live.rs", "let t = std::time::Instant::now();", "std::time::Instant::now reads the clock"),
        ("api/mod.rs", "let t = jiff::Timestamp::now();", "jiff::Timestamp::now reads the clock"),
    ] {
        assert_eq!(complaints(file, text), [format!("{file}:1: {expected}")]);
    }
}

#[test]
fn comments_texts_and_tests_name_what_they_like() {
    let text = r####"
        //! [`crate::api`]
        /* crate::api /* nested */ sqlx::query */
        const A: &str = "crate::api"; const B: &str = r##"tokio::"# spawn"##; const C: &[u8] = b"\"sqlx::x";
        const D: [char; 4] = ['"', '\'', '\u{1b}', 'x']; fn f<'a>(x: &'a str) -> &'a str { x }
        #[cfg(test)]
        #[allow(dead_code, reason = "x")]
        fn once(x: [u8; 3]) -> Self { sqlx::query("}") }
        #[cfg(test)]
        mod tests { use crate::api; mod inner { fn f() { tokio::spawn() } } }
        #[cfg(test)]
        mod story;
        #[cfg(not(test))]
        fn real() { crate::clock::rfc3339() }
    "####;
    assert_eq!(complaints("answer.rs", text), [""; 0]);
    let source = Source::new("answer.rs", text);
    assert_eq!(source.test_modules, [["answer", "story"]]);
    assert!(source.paths.iter().any(|path| path.starts_with("crate::clock::rfc3339")), "the rest is read");
}

#[test]
fn a_manifest_tells_every_crate_of_ours() {
    let manifest = r#"
        [package]
        name = "casement-x"
        [dependencies]
        serde = "1"
        core = { package = "casement-core", path = "y" }
        [dev-dependencies]
        casement-x = { path = "." }
        [target.'cfg(unix)'.build-dependencies]
        casement-proto = { path = "z" }
    "#;
    assert_eq!(our_crates(manifest), ["casement-core", "casement-proto"]);
}

#[test]
fn a_page_that_leads_nowhere_is_found() {
    let page = "`tests/run`, `gateway/src/<name>.rs`, `GET /`, `gateway/src/lib.rs` · `pub mod clock`\n\
                `gateway/src/nowhere.rs`, `gateway/src/lib.rs` · `pub mod nowhere`";
    assert_eq!(
        dead_ends("p", page),
        ["p: there is no gateway/src/nowhere.rs", "p: there is no pub mod nowhere in gateway/src/lib.rs"]
    );
}
