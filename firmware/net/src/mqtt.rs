//! One kept connection to one MQTT broker: batches are published at QoS 1, and the broker's acknowledgement of exactly
//! that packet is what readings are let go of for.
//!
//! **What it promises.** The broker has the readings then. A gateway, or whoever else subscribes, has them once it has
//! fetched them, and that is between the two. When a broker says that nobody subscribes, it has thrown the message away
//! (reason 0x10, §3.4.2.1 of MQTT 5): that is no acknowledgement here, and the readings are kept.
//!
//! **What is sent twice.** When a connection breaks between a message and its acknowledgement, the next one asks for the
//! broker's session (§4.4). If it is there, the same bytes go out under the same packet number, marked as sent before.
//! Otherwise the readings are a new message. In either case they are named by boot and number, so a receiver can tell.
//!
//! **Time.** A broker says no time, and keeps messages for as long as it takes. A reading that only knows its age would be
//! dated by when it is fetched, so nothing is sent before the date is known: a device that sends to a broker needs a time
//! server.

use crate::fault::Fault;
use crate::secure::{GOODBYE, Limits, Network, Place, Secure};
use casement_core::mqtt::{self, Connect, Garbage, PACKET_BYTES_MAX, Packet, Publish};
use casement_core::{Ack, UploadError};
use casement_proto::device_settings::{BrokerUrl, Secret, TOKEN_BYTES_MAX, URL_BYTES_MAX};
use casement_proto::wire::{self, Batch};
use casement_proto::{Crc32, DeviceId, Reading, ReadingTime};
use edge_nal::{Dns, TcpConnect};
use embassy_time::{Duration, Instant};
use embedded_svc::io::Error as _;
use heapless::String;
use heapless::c_string::CString;

/// The broker hangs up after half as long again without a word; half of it in between there is a sign of life.
const KEEP_ALIVE_S: u16 = 120;
/// How long the broker remembers a message that was on its way when the connection broke. Longer outages cost a
/// duplicate, which is named.
const SESSION_EXPIRY_S: u32 = 3_600;
/// How long a sign of life may take.
const ALIVE: Duration = Duration::from_secs(10);
/// Longest host name in bytes: as much of an address as is not `mqtts://`, and the zero that C wants.
const NAME_BYTES_MAX: usize = URL_BYTES_MAX - 7;

/// Reasons of the standard (§2.4) that a device gives itself.
const VERSION: u8 = 0x84;
const QOS: u8 = 0x9b;
/// The broker closed because nothing came for too long, or because a newer connection of this device took over.
const IDLE: u8 = 0x8d;
const TAKEN_OVER: u8 = 0x8e;

/// Where a broker is, and who the device is there.
#[derive(Clone, Debug)]
pub struct Broker {
    name: CString<NAME_BYTES_MAX>,
    port: u16,
    device: DeviceId,
    token: Secret<String<TOKEN_BYTES_MAX>>,
}

impl Broker {
    /// Takes an address, the device's name and its token.
    pub fn new(url: &BrokerUrl, device: DeviceId, token: &Secret<String<TOKEN_BYTES_MAX>>) -> Self {
        let (host, port) = url.name_and_port();
        let mut name = CString::new();
        // An address is longer than the name in it, and holds no zero. Were it otherwise, no certificate would fit.
        let _fits = name.extend_from_bytes(host.as_bytes());
        Self { name, port, device, token: token.clone() }
    }
}

/// One message at a time to one broker.
pub struct MqttConnection<'a, T: TcpConnect, D> {
    secure: Secure<'a, T, D>,
    broker: &'a Broker,
    limits: Limits,
    /// What came and is not read yet.
    came: heapless::Vec<u8, PACKET_BYTES_MAX>,
    /// Largest packet that the broker takes.
    packet_bytes_max: usize,
    /// How long it may hear nothing; none when it does not mind.
    keep_alive: Option<Duration>,
    last_sent: Instant,
    last_id: u16,
    pending: Option<Pending>,
    last_fault: Option<Fault>,
}

/// A message that went out, at least in part, and was not acknowledged. Its bytes lie where the batch was written.
#[derive(Clone, Copy)]
struct Pending {
    id: u16,
    body_bytes: usize,
    check: u32,
    names: Names,
}

/// Which readings are in a batch. They follow one another, so the ends say it all.
#[derive(Clone, Copy, PartialEq)]
struct Names {
    boot: Option<u64>,
    first: Option<u64>,
    last: Option<u64>,
    count: usize,
}

impl Names {
    fn of(batch: &Batch<'_>) -> Self {
        let seq = |reading: Option<&Reading>| reading.and_then(|reading| reading.seq);
        let (first, last) = (seq(batch.readings.first()), seq(batch.readings.last()));
        Self { boot: batch.boot, first, last, count: batch.readings.len() }
    }
}

/// Why a batch did not get through.
enum Stop {
    Fault(Fault),
    /// It does not fit where it is written.
    Batch,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<'a, T: TcpConnect, D: Dns> MqttConnection<'a, T, D> {
    /// A connection that is opened with the first batch.
    pub fn new(network: Network<'a, T, D>, broker: &'a Broker, limits: Limits) -> Self {
        let place = Place { name: broker.name.as_c_str(), port: broker.port };
        Self {
            secure: Secure::new(network, place),
            broker,
            limits,
            came: heapless::Vec::new(),
            packet_bytes_max: usize::MAX,
            keep_alive: None,
            last_sent: Instant::MIN,
            last_id: 0,
            pending: None,
            last_fault: None,
        }
    }

    /// Publishes a batch and waits until the broker has it. `body` is where it is written, and best the same place each
    /// time: a message that was not acknowledged is sent again from there, word for word, if it still lies there.
    ///
    /// # Errors
    /// See [`UploadError`]. What a broker refuses for a reason without a case of its own is [`UploadError::Status`] with the
    /// reason's number; that nobody subscribes is among them.
    pub async fn send(&mut self, batch: &Batch<'_>, body: &mut [u8]) -> Result<Ack, UploadError> {
        let stopped = self.deliver(batch, body).await.err();
        self.last_fault = match stopped {
            Some(Stop::Fault(fault)) => Some(fault),
            Some(Stop::Batch) | None => None,
        };
        let count = batch.readings.len();
        match stopped {
            None => Ok(Ack { stored: u32::try_from(count).unwrap_or(u32::MAX), ..Ack::default() }),
            Some(Stop::Batch) => Err(UploadError::Refused),
            // A single reading that is refused counts as unreadable and is let go of. Here it is only too large.
            Some(Stop::Fault(Fault::Broker(mqtt::TOO_LARGE))) if count < 2 => {
                Err(UploadError::Status(mqtt::TOO_LARGE.into()))
            }
            Some(Stop::Fault(fault)) => Err(Fault::tell(Some(fault), UploadError::Connection(fault.kind()))),
        }
    }

    /// Finds out whether the broker is there and takes the token.
    ///
    /// # Errors
    /// As [`MqttConnection::send`].
    pub async fn knock(&mut self) -> Result<(), UploadError> {
        let opened = self.open().await;
        self.note(opened).map_err(|fault| Fault::tell(Some(fault), UploadError::Connection(fault.kind())))
    }

    /// Why the last attempt failed; `None` after one that did not.
    pub fn last_fault(&self) -> Option<Fault> {
        self.last_fault
    }

    /// When the broker wants a sign of life; `None` while there is no connection.
    pub fn ping_at(&self) -> Option<Instant> {
        let keep_alive = self.keep_alive.filter(|_| self.secure.is_open())?;
        Some(self.last_sent + keep_alive / 2)
    }

    /// Gives a sign of life and waits for the answer. A connection without one is closed; the next batch opens another.
    pub async fn ping(&mut self) {
        let answered = self.alive().await;
        if answered.is_err() {
            self.secure.drop_it();
        }
    }

    /// Says goodbye and closes, before the network goes or the device sleeps.
    pub async fn close(&mut self) {
        if self.secure.is_open() {
            self.secure.deadline = Instant::now() + GOODBYE;
            let _lost = self.say(&mqtt::DISCONNECT, &[]).await;
        }
        self.secure.close().await;
        self.came.clear();
    }

    async fn deliver(&mut self, batch: &Batch<'_>, body: &mut [u8]) -> Result<(), Stop> {
        if batch.readings.iter().any(|reading| !matches!(reading.time, ReadingTime::At(_))) {
            return Err(Fault::Clock.into());
        }
        // Bytes that are gone cannot be sent again: the broker shall forget them, too.
        self.pending = self.pending.filter(|pending| {
            body.get(..pending.body_bytes).is_some_and(|it| Crc32::new().with(it).value() == pending.check)
        });
        let opened = self.open().await;
        self.note(opened)?;
        let names = Names::of(batch);
        if let Some(pending) = self.pending {
            let sent = body.get(..pending.body_bytes).unwrap_or_default();
            self.publish(pending.id, true, sent).await?;
            if pending.names == names {
                return Ok(());
            }
        }
        let len = wire::encode_json(batch, body).map_err(|_| Stop::Batch)?;
        let body = body.get(..len).unwrap_or_default();
        // 0 names no packet.
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let check = Crc32::new().with(body).value();
        self.pending = Some(Pending { id: self.last_id, body_bytes: len, check, names });
        Ok(self.publish(self.last_id, false, body).await?)
    }

    /// Makes sure of a connection that the broker has accepted.
    async fn open(&mut self) -> Result<(), Fault> {
        if self.came.is_empty() && self.secure.is_quiet().await {
            return Ok(());
        }
        self.came.clear();
        self.secure.deadline = Instant::now() + self.limits.connect;
        self.secure.open().await?;
        let clean = self.pending.is_none();
        let connect = Connect {
            device: self.broker.device.as_str(),
            password: self.broker.token.reveal(),
            keep_alive_s: KEEP_ALIVE_S,
            session_expiry_s: SESSION_EXPIRY_S,
            clean,
        };
        let packet = connect.encode().ok_or(Fault::State)?;
        self.say(&packet, &[]).await?;
        let Packet::Connected(connected) = self.next().await? else { return Err(Fault::Protocol) };
        if connected.reason != 0 {
            return Err(Fault::Broker(connected.reason));
        }
        if !connected.acknowledges {
            return Err(Fault::Broker(QOS));
        }
        match (clean, connected.session_present) {
            (_, false) => self.pending = None,
            // It was told to forget (§3.2.2.1.1).
            (true, true) => return Err(Fault::Protocol),
            (false, true) => {}
        }
        self.packet_bytes_max =
            connected.packet_bytes_max.and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX);
        let keep_alive_s = connected.keep_alive_s.unwrap_or(KEEP_ALIVE_S);
        self.keep_alive = (keep_alive_s > 0).then(|| Duration::from_secs(keep_alive_s.into()));
        self.secure.remember();
        Ok(())
    }

    async fn publish(&mut self, id: u16, again: bool, body: &[u8]) -> Result<(), Fault> {
        self.secure.deadline = Instant::now() + self.limits.exchange;
        let answered = self.exchange(id, again, body).await;
        let reason = self.note(answered)?;
        // It has been decided about, one way or the other.
        self.pending = None;
        if reason >= 0x80 || reason == mqtt::NO_SUBSCRIBERS { Err(Fault::Broker(reason)) } else { Ok(()) }
    }

    /// Sends a message and gives the reason in its acknowledgement.
    async fn exchange(&mut self, id: u16, again: bool, body: &[u8]) -> Result<u8, Fault> {
        let device = self.broker.device.as_str();
        let publish = Publish { device, id, again, body_bytes: body.len() };
        let head = publish.encode().ok_or(Fault::State)?;
        if head.len() + body.len() > self.packet_bytes_max {
            // As the broker would say, if it were asked.
            return Ok(mqtt::TOO_LARGE);
        }
        self.say(&head, body).await?;
        match self.next().await? {
            Packet::Published { id: of, reason } if of == id => Ok(reason),
            // An acknowledgement of anything else says nothing about this message.
            _ => Err(Fault::Protocol),
        }
    }

    async fn alive(&mut self) -> Result<(), Fault> {
        self.secure.deadline = Instant::now() + ALIVE.min(self.limits.exchange);
        self.say(&mqtt::PING, &[]).await?;
        if self.next().await? == Packet::Alive { Ok(()) } else { Err(Fault::Protocol) }
    }

    async fn say(&mut self, head: &[u8], body: &[u8]) -> Result<(), Fault> {
        self.last_sent = Instant::now();
        self.secure.write_all(head).await?;
        self.secure.write_all(body).await?;
        self.secure.flush().await
    }

    /// What the broker says next, unless that is goodbye.
    async fn next(&mut self) -> Result<Packet, Fault> {
        loop {
            match mqtt::take(&self.came) {
                Ok(Some((packet, len))) => {
                    self.came.rotate_left(len);
                    self.came.truncate(self.came.len() - len);
                    return match packet {
                        Packet::Ended { reason: IDLE | TAKEN_OVER | 0..0x80 } => Err(Fault::Closed),
                        Packet::Ended { reason } => Err(Fault::Broker(reason)),
                        packet => Ok(packet),
                    };
                }
                Err(Garbage::TooLarge) => return Err(Fault::TooLarge),
                Err(Garbage::Version) => return Err(Fault::Broker(VERSION)),
                Err(Garbage::Malformed) => return Err(Fault::Protocol),
                Ok(None) => {}
            }
            let mut chunk = [0; PACKET_BYTES_MAX];
            let room = PACKET_BYTES_MAX - self.came.len();
            let chunk = chunk.get_mut(..room).filter(|room| !room.is_empty()).ok_or(Fault::TooLarge)?;
            let len = self.secure.read(chunk).await?;
            let _fits = self.came.extend_from_slice(chunk.get(..len).unwrap_or_default());
        }
    }

    /// A connection on which something went wrong is not used again.
    fn note<V>(&mut self, result: Result<V, Fault>) -> Result<V, Fault> {
        if result.is_err() {
            self.secure.drop_it();
        }
        result
    }
}
