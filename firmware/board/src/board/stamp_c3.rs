//! M5Stack Stamp-C3 and Stamp-C3U: ESP32-C3, 4 MB of flash.
//!
//! Pins: <https://docs.m5stack.com/en/core/stamp_c3>. It has no port of its own; G1 and G0 are where M5Unified looks for
//! I2C. RGB light on G2, button on G3, that of the Stamp-C3U on G9; the other pin is free on either, and pulled up.

board! {
    name: "stamp-c3", sda: GPIO1, scl: GPIO0,
    light: { data: GPIO2 },
    button: GPIO3 or GPIO9
}
