//! Whole devices, second by second, with sensors that are played.

use super::*;
use crate::bench::{Counted, talk};
use crate::checksum::crc8;
use crate::port::{Baseline, value};
use core::cell::RefCell;
use embassy_futures::block_on;
use embedded_hal_async::i2c::{ErrorKind, ErrorType, NoAcknowledgeSource, Operation};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::vec::Vec;

const SCD4X: u8 = 0x62;
const SGP30: u8 = 0x58;
const BME280: u8 = 0x76;
const NOON: i64 = 1_795_000_000_000;

/// What is plugged in, and what it was told.
#[derive(Default)]
struct World {
    plugged: BTreeSet<u8>,
    /// The answer of a Sensirion sensor to a command, in words; commands that are not here are only noted.
    words: BTreeMap<(u8, u16), Vec<u16>>,
    /// The registers of the BME280.
    registers: BTreeMap<u8, Vec<u8>>,
    asked: BTreeMap<u8, u16>,
    /// Every command with its parameters.
    told: Vec<(u8, u16, Vec<u16>)>,
}

#[derive(Clone, Default)]
struct Played(Rc<RefCell<World>>);

impl ErrorType for Played {
    type Error = ErrorKind;
}

impl I2c for Played {
    async fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        let world = &mut *self.0.borrow_mut();
        let silent = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
        if !world.plugged.contains(&address) {
            return Err(silent);
        }
        for operation in operations {
            match operation {
                Operation::Write(bytes) if bytes.len() < 2 || address == BME280 => {
                    world.asked.insert(address, u16::from(bytes[0]));
                }
                Operation::Write(bytes) => {
                    let command = u16::from_be_bytes([bytes[0], bytes[1]]);
                    let words = bytes[2..].as_chunks::<3>().0.iter().map(|word| {
                        assert_eq!(crc8(&word[..2]), word[2]);
                        u16::from_be_bytes([word[0], word[1]])
                    });
                    world.told.push((address, command, words.collect()));
                    world.asked.insert(address, command);
                }
                Operation::Read(bytes) if address == BME280 => {
                    let register = u8::try_from(world.asked[&address]).unwrap();
                    let stored = world.registers.get(&register).ok_or(silent)?;
                    bytes.copy_from_slice(stored);
                }
                Operation::Read(bytes) => {
                    let command = world.asked.get(&address).copied().unwrap_or(0);
                    let words = world.words.get(&(address, command)).ok_or(silent)?;
                    for (to, word) in bytes.as_chunks_mut::<3>().0.iter_mut().zip(words) {
                        let [high, low] = word.to_be_bytes();
                        *to = [high, low, crc8(&[high, low])];
                    }
                }
            }
        }
        Ok(())
    }
}

impl Played {
    fn scd41(self) -> Self {
        {
            let world = &mut *self.0.borrow_mut();
            world.plugged.insert(SCD4X);
            for (command, words) in [
                (0x3682, &[0xf896, 0x9f07, 0x3bbe][..]),
                (0x202f, &[0x1440]),
                (0xe4b8, &[0x8006]),
                (0x362f, &[0x7fce]),
            ] {
                world.words.insert((SCD4X, command), words.to_vec());
            }
        }
        self.co2(612)
    }

    /// 25 °C, 37 %RH.
    fn co2(self, ppm: u16) -> Self {
        self.0.borrow_mut().words.insert((SCD4X, 0xec05), std::vec![ppm, 0x6667, 0x5eb9]);
        self
    }

    fn sgp30(self) -> Self {
        {
            let world = &mut *self.0.borrow_mut();
            world.plugged.insert(SGP30);
            for (command, words) in [
                (0x202f, &[0x0022][..]),
                (0x3682, &[0, 0x0048, 0xd159]),
                (0x2008, &[455, 21]),
                (0x2015, &[0x8a11, 0x9b22]),
            ] {
                world.words.insert((SGP30, command), words.to_vec());
            }
        }
        self
    }

    /// 25.08 °C and 1,006.53 hPa: the trim and raw values are those of the sensor's own tests.
    fn bmp280(self) -> Self {
        {
            let world = &mut *self.0.borrow_mut();
            world.plugged.insert(BME280);
            let trim = [
                0x70, 0x6b, 0x43, 0x67, 0x18, 0xfc, 0x7d, 0x8e, 0x43, 0xd6, 0xd0, 0x0b, 0x27, 0x0b, 0x8c,
                0x00, 0xf9, 0xff, 0x8c, 0x3c, 0xf8, 0xc6, 0x70, 0x17, 0x00, 0x4b,
            ];
            for (register, bytes) in [
                (0xd0, &[0x58][..]),
                (0x88, &trim),
                (0xf3, &[0x00]),
                (0xf7, &[0x65, 0x5a, 0xc0, 0x7e, 0xed, 0x00, 0x80, 0x00]),
            ] {
                world.registers.insert(register, bytes.to_vec());
            }
        }
        self
    }

    fn told(&self, address: u8, command: u16) -> Vec<Vec<u16>> {
        let world = self.0.borrow();
        world.told.iter().filter(|it| (it.0, it.1) == (address, command)).map(|it| it.2.clone()).collect()
    }

    fn plug(&self, address: u8, on: bool) {
        let mut world = self.0.borrow_mut();
        if on {
            world.plugged.insert(address)
        } else {
            world.plugged.remove(&address)
        };
    }

    fn kit(&self) -> Kit<Self, Counted> {
        Kit::new(Bus::new(self.clone(), Counted::default()), Tuning::default())
    }
}

/// Lets a kit do what is due in each second of a stretch of time; gives what it wanted to have kept.
fn live<U: Read + Write>(
    kit: &mut Kit<Played, Counted, U>,
    seconds: core::ops::Range<u64>,
    clock: bool,
) -> Vec<(u64, SavedBaseline)> {
    let mut saved = Vec::new();
    for second in seconds {
        let now = Millis(second * 1_000);
        block_on(kit.work(now, clock.then_some(NOON + second as i64 * 1_000)));
        assert!(kit.wake_at() > now);
        saved.extend(kit.take_baseline().map(|it| (second, it)));
    }
    saved
}

/// The sample as a line of text.
fn said<U: Read + Write>(kit: &Kit<Played, Counted, U>, second: u64) -> std::string::String {
    match kit.sample(Millis(second * 1_000)) {
        Ok(sample) => {
            let mut line = std::string::String::from(sample.state.as_str());
            for (quantity, value) in &sample.values {
                line += &std::format!(" {}={value:.0}", quantity.name());
            }
            line
        }
        Err(fault) => std::format!("{fault:?}"),
    }
}

#[test]
fn measured_and_estimated_co2_side_by_side_for_thirteen_hours() {
    let world = Played::default().scd41().sgp30();
    let mut kit = world.kit();
    live(&mut kit, 0..1, true);
    assert_eq!(said(&kit, 0), "warming_up");
    let mut saved = live(&mut kit, 1..30, true);
    assert_eq!(said(&kit, 29), "warming_up co2=612 temperature=25 humidity=37 eco2=455 tvoc=21");
    assert!(world.told(SGP30, 0x2061).is_empty(), "the humidity of a sensor that warms up is not trusted");
    // Something must move, or it is frozen.
    for second in 30..13 * 3_600_u64 {
        if second % 60 == 0 {
            let _world = world.clone().co2(612 + u16::try_from(second / 60 % 2).unwrap());
        }
        saved.extend(live(&mut kit, second..second + 1, true));
        if second == 100 || second == 12 * 3_600 - 1 {
            let line = said(&kit, second);
            assert!(line.starts_with("ok co2=61") && !line.contains("eco2"), "while it conditions: {line}");
        }
    }
    let end = 13 * 3_600;
    assert!(said(&kit, end - 1).ends_with(" eco2=455 tvoc=21") && said(&kit, end - 1).starts_with("ok"));
    let hours: Vec<_> = saved.iter().map(|(second, _)| second.div_ceil(3_600)).collect();
    assert_eq!(hours, [12], "the next one is due at thirteen");
    assert_eq!(saved[0].1.baseline, Baseline { eco2: 0x8a11, tvoc: 0x9b22 });
    assert_eq!(saved[0].1.serial, 0x0048_d159);
    // Asked each second but the first, and told the humidity that the other sensor measures.
    assert_eq!(world.told(SGP30, 0x2008).len(), usize::try_from(end).unwrap() - 1);
    assert_eq!(world.told(SGP30, 0x2061).len(), 1);
}

#[test]
fn a_baseline_of_before_is_given_back_and_ends_conditioning() {
    let saved = |days: i64| SavedBaseline {
        serial: 0x0048_d159,
        baseline: Baseline { eco2: 0x8a11, tvoc: 0x9b22 },
        unix_ms: NOON - days * 86_400_000,
    };
    for (days, clock, restored) in [(1, true, true), (8, true, false), (1, false, false)] {
        let world = Played::default().sgp30();
        let mut kit = world.kit();
        kit.remember(SavedBaseline { serial: 1, ..saved(0) });
        kit.remember(saved(days));
        // Of several the youngest counts.
        kit.remember(SavedBaseline { baseline: Baseline { eco2: 1, tvoc: 1 }, ..saved(days + 1) });
        live(&mut kit, 0..20, clock);
        let told = world.told(SGP30, 0x201e);
        assert_eq!(told, if restored { std::vec![std::vec![0x9b22, 0x8a11]] } else { Vec::new() });
        let state = if restored { "ok" } else { "conditioning" };
        assert_eq!(said(&kit, 19), std::format!("{state} eco2=455 tvoc=21"));
    }
}

#[test]
fn an_unplugged_sensor_is_failed_never_replaced_by_an_estimate_and_comes_back() {
    let world = Played::default().scd41().sgp30();
    let mut kit = world.kit();
    kit.remember(SavedBaseline {
        serial: 0x0048_d159,
        baseline: Baseline { eco2: 1, tvoc: 2 },
        unix_ms: NOON,
    });
    live(&mut kit, 0..100, true);
    assert!(said(&kit, 99).starts_with("ok co2=612"));
    world.plug(SCD4X, false);
    live(&mut kit, 100..120, true);
    assert_eq!(said(&kit, 119), "failed eco2=455 tvoc=21");
    let fitted: Vec<_> = kit.fitted(Millis(119_000)).map(|it| (it.spec.name, it.place, it.state)).collect();
    assert_eq!(fitted, [("SCD41", SCD4X, Err(Fault::Bus)), ("SGP30", SGP30, Ok(State::Ok))]);
    world.plug(SCD4X, true);
    live(&mut kit, 120..190, true);
    assert!(said(&kit, 189).starts_with("warming_up co2=612"), "{}", said(&kit, 189));
    live(&mut kit, 190..260, true);
    assert!(said(&kit, 259).starts_with("ok co2=612"));
}

#[test]
fn a_sensor_that_is_never_ready_times_out_and_one_that_lies_is_out_of_range() {
    let world = Played::default().scd41();
    let mut kit = world.kit();
    world.0.borrow_mut().words.insert((SCD4X, 0xe4b8), std::vec![0x8000]);
    live(&mut kit, 0..10, true);
    assert_eq!(said(&kit, 9), "warming_up");
    live(&mut kit, 10..30, true);
    assert_eq!(said(&kit, 29), "Timeout");

    let world = Played::default().scd41();
    let mut kit = world.kit();
    world.0.borrow_mut().words.insert((SCD4X, 0xec05), std::vec![0xffff, 0xffff, 0x5eb9]);
    live(&mut kit, 0..30, true);
    assert_eq!(said(&kit, 29), "warming_up humidity=37");
    live(&mut kit, 30..100, true);
    assert_eq!(said(&kit, 99), "failed humidity=37");
}

#[test]
fn without_sensors_it_says_so_and_finds_one_that_is_plugged_in_later() {
    let world = Played::default();
    let mut kit = world.kit();
    live(&mut kit, 0..5, true);
    assert_eq!((said(&kit, 4), kit.fitted(Millis(0)).count()), ("Bus".into(), 0));
    let _world = world.scd41();
    live(&mut kit, 5..100, true);
    assert!(said(&kit, 99).starts_with("ok co2=612"), "{}", said(&kit, 99));
}

#[test]
fn an_address_that_is_not_ours_is_left_alone() {
    let world = Played::default().sgp30().scd41();
    let mut kit = world.kit().leave_alone(&[SGP30]);
    live(&mut kit, 0..400, true);
    assert_eq!(kit.fitted(Millis(0)).map(|it| it.place).collect::<Vec<_>>(), [SCD4X]);
    assert!(world.0.borrow().told.iter().all(|(address, _, _)| *address != SGP30));
}

#[test]
fn pressure_is_told_in_hectopascals() {
    let world = Played::default().scd41().bmp280();
    let mut kit = world.kit();
    live(&mut kit, 0..30, true);
    assert_eq!(world.told(SCD4X, 0xe000), [[1_007]], "once, because it does not change");
    assert!(value(&kit.sample(Millis(29_000)).unwrap().values, "pressure").is_some());
}

#[test]
fn a_forced_calibration_waits_for_its_time_and_shows_in_the_state() {
    let world = Played::default().scd41().sgp30();
    let mut kit = world.kit();
    live(&mut kit, 0..100, true);
    let calibrate = |kit: &mut Kit<Played, Counted>, ppm, second: u64| {
        block_on(kit.recalibrate(ppm, Millis(second * 1_000)))
    };
    assert_eq!(calibrate(&mut kit, 399, 100), Err(CalibrationError::Target));
    assert_eq!(calibrate(&mut kit, 2_001, 100), Err(CalibrationError::Target));
    assert_eq!(calibrate(&mut kit, 425, 100), Err(CalibrationError::TooEarly { wait_s: 80 }));
    live(&mut kit, 100..180, true);
    assert_eq!(calibrate(&mut kit, 425, 180), Ok(()));
    assert_eq!(world.told(SCD4X, 0x362f), [[425]]);
    live(&mut kit, 180..200, true);
    assert!(said(&kit, 199).starts_with("calibrating co2=612"), "{}", said(&kit, 199));
    live(&mut kit, 200..250, true);
    assert!(said(&kit, 249).starts_with("ok co2=612"), "{}", said(&kit, 249));

    let mut kit = Played::default().sgp30().kit();
    live(&mut kit, 0..1, true);
    assert_eq!(calibrate(&mut kit, 425, 500), Err(CalibrationError::NotPossible));
}

#[test]
fn other_settings_are_told_at_once() {
    let world = Played::default().scd41();
    let mut kit = world.kit();
    live(&mut kit, 0..3, true);
    let off = Tuning::default().self_calibration(false).altitude_m(500).unwrap();
    kit.tune(off, Millis(3_000));
    live(&mut kit, 3..5, true);
    // The same ones once more change nothing.
    kit.tune(off, Millis(5_000));
    live(&mut kit, 5..8, true);
    assert_eq!(world.told(SCD4X, 0x2416), [[1], [0]]);
    assert_eq!(world.told(SCD4X, 0x2427), [[0], [500]]);
}

#[test]
fn whoever_writes_settings_knows_the_modules() {
    assert_eq!(MODULES, casement_proto::device_settings::MODULES);
}

#[test]
fn a_module_on_the_line_joins_the_others() {
    let bus = || Bus::new(Played::default().sgp30(), Counted::default());
    assert!(matches!(
        Kit::with_line(bus(), Line::new(NoLine, Counted::default()), "S9", Tuning::default()),
        Err(UnknownModule)
    ));
    let read = &[0xff, 0x01, 0x86, 0, 0, 0, 0, 0, 0x79][..];
    let frame = &[0xff, 0x86, 0x02, 0x60, 0x47, 0x00, 0x00, 0x00, 0xd1][..];
    talk(&std::vec![(read, frame); 3], async |line| {
        let line = core::mem::replace(line, Line::new(crate::bench::silent(), Counted::default()));
        let mut kit = Kit::with_line(bus(), line, "MhZ19", Tuning::default()).unwrap();
        for second in 0..7 {
            kit.work(Millis(second * 1_000), None).await;
        }
        assert_eq!(said(&kit, 6), "warming_up eco2=455 tvoc=21 co2=608");
    });
}

#[test]
fn a_module_is_enough_where_its_line_takes_the_only_port() {
    let read = &[0xff, 0x01, 0x86, 0, 0, 0, 0, 0, 0x79][..];
    let frame = &[0xff, 0x86, 0x02, 0x60, 0x47, 0x00, 0x00, 0x00, 0xd1][..];
    talk(&std::vec![(read, frame); 3], async |line| {
        let line = core::mem::replace(line, Line::new(crate::bench::silent(), Counted::default()));
        let waited = Counted::default();
        let bus: Bus<Played, _> = Bus::absent(waited.clone());
        let mut kit = Kit::with_line(bus, line, "MhZ19", Tuning::default()).unwrap();
        for second in 0..7 {
            kit.work(Millis(second * 1_000), None).await;
        }
        assert_eq!(said(&kit, 6), "warming_up co2=608");
        assert_eq!(kit.fitted(Millis(6_000)).count(), 1);
        assert_eq!(waited.0.get(), 0, "a bus that is not there is not waited for");
    });
}

#[test]
fn a_kit_for_a_line_does_without_one() {
    let world = Played::default().sgp30();
    let bus = Bus::new(world, Counted::default());
    let mut kit: Kit<_, _, crate::bench::Scripted> = Kit::without_line(bus, Tuning::default());
    live(&mut kit, 0..5, true);
    assert_eq!(said(&kit, 4), "warming_up eco2=455 tvoc=21");
}

#[test]
fn a_module_that_is_set_and_missing_is_a_failure_whatever_else_there_is() {
    for (world, expected) in
        [(Played::default(), "Bus"), (Played::default().sgp30(), "failed eco2=455 tvoc=21")]
    {
        let bus = Bus::new(world, Counted::default());
        let line = Line::new(crate::bench::silent(), Counted::default());
        let mut kit = Kit::with_line(bus, line, "S8", Tuning::default()).unwrap();
        live(&mut kit, 0..1, true);
        assert_eq!(said(&kit, 0), "Bus");
        live(&mut kit, 1..5, true);
        assert_eq!(said(&kit, 4), expected);
    }
}

#[test]
fn a_kit_fits_a_small_chip() {
    let world = Played::default();
    let mut kit = world.kit();
    // As measured on a machine with 64-bit addresses; with 32 bits it is no larger.
    assert!(size_of_val(&kit) <= 10_000, "{}", size_of_val(&kit));
    let work = size_of_val(&kit.work(Millis(0), None));
    assert!(work <= 1_000, "{work}");
}
