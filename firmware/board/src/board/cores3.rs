//! M5Stack CoreS3 and CoreS3-SE: ESP32-S3, 16 MB of flash, screen of 320 by 240.
//!
//! Pins: <https://docs.m5stack.com/en/core/CoreS3>. Sensors go to port A: G2 is data, G1 clock. The inner bus, G12 and G11,
//! has the power chip, the port expander, which switches the port's 5 V and resets the screen, and the touch screen, which
//! is the button here. A module goes to port C: G18 hears, G17 speaks.
//!
//! The screen, an ILI9342C: `board_M5StackCoreS3` in M5GFX, `src/M5GFX.cpp`. Its D/C line, G35, would be the data line of
//! the SD card's slot, too; nothing reads that.

board! {
    name: "cores3", sda: GPIO2, scl: GPIO1, rx: GPIO18, tx: GPIO17,
    screen: {
        model: ILI9342CRgb565, size: (320, 240), offset: (0, 0), inverted: true,
        sck: GPIO36, mosi: GPIO37, cs: GPIO3, dc: GPIO35,
        power: CoreS3 { sda: GPIO12, scl: GPIO11 },
        card: GPIO4
    }
}
