//! M5Stack CoreS3 and CoreS3-SE: ESP32-S3, 16 MB of flash, screen of 320 by 240.
//!
//! Pins: <https://docs.m5stack.com/en/core/CoreS3>. Sensors go to port A: G2 is data, G1 clock. The inner bus with the
//! power chip and the port expander, which switches the port's 5 V, is on G12 and G11. A module goes to port C: G18 hears,
//! G17 speaks.

board! { name: "cores3", sda: GPIO2, scl: GPIO1, rx: GPIO18, tx: GPIO17 }
