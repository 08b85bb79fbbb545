//! From what the core says is wrong to what a screen says about it. Every driver of a screen asks here.

use crate::view::{Stage, Trouble, UpdateFault};
use casement_core::update::{FetchError, Phase, Updater};
use casement_core::uplink::Certificate;
use casement_core::{NotJoined, Trouble as Cause, UploadError, update};
use casement_proto::Version;
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
            Cause::NotJoined(NotJoined::Missing) => return Some(Self::NetworkMissing),
            Cause::NotJoined(NotJoined::Password) => return Some(Self::NetworkPassword),
            Cause::NotJoined(NotJoined::Address) => return Some(Self::NoAddress),
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

impl Stage {
    /// How an update goes, and the version it is about; `None` when there is nothing to show. One that failed stays until
    /// another is offered: for how long a screen shows that is the driver's choice.
    pub fn of(updater: &Updater) -> Option<(Version, Self)> {
        let stumbled = |error| match error {
            FetchError::Connection | FetchError::Status(_) | FetchError::Answer => UpdateFault::Incomplete,
            FetchError::Flash => UpdateFault::Flash,
        };
        match updater.kept().phase {
            Phase::Fetching { release, upto, .. } => {
                let stage = match (updater.stumble(), updater.percent()) {
                    (Some(error), _) => Self::Failed(stumbled(error)),
                    (None, _) if upto >= release.size => Self::Verifying,
                    (None, percent) => Self::Downloading(percent.unwrap_or(0)),
                };
                Some((release.version, stage))
            }
            Phase::Trial { release, .. } if updater.on_trial() => Some((release.version, Self::Trial)),
            Phase::Idle | Phase::Trial { .. } | Phase::Returning => {
                let offered = updater.offered_version().unwrap_or(updater.identity().version);
                let refused = updater.refusal().and_then(UpdateFault::of_refusal);
                let failed = updater.kept().failed;
                refused
                    .map(|fault| (offered, fault))
                    .or_else(|| failed.map(|failed| (failed.version, UpdateFault::of(failed.why))))
                    .map(|(version, fault)| (version, Self::Failed(fault)))
            }
        }
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
        for (why, shown) in [
            (NotJoined::Missing, Trouble::NetworkMissing),
            (NotJoined::Password, Trouble::NetworkPassword),
            (NotJoined::Address, Trouble::NoAddress),
        ] {
            assert_eq!(Trouble::of(Cause::NotJoined(why), false), Some(shown), "{why:?}");
        }
    }
}
