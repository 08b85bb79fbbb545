//! Promises of updates: a table of bad offers and bad downloads, and every interleaving of power cuts, crashes and boots.

use super::*;
use ed25519_compact::{KeyPair, Seed};
use std::collections::{HashSet, VecDeque};
use std::vec::Vec;

const OLD: Version = Version { major: 1, minor: 0, patch: 0 };
const NEW: Version = Version { major: 1, minor: 1, patch: 0 };
const NOW: Millis = Millis(7_200_000);

fn board() -> BoardId {
    BoardId::parse("stamp-c3").unwrap()
}

fn keys() -> KeyPair {
    KeyPair::from_seed(Seed::new([42; 32]))
}

fn public() -> [[u8; 32]; 2] {
    // Derived once: the search asks for it a million times.
    static KEYS: std::sync::OnceLock<[[u8; 32]; 2]> = std::sync::OnceLock::new();
    *KEYS.get_or_init(|| [[1; 32], *keys().pk])
}

fn release(version: Version) -> Release {
    Release { board: board(), version, size: FETCH_BYTES + 100, sha256: [5; 32] }
}

fn manifest(release: &Release) -> Vec<u8> {
    let signature = *keys().sk.sign(release.signed_bytes(), None);
    SignedRelease { release: *release, signature }.encode().as_slice().to_vec()
}

fn who(slot: Slot, version: Version) -> Identity {
    Identity { board: board(), version, slot, slot_bytes: 0x1e_0000 }
}

fn fresh(policy: UpdatePolicy) -> Updater {
    Updater::start(who(Slot::A, OLD), None, policy, Millis(0)).0
}

fn tell(updater: &mut Updater, event: Event<'_>) -> Step {
    updater.handle(event, NOW, true, u32::MAX / 2, &public())
}

/// What is done about it does not matter here.
fn hear(updater: &mut Updater, event: Event<'_>) {
    let _step = tell(updater, event);
}

#[test]
fn a_release_is_fetched_hashed_tried_and_confirmed() {
    let mut old = fresh(UpdatePolicy::Newest);
    let new = release(NEW);
    let step = tell(&mut old, Event::Offered(&manifest(&new)));
    assert_eq!(step.then, Then::Fetch { from: 0, to: FETCH_BYTES });
    assert_eq!(step.keep.unwrap().phase, Phase::Fetching { release: new, upto: 0, mismatches: 0 });
    // A part of the part came; the rest of a sector does not count.
    let step = tell(&mut old, Event::Fetched(SECTOR_BYTES + 7));
    assert_eq!(step.then, Then::Fetch { from: SECTOR_BYTES, to: new.size });
    // The power fails, and it goes on from there.
    let (mut old, step) = Updater::start(who(Slot::A, OLD), step.keep, UpdatePolicy::Newest, NOW);
    assert_eq!((step.keep, step.then), (None, Then::Nothing));
    assert_eq!(tell(&mut old, Event::Due).then, Then::Fetch { from: SECTOR_BYTES, to: new.size });
    assert_eq!(old.percent(), Some(6));
    assert_eq!(tell(&mut old, Event::Fetched(new.size)).then, Then::Hash(new.size));
    // A restart must wait until no sensor minds.
    let step = old.handle(Event::Hashed(Some(new.sha256)), NOW, false, 0, &public());
    assert_eq!((step.then, step.wake_at), (Then::Nothing, Some(NOW.after(60_000))));
    let step = tell(&mut old, Event::Due);
    assert_eq!(step.then, Then::Boot(Slot::B));
    let (mut trial, step) = Updater::start(who(Slot::B, NEW), step.keep, UpdatePolicy::Newest, NOW);
    assert!(trial.on_trial());
    assert_eq!(step.wake_at, Some(NOW.after(TRIAL_MS)));
    let step = tell(&mut trial, Event::Acknowledged);
    assert_eq!(step.keep, Some(Kept { confirmed: Slot::B, phase: Phase::Idle, failed: None }));
    assert!(!trial.on_trial());
}

#[test]
fn how_it_goes_is_said_so_that_the_gateway_reads_it() {
    let say = |updater: &Updater| updater.status().map(|status| std::format!("{status}"));
    let mut old = fresh(UpdatePolicy::Newest);
    assert_eq!(say(&old), None);
    let new = release(NEW);
    hear(&mut old, Event::Offered(&manifest(&new)));
    hear(&mut old, Event::Fetched(SECTOR_BYTES));
    assert_eq!(say(&old).as_deref(), Some("fetching 1.1.0 6%"));
    hear(&mut old, Event::Fetched(new.size));
    let step = tell(&mut old, Event::Hashed(Some(new.sha256)));
    let (trial, _) = Updater::start(who(Slot::B, NEW), step.keep, UpdatePolicy::Newest, NOW);
    assert_eq!(say(&trial).as_deref(), Some("trying 1.1.0"));
    for why in FAILURES {
        let failed = Some(Failed { version: NEW, why, times: 1 });
        let kept = Kept { confirmed: Slot::A, phase: Phase::Idle, failed };
        let (back, _) = Updater::start(who(Slot::A, OLD), Some(kept), UpdatePolicy::Newest, NOW);
        let said = say(&back).unwrap();
        assert_eq!(UpdateStatus::parse(&said), back.status(), "{said}");
    }
}

#[test]
fn an_offer_that_is_not_for_this_device_is_refused_in_words() {
    let new = release(NEW);
    let other_key = KeyPair::from_seed(Seed::new([43; 32]));
    let forged = SignedRelease { release: new, signature: *other_key.sk.sign(new.signed_bytes(), None) };
    let mut altered = manifest(&new);
    altered[30] ^= 1;
    let older = release(Version { major: 0, minor: 9, patch: 9 });
    let newest = UpdatePolicy::Newest;
    for (policy, bytes, refusal) in [
        (newest, manifest(&new)[..90].to_vec(), Refusal::Unreadable(ReleaseError::Unreadable)),
        (newest, forged.encode().to_vec(), Refusal::Signature),
        (newest, altered, Refusal::Signature),
        (newest, manifest(&Release { board: BoardId::parse("nanoc6").unwrap(), ..new }), Refusal::Board),
        (newest, manifest(&Release { size: 0x1e_0001, ..new }), Refusal::TooBig),
        (newest, manifest(&release(OLD)), Refusal::Running),
        (newest, manifest(&older), Refusal::Older),
        (UpdatePolicy::Stay, manifest(&new), Refusal::Held),
        (UpdatePolicy::Exactly(OLD), manifest(&new), Refusal::Held),
    ] {
        let mut updater = fresh(policy);
        let step = tell(&mut updater, Event::Offered(&bytes));
        assert_eq!((updater.refusal(), step.then, step.keep), (Some(refusal), Then::Nothing, None));
        assert!(std::format!("{refusal}").len() > 20);
        // What is wrong with an offer is told to the gateway, which then offers it to nobody.
        let said = updater.status().map(|status| std::format!("{status}"));
        let version = updater.offered_version();
        let expected =
            refusal.code().zip(version).map(|(why, version)| std::format!("failed {version} {why}"));
        assert_eq!(said, expected);
        assert!(said.is_none_or(|said| UpdateStatus::parse(&said).is_some()));
        assert_eq!(version.is_none(), matches!(refusal, Refusal::Unreadable(_)));
    }
    // Asked for by name, an older one is taken.
    let mut updater = fresh(UpdatePolicy::Exactly(older.version));
    assert!(matches!(tell(&mut updater, Event::Offered(&manifest(&older))).then, Then::Fetch { .. }));
    assert_eq!(updater.refusal(), None);
}

#[test]
fn every_altered_bit_of_a_manifest_is_found() {
    let good = manifest(&release(NEW));
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let mut updater = fresh(UpdatePolicy::Newest);
        assert_eq!(tell(&mut updater, Event::Offered(&bytes)).keep, None, "bit {bit}");
        assert!(updater.refusal().is_some(), "bit {bit}");
    }
}

fn fetching() -> Updater {
    let mut updater = fresh(UpdatePolicy::Newest);
    let step = tell(&mut updater, Event::Offered(&manifest(&release(NEW))));
    assert!(matches!(step.then, Then::Fetch { .. }));
    updater
}

#[test]
fn a_download_that_breaks_off_waits_and_goes_on() {
    for error in
        [FetchError::Connection, FetchError::Status(401), FetchError::Status(503), FetchError::Status(500)]
    {
        let mut updater = fetching();
        let step = tell(&mut updater, Event::FetchFailed(error));
        assert_eq!(step.then, Then::Nothing);
        let again = step.wake_at.unwrap();
        assert!(again > NOW, "{error:?}");
        let step = updater.handle(Event::Due, again, true, 0, &public());
        assert_eq!(step.then, Then::Fetch { from: 0, to: FETCH_BYTES }, "{error:?}");
    }
}

#[test]
fn a_release_that_is_gone_is_forgotten() {
    for error in
        [FetchError::Status(404), FetchError::Status(410), FetchError::Status(416), FetchError::Answer]
    {
        let mut updater = fetching();
        let step = tell(&mut updater, Event::FetchFailed(error));
        assert_eq!(step.keep.unwrap().phase, Phase::Idle, "{error:?}");
        assert_eq!(updater.kept().failed, None);
    }
    let mut updater = fetching();
    assert_eq!(tell(&mut updater, Event::NothingOffered).keep.unwrap().phase, Phase::Idle);
    let mut updater = fetching();
    assert_eq!(tell(&mut updater, Event::Policy(UpdatePolicy::Stay)).keep.unwrap().phase, Phase::Idle);
}

#[test]
fn a_wrong_hash_is_fetched_once_more_and_then_never_again() {
    let mut updater = fetching();
    let size = release(NEW).size;
    for round in 0..2 {
        assert_eq!(tell(&mut updater, Event::Fetched(size)).then, Then::Hash(size));
        let wrong = if round == 0 { Some([6; 32]) } else { None };
        let step = tell(&mut updater, Event::Hashed(wrong));
        assert_eq!(matches!(step.then, Then::Fetch { from: 0, .. }), round == 0);
    }
    let failed = Failed { version: NEW, why: Failure::WrongHash, times: 1 };
    assert_eq!(*updater.kept(), Kept { confirmed: Slot::A, phase: Phase::Idle, failed: Some(failed) });
    hear(&mut updater, Event::Offered(&manifest(&release(NEW))));
    assert_eq!(updater.refusal(), Some(Refusal::FailedBefore));
    // A person may ask for it again.
    hear(&mut updater, Event::Policy(UpdatePolicy::Exactly(NEW)));
    assert!(matches!(tell(&mut updater, Event::Offered(&manifest(&release(NEW)))).then, Then::Fetch { .. }));
}

#[test]
fn a_slot_that_cannot_be_written_is_given_up_after_three_attempts() {
    let mut updater = fetching();
    for _ in 0..3 {
        assert_eq!(updater.kept().failed, None);
        hear(&mut updater, Event::FetchFailed(FetchError::Flash));
        let _ask = updater.handle(Event::Due, NOW.after(3_600_000), true, 0, &public());
    }
    assert_eq!(updater.kept().failed.map(|failed| failed.why), Some(Failure::Flash));
}

#[test]
fn a_gateway_that_is_out_of_reach_costs_three_trials_and_no_verdict_for_ever() {
    let mut kept = Kept { confirmed: Slot::A, phase: Phase::Idle, failed: None };
    for round in 1..=3 {
        let release = release(NEW);
        kept.phase = Phase::Trial { release, activations: 1, boots: 0, silent: 0 };
        let mut boots = 0;
        loop {
            let (mut trial, step) =
                Updater::start(who(Slot::B, NEW), Some(kept), UpdatePolicy::Newest, Millis(0));
            assert!(step.keep.is_some(), "a boot is counted before anything else");
            boots += 1;
            // Not while a sensor minds.
            let late = Millis(TRIAL_MS);
            assert_eq!(trial.handle(Event::Due, late, false, 0, &public()).then, Then::Nothing);
            assert_eq!(
                trial.handle(Event::Due, Millis(TRIAL_MS - 1), true, 0, &public()).then,
                Then::Nothing
            );
            let step = trial.handle(Event::Due, late, true, 0, &public());
            kept = step.keep.unwrap();
            if step.then == Then::Boot(Slot::A) {
                break;
            }
            assert_eq!(step.then, Then::Restart);
        }
        assert_eq!(boots, 3);
        let (mut old, step) = Updater::start(who(Slot::A, OLD), Some(kept), UpdatePolicy::Newest, Millis(0));
        kept = step.keep.unwrap();
        assert_eq!(kept.failed, Some(Failed { version: NEW, why: Failure::Silent, times: round }));
        hear(&mut old, Event::Offered(&manifest(&release)));
        assert_eq!(old.refusal().is_some(), round == 3);
    }
}

#[test]
fn what_was_flashed_by_cable_is_taken_as_it_is() {
    let trial = Phase::Trial { release: release(NEW), activations: 1, boots: 1, silent: 0 };
    let half = Phase::Fetching { release: release(NEW), upto: SECTOR_BYTES, mismatches: 0 };
    let cable = Version { major: 2, minor: 0, patch: 0 };
    for phase in [Phase::Idle, half, trial] {
        let kept = Kept { confirmed: Slot::A, phase, failed: None };
        let (_, step) = Updater::start(who(Slot::B, cable), Some(kept), UpdatePolicy::Newest, NOW);
        assert_eq!(step.keep, Some(Kept { confirmed: Slot::B, phase: Phase::Idle, failed: None }));
        assert_eq!(step.then, Then::Nothing);
    }
}

#[test]
fn flash_that_cannot_keep_anything_ends_updates_and_a_trial() {
    let mut updater = fetching();
    hear(&mut updater, Event::NotKept);
    assert_eq!(tell(&mut updater, Event::Fetched(FETCH_BYTES)).then, Then::Nothing);
    let phase = Phase::Trial { release: release(NEW), activations: 1, boots: 0, silent: 0 };
    let kept = Kept { confirmed: Slot::A, phase, failed: None };
    let (mut trial, _) = Updater::start(who(Slot::B, NEW), Some(kept), UpdatePolicy::Newest, NOW);
    assert_eq!(tell(&mut trial, Event::NotKept).then, Then::Boot(Slot::A));
}

#[test]
fn what_is_kept_reads_back_and_anything_else_is_none() {
    let phases = [
        Phase::Idle,
        Phase::Fetching { release: release(NEW), upto: 12_288, mismatches: 1 },
        Phase::Trial { release: release(NEW), activations: 2, boots: 3, silent: 1 },
        Phase::Returning,
    ];
    for phase in phases {
        for why in FAILURES.map(Some).into_iter().chain([None]) {
            for confirmed in [Slot::A, Slot::B] {
                let failed = why.map(|why| Failed { version: OLD, why, times: 2 });
                let kept = Kept { confirmed, phase, failed };
                let bytes = kept.encode();
                assert_eq!(Kept::decode(&bytes), Some(kept));
                for len in 0..bytes.len() {
                    assert_eq!(Kept::decode(&bytes[..len]), None);
                }
            }
        }
    }
    assert_eq!(Kept::decode(&[0xff; 64]), None);
}

// -------------------------------------------------------------------------------------------------- every interleaving

/// What a piece of a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Piece {
    Erased,
    Wrong,
    Of(Version),
}

/// A device, its flash, its bootloader and everything that may happen to them.
#[derive(Clone, Debug)]
struct World {
    /// What lies in the `Keep`, in its form on flash.
    record: Option<Vec<u8>>,
    boots_next: Slot,
    slots: [[Piece; 2]; 2],
    /// The device is on, and this is to be done next.
    on: Option<(Updater, Option<Then>)>,
    /// Boots of an unconfirmed release that were counted, since it was activated from the old one.
    counted: u8,
}

fn index(slot: Slot) -> usize {
    usize::from(slot == Slot::B)
}

impl World {
    fn new() -> Self {
        let slots = [[Piece::Of(OLD); 2], [Piece::Erased; 2]];
        Self { record: None, boots_next: Slot::A, slots, on: None, counted: 0 }
    }

    fn kept(&self) -> Option<Kept> {
        self.record.as_ref().map(|bytes| Kept::decode(bytes).expect("what is kept can be read"))
    }

    fn confirmed(&self) -> Slot {
        self.kept().map_or(Slot::A, |kept| kept.confirmed)
    }

    /// What the bootloader boots. It must be whole, whatever happened.
    fn whole(&self, slot: Slot) -> Version {
        match self.slots[index(slot)] {
            [Piece::Of(one), Piece::Of(other)] if one == other => one,
            other => panic!("the bootloader was told to boot {other:?}: {self:?}"),
        }
    }

    /// The step as a driver does it, cut at every point.
    fn take(&self, before: Option<&Updater>, updater: Updater, step: &Step, acknowledged: bool) -> Vec<Self> {
        let off = |world: &Self| Self { on: None, ..world.clone() };
        // Cut before anything is kept. The record itself is the old one or the new one: `keep` has that test.
        let mut worlds = std::vec![off(self)];
        let mut next = self.clone();
        if let Some(kept) = step.keep {
            if kept.confirmed != self.confirmed() {
                assert!(acknowledged, "confirmed without a 200: {self:?}");
                assert_eq!(Some(kept.confirmed), before.map(|it| it.who.slot), "confirmed what does not run");
            }
            next.record = Some(kept.encode().to_vec());
            worlds.push(off(&next));
            // The flash refuses.
            let mut refused = updater.clone();
            let then = refused.handle(Event::NotKept, NOW, true, 0, &public()).then;
            worlds.push(Self { on: Some((refused, Some(then))), ..self.clone() });
        }
        next.on = Some((updater, Some(step.then)));
        worlds.push(next);
        worlds
    }

    fn successors(&self, offer: &[u8]) -> Vec<Self> {
        let Some((updater, then)) = &self.on else { return self.boot() };
        let mut worlds = std::vec![Self { on: None, ..self.clone() }];
        let done = Self { on: Some((updater.clone(), None)), ..self.clone() };
        let idle_slot = index(updater.who.slot.other());
        match then {
            None | Some(Then::Nothing) => {
                for event in [
                    Event::Due,
                    Event::Offered(offer),
                    Event::Offered(b"nonsense"),
                    Event::NothingOffered,
                    Event::Acknowledged,
                ] {
                    worlds.extend(self.tell(event, NOW));
                }
                worlds.extend(self.tell(Event::Due, NOW.after(TRIAL_MS)));
            }
            Some(Then::Fetch { from, to }) => {
                assert_eq!(updater.who.slot, self.confirmed(), "writes beside a trial: {self:?}");
                for piece in [Piece::Erased, Piece::Wrong, Piece::Of(NEW)] {
                    let mut written = done.clone();
                    for at in from / FETCH_BYTES..to.div_ceil(FETCH_BYTES) {
                        written.slots[idle_slot][at as usize] = piece;
                    }
                    // All of it, or broken off, or the power fails.
                    if piece != Piece::Erased {
                        worlds.extend(written.tell(Event::Fetched(*to), NOW));
                    }
                    for error in [FetchError::Connection, FetchError::Status(404), FetchError::Flash] {
                        worlds.extend(written.tell(Event::FetchFailed(error), NOW));
                    }
                    worlds.push(Self { on: None, ..written });
                }
            }
            Some(Then::Hash(_)) => {
                let right = self.slots[idle_slot] == [Piece::Of(NEW); 2];
                let hash = if right { release(NEW).sha256 } else { [0; 32] };
                worlds.extend(done.tell(Event::Hashed(Some(hash)), NOW));
                worlds.extend(done.tell(Event::Hashed(None), NOW));
            }
            Some(Then::Boot(slot)) => {
                let counted = if self.boots_next == *slot { self.counted } else { 0 };
                worlds.push(Self { boots_next: *slot, on: None, counted, ..self.clone() });
            }
            Some(Then::Restart) => {}
        }
        worlds
    }

    fn tell(&self, event: Event<'_>, now: Millis) -> Vec<Self> {
        let Some((before, _)) = &self.on else { return Vec::new() };
        let mut updater = before.clone();
        let step = updater.handle(event, now, true, 0, &public());
        self.take(Some(before), updater, &step, event == Event::Acknowledged)
    }

    fn boot(&self) -> Vec<Self> {
        let slot = self.boots_next;
        let version = self.whole(slot);
        let (updater, step) = Updater::start(who(slot, version), self.kept(), UpdatePolicy::Newest, NOW);
        let counted = updater.on_trial() && step.then == Then::Nothing;
        let mut worlds = self.take(None, updater, &step, false);
        for world in &mut worlds {
            if counted && world.record != self.record {
                world.counted = self.counted + 1;
                assert!(world.counted <= TRIAL_BOOTS, "a fourth boot: {self:?}");
            }
        }
        worlds
    }

    /// From here on the flash works and every boot of a release that is not confirmed crashes at once. The confirmed
    /// one must be back after a few boots.
    fn comes_home(&self) {
        let mut world = Self { on: None, ..self.clone() };
        for _ in 0..16 {
            let slot = world.boots_next;
            let version = world.whole(slot);
            let (_, step) = Updater::start(who(slot, version), world.kept(), UpdatePolicy::Newest, NOW);
            if let Some(kept) = step.keep {
                world.record = Some(kept.encode().to_vec());
            }
            match step.then {
                Then::Boot(slot) => world.boots_next = slot,
                Then::Nothing if slot == world.confirmed() => return,
                _ => {}
            }
        }
        panic!("never comes home: {self:?}");
    }

    /// Everything that tells one state from another.
    fn key(&self) -> Vec<u8> {
        use std::io::Write as _;
        let mut key = Vec::new();
        write!(key, "{:?} {:?} {} ", self.boots_next, self.slots, self.counted).unwrap();
        key.extend(self.record.as_deref().unwrap_or(b"none"));
        if let Some((updater, then)) = &self.on {
            let Updater {
                who,
                kept,
                policy,
                backoff,
                not_before,
                busy,
                verified,
                flash_faults,
                started,
                refusal,
                halted,
                // Said, and never gone by.
                offered: _,
                stumble: _,
            } = updater;
            key.extend(kept.encode());
            write!(
                key,
                "{:?} {policy:?} {backoff:?} {not_before:?} {started:?} {refusal:?} {then:?}",
                who.slot
            )
            .unwrap();
            key.extend([u8::from(*busy), u8::from(*verified), u8::from(*halted), *flash_faults]);
        }
        key
    }
}

#[test]
fn whatever_is_cut_or_crashes_a_verified_slot_boots_and_only_a_200_confirms() {
    let offer = manifest(&release(NEW));
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([World::new()]);
    let (mut confirmed, mut returned) = (0_usize, 0_usize);
    while let Some(world) = queue.pop_front() {
        if !seen.insert(world.key()) {
            continue;
        }
        world.whole(world.boots_next);
        world.whole(world.confirmed());
        world.comes_home();
        confirmed += usize::from(world.confirmed() == Slot::B);
        let failed = world.kept().and_then(|kept| kept.failed).map(|failed| failed.why);
        returned += usize::from(failed == Some(Failure::Crashed) && world.confirmed() == Slot::A);
        // After the new release is confirmed it is the old one of the next update; one is enough.
        if world.confirmed() == Slot::A {
            queue.extend(world.successors(&offer));
        }
    }
    // The search was no empty one: it went through success and through failure.
    assert!(confirmed > 10 && returned > 10, "{confirmed} {returned}");
    assert!(seen.len() > 1_000, "{}", seen.len());
    std::eprintln!("{} states", seen.len());
}
