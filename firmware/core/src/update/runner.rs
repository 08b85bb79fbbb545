//! Does what the steps of the [`Updater`] say: the same code on boards and in the simulated device, over the flash and the
//! connection that each of them has.
//!
//! A driver calls [`Runner::start`] before anything else at each boot, tells it of each upload, and then comes back whenever
//! [`Runner::wake_at`] says so: with [`Runner::tick`], and, when the connection is free and no reading waits for it, with
//! [`Runner::work`]. That does one thing at a time, at most [`FETCH_BYTES`](super::FETCH_BYTES) of it, because readings go
//! first. Whatever it is told may end in [`Next::Restart`].

use super::exchange::{ask, fetch, hash};
use super::otadata::Otadata;
use super::{Event, Identity, KEPT_BYTES_MAX, Kept, Phase, Slot, Step, Then, Updater};
use crate::Millis;
use crate::keep::Keep;
use crate::queue::Region;
use crate::uplink::{Backoff, Target, UploadError};
use casement_proto::device_settings::UpdatePolicy;
use casement_proto::release::MANIFEST_BYTES_MAX;
use embedded_svc::http::client::asynch::{Client, Connection};

/// Most keys that releases may be signed with.
pub const KEYS_MAX: usize = 4;

/// Keys that releases may be signed with. None means no updates.
pub type Keys = heapless::Vec<[u8; 32], KEYS_MAX>;

/// Why a list of keys is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// A key has 64 hexadecimal digits, as `casement release key` prints it.
    #[error("a key has 64 hexadecimal digits, and keys have a comma between them")]
    Digits,
    /// More than [`KEYS_MAX`].
    #[error("there are more than four keys")]
    TooMany,
}

/// Reads keys in hexadecimal with commas between; nothing is no key.
///
/// # Errors
/// See [`KeysError`].
pub fn keys(text: &str) -> Result<Keys, KeysError> {
    let mut keys = Keys::new();
    for digits in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
        let mut key = [0; 32];
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        if pairs.len() != key.len() || !rest.is_empty() {
            return Err(KeysError::Digits);
        }
        for (byte, [high, low]) in key.iter_mut().zip(pairs) {
            let digit = |letter: &u8| char::from(*letter).to_digit(16).ok_or(KeysError::Digits);
            *byte = u8::try_from(digit(high)? << 4 | digit(low)?).map_err(|_| KeysError::Digits)?;
        }
        keys.push(key).map_err(|_| KeysError::TooMany)?;
    }
    Ok(keys)
}

/// Where things lie on flash.
pub struct Places<R: Region> {
    /// The slot that does not run.
    pub slot: R,
    /// Where [`Kept`] is kept; `None` when there is no such place, and then there are no updates.
    pub kept: Option<Keep<R>>,
    /// The bootloader's choice.
    pub otadata: Otadata<R>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// Go on.
    GoOn,
    /// Restart at once.
    Restart,
}

/// The updater of one device.
pub struct Runner<R: Region> {
    updater: Updater,
    places: Places<R>,
    keys: Keys,
    asks: bool,
    /// A fetch or a hash that waits for [`Runner::work`].
    then: Then,
    /// When the updater wants to hear of the time.
    due: Option<Millis>,
    ask_at: Millis,
    backoff: Backoff,
    /// There is no network, or the last upload failed: the connection is left to readings.
    cut_off: bool,
}

impl<R: Region> Runner<R> {
    /// To be called before anything else at each boot. On [`Next::Restart`] the device restarts at once.
    pub fn start(
        who: Identity,
        mut places: Places<R>,
        policy: UpdatePolicy,
        keys: Keys,
        now: Millis,
        random: u32,
    ) -> (Self, Next) {
        let mut bytes = [0; KEPT_BYTES_MAX];
        let kept = places.kept.as_mut().and_then(|keep| keep.load(&mut bytes).ok().flatten());
        let kept = kept.and_then(|len| Kept::decode(bytes.get(..len)?));
        let (kept, stuck) = stay_if_stuck(kept, who.slot, &mut places.otadata);
        let (updater, mut step) = Updater::start(who, kept, policy, now);
        if stuck {
            step.keep = Some(*updater.kept());
        }
        let mut runner = Self {
            updater,
            places,
            asks: !keys.is_empty() && policy != UpdatePolicy::Stay,
            keys,
            then: Then::Nothing,
            due: None,
            ask_at: now.after(u64::from(spread(FIRST_ASK_MS, random))),
            backoff: Backoff::new(),
            cut_off: false,
        };
        let next = runner.take(step, now, (true, random));
        if next == Next::GoOn
            && !matches!(runner.updater.kept().phase, Phase::Trial { .. } | Phase::Returning)
        {
            // While a release is written nothing else than this slot may be started: what lies in the other one is not
            // verified. A bootloader that went back by itself still has the other one on its list.
            let _best_effort = runner.places.otadata.select(who.slot);
        }
        (runner, next)
    }

    /// The network came or went. Until it is told, there is one.
    pub const fn linked(&mut self, up: bool) {
        self.cut_off = !up;
    }

    /// What came of an upload. An authenticated 200 confirms a release on trial.
    pub fn uploaded(&mut self, worked: bool, now: Millis, (calm, random): (bool, u32)) -> Next {
        self.cut_off = !worked;
        if !worked {
            return Next::GoOn;
        }
        self.tell(Event::Acknowledged, now, (calm, random))
    }

    /// To be called at [`Runner::wake_at`]. `calm` says that a restart would disturb no sensor.
    pub fn tick(&mut self, now: Millis, (calm, random): (bool, u32)) -> Next {
        match self.due {
            Some(due) if now >= due => self.tell(Event::Due, now, (calm, random)),
            Some(_) | None => Next::GoOn,
        }
    }

    /// Whether there is something to do with the connection or the slot. Nothing while the gateway is out of reach.
    pub fn has_work(&self, now: Millis) -> bool {
        match self.then {
            Then::Fetch { .. } => !self.cut_off,
            Then::Hash(_) => true,
            Then::Nothing | Then::Boot(_) | Then::Restart => {
                !self.cut_off && self.asks() && now >= self.ask_at
            }
        }
    }

    /// Whether [`Runner::work`] would hash next, for which it needs no gateway.
    pub const fn is_hashing(&self) -> bool {
        matches!(self.then, Then::Hash(_))
    }

    /// When to come back; now when there is work.
    pub fn wake_at(&self, now: Millis) -> Option<Millis> {
        if self.has_work(now) {
            return Some(now);
        }
        let ask_at = (self.asks() && !self.cut_off).then_some(self.ask_at);
        [self.due, ask_at].into_iter().flatten().min()
    }

    /// Does one thing: asks, fetches a part or hashes. `now` gives the time, because it passes meanwhile.
    pub async fn work<C: Connection>(
        &mut self,
        client: &mut Client<C>,
        target: &Target<'_>,
        now: impl Fn() -> Millis,
        (calm, random): (bool, u32),
    ) -> Next {
        if !self.has_work(now()) {
            return Next::GoOn;
        }
        let chance = (calm, random);
        match (core::mem::replace(&mut self.then, Then::Nothing), self.updater.kept().phase) {
            (Then::Fetch { from, to }, Phase::Fetching { release, .. }) => {
                let slot = &mut self.places.slot;
                let (upto, came) = fetch(client, target, &release, (from, to), slot).await;
                let Err(error) = came else { return self.tell(Event::Fetched(upto), now(), chance) };
                if upto > from {
                    // What that says to do next is for after the pause.
                    let next = self.tell(Event::Fetched(upto), now(), chance);
                    if next == Next::Restart {
                        return next;
                    }
                }
                self.tell(Event::FetchFailed(error), now(), chance)
            }
            (Then::Hash(size), _) => {
                let hash = hash(&mut self.places.slot, size).await;
                self.tell(Event::Hashed(hash), now(), chance)
            }
            _ => {
                let mut manifest = [0; MANIFEST_BYTES_MAX];
                let who = self.updater.identity();
                let (board, version) = (who.board, who.version);
                let answer = ask(client, target, (&board, version), &mut manifest).await;
                self.answered(answer, &manifest, now(), chance)
            }
        }
    }

    /// The state machine, for whoever shows or reports how it goes.
    pub const fn updater(&self) -> &Updater {
        &self.updater
    }

    /// Whether firmware is asked for at all: there is a key, and the settings do not say to stay.
    pub const fn is_on(&self) -> bool {
        self.asks
    }

    fn asks(&self) -> bool {
        // One on trial has something else to prove first.
        self.asks && !self.updater.on_trial()
    }

    fn answered(
        &mut self,
        answer: Result<Option<usize>, UploadError>,
        manifest: &[u8],
        now: Millis,
        (calm, random): (bool, u32),
    ) -> Next {
        let pause_ms = match answer {
            Ok(_) => ASK_MS,
            Err(UploadError::Answer | UploadError::Refused | UploadError::Status(_)) => ASK_MS,
            Err(error) => self.backoff.after(error, random).max(ASK_AGAIN_MS),
        };
        self.ask_at =
            now.after(u64::from(if pause_ms == ASK_MS { spread(ASK_MS, random) } else { pause_ms }));
        match answer {
            Ok(found) => {
                self.backoff.reset();
                let event = match found {
                    Some(len) => Event::Offered(manifest.get(..len).unwrap_or_default()),
                    None => Event::NothingOffered,
                };
                self.tell(event, now, (calm, random))
            }
            // More bytes than any manifest has, or a page to sign in on.
            Err(UploadError::Answer) => self.tell(Event::Offered(&[]), now, (calm, random)),
            Err(_) => Next::GoOn,
        }
    }

    fn tell(&mut self, event: Event<'_>, now: Millis, (calm, random): (bool, u32)) -> Next {
        let step = self.updater.handle(event, now, calm, random, &self.keys);
        self.take(step, now, (calm, random))
    }

    /// Keeps first, and does the rest only when that is on flash.
    fn take(&mut self, mut step: Step, now: Millis, (calm, random): (bool, u32)) -> Next {
        if let Some(kept) = step.keep
            && !self.keep(&kept)
        {
            // The step that comes of it keeps nothing: nothing can be kept.
            step = self.updater.handle(Event::NotKept, now, calm, random, &self.keys);
        }
        self.due = step.wake_at;
        match step.then {
            // What waits goes on waiting.
            Then::Nothing => Next::GoOn,
            Then::Fetch { .. } | Then::Hash(_) => {
                self.then = step.then;
                Next::GoOn
            }
            Then::Boot(slot) => self.boot(slot),
            Then::Restart => Next::Restart,
        }
    }

    fn keep(&mut self, kept: &Kept) -> bool {
        self.places.kept.as_mut().is_some_and(|keep| keep.store(&kept.encode()).is_ok())
    }

    fn boot(&mut self, slot: Slot) -> Next {
        // To try again for ever would be a reboot loop.
        if self.places.otadata.select(slot).is_ok() { Next::Restart } else { Next::GoOn }
    }
}

/// A bootloader that was told to go back and started this slot again cannot start the other one: to tell it again would be a
/// reboot loop. What runs is all there is.
fn stay_if_stuck<R: Region>(
    kept: Option<Kept>,
    here: Slot,
    otadata: &mut Otadata<R>,
) -> (Option<Kept>, bool) {
    let stuck = kept.filter(|kept| {
        let goes_back = kept.phase == Phase::Returning && kept.confirmed != here;
        goes_back && otadata.selected().is_ok_and(|slot| slot == kept.confirmed)
    });
    match stuck {
        Some(kept) => (Some(Kept { confirmed: here, phase: Phase::Idle, ..kept }), true),
        None => (kept, false),
    }
}

/// From half of it to one and a half times: a fleet that was switched on together does not ask together.
fn spread(ms: u32, random: u32) -> u32 {
    ms / 2 + u32::try_from((u64::from(ms) * u64::from(random)) >> 32).unwrap_or(0)
}

/// The first question, about so long after a boot.
const FIRST_ASK_MS: u32 = 120_000;
/// And then about so often.
const ASK_MS: u32 = 6 * 3_600_000;
/// After a question that got no answer, at least so long.
const ASK_AGAIN_MS: u32 = 60_000;

#[cfg(test)]
mod tests;
