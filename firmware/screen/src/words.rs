//! Every word a screen shows. Short enough for both sizes: a test lays out each of them and finds no ellipsis.

use crate::scene::Label;
use crate::view::{Stage, Step, Trouble, UpdateFault};
use casement_core::{Fault, Link, Primary};
use casement_proto::{Band, State};
use core::fmt::Write;

/// What a screen says first, in words for a large and for a small one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headline {
    pub(crate) long: &'static str,
    pub(crate) short: &'static str,
}

impl Headline {
    pub(crate) const fn new(long: &'static str, short: &'static str) -> Self {
        Self { long, short }
    }

    /// The same words for both.
    pub(crate) const fn both(words: &'static str) -> Self {
        Self::new(words, words)
    }
}

/// What to do about the air.
pub(crate) const fn band(band: Band) -> Headline {
    Headline::both(match band {
        Band::Good => "Good",
        Band::Soon => "Air soon",
        Band::Now => "Air now",
    })
}

/// A headline where there is no verdict.
pub(crate) const fn no_band(state: State, primary: Option<Primary>) -> Headline {
    Headline::both(match (state, primary) {
        (State::WarmingUp, _) => return Headline::new("Warming up", "Warm-up"),
        (State::Conditioning, _) => return Headline::new("Settling in", "Settling"),
        (State::Calibrating, _) => return Headline::new("Calibrating", "Zeroing"),
        (State::Suspect, _) => "Doubtful",
        (State::Failed, _) => return Headline::new("Sensor fault", "Fault"),
        (State::Ok, Some(Primary::Eco2(_))) => "Estimate",
        (State::Ok, Some(Primary::Co2(_))) => return Headline::new("Measuring", "Wait"),
        (State::Ok, None) => "No value",
    })
}

/// What stands beside a verdict that is not to be trusted in full.
pub(crate) const fn tag(state: State) -> &'static str {
    match state {
        State::Ok => "",
        State::WarmingUp => "warming up",
        State::Conditioning => "settling in",
        State::Calibrating => "calibrating",
        State::Suspect => "doubtful",
        State::Failed => "failed",
    }
}

/// Why a number is not to be trusted in full, and what to do about it.
pub(crate) const fn why(state: State, primary: Option<Primary>) -> &'static str {
    match (state, primary) {
        (State::WarmingUp, _) => "It was just switched on. Its values are not right yet.",
        (State::Conditioning, _) => "The sensor is finding its baseline.",
        (State::Calibrating, _) => "Leave it in fresh air; do not breathe on it.",
        (State::Suspect, _) => "It does not add up. Air the room; calibrate if that does not help.",
        (State::Ok, Some(Primary::Eco2(_))) => "Guessed from vapours, alcohol too. This is not measured CO₂.",
        (State::Ok, None) => "The first value comes within a minute.",
        (State::Ok, Some(Primary::Co2(_))) | (State::Failed, _) => "",
    }
}

/// What is wrong with a sensor, after its name.
pub(crate) const fn fault(fault: Fault) -> &'static str {
    match fault {
        Fault::Bus => "does not answer.",
        Fault::Crc => "sends garbled data.",
        Fault::Timeout => "is never ready.",
        Fault::Range => "shows nonsense.",
        Fault::SelfTest => "says it is broken.",
    }
}

/// What to do about it.
pub(crate) const fn fault_fix(fault: Fault) -> &'static str {
    match fault {
        Fault::Bus => "Check its cable and plug.",
        Fault::Crc => "Use a shorter cable, away from mains.",
        Fault::Timeout => "Unplug the device for ten seconds.",
        Fault::Range => "Let it dry. If it stays, replace it.",
        Fault::SelfTest => "Unplug it once. If it stays, replace it.",
    }
}

/// Whether readings get through, in one or two words.
pub(crate) const fn link(link: Link) -> &'static str {
    match link {
        Link::Offline => "Offline",
        Link::Waiting => "Waiting",
        Link::Online => "Online",
        Link::TokenRefused => "Refused",
    }
}

/// What is wrong, in a line of a large screen.
pub(crate) const fn trouble(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::NetworkMissing => "Wi-Fi not found",
        Trouble::NetworkPassword => "Wrong Wi-Fi password",
        Trouble::NoAddress => "The Wi-Fi gives no address",
        Trouble::CaptivePortal => "The Wi-Fi wants a login",
        Trouble::NameUnknown => "The gateway's name is unknown",
        Trouble::NoAnswer => "The gateway does not answer",
        Trouble::ClockUnknown => "The time is unknown",
        Trouble::CertificateExpired => "The certificate has expired",
        Trouble::CertificateNotYet => "The certificate is not valid yet",
        Trouble::CertificateBroken => "The certificate is broken",
        Trouble::CertificateName => "The certificate is not the gateway's",
        Trouble::CertificateIssuer => "The certificate is not trusted",
        Trouble::TokenRefused => "The gateway refuses the token",
        Trouble::Busy => "The gateway is busy",
        Trouble::DiskFull => "The gateway's disk is full",
        Trouble::GatewayFault => "The gateway has a fault",
        Trouble::QueueFull => "The memory for readings is full",
        Trouble::Flash => "The memory for readings is worn",
        Trouble::SensorStuck => "The sensor is stuck",
    }
}

/// The same for two lines of a small screen.
pub(crate) const fn trouble_short(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::NetworkMissing => "Wi-Fi not found",
        Trouble::NetworkPassword => "Wrong Wi-Fi password",
        Trouble::NoAddress => "Wi-Fi gives no address",
        Trouble::CaptivePortal => "Wi-Fi wants a login",
        Trouble::NameUnknown => "Gateway's name unknown",
        Trouble::NoAnswer => "No answer from gateway",
        Trouble::ClockUnknown => "Time unknown",
        Trouble::CertificateExpired => "Certificate has expired",
        Trouble::CertificateNotYet => "Certificate not valid yet",
        Trouble::CertificateBroken => "Certificate is broken",
        Trouble::CertificateName => "Certificate of another host",
        Trouble::CertificateIssuer => "Certificate not trusted",
        Trouble::TokenRefused => "Token refused, set a new one",
        Trouble::Busy => "Gateway is busy",
        Trouble::DiskFull => "Gateway's disk is full",
        Trouble::GatewayFault => "Gateway has a fault",
        Trouble::QueueFull => "Memory full, oldest lost",
        Trouble::Flash => "Memory is worn",
        Trouble::SensorStuck => "Sensor is stuck",
    }
}

/// What to do about it.
pub(crate) const fn trouble_fix(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::NetworkMissing => "Is it switched on and within reach? Readings are kept.",
        Trouble::NetworkPassword => "Set up the Wi-Fi again. Readings are kept.",
        Trouble::NoAddress => "Restart the router, or ask who runs it.",
        Trouble::CaptivePortal => "A device cannot sign in on a page. Choose another network.",
        Trouble::NameUnknown => "Is the internet down? If not, check the gateway's address.",
        Trouble::NoAnswer => "It may be restarting. Readings are kept and sent later.",
        Trouble::ClockUnknown => "Without it no certificate can be checked. Let NTP through (UDP port 123).",
        Trouble::CertificateExpired => "Run “casement doctor” on the gateway. Readings are kept.",
        Trouble::CertificateNotYet => "A clock is wrong: this device's or the gateway's.",
        Trouble::CertificateBroken => "Run “casement doctor” on the gateway. Readings are kept.",
        Trouble::CertificateName => "Does this Wi-Fi want a login? If not, check the gateway's address.",
        Trouble::CertificateIssuer => "Does this Wi-Fi want a login? If not, set the device up again.",
        Trouble::TokenRefused => "Make a new one on the gateway, and set it on this device.",
        Trouble::Busy => "It asked for a pause. Readings are kept and sent later.",
        Trouble::DiskFull => "Free some space on it. Readings are kept.",
        Trouble::GatewayFault => "Look at its log. Readings are kept and sent later.",
        Trouble::QueueFull => "The oldest are dropped and counted. Mend the connection.",
        Trouble::Flash => "Unplug it once. If it stays, replace it.",
        Trouble::SensorStuck => "It has said the same for an hour. Unplug the device for ten seconds.",
    }
}

/// A step on the way to the gateway.
pub(crate) const fn step(step: Step) -> &'static str {
    match step {
        Step::Network => "Wi-Fi",
        Step::Address => "Address",
        Step::Time => "Time",
        Step::Gateway => "Gateway",
        Step::Done => "",
    }
}

/// How far an update came.
pub(crate) const fn stage(stage: Stage) -> Headline {
    Headline::both(match stage {
        Stage::Downloading(_) => "Updating",
        Stage::Verifying => "Checking",
        Stage::Trial => "On trial",
        Stage::Installed => "Updated",
        Stage::Failed(_) => return Headline::new("Not updated", "Failed"),
    })
}

/// What that means.
pub(crate) const fn stage_why(stage: Stage) -> &'static str {
    match stage {
        Stage::Downloading(_) => "Leave it plugged in. It goes on measuring.",
        Stage::Verifying => "Is it whole, and from whom it should be?",
        Stage::Trial => "It stays when the gateway takes a reading from it.",
        Stage::Installed => "The new version works.",
        Stage::Failed(fault) => match fault {
            UpdateFault::Incomplete => "The download broke off. It is tried again.",
            UpdateFault::TooLarge => "The new version is too large for this device.",
            UpdateFault::WrongBoard => "The new version is for another board.",
            UpdateFault::Hash => "What arrived is not what was promised.",
            UpdateFault::Unreadable => "What the gateway offers cannot be read.",
            UpdateFault::NotStarted => "The new version would not start.",
            UpdateFault::Signature => "The signature is wrong. Ask who runs the gateway.",
            UpdateFault::Crashed => "The new version crashed three times.",
            UpdateFault::Unconfirmed => "The new version did not reach the gateway.",
            UpdateFault::Flash => "The memory could not be written.",
        },
    }
}

/// How many readings wait; nothing for none.
pub(crate) fn kept(queued: u32) -> Label {
    let mut label = Label::new();
    // A label has room for all of these.
    let _ = match queued {
        0 => Ok(()),
        1..=9_999 => write!(label, "{queued} kept"),
        10_000..=999_999 => write!(label, "{}k kept", queued / 1_000),
        _ => write!(label, "1M+ kept"),
    };
    label
}

/// How long it takes yet.
pub(crate) fn left(seconds: u32) -> Label {
    let mut label = Label::new();
    let _ = match seconds {
        0..=90 => write!(label, "{seconds} s left"),
        91..=5_400 => write!(label, "{} min left", seconds.div_ceil(60)),
        5_401..=356_400 => write!(label, "{} h left", seconds.div_ceil(3_600)),
        _ => write!(label, "days left"),
    };
    label
}

/// What a chart spans.
pub(crate) fn span(minutes: u16) -> Label {
    let mut label = Label::new();
    let _ = match minutes {
        0..=119 => write!(label, "last {minutes} min"),
        _ => write!(label, "last {} h", minutes / 60),
    };
    label
}
