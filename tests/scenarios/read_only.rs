//! The disk turns read-only while the gateway runs, as Linux does to a file system with errors (`errors=remount-ro`), and
//! is writable again later.

use anyhow::{Context, Result, ensure};
use harness::wait::{eventually, unix_ms};
use harness::{Gateway, Home, csv_rows, report};
use serde_json::json;
use std::process::Command;

/// Nobody may turn a file system read-only while a file on it is open for writing, except the kernel. This does to one
/// process what the kernel would: writing to files fails with EROFS while a file of that name is there.
const DISK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
static int refused(int fd) {
  const char *sign = getenv("CASEMENT_TEST_READ_ONLY");
  struct stat of;
  if (!sign || access(sign, F_OK) != 0 || fstat(fd, &of) != 0 || !S_ISREG(of.st_mode)) return 0;
  errno = EROFS;
  return 1;
}
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
ssize_t write(int fd, const void *b, size_t n) { return refused(fd) ? -1 : REAL(write)(fd, b, n); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) { return refused(fd) ? -1 : REAL(pwrite)(fd, b, n, o); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) { return refused(fd) ? -1 : REAL(pwrite64)(fd, b, n, o); }
int ftruncate(int fd, off_t n) { return refused(fd) ? -1 : REAL(ftruncate)(fd, n); }
int ftruncate64(int fd, off64_t n) { return refused(fd) ? -1 : REAL(ftruncate64)(fd, n); }
"#;

#[tokio::test]
async fn a_disk_that_turns_read_only_refuses_readings_answers_questions_and_recovers() -> Result<()> {
    let home = Home::public()?;
    let (source, library, sign) = (home.path("disk.c"), home.path("disk.so"), home.path("read-only"));
    std::fs::write(&source, DISK)?;
    let text = |path: &std::path::Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output();
    if !compiled.as_ref().is_ok_and(|ran| ran.status.success()) {
        report::skipped(
            "read_only_disk",
            &format!("no C compiler that makes a shared library: {compiled:?}"),
        );
        return Ok(());
    }
    let token = home.add_device("desk", "Study").await?;
    let gateway = Gateway::launch(
        &home.path(""),
        &home.data_dir(),
        &["serve", "--config", &text(&home.config())?],
        &[("LD_PRELOAD", &text(&library)?), ("CASEMENT_TEST_READ_ONLY", &text(&sign)?)],
    )
    .await?;
    let (reader, device) = (gateway.client()?, gateway.client()?.with_token(&token));
    let start = unix_ms() - 86_400_000;
    let batch = |n: i64| {
        let reading = |seq: i64| json!({"seq": seq, "time": start + seq * 100, "co2": 400 + seq % 1000});
        json!({"boot": 1, "readings": (n * 500..(n + 1) * 500).map(reading).collect::<Vec<_>>()})
    };
    device.ingest(&batch(0)).await?.expect(200)?;

    std::fs::write(&sign, "")?;
    for _ in 0..3 {
        let refused = device.ingest(&batch(1)).await?;
        refused.problem(503)?;
        ensure!(refused.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{refused}");
        // What was acknowledged can be read, and nothing of the refused batch is there.
        ensure!(csv_rows::all(&reader, "desk", "co2").await?.len() == 500);
    }
    reader.get("/").send().await?.expect(200)?;
    reader.get("/healthz").send().await?.expect(200)?;

    std::fs::remove_file(&sign)?;
    eventually("the gateway takes readings again", async || {
        let answer = device.ingest(&batch(1)).await?;
        Ok((answer.status == 200).then_some(()))
    })
    .await?;
    ensure!(csv_rows::all(&reader, "desk", "co2").await?.len() == 1_000);
    ensure!(gateway.terminate().await?.code == Some(0));
    let rows = home.run(&["export"]).await?.expect(0)?;
    ensure!(rows.stdout.lines().count() == 1_001, "{} lines", rows.stdout.lines().count());
    Ok(())
}
