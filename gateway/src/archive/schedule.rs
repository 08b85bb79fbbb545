//! When the next backup is due, how it is called, and which old one goes. Pure.

use crate::telemetry::time::{HOUR_MS, rfc3339};
use jiff::Timestamp;

/// How long a gateway that has just started is left alone, in milliseconds; less when backups are due more often.
const SETTLE_MS: i64 = 600_000;

/// Shortest and longest pause after one that failed, in milliseconds.
const AGAIN_MS: (i64, i64) = (60_000, HOUR_MS);

const BEFORE: &str = "casement-";
const BEHIND: &str = ".backup";

/// The name of a backup made then: names in order are backups in order of time.
pub fn name(made_ms: i64) -> String {
    let second = made_ms - made_ms.rem_euclid(1000);
    format!("{BEFORE}{}{BEHIND}", rfc3339(second).replace(['-', ':'], ""))
}

/// When a backup of this name was made; `None` when the name is none of ours.
pub fn made_at(name: &str) -> Option<i64> {
    let stamp = name.strip_prefix(BEFORE)?.strip_suffix(BEHIND)?;
    let part = |from: usize, to: usize| {
        stamp.get(from..to).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
    };
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4)?,
        part(4, 6)?,
        part(6, 8)?,
        part(9, 11)?,
        part(11, 13)?,
        part(13, 15)?
    );
    let made_ms = text.parse::<Timestamp>().ok()?.as_millisecond();
    // What would be written otherwise is somebody else's.
    (self::name(made_ms) == name).then_some(made_ms)
}

/// What is known of earlier backups.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past {
    /// When the newest good one was made.
    pub newest_ms: Option<i64>,
    /// When the last one failed, if none was good since.
    pub failed_ms: Option<i64>,
    /// When the gateway started.
    pub started_ms: i64,
}

/// When the next one is due, of one each `every_ms`.
pub fn due(every_ms: i64, past: Past, now_ms: i64) -> i64 {
    let settled = past.started_ms.saturating_add((every_ms / 10).min(SETTLE_MS));
    // One from the future was made when the clock was wrong: it says nothing.
    let newest = past.newest_ms.filter(|newest| *newest <= now_ms.saturating_add(every_ms));
    let wanted = newest.map_or(settled, |newest| newest.saturating_add(every_ms));
    let again = past
        .failed_ms
        .filter(|failed| *failed <= now_ms)
        .map_or(settled, |failed| failed.saturating_add((every_ms / 8).clamp(AGAIN_MS.0, AGAIN_MS.1)));
    wanted.max(settled).max(again)
}

/// Those that go when the newest `keep` stay; what is not called like one of ours stays in any case.
pub fn surplus(names: &[String], keep: usize) -> Vec<&String> {
    let mut ours: Vec<&String> = names.iter().filter(|name| made_at(name).is_some()).collect();
    ours.sort_unstable();
    ours.truncate(ours.len().saturating_sub(keep));
    ours
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::time::DAY_MS;

    /// 2026-11-23 01:20:00.
    const NOW: i64 = 1_795_396_800_000;

    #[test]
    fn names_are_in_order_of_time_and_others_are_not_ours() {
        assert_eq!(name(NOW + 1), "casement-20261123T012000Z.backup");
        assert_eq!(made_at(&name(NOW + 999)), Some(NOW));
        let mut names: Vec<_> =
            [DAY_MS * 400, 0, 1_000, DAY_MS, 59_000].map(|later| name(NOW + later)).into();
        let mut times: Vec<_> = names.iter().map(|name| made_at(name).unwrap()).collect();
        names.sort();
        times.sort_unstable();
        assert_eq!(names.iter().map(|name| made_at(name).unwrap()).collect::<Vec<_>>(), times);
        for other in [
            "casement-20261123T012000Z.backup.part",
            "casement-20261323T012000Z.backup",
            "casement-20261123 012000Z.backup",
            "casement-2026112äT012000Z.backup",
            "casement-.backup",
            "before-the-move.backup",
            "",
        ] {
            assert_eq!(made_at(other), None, "{other}");
        }
    }

    #[test]
    fn one_is_made_each_time_and_a_failure_is_tried_again_sooner() {
        let started = Past { started_ms: NOW - 10 * DAY_MS, ..Past::default() };
        let good = |ago: i64| Past { newest_ms: Some(NOW - ago), ..started };
        for (what, past, expected) in [
            ("none yet", started, started.started_ms + SETTLE_MS),
            ("an hour ago", good(HOUR_MS), NOW + 23 * HOUR_MS),
            ("long ago", good(3 * DAY_MS), NOW - 2 * DAY_MS),
            (
                "long ago, and the gateway starts",
                Past { started_ms: NOW, ..good(3 * DAY_MS) },
                NOW + SETTLE_MS,
            ),
            ("failed", Past { failed_ms: Some(NOW), ..good(2 * DAY_MS) }, NOW + HOUR_MS),
            ("failed, with none yet", Past { failed_ms: Some(NOW), ..started }, NOW + HOUR_MS),
            ("from the future", good(-3 * DAY_MS), started.started_ms + SETTLE_MS),
            (
                "failed in the future",
                Past { failed_ms: Some(NOW + DAY_MS), ..good(2 * DAY_MS) },
                NOW - DAY_MS,
            ),
        ] {
            assert_eq!(due(DAY_MS, past, NOW), expected, "{what}");
        }
        // Each minute: a start waits for seconds, and a failure for a minute.
        assert_eq!(due(60_000, Past { started_ms: NOW, ..Past::default() }, NOW), NOW + 6_000);
        let failed = Past { failed_ms: Some(NOW), ..started };
        assert_eq!(due(60_000, failed, NOW), NOW + 60_000);
    }

    #[test]
    fn the_newest_stay_and_so_does_what_is_not_ours() {
        let mut names: Vec<_> = (0..5).rev().map(|day| name(NOW + day * DAY_MS)).collect();
        names.push("holiday.backup".to_owned());
        assert_eq!(surplus(&names, 3), [&name(NOW), &name(NOW + DAY_MS)]);
        assert!(
            surplus(&names, 5).is_empty() && surplus(&names, 50).is_empty() && surplus(&[], 0).is_empty()
        );
    }
}
