//! Improv on the serial line. The log shares the line: packets are found among whatever else runs over it.
//!
//! Boards with USB in the chip are heard there and on UART0, because nobody knows which of the two has a plug. Answers go
//! where the log goes: esp-println takes USB once a computer has been seen on it, else UART0.

use crate::board::Console;
use crate::setup::Setup;
use crate::{now, radio};
use casement_core::improv::{Facts, Parser, Session};
use embassy_futures::select::{Either, select};
use esp_hal::Async;
use esp_hal::uart::{Config, UartRx};
#[cfg(not(feature = "esp32"))]
use esp_hal::usb::usb_serial_jtag::{UsbSerialJtag, UsbSerialJtagRx};
use esp_println::Printer;
use log::{error, info};

/// Bytes that are taken from a line at once.
type Bytes = heapless::Vec<u8, 64>;

/// Answers for ever.
#[embassy_executor::task]
pub async fn answer(console: Console, setup: &'static Setup) {
    let Some(mut lines) = Lines::open(console) else { return };
    let mut parsers = [Parser::new(), Parser::new()];
    let mut session = Session::new(setup.settings.wifi.is_some());
    let mut send = |bytes: &[u8]| Printer::write_bytes(bytes);
    loop {
        let (line, bytes) = match lines.next().await {
            Either::First(bytes) => (0, bytes),
            Either::Second(bytes) => (1, bytes),
        };
        let Some(parser) = parsers.get_mut(line) else { continue };
        for byte in bytes {
            parser.push(byte, now());
            while let Some(packet) = parser.packet() {
                let scan =
                    if packet.asks_for_networks() { radio::scan().await } else { radio::last_scan().await };
                let networks = scan.networks();
                let facts = Facts { networks: &networks, ..setup.facts() };
                let Some(wanted) = session.take(&packet, &facts, &mut send) else { continue };
                match setup.attempt(&wanted).await {
                    Ok(()) => {
                        session.connected(&wanted, &mut send);
                        setup.start_anew().await;
                    }
                    Err(why) => {
                        info!("the new settings do not work: {why}");
                        session.failed(&mut send);
                    }
                }
            }
        }
    }
}

/// Everything that can be heard.
struct Lines {
    uart: UartRx<'static, Async>,
    #[cfg(not(feature = "esp32"))]
    usb: UsbSerialJtagRx<'static, Async>,
}

impl Lines {
    fn open(console: Console) -> Option<Self> {
        // 115,200 baud and eight bits, as the bootloader has set it and as the log goes out.
        match UartRx::new(console.uart, Config::default()) {
            Ok(uart) => Some(Self {
                uart: uart.with_rx(console.rx).into_async(),
                #[cfg(not(feature = "esp32"))]
                usb: UsbSerialJtag::new(console.usb).into_async().split().0,
            }),
            Err(error) => {
                error!("nothing can be heard on the serial line: {error:?}");
                None
            }
        }
    }

    /// What comes next, on UART0 or USB.
    async fn next(&mut self) -> Either<Bytes, Bytes> {
        let (mut first, mut second) = ([0; 64], [0; 64]);
        let uart = async {
            loop {
                // A byte that came damaged is one that did not come: the packet's sum finds out.
                if let Ok(len) = self.uart.read_async(&mut first).await {
                    return len;
                }
            }
        };
        #[cfg(not(feature = "esp32"))]
        let usb = async {
            let Ok(len) = embedded_io_async::Read::read(&mut self.usb, &mut second).await;
            len
        };
        #[cfg(feature = "esp32")]
        let usb = core::future::pending::<usize>();
        let come = select(uart, usb).await;
        let taken = |bytes: &[u8], len| bytes.get(..len).unwrap_or_default().iter().copied().collect();
        match come {
            Either::First(len) => Either::First(taken(&first, len)),
            Either::Second(len) => {
                let second = &mut second;
                Either::Second(taken(second, len))
            }
        }
    }
}
