//! What is to be shown. All of it arrives as an argument; nothing here is looked up or remembered.

use casement_core::Display;

/// Everything a screen shows at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// What people call this device or its room. Cut with an ellipsis where it does not fit.
    pub name: &'a str,
    /// The local time; `None` while it is unknown.
    pub clock: Option<Clock>,
    /// Light by day, dark by night.
    pub theme: Theme,
    /// What it is about.
    pub page: Page<'a>,
}

/// Hours and minutes on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
}

/// The palette. How bright the backlight is belongs to the board.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Theme {
    /// Dark ink on light ground, for a bright room.
    #[default]
    Light,
    /// Light ink on dark ground, for the evening and for dimmed backlights.
    Dark,
}

/// What a screen is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page<'a> {
    /// The air, or why nothing can be said about it. The page for every day.
    Air(Air<'a>),
    /// The device has no network yet and opens one of its own.
    Setup(Setup<'a>),
    /// On the way from a network's name to the first reading that the gateway took.
    Joining(Joining<'a>),
    /// A new version of the firmware.
    Update(Update<'a>),
    /// What the device found when it tested itself.
    SelfTest(&'a [Check<'a>]),
    /// Where it can be reached, and what it is.
    About(About<'a>),
}

impl Page<'_> {
    /// A word for logs, and for telling one kind from another.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Air(_) => "air",
            Self::Setup(_) => "setup",
            Self::Joining(_) => "joining",
            Self::Update(_) => "update",
            Self::SelfTest(_) => "self-test",
            Self::About(_) => "about",
        }
    }
}

/// The air, and what stands beside the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Air<'a> {
    /// What the node wants shown.
    pub display: Display,
    /// Seconds until the sensor has warmed up, is conditioned or calibrated; `None` when nobody knows.
    pub remaining_s: Option<u32>,
    /// The sensor behind the number, as its maker calls it: `SCD41`.
    pub sensor: Option<&'a str>,
    /// Why readings do not get through, once it is known.
    pub trouble: Option<Trouble>,
    /// Temperature in tenths of a degree Celsius.
    pub temperature_dc: Option<i16>,
    /// Relative humidity in percent.
    pub humidity_pct: Option<u8>,
    /// The past of the number in ppm, for large screens.
    pub history: History<'a>,
}

/// Equally spaced values of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct History<'a> {
    /// Oldest first, the last one is the present. `None` where there was no value: a gap stays a gap. Of more than
    /// [`HISTORY_MAX`] only the newest are drawn.
    pub ppm: &'a [Option<u16>],
    /// How much time they span, in minutes.
    pub minutes: u16,
    /// Where "air soon" and "air now" begin, in ppm: the profile's.
    pub thresholds: (u16, u16),
}

/// Most values of the past that are drawn.
pub const HISTORY_MAX: usize = 96;

/// Why readings do not get through: what a person can do differently, one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// No network of that name is in reach.
    NetworkMissing,
    /// The network refuses the password.
    NetworkPassword,
    /// The network gives no address (DHCP).
    NoAddress,
    /// The network wants somebody to sign in on a page.
    CaptivePortal,
    /// The gateway's name is not known (DNS).
    NameUnknown,
    /// Nothing answers at the gateway's address.
    NoAnswer,
    /// The time is unknown, so no certificate can be checked.
    ClockUnknown,
    /// The gateway's certificate is no longer valid.
    CertificateExpired,
    /// The gateway's certificate is not valid yet; usually a clock is wrong.
    CertificateNotYet,
    /// The gateway's certificate is for another name.
    CertificateName,
    /// The gateway's certificate comes from an authority this device does not know.
    CertificateIssuer,
    /// The gateway's certificate cannot be trusted for any other reason.
    CertificateBroken,
    /// The gateway does not know this device's token.
    TokenRefused,
    /// The gateway asks for patience (429, 503).
    Busy,
    /// The gateway's disk is full (507).
    DiskFull,
    /// The gateway answers with a fault of its own (5xx).
    GatewayFault,
    /// This device's own memory for readings is full; the oldest are dropped.
    QueueFull,
    /// This device's own memory for readings refuses to write.
    Flash,
    /// The sensor gives the same number for an hour.
    SensorStuck,
}

/// The network a new device opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup<'a> {
    /// Name of the network.
    pub network: &'a str,
    /// Its password; empty for an open one.
    pub password: &'a str,
    /// The page that opens there, for those to whom it does not open by itself.
    pub url: &'a str,
}

/// How far a device came on its way to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joining<'a> {
    /// Name of the network.
    pub network: &'a str,
    /// What it is doing; everything before is done.
    pub step: Step,
    /// Why this step failed.
    pub trouble: Option<Trouble>,
}

/// The way to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Joining the network.
    Network,
    /// Getting an address.
    Address,
    /// Asking for the time.
    Time,
    /// Sending the first reading.
    Gateway,
    /// The gateway took it.
    Done,
}

/// A new version on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    /// The version that is to be.
    pub version: &'a str,
    /// The version that runs.
    pub running: &'a str,
    /// How far it came.
    pub stage: Stage,
}

/// How far an update came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Being fetched; 0 to 100 percent.
    Downloading(u8),
    /// Hash and signature are being checked.
    Verifying,
    /// The new version runs and has not proven itself yet.
    Trial,
    /// The new version stays.
    Installed,
    /// It did not work out; the version before goes on.
    Failed(UpdateFault),
}

/// Why an update was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateFault {
    /// The download broke off.
    Incomplete,
    /// It does not fit into its slot.
    TooLarge,
    /// It is for another board.
    WrongBoard,
    /// What arrived is not what was promised.
    Hash,
    /// What is offered cannot be read.
    Unreadable,
    /// It was not signed by whom this device trusts.
    Signature,
    /// The bootloader would not start it.
    NotStarted,
    /// The new version started three times, and crashed.
    Crashed,
    /// The new version did not reach the gateway.
    Unconfirmed,
    /// The flash could not be written.
    Flash,
}

/// One part that the device tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check<'a> {
    /// What was tested: `SCD41`, `Flash`, `Wi-Fi`.
    pub name: &'a str,
    /// How it went.
    pub outcome: Outcome,
    /// A few words more: a serial number, a signal strength, a reason.
    pub detail: &'a str,
}

/// How a test went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Broken.
    Failed,
    /// Under way.
    Running,
    /// Not fitted on this board.
    Absent,
}

/// Where a device can be reached, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About<'a> {
    /// Its page in the local network: `http://192.168.1.23/`. Empty without a network.
    pub url: &'a str,
    /// The gateway it sends to.
    pub gateway: &'a str,
    /// Its id at the gateway.
    pub device: &'a str,
    /// The firmware that runs.
    pub version: &'a str,
    /// The board.
    pub board: &'a str,
}
