//! M5Stack Atom Echo, and Atom Lite, which differs by loudspeaker and microphone: ESP32-PICO, 4 MB of flash.
//!
//! Pins: <https://docs.m5stack.com/en/atom/atomecho>. Sensors go to the Grove port: G26 is data, G32 clock. RGB light on
//! G27, button on G39.

board! {
    name: "atom-echo", sda: GPIO26, scl: GPIO32,
    light: { data: GPIO27 },
    button: GPIO39
}
