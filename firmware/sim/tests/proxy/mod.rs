//! The way between device and gateway, and what happens on it.
#![allow(dead_code, unreachable_pub, reason = "it is a module of a test")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where connections lead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Road {
    /// To this port of this machine.
    To(u16),
    /// They are taken and dropped.
    Drops,
    /// They are taken, and nothing is ever said.
    Silent,
    /// To this port, and after some bytes of answers they break.
    LosesAnswers(u16),
    /// To this port, and after some thousands of bytes of answers they break.
    Short(u16),
}

/// The way. A change of it breaks all connections that are open.
pub struct Proxy {
    pub port: u16,
    road: Arc<Mutex<(u64, Road)>>,
}

impl Proxy {
    pub fn start(road: Road) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Mutex::new((0, road)));
        let road = Arc::clone(&shared);
        std::thread::spawn(move || {
            for (number, device) in (0_u64..).zip(listener.incoming().flatten()) {
                let road = Arc::clone(&road);
                std::thread::spawn(move || lead(&device, &road, number));
            }
        });
        Self { port, road: shared }
    }

    pub fn lead(&self, road: Road) {
        let mut shared = self.road.lock().unwrap_or_else(PoisonError::into_inner);
        *shared = (shared.0 + 1, road);
    }
}

type Shared = Mutex<(u64, Road)>;

fn now(road: &Shared) -> (u64, Road) {
    *road.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lead(device: &TcpStream, road: &Shared, number: u64) {
    let (turn, way) = now(road);
    match way {
        Road::Drops => {}
        Road::Silent => copy(device, None, road, turn, u64::MAX),
        Road::To(port) | Road::LosesAnswers(port) | Road::Short(port) => {
            let Ok(gateway) = TcpStream::connect(("127.0.0.1", port)) else { return };
            let _small_packets_at_once = (device.set_nodelay(true), gateway.set_nodelay(true));
            // Some break within the handshake, some after one answer or several.
            let most = match way {
                Road::LosesAnswers(_) => 500 + number * 977 % 6_000,
                Road::Short(_) => 4_000 + number * 7_919 % 30_000,
                _ => u64::MAX,
            };
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    copy(device, Some(&gateway), road, turn, u64::MAX);
                    let _closed = gateway.shutdown(Shutdown::Both);
                });
                copy(&gateway, Some(device), road, turn, most);
                let _closed = (device.shutdown(Shutdown::Both), gateway.shutdown(Shutdown::Both));
            });
        }
    }
}

/// Copies bytes until either side closes, so many have passed, or the way changes.
fn copy(mut from: &TcpStream, mut to: Option<&TcpStream>, road: &Shared, turn: u64, most: u64) {
    let _polled = from.set_read_timeout(Some(Duration::from_millis(20)));
    let (mut buffer, mut passed) = ([0; 4_096], 0);
    while now(road).0 == turn {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => {
                passed += len as u64;
                if passed > most {
                    return;
                }
                if let Some(to) = &mut to
                    && to.write_all(&buffer[..len]).is_err()
                {
                    return;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}
