//! Builds the web pages and hands their folder to the crate.
//!
//! 1. `CASEMENT_WEB_DIST=DIR`: pages built elsewhere.
//! 2. `CASEMENT_WEB=none`: none, on purpose; a page says so.
//! 3. Otherwise npm builds them from the lock file. Without Node that is an error that says what to install.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const SOURCES: &[&str] = &[
    "src",
    "public",
    "scripts",
    "index.html",
    "login.html",
    "claim.html",
    "package.json",
    "package-lock.json",
    "vite.config.ts",
    "tsconfig.json",
    ".npmrc",
];

fn main() {
    println!("cargo:rerun-if-env-changed=CASEMENT_WEB_DIST");
    println!("cargo:rerun-if-env-changed=CASEMENT_WEB");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let web = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("web");
    for source in SOURCES {
        println!("cargo:rerun-if-changed={}", web.join(source).display());
    }
    let dist = if let Some(dist) = env::var_os("CASEMENT_WEB_DIST") {
        PathBuf::from(dist)
    } else if env::var("CASEMENT_WEB").is_ok_and(|value| value == "none") {
        none(&out)
    } else {
        npm(&web, &out).unwrap_or_else(|why| {
            eprintln!(
                "\nThe web pages could not be built: {why}\n\n\
                 Casement's pages are built with Node.js 20 or later and npm. Install them (Debian: apt install nodejs npm;\n\
                 anywhere: https://nodejs.org), or set CASEMENT_WEB_DIST=DIR to pages built elsewhere, or set\n\
                 CASEMENT_WEB=none to build a gateway without pages on purpose.\n"
            );
            std::process::exit(1);
        })
    };
    assert!(dist.join("index.html").is_file(), "{} has no index.html", dist.display());
    println!("cargo:rustc-env=CASEMENT_WEB_OUT={}", dist.display());
}

fn none(out: &Path) -> PathBuf {
    let dist = out.join("no-pages");
    fs::create_dir_all(&dist).expect("OUT_DIR can be written");
    let page = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title><!--casement:title--></title>\
                <p>This gateway was built without its pages, on purpose (CASEMENT_WEB=none). The API works.</p>\
                <!--casement:content--></html>\n";
    for name in ["index.html", "login.html", "claim.html"] {
        fs::write(dist.join(name), page).expect("OUT_DIR can be written");
    }
    dist
}

/// Copies the sources, so that nothing is written beside them, and builds there.
fn npm(web: &Path, out: &Path) -> Result<PathBuf, String> {
    let version = Command::new("node")
        .arg("--version")
        .output()
        .map_err(|_| "there is no `node` in PATH".to_owned())?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let major: u32 =
        version.trim_start_matches('v').split('.').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    if major < 20 {
        return Err(format!("Node.js {version} is too old"));
    }
    let work = out.join("web");
    for source in SOURCES {
        let (from, to) = (web.join(source), work.join(source));
        let _absent = fs::remove_dir_all(&to);
        copy(&from, &to).map_err(|error| format!("{} could not be copied: {error}", from.display()))?;
    }
    let lock = fs::read(work.join("package-lock.json")).map_err(|error| error.to_string())?;
    let installed = work.join("node_modules/.casement-lock");
    if fs::read(&installed).ok().as_deref() != Some(&lock) {
        run(&work, &["ci", "--ignore-scripts", "--no-audit", "--no-fund"])?;
        fs::write(&installed, &lock).map_err(|error| error.to_string())?;
    }
    run(&work, &["run", "build"])?;
    Ok(work.join("dist"))
}

fn run(dir: &Path, arguments: &[&str]) -> Result<(), String> {
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let done = Command::new(npm)
        .args(arguments)
        .current_dir(dir)
        .output()
        .map_err(|_| "there is no `npm` in PATH".to_owned())?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!(
        "`npm {}` failed:\n{}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    ))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).map(drop)
}
