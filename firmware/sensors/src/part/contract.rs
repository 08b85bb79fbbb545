//! What every sensor of the tables must do, shown with what it says on its wire.

use super::{Chip, Module, Table};
use crate::bench::{
    Chat, ChatLine, Counted, NO_AIR, Recording, Talk, TestBus, TestLine, module, run, talk, talk_after,
};
use crate::care::Care;
use crate::port::{Air, Tuning, value};
use crate::wire::{Bus, Line};
use casement_core::record::Values;
use casement_core::{Fault, Millis};
use casement_proto::Quantity;
use embassy_futures::block_on;
use embedded_hal_async::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_async::i2c::{I2c, Operation, SevenBitAddress};
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use proptest::prelude::*;
use std::vec::Vec;

/// Every sensor on the bus; SGP41 beside SGP40, because it talks differently.
fn recordings() -> Vec<(usize, Recording)> {
    let all = [
        ("Scd30", super::scd30::tests::recording()),
        ("Scd4x", super::scd4x::tests::recording()),
        ("Sen66", super::sen66::tests::recording()),
        ("Sen5x", super::sen5x::tests::recording()),
        ("Sht4x", super::sht4x::tests::recording()),
        ("Sht3x", super::sht3x::tests::recording()),
        ("Bme280", super::bme280::tests::recording()),
        ("Bme680", super::bme680::tests::recording()),
        ("Sgp30", super::sgp30::tests::recording()),
        ("Sgp4x", super::sgp4x::tests::recording()),
        ("Sgp4x", super::sgp4x::tests::recording_41()),
    ];
    let kind = |name| <Chip as Table<TestBus>>::NAMES.iter().position(|it| *it == name);
    all.into_iter().map(|(name, it)| (kind(name).expect("it is in the table"), it)).collect()
}

fn talks() -> Vec<Talk> {
    std::vec![
        super::mhz19::tests::recording(),
        super::s8::tests::recording(),
        super::pmsx003::tests::recording(),
    ]
}

fn place(kind: usize) -> u8 {
    <Chip as Table<TestBus>>::places(kind)[0]
}

/// A sensor that was found and, if wanted, started.
fn fitted(kind: usize, recording: &Recording, started: bool) -> Chip {
    let mut chip =
        run(recording.probe.clone(), async |bus| Chip::probe(kind, bus, place(kind)).await).0.unwrap();
    if started {
        let result = run(recording.start.clone(), async |bus| chip.start(bus, &Tuning::default()).await).0;
        assert_eq!(result, Ok(()), "{}", recording.name);
    }
    chip
}

fn assert_values(values: &Values, expected: &[(&str, f64)], name: &str) {
    assert_eq!(values.len(), expected.len(), "{name}: {values:?}");
    for (quantity, number) in expected {
        let said = value(values, quantity).unwrap_or(f64::NAN);
        assert!((said - number).abs() <= 0.006, "{name}: {quantity} is {said}, not {number}");
    }
}

#[test]
fn every_sensor_of_the_tables_is_tested() {
    let recorded: std::collections::BTreeSet<_> = recordings().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(recorded.len(), Chip::KINDS);
    let talked: std::collections::BTreeSet<_> = talks().iter().map(|it| module(it.kind)).collect();
    assert_eq!(talked.len(), Module::KINDS);
}

#[test]
fn a_good_reading_is_read_after_the_time_of_the_datasheet() {
    for (kind, recording) in recordings() {
        let mut chip = fitted(kind, &recording, true);
        let name = recording.name;
        let (result, waited_ms) = run(recording.poll.clone(), async |bus| chip.poll(bus, &NO_AIR).await);
        assert_eq!(waited_ms, u64::from(recording.poll_waits_ms), "{name}");
        match result.unwrap() {
            Some(values) => assert_values(&values, recording.values, name),
            None => assert!(recording.values.is_empty(), "{name}"),
        }
    }
}

#[test]
fn nothing_new_is_no_value_and_no_fault() {
    for (kind, recording) in recordings() {
        if recording.idle.lines.is_empty() {
            continue;
        }
        let mut chip = fitted(kind, &recording, true);
        let said = run(recording.idle.clone(), async |bus| chip.poll(bus, &NO_AIR).await).0;
        assert_eq!(said, Ok(None), "{}", recording.name);
    }
}

#[test]
fn every_value_is_one_the_sensor_says_it_gives() {
    for (kind, recording) in recordings() {
        let chip = fitted(kind, &recording, false);
        let spec = <Chip as Table<TestBus>>::spec(&chip);
        for (quantity, number) in recording.values {
            let offer = spec.offer(quantity).unwrap_or_else(|| panic!("{}: {quantity}", spec.name));
            assert!((offer.span.0..=offer.span.1).contains(number), "{}: {quantity}", spec.name);
        }
        for offer in spec.offers {
            let quantity = Quantity::parse(offer.quantity).unwrap();
            let (low, high) = offer.span;
            assert!(low < high && offer.error > 0.0, "{}: {}", spec.name, offer.quantity);
            assert!(quantity.holds(low) && quantity.holds(high), "{}: {}", spec.name, offer.quantity);
            let custom = matches!(quantity, Quantity::Custom(_));
            assert_eq!(custom, offer.quantity == "gas_resistance_ohm", "{}", spec.name);
        }
        assert!(spec.interval_ms >= 1_000 && spec.patience_ms >= 2 * spec.interval_ms, "{}", spec.name);
    }
}

/// Runs a chat of which a part may not be reached.
fn run_some<R>(transactions: &[Transaction], doing: impl AsyncFnOnce(&mut TestBus) -> R) -> R {
    let mock = Mock::new(transactions);
    let result = block_on(doing(&mut Bus::new(mock.clone(), Counted::default())));
    // It insists on having been used up.
    std::mem::forget(mock);
    result
}

#[test]
fn one_wrong_bit_anywhere_is_noticed() {
    let mut flipped = 0;
    for (kind, recording) in recordings() {
        for (phase, chat) in [(0, &recording.probe), (1, &recording.start), (2, &recording.poll)] {
            for line in 0..chat.lines.len() {
                let (ChatLine::Read(bytes) | ChatLine::WriteRead(_, bytes)) = &chat.lines[line] else {
                    continue;
                };
                for bit in 0..bytes.len() * 8 {
                    let mut wrong: Chat = chat.clone();
                    if let ChatLine::Read(bytes) | ChatLine::WriteRead(_, bytes) = &mut wrong.lines[line] {
                        bytes[bit / 8] ^= 1 << (bit % 8);
                    }
                    let transactions = wrong.transactions();
                    let fault = match phase {
                        0 => run_some(&transactions, async |bus| {
                            Chip::probe(kind, bus, place(kind)).await.map(|_| ())
                        }),
                        1 => {
                            let mut chip = fitted(kind, &recording, false);
                            run_some(&transactions, async |bus| chip.start(bus, &Tuning::default()).await)
                        }
                        _ => {
                            let mut chip = fitted(kind, &recording, true);
                            run_some(&transactions, async |bus| chip.poll(bus, &NO_AIR).await.map(|_| ()))
                        }
                    };
                    assert_eq!(fault, Err(Fault::Crc), "{} {phase} line {line} bit {bit}", recording.name);
                    flipped += 1;
                }
            }
        }
    }
    assert!(flipped > 3_000, "{flipped}");
}

#[test]
fn a_sensor_that_falls_silent_anywhere_is_noticed() {
    let silent = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
    for (kind, recording) in recordings() {
        for line in 0..recording.probe.lines.len() {
            let mut transactions = recording.probe.transactions();
            transactions[line] = transactions[line].clone().with_error(silent);
            let result =
                run_some(&transactions, async |bus| Chip::probe(kind, bus, place(kind)).await.map(|_| ()));
            assert_eq!(result, Err(Fault::Bus), "{} probe {line}", recording.name);
        }
        for line in 0..recording.start.lines.len() {
            let mut transactions = recording.start.transactions();
            transactions[line] = transactions[line].clone().with_error(silent);
            let mut chip = fitted(kind, &recording, false);
            let result = run_some(&transactions, async |bus| chip.start(bus, &Tuning::default()).await);
            let expected = if recording.may_refuse.contains(&line) { Ok(()) } else { Err(Fault::Bus) };
            assert_eq!(result, expected, "{} start {line}", recording.name);
        }
        for line in 0..recording.poll.lines.len() {
            let mut transactions = recording.poll.transactions();
            transactions[line] = transactions[line].clone().with_error(silent);
            let mut chip = fitted(kind, &recording, true);
            let result = run_some(&transactions, async |bus| chip.poll(bus, &NO_AIR).await);
            assert_eq!(result, Err(Fault::Bus), "{} poll {line}", recording.name);
        }
    }
}

/// A bus on which nothing ever ends.
struct Hanging;

impl embedded_hal_async::i2c::ErrorType for Hanging {
    type Error = core::convert::Infallible;
}

impl I2c for Hanging {
    async fn transaction(&mut self, _: SevenBitAddress, _: &mut [Operation<'_>]) -> Result<(), Self::Error> {
        core::future::pending().await
    }
}

#[test]
fn a_bus_that_hangs_is_given_up_in_time() {
    for kind in 0..Chip::KINDS {
        let waited = Counted::default();
        let mut bus = Bus::new(Hanging, waited.clone());
        let result = block_on(Chip::probe(kind, &mut bus, 0x10)).map(|_| ());
        assert_eq!(result, Err(Fault::Timeout), "{kind}");
        assert_eq!(waited.0.get() / 1_000_000, 250, "{kind}");
    }
}

/// A bus on which anything is answered, with right checksums if wanted.
struct Noise<'a> {
    bytes: core::iter::Cycle<core::slice::Iter<'a, u8>>,
    checksums: bool,
    id: u8,
}

impl embedded_hal_async::i2c::ErrorType for Noise<'_> {
    type Error = core::convert::Infallible;
}

impl I2c for Noise<'_> {
    async fn transaction(
        &mut self,
        _: SevenBitAddress,
        operations: &mut [Operation<'_>],
    ) -> Result<(), Self::Error> {
        let mut register = None;
        for operation in operations {
            match operation {
                Operation::Write(bytes) => register = bytes.first().copied(),
                // What is read twice must be the same.
                Operation::Read(bytes) if register.is_some() => {
                    let id = self.id;
                    let byte = |at: usize| match (register, at) {
                        (Some(0xd0), 0) => id,
                        _ => *self.bytes.clone().nth(at).unwrap_or(&0),
                    };
                    for (at, to) in bytes.iter_mut().enumerate() {
                        *to = byte(at);
                    }
                }
                Operation::Read(bytes) => {
                    for (to, from) in bytes.iter_mut().zip(&mut self.bytes) {
                        *to = *from;
                    }
                    if self.checksums {
                        for word in bytes.chunks_exact_mut(3) {
                            word[2] = crate::checksum::crc8(&word[..2]);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_a_bus_says_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 1..200),
        checksums: bool, celsius: f64, percent: f64) {
        let air = Air { climate: Some((celsius, percent)), ..NO_AIR };
        // Those who pass as what they are, and those who were never found.
        for (kind, recording) in recordings() {
            for id in [0x58, 0x60, 0x61] {
                let noise = Noise { bytes: bytes.iter().cycle(), checksums, id };
                let mut bus = Bus::new(noise, Counted::default());
                let found = block_on(<Chip as Table<Bus<Noise<'_>, Counted>>>::probe(kind, &mut bus, 0x10)).ok();
                for mut chip in found.into_iter().chain([fitted(kind, &recording, true)]) {
                    let spec = <Chip as Table<Bus<Noise<'_>, Counted>>>::spec(&chip);
                    let mut care = Care::new(spec, None, Millis(0));
                    care.started(block_on(chip.start(&mut bus, &Tuning::default())), Millis(0));
                    for second in 1..4 {
                        let now = Millis(second * 1_000);
                        care.polled(block_on(chip.poll(&mut bus, &air)), now);
                        for (quantity, number) in care.values(now).ok().flatten().iter().flat_map(|it| it.0) {
                            let offer = spec.offer(quantity.name()).unwrap();
                            prop_assert!((offer.span.0..=offer.span.1).contains(number));
                        }
                    }
                    let _calibrated = block_on(chip.recalibrate(&mut bus, 425));
                    let _baseline = block_on(chip.baseline(&mut bus));
                }
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------------ serial lines

fn answer(it: &Talk, stale: &[u8], answer: &[u8]) -> Result<Option<Values>, Fault> {
    let kind = module(it.kind);
    let script: [(&[u8], &[u8]); 2] = [(it.request, it.other), (it.request, answer)];
    talk_after(stale, &script, async |line: &mut TestLine| {
        let mut module = Module::probe(kind, line, 0).await?;
        module.poll(line, &NO_AIR).await
    })
    .0
}

#[test]
fn a_module_is_understood_whatever_lies_in_the_line() {
    for it in talks() {
        let frame = it.answer;
        let cut = &frame[..frame.len() - 3];
        let mut wrong = frame.to_vec();
        wrong[5] ^= 0x10;
        for (name, stale, said, expected) in [
            ("good", &[][..], frame.to_vec(), Ok(())),
            ("stale bytes", &[0x42, 0xff, 0x86, 0x01][..], frame.to_vec(), Ok(())),
            ("a stale frame", it.other, frame.to_vec(), Ok(())),
            ("garbage before", &[], [&[0x00, 0xff, 0xfe, 0x42, 0x4d][..], frame].concat(), Ok(())),
            ("a cut frame before", &[], [cut, frame].concat(), Ok(())),
            ("a cut frame", &[], cut.to_vec(), Err(Fault::Timeout)),
            ("wrong checksum", &[], wrong.clone(), Err(Fault::Crc)),
            ("wrong, then right", &[], [&wrong[..], frame].concat(), Ok(())),
            ("nothing", &[], Vec::new(), Err(Fault::Bus)),
            ("noise", &[], std::vec![0xaa; 200], Err(Fault::Timeout)),
            ("endless noise", &[], std::vec![0x42; 100_000], Err(Fault::Timeout)),
        ] {
            let result = answer(&it, stale, &said);
            assert_eq!(result.as_ref().map(|_| ()).map_err(|fault| *fault), expected, "{}: {name}", it.kind);
            if let Ok(values) = result {
                assert_values(&values.unwrap(), it.values, it.kind);
            }
        }
    }
}

#[test]
fn one_wrong_bit_in_a_frame_is_noticed() {
    for it in talks() {
        for bit in 0..it.answer.len() * 8 {
            let mut wrong = it.answer.to_vec();
            wrong[bit / 8] ^= 1 << (bit % 8);
            // In its head it is no frame at all.
            let result = answer(&it, &[], &wrong);
            assert!(matches!(result, Err(Fault::Crc | Fault::Timeout)), "{} bit {bit}: {result:?}", it.kind);
        }
    }
}

#[test]
fn a_module_gives_what_it_says_it_gives() {
    for it in talks() {
        let script = [(it.request, it.answer)];
        let module = talk(&script, async |line| Module::probe(module(it.kind), line, 0).await).0.unwrap();
        let spec = <Module as Table<TestLine>>::spec(&module);
        for offer in spec.offers {
            let quantity = Quantity::parse(offer.quantity).unwrap();
            assert!(matches!(quantity, Quantity::Known(_)) && quantity.holds(offer.span.1), "{}", spec.name);
        }
        assert!(it.values.iter().all(|(quantity, _)| spec.offer(quantity).is_some()), "{}", spec.name);
    }
}

proptest! {
    #[test]
    fn whatever_a_line_says_nothing_panics_or_lasts(bytes: Vec<u8>, more: Vec<u8>) {
        for it in talks() {
            let kind = module(it.kind);
            let script: [(&[u8], &[u8]); 3] = [(it.request, it.answer), (it.request, &bytes), (it.request, &more)];
            let (_, sent) = talk(&script, async |line: &mut Line<_, _>| {
                let mut module = Module::probe(kind, line, 0).await.unwrap();
                let _said = module.poll(line, &NO_AIR).await;
                let _started = module.start(line, &Tuning::default()).await;
                let _said = module.poll(line, &NO_AIR).await;
                let _calibrated = module.recalibrate(line, 400).await;
            });
            prop_assert!(sent.len() < 200);
        }
    }
}
