//! One sample out of what several sensors say.
//!
//! 1. Of two sensors that give the same quantity the one that is trusted more counts; of two that are trusted alike the one
//!    whose [`Offer`](crate::Offer) has the smaller error; of two alike in that the one found first. Estimated and measured
//!    CO2 are different quantities and never stand in for each other.
//! 2. A sample has one state: that of its leading quantity, which is the first of [`LEADING`] that any fitted sensor gives.
//!    Values that are trusted less are left out, so that a gas sensor in its first twelve hours does not make measured CO2
//!    doubtful, nor hides behind it.
//! 3. When no sensor gives the leading quantity any more, the state is `failed`, whatever else is measured.

use crate::port::{Spec, value};
use casement_core::record::Values;
use casement_core::{Fault, Sample};
use casement_proto::State;

/// What a device is for, the most important first.
const LEADING: [&str; 6] = ["co2", "eco2", "pm2_5", "voc_index", "temperature", "pressure"];

/// What one sensor says at the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) spec: &'static Spec,
    /// Its values; `None` while it has none yet.
    pub(crate) said: Result<Option<(&'a Values, State)>, Fault>,
}

/// The value of a quantity that counts, and how far to trust it.
pub(crate) fn best(sources: &[Source<'_>], quantity: &str) -> Option<(f64, State)> {
    let offered = sources.iter().filter_map(|source| {
        let (values, state) = source.said.ok()??;
        Some((value(values, quantity)?, state, source.spec.offer(quantity)?.error))
    });
    offered
        .min_by(|(_, a, a_error), (_, b, b_error)| {
            distrust(*a).cmp(&distrust(*b)).then(a_error.total_cmp(b_error))
        })
        .map(|(value, state, _)| (value, state))
}

/// Everything at once. Without any sensor, or when all of them failed, the fault.
pub(crate) fn merge(sources: &[Source<'_>]) -> Result<Sample, Fault> {
    let leading = LEADING.iter().find(|quantity| sources.iter().any(|it| it.spec.offer(quantity).is_some()));
    let leading = *leading.ok_or(Fault::Bus)?;
    let leaders = || sources.iter().filter(|it| it.spec.offer(leading).is_some());
    let (state, fault) = match best(sources, leading) {
        Some((_, state)) => (state, None),
        None if leaders().any(|it| matches!(it.said, Ok(None | Some((_, State::WarmingUp))))) => {
            (State::WarmingUp, None)
        }
        // It answers, but what it says cannot be true.
        None => (State::Failed, leaders().find_map(|it| it.said.err()).or(Some(Fault::Range))),
    };
    let mut values = Values::new();
    for (quantity, _) in sources.iter().filter_map(|it| it.said.ok()?).flat_map(|(values, _)| values) {
        if value(&values, quantity.name()).is_none()
            && let Some((number, its_state)) = best(sources, quantity.name())
            && distrust(its_state) <= distrust(state)
        {
            let _full = values.push((*quantity, number));
        }
    }
    match fault {
        Some(fault) if values.is_empty() => Err(fault),
        _ => Ok(Sample { state, values, fault }),
    }
}

const fn distrust(state: State) -> u8 {
    match state {
        State::Ok => 0,
        State::Conditioning => 1,
        State::Calibrating => 2,
        State::WarmingUp => 3,
        State::Suspect => 4,
        State::Failed => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::{Offer, offer, values};

    const ANY: (f64, f64) = (0.0, 100_000.0);
    const fn spec(name: &'static str, offers: &'static [Offer]) -> Spec {
        Spec { name, interval_ms: 1, patience_ms: 1, warm_up_ms: 0, conditioning_ms: 0, offers }
    }
    static SCD41: Spec = spec("SCD41", &[offer("co2", 75.0, ANY), offer("temperature", 0.8, ANY)]);
    static MHZ19: Spec = spec("MH-Z19", &[offer("co2", 100.0, ANY)]);
    static SHT: Spec = spec("SHT", &[offer("temperature", 0.2, ANY), offer("humidity", 1.8, ANY)]);
    static SGP30: Spec = spec("SGP30", &[offer("eco2", 150.0, ANY), offer("tvoc", 50.0, ANY)]);

    type Said<'a> = (&'static Spec, Result<Option<(&'a [(&'a str, f64)], State)>, Fault>);

    /// The sample as a line of text.
    fn merged(said: &[Said<'_>]) -> std::string::String {
        let kept: std::vec::Vec<_> = said
            .iter()
            .map(|(spec, said)| (*spec, said.map(|it| it.map(|(list, state)| (values(list), state)))))
            .collect();
        let sources: std::vec::Vec<_> = kept
            .iter()
            .map(|(spec, said)| Source {
                spec,
                said: said
                    .as_ref()
                    .map(|it| it.as_ref().map(|(values, state)| (values, *state)))
                    .map_err(|it| *it),
            })
            .collect();
        match merge(&sources) {
            Ok(sample) => {
                let mut line = std::string::String::from(sample.state.as_str());
                if let Some(fault) = sample.fault {
                    line += &std::format!("({fault:?})");
                }
                for (quantity, value) in &sample.values {
                    line += &std::format!(" {}={value}", quantity.name());
                }
                line
            }
            Err(fault) => std::format!("{fault:?}"),
        }
    }

    #[test]
    fn one_state_the_best_source_and_nothing_mixed() {
        const C: &[(&str, f64)] = &[("co2", 800.0), ("temperature", 24.0)];
        const T: &[(&str, f64)] = &[("temperature", 21.5), ("humidity", 40.0)];
        const G: &[(&str, f64)] = &[("eco2", 650.0), ("tvoc", 120.0)];
        const M: &[(&str, f64)] = &[("co2", 830.0)];
        use State::{Conditioning, Failed, Ok as Fine, Suspect, WarmingUp};
        for (said, expected) in [
            (&[][..], "Bus"),
            (&[(&SCD41, Ok(Some((C, Fine))))], "ok co2=800 temperature=24"),
            // The better thermometer.
            (
                &[(&SCD41, Ok(Some((C, Fine)))), (&SHT, Ok(Some((T, Fine))))],
                "ok co2=800 temperature=21.5 humidity=40",
            ),
            // The better CO2 sensor, wherever it stands; the other one as soon as this one is doubtful, or gone.
            (&[(&MHZ19, Ok(Some((M, Fine)))), (&SCD41, Ok(Some((C, Fine))))], "ok co2=800 temperature=24"),
            (&[(&SCD41, Ok(Some((C, Suspect)))), (&MHZ19, Ok(Some((M, Fine))))], "ok co2=830"),
            (&[(&SCD41, Err(Fault::Bus)), (&MHZ19, Ok(Some((M, Fine))))], "ok co2=830"),
            // A gas sensor that conditions neither spoils measured CO2 nor hides behind it.
            (
                &[(&SCD41, Ok(Some((C, Fine)))), (&SGP30, Ok(Some((G, Conditioning))))],
                "ok co2=800 temperature=24",
            ),
            (
                &[(&SCD41, Ok(Some((C, Fine)))), (&SGP30, Ok(Some((G, Fine))))],
                "ok co2=800 temperature=24 eco2=650 tvoc=120",
            ),
            (
                &[(&SGP30, Ok(Some((G, Conditioning)))), (&SHT, Ok(Some((T, Fine))))],
                "conditioning eco2=650 tvoc=120 temperature=21.5 humidity=40",
            ),
            // An estimate does not stand in for a measurement that failed.
            (&[(&SCD41, Err(Fault::Crc)), (&SGP30, Ok(Some((G, Fine))))], "failed(Crc) eco2=650 tvoc=120"),
            (&[(&SCD41, Err(Fault::Crc)), (&SHT, Err(Fault::Bus))], "Crc"),
            (&[(&SCD41, Ok(None)), (&SHT, Ok(Some((T, Fine))))], "warming_up temperature=21.5 humidity=40"),
            (&[(&SCD41, Ok(None))], "warming_up"),
            (&[(&SCD41, Ok(Some((C, WarmingUp))))], "warming_up co2=800 temperature=24"),
            (&[(&SHT, Err(Fault::Timeout))], "Timeout"),
            // It answers, and its CO2 cannot be true: at first that is nothing unusual.
            (&[(&SCD41, Ok(Some((&[("temperature", 21.0)], WarmingUp))))], "warming_up temperature=21"),
            (&[(&SCD41, Ok(Some((&[("temperature", 21.0)], Fine))))], "failed(Range) temperature=21"),
            (&[(&SCD41, Ok(Some((&[], Fine))))], "Range"),
            (&[(&SCD41, Ok(Some((C, Failed))))], "failed co2=800 temperature=24"),
        ] {
            assert_eq!(merged(said), expected, "{said:?}");
        }
    }
}
