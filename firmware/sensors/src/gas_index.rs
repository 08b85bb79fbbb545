//! From the raw signal of a metal-oxide sensor to an index: 100 (VOC) or 1 (NOx) is what is usual here, 500 the most.
//!
//! The algorithm and its constants are Sensirion's, "Gas Index Algorithm" 3.2.2, Copyright (c) 2022 Sensirion AG,
//! published under the BSD 3-Clause licence (`LICENSE-gas-index`). This is written anew for values of one second, without what can be tuned,
//! in single precision like the original, whose results the test has. The one crate for it,
//! gas-index-algorithm 0.1.3, approximates square roots to 5 % once a second, which adds up: on the test's signal its VOC
//! index is off by up to 134.

/// Which plate the raw signal is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Volatile organic compounds.
    Voc,
    /// Nitrogen oxides.
    Nox,
}

/// What differs between the two.
#[derive(Debug)]
struct Constants {
    offset: f32,
    raw_minimum: u16,
    gating_max_minutes: f32,
    init_mean_s: f32,
    init_variance_s: f32,
    gating_threshold: f32,
    tau_initial_mean_s: f32,
    sigmoid_k: f32,
    sigmoid_x0: f32,
}

static VOC: Constants = Constants {
    offset: 100.0,
    raw_minimum: 20_000,
    gating_max_minutes: 180.0,
    init_mean_s: 2_700.0,
    init_variance_s: 5_220.0,
    gating_threshold: 340.0,
    tau_initial_mean_s: 20.0,
    sigmoid_k: -0.0065,
    sigmoid_x0: 213.0,
};

static NOX: Constants = Constants {
    offset: 1.0,
    raw_minimum: 10_000,
    gating_max_minutes: 720.0,
    init_mean_s: 17_100.0,
    init_variance_s: 20_520.0,
    gating_threshold: 30.0,
    tau_initial_mean_s: 1_200.0,
    sigmoid_k: -0.0101,
    sigmoid_x0: 614.0,
};

/// An index that is fed once a second.
#[derive(Debug)]
pub(crate) struct GasIndex {
    kind: Kind,
    seconds: u8,
    raw: f32,
    index: f32,
    usual: Usual,
    calm: Calm,
}

impl GasIndex {
    pub(crate) const fn new(kind: Kind) -> Self {
        Self { kind, seconds: 0, raw: 0.0, index: 0.0, usual: Usual::new(), calm: Calm { x: None } }
    }

    /// Takes the raw signal of the next second; gives the index, 1 to 500, once there is one.
    pub(crate) fn take(&mut self, raw: u16) -> Option<u16> {
        if self.seconds < BLACKOUT_S {
            self.seconds += 1;
            return None;
        }
        let constants = match self.kind {
            Kind::Voc => &VOC,
            Kind::Nox => &NOX,
        };
        if (1..RAW_END).contains(&raw) {
            self.raw = f32::from(raw.saturating_sub(constants.raw_minimum).clamp(1, RAW_SPAN));
        }
        let begun = self.usual.mean().is_some();
        let index = if self.kind == Kind::Voc || begun {
            self.scaled(constants, self.deviation())
        } else {
            constants.offset
        };
        self.index = self.calm.take(index).max(0.5);
        if self.raw > 0.0 {
            self.usual.take(self.raw, self.index, constants);
        }
        Some((self.index + 0.5) as u16)
    }

    /// How unusual the signal is.
    fn deviation(&self) -> f32 {
        let above = self.raw - self.usual.mean().unwrap_or(0.0);
        match self.kind {
            Kind::Voc => above / -(self.usual.deviation + 220.0) * GAIN,
            Kind::Nox => above / 2_000.0 * GAIN,
        }
    }

    /// Between 0 and 500, with what is usual at the offset.
    fn scaled(&self, constants: &Constants, sample: f32) -> f32 {
        let x = constants.sigmoid_k * (sample - constants.sigmoid_x0);
        if x < -50.0 {
            500.0
        } else if x > 50.0 {
            0.0
        } else if sample >= 0.0 {
            let shift = match self.kind {
                Kind::Nox => 500.0 / 499.0 * (1.0 - constants.offset),
                Kind::Voc => (500.0 - 5.0 * constants.offset) / 4.0,
            };
            (500.0 + shift) / (1.0 + libm::expf(x)) - shift
        } else {
            500.0 / (1.0 + libm::expf(x))
        }
    }
}

/// Mean and deviation of the signal over half a day; what is far above the usual hardly counts.
#[derive(Debug)]
struct Usual {
    begun: bool,
    base: f32,
    mean: f32,
    deviation: f32,
    uptime_gamma_s: f32,
    uptime_gating_s: f32,
    gating_minutes: f32,
}

impl Usual {
    const fn new() -> Self {
        Self {
            begun: false,
            base: 0.0,
            mean: 0.0,
            deviation: 50.0,
            uptime_gamma_s: 0.0,
            uptime_gating_s: 0.0,
            gating_minutes: 0.0,
        }
    }

    fn mean(&self) -> Option<f32> {
        self.begun.then_some(self.mean + self.base)
    }

    fn take(&mut self, raw: f32, index: f32, constants: &Constants) {
        if !self.begun {
            self.begun = true;
            self.base = raw;
            return;
        }
        if self.mean.abs() >= 100.0 {
            self.base += self.mean;
            self.mean = 0.0;
        }
        let (gamma_mean, gamma_variance) = self.gammas(index, constants);
        let delta = (raw - self.base - self.mean) / GAMMA_SCALING;
        let spread = self.deviation + delta.abs();
        let scaling = if spread > 1_440.0 { (spread / 1_440.0) * (spread / 1_440.0) } else { 1.0 };
        self.deviation = libm::sqrtf(scaling * (GAMMA_SCALING - gamma_variance))
            * libm::sqrtf(
                self.deviation * (self.deviation / (GAMMA_SCALING * scaling))
                    + gamma_variance * delta / scaling * delta,
            );
        self.mean += gamma_mean * delta / GAMMA_MEAN_SCALING;
    }

    /// How much the next value counts for the mean and for the variance.
    fn gammas(&mut self, index: f32, constants: &Constants) -> (f32, f32) {
        for uptime in [&mut self.uptime_gamma_s, &mut self.uptime_gating_s] {
            if *uptime < UPTIME_MAX_S {
                *uptime += 1.0;
            }
        }
        let gating = |init_s: f32| {
            let threshold = constants.gating_threshold
                + (510.0 - constants.gating_threshold) * fades(self.uptime_gating_s, init_s, 0.01);
            fades(index, threshold, 0.09)
        };
        let young_mean = fades(self.uptime_gamma_s, constants.init_mean_s, 0.01);
        let young_variance = fades(self.uptime_gamma_s, constants.init_variance_s, 0.01);
        let initial_mean = GAMMA_MEAN_SCALING * GAMMA_SCALING / (constants.tau_initial_mean_s + 1.0);
        let gating_mean = gating(constants.init_mean_s);
        let mean = GAMMA_MEAN + (initial_mean - GAMMA_MEAN) * young_mean;
        let variance =
            GAMMA_VARIANCE + (GAMMA_INITIAL_VARIANCE - GAMMA_VARIANCE) * (young_variance - young_mean);
        let gammas = (gating_mean * mean, gating(constants.init_variance_s) * variance);
        self.gating_minutes = (self.gating_minutes + ((1.0 - gating_mean) * 1.3 - 0.3) / 60.0).max(0.0);
        if self.gating_minutes > constants.gating_max_minutes {
            self.uptime_gating_s = 0.0;
        }
        gammas
    }
}

/// A low pass that follows large changes fast and small ones slowly.
#[derive(Debug)]
struct Calm {
    x: Option<[f32; 3]>,
}

impl Calm {
    fn take(&mut self, sample: f32) -> f32 {
        let [fast, slow, out] = self.x.unwrap_or([sample; 3]);
        let follow = |x: f32, tau_s: f32| {
            let share = 1.0 / (tau_s + 1.0);
            (1.0 - share) * x + share * sample
        };
        let (fast, slow) = (follow(fast, FAST_S), follow(slow, SLOW_S));
        let tau_s = (SLOW_S - FAST_S) * libm::expf(-0.2 * (fast - slow).abs()) + FAST_S;
        let out = follow(out, tau_s);
        self.x = Some([fast, slow, out]);
        out
    }
}

/// From 1 far below `x0` to 0 far above it.
fn fades(sample: f32, x0: f32, k: f32) -> f32 {
    let x = k * (sample - x0);
    if x < -50.0 {
        1.0
    } else if x > 50.0 {
        0.0
    } else {
        1.0 / (1.0 + libm::expf(x))
    }
}

/// The original counts to 45 from 0, both included.
const BLACKOUT_S: u8 = 46;
const RAW_END: u16 = 65_000;
const RAW_SPAN: u16 = 32_767;
const GAIN: f32 = 230.0;
const GAMMA_SCALING: f32 = 64.0;
const GAMMA_MEAN_SCALING: f32 = 8.0;
/// One second as a part of twelve hours, in hours.
const SHARE: f32 = (1.0 / 3_600.0) / (12.0 + 1.0 / 3_600.0);
const GAMMA_MEAN: f32 = GAMMA_MEAN_SCALING * GAMMA_SCALING * SHARE;
const GAMMA_VARIANCE: f32 = GAMMA_SCALING * SHARE;
const GAMMA_INITIAL_VARIANCE: f32 = GAMMA_SCALING / 2_501.0;
const UPTIME_MAX_S: f32 = 32_766.0;
const FAST_S: f32 = 20.0;
const SLOW_S: f32 = 500.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VOC_EXPECTED: &[(u32, u16)] = &[
        (499, 131),
        (999, 101),
        (7_499, 484),
        (7_999, 100),
        (14_999, 500),
        (21_999, 497),
        (36_499, 499),
        (43_499, 483),
        (65_999, 96),
        (86_999, 500),
        (99_999, 98),
    ];
    const NOX_EXPECTED: &[(u32, u16)] = &[
        (499, 2),
        (999, 1),
        (7_499, 1),
        (7_999, 2),
        (14_999, 3),
        (21_999, 2),
        (36_499, 3),
        (43_499, 1),
        (65_999, 2),
        (86_999, 4),
        (99_999, 1),
    ];

    /// A day and more of noise, with an event of ten minutes each two hours. The expected numbers are what the original
    /// in C says to the same signal (sensirion-gas-index-algorithm 3.2.2).
    fn trace(kind: Kind) -> impl Iterator<Item = (u32, Option<u16>)> {
        let mut index = GasIndex::new(kind);
        let mut noise = 12_345_u32;
        (0..100_000).map(move |second| {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            let event = if second % 7_200 < 600 { (second % 7_200) * 3 } else { 0 };
            let noise = noise % 61;
            let raw = match kind {
                Kind::Voc => 30_000 + noise - 30 - event,
                Kind::Nox => 15_000 + noise - 30 + event,
            };
            (second, index.take(u16::try_from(raw).unwrap()))
        })
    }

    #[test]
    fn it_says_what_the_original_says() {
        for (kind, expected) in [(Kind::Voc, VOC_EXPECTED), (Kind::Nox, NOX_EXPECTED)] {
            let seconds: std::vec::Vec<u32> = expected.iter().map(|(second, _)| *second).collect();
            let said: std::vec::Vec<(u32, u16)> = trace(kind)
                .filter(|(second, _)| seconds.contains(second))
                .map(|(second, index)| (second, index.unwrap_or(0)))
                .collect();
            assert_eq!(said, expected, "{kind:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_signal_the_index_stays_in_its_range(raws: std::vec::Vec<u16>, nox: bool) {
            let mut index = GasIndex::new(if nox { Kind::Nox } else { Kind::Voc });
            for raw in raws.iter().cycle().take(if raws.is_empty() { 0 } else { 2_000 }) {
                prop_assert!(index.take(*raw).is_none_or(|index| (1..=500).contains(&index)));
            }
        }
    }
}
