//! A broker on paper: real TLS, and for each connection a script of what it answers. It notes what it was told.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use crate::server::{Chain, Version, tls_config};
use rustls::{ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a broker does on one connection.
#[derive(Clone, Copy, Debug)]
pub enum Script {
    /// Takes everything; says whether it has a session.
    Good { session: bool },
    /// This in place of a CONNACK.
    Hello(&'static [u8]),
    /// A good CONNACK, and this in place of each PUBACK. `\xff\xff` stands for the packet's number.
    Answer(&'static [u8]),
    /// Closes once it has the whole message.
    Cut,
    /// Takes the message and says nothing.
    Silence,
}

/// What it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A new connection.
    Connect {
        clean: bool,
        device: String,
        user: String,
        password: String,
    },
    /// A message.
    Publish {
        again: bool,
        id: u16,
        topic: String,
        body: String,
    },
    Ping,
    Goodbye,
}

pub struct Broker {
    pub port: u16,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Broker {
    /// One script for each connection; the last one counts for all further ones.
    pub fn start(chain: &Chain, version: Version, scripts: &'static [Script]) -> Self {
        let config = Arc::new(tls_config(chain, version));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let told = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&told);
        std::thread::spawn(move || {
            let scripts = scripts.iter().chain(std::iter::repeat(scripts.last().expect("a script")));
            for (tcp, script) in listener.incoming().flatten().zip(scripts) {
                let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
                let told = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // A device that goes away is what some of these tests are about.
                    let _gone = serve(StreamOwned::new(connection, tcp), *script, &told);
                });
            }
        });
        Self { port, told }
    }

    /// Everything it was told so far, on all connections.
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn connects(&self) -> usize {
        self.told().iter().filter(|told| matches!(told, Told::Connect { .. })).count()
    }

    /// The messages: whether again, number and body.
    pub fn messages(&self) -> Vec<(bool, u16, String)> {
        let told = self.told().into_iter();
        told.filter_map(|told| match told {
            Told::Publish { again, id, body, .. } => Some((again, id, body)),
            _ => None,
        })
        .collect()
    }
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

fn serve(mut tls: Stream, script: Script, told: &Mutex<Vec<Told>>) -> std::io::Result<()> {
    tls.sock.set_read_timeout(Some(Duration::from_secs(20)))?;
    tls.sock.set_nodelay(true)?;
    loop {
        let (kind, body) = packet(&mut tls)?;
        let heard = hear(kind, &body);
        told.lock().unwrap_or_else(PoisonError::into_inner).push(heard.clone());
        let answer = match (heard, script) {
            (Told::Connect { .. }, Script::Hello(bytes)) => bytes.to_vec(),
            (Told::Connect { .. }, Script::Good { session: true }) => b"\x20\x03\x01\x00\x00".to_vec(),
            (Told::Connect { .. }, _) => b"\x20\x03\x00\x00\x00".to_vec(),
            (Told::Publish { .. }, Script::Cut) => return Ok(()),
            (Told::Publish { .. }, Script::Silence) => vec![],
            (Told::Publish { id, .. }, Script::Answer(bytes)) => {
                let mut answer = bytes.to_vec();
                if let Some(at) = answer.windows(2).position(|two| two == b"\xff\xff") {
                    answer[at..at + 2].copy_from_slice(&id.to_be_bytes());
                }
                answer
            }
            // Byte by byte at the edge: the answer comes in two pieces.
            (Told::Publish { id, .. }, _) => {
                tls.write_all(b"\x40")?;
                tls.flush()?;
                [&[2][..], &id.to_be_bytes()].concat()
            }
            (Told::Ping, Script::Good { .. }) => vec![0xd0, 0],
            (Told::Ping, _) => vec![],
            (Told::Goodbye, _) => return Ok(()),
        };
        tls.write_all(&answer)?;
        tls.flush()?;
    }
}

fn packet(tls: &mut Stream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    tls.read_exact(&mut byte)?;
    let [kind] = byte;
    let (mut length, mut shift) = (0, 0);
    loop {
        tls.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    tls.read_exact(&mut body)?;
    Ok((kind, body))
}

/// Takes a packet apart, as MQTT 5 says.
fn hear(kind: u8, body: &[u8]) -> Told {
    let mut rest = body;
    let mut bytes = |count: usize| {
        let (taken, left) = rest.split_at(count);
        rest = left;
        taken
    };
    match kind {
        0x10 => {
            assert_eq!(bytes(7), b"\x00\x04MQTT\x05");
            let flags = bytes(1)[0];
            assert_eq!(flags & !2, 0b1100_0000, "user and password, no will");
            let _keep_alive = bytes(2);
            let properties = bytes(1)[0];
            let _properties = bytes(properties.into());
            let mut text = || {
                let length = bytes(2);
                let length = u16::from_be_bytes([length[0], length[1]]);
                String::from_utf8(bytes(length.into()).to_vec()).expect("text")
            };
            let (device, user, password) = (text(), text(), text());
            assert!(rest.is_empty());
            Told::Connect { clean: flags & 2 != 0, device, user, password }
        }
        0x32 | 0x3a => {
            let length = bytes(2);
            let length = u16::from_be_bytes([length[0], length[1]]);
            let topic = String::from_utf8(bytes(length.into()).to_vec()).expect("text");
            let id = bytes(2);
            let id = u16::from_be_bytes([id[0], id[1]]);
            assert_ne!(id, 0);
            let properties = bytes(1)[0];
            let _properties = bytes(properties.into());
            let body = String::from_utf8(rest.to_vec()).expect("text");
            Told::Publish { again: kind == 0x3a, id, topic, body }
        }
        0xc0 => Told::Ping,
        0xe0 => Told::Goodbye,
        kind => panic!("a device sends no packet {kind:#x}"),
    }
}
