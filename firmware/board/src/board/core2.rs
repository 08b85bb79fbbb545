//! M5Stack Core2: ESP32, 16 MB of flash, screen of 320 by 240.
//!
//! Pins: <https://docs.m5stack.com/en/core/core2>. Sensors go to port A: G32 is data, G33 clock. The port's 5 V come from
//! the AXP192 (AXP2101 in v1.1), which turns them on by itself when the board runs from USB. The inner bus with the power
//! chip, the touch screen and the clock is on G21 and G22. A module goes to port C of a base that has one (the M5GO Bottom2,
//! or the bus): G13 hears, G14 speaks.

board! { name: "core2", sda: GPIO32, scl: GPIO33, rx: GPIO13, tx: GPIO14 }
