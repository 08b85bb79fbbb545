//! QEMU's machine `virt`: a serial port to write to and a register that ends the run.

use core::fmt::Write;

/// The transmit register of the 16550 serial port.
const SERIAL: *mut u8 = 0x1000_0000 as *mut u8;
/// The `sifive_test` device: what is written ends QEMU.
const FINISH: *mut u32 = 0x10_0000 as *mut u32;
const PASS: u32 = 0x5555;
const FAIL: u32 = 0x3333;

// The stack is set up, memory that must be zero is zeroed by QEMU, and there is nothing else to do before Rust.
core::arch::global_asm!(".section .init", ".globl _start", "_start: la sp, _stack", "call begin", "1: j 1b");

/// The serial port.
pub struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            // SAFETY: the register is there on this machine, and takes a byte at any time.
            unsafe { SERIAL.write_volatile(byte) };
        }
        Ok(())
    }
}

/// Writes to the serial port.
macro_rules! print {
    ($($text:tt)*) => {{
        let _always_fits = core::fmt::Write::write_fmt(&mut $crate::machine::Serial, format_args!($($text)*));
    }};
}
pub(crate) use print;

fn finish(how: u32) -> ! {
    // SAFETY: the register is there on this machine.
    unsafe { FINISH.write_volatile(how) };
    loop {
        core::hint::spin_loop();
    }
}

#[unsafe(no_mangle)]
extern "C" fn begin() -> ! {
    crate::run();
    finish(PASS)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    print!("{info}\n");
    finish(FAIL | 1 << 16)
}
