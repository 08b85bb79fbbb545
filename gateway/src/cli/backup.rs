//! `casement backup`: the store as one file, also while the gateway runs.

use super::{Context, Done, Failure, Json, out, say, watched};
use crate::backup::{self, Job, Made, Scope, Step, Target, Trouble};
use crate::clock;
use crate::config::{Config, Loaded, TlsSource};
use crate::telemetry::time;
use clap::Args;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Args)]
pub(super) struct Backup {
    /// The file to write; - for standard output
    dest: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// With what makes this host: certificates, accounts and keys, firmware, the configuration; to move to another machine
    #[arg(long)]
    with_keys: bool,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(command: Backup, context: &Context) -> Done {
    let Backup { dest, force, with_keys, json: Json { json } } = command;
    let Loaded { config, file, .. } = context.load()?;
    let scope = if with_keys { Scope::Host { configuration: file } } else { Scope::Store };
    let streamed = is_stream(&dest);
    let target = if !streamed {
        Target::File { path: dest.clone(), replace: force }
    } else if json {
        return Err(Failure::usage("--json and the backup cannot both go to standard output", "name a file"));
    } else if std::io::stdout().is_terminal() {
        return Err(Failure::usage("a backup is nothing for a terminal", "casement backup - > FILE"));
    } else {
        Target::Stream(Box::new(std::io::stdout()))
    };
    let made = watch(async |job| backup::make(&config, target, scope, clock::now_ms(), job).await)
        .await
        .map_err(|error| told(&error, None))?;
    if with_keys {
        say(
            "It holds private keys: whoever has the file can pass for this gateway. Keep it as you keep a password.",
        );
        if let TlsSource::Files { key, .. } = &config.tls.source {
            say(&format!("{} is not in it: take the files of tls.files along by hand.", key.display()));
        }
    }
    if json {
        return out(&format!("{:#}\n", shown(&dest, &made)));
    }
    let Made { header, bytes, .. } = &made;
    let text = format!(
        "{} and {} of {} in {}",
        counted(header.readings, "reading", "readings"),
        counted(header.values, "value", "values"),
        counted(header.devices, "device", "devices"),
        indicatif::DecimalBytes(*bytes)
    );
    if streamed {
        say(&text);
        return Ok(());
    }
    out(&format!(
        "{}: {text}\nlook whether it is good: casement restore --verify {}\n",
        dest.display(),
        dest.display()
    ))
}

/// Before a store is opened whose layout that would change: a backup of it. A person is told.
pub(super) async fn leave_a_way_back(config: &Config) -> Result<(), Failure> {
    let made = watch(async |job| backup::before_a_change(config, clock::now_ms(), job).await)
        .await
        .map_err(|error| told(&error, None))?;
    if let Some(way) = made {
        say(&format!(
            "the store goes from layout {} to {}; as it was it is kept in {} for 30 days",
            way.from,
            way.to,
            way.file.display()
        ));
    }
    Ok(())
}

fn shown(dest: &Path, made: &Made) -> serde_json::Value {
    json!({
        "file": dest.display().to_string(),
        "bytes": made.bytes,
        "sha256": made.sha256,
        "devices": made.header.devices,
        "readings": made.header.readings,
        "values": made.header.values,
        "created": time::rfc3339(made.header.created_ms),
        "with_keys": made.header.keys,
    })
}

/// Whether the path means standard input or output.
pub(super) fn is_stream(path: &Path) -> bool {
    path == Path::new("-")
}

/// `1 device`, `2,000 devices`.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(count), if count == 1 { one } else { many })
}

/// A trouble for people, with the backup when it is that.
pub(super) fn told(trouble: &Trouble, file: Option<&Path>) -> Failure {
    let file = file.filter(|_| trouble.is_of_the_backup());
    let about = file.map(|file| format!("{}: ", file.display())).unwrap_or_default();
    let mut what = format!("{about}{trouble}");
    let mut cause = std::error::Error::source(trouble);
    while let Some(error) = cause {
        let text = error.to_string();
        if !what.contains(&text) {
            what.push_str(&format!(": {text}"));
        }
        cause = error.source();
    }
    Failure::new(what, trouble.fix())
}

/// Shows how far it is to a person; cleans up when it is interrupted.
pub(super) async fn watch<T>(work: impl AsyncFnOnce(&Arc<Job>) -> Result<T, Trouble>) -> Result<T, Trouble> {
    let bar = if watched() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    let job = Job::new({
        let bar = bar.clone();
        move |step, done, of| {
            bar.set_message(match step {
                Step::Copy => "copying",
                Step::Write => "writing",
                Step::Read => "reading",
                Step::Check => "checking",
            });
            bar.set_length(of);
            bar.set_position(done);
        }
    });
    let done = tokio::select! {
        // Signals are heard before there is anything to clean up.
        biased;
        () = interrupted() => {
            job.abandon();
            bar.finish_and_clear();
            say("interrupted; nothing was changed");
            // A thread may be waiting for standard input, and would be waited for.
            std::process::exit(i32::from(super::FAILED));
        }
        done = work(&job) => done,
    };
    bar.finish_and_clear();
    done
}

async fn interrupted() {
    let signals =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    match signals {
        (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) => tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        },
        // Then signals end the process as they do by default.
        _ => std::future::pending().await,
    }
}
