//! Firmware over the air, as the device sees it: what to fetch, when to trust it, and when to go back.
//!
//! There are two slots. One runs; the other is written. A release goes through these steps, and each step is on flash
//! (in a [`Keep`](crate::keep::Keep)) before anything is done about it:
//!
//! ```text
//! idle ──offer──> fetching ──hash──> trial ──authenticated 200──> idle, in the other slot
//!   ^                │ gone, wrong     │ three boots without
//!   └────────────────┴─────────────────┴──> returning ──> idle, in the old slot; the release is remembered
//! ```
//!
//! - A manifest counts when one of the device's keys signed it, it is for this board and fits the slot.
//! - Fetching goes on where it stopped, over power cuts, too. When all is there the slot is read back and hashed, so a
//!   worn sector is found as well as a wrong byte on the way.
//! - Each boot of a release on trial is counted before anything else is done. A boot that has not reached the gateway
//!   after [`TRIAL_MS`] ends itself, because a release that broke the network would stay for ever.
//! - Only an authenticated 200 confirms. After three boots without one the device goes back, whether or not the
//!   bootloader knows how to.
//!
//! What this cannot help: a release that crashes before it comes to [`Updater::start`]. A driver calls that first.
//!
//! | module | holds |
//! |---|---|
//! | [`exchange`] | what is said to the gateway, and how bytes get into the slot |
//! | [`otadata`] | which slot the bootloader starts |
//! | [`runner`] | does what the steps say: the same on boards and in the simulated device |

pub mod exchange;
pub mod otadata;
pub mod runner;

use crate::Millis;
use crate::uplink::Backoff;
use casement_proto::device_settings::UpdatePolicy;
use casement_proto::release::ReleaseError;
use casement_proto::{BoardId, Release, SignedRelease, UpdateStatus, Version};

/// One of the two places an image can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both, in the order of their partitions.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What runs, and what it takes.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The board.
    pub board: BoardId,
    /// Version of the firmware that runs.
    pub version: Version,
    /// Which slot it runs in.
    pub slot: Slot,
    /// Bytes of a slot.
    pub slot_bytes: u32,
}

/// What is kept on flash between boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The slot whose firmware reached the gateway, and to which the device returns.
    pub confirmed: Slot,
    /// How far the other slot is.
    pub phase: Phase,
    /// The last release that did not make it.
    pub failed: Option<Failed>,
}

/// How far the other slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing to do.
    Idle,
    /// A release is being written.
    Fetching {
        /// Which.
        release: Release,
        /// Bytes that lie in the slot, a multiple of [`SECTOR_BYTES`] or all.
        upto: u32,
        /// How often everything was there and the hash was wrong.
        mismatches: u8,
    },
    /// The slot is verified and booted on trial.
    Trial {
        /// What is on trial.
        release: Release,
        /// How often the bootloader was told to boot it.
        activations: u8,
        /// How often it booted.
        boots: u8,
        /// How many of these ended because the gateway was not reached in time.
        silent: u8,
    },
    /// It failed, and the bootloader is being told to boot the confirmed slot.
    Returning,
}

/// A release that did not make it. It is not fetched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Which version.
    pub version: Version,
    /// Why.
    pub why: Failure,
    /// How often in a row.
    pub times: u8,
}

/// Why a release did not make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It booted three times and at least one of them crashed or was switched off.
    #[error("the new firmware crashed; the old one is back")]
    Crashed,
    /// It ran, and never reached the gateway. May be tried again, three times in all.
    #[error("the new firmware did not reach the gateway; the old one is back")]
    Silent,
    /// The bootloader would not boot it.
    #[error("the new firmware did not start; the old one stayed")]
    NotBooted,
    /// Its bytes are not those that were signed.
    #[error("the downloaded firmware is not the one that was signed; the gateway should fetch it again")]
    WrongHash,
    /// The slot cannot be written.
    #[error("the flash cannot take new firmware; the device goes on with the one it has")]
    Flash,
}

impl Failure {
    /// A word for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Crashed => "crashed",
            Self::Silent => "silent",
            Self::NotBooted => "not-booted",
            Self::WrongHash => "wrong-hash",
            Self::Flash => "flash",
        }
    }
}

/// Why an offer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no manifest.
    #[error("the offer cannot be read")]
    Unreadable(ReleaseError),
    /// Nobody whom this device trusts signed it.
    #[error("the new firmware is not signed by anybody this device trusts")]
    Signature,
    /// It is for another board.
    #[error("the new firmware is for another board")]
    Board,
    /// It does not fit into a slot.
    #[error("the new firmware is too large for this device")]
    TooBig,
    /// It runs already.
    #[error("this firmware runs already")]
    Running,
    /// It is older than what runs, and nobody asked for exactly this version.
    #[error("the offered firmware is older than the one that runs")]
    Older,
    /// The settings say to stay, or ask for another version.
    #[error("the settings hold this device on its version")]
    Held,
    /// It did not make it before.
    #[error("this firmware failed on this device before")]
    FailedBefore,
    /// Another one is on trial.
    #[error("another firmware is being tried")]
    Busy,
}

impl Refusal {
    /// A word for programs; `None` when there is nothing wrong with the offer.
    pub const fn code(self) -> Option<&'static str> {
        match self {
            Self::Unreadable(_) => Some("unreadable"),
            Self::Signature => Some("signature"),
            Self::Board => Some("wrong-board"),
            Self::TooBig => Some("too-large"),
            Self::Running | Self::Older | Self::Held | Self::FailedBefore | Self::Busy => None,
        }
    }
}

/// Why a part of an image did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// No answer, or it broke off.
    Connection,
    /// Any status but 206; 200 counts as 206 when the part is everything.
    Status(u16),
    /// The answer is for other bytes than those asked for, or of an image of another size.
    Answer,
    /// The slot cannot be erased or written.
    Flash,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The moment of [`Step::wake_at`] came, or a restart has become harmless.
    Due,
    /// The gateway offers this manifest, as its bytes.
    Offered(&'a [u8]),
    /// The gateway has nothing to offer.
    NothingOffered,
    /// The slot holds everything up to here: a multiple of [`SECTOR_BYTES`], or all of it.
    Fetched(u32),
    /// The rest of [`Then::Fetch`] did not come.
    FetchFailed(FetchError),
    /// SHA-256 of what [`Then::Hash`] asked for, read back from the slot; `None` when it cannot be read.
    Hashed(Option<[u8; 32]>),
    /// The gateway took something from this device with an authenticated 200.
    Acknowledged,
    /// A person changed what may be installed. A release that failed may be tried again.
    Policy(UpdatePolicy),
    /// [`Step::keep`] could not be written.
    NotKept,
}

/// What to do: first keep, and only when that is on flash the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// Write this to flash; on failure report [`Event::NotKept`] and leave the rest.
    pub keep: Option<Kept>,
    /// Then do this.
    pub then: Then,
    /// When to come back with [`Event::Due`].
    pub wake_at: Option<Millis>,
}

/// What to do once everything is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// Ask for these bytes of the image (`Range: bytes=from-to`, the last one not among them), erase and write them to
    /// the slot that does not run, sector by sector, and report how far that came.
    Fetch {
        /// First byte; a multiple of [`SECTOR_BYTES`].
        from: u32,
        /// One past the last byte.
        to: u32,
    },
    /// Read this many bytes of the slot that does not run and report their SHA-256.
    Hash(u32),
    /// Tell the bootloader to boot this slot, read back that it was told, and restart. When it cannot be told, go on
    /// without a restart: to try again for ever would be a reboot loop.
    Boot(Slot),
    /// Restart.
    Restart,
}

/// The state machine of updates.
#[derive(Clone, Debug)]
pub struct Updater {
    who: Identity,
    kept: Kept,
    policy: UpdatePolicy,
    backoff: Backoff,
    not_before: Millis,
    /// A fetch or a hash is on its way.
    busy: bool,
    /// The slot was read back and is right.
    verified: bool,
    flash_faults: u8,
    started: Millis,
    refusal: Option<Refusal>,
    /// What was offered last, where that could be read.
    offered: Option<Version>,
    /// Why the last part did not come; `None` after one that did.
    stumble: Option<FetchError>,
    /// Nothing can be kept: no update is begun.
    halted: bool,
}

impl Updater {
    /// To be called before anything else at each boot, with what is kept. The step must be done before the device goes
    /// on.
    pub fn start(who: Identity, kept: Option<Kept>, policy: UpdatePolicy, now: Millis) -> (Self, Step) {
        let fresh = Kept { confirmed: who.slot, phase: Phase::Idle, failed: None };
        let mut updater = Self {
            who,
            kept: kept.unwrap_or(fresh),
            policy,
            backoff: Backoff::new(),
            not_before: now,
            busy: false,
            verified: false,
            flash_faults: 0,
            started: now,
            refusal: None,
            offered: None,
            stumble: None,
            halted: false,
        };
        let then = updater.boot();
        updater.drop_unwanted();
        let changed = kept != Some(updater.kept);
        let step = updater.step(changed, then, now);
        (updater, step)
    }

    /// Takes what happened and says what to do. `calm` says that a restart would disturb no sensor; `random` is chance.
    pub fn handle(
        &mut self,
        event: Event<'_>,
        now: Millis,
        calm: bool,
        random: u32,
        keys: &[[u8; 32]],
    ) -> Step {
        let before = self.kept;
        let mut then = None;
        match event {
            Event::Due => {}
            Event::Offered(manifest) => {
                self.offered = None;
                self.refusal = self.offered(manifest, keys).err();
            }
            Event::NothingOffered => {
                (self.offered, self.refusal) = (None, None);
                if matches!(self.kept.phase, Phase::Fetching { .. }) {
                    self.drop_fetch();
                }
            }
            Event::Fetched(upto) => self.fetched(upto),
            Event::FetchFailed(error) => self.fetch_failed(error, now, random),
            Event::Hashed(hash) => self.hashed(hash),
            Event::Acknowledged => {
                if self.on_trial() {
                    self.kept = Kept { confirmed: self.who.slot, phase: Phase::Idle, failed: None };
                }
            }
            Event::Policy(policy) => {
                if policy != self.policy {
                    self.kept.failed = None;
                }
                self.policy = policy;
                self.drop_unwanted();
            }
            Event::NotKept => {
                self.halted = true;
                // Boots that are not counted could go on for ever.
                then = self.on_trial().then_some(Then::Boot(self.kept.confirmed));
            }
        }
        let then = then.unwrap_or_else(|| self.next(now, calm));
        self.step(self.kept != before, then, now)
    }

    /// What is kept at the moment.
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Whether the firmware that runs is on trial.
    pub fn on_trial(&self) -> bool {
        matches!(self.kept.phase, Phase::Trial { .. }) && self.who.slot != self.kept.confirmed
    }

    /// How much of a release is there, in percent; `None` when none is being fetched.
    pub fn percent(&self) -> Option<u8> {
        match self.kept.phase {
            Phase::Fetching { release, upto, .. } => {
                u8::try_from(u64::from(upto) * 100 / u64::from(release.size.max(1))).ok()
            }
            Phase::Idle | Phase::Trial { .. } | Phase::Returning => None,
        }
    }

    /// How it goes, for [`DeviceHealth::update`](casement_proto::wire::DeviceHealth::update); `None` when there is
    /// nothing to say. The gateway holds a release back that fails on many devices.
    pub fn status(&self) -> Option<UpdateStatus<'static>> {
        match self.kept.phase {
            Phase::Fetching { release, .. } => {
                let percent = self.percent().unwrap_or(0);
                Some(UpdateStatus::Fetching { version: release.version, percent })
            }
            Phase::Trial { release, .. } if self.on_trial() => {
                Some(UpdateStatus::Trying { version: release.version })
            }
            Phase::Idle | Phase::Trial { .. } | Phase::Returning => {
                // What is wrong with the present offer says more than what was wrong with the last one.
                if let (Some(version), Some(why)) = (self.offered, self.refusal.and_then(Refusal::code)) {
                    return Some(UpdateStatus::Failed { version, why });
                }
                let failed = self.kept.failed?;
                Some(UpdateStatus::Failed { version: failed.version, why: failed.why.code() })
            }
        }
    }

    /// Why the last offer was not taken.
    pub const fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// The version that was offered last; `None` when nothing was, or nothing that can be read.
    pub const fn offered_version(&self) -> Option<Version> {
        self.offered
    }

    /// Why the last part of a release did not come; `None` while parts come.
    pub const fn stumble(&self) -> Option<FetchError> {
        self.stumble
    }

    /// What runs here.
    pub const fn identity(&self) -> &Identity {
        &self.who
    }

    /// What this boot means.
    fn boot(&mut self) -> Then {
        let confirmed = self.kept.confirmed;
        let at_home = self.who.slot == confirmed;
        match self.kept.phase {
            // Somebody flashed the other slot by cable.
            Phase::Idle | Phase::Fetching { .. } if !at_home => self.settle_here(),
            Phase::Idle | Phase::Fetching { .. } => Then::Nothing,
            Phase::Trial { release, .. } if !at_home && release.version != self.who.version => {
                self.settle_here()
            }
            Phase::Trial { release, activations, boots, silent } if !at_home => {
                if boots >= TRIAL_BOOTS {
                    return self
                        .give_up(release, if silent >= boots { Failure::Silent } else { Failure::Crashed });
                }
                self.kept.phase = Phase::Trial { release, activations, boots: boots + 1, silent };
                Then::Nothing
            }
            Phase::Trial { release, boots, activations, silent } => {
                if boots > 0 || activations >= ACTIVATIONS_MAX {
                    // The bootloader went back by itself, or never went.
                    let why = if boots > 0 { Failure::Crashed } else { Failure::NotBooted };
                    self.failed(release.version, why);
                    return Then::Nothing;
                }
                // The power failed before the bootloader was told.
                self.kept.phase = Phase::Trial { release, activations: activations + 1, boots, silent };
                Then::Boot(confirmed.other())
            }
            Phase::Returning if at_home => {
                self.kept.phase = Phase::Idle;
                Then::Nothing
            }
            // The power failed before the bootloader was told.
            Phase::Returning => Then::Boot(confirmed),
        }
    }

    fn next(&mut self, now: Millis, calm: bool) -> Then {
        match self.kept.phase {
            Phase::Trial { release, activations, boots, silent }
                if self.on_trial() && calm && !self.halted && now.since(self.started) >= TRIAL_MS =>
            {
                let silent = silent + 1;
                if boots >= TRIAL_BOOTS {
                    return self
                        .give_up(release, if silent >= boots { Failure::Silent } else { Failure::Crashed });
                }
                self.kept.phase = Phase::Trial { release, activations, boots, silent };
                Then::Restart
            }
            Phase::Fetching { release, .. } if self.verified && calm && !self.halted => {
                self.kept.phase = Phase::Trial { release, activations: 1, boots: 0, silent: 0 };
                Then::Boot(self.kept.confirmed.other())
            }
            Phase::Fetching { release, upto, .. }
                if !self.busy && !self.verified && !self.halted && now >= self.not_before =>
            {
                self.busy = true;
                if upto >= release.size {
                    return Then::Hash(release.size);
                }
                Then::Fetch { from: upto, to: release.size.min(upto.saturating_add(FETCH_BYTES)) }
            }
            Phase::Idle | Phase::Fetching { .. } | Phase::Trial { .. } | Phase::Returning => Then::Nothing,
        }
    }

    fn step(&self, changed: bool, then: Then, now: Millis) -> Step {
        let wake_at = match self.kept.phase {
            Phase::Fetching { .. } if !self.busy && !self.verified => Some(self.not_before.max(now.after(1))),
            Phase::Trial { .. } if self.on_trial() => {
                Some(self.started.after(TRIAL_MS).max(now.after(DUE_MS)))
            }
            Phase::Fetching { .. } if self.verified => Some(now.after(DUE_MS)),
            Phase::Idle | Phase::Fetching { .. } | Phase::Trial { .. } | Phase::Returning => None,
        };
        let wake_at = wake_at.filter(|_| !self.halted);
        Step { keep: changed.then_some(self.kept), then, wake_at }
    }

    fn offered(&mut self, manifest: &[u8], keys: &[[u8; 32]]) -> Result<(), Refusal> {
        let signed = SignedRelease::decode(manifest).map_err(Refusal::Unreadable)?;
        let release = signed.release;
        self.offered = Some(release.version);
        match self.kept.phase {
            // Verified when it was begun.
            Phase::Fetching { release: present, .. } if present == release => return Ok(()),
            Phase::Idle | Phase::Fetching { .. } if !self.busy && !self.halted => {}
            Phase::Idle | Phase::Fetching { .. } | Phase::Trial { .. } | Phase::Returning => {
                return Err(Refusal::Busy);
            }
        }
        if !verified(&signed, keys) {
            return Err(Refusal::Signature);
        }
        if release.board != self.who.board {
            return Err(Refusal::Board);
        }
        if release.size > self.who.slot_bytes {
            return Err(Refusal::TooBig);
        }
        self.wanted(&release)?;
        self.verified = false;
        self.flash_faults = 0;
        self.backoff.reset();
        self.kept.phase = Phase::Fetching { release, upto: 0, mismatches: 0 };
        Ok(())
    }

    /// Whether a release that is sound is also one to install.
    fn wanted(&self, release: &Release) -> Result<(), Refusal> {
        if release.version == self.who.version {
            return Err(Refusal::Running);
        }
        match self.policy {
            UpdatePolicy::Stay => return Err(Refusal::Held),
            UpdatePolicy::Exactly(version) if version != release.version => return Err(Refusal::Held),
            UpdatePolicy::Newest if release.version < self.who.version => return Err(Refusal::Older),
            UpdatePolicy::Exactly(_) | UpdatePolicy::Newest => {}
        }
        match self.kept.failed {
            Some(Failed { version, why, times })
                if version == release.version && (why != Failure::Silent || times >= SILENT_MAX) =>
            {
                Err(Refusal::FailedBefore)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn fetched(&mut self, now_upto: u32) {
        self.busy = false;
        if let Phase::Fetching { release, upto, mismatches } = self.kept.phase {
            let whole = now_upto.min(release.size);
            let whole = if whole == release.size { whole } else { whole / SECTOR_BYTES * SECTOR_BYTES };
            if whole > upto {
                self.backoff.reset();
                self.flash_faults = 0;
                self.stumble = None;
                self.kept.phase = Phase::Fetching { release, upto: whole, mismatches };
            }
        }
    }

    fn fetch_failed(&mut self, error: FetchError, now: Millis, random: u32) {
        self.busy = false;
        self.stumble = Some(error);
        self.not_before = now.after(u64::from(self.backoff.pause(random)));
        let Phase::Fetching { release, .. } = self.kept.phase else { return };
        match error {
            // The gateway does not have it any more, or has another one by this name.
            FetchError::Status(404 | 410 | 416) | FetchError::Answer => self.drop_fetch(),
            FetchError::Flash => {
                self.flash_faults = self.flash_faults.saturating_add(1);
                if self.flash_faults >= FLASH_FAULTS_MAX {
                    self.failed(release.version, Failure::Flash);
                }
            }
            FetchError::Connection | FetchError::Status(_) => {}
        }
    }

    fn hashed(&mut self, hash: Option<[u8; 32]>) {
        self.busy = false;
        let Phase::Fetching { release, upto, mismatches } = self.kept.phase else { return };
        if upto < release.size {
            return;
        }
        if hash == Some(release.sha256) {
            self.verified = true;
        } else if mismatches + 1 >= MISMATCHES_MAX {
            self.failed(release.version, Failure::WrongHash);
        } else {
            self.kept.phase = Phase::Fetching { release, upto: 0, mismatches: mismatches + 1 };
        }
    }

    /// Lets go of a release that is being fetched and that the settings do not want any more.
    fn drop_unwanted(&mut self) {
        if let Phase::Fetching { release, .. } = self.kept.phase
            && self.wanted(&release).is_err()
        {
            self.drop_fetch();
        }
    }

    fn drop_fetch(&mut self) {
        self.kept.phase = Phase::Idle;
        self.stumble = None;
        self.verified = false;
    }

    fn failed(&mut self, version: Version, why: Failure) {
        let same = self.kept.failed.filter(|failed| failed.version == version && failed.why == why);
        let times = same.map_or(0, |failed| failed.times).saturating_add(1);
        self.kept.failed = Some(Failed { version, why, times });
        self.drop_fetch();
    }

    fn give_up(&mut self, release: Release, why: Failure) -> Then {
        self.failed(release.version, why);
        self.kept.phase = Phase::Returning;
        Then::Boot(self.kept.confirmed)
    }

    fn settle_here(&mut self) -> Then {
        self.kept.confirmed = self.who.slot;
        self.kept.phase = Phase::Idle;
        Then::Nothing
    }
}

/// Whether one of the keys signed a release.
fn verified(signed: &SignedRelease, keys: &[[u8; 32]]) -> bool {
    let message = signed.release.signed_bytes();
    let signature = ed25519_compact::Signature::new(signed.signature);
    keys.iter().any(|key| ed25519_compact::PublicKey::new(*key).verify(&message, &signature).is_ok())
}

/// Most bytes of [`Kept`] in its form on flash.
pub const KEPT_BYTES_MAX: usize = 128;

impl Kept {
    /// The form on flash. [`Keep`](crate::keep::Keep) adds the CRC.
    pub fn encode(&self) -> heapless::Vec<u8, KEPT_BYTES_MAX> {
        let mut out = heapless::Vec::new();
        let mut put = |bytes: &[u8]| {
            // The longest form has 106 bytes.
            let _fits = out.extend_from_slice(bytes);
        };
        put(&[KEPT_FORM, u8::from(self.confirmed == Slot::B)]);
        match &self.failed {
            None => put(&[0]),
            Some(Failed { version, why, times }) => {
                let why = FAILURES.iter().position(|known| known == why).unwrap_or(0);
                put(&[1, u8::try_from(why).unwrap_or(0), *times]);
                for number in [version.major, version.minor, version.patch] {
                    put(&number.to_le_bytes());
                }
            }
        }
        match &self.phase {
            Phase::Idle => put(&[0]),
            Phase::Fetching { release, upto, mismatches } => {
                put(&[1, *mismatches]);
                put(&upto.to_le_bytes());
                put(&release.signed_bytes());
            }
            Phase::Trial { release, activations, boots, silent } => {
                put(&[2, *activations, *boots, *silent]);
                put(&release.signed_bytes());
            }
            Phase::Returning => put(&[3]),
        }
        out
    }

    /// Reads the form on flash; `None` for anything [`Kept::encode`] did not write.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let [KEPT_FORM, slot @ (0 | 1), rest @ ..] = bytes else { return None };
        let (failed, rest) = match rest {
            [0, rest @ ..] => (None, rest),
            [1, why, times, a, b, c, d, e, f, rest @ ..] => {
                let version = Version {
                    major: u16::from_le_bytes([*a, *b]),
                    minor: u16::from_le_bytes([*c, *d]),
                    patch: u16::from_le_bytes([*e, *f]),
                };
                (Some(Failed { version, why: *FAILURES.get(usize::from(*why))?, times: *times }), rest)
            }
            _ => return None,
        };
        let phase = match rest {
            [0] => Phase::Idle,
            [1, mismatches, a, b, c, d, release @ ..] => Phase::Fetching {
                release: unsigned(release)?,
                upto: u32::from_le_bytes([*a, *b, *c, *d]),
                mismatches: *mismatches,
            },
            [2, activations, boots, silent, release @ ..] => Phase::Trial {
                release: unsigned(release)?,
                activations: *activations,
                boots: *boots,
                silent: *silent,
            },
            [3] => Phase::Returning,
            _ => return None,
        };
        Some(Self { confirmed: if *slot == 1 { Slot::B } else { Slot::A }, phase, failed })
    }
}

/// A release whose signature was verified before it was kept.
fn unsigned(bytes: &[u8]) -> Option<Release> {
    let mut manifest = heapless::Vec::<u8, { casement_proto::release::MANIFEST_BYTES_MAX }>::new();
    manifest.extend_from_slice(bytes).ok()?;
    manifest.extend_from_slice(&[0; casement_proto::release::SIGNATURE_BYTES]).ok()?;
    SignedRelease::decode(&manifest).ok().map(|signed| signed.release)
}

/// Bytes that are erased at once; how far a fetch has come is a multiple of it.
pub const SECTOR_BYTES: u32 = 4_096;
/// Bytes that are asked for at once, and after which the progress is kept.
pub const FETCH_BYTES: u32 = 16 * SECTOR_BYTES;
/// How long a release on trial has to reach the gateway.
pub const TRIAL_MS: u64 = 30 * 60_000;
/// Boots that a release on trial has.
pub const TRIAL_BOOTS: u8 = 3;

const ACTIVATIONS_MAX: u8 = 3;
const MISMATCHES_MAX: u8 = 2;
const FLASH_FAULTS_MAX: u8 = 3;
const SILENT_MAX: u8 = 3;
const DUE_MS: u64 = 60_000;
const KEPT_FORM: u8 = 1;
/// In the order of their numbers on flash.
const FAILURES: [Failure; 5] =
    [Failure::Crashed, Failure::Silent, Failure::NotBooted, Failure::WrongHash, Failure::Flash];

#[cfg(test)]
mod tests;
