//! What is wrong, in plain words for a person in front of the device, and as a word for programs.

use super::Fault;
use crate::mqtt;
use crate::radio::NotJoined;
use crate::uplink::{Certificate, UploadError};
use core::fmt;
use embedded_svc::io::ErrorKind;

/// A broker's reason, where a gateway has a status.
const NO_SUBSCRIBERS: u16 = mqtt::NO_SUBSCRIBERS as u16;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The sensor gives nothing.
    Sensor(Fault),
    /// The sensor gives the same number for an hour.
    Frozen,
    /// The sensor gives numbers that do not add up.
    Doubtful,
    /// Readings were given up within the last hour because the queue was full.
    QueueFull,
    /// The flash refused something within the last hour.
    Flash,
    /// There is no network.
    NoNetwork,
    /// The network could not be joined, and this is why.
    NotJoined(NotJoined),
    /// The gateway did not take the last batch.
    Upload(UploadError),
}

impl Trouble {
    /// The word in reports. A word never changes its meaning.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Sensor(Fault::Bus) => "sensor_missing",
            Self::Sensor(Fault::Crc) => "sensor_checksum",
            Self::Sensor(Fault::Timeout) => "sensor_slow",
            Self::Sensor(Fault::Range) => "sensor_range",
            Self::Sensor(Fault::SelfTest) => "sensor_broken",
            Self::Frozen => "sensor_frozen",
            Self::Doubtful => "sensor_doubtful",
            Self::QueueFull => "queue_full",
            Self::Flash => "flash",
            Self::NoNetwork => "no_network",
            Self::NotJoined(NotJoined::Missing) => "network_missing",
            Self::NotJoined(NotJoined::Password) => "network_password",
            Self::NotJoined(NotJoined::Address) => "no_address",
            Self::Upload(UploadError::Connection(ErrorKind::NotFound)) => "no_such_host",
            Self::Upload(UploadError::Connection(_)) => "no_answer",
            Self::Upload(UploadError::Certificate(Certificate::Expired)) => "certificate_expired",
            Self::Upload(UploadError::Certificate(Certificate::NotYet)) => "certificate_not_yet",
            Self::Upload(UploadError::Certificate(Certificate::Name)) => "certificate_name",
            Self::Upload(UploadError::Certificate(Certificate::Authority)) => "certificate_authority",
            Self::Upload(UploadError::Certificate(Certificate::Broken)) => "certificate_broken",
            Self::Upload(UploadError::Token) => "token_refused",
            Self::Upload(UploadError::Busy { .. }) => "gateway_busy",
            Self::Upload(UploadError::Full { .. }) => "gateway_full",
            Self::Upload(UploadError::Answer | UploadError::Status(300..=399)) => "not_the_gateway",
            Self::Upload(UploadError::Refused) => "batch_refused",
            Self::Upload(UploadError::Status(NO_SUBSCRIBERS)) => "no_subscriber",
            Self::Upload(UploadError::Status(_)) => "gateway_error",
        }
    }
}

impl fmt::Display for Trouble {
    /// What it is, and what a person can do. Short enough for four lines of forty characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sensor(Fault::Bus) => "The sensor does not answer. Check its plug.",
            Self::Sensor(Fault::Crc) => {
                "The sensor's data arrives damaged. Check its cable; a shorter one may help."
            }
            Self::Sensor(Fault::Timeout) => {
                "The sensor is not ready in time. Unplug the device for ten seconds."
            }
            Self::Sensor(Fault::Range) => {
                "The sensor says what cannot be true. Unplug the device for ten seconds."
            }
            Self::Sensor(Fault::SelfTest) => "The sensor says that it is broken. Replace it.",
            Self::Frozen => "The sensor has said the same for an hour. Unplug the device for ten seconds.",
            Self::Doubtful => "The sensor's number does not add up. Calibrate it in fresh air.",
            Self::QueueFull => "No room for more readings: the oldest are being dropped. Check the network.",
            Self::Flash => "The memory for readings refuses to write. Replace the device if this stays.",
            Self::NoNetwork => {
                "No Wi-Fi. Readings are kept. Check the access point, or set the Wi-Fi up again."
            }
            Self::NotJoined(NotJoined::Missing) => {
                "The Wi-Fi is not in reach. Readings are kept. Is it on, and is its name still the same?"
            }
            Self::NotJoined(NotJoined::Password) => {
                "The Wi-Fi refuses the password. Readings are kept. Set the Wi-Fi up again."
            }
            Self::NotJoined(NotJoined::Address) => {
                "The Wi-Fi gives no address. Readings are kept. Restart the router, or ask who runs it."
            }
            Self::Upload(UploadError::Connection(ErrorKind::NotFound)) => {
                "The gateway's name is not found. Readings are kept. Check the internet and the address."
            }
            Self::Upload(UploadError::Connection(_)) => {
                "The gateway does not answer. Readings are kept. Check the internet and the gateway."
            }
            Self::Upload(UploadError::Certificate(Certificate::Expired)) => {
                "The gateway's certificate has expired. Nothing is sent. Ask casement doctor there."
            }
            Self::Upload(UploadError::Certificate(Certificate::NotYet)) => {
                "The clock lags, or the gateway's certificate is too new. Let time servers through (UDP 123)."
            }
            Self::Upload(UploadError::Certificate(Certificate::Name)) => {
                "The certificate is for another name. Check the gateway's address, or sign in to this Wi-Fi."
            }
            Self::Upload(UploadError::Certificate(Certificate::Authority)) => {
                "The gateway's authority is unknown here. Does this Wi-Fi ask to sign in? If not, set the device up again."
            }
            Self::Upload(UploadError::Certificate(Certificate::Broken)) => {
                "The gateway's certificate is broken. Nothing is sent. Ask casement doctor there."
            }
            Self::Upload(UploadError::Token) => {
                "The gateway does not know this device. Readings are kept. Set it up again for a new token."
            }
            Self::Upload(UploadError::Busy { .. }) => {
                "The gateway is busy. Readings are kept and sent later."
            }
            Self::Upload(UploadError::Full { .. }) => {
                "The gateway's disk is full. Readings are kept. Make room there."
            }
            Self::Upload(UploadError::Answer | UploadError::Status(300..=399)) => {
                "Something else answers for the gateway. Does this Wi-Fi ask to sign in?"
            }
            Self::Upload(UploadError::Refused) => {
                "The gateway cannot read a reading. It is looked for and left out."
            }
            Self::Upload(UploadError::Status(NO_SUBSCRIBERS)) => {
                "Nobody fetches readings from the broker. They are kept. Start what should subscribe there."
            }
            Self::Upload(UploadError::Status(status)) => {
                return write!(f, "The gateway has a fault ({status}). Readings are kept. Look at its log.");
            }
        })
    }
}
