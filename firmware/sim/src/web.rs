//! The device's own pages on a TCP port of this computer, for browsers and tests: the set-up portal while it is open, else
//! the page in the local network.

use casement_core::http::{EXCHANGE_MS, SILENT_MS};
use embedded_svc::io::ErrorKind;
use embedded_svc::io::asynch::{ErrorType, Read, Write};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// A port, and whoever calls there.
#[derive(Debug)]
pub struct Door {
    callers: Receiver<Caller>,
    early: Option<Caller>,
    /// Where it is.
    pub address: SocketAddr,
}

impl Door {
    /// Opens it. Whoever waits on `bell` for something else hears of each caller, too.
    ///
    /// # Errors
    /// The address is taken, or not one of this computer.
    pub fn open(address: SocketAddr, bell: Option<SyncSender<Vec<u8>>>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        // Those who come while some wait already wait in the system's queue.
        let (sender, callers) = sync_channel(8);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if sender.send(Caller(stream)).is_err() {
                    break;
                }
                if let Some(bell) = &bell {
                    // A full bell rings already.
                    let _rings = bell.try_send(vec![]);
                }
            }
        });
        Ok(Self { callers, early: None, address })
    }

    /// Waits until somebody calls, or the time is over. `true` when somebody called.
    pub fn wait(&mut self, time: Duration) -> bool {
        if self.early.is_none() {
            self.early = self.callers.recv_timeout(time).ok();
        }
        self.early.is_some()
    }

    /// The next one who has called.
    pub fn caller(&mut self) -> Option<Caller> {
        self.early.take().or_else(|| self.callers.try_recv().ok())
    }
}

/// A connection, as the core's server reads and writes it.
#[derive(Debug)]
pub struct Caller(TcpStream);

impl Caller {
    /// Waits for the first byte, and sets how long it may be silent afterwards.
    ///
    /// # Errors
    /// The connection is broken, or nothing comes.
    pub fn patience(&self) -> io::Result<()> {
        self.0.set_read_timeout(Some(Duration::from_millis(SILENT_MS)))?;
        self.0.peek(&mut [0])?;
        self.0.set_read_timeout(Some(Duration::from_millis(EXCHANGE_MS)))?;
        self.0.set_write_timeout(Some(Duration::from_millis(EXCHANGE_MS)))
    }

    /// Says that nothing more comes, and waits until the other end has heard it: closed at once, with something unread, the
    /// system would take the answer back.
    pub fn hang_up(mut self) {
        let _gone = self.0.shutdown(Shutdown::Write);
        let mut rest = [0; 4_096];
        for _ in 0..64 {
            if !matches!(self.0.read(&mut rest), Ok(1..)) {
                break;
            }
        }
    }
}

impl ErrorType for Caller {
    type Error = ErrorKind;
}

impl Read for Caller {
    async fn read(&mut self, out: &mut [u8]) -> Result<usize, ErrorKind> {
        self.0.read(out).map_err(|_| ErrorKind::ConnectionReset)
    }
}

impl Write for Caller {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.0.write(bytes).map_err(|_| ErrorKind::ConnectionReset)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        self.0.flush().map_err(|_| ErrorKind::ConnectionReset)
    }
}
