//! Port numbers that nobody else takes meanwhile. A gateway may choose its port as it starts; what an authority is to
//! connect back to must be known before.

use anyhow::{Context, Result, bail};
use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which Linux takes ports by itself.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A port that is kept for its owner among all scenarios of this machine, until it is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Takes a free one.
    ///
    /// # Errors
    /// When there is none.
    pub fn reserve() -> Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let folder = std::env::temp_dir().join("casement-ports");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        // Scenarios that run side by side begin at different places.
        let own = (u64::from(std::process::id()) * 97 % u64::from(COUNT)) as u16;
        for _ in 0..COUNT {
            let number = FIRST + (own + NEXT.fetch_add(1, Ordering::SeqCst) % COUNT) % COUNT;
            let lock = File::create(folder.join(number.to_string()))?;
            match lock.try_lock() {
                Ok(()) if is_free(number) => return Ok(Self { number, _lock: lock }),
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
        bail!("no free port from {FIRST} to {}", FIRST + COUNT)
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// The port at 127.0.0.1.
    #[must_use]
    pub fn local(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

/// Something that one scenario at a time may do to this machine, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _lock: File,
}

impl Turn {
    /// Waits for it.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub async fn take(what: &'static str) -> Result<Self> {
        let folder = std::env::temp_dir().join("casement-ports");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let lock = File::create(folder.join(what))?;
        let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
        Ok(Self { _lock: lock })
    }
}

fn is_free(number: u16) -> bool {
    let bound = TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok()
        && UdpSocket::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok();
    // A machine without IPv6 has nothing there that could be taken.
    let six = has_ipv6().then(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, number)).is_ok());
    bound && six != Some(false)
}

/// Whether this machine has `::1`.
#[must_use]
pub fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}
