//! When a virtual device is out of reach of its Wi-Fi. Pure.

use super::chance::Chance;

/// The outages of one device, one after another, in milliseconds since its live phase began.
#[derive(Clone, Debug)]
pub(super) struct Outages {
    chance: Option<Chance>,
    down_ms: u64,
    up_ms: u64,
}

impl Outages {
    /// A network that never fails.
    pub(super) const fn none() -> Self {
        Self { chance: None, down_ms: u64::MAX, up_ms: u64::MAX }
    }

    /// A network that fails once.
    #[cfg(test)]
    pub(super) const fn once(down_ms: u64, up_ms: u64) -> Self {
        Self { chance: None, down_ms, up_ms }
    }

    /// A network that fails for half a minute to five minutes, every twenty minutes or so. With `soon`, the first time
    /// is after a minute, so that somebody who just started the demonstration sees readings arrive late.
    pub(super) fn some(seed: u64, soon: bool) -> Self {
        let mut outages = Self { chance: Some(Chance::at(seed, 8, 0)), down_ms: 0, up_ms: 0 };
        outages.plan();
        if soon {
            (outages.down_ms, outages.up_ms) = (60_000, 150_000);
        }
        outages
    }

    /// Whether the network is there, and when that changes next.
    pub(super) fn at(&mut self, now_ms: u64) -> (bool, u64) {
        while now_ms >= self.up_ms {
            if self.chance.is_none() {
                return (true, u64::MAX);
            }
            self.plan();
        }
        if now_ms < self.down_ms { (true, self.down_ms) } else { (false, self.up_ms) }
    }

    fn plan(&mut self) {
        let Some(chance) = &mut self.chance else { return };
        self.down_ms = self.up_ms.saturating_add(chance.between(300_000.0, 2_100_000.0) as u64);
        self.up_ms = self.down_ms.saturating_add(chance.between(30_000.0, 300_000.0) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_come_and_go_and_repeat_by_seed() {
        let walk = |mut outages: Outages| {
            let (mut now_ms, mut seen) = (0, Vec::new());
            while seen.len() < 20 {
                let (up, until) = outages.at(now_ms);
                assert!(until > now_ms);
                seen.push((up, until));
                now_ms = until;
            }
            seen
        };
        let seen = walk(Outages::some(5, true));
        assert_eq!(seen[..2], [(true, 60_000), (false, 150_000)]);
        assert!(seen.windows(2).all(|pair| pair[0].0 != pair[1].0));
        assert_eq!(seen, walk(Outages::some(5, true)));
        assert_eq!(Outages::none().at(1_000_000), (true, u64::MAX));
    }
}
