//! A device of three parts of flash against a gateway on paper.

use super::super::exchange::tests::{Answer, Paper, Slot as Part, image, part, run};
use super::super::{FETCH_BYTES, Failure, Refusal};
use super::*;
use casement_proto::{BoardId, Release, SignedRelease, UpdateStatus, Version};
use ed25519_compact::{KeyPair, Seed};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;

const OLD: Version = Version { major: 1, minor: 0, patch: 0 };
const NEW: Version = Version { major: 1, minor: 1, patch: 0 };
const CHANCE: (bool, u32) = (true, u32::MAX / 2);
const TARGET: Target<'_> = Target { host: "air.example.org", token: "cas_dev_secret" };

/// A part of flash that outlives a boot.
#[derive(Clone)]
struct Shared(Rc<RefCell<Part>>);

impl Shared {
    fn new(sectors: usize) -> Self {
        Self(Rc::new(RefCell::new(Part::new(sectors))))
    }

    /// The next so many operations work, and then one fails.
    fn fail_after(&self, operations: usize) {
        let mut part = self.0.borrow_mut();
        part.fails = Some(part.done + operations);
    }
}

impl Region for Shared {
    type Error = &'static str;
    const SECTOR_BYTES: usize = 4_096;

    fn sectors(&self) -> usize {
        self.0.borrow().sectors()
    }
    fn read(&mut self, offset: usize, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.borrow_mut().read(offset, bytes)
    }
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.borrow_mut().write(offset, bytes)
    }
    fn erase(&mut self, offset: usize) -> Result<(), Self::Error> {
        self.0.borrow_mut().erase(offset)
    }
}

struct Device {
    slots: [Shared; 2],
    kept: Shared,
    otadata: Shared,
    image: Vec<u8>,
    now: Rc<RefCell<u64>>,
    policy: UpdatePolicy,
    asked: usize,
    fetched: usize,
}

fn key() -> KeyPair {
    KeyPair::from_seed(Seed::new([42; 32]))
}

impl Device {
    fn new() -> Self {
        Self {
            slots: [Shared::new(40), Shared::new(40)],
            kept: Shared::new(2),
            otadata: Shared::new(2),
            image: image(2 * FETCH_BYTES as usize + 5_000),
            now: Rc::default(),
            policy: UpdatePolicy::Newest,
            asked: 0,
            fetched: 0,
        }
    }

    fn release(&self) -> Release {
        let board = BoardId::parse("stamp-c3").unwrap();
        let sha256 = Sha256::digest(&self.image).into();
        Release { board, version: NEW, size: self.image.len() as u32, sha256 }
    }

    fn now(&self) -> Millis {
        Millis(*self.now.borrow())
    }

    /// Boots what the bootloader says. Slot A holds the old version.
    fn boot(&self, keys: &[[u8; 32]]) -> (Runner<Shared>, Next) {
        self.boot_in(Otadata::new(self.otadata.clone()).selected().unwrap(), keys)
    }

    /// Boots a slot, whatever the bootloader was told.
    fn boot_in(&self, slot: Slot, keys: &[[u8; 32]]) -> (Runner<Shared>, Next) {
        let (version, [first, second]) = (if slot == Slot::A { OLD } else { NEW }, &self.slots);
        let board = BoardId::parse("stamp-c3").unwrap();
        let who = Identity { board, version, slot, slot_bytes: 40 * 4_096 };
        let places = Places {
            slot: if slot == Slot::A { second.clone() } else { first.clone() },
            kept: Keep::open(self.kept.clone()).ok(),
            otadata: Otadata::new(self.otadata.clone()),
        };
        let keys = keys.iter().copied().collect();
        Runner::start(who, places, self.policy, keys, self.now(), CHANCE.1)
    }

    fn start(&self) -> (Runner<Shared>, Next) {
        self.boot(&[[1; 32], *key().pk])
    }

    /// One thing over the connection, with what goes wrong.
    fn work(&mut self, runner: &mut Runner<Shared>, wrong: impl Fn(Answer) -> Option<Answer>) -> Next {
        let release = self.release();
        let manifest = SignedRelease { release, signature: *key().sk.sign(release.signed_bytes(), None) };
        let clock = Rc::clone(&self.now);
        let (image, asked, fetched) = (&self.image, &mut self.asked, &mut self.fetched);
        let mut client = Paper::new(|uri, headers| {
            *clock.borrow_mut() += 200;
            wrong(if uri.contains('?') {
                *asked += 1;
                Answer::new(200, &manifest.encode())
            } else {
                *fetched += 1;
                part(image, &headers[2].1)
            })
        });
        run(runner.work(&mut client, &TARGET, || Millis(*clock.borrow()), CHANCE))
    }

    /// Goes on until a restart, at most so long.
    fn live(
        &mut self,
        runner: &mut Runner<Shared>,
        ms: u64,
        wrong: impl Fn(Answer) -> Option<Answer>,
    ) -> Next {
        let end = Millis(self.now().0 + ms);
        while let Some(wake) = runner.wake_at(self.now()).filter(|wake| *wake <= end) {
            let mut now = self.now.borrow_mut();
            *now = wake.0.max(*now);
            drop(now);
            let mut next = runner.tick(self.now(), CHANCE);
            if next == Next::GoOn && runner.has_work(self.now()) {
                next = self.work(runner, &wrong);
            }
            if next == Next::Restart {
                return next;
            }
        }
        *self.now.borrow_mut() = end.0;
        Next::GoOn
    }
}

const DAY_MS: u64 = 86_400_000;

fn said(runner: &Runner<Shared>) -> String {
    runner.updater().status().map(|status: UpdateStatus<'_>| std::format!("{status}")).unwrap_or_default()
}

#[test]
fn a_release_is_asked_for_fetched_tried_and_confirmed() {
    let mut device = Device::new();
    let (mut runner, next) = device.start();
    assert_eq!((next, runner.is_on()), (Next::GoOn, true));
    assert_eq!(device.live(&mut runner, DAY_MS, Some), Next::Restart);
    assert_eq!((device.asked, device.fetched), (1, 3));
    assert!(device.now().0 < 200_000, "{:?}", device.now());
    let (mut runner, next) = device.start();
    assert_eq!((next, said(&runner).as_str()), (Next::GoOn, "trying 1.1.0"));
    // On trial it asks for nothing, and an upload that failed proves nothing.
    assert!(runner.wake_at(device.now()).is_some_and(|at| at > device.now().after(600_000)));
    assert_eq!(runner.uploaded(false, device.now(), CHANCE), Next::GoOn);
    assert!(runner.updater().on_trial());
    assert_eq!(runner.uploaded(true, device.now(), CHANCE), Next::GoOn);
    assert!(!runner.updater().on_trial());
    let (runner, _) = device.start();
    assert_eq!((runner.updater().identity().version, said(&runner).as_str()), (NEW, ""));
    let mut written = device.slots[1].clone();
    let size = device.image.len() as u32;
    assert_eq!(run(hash(&mut written, size)), Some(device.release().sha256));
}

#[test]
fn keys_are_read_or_refused() {
    let key = |byte: u8| std::format!("{byte:02x}").repeat(32);
    for (text, outcome) in [
        (String::new(), Ok(std::vec![])),
        (String::from("  "), Ok(std::vec![])),
        (key(0xa7), Ok(std::vec![[0xa7; 32]])),
        (std::format!("{}, {}", key(1).to_uppercase(), key(0xfe)), Ok(std::vec![[1; 32], [0xfe; 32]])),
        (std::format!("{},", key(1)), Err(KeysError::Digits)),
        (key(1)[1..].into(), Err(KeysError::Digits)),
        (key(1) + "0", Err(KeysError::Digits)),
        ("zz".repeat(32), Err(KeysError::Digits)),
        ("é".repeat(32), Err(KeysError::Digits)),
        ([key(1), key(2), key(3), key(4), key(5)].join(","), Err(KeysError::TooMany)),
    ] {
        assert_eq!(keys(&text).map(|keys| keys.to_vec()), outcome, "{text}");
    }
}

#[test]
fn nothing_is_asked_for_without_a_key_or_when_the_settings_say_to_stay() {
    let mut device = Device::new();
    let (mut runner, _) = device.boot(&[]);
    assert!(!runner.is_on());
    assert_eq!(device.live(&mut runner, 3 * DAY_MS, Some), Next::GoOn);
    device.policy = UpdatePolicy::Stay;
    let (mut runner, _) = device.start();
    assert_eq!(device.live(&mut runner, 3 * DAY_MS, Some), Next::GoOn);
    assert_eq!(device.asked, 0);
    // And one that was on its way is let go of when the settings change.
    device.policy = UpdatePolicy::Newest;
    let (mut runner, _) = device.start();
    *device.now.borrow_mut() += 200_000;
    for _ in 0..2 {
        assert_eq!(device.work(&mut runner, Some), Next::GoOn);
    }
    assert!(said(&runner).starts_with("fetching 1.1.0"), "{}", said(&runner));
    device.policy = UpdatePolicy::Stay;
    let (mut runner, _) = device.start();
    let fetched = device.fetched;
    assert_eq!((device.live(&mut runner, DAY_MS, Some), said(&runner).as_str()), (Next::GoOn, ""));
    assert_eq!(device.fetched, fetched);
}

#[test]
fn readings_go_first_and_a_gateway_out_of_reach_is_left_alone() {
    let mut device = Device::new();
    let (mut runner, _) = device.start();
    assert_eq!(runner.uploaded(false, device.now(), CHANCE), Next::GoOn);
    assert_eq!(device.live(&mut runner, DAY_MS, Some), Next::GoOn);
    assert_eq!(device.asked, 0);
    assert_eq!(runner.uploaded(true, device.now(), CHANCE), Next::GoOn);
    // Each piece of work is one part.
    for fetched in [0, 1, 2] {
        assert_eq!(device.work(&mut runner, Some), Next::GoOn);
        assert_eq!((device.asked, device.fetched), (1, fetched));
        // An upload in between takes nothing away.
        assert_eq!(runner.uploaded(true, device.now(), CHANCE), Next::GoOn);
        assert!(runner.has_work(device.now()));
    }
    assert_eq!(device.live(&mut runner, DAY_MS, Some), Next::Restart);
}

#[test]
fn a_download_that_breaks_everywhere_is_whole_in_the_end() {
    for every in [1_usize, 500, 5_000, 60_000] {
        let mut device = Device::new();
        let (mut runner, _) = device.start();
        let turn = RefCell::new(0_usize);
        let breaks = |answer: Answer| {
            *turn.borrow_mut() += 1;
            if answer.status != 206 || turn.borrow().is_multiple_of(2) {
                return Some(answer);
            }
            Some(Answer { breaks_after: Some(every.min(answer.body.len() - 1)), ..answer })
        };
        assert_eq!(device.live(&mut runner, DAY_MS, breaks), Next::Restart, "{every}");
        let mut slot = device.slots[1].clone();
        assert_eq!(run(hash(&mut slot, device.image.len() as u32)), Some(device.release().sha256), "{every}");
    }
}

#[test]
fn every_bad_answer_ends_in_words_and_not_in_a_restart() {
    let garbage =
        |answer: Answer| Some(if answer.status == 200 { Answer::new(200, &[9; 120]) } else { answer });
    let huge = |answer: Answer| Some(if answer.status == 200 { Answer::new(200, &[9; 900]) } else { answer });
    let whole =
        |answer: Answer| Some(if answer.status == 206 { Answer::new(200, &answer.body) } else { answer });
    let wrong = |answer: Answer| {
        let mut answer = answer;
        if answer.status == 206 {
            answer.body[77] ^= 1;
        }
        Some(answer)
    };
    let gone = |answer: Answer| Some(if answer.status == 206 { Answer::new(404, b"") } else { answer });
    type Wrong = dyn Fn(Answer) -> Option<Answer>;
    let cases: [(&str, &Wrong, &str, Option<Refusal>); 6] = [
        (
            "garbage",
            &garbage,
            "",
            Some(Refusal::Unreadable(casement_proto::release::ReleaseError::Unreadable)),
        ),
        ("huge", &huge, "", Some(Refusal::Unreadable(casement_proto::release::ReleaseError::Unreadable))),
        ("the whole image", &whole, "fetching 1.1.0 0%", None),
        ("wrong bytes", &wrong, "failed 1.1.0 wrong-hash", Some(Refusal::FailedBefore)),
        ("gone", &gone, "", None),
        ("nobody there", &|_| None, "", None),
    ];
    for (name, wrong, status, refusal) in cases {
        let mut device = Device::new();
        let (mut runner, _) = device.start();
        assert_eq!(device.live(&mut runner, DAY_MS, wrong), Next::GoOn, "{name}");
        assert_eq!((said(&runner).as_str(), runner.updater().refusal()), (status, refusal), "{name}");
        // Questions are not asked again and again. Where nobody is there, each pause is minutes.
        assert!(device.asked <= if name == "nobody there" { 1_500 } else { 9 }, "{name}: {}", device.asked);
        // Each time it is asked for the whole is fetched at most twice, until it is known to be wrong.
        if name == "wrong bytes" {
            assert_eq!(device.fetched, 6, "{name}");
        }
    }
}

#[test]
fn flash_that_fails_at_each_operation_is_no_reboot_loop() {
    let mut restarts = 0;
    for place in 0..3 {
        for after in 0..40 {
            let mut device = Device::new();
            let (mut runner, _) = device.start();
            [&device.slots[1], &device.kept, &device.otadata][place].fail_after(after);
            let mut next = device.live(&mut runner, DAY_MS, Some);
            for _ in 0..3 {
                if next == Next::GoOn {
                    break;
                }
                restarts += 1;
                let again;
                (runner, again) = device.start();
                next = if again == Next::Restart {
                    again
                } else if runner.updater().on_trial() {
                    runner.uploaded(true, device.now(), CHANCE)
                } else {
                    device.live(&mut runner, DAY_MS, Some)
                };
            }
            assert_eq!(next, Next::GoOn, "place {place}, after {after}");
            // A slot that runs is one that was verified.
            let slot = Otadata::new(device.otadata.clone()).selected().unwrap();
            assert!(slot == Slot::A || runner.updater().identity().version == NEW);
        }
    }
    assert!(restarts > 30, "{restarts}");
}

#[test]
fn a_bootloader_that_went_back_by_itself_is_told_to_stay_before_the_slot_is_written() {
    let mut device = Device::new();
    let (mut runner, _) = device.start();
    assert_eq!(device.live(&mut runner, DAY_MS, Some), Next::Restart);
    // It does not start what it was told to: three times, and then it is given up.
    for boot in 0..4 {
        let next;
        (runner, next) = device.boot_in(Slot::A, &[*key().pk]);
        if next == Next::GoOn {
            assert!(boot > 0);
            break;
        }
    }
    let failed = runner.updater().kept().failed.map(|failed| failed.why);
    assert_eq!(failed, Some(Failure::NotBooted));
    assert_eq!(Otadata::new(device.otadata.clone()).selected().unwrap(), Slot::A);
}

#[test]
fn a_bootloader_that_cannot_go_back_is_not_told_for_ever() {
    let mut device = Device::new();
    let (mut runner, _) = device.start();
    assert_eq!(device.live(&mut runner, DAY_MS, Some), Next::Restart);
    // The new firmware crashes, and the old one is broken by now: the bootloader starts the new one whatever it is told.
    let mut restarts = 0;
    for _ in 0..9 {
        let next;
        (runner, next) = device.boot_in(Slot::B, &[*key().pk]);
        restarts += usize::from(next == Next::Restart);
    }
    assert_eq!(restarts, 1);
    assert_eq!((runner.updater().kept().confirmed, runner.updater().kept().phase), (Slot::B, Phase::Idle));
    assert_eq!(said(&runner), "failed 1.1.0 crashed");
    assert!(runner.wake_at(device.now()).is_some(), "it asks for a better one");
}
