//! M5Stack NanoC6: ESP32-C6, 4 MB of flash.
//!
//! Pins: <https://docs.m5stack.com/en/core/M5NanoC6>. Sensors go to the Grove port: G2 is data, G1 clock. RGB light on
//! G20 with its power on G19, blue light on G7, button on G9.

board! {
    name: "nanoc6", sda: GPIO2, scl: GPIO1,
    light: { data: GPIO20, power: GPIO19 },
    button: GPIO9
}
