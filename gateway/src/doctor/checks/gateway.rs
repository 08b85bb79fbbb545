//! The process, the store, devices, who may sign in.

use super::{Finding, bytes, list, ok, problem, skipped, unknown, warning};
use crate::answer::certificate::span;
use crate::archive::Outcome;
use crate::doctor::facts::{Facts, Kept, Store};
use crate::store::without_password;
use crate::telemetry::presence::Presence;
use crate::telemetry::time;

/// Open files that a full house needs: 1,280 connections, and everything else.
const OPEN_FILES_MIN: u64 = 2048;

/// More than this share of the machine's memory is odd for one gateway.
const SHARE_MAX: u64 = 2;

pub(super) fn running(facts: &Facts) -> Finding {
    match &facts.running {
        Err(why) => unknown(why),
        Ok(None) => problem(
            format!("none runs on {}", facts.config.data_dir.display()),
            "Start it: sudo systemctl enable --now casement (or `casement serve`); if it ends at once, `journalctl -u casement` says why.",
        ),
        Ok(Some(running)) => {
            let pid = running.pid.map_or_else(String::new, |pid| format!("process {pid}"));
            let up = running.up_ms.map_or_else(String::new, |ms| format!(", up {}", span(ms)));
            ok(format!("runs: {pid}{up}"))
        }
    }
}

/// What checks of a running gateway say when there is none.
fn not_running(facts: &Facts) -> Option<Finding> {
    match &facts.running {
        Ok(Some(_)) => None,
        Ok(None) => Some(skipped("no gateway runs")),
        Err(why) => Some(unknown(why)),
    }
}

pub(super) fn answers(facts: &Facts) -> Finding {
    if let Some(finding) = not_running(facts) {
        return finding;
    }
    let at = list(&facts.listeners.https);
    let fix = "Look at its log (`journalctl -u casement -n 50`) and start it again: sudo systemctl restart casement.";
    let answers = match &facts.answers {
        Ok(answers) => answers,
        Err(why) => return problem(format!("it does not answer at {at}: {}", why.0), fix),
    };
    let status = |path| answers.get(path).map_or(0, |reply| reply.status);
    match (status("/healthz"), status("/readyz")) {
        (200, 200) => ok(format!("at {at}, and takes readings")),
        (200, _) => problem(
            "it answers, but its store does not",
            "Look at the disk below data_dir and at its log (`journalctl -u casement -n 50`); then sudo systemctl restart casement.",
        ),
        (other, _) => problem(format!("/healthz at {at} answers with status {other}"), fix),
    }
}

pub(super) fn memory(facts: &Facts) -> Finding {
    if let Some(finding) = not_running(facts) {
        return finding;
    }
    let Some(resident) = facts.gateway().and_then(|running| running.resident) else {
        return skipped("the system does not say");
    };
    match facts.machine.memory {
        Some((total, _)) if resident > total / SHARE_MAX => warning(
            format!("{} of the machine's {}", bytes(resident), bytes(total)),
            "Start it again (sudo systemctl restart casement) and report this with the number of devices and viewers.",
        ),
        Some((total, _)) => ok(format!("{} of {}", bytes(resident), bytes(total))),
        None => ok(bytes(resident)),
    }
}

pub(super) fn open_files(facts: &Facts) -> Finding {
    if let Some(finding) = not_running(facts) {
        return finding;
    }
    match facts.gateway().and_then(|running| running.open_files) {
        None => skipped("the system does not say"),
        Some(limit) if limit < OPEN_FILES_MIN => warning(
            format!("at most {limit}; a full house needs {OPEN_FILES_MIN}"),
            "Raise the limit: LimitNOFILE=4096 in the [Service] section (sudo systemctl edit casement), or `ulimit -n 4096` before `casement serve`.",
        ),
        Some(limit) if limit > 1 << 30 => ok("no limit"),
        Some(limit) => ok(format!("up to {limit}")),
    }
}

pub(super) fn store(facts: &Facts) -> Finding {
    match &facts.store {
        Err(why) => unknown(why),
        Ok(Store::NotYet) => {
            ok(format!("{} will be made by the first start", without_password(&facts.config.store_url)))
        }
        Ok(Store::Open(kept)) => ok(format!("opens and answers; {} devices", kept.devices.len())),
        Ok(Store::Fails { why, disk_full: true }) => problem(
            why.clone(),
            "Make room on the disk: nothing that was acknowledged is lost, and the gateway goes on by itself.",
        ),
        Ok(Store::Fails { why, disk_full: false }) => problem(
            why.clone(),
            "Check data_dir and store.url, and that Casement's user owns the file; if the file is damaged, put a backup in its place.",
        ),
    }
}

fn kept(facts: &Facts) -> Result<&Kept, Finding> {
    match &facts.store {
        Ok(Store::Open(kept)) => Ok(kept),
        Ok(Store::NotYet) => Err(skipped("there is no store yet")),
        Ok(Store::Fails { .. }) => Err(skipped("the store does not open")),
        Err(why) => Err(unknown(why)),
    }
}

/// How many times over a backup may be late before that is a problem.
const BACKUPS_LATE: i64 = 3;

pub(super) fn backups(facts: &Facts) -> Finding {
    let backups = &facts.config.backups;
    let folder = backups.folder.display();
    if !facts.config.store_url.starts_with("sqlite:") {
        return skipped("the store is a database; its own tools make backups of it");
    }
    let Some(every_ms) = backups.every_ms else {
        return skipped("backup.every is \"off\"");
    };
    let kept = match &facts.backups {
        Ok(kept) => kept,
        Err(why) => return unknown(why),
    };
    let newest = kept.made_ms.last().copied();
    let age = newest.map_or(i64::MAX, |made_ms| facts.now_ms - made_ms);
    let there = match newest {
        Some(_) => format!(
            "the newest good one is {} old; {} kept in {folder}, {}",
            span(age.max(0)),
            kept.made_ms.len(),
            bytes(kept.bytes)
        ),
        None => format!("there is none in {folder} yet"),
    };
    if let Some(Outcome::Failed { why, fix }) = kept.last.as_ref().map(|last| &last.outcome) {
        let text = format!("the last one failed: {why}; {there}");
        let fix = format!("{}; the gateway tries again by itself.", super::upper(fix));
        return if age > every_ms.saturating_mul(BACKUPS_LATE) {
            problem(text, fix)
        } else {
            warning(text, fix)
        };
    }
    if newest.is_some() && age > every_ms.saturating_mul(BACKUPS_LATE) {
        return warning(
            there,
            "Start the gateway: it makes them while it runs (sudo systemctl enable --now casement).",
        );
    }
    ok(there)
}

pub(super) fn devices(facts: &Facts) -> Finding {
    let kept = match kept(facts) {
        Ok(kept) => kept,
        Err(finding) => return finding,
    };
    let count = kept.devices.len();
    let (mut silent, mut never) = (Vec::new(), 0);
    for device in &kept.devices {
        match device.rhythm.presence(device.last_ms, facts.now_ms) {
            Presence::Online => {}
            Presence::Never => never += 1,
            Presence::Offline => {
                let age = device
                    .last_ms
                    .map_or_else(String::new, |last| time::age(facts.now_ms.saturating_sub(last)));
                silent.push(format!("{} {age}", device.name));
            }
        }
    }
    let new = if never > 0 { format!("; {never} never sent anything") } else { String::new() };
    if silent.is_empty() {
        return ok(match count {
            0 => "none registered yet".to_owned(),
            _ => format!("{} of {count} report{new}", count - never),
        });
    }
    warning(
        format!("{} of {count} silent: {}{new}", silent.len(), list(&silent)),
        "Look whether they have power and Wi-Fi; a device that is gone for good can be left out: `casement device list` shows all.",
    )
}

pub(super) fn sign_in(facts: &Facts) -> Finding {
    let kept = match kept(facts) {
        Ok(kept) => kept,
        Err(finding) => return finding,
    };
    match (facts.config.dashboard_public, kept.readers, kept.admins) {
        (true, _, 0) => ok("everybody may read; nobody may administer over the network"),
        (true, _, admins) => ok(format!("everybody may read; {admins} token(s) administer")),
        (false, 0, 0) => warning(
            "the dashboard is private, and there is no token to sign in with",
            "Make one: casement token create --scope read (or admin); or set access.dashboard = \"public\".",
        ),
        (false, readers, admins) => ok(format!("{readers} token(s) read, {admins} administer")),
    }
}
