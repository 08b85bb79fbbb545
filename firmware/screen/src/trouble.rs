//! From what the core says is wrong to what a screen says about it. Every driver of a screen asks here.

use crate::view::{Trouble, UpdateFault};
use casement_core::uplink::Certificate;
use casement_core::{Trouble as Cause, UploadError, update};
use embedded_svc::io::ErrorKind;

impl Trouble {
    /// What to show for it. `None` when the screen shows it anyway, as it does sensors and a missing network, or when a
    /// person in front of it can do nothing.
    ///
    /// `clock` says whether the device was ever told the time: a certificate that seems to be from the future is then
    /// the clock's fault.
    pub fn of(cause: Cause, clock: bool) -> Option<Self> {
        let error = match cause {
            Cause::Upload(error) => error,
            Cause::QueueFull => return Some(Self::QueueFull),
            Cause::Flash => return Some(Self::Flash),
            Cause::Frozen => return Some(Self::SensorStuck),
            Cause::Sensor(_) | Cause::Doubtful | Cause::NoNetwork => return None,
        };
        Some(match error {
            UploadError::Connection(ErrorKind::NotFound) => Self::NameUnknown,
            UploadError::Connection(_) => Self::NoAnswer,
            UploadError::Certificate(Certificate::Expired) => Self::CertificateExpired,
            UploadError::Certificate(Certificate::NotYet) if !clock => Self::ClockUnknown,
            UploadError::Certificate(Certificate::NotYet) => Self::CertificateNotYet,
            UploadError::Certificate(Certificate::Name) => Self::CertificateName,
            UploadError::Certificate(Certificate::Authority) => Self::CertificateIssuer,
            UploadError::Certificate(Certificate::Broken) => Self::CertificateBroken,
            UploadError::Token => Self::TokenRefused,
            UploadError::Busy { .. } => Self::Busy,
            UploadError::Full { .. } => Self::DiskFull,
            UploadError::Answer | UploadError::Status(300..=399) => Self::CaptivePortal,
            UploadError::Status(_) => Self::GatewayFault,
            // It is looked for and left out.
            UploadError::Refused => return None,
        })
    }
}

impl UpdateFault {
    /// What to show for a release that did not make it.
    pub const fn of(failure: update::Failure) -> Self {
        match failure {
            update::Failure::Crashed => Self::Crashed,
            update::Failure::Silent => Self::Unconfirmed,
            update::Failure::NotBooted => Self::NotStarted,
            update::Failure::WrongHash => Self::Hash,
            update::Failure::Flash => Self::Flash,
        }
    }

    /// What to show for an offer that was not taken; `None` when nothing is wrong with it.
    pub const fn of_refusal(refusal: update::Refusal) -> Option<Self> {
        match refusal {
            update::Refusal::Unreadable(_) => Some(Self::Unreadable),
            update::Refusal::Signature => Some(Self::Signature),
            update::Refusal::Board => Some(Self::WrongBoard),
            update::Refusal::TooBig => Some(Self::TooLarge),
            update::Refusal::Running
            | update::Refusal::Older
            | update::Refusal::Held
            | update::Refusal::FailedBefore
            | update::Refusal::Busy => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use casement_core::Fault;

    #[test]
    fn what_a_person_can_do_differently_looks_different() {
        let upload = |error| Trouble::of(Cause::Upload(error), true);
        for (error, shown) in [
            (UploadError::Connection(ErrorKind::NotFound), Trouble::NameUnknown),
            (UploadError::Connection(ErrorKind::TimedOut), Trouble::NoAnswer),
            (UploadError::Certificate(Certificate::Expired), Trouble::CertificateExpired),
            (UploadError::Certificate(Certificate::NotYet), Trouble::CertificateNotYet),
            (UploadError::Certificate(Certificate::Name), Trouble::CertificateName),
            (UploadError::Certificate(Certificate::Authority), Trouble::CertificateIssuer),
            (UploadError::Certificate(Certificate::Broken), Trouble::CertificateBroken),
            (UploadError::Token, Trouble::TokenRefused),
            (UploadError::Busy { retry_after_ms: None }, Trouble::Busy),
            (UploadError::Full { retry_after_ms: Some(1) }, Trouble::DiskFull),
            (UploadError::Answer, Trouble::CaptivePortal),
            (UploadError::Status(302), Trouble::CaptivePortal),
            (UploadError::Status(500), Trouble::GatewayFault),
        ] {
            assert_eq!(upload(error), Some(shown), "{error:?}");
        }
        assert_eq!(upload(UploadError::Refused), None);
    }

    #[test]
    fn without_a_clock_a_certificate_from_the_future_is_the_clocks_fault() {
        let cause = Cause::Upload(UploadError::Certificate(Certificate::NotYet));
        assert_eq!(Trouble::of(cause, false), Some(Trouble::ClockUnknown));
    }

    #[test]
    fn what_is_shown_elsewhere_is_not_shown_twice() {
        for cause in [Cause::Sensor(Fault::Bus), Cause::Doubtful, Cause::NoNetwork] {
            assert_eq!(Trouble::of(cause, true), None, "{cause:?}");
        }
        assert_eq!(Trouble::of(Cause::Frozen, true), Some(Trouble::SensorStuck));
        assert_eq!(Trouble::of(Cause::QueueFull, true), Some(Trouble::QueueFull));
        assert_eq!(Trouble::of(Cause::Flash, false), Some(Trouble::Flash));
    }
}
