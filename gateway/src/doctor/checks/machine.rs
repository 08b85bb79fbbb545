//! Data folder, disk, memory, clock.

use super::{Finding, bytes, list, ok, problem, skipped, unknown, warning};
use crate::answer::certificate::span;
use crate::config::TlsSource;
use crate::doctor::facts::{Facts, Folder, Store};
use crate::reading::Growth;
use crate::telemetry::time;

/// Less than this is little room on a disk, in bytes.
const SPACE_MIN: u64 = 200_000_000;

/// Days that the disk should last at the pace of the last week.
const DAYS_MIN: u64 = 60;

/// With less than this writing will fail soon, in bytes.
const SPACE_NONE: u64 = 20_000_000;

/// Less than this is little memory, in bytes.
const MEMORY_MIN: u64 = 64_000_000;

/// How far a clock may be off, in milliseconds: beyond the first, people notice; beyond the second, so do authorities.
const CLOCK_ODD_MS: i64 = 5_000;
const CLOCK_WRONG_MS: i64 = 60_000;

/// No clock shows less than this any more, in unix milliseconds: this program was written after 1 November 2026.
const WRITTEN_MS: i64 = 1_793_491_200_000;

/// A clock that shows more than this shows nonsense, in unix milliseconds: the year 2060.
const FAR_MS: i64 = 2_840_140_800_000;

pub(super) fn folder(facts: &Facts) -> Finding {
    let dir = facts.config.data_dir.display();
    match &facts.folder {
        Err(why) => unknown(why),
        Ok(Folder::Missing { possible: true, .. }) => ok(format!("{dir} will be made by the first start")),
        Ok(Folder::Missing { above, possible: false }) => problem(
            format!(
                "{dir} is not there, and {} may not make it in {}",
                facts.machine.user.1,
                above.display()
            ),
            format!(
                "Make it: sudo install -d -m 0700 -o casement {dir}; or set data_dir to a folder that Casement's user may write."
            ),
        ),
        Ok(Folder::Closed(why)) => problem(
            why.clone(),
            format!(
                "Run this as the user that owns {dir} (for example: sudo -u casement casement doctor), or give the folder to Casement's user."
            ),
        ),
        Ok(Folder::There { writable: Err(why), owner, .. }) => problem(
            format!("{dir} cannot be written: {why}"),
            format!(
                "Make room, or let Casement's user write it: it belongs to {owner}; sudo chown -R casement {dir}."
            ),
        ),
        Ok(Folder::There { writable: Ok(()), owner, .. }) => {
            ok(format!("{dir} can be written; it belongs to {owner}"))
        }
    }
}

pub(super) fn folder_mode(facts: &Facts) -> Finding {
    let dir = facts.config.data_dir.display();
    match &facts.folder {
        Ok(Folder::There { mode, .. }) => {
            let fix = format!("Close it: sudo chmod 0700 {dir}.");
            match mode & 0o077 {
                0 => ok(format!("{mode:04o}: nobody else may enter")),
                open if open & 0o007 != 0 => problem(
                    format!("{mode:04o}: everybody on this machine may look at readings and tokens in {dir}"),
                    fix,
                ),
                _ => warning(format!("{mode:04o}: the group may look into {dir}"), fix),
            }
        }
        Ok(Folder::Missing { .. }) => skipped("there is no data folder yet"),
        Ok(Folder::Closed(_)) => skipped("the data folder cannot be entered"),
        Err(why) => unknown(why),
    }
}

pub(super) fn private_files(facts: &Facts) -> Finding {
    let files = match &facts.folder {
        Ok(Folder::There { private_files, .. }) => private_files,
        Ok(Folder::Missing { .. }) => return skipped("there is no data folder yet"),
        Ok(Folder::Closed(_)) => return skipped("the data folder cannot be entered"),
        Err(why) => return unknown(why),
    };
    // A key of somebody else's may be for a group (ssl-cert); it is never for everybody.
    let own = |file: &std::path::Path| file.starts_with(&facts.config.data_dir);
    let open = |bits: u32, ours: bool| -> Vec<String> {
        let bad = files.iter().filter(|(file, mode)| mode & bits != 0 && (!ours || own(file)));
        bad.map(|(file, _)| file.display().to_string()).collect()
    };
    let (everybody, group) = (open(0o007, false), open(0o070, true));
    let fix = |files: &[String]| {
        format!(
            "Close them: sudo chmod 0600 {}; and if others were on this machine, get a new certificate: `casement cert renew`.",
            files.join(" ")
        )
    };
    if !everybody.is_empty() {
        return problem(format!("everybody on this machine may read {}", list(&everybody)), fix(&everybody));
    }
    if !group.is_empty() {
        return warning(format!("the group may read {}", list(&group)), fix(&group));
    }
    match files.len() {
        0 => ok("there are none yet"),
        count => ok(format!("{count} files, each for its owner alone")),
    }
}

pub(super) fn disk(facts: &Facts) -> Finding {
    let space = match &facts.space {
        Ok(space) => space,
        Err(why) => return unknown(why),
    };
    let dir = facts.config.data_dir.display();
    let mut text = format!("{} of {} free", bytes(space.free), bytes(space.total));
    let growth = match &facts.store {
        Ok(Store::Open(kept)) => kept.growth,
        _ => Growth::default(),
    };
    // What the last week's readings take, a day.
    let days_left = space.free.checked_div(growth.per_day);
    if let Some(days) = days_left {
        let left = match days {
            0..=729 => format!("{days} days"),
            _ => format!("{} years", days / 365),
        };
        text = format!("{text}; the store grows by {} a day, which lasts {left}", bytes(growth.per_day));
    }
    let fix = format!(
        "Make room on the file system of {dir}: `sudo journalctl --vacuum-size=100M` and `sudo apt-get clean` free some; `du -xh / | sort -h | tail` shows the rest; or enlarge the disk."
    );
    if space.free < SPACE_NONE {
        return problem(format!("{text}: the disk is full"), fix);
    }
    if space.free < SPACE_MIN
        || space.free < space.total / 10
        || days_left.is_some_and(|days| days < DAYS_MIN)
    {
        return warning(text, fix);
    }
    ok(text)
}

pub(super) fn inodes(facts: &Facts) -> Finding {
    match &facts.space {
        Err(why) => unknown(why),
        Ok(space) if space.files == 0 => ok("the file system has no limit"),
        Ok(space) => {
            let text = format!("{} of {} may still be made", space.free_files, space.files);
            let fix = "Remove files, most likely many small ones: `sudo du --inodes -x / | sort -n | tail` shows where they are.";
            match space.free_files {
                0..100 => problem(text, fix),
                free if free < space.files / 20 => warning(text, fix),
                _ => ok(text),
            }
        }
    }
}

pub(super) fn memory(facts: &Facts) -> Finding {
    let Some((total, available)) = facts.machine.memory else { return skipped("the system does not say") };
    let text = format!("{} of {} to be had", bytes(available), bytes(total));
    if available < MEMORY_MIN || available < total / 20 {
        return warning(
            text,
            "Stop what else runs here, add swap, or take a larger machine: `ps aux --sort=-rss | head` shows who needs most.",
        );
    }
    ok(text)
}

pub(super) fn clock(facts: &Facts) -> Finding {
    if facts.acme().is_none() {
        return super::no_authority(facts);
    }
    let ahead = match &facts.authority {
        Ok(Ok(greeting)) => greeting.ahead_ms,
        Ok(Err(_)) => return skipped("the authority could not be asked for the time"),
        Err(why) => return unknown(why),
    };
    let Some(ahead) = ahead else { return skipped("the authority does not tell the time") };
    let way = if ahead < 0 { "behind" } else { "ahead of" };
    #[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
    let far = match ahead.abs() {
        ms @ 0..120_000 => format!("{:.1} s", ms as f64 / 1000.0),
        ms => span(ms),
    };
    let text = format!("{far} {way} the authority's");
    let fix =
        "Let the system keep the time: sudo timedatectl set-ntp true; `timedatectl` shows whether it does.";
    match ahead.abs() {
        0..=CLOCK_ODD_MS => {
            ok(if ahead.abs() < 1500 { "agrees with the authority's".to_owned() } else { text })
        }
        ms if ms <= CLOCK_WRONG_MS => warning(text, fix),
        _ => problem(format!("{text}: certificates and readings will seem to be from another time"), fix),
    }
}

pub(super) fn dates(facts: &Facts) -> Finding {
    let fix = "Set the clock: sudo timedatectl set-ntp true (without a network: sudo date --set \"2026-11-22 10:00\").";
    let now = facts.now_ms;
    let today = time::rfc3339(now).chars().take(16).collect::<String>().replace('T', " ") + " UTC";
    if now < WRITTEN_MS {
        return problem(format!("{today}: before this program was written"), fix);
    }
    if now > FAR_MS {
        return problem(format!("{today}: far in the future"), fix);
    }
    // A certificate that was made here cannot be from tomorrow.
    let made_here = !matches!(facts.config.tls.source, TlsSource::Files { .. });
    match facts.good_certificate().filter(|_| made_here) {
        Some(certificate) if now + CLOCK_WRONG_MS < certificate.not_before_ms => {
            problem(format!("{today}: before this gateway's own certificate begins"), fix)
        }
        _ => ok(today),
    }
}
