//! M5Stack Core2: ESP32, 16 MB of flash, screen of 320 by 240.
//!
//! Pins: <https://docs.m5stack.com/en/core/core2>. Sensors go to port A: G32 is data, G33 clock. The port's 5 V come from
//! the power chip, an AXP192 (AXP2101 in v1.1), which is told so at the start. It is on the inner bus, G21 and G22, with the
//! touch screen, which is the button here, and the clock. A module goes to port C of a base that has one (the M5GO Bottom2,
//! or the bus): G13 hears, G14 speaks.
//!
//! The screen, an ILI9342C: `board_M5StackCore2` in M5GFX, `src/M5GFX.cpp`.

board! {
    name: "core2", sda: GPIO32, scl: GPIO33, rx: GPIO13, tx: GPIO14,
    screen: {
        model: ILI9342CRgb565, size: (320, 240), offset: (0, 0), inverted: true,
        sck: GPIO18, mosi: GPIO23, cs: GPIO5, dc: GPIO15,
        power: Core2 { sda: GPIO21, scl: GPIO22 },
        card: GPIO4
    }
}
