//! The build script, compiled and run by hand: what it does where there is no Node, and on purpose without pages.

use std::path::Path;
use std::process::{Command, Output};

fn build_script(place: &Path, environment: &[(&str, &str)]) -> Output {
    let manifest = env!("CARGO_MANIFEST_DIR");
    let program = place.join("build-script");
    let compiled = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition", "2024", "-o"])
        .arg(&program)
        .arg(Path::new(manifest).join("build.rs"))
        .output()
        .expect("rustc runs");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    Command::new(program)
        .env_clear()
        .env("PATH", place)
        .env("OUT_DIR", place)
        .env("CARGO_MANIFEST_DIR", manifest)
        .envs(environment.iter().copied())
        .output()
        .expect("the build script runs")
}

#[test]
fn without_node_the_build_fails_and_says_what_to_install() {
    let place = tempfile::tempdir().unwrap();
    let output = build_script(place.path(), &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    for part in ["Node.js 20", "apt install nodejs npm", "CASEMENT_WEB=none", "CASEMENT_WEB_DIST"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

#[test]
fn a_gateway_without_pages_says_so_on_every_page() {
    let place = tempfile::tempdir().unwrap();
    let output = build_script(place.path(), &[("CASEMENT_WEB", "none")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = std::fs::read_to_string(place.path().join("no-pages/index.html")).unwrap();
    assert!(page.contains("built without its pages, on purpose"), "{page}");
}

#[test]
fn a_folder_without_pages_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().to_str().unwrap().to_owned();
    let output = build_script(place.path(), &[("CASEMENT_WEB_DIST", &folder)]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("index.html"));
}
