//! What went wrong on the way to the gateway, by what a person can do about it.

use casement_core::{Certificate, UploadError, mqtt};
use embedded_svc::io::{Error, ErrorKind};
use mbedtls_rs::sys;

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The date is not known, so no certificate can be judged.
    #[error("clock not set")]
    Clock,
    /// The name service does not know the gateway, or does not answer.
    #[error("gateway's name not found")]
    Name,
    /// Nobody takes a connection there.
    #[error("gateway not reachable")]
    Connect(ErrorKind),
    /// The certificate was refused. Nothing was sent.
    #[error("certificate: {0}")]
    Certificate(CertificateFault),
    /// The handshake or a record failed. The number is Mbed TLS's.
    #[error("TLS error {0}")]
    Tls(i32),
    /// A record or message is larger than this device's buffers. The gateway sends at most 4 KiB; something stands
    /// before it.
    #[error("TLS record too large")]
    Record,
    /// Too slow.
    #[error("gateway too slow")]
    TimedOut,
    /// The connection was closed in the middle.
    #[error("connection lost")]
    Closed,
    /// The answer is not HTTP/1.1 with a known length, or, from a broker, not MQTT.
    #[error("answer is not HTTP or MQTT")]
    Protocol,
    /// The head of the answer is too large.
    #[error("answer too large")]
    TooLarge,
    /// There is not enough memory for a session.
    #[error("out of memory")]
    Memory,
    /// The broker said no. The number is a reason code of MQTT 5 (§2.4).
    #[error("the broker refuses ({0:#04x})")]
    Broker(u8),
    /// Called out of order, or with something that cannot be a request.
    #[error("called out of order")]
    State,
}

/// Why a certificate was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// Its last day is over, or the device's date is wrong.
    #[error("expired")]
    Expired,
    /// Its first day has not come, or the device's date is wrong.
    #[error("not valid yet")]
    NotYetValid,
    /// It is for another name.
    #[error("other host")]
    WrongHost,
    /// Nobody whom the device trusts has signed it.
    #[error("unknown authority")]
    UnknownAuthority,
    /// Something else; the bits are those of Mbed TLS's `MBEDTLS_X509_BADCERT_*`.
    #[error("refused ({0:#x})")]
    Other(u32),
}

impl CertificateFault {
    /// What the verification's flags say; `None` when they say nothing is wrong. A signer nobody knows outweighs the
    /// rest, because then nothing in the certificate means anything.
    pub(crate) fn from_flags(flags: u32) -> Option<Self> {
        use mbedtls_rs::sys as x509;
        let has = |flag: u32| flags & flag != 0;
        Some(match flags {
            0 => return None,
            u32::MAX => Self::Other(flags),
            _ if has(x509::MBEDTLS_X509_BADCERT_NOT_TRUSTED) => Self::UnknownAuthority,
            _ if has(x509::MBEDTLS_X509_BADCERT_CN_MISMATCH) => Self::WrongHost,
            _ if has(x509::MBEDTLS_X509_BADCERT_EXPIRED) => Self::Expired,
            _ if has(x509::MBEDTLS_X509_BADCERT_FUTURE) => Self::NotYetValid,
            _ => Self::Other(flags),
        })
    }
}

impl Fault {
    /// What the core makes of an upload that ended with this error, when this was the connection's fault. The traits in
    /// between only pass on a kind, and what a person can do about it is worth telling apart: a certificate that was
    /// refused, a name that nobody knows, and something that answers and is no gateway (a page to sign in on, mostly).
    pub fn tell(fault: Option<Self>, error: UploadError) -> UploadError {
        let certificate = match (error, fault) {
            (UploadError::Connection(_), Some(Self::Certificate(fault))) => fault,
            // Without a date no certificate can be judged, and a broker takes nothing without one.
            (UploadError::Connection(_), Some(Self::Clock)) => CertificateFault::NotYetValid,
            (UploadError::Connection(_), Some(Self::Broker(reason))) => return mqtt::refusal(reason),
            (UploadError::Connection(_), Some(Self::Name)) => {
                return UploadError::Connection(ErrorKind::NotFound);
            }
            (UploadError::Connection(_), Some(Self::Protocol | Self::TooLarge)) => {
                return UploadError::Answer;
            }
            (UploadError::Connection(_), Some(Self::Tls(sys::MBEDTLS_ERR_SSL_INVALID_RECORD))) => {
                return UploadError::Answer;
            }
            _ => return error,
        };
        UploadError::Certificate(match certificate {
            CertificateFault::Expired => Certificate::Expired,
            CertificateFault::NotYetValid => Certificate::NotYet,
            CertificateFault::WrongHost => Certificate::Name,
            CertificateFault::UnknownAuthority => Certificate::Authority,
            CertificateFault::Other(_) => Certificate::Broken,
        })
    }
}

impl Error for Fault {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Clock | Self::Certificate(_) => ErrorKind::PermissionDenied,
            Self::Name => ErrorKind::AddrNotAvailable,
            Self::Connect(kind) => *kind,
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Closed => ErrorKind::ConnectionReset,
            Self::Tls(_) | Self::Protocol | Self::Broker(_) => ErrorKind::InvalidData,
            Self::Record | Self::TooLarge | Self::Memory => ErrorKind::OutOfMemory,
            Self::State => ErrorKind::InvalidInput,
        }
    }
}
