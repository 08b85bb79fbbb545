//! Promises of the queue, power failing included.

use super::*;
use crate::record::tests::record;
use crate::torn::{Cut, Flash};
use crate::{Millis, Timeline};
use casement_proto::{Reading, ReadingTime};
use proptest::prelude::*;
use std::vec::Vec;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Push,
    Acknowledge(usize),
    Reopen,
}

fn waiting(queue: &mut Queue<Flash>) -> Vec<u64> {
    let mut seqs = Vec::new();
    queue
        .peek(|it| {
            assert_eq!(*it, record(9, it.seq, it.seq * 5_000, None), "a reading came back changed");
            seqs.push(it.seq);
            true
        })
        .unwrap();
    assert_eq!(queue.status().queued as usize, seqs.len());
    seqs
}

fn apply(queue: &mut Queue<Flash>, op: Op, next_seq: &mut u64) -> Result<(), QueueError<Cut>> {
    match op {
        Op::Push => {
            let seq = *next_seq;
            *next_seq += 1;
            queue.push(&record(9, seq, seq * 5_000, None))
        }
        Op::Acknowledge(count) => {
            let mut left = count;
            let mark = queue.peek(|_| {
                left = left.wrapping_sub(1);
                left != usize::MAX
            })?;
            mark.map_or(Ok(()), |mark| queue.acknowledge(mark))
        }
        Op::Reopen => {
            *queue = Queue::open(queue.region.clone())?;
            Ok(())
        }
    }
}

/// Runs the operations, cutting the power after every possible number of bytes, and compares what is there after
/// the next start with what an uncut run held before and after the operation that was cut.
fn cut_everywhere(sectors: usize, ops: &[Op]) {
    let mut queue = Queue::open(Flash::new(sectors)).unwrap();
    let mut next_seq = 1;
    for op in ops {
        let before = waiting(&mut queue);
        let start = queue.region.clone();
        let spent = queue.region.spent;
        let first_seq = next_seq;
        apply(&mut queue, *op, &mut next_seq).unwrap();
        let after = waiting(&mut queue);
        // A full ring first gives up its oldest sector and then keeps the new reading.
        let between: Vec<_> = after.iter().copied().filter(|seq| *seq != first_seq).collect();
        for left in 0..queue.region.spent - spent {
            let mut cut = Queue::open(Flash { left, ..start.clone() }).unwrap();
            let mut seq = first_seq;
            let outcome = apply(&mut cut, *op, &mut seq);
            // Only fill may be missing from what is said to be kept.
            assert!(outcome == Err(QueueError::Region(Cut)) || *op == Op::Push, "{op:?} cut at {left}");
            let mut again = Queue::open(Flash { left: usize::MAX, ..cut.into_region() }).unwrap();
            let mut found = waiting(&mut again);
            assert!(outcome.is_err() || found == after, "{op:?} cut at {left}: said to be kept");
            assert!(
                found == before || found == after || found == between,
                "{op:?} cut at {left}: {found:?}, before {before:?}, after {after:?}"
            );
            // And it goes on working: a new reading arrives behind the others, and survives.
            again.push(&record(9, 1_000_000, 5_000_000_000, None)).unwrap();
            let mut again = Queue::open(again.into_region()).unwrap();
            let last = waiting(&mut again);
            assert_eq!(last.last(), Some(&1_000_000));
            found.push(1_000_000);
            assert!(found.ends_with(&last), "{found:?} {last:?}");
        }
    }
}

#[test]
fn power_may_fail_at_every_byte() {
    use Op::{Acknowledge, Push, Reopen};
    let mut ops = Vec::new();
    for round in 0..12 {
        ops.extend([Push, Push, Push, Acknowledge(round % 4), Push, Reopen, Acknowledge(round % 3)]);
    }
    // Long enough offline to go round the ring, then everything is sent.
    ops.extend([Push; 20]);
    ops.extend([Acknowledge(100), Push, Push]);
    cut_everywhere(3, &ops);
    cut_everywhere(2, &ops);
}

#[test]
fn a_full_ring_gives_up_its_oldest_readings_and_counts_them() {
    let mut queue = Queue::open(Flash::new(3)).unwrap();
    for seq in 1..=30 {
        queue.push(&record(9, seq, seq * 5_000, None)).unwrap();
    }
    let left = waiting(&mut queue);
    assert_eq!(left, (30 - left.len() as u64 + 1..=30).collect::<Vec<_>>());
    assert_eq!(queue.status().dropped as usize + left.len(), 30);
    assert!(left.len() >= 6, "{left:?}");
}

#[test]
fn acknowledging_what_was_given_up_meanwhile_harms_nothing() {
    let mut queue = Queue::open(Flash::new(2)).unwrap();
    queue.push(&record(9, 1, 5_000, None)).unwrap();
    let mark = queue.peek(|_| true).unwrap().unwrap();
    for seq in 2..=20 {
        queue.push(&record(9, seq, seq * 5_000, None)).unwrap();
    }
    let left = waiting(&mut queue);
    queue.acknowledge(mark).unwrap();
    assert_eq!(waiting(&mut queue), left);
    // Nor after the next start: the place belongs to a newer reading by now.
    assert_eq!(waiting(&mut Queue::open(queue.into_region()).unwrap()), left);
}

#[test]
fn a_write_the_flash_refused_costs_only_itself() {
    for left in 0..44 {
        let mut queue = Queue::open(Flash::new(3)).unwrap();
        queue.push(&record(9, 1, 5_000, None)).unwrap();
        queue.region.left = left;
        let kept = queue.push(&record(9, 2, 10_000, None)).is_ok();
        queue.region.left = usize::MAX;
        queue.push(&record(9, 3, 15_000, None)).unwrap();
        let expected: &[u64] = if kept { &[1, 2, 3] } else { &[1, 3] };
        assert_eq!(waiting(&mut queue), expected);
        assert_eq!(waiting(&mut Queue::open(queue.into_region()).unwrap()), expected);
    }
}

#[test]
fn nothing_left_by_an_unfinished_erase_comes_back() {
    let mut queue = Queue::open(Flash::new(2)).unwrap();
    queue.push(&record(9, 1, 5_000, None)).unwrap();
    let generation = queue.tail.generation + 2;
    let mut flash = queue.into_region();
    // The flash claimed to have erased the sector, and a new header went over the old one.
    flash.bytes[4..8].copy_from_slice(&generation.to_le_bytes());
    flash.bytes[8..12].copy_from_slice(&header_check(generation).to_le_bytes());
    assert!(waiting(&mut Queue::open(flash).unwrap()).is_empty());
}

#[test]
fn one_worn_word_costs_one_reading() {
    let mut queue = Queue::open(Flash::new(3)).unwrap();
    for seq in 1..=8 {
        queue.push(&record(9, seq, seq * 5_000, None)).unwrap();
    }
    let flash = queue.into_region();
    let all = waiting(&mut Queue::open(flash.clone()).unwrap());
    for byte in (0..flash.bytes.len()).filter(|at| at % Flash::SECTOR_BYTES >= HEADER_BYTES) {
        let mut worn = flash.clone();
        worn.bytes[byte] ^= 0x10;
        let mut queue = Queue::open(worn).unwrap();
        let found = waiting(&mut queue);
        // A worn ack word acknowledges; anything else costs at most the reading it is in.
        let lost = all.iter().filter(|seq| !found.contains(seq)).count();
        assert!(lost <= 1 || all.ends_with(&found), "byte {byte}: {found:?}");
    }
}

#[test]
fn a_region_that_cannot_work_is_refused() {
    assert_eq!(Queue::open(Memory::new([0; 4096])).err(), Some(QueueError::TooSmall));
    let mut queue = Queue::open(Flash::new(2)).unwrap();
    let mut large = record(9, 1, 0, None);
    while large.values.len() < large.values.capacity() {
        large.values.push((casement_proto::Quantity::parse("custom_quantity").unwrap(), 0.1)).unwrap();
    }
    assert_eq!(queue.push(&large), Err(QueueError::TooBig));
    assert!(waiting(&mut queue).is_empty());
}

#[test]
fn a_batch_holds_readings_of_one_boot_with_the_best_known_times() {
    let mut queue = Queue::open(Memory::new(std::vec![0; 8192])).unwrap();
    for (boot, seq, uptime_ms, unix_ms) in [
        // Learned the clock late.
        (1, 1, 5_000, None),
        (1, 2, 10_000, Some(1_000_010_000)),
        // Never did.
        (2, 1, 5_000, None),
        (2, 2, 10_000, None),
        (3, 1, 1_000, None),
    ] {
        queue.push(&record(boot, seq, uptime_ms, unix_ms)).unwrap();
    }
    assert_eq!(queue.newest_boot(), Some(3));
    let timeline = Timeline { boot: 3, now: Millis(2_000), started_unix_ms: Some(1_000_100_000) };
    let mut out = heapless::Vec::<Reading, 10>::new();
    let mut seen = Vec::new();
    while let Some((boot, mark)) = collect(&mut queue, 10, &timeline, &mut out).unwrap() {
        seen.extend(out.iter().map(|reading| (boot, reading.seq, reading.time)));
        queue.acknowledge(mark).unwrap();
    }
    let at = ReadingTime::At;
    assert_eq!(
        seen,
        [
            (1, Some(1), at(1_000_005_000)),
            (1, Some(2), at(1_000_010_000)),
            (2, Some(1), at(1_000_095_000)),
            (2, Some(2), at(1_000_100_000)),
            (3, Some(1), at(1_000_101_000)),
        ]
    );
    assert_eq!(queue.status().queued, 0);
}

#[test]
fn a_batch_keeps_to_its_limit() {
    let mut queue = Queue::open(Memory::new(std::vec![0; 8192])).unwrap();
    for seq in 1..=9 {
        queue.push(&record(1, seq, seq, None)).unwrap();
    }
    let timeline = Timeline { boot: 1, now: Millis(9), started_unix_ms: None };
    let mut out = heapless::Vec::<Reading, 5>::new();
    for (limit, len) in [(1, 1), (4, 4), (7, 5)] {
        collect(&mut queue, limit, &timeline, &mut out).unwrap();
        assert_eq!(out.len(), len);
    }
}

#[test]
fn boot_numbers_rise_and_start_anywhere() {
    assert_eq!(next_boot(Some(17), 5), 18);
    assert_eq!(next_boot(None, 5), 6);
    assert!(next_boot(None, u64::MAX) < BOOT_MAX && next_boot(Some(u64::MAX), 1) < BOOT_MAX);
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => Just(Op::Push),
        2 => (0_usize..12).prop_map(Op::Acknowledge),
        1 => Just(Op::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_list(sectors in 2_usize..6, ops in proptest::collection::vec(op(), 0..120)) {
        let mut queue = Queue::open(Flash::new(sectors)).unwrap();
        let (mut model, mut next_seq) = (Vec::new(), 1);
        for op in ops {
            let seq = next_seq;
            apply(&mut queue, op, &mut next_seq).unwrap();
            match op {
                Op::Push => model.push(seq),
                Op::Acknowledge(count) => { model.drain(..count.min(model.len())); }
                Op::Reopen => {}
            }
            let found = waiting(&mut queue);
            // Dropping is from the front only, and only when the ring is full.
            prop_assert!(model.ends_with(&found) && (found.len() == model.len() || model.len() > 2 * (sectors - 1)));
            model = found;
        }
    }

    #[test]
    fn survives_one_cut_after_another(ops in proptest::collection::vec((op(), 0_usize..400), 1..60)) {
        let mut flash = Flash::new(3);
        let (mut next_seq, mut first_allowed) = (1, 1);
        for (op, left) in ops {
            let mut queue = Queue::open(Flash { left, ..flash }).unwrap();
            let before = waiting(&mut queue);
            let seq = next_seq;
            let outcome = apply(&mut queue, op, &mut next_seq);
            let mut again = Queue::open(Flash { left: usize::MAX, ..queue.into_region() }).unwrap();
            let found = waiting(&mut again);
            prop_assert!(found.is_sorted() && found.windows(2).all(|pair| pair[0] < pair[1]));
            if let (Op::Push, Ok(())) = (op, outcome) {
                prop_assert_eq!(found.last(), Some(&seq));
            }
            let old: Vec<_> = found.iter().copied().filter(|it| *it != seq || next_seq == seq).collect();
            prop_assert!(before.ends_with(&old), "{:?} {:?}", before, found);
            if let (Op::Acknowledge(count), Ok(())) = (op, outcome) {
                prop_assert_eq!(found.len(), before.len() - count.min(before.len()));
            }
            first_allowed = first_allowed.max(found.first().copied().unwrap_or(seq));
            prop_assert!(found.iter().all(|it| *it >= first_allowed), "an acknowledged reading came back");
            flash = again.into_region();
        }
    }

    #[test]
    fn survives_cuts_that_leave_bits_and_pieces(
        ops in proptest::collection::vec((op(), 0_usize..400, 1_u64..), 1..60)
    ) {
        let mut flash = Flash::new(3);
        let mut next_seq = 1;
        for (op, left, scatter) in ops {
            let whole = Flash { left: usize::MAX, ..flash };
            let mut uncut = Queue::open(whole.clone()).unwrap();
            let seq = next_seq;
            apply(&mut uncut, op, &mut next_seq).unwrap();
            let expected = waiting(&mut uncut);
            let mut queue = Queue::open(Flash { left, scatter, ..whole }).unwrap();
            let outcome = apply(&mut queue, op, &mut seq.clone());
            let mut again = Queue::open(Flash { left: usize::MAX, ..queue.into_region() }).unwrap();
            let found = waiting(&mut again);
            prop_assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", found);
            for kept in expected {
                let cut = kept == seq && outcome.is_err();
                prop_assert!(cut || found.contains(&kept), "lost {}: {:?}", kept, found);
            }
            flash = again.into_region();
        }
    }

    #[test]
    fn any_bytes_open_and_work(bytes in proptest::collection::vec(any::<u8>(), Flash::SECTOR_BYTES * 2)) {
        let mut queue = Queue::open(Flash { bytes, left: usize::MAX, spent: 0, scatter: 0 }).unwrap();
        queue.push(&record(9, 1, 5_000, None)).unwrap();
        prop_assert_eq!(waiting(&mut queue), [1]);
    }
}
