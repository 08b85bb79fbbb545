//! M5Stack AtomS3, screen of 128 by 128, and AtomS3 Lite without one: ESP32-S3, 8 MB of flash.
//!
//! Pins: <https://docs.m5stack.com/en/core/AtomS3>. Sensors go to the Grove port: G2 is data, G1 clock. Button on G41; RGB
//! light of the Lite on G35.

board! { name: "atoms3", sda: GPIO2, scl: GPIO1 }
