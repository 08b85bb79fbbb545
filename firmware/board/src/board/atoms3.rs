//! M5Stack AtomS3, screen of 128 by 128, and AtomS3 Lite without one: ESP32-S3, 8 MB of flash.
//!
//! Pins: <https://docs.m5stack.com/en/core/AtomS3>. Sensors go to the Grove port: G2 is data, G1 clock. Button on G41; RGB
//! light of the Lite on G35. Either has nothing at the other's pins.
//!
//! The screen, a GC9107 whose pixels begin in row 32 of its memory: `board_M5AtomS3` in M5GFX, `src/M5GFX.cpp`.

board! {
    name: "atoms3", sda: GPIO2, scl: GPIO1,
    light: { data: GPIO35 },
    button: GPIO41,
    screen: {
        model: GC9107, size: (128, 128), offset: (0, 32), inverted: false,
        sck: GPIO17, mosi: GPIO21, cs: GPIO15, dc: GPIO33,
        power: Pins { reset: GPIO34, backlight: GPIO16 }
    }
}
