//! As much of MQTT 5 as a device needs to publish at QoS 1: four packets out, four in. Bytes only; sending them is the
//! caller's.
//!
//! Sections are those of the OASIS standard "MQTT Version 5.0". A device subscribes to nothing and says in its first
//! packet that it takes no packet above [`PACKET_BYTES_MAX`] (§3.1.2.11.4), so what a broker may send is short, and
//! whatever else comes is refused before it is kept.

use crate::uplink::UploadError;

/// Largest packet that is taken from a broker, in bytes.
pub const PACKET_BYTES_MAX: usize = 256;

/// Longest head of a packet that is sent: everything but the body of a PUBLISH.
pub const HEAD_BYTES_MAX: usize = 384;

/// A packet to send, or what comes before the body of one.
pub type Head = heapless::Vec<u8, HEAD_BYTES_MAX>;

/// Asks for liveness (§3.12).
pub const PING: [u8; 2] = [0xc0, 0];

/// Says goodbye. The session stays as long as its expiry says (§3.14).
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Nobody subscribes to this topic: the broker has taken the message and thrown it away (§3.4.2.1).
pub const NO_SUBSCRIBERS: u8 = 0x10;

/// The reason that stands for "larger than I take" (§2.4).
pub const TOO_LARGE: u8 = 0x95;

/// Who connects, and how.
#[derive(Clone, Copy)]
pub struct Connect<'a> {
    /// Client id and user. The same each time, so that a broker ends an older connection of this device (§3.1.4).
    pub device: &'a str,
    /// The device's token.
    pub password: &'a str,
    /// The broker hangs up when it hears nothing for half as long again; in seconds, 0 turns it off.
    pub keep_alive_s: u16,
    /// How long the broker keeps the session after the connection, in seconds.
    pub session_expiry_s: u32,
    /// Begin with an empty session.
    pub clean: bool,
}

impl Connect<'_> {
    /// The packet (§3.1); `None` when device or password are longer than they can be.
    pub fn encode(&self) -> Option<Head> {
        const FLAGS: u8 = 0b1100_0000;
        let mut properties = heapless::Vec::<u8, 16>::new();
        properties.push(SESSION_EXPIRY).ok()?;
        properties.extend_from_slice(&self.session_expiry_s.to_be_bytes()).ok()?;
        properties.push(PACKET_MAX).ok()?;
        properties.extend_from_slice(&u32::try_from(PACKET_BYTES_MAX).ok()?.to_be_bytes()).ok()?;
        let mut out = Body::new();
        text(&mut out, "MQTT")?;
        out.extend_from_slice(&[5, FLAGS | u8::from(self.clean) << 1]).ok()?;
        out.extend_from_slice(&self.keep_alive_s.to_be_bytes()).ok()?;
        out.push(u8::try_from(properties.len()).ok()?).ok()?;
        out.extend_from_slice(&properties).ok()?;
        text(&mut out, self.device)?;
        text(&mut out, self.device)?;
        text(&mut out, self.password)?;
        head(0x10, &out, 0)
    }
}

/// A message to send at QoS 1.
#[derive(Clone, Copy)]
pub struct Publish<'a> {
    /// Whose readings they are; the topic is `casement/<device>/readings`.
    pub device: &'a str,
    /// Names the packet until it is acknowledged. Not 0.
    pub id: u16,
    /// It was sent before, word for word.
    pub again: bool,
    /// Length of the body, which follows.
    pub body_bytes: usize,
}

impl Publish<'_> {
    /// Everything before the body (§3.3); `None` when the device's name is too long or the body larger than MQTT knows.
    pub fn encode(&self) -> Option<Head> {
        // Their length, then: text in UTF-8, and of which kind (§3.3.2.3).
        const PROPERTIES: &[u8] = b"\x15\x01\x01\x03\x00\x10application/json";
        let [before, after] = TOPIC;
        let topic = before.len() + self.device.len() + after.len();
        let mut out = Body::new();
        out.extend_from_slice(&u16::try_from(topic).ok()?.to_be_bytes()).ok()?;
        for part in [before, self.device, after] {
            out.extend_from_slice(part.as_bytes()).ok()?;
        }
        out.extend_from_slice(&self.id.to_be_bytes()).ok()?;
        out.extend_from_slice(PROPERTIES).ok()?;
        head(0x32 | u8::from(self.again) << 3, &out, self.body_bytes)
    }
}

/// What a broker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// To the first packet.
    Connected(Connected),
    /// It has a message, or says why not.
    Published {
        /// Of which packet.
        id: u16,
        /// Below 0x80 it has it; but see [`NO_SUBSCRIBERS`].
        reason: u8,
    },
    /// It is there.
    Alive,
    /// It ends the connection.
    Ended {
        /// Why; 0 without a reason.
        reason: u8,
    },
}

/// How a broker takes a connection (§3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// It still has the session of the connection before.
    pub session_present: bool,
    /// From 0x80 on it refuses.
    pub reason: u8,
    /// How often it wants to hear from us in place of what we asked for, in seconds.
    pub keep_alive_s: Option<u16>,
    /// Largest packet it takes, in bytes.
    pub packet_bytes_max: Option<u32>,
    /// Whether it takes messages with an acknowledgement at all.
    pub acknowledges: bool,
}

/// Why what came is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Garbage {
    /// It is larger than what we said we take.
    #[error("larger than was agreed")]
    TooLarge,
    /// The broker does not know MQTT 5 (an answer of MQTT 3.1.1, §4.2 there).
    #[error("the broker does not speak MQTT 5")]
    Version,
    /// Anything else.
    #[error("not MQTT")]
    Malformed,
}

/// Reads the packet that bytes begin with, and how many it takes; `None` while it is not whole.
///
/// # Errors
/// See [`Garbage`]; the connection is of no more use then (§4.13).
pub fn take(bytes: &[u8]) -> Result<Option<(Packet, usize)>, Garbage> {
    let Some((kind, rest)) = bytes.split_first() else { return Ok(None) };
    // What may come at all, before its length is believed.
    if !matches!(kind, 0x20 | 0x40 | 0xd0 | 0xe0) {
        return Err(Garbage::Malformed);
    }
    let Some((length, rest)) = number(rest)? else { return Ok(None) };
    let whole = (bytes.len() - rest.len()).saturating_add(length);
    if whole > PACKET_BYTES_MAX {
        return Err(Garbage::TooLarge);
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let packet = match kind {
        0x20 => Packet::Connected(connected(body)?),
        0x40 => published(body)?,
        0xd0 if body.is_empty() => Packet::Alive,
        0xe0 => ended(body)?,
        _ => return Err(Garbage::Malformed),
    };
    Ok(Some((packet, whole)))
}

/// What a device makes of a refusal (§2.4). A refusal that is none of these keeps its number, [`NO_SUBSCRIBERS`] among
/// them. No number is that of an answer of HTTP: those below 200 are interim and end no upload.
pub const fn refusal(reason: u8) -> UploadError {
    match reason {
        // Bad user or password, not authorised, banned, bad method.
        0x86 | 0x87 | 0x8a | 0x8c => UploadError::Token,
        // Unavailable, busy, shutting down, too many packets, too fast, quota, connections too fast.
        0x88 | 0x89 | 0x8b | 0x93 | 0x96 | 0x97 | 0x9f => UploadError::Busy { retry_after_ms: None },
        TOO_LARGE => UploadError::Refused,
        reason => UploadError::Status(reason as u16),
    }
}

fn connected(body: &[u8]) -> Result<Connected, Garbage> {
    let [flags, reason, rest @ ..] = body else { return Err(Garbage::Malformed) };
    if rest.is_empty() {
        // MQTT 3.1.1 knows no properties, and calls this version unacceptable.
        return Err(if *reason == 1 { Garbage::Version } else { Garbage::Malformed });
    }
    let refused = *reason >= 0x80;
    if *flags > 1 || (refused && *flags == 1) || (!refused && *reason != 0) {
        return Err(Garbage::Malformed);
    }
    let mut it = Connected {
        session_present: *flags == 1,
        reason: *reason,
        keep_alive_s: None,
        packet_bytes_max: None,
        acknowledges: true,
    };
    properties(rest, |property| match property {
        Property::Byte(QOS_MAX, level) => {
            it.acknowledges = level == 1;
            level <= 1
        }
        Property::Two(KEEP_ALIVE, seconds) => {
            it.keep_alive_s = Some(seconds);
            true
        }
        Property::Two(RECEIVE_MAX, count) => count > 0,
        Property::Four(PACKET_MAX, bytes) => {
            it.packet_bytes_max = Some(bytes);
            bytes > 0
        }
        _ => true,
    })?;
    Ok(it)
}

fn published(body: &[u8]) -> Result<Packet, Garbage> {
    let (id, rest) = body.split_first_chunk().ok_or(Garbage::Malformed)?;
    let (reason, rest) = rest.split_first().map_or((0, rest), |(reason, rest)| (*reason, rest));
    if !rest.is_empty() {
        properties(rest, |_| true)?;
    }
    Ok(Packet::Published { id: u16::from_be_bytes(*id), reason })
}

fn ended(body: &[u8]) -> Result<Packet, Garbage> {
    let (reason, rest) = body.split_first().map_or((0, body), |(reason, rest)| (*reason, rest));
    if !rest.is_empty() {
        properties(rest, |_| true)?;
    }
    Ok(Packet::Ended { reason })
}

/// A property that matters here, by its identifier.
enum Property {
    Byte(u8, u8),
    Two(u8, u16),
    Four(u8, u32),
    /// Any text.
    Other,
}

/// Goes through properties (§2.2.2) that take all of the bytes. Their number is bounded by that of the bytes.
fn properties(bytes: &[u8], mut take: impl FnMut(Property) -> bool) -> Result<(), Garbage> {
    let (length, mut rest) = number(bytes)?.ok_or(Garbage::Malformed)?;
    if rest.len() != length {
        return Err(Garbage::Malformed);
    }
    while let Some((id, after)) = rest.split_first() {
        let cut = Garbage::Malformed;
        let property = match *id {
            // One byte: most QoS, retain, and which subscriptions there are.
            0x24 | 0x25 | 0x28..=0x2a => {
                let (value, after) = after.split_first().ok_or(cut)?;
                rest = after;
                Property::Byte(*id, *value)
            }
            // Two: keep alive, most at once, most aliases.
            0x13 | 0x21 | 0x22 => {
                let (value, after) = after.split_first_chunk().ok_or(cut)?;
                rest = after;
                Property::Two(*id, u16::from_be_bytes(*value))
            }
            // Four: session expiry, largest packet.
            0x11 | 0x27 => {
                let (value, after) = after.split_first_chunk().ok_or(cut)?;
                rest = after;
                Property::Four(*id, u32::from_be_bytes(*value))
            }
            // Text or bytes: client id, method, data, information, another server, a reason in words.
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => {
                rest = skip(after)?;
                Property::Other
            }
            // A pair of texts.
            0x26 => {
                rest = skip(skip(after)?)?;
                Property::Other
            }
            _ => return Err(Garbage::Malformed),
        };
        if !take(property) {
            return Err(Garbage::Malformed);
        }
    }
    Ok(())
}

/// What follows a text.
fn skip(bytes: &[u8]) -> Result<&[u8], Garbage> {
    let (length, rest) = bytes.split_first_chunk().ok_or(Garbage::Malformed)?;
    rest.get(usize::from(u16::from_be_bytes(*length))..).ok_or(Garbage::Malformed)
}

/// Reads a number of variable length (§1.5.5); `None` while it is not whole.
fn number(bytes: &[u8]) -> Result<Option<(usize, &[u8])>, Garbage> {
    let mut value = 0;
    for at in 0..4 {
        let Some(byte) = bytes.get(at) else { return Ok(None) };
        value |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            // The shortest form is the only one.
            let shortest = at == 0 || *byte != 0;
            return match bytes.get(at + 1..) {
                Some(rest) if shortest => Ok(Some((value, rest))),
                _ => Err(Garbage::Malformed),
            };
        }
    }
    Err(Garbage::Malformed)
}

/// The variable part of a head: room for five bytes before it.
type Body = heapless::Vec<u8, { HEAD_BYTES_MAX - 5 }>;

fn text(out: &mut Body, text: &str) -> Option<()> {
    out.extend_from_slice(&u16::try_from(text.len()).ok()?.to_be_bytes()).ok()?;
    out.extend_from_slice(text.as_bytes()).ok()
}

/// Puts kind and length before a body, of which so many bytes are yet to follow.
fn head(kind: u8, body: &[u8], follow: usize) -> Option<Head> {
    let mut left = body.len().checked_add(follow).filter(|length| *length < 1 << 28)?;
    let mut out = Head::new();
    out.push(kind).ok()?;
    loop {
        let byte = (left & 0x7f) as u8;
        left >>= 7;
        out.push(if left == 0 { byte } else { byte | 0x80 }).ok()?;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(body).ok()?;
    Some(out)
}

/// Before and after the device's name, which holds nothing that a topic gives a meaning to.
const TOPIC: [&str; 2] = ["casement/", "/readings"];
const SESSION_EXPIRY: u8 = 0x11;
const KEEP_ALIVE: u8 = 0x13;
const RECEIVE_MAX: u8 = 0x21;
const QOS_MAX: u8 = 0x24;
const PACKET_MAX: u8 = 0x27;

#[cfg(test)]
mod tests;
