//! A name server that says what it is told to, over UDP at 127.0.0.1. What it was not told does not exist.

use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const A: u16 = 1;
const AAAA: u16 = 28;
const CAA: u16 = 257;

const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// A running name server. Dropping it ends it.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Zone {
    records: BTreeMap<(String, u16), Vec<Vec<u8>>>,
    broken: BTreeSet<(String, u16)>,
}

impl Dns {
    /// Starts one that knows nothing.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let zone = Arc::new(Mutex::new(Zone::default()));
        let shared = Arc::clone(&zone);
        let server = tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let question = question.get(..length).unwrap_or_default();
                let answer = answer(question, &lock(&shared));
                if let Some(answer) = answer {
                    // Who asked asks again when nothing comes.
                    let _lost = socket.send_to(&answer, from).await;
                }
            }
        });
        Ok(Self { address, zone, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Makes a name have these addresses and no others.
    ///
    /// # Errors
    /// When one is no address.
    pub fn set(&self, name: &str, addresses: &[&str]) -> Result<()> {
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for address in addresses {
            match address.parse().with_context(|| (*address).to_owned())? {
                IpAddr::V4(address) => four.push(address.octets().to_vec()),
                IpAddr::V6(address) => six.push(address.octets().to_vec()),
            }
        }
        let mut zone = lock(&self.zone);
        zone.records.insert((name.to_owned(), A), four);
        zone.records.insert((name.to_owned(), AAAA), six);
        Ok(())
    }

    /// Makes a name have these CAA records and no others: flags, property, value.
    pub fn set_caa(&self, name: &str, records: &[(u8, &str, &str)]) {
        let wire = |(flags, tag, value): &(u8, &str, &str)| {
            let mut bytes = vec![*flags, tag.len() as u8];
            bytes.extend(tag.bytes());
            bytes.extend(value.bytes());
            bytes
        };
        lock(&self.zone).records.insert((name.to_owned(), CAA), records.iter().map(wire).collect());
    }

    /// Makes questions for CAA records of a name fail.
    pub fn break_caa(&self, name: &str) {
        lock(&self.zone).broken.insert((name.to_owned(), CAA));
    }

    /// Forgets everything about a name.
    pub fn forget(&self, name: &str) {
        let mut zone = lock(&self.zone);
        zone.records.retain(|(known, _), _| known != name);
        zone.broken.retain(|(known, _)| known != name);
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

/// RFC 1035 §4.1: the head, the question as it came, the answers.
fn answer(question: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let end = at + 4;
    let name = labels.join(".");
    let below = format!(".{name}");
    let exists =
        zone.records.keys().chain(&zone.broken).any(|(known, _)| *known == name || known.ends_with(&below));
    let records = zone.records.get(&(name.clone(), kind)).map_or(&[][..], Vec::as_slice);
    let code = match (zone.broken.contains(&(name, kind)), exists) {
        (true, _) => SERVFAIL,
        (false, false) => NXDOMAIN,
        (false, true) => 0,
    };
    let mut answer = question.get(..2)?.to_vec();
    // An answer to a question that wanted recursion, which was to be had.
    answer.extend([0x81, 0x80 | code, 0, 1]);
    answer.extend((records.len() as u16).to_be_bytes());
    answer.extend([0, 0, 0, 0]);
    answer.extend(question.get(12..end)?);
    for record in records {
        // The name of the question; class IN; one second to live.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 1]);
        answer.extend((record.len() as u16).to_be_bytes());
        answer.extend(record);
    }
    Some(answer)
}
