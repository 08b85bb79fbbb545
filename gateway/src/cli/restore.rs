//! `casement restore`: a backup looked at, or put in the place of the store.

use super::backup::{counted, is_stream, told, watch};
use super::{Context, Done, Failure, Json, out, say};
use crate::backup::header::Header;
use crate::backup::keys;
use crate::backup::{self, Source};
use crate::clock;
use crate::store::Contents;
use crate::telemetry::time;
use clap::Args;
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct Restore {
    /// The backup; - for standard input
    src: PathBuf,
    /// Only look whether it is good, and change nothing
    #[arg(long, conflicts_with = "force")]
    verify: bool,
    /// Also when there are readings; the store they are in is kept beside the new one
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn run(command: Restore, context: &Context) -> Done {
    let Restore { src, verify, force, json: Json { json } } = command;
    let config = context.config()?;
    let source = if !is_stream(&src) {
        Source::File(src.clone())
    } else if std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody types a backup", "casement restore - < FILE"));
    } else {
        Source::Stream(Box::new(std::io::stdin()))
    };
    if verify {
        let checked = watch(async |job| backup::check(&config, source, job).await)
            .await
            .map_err(|error| told(&error, Some(&src)))?;
        return if json {
            out(&format!("{:#}\n", shown(&src, &checked.header, &checked.contents)))
        } else {
            out(&format!("{} is good: {}\n", src.display(), summary(&checked.header, &checked.contents)))
        };
    }
    let restored = watch(async |job| backup::restore(&config, source, force, clock::now_ms(), job).await)
        .await
        .map_err(|error| told(&error, Some(&src)))?;
    if json {
        let mut value = shown(&src, &restored.header, &restored.contents);
        value["store"] = json!(restored.file.display().to_string());
        value["kept"] = json!(restored.kept.map(|kept| kept.display().to_string()));
        value["kept_keys"] = json!(restored.kept_keys);
        return out(&format!("{value:#}\n"));
    }
    let file = restored.file.display();
    out(&format!("{file} now holds {}\n", summary(&restored.header, &restored.contents)))?;
    if restored.header.keys {
        say(&format!(
            "Certificates, accounts and firmware are in place, too. The configuration of the other machine is {}: compare, and take over what fits.",
            config.data_dir.join(keys::CONFIGURATION).display()
        ));
        say("Stop the gateway on the other machine for good, lead its names here, and start this one.");
    }
    for kept in restored.kept_keys.iter().chain(restored.kept.as_ref()) {
        say(&format!("What was there is kept as {}; remove it when you do not need it.", kept.display()));
    }
    Ok(())
}

fn summary(header: &Header, contents: &Contents) -> String {
    let newest = contents
        .newest_ms
        .map_or_else(String::new, |newest_ms| format!(", the newest of {}", time::rfc3339(newest_ms)));
    format!(
        "{}, {}{newest}; made {} by Casement {}",
        counted(contents.devices, "device", "devices"),
        counted(contents.readings, "reading", "readings"),
        time::rfc3339(header.created_ms),
        header.version
    )
}

fn shown(src: &Path, header: &Header, contents: &Contents) -> Value {
    json!({
        "file": src.display().to_string(),
        "created": time::rfc3339(header.created_ms),
        "version": header.version,
        "with_keys": header.keys,
        "devices": contents.devices,
        "readings": contents.readings,
        "values": contents.values,
        "newest": contents.newest_ms.map(time::rfc3339),
    })
}
