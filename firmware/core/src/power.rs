//! The power chips of boards with a screen: which register does what. Data and no bus: a driver carries the steps out.
//!
//! The screen's rail must be on, and its reset let go, before it understands anything; its light is a rail, too, and on
//! some boards so is the motor that buzzes. The figures are from M5Stack's own libraries, as they start their boards: M5GFX,
//! `src/M5GFX.cpp` (`M5GFX::autodetect`, `Light_M5StackCore2`, `Light_M5StackCore2_AXP2101`, `Light_M5StackCoreS3`,
//! `Panel_M5StackCoreS3_T`), and M5Unified, `src/utility/Power_Class.cpp` (`begin`, `setExtOutput`, `setVibration`). No board has confirmed them yet.

/// One change of a register: read it, keep these bits, set those, and write it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// I2C address of the chip.
    pub chip: u8,
    /// Its register.
    pub register: u8,
    /// Bits that stay.
    pub keep: u8,
    /// Bits that are set.
    pub set: u8,
}

/// One step of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Change a register.
    Write(Write),
    /// Let it settle, for some milliseconds.
    Wait(u16),
}

/// Boards whose screen hangs on power chips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rails {
    /// Core2 as it first was, with an AXP192.
    Core2,
    /// Core2 v1.1, with an AXP2101.
    Core2V11,
    /// CoreS3 and CoreS3-SE, with an AXP2101 and a port expander, the AW9523B.
    CoreS3,
}

/// The power chip's address, on all of them.
pub const AXP: u8 = 0x34;
/// Where a power chip says what it is.
pub const AXP_ID: u8 = 0x03;
/// The port expander's address.
const AW9523: u8 = 0x58;

impl Rails {
    /// Which Core2 it is, from what its power chip says in register [`AXP_ID`]; `None` for a chip that neither has.
    pub const fn of_core2(id: u8) -> Option<Self> {
        match id {
            0x03 => Some(Self::Core2),
            0x4a => Some(Self::Core2V11),
            _ => None,
        }
    }

    /// What brings up the screen, dark yet, and the 5 V of the sensors' port. Anything that buzzes is off after it.
    pub const fn start(self) -> &'static [Step] {
        match self {
            Self::Core2 => CORE2,
            Self::Core2V11 => CORE2_V11,
            Self::CoreS3 => CORES3,
        }
    }

    /// The screen's light, in percent of what the board's makers think is bright; 0 is off.
    pub fn backlight(self, percent: u8) -> [Write; 2] {
        // 0 to 255, as the sources count brightness.
        let level = u16::from(percent.min(100)) * 255 / 100;
        let (volts, enable) = match self {
            // DC3 from 2.5 V to 3.275 V in steps of 25 mV.
            Self::Core2 => ((0x27, 0x80, (level >> 3) + 72), (0x12, 0x02)),
            // BLDO1 and DLDO1 from 2.5 V to 3.3 V in steps of 100 mV.
            Self::Core2V11 => ((0x96, 0x00, (level + 641) >> 5), (0x90, 0x10)),
            Self::CoreS3 => ((0x99, 0x00, (level + 641) >> 5), (0x90, 0x80)),
        };
        [rail(volts), switch(enable, percent > 0)]
    }

    /// The motor that buzzes; `None` on boards without one.
    pub fn motor(self, on: bool) -> Option<[Write; 2]> {
        let (volts, enable) = match self {
            // LDO3 at 2.8 V; the upper half of the register is LDO2, the screen.
            Self::Core2 => ((0x28, 0xf0, 0x0a), (0x12, 0x08)),
            // DLDO1 at 2.9 V.
            Self::Core2V11 => ((0x99, 0x00, 24), (0x90, 0x80)),
            Self::CoreS3 => return None,
        };
        Some([rail(volts), switch(enable, on)])
    }
}

fn rail((register, keep, volts): (u8, u8, u16)) -> Write {
    Write { chip: AXP, register, keep, set: u8::try_from(volts).unwrap_or(0) & !keep }
}

const fn switch((register, bit): (u8, u8), on: bool) -> Write {
    Write { chip: AXP, register, keep: !bit, set: if on { bit } else { 0 } }
}

const fn set(chip: u8, register: u8, bits: u8) -> Step {
    Step::Write(Write { chip, register, keep: !bits, set: bits })
}

const fn clear(chip: u8, register: u8, bits: u8) -> Step {
    Step::Write(Write { chip, register, keep: !bits, set: 0 })
}

const fn write(chip: u8, register: u8, value: u8) -> Step {
    Step::Write(Write { chip, register, keep: 0, set: value })
}

const CORE2: &[Step] = &[
    // GPIO4 is an output: the screen's and the touch sensor's reset.
    Step::Write(Write { chip: AXP, register: 0x95, keep: 0x72, set: 0x84 }),
    // LDO2, the screen's rail, at 3.3 V.
    set(AXP, 0x28, 0xf0),
    set(AXP, 0x12, 0x04),
    // LDO3, the motor, and DC3, the screen's light, are off; GPIO2, the loudspeaker's amplifier, too.
    clear(AXP, 0x12, 0x0a),
    clear(AXP, 0x94, 0x04),
    // GPIO0 at 2.8 V lets the board's own 5 V out instead of others' in, and EXTEN makes them.
    write(AXP, 0x91, 0xa0),
    write(AXP, 0x90, 0x02),
    set(AXP, 0x12, 0x40),
    clear(AXP, 0x96, 0x02),
    Step::Wait(RESET_MS),
    set(AXP, 0x96, 0x02),
    Step::Wait(WAKE_MS),
];

const CORE2_V11: &[Step] = &[
    // ALDO4, the screen's rail, is on; ALDO3, the loudspeaker, DLDO1, the motor, and BLDO1, the light, are off.
    Step::Write(Write { chip: AXP, register: 0x90, keep: 0x6b, set: 0x08 }),
    // DCDC1 and DCDC3 at 3.3 V.
    write(AXP, 0x82, 0x12),
    write(AXP, 0x84, 0x6a),
    set(AXP, 0x80, 0x05),
    // BLDO2 at 3.3 V switches the converter that makes the 5 V.
    write(AXP, 0x97, 28),
    set(AXP, 0x90, 0x20),
    // ALDO2 is the screen's and the touch sensor's reset.
    clear(AXP, 0x90, 0x02),
    Step::Wait(RESET_MS),
    set(AXP, 0x90, 0x02),
    Step::Wait(WAKE_MS),
];

const CORES3: &[Step] = &[
    // Every rail but that of the screen's light, which is DLDO1; ALDO1 at 1.8 V, ALDO2 to ALDO4 at 3.3 V.
    write(AXP, 0x92, 13),
    write(AXP, 0x93, 28),
    write(AXP, 0x94, 28),
    write(AXP, 0x95, 28),
    write(AXP, 0x90, 0x3f),
    // P0_0 lets go of the touch sensor, P0_1 puts 5 V on the port, P0_2 lets go of the amplifier.
    set(AW9523, 0x02, 0x07),
    // P1_0 lets go of the camera, P1_1 of the screen, P1_7 makes the 5 V.
    set(AW9523, 0x03, 0x83),
    // Inputs are P0_3, P0_4, P1_2 and P1_3; P0 drives both ways; all are plain pins and no lamps.
    write(AW9523, 0x04, 0x18),
    write(AW9523, 0x05, 0x0c),
    write(AW9523, 0x11, 0x10),
    write(AW9523, 0x12, 0xff),
    write(AW9523, 0x13, 0xff),
    clear(AW9523, 0x03, 0x02),
    Step::Wait(RESET_MS),
    set(AW9523, 0x03, 0x02),
    Step::Wait(WAKE_MS),
];

/// How long a reset is held; M5GFX holds it for one to four milliseconds.
const RESET_MS: u16 = 10;
/// How long after it a screen may not hear yet: as long as after leaving its sleep (mipidsi, `src/models/ili934x.rs`).
const WAKE_MS: u16 = 120;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const ALL: [Rails; 3] = [Rails::Core2, Rails::Core2V11, Rails::CoreS3];

    /// Registers of all chips, each with this content at first.
    struct Chips(BTreeMap<(u8, u8), u8>, u8);

    impl Chips {
        fn at(&self, chip: u8, register: u8) -> u8 {
            self.0.get(&(chip, register)).copied().unwrap_or(self.1)
        }

        fn change(&mut self, write: Write) {
            let value = self.at(write.chip, write.register) & write.keep | write.set;
            self.0.insert((write.chip, write.register), value);
        }

        fn started(rails: Rails, before: u8) -> Self {
            let mut chips = Self(BTreeMap::new(), before);
            for step in rails.start() {
                match step {
                    Step::Write(write) => chips.change(*write),
                    Step::Wait(ms) => assert!((1..=200).contains(ms)),
                }
            }
            chips
        }

        /// The voltage and the switch of the light, and of the motor.
        fn light(&self, rails: Rails) -> (u8, bool) {
            match rails {
                Rails::Core2 => (self.at(AXP, 0x27) & 0x7f, self.at(AXP, 0x12) & 0x02 != 0),
                Rails::Core2V11 => (self.at(AXP, 0x96), self.at(AXP, 0x90) & 0x10 != 0),
                Rails::CoreS3 => (self.at(AXP, 0x99), self.at(AXP, 0x90) & 0x80 != 0),
            }
        }
    }

    #[test]
    fn a_core2_is_recognised_by_its_power_chip() {
        assert_eq!(Rails::of_core2(0x03), Some(Rails::Core2));
        assert_eq!(Rails::of_core2(0x4a), Some(Rails::Core2V11));
        // An empty bus reads as ones.
        assert_eq!(Rails::of_core2(0xff), None);
        assert_eq!(Rails::of_core2(0x00), None);
    }

    #[test]
    fn a_start_lights_no_lamp_and_buzzes_not_whatever_was_before() {
        for rails in ALL {
            for before in [0x00, 0xff, 0x5a] {
                let chips = Chips::started(rails, before);
                assert!(!chips.light(rails).1, "{rails:?}");
                let motor = match rails {
                    Rails::Core2 => chips.at(AXP, 0x12) & 0x08,
                    Rails::Core2V11 => chips.at(AXP, 0x90) & 0x80,
                    Rails::CoreS3 => 0,
                };
                assert_eq!(motor, 0, "{rails:?}");
                // The rail of the screen is on, its reset is let go, and the port has its 5 V.
                let on = match rails {
                    Rails::Core2 => chips.at(AXP, 0x12) & 0x44 == 0x44 && chips.at(AXP, 0x96) & 0x02 != 0,
                    Rails::Core2V11 => chips.at(AXP, 0x90) & 0x2a == 0x2a,
                    Rails::CoreS3 => {
                        chips.at(AW9523, 0x02) & 0x02 != 0 && chips.at(AW9523, 0x03) & 0x82 == 0x82
                    }
                };
                assert!(on, "{rails:?} from {before:#x}");
            }
        }
    }

    #[test]
    fn rails_of_others_are_never_touched() {
        for before in [0x00, 0xff] {
            // DC1 of the AXP192 feeds the processor: its switch and its voltage stay.
            let chips = Chips::started(Rails::Core2, before);
            assert_eq!((chips.at(AXP, 0x12) & 0x01, chips.at(AXP, 0x26)), (before & 0x01, before));
            // Rails of the AXP2101 that nothing here uses, too.
            let chips = Chips::started(Rails::Core2V11, before);
            assert_eq!(chips.at(AXP, 0x90) & 0x41, before & 0x41);
        }
    }

    #[test]
    fn the_light_grows_with_the_percent_and_never_beyond_its_voltage() {
        for rails in ALL {
            let (least, most) = match rails {
                Rails::Core2 => (72, 103),
                Rails::Core2V11 | Rails::CoreS3 => (20, 28),
            };
            let mut chips = Chips::started(rails, 0xff);
            let others = chips.at(AXP, 0x90) & !0x90;
            let mut last = 0;
            for percent in 1..=u8::MAX {
                rails.backlight(percent).into_iter().for_each(|write| chips.change(write));
                let (volts, on) = chips.light(rails);
                assert!(
                    on && volts >= last && (least..=most).contains(&volts),
                    "{rails:?} {percent}: {volts}"
                );
                last = volts;
            }
            assert_eq!(last, most, "{rails:?}");
            rails.backlight(0).into_iter().for_each(|write| chips.change(write));
            assert!(!chips.light(rails).1, "{rails:?}");
            assert_eq!(chips.at(AXP, 0x90) & !0x90, others, "other rails stay");
        }
    }

    #[test]
    fn the_motor_goes_on_and_off_and_leaves_the_screen_alone() {
        for rails in [Rails::Core2, Rails::Core2V11] {
            let mut chips = Chips::started(rails, 0);
            rails.backlight(80).into_iter().for_each(|write| chips.change(write));
            let before = chips.0.clone();
            let light = chips.light(rails);
            rails.motor(true).into_iter().flatten().for_each(|write| chips.change(write));
            assert_ne!(chips.0, before);
            assert_eq!(chips.light(rails), light);
            assert_eq!(chips.at(AXP, 0x28) & 0xf0, before.get(&(AXP, 0x28)).map_or(0, |it| it & 0xf0));
            rails.motor(false).into_iter().flatten().for_each(|write| chips.change(write));
            assert_eq!(chips.light(rails), light);
            let off =
                if rails == Rails::Core2 { chips.at(AXP, 0x12) & 0x08 } else { chips.at(AXP, 0x90) & 0x80 };
            assert_eq!(off, 0);
        }
        assert_eq!(Rails::CoreS3.motor(true), None);
    }
}
