//! Casement beside the programs that it replaces, on the same machine in one run. Not a test: it asserts nothing.
//!
//! ```text
//! cargo bench -p casement-tests --bench peers                 # everything
//! cargo bench -p casement-tests --bench peers -- padlock      # empty folder to a trusted certificate: Caddy
//! cargo bench -p casement-tests --bench peers -- handshake    # CPU and instructions of a full handshake: nginx
//! ```
//!
//! `tests/tools/peers` fetches nginx and Caddy; `tests/tools/pebble` the authority. Instructions are counted by
//! valgrind, where it is installed.
#![allow(clippy::disallowed_methods, reason = "a driver at the edge: it times programs from outside")]
#![allow(clippy::print_stdout, reason = "its result is a table")]

mod handshake;
mod padlock;

use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<()> {
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let peers = peers()?;
    if wanted("padlock") {
        runtime.block_on(padlock::compare(&peers))?;
    }
    if wanted("handshake") {
        handshake::compare(&peers)?;
    }
    Ok(())
}

/// The folder with the programs to compare with.
fn peers() -> Result<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/peers");
    let output = Command::new(script).output().context(script)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// The middle one.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
