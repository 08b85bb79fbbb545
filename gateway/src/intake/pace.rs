//! When the writer commits what waits. Every commit is an fsync, and a small cloud disk or a memory card sustains some
//! forty of those a second; but a device that waits for its acknowledgement should not wait for others that may never
//! come. Pure: times are arguments, in microseconds of a clock that never jumps.
//!
//! * Nothing was committed for a window: at once. A quiet gateway acknowledges in the time of one fsync.
//! * Otherwise when the window has passed. It is [`WINDOW_US`], twenty commits a second, and wider when an fsync takes
//!   long: the disk is busy with us at most half of the time.
//! * Earlier when many wait ([`CROWD`]) or when some wait ([`GROUP`]) and nobody else has come for a while
//!   ([`QUIET_US`]): then whoever sends has sent, and waits for the answer.

/// Pause between the beginnings of two commits, in microseconds: twenty a second.
pub(super) const WINDOW_US: u64 = 50_000;

/// The widest window, in microseconds, however slow the disk.
const WINDOW_US_MAX: u64 = 1_000_000;

/// Readings that may not be kept waiting for the window.
pub(super) const CROWD: usize = 256;

/// Readings that are worth a commit of their own once nobody else comes.
const GROUP: usize = 16;

/// How long nobody may have come for that, in microseconds.
const QUIET_US: u64 = 5_000;

/// How much the last commit counts in the estimate of how long one takes: a quarter.
const WEIGHT: u64 = 4;

/// What is known of the disk and of the last commit.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    /// How long a commit takes, smoothed, in microseconds.
    takes_us: u64,
    /// When the last one began.
    begun_us: Option<u64>,
}

/// What waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Readings.
    pub(super) readings: usize,
    /// When the last of them came.
    pub(super) newest_us: u64,
}

impl Pace {
    /// When to commit what waits; a time that has passed means now.
    pub(super) fn due_us(&self, waiting: Waiting) -> u64 {
        let Some(begun_us) = self.begun_us else { return 0 };
        // Half of the time is the disk's own.
        let rested_us = begun_us.saturating_add(self.takes_us.saturating_mul(2).min(WINDOW_US_MAX));
        let window_us = rested_us.max(begun_us.saturating_add(WINDOW_US));
        if waiting.readings >= CROWD {
            return rested_us;
        }
        if waiting.readings >= GROUP {
            let quiet_us = waiting.newest_us.saturating_add(QUIET_US.max(self.takes_us));
            return window_us.min(rested_us.max(quiet_us));
        }
        window_us
    }

    /// Takes note of a commit.
    pub(super) fn committed(&mut self, begun_us: u64, ended_us: u64) {
        let took_us = ended_us.saturating_sub(begun_us);
        self.takes_us = match self.begun_us {
            None => took_us,
            Some(_) => self.takes_us - self.takes_us / WEIGHT + took_us / WEIGHT,
        };
        self.begun_us = Some(begun_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    /// Runs readings that come at these times (open loop) against a disk that takes so long. Gives the commits in the
    /// last second and the longest wait from arrival to acknowledgement.
    fn open_loop(arrivals: &[u64], takes_us: u64) -> (usize, u64) {
        let mut pace = Pace::default();
        let (mut at, mut commits, mut longest) = (0, Vec::new(), 0);
        let mut free_us = 0;
        while at < arrivals.len() {
            // What has come when the writer looks, then what comes until the commit is due.
            let mut until = at + 1;
            let due = loop {
                let waiting = Waiting { readings: until - at, newest_us: arrivals[until - 1] };
                let due = pace.due_us(waiting).max(arrivals[at]).max(free_us);
                match arrivals.get(until) {
                    Some(next) if *next <= due => until += 1,
                    _ => break due,
                }
            };
            free_us = due + takes_us;
            pace.committed(due, free_us);
            commits.push(due);
            longest = longest.max(free_us - arrivals[at]);
            at = until;
        }
        let end = *arrivals.last().unwrap();
        (commits.iter().filter(|commit| **commit + SECOND > end).count(), longest)
    }

    /// So many senders, each of which sends again as soon as it is answered. Gives readings a second.
    fn closed_loop(senders: usize, takes_us: u64, think_us: u64) -> u64 {
        let mut pace = Pace::default();
        let (mut now, mut done) = (0, 0);
        while now < 10 * SECOND {
            let newest_us = now + think_us;
            let due = pace.due_us(Waiting { readings: senders, newest_us }).max(newest_us);
            pace.committed(due, due + takes_us);
            now = due + takes_us;
            done += senders as u64;
        }
        done * SECOND / now
    }

    fn every(us: u64, seconds: u64) -> Vec<u64> {
        (0..seconds * SECOND / us).map(|n| SECOND + n * us).collect()
    }

    #[test]
    fn an_idle_gateway_commits_at_once() {
        let (_, longest) = open_loop(&every(100_000, 10), 1_000);
        assert_eq!(longest, 1_000);
    }

    #[test]
    fn steady_load_costs_about_twenty_commits_a_second() {
        for per_second in [30, 100, 300, 800, 2_000] {
            let (commits, longest) = open_loop(&every(SECOND / per_second, 10), 1_000);
            assert!((15..=26).contains(&commits), "{per_second} readings a second: {commits} commits");
            assert!(longest <= 60_000, "{per_second} readings a second: {longest} µs");
        }
    }

    #[test]
    fn a_slow_disk_is_left_alone_half_of_the_time() {
        for takes_us in [10_000, 40_000, 100_000, 400_000] {
            let (commits, longest) = open_loop(&every(SECOND / 500, 20), takes_us);
            let most = (SECOND / (2 * takes_us)).clamp(1, 20) as usize;
            assert!(commits <= most + 1, "{takes_us} µs: {commits} commits");
            assert!(longest <= 4 * takes_us + 60_000, "{takes_us} µs: {longest} µs");
        }
    }

    #[test]
    fn who_waits_for_an_answer_is_not_kept_waiting_for_others() {
        assert!(closed_loop(1_000, 1_000, 1_000) >= 250_000);
        assert!(closed_loop(50, 1_000, 500) >= 6_000);
        assert!(closed_loop(16, 1_000, 500) >= 2_000);
        // A disk that takes 20 ms is given its rest.
        assert!(closed_loop(1_000, 20_000, 1_000) <= 26_000);
    }

    #[test]
    fn nothing_overflows() {
        let mut pace = Pace::default();
        pace.committed(0, u64::MAX);
        pace.committed(u64::MAX, 0);
        let _due = pace.due_us(Waiting { readings: usize::MAX, newest_us: u64::MAX });
    }
}
