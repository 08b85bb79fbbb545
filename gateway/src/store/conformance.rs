//! The story that every store must tell. An implementation calls [`tell`] with a way to open it, twice for the same
//! place.

use super::*;
use crate::reading::{NewReading, Timed};
use crate::telemetry::series::Data;
use crate::telemetry::time::DAY_MS;
use casement_proto::State;
use std::future::Future;

/// Long ago, so that every day is over.
const T0: i64 = 1_700_042_400_000;

fn device(id: &str) -> DeviceId {
    DeviceId::parse(id).unwrap()
}

fn co2() -> Quantity {
    Quantity::parse("co2").unwrap()
}

fn reading(name: Option<(u64, u64)>, t_ms: i64, co2_ppm: f64) -> NewReading {
    NewReading { name, t_ms, timed: Timed::Device, state: State::Ok, values: Box::new([(co2(), co2_ppm)]) }
}

fn batch(id: &str, readings: Vec<NewReading>) -> NewBatch {
    NewBatch { device: device(id), readings }
}

async fn append(store: &dyn Store, id: &str, readings: Vec<NewReading>) -> (usize, usize) {
    let appended = store.append(&[batch(id, readings)]).await.unwrap().remove(0);
    (appended.stored.len(), appended.duplicate)
}

async fn raw(store: &dyn Store, id: &str, from_ms: i64, to_ms: i64) -> Vec<(i64, f64)> {
    let window = Window { from_ms, to_ms, max_points: 10_000, now_ms: to_ms };
    match store.series(&device(id), &co2(), window).await.unwrap().data {
        Data::Raw(points) => points,
        Data::Buckets { .. } => panic!("expected every reading"),
    }
}

/// Tells the whole story on a store that begins empty. `open` opens the same place each time.
pub async fn tell<F: Future<Output = Arc<dyn Store>>>(open: impl Fn() -> F) {
    let store = open().await;
    a_reading_is_stored_once(&*store).await;
    a_name_holds_whatever_the_time_says(&*store).await;
    readings_without_a_name_are_named_by_their_time(&*store).await;
    readings_timed_on_receipt_stay_distinct(&*store).await;
    a_start_without_a_clock_has_one_beginning(&*store).await;
    an_append_takes_many_batches_in_order(&*store).await;
    values_come_back_as_they_went_in(&*store).await;
    buckets_add_up(&*store).await;
    gaps_are_told(&*store).await;
    windows_are_half_open(&*store).await;
    an_export_is_complete_whatever_the_page(&*store).await;
    devices_and_tokens_are_kept(&*store).await;
    an_empty_store_answers_questions(&*store).await;
    what_is_sealed_reads_the_same(&*store).await;
    the_ledger_tells_what_is_missing(&*store).await;
    values_are_counted_by_value(&*store).await;
    let (newest, devices) = (store.newest().await.unwrap(), store.devices().await.unwrap());
    let all = store.export(&ExportFilter::default(), None, u32::MAX).await.unwrap().0;
    store.close().await;

    let store = open().await;
    assert_eq!(store.newest().await.unwrap(), newest, "everything is there after a restart");
    assert_eq!(store.devices().await.unwrap(), devices);
    assert_eq!(store.export(&ExportFilter::default(), None, u32::MAX).await.unwrap().0, all);
    assert_eq!(append(&*store, "once", vec![reading(Some((1, 1)), T0, 500.0)]).await, (0, 1));
    let again = clockless(5, 40_000, T0 + 3_711_000, &[(10_000, 504.0)]);
    assert_eq!(append(&*store, "timeless", again).await, (0, 1), "when a start began is kept");
    store.close().await;
}

async fn a_reading_is_stored_once(store: &dyn Store) {
    let sent = || vec![reading(Some((1, 1)), T0, 500.0), reading(Some((1, 2)), T0 + 1, 501.0)];
    assert_eq!(append(store, "once", sent()).await, (2, 0));
    assert_eq!(append(store, "once", sent()).await, (0, 2));
    // Twice in one batch, and twice in two batches of one append.
    let twice = vec![reading(Some((1, 3)), T0 + 2, 502.0), reading(Some((1, 3)), T0 + 2, 502.0)];
    assert_eq!(append(store, "once", twice).await, (1, 1));
    let again = || batch("once", vec![reading(Some((1, 4)), T0 + 3, 503.0)]);
    let appended = store.append(&[again(), again()]).await.unwrap();
    assert_eq!(appended.iter().map(|a| (a.stored.len(), a.duplicate)).collect::<Vec<_>>(), [(1, 0), (0, 1)]);
    let points = raw(store, "once", T0, T0 + 10).await;
    assert_eq!(points, [(T0, 500.0), (T0 + 1, 501.0), (T0 + 2, 502.0), (T0 + 3, 503.0)]);
}

async fn a_name_holds_whatever_the_time_says(store: &dyn Store) {
    // A device without a clock sends its age: a resend maps to another instant.
    assert_eq!(append(store, "clockless", vec![reading(Some((1, 1)), T0, 500.0)]).await, (1, 0));
    assert_eq!(append(store, "clockless", vec![reading(Some((1, 1)), T0 + 77, 500.0)]).await, (0, 1));
    // The same number in another boot is another reading, also at the same instant.
    assert_eq!(append(store, "clockless", vec![reading(Some((2, 1)), T0, 600.0)]).await, (1, 0));
    assert_eq!(raw(store, "clockless", T0, T0 + 100).await, [(T0, 500.0), (T0, 600.0)]);
    let biggest = i64::MAX.unsigned_abs();
    assert_eq!(
        append(store, "clockless", vec![reading(Some((biggest, biggest)), T0 + 5, 1.0)]).await,
        (1, 0)
    );
    let stored = store.after(0, 1_000).await.unwrap();
    assert!(stored.iter().any(|r| r.name == Some((biggest, biggest))));
}

async fn readings_without_a_name_are_named_by_their_time(store: &dyn Store) {
    assert_eq!(append(store, "unnamed", vec![reading(None, T0, 500.0)]).await, (1, 0));
    // The first value of an instant wins.
    assert_eq!(append(store, "unnamed", vec![reading(None, T0, 999.0)]).await, (0, 1));
    let again = store
        .append(&[batch("unnamed", vec![reading(None, T0, 999.0), reading(None, T0, 500.0)])])
        .await
        .unwrap();
    assert_eq!((again[0].duplicate, again[0].conflicting), (2, 1), "another value is told from the same one");
    // A quantity that is new at that instant is added.
    let mut more = reading(None, T0, 999.0);
    more.values = Box::new([(co2(), 999.0), (Quantity::parse("temperature").unwrap(), 21.5)]);
    let appended = store.append(&[batch("unnamed", vec![more])]).await.unwrap().remove(0);
    assert_eq!(appended.stored.len(), 1);
    assert_eq!(appended.stored[0].values.len(), 1);
    assert_eq!(raw(store, "unnamed", T0, T0 + 1).await, [(T0, 500.0)]);
}

async fn readings_timed_on_receipt_stay_distinct(store: &dyn Store) {
    let received = |ppm| NewReading { timed: Timed::Receipt, ..reading(None, T0, ppm) };
    assert_eq!(append(store, "received", vec![received(1.0), received(2.0)]).await, (2, 0));
    assert_eq!(append(store, "received", vec![received(3.0)]).await, (1, 0));
    let points = raw(store, "received", T0, T0 + 10).await;
    assert_eq!(points, [(T0, 1.0), (T0 + 1, 2.0), (T0 + 2, 3.0)]);
}

/// A message of a device without a clock: sent so long after its start, received then, with readings as old as said.
fn clockless(boot: u64, sent_ms: u64, received_ms: i64, readings: &[(u64, f64)]) -> Vec<NewReading> {
    let timed = |age_ms| Timed::SinceStart { boot, at_ms: sent_ms - age_ms, sent_ms };
    let at = |age_ms: u64| received_ms - age_ms as i64;
    let one =
        |(age_ms, ppm): &(u64, f64)| NewReading { timed: timed(*age_ms), ..reading(None, at(*age_ms), *ppm) };
    readings.iter().map(one).collect()
}

async fn a_start_without_a_clock_has_one_beginning(store: &dyn Store) {
    let first = clockless(4, 60_000, T0, &[(20_000, 500.0), (10_000, 501.0)]);
    assert_eq!(append(store, "timeless", first).await, (2, 0));
    // The answer was lost. The second attempt is older by 5,000 ms and was 1,234 ms longer on its way.
    let again = clockless(4, 65_000, T0 + 6_234, &[(25_000, 500.0), (15_000, 501.0), (5_000, 502.0)]);
    assert_eq!(append(store, "timeless", again).await, (1, 2));
    // Our clock jumps by an hour: what was timed before stays, what comes after goes by the new time.
    let jumped = clockless(4, 70_000, T0 + 3_610_000, &[(10_000, 502.0)]);
    assert_eq!(append(store, "timeless", jumped).await, (0, 1));
    let after = clockless(4, 80_000, T0 + 3_620_000, &[(1_000, 503.0)]);
    assert_eq!(append(store, "timeless", after).await, (1, 0));
    // Another start has another beginning.
    let other = clockless(5, 30_000, T0 + 3_700_000, &[(0, 504.0)]);
    assert_eq!(append(store, "timeless", other).await, (1, 0));
    let points = raw(store, "timeless", T0 - 60_000, T0 + 4_000_000).await;
    let expected = [
        (T0 - 20_000, 500.0),
        (T0 - 10_000, 501.0),
        (T0, 502.0),
        (T0 + 3_619_000, 503.0),
        (T0 + 3_700_000, 504.0),
    ];
    assert_eq!(points, expected);
    assert_eq!(store.ledger(&device("timeless")).await.unwrap(), [], "nothing of it is numbered");
}

async fn an_append_takes_many_batches_in_order(store: &dyn Store) {
    let before = store.newest().await.unwrap();
    let batches: Vec<_> = (0..50u64)
        .map(|d| {
            let id = if d % 2 == 0 { "even" } else { "odd" };
            batch(id, (0..30).map(|s| reading(Some((d, s)), T0 + (d * 30 + s) as i64, 400.0)).collect())
        })
        .collect();
    let appended = store.append(&batches).await.unwrap();
    assert_eq!(appended.len(), 50);
    let ids: Vec<i64> = appended.iter().flat_map(|a| a.stored.iter().map(|r| r.id)).collect();
    assert_eq!(ids.len(), 1500);
    assert!(ids.is_sorted() && ids[0] > before);
    let back = store.after(before, 2_000).await.unwrap();
    assert_eq!(back.iter().map(|r| r.id).collect::<Vec<_>>(), ids);
    assert_eq!(store.after(before, 7).await.unwrap().len(), 7);
    assert_eq!(back, appended.into_iter().flat_map(|a| a.stored).collect::<Vec<_>>());
    assert_eq!(store.append(&[]).await.unwrap(), []);
    assert_eq!(append(store, "even", vec![]).await, (0, 0));
}

async fn values_come_back_as_they_went_in(store: &dyn Store) {
    let odd = [0.1 + 0.2, f64::MIN_POSITIVE, -1.0e300, 769.666666666667, 5e-324, 1.0 / 3.0];
    let readings: Vec<_> = odd
        .iter()
        .enumerate()
        .map(|(i, v)| NewReading {
            state: State::ALL[i],
            values: Box::new([(Quantity::parse("custom_one").unwrap(), *v)]),
            ..reading(Some((1, i as u64)), T0 + i as i64, 0.0)
        })
        .collect();
    let before = store.newest().await.unwrap();
    assert_eq!(append(store, "exact", readings.clone()).await, (6, 0));
    let back = store.after(before, 10).await.unwrap();
    for (sent, kept) in readings.iter().zip(&back) {
        assert_eq!((kept.t_ms, kept.state, kept.name), (sent.t_ms, sent.state, sent.name));
        assert_eq!(kept.values, sent.values.to_vec());
    }
    let failed = NewReading { state: State::Failed, values: Box::new([]), ..reading(Some((2, 1)), T0, 0.0) };
    assert_eq!(
        append(store, "exact", vec![failed.clone()]).await,
        (1, 0),
        "a failure without a value is kept"
    );
    assert_eq!(append(store, "exact", vec![failed]).await, (0, 1));
}

async fn buckets_add_up(store: &dyn Store) {
    let count = 5_000i64;
    let value = |i: i64| 400.0 + ((i * 7919) % 1000) as f64;
    let readings = (0..count).map(|i| reading(Some((1, i as u64)), T0 + i * 10_000, value(i))).collect();
    assert_eq!(append(store, "long", readings).await, (5_000, 0));
    for max_points in [1, 10, 100, 1000, 4_998] {
        let window =
            Window { from_ms: T0 + 3, to_ms: T0 + count * 10_000, max_points, now_ms: T0 + count * 10_000 };
        let points = store.series(&device("long"), &co2(), window).await.unwrap();
        let Data::Buckets { step_ms, buckets } = points.data else { panic!("expected buckets") };
        assert!(buckets.len() <= max_points as usize);
        assert_eq!(buckets.iter().map(|b| b.count).sum::<i64>(), count - 1);
        for bucket in &buckets {
            assert_eq!(bucket.t_ms % step_ms, 0);
            let inside: Vec<f64> = (1..count)
                .filter(|i| (bucket.t_ms..bucket.t_ms + step_ms).contains(&(T0 + i * 10_000)))
                .map(value)
                .collect();
            assert_eq!(bucket.count as usize, inside.len());
            assert_eq!(bucket.min, inside.iter().copied().fold(f64::MAX, f64::min));
            assert_eq!(bucket.max, inside.iter().copied().fold(f64::MIN, f64::max));
            let mean = inside.iter().sum::<f64>() / inside.len() as f64;
            assert!((bucket.mean - mean).abs() < 1e-9, "{} {mean}", bucket.mean);
        }
        assert_eq!(points.gaps, []);
    }
    assert_eq!(raw(store, "long", T0, T0 + count * 10_000).await.len(), 5_000);
}

async fn gaps_are_told(store: &dyn Store) {
    let mut readings: Vec<_> =
        (0..500).map(|i| reading(Some((1, i)), T0 + i as i64 * 10_000, 500.0)).collect();
    readings.drain(100..200);
    assert_eq!(append(store, "holes", readings).await, (400, 0));
    let hole = T0 + 99 * 10_000..T0 + 200 * 10_000;
    let end = T0 + 499 * 10_000;
    for max_points in [10, 1000] {
        let series = |from_ms, to_ms, now_ms| {
            let window = Window { from_ms, to_ms, max_points, now_ms };
            async move { store.series(&device("holes"), &co2(), window).await.unwrap().gaps }
        };
        assert_eq!(series(T0, end + 1, end + 1).await, std::slice::from_ref(&hole));
        let silent = end..end + 3_600_000;
        assert_eq!(series(T0, i64::MAX, silent.end).await, [hole.clone(), silent]);
        assert_eq!(series(T0 + 1_000_000, T0 + 1_900_000, i64::MAX).await, [T0 + 1_000_000..T0 + 1_900_000]);
    }
}

async fn windows_are_half_open(store: &dyn Store) {
    let readings = vec![reading(None, T0, 1.0), reading(None, T0 + 10, 2.0), reading(None, -5, 3.0)];
    assert_eq!(append(store, "edges", readings).await, (3, 0));
    assert_eq!(raw(store, "edges", T0, T0 + 10).await, [(T0, 1.0)]);
    assert_eq!(raw(store, "edges", T0 + 1, T0 + 11).await, [(T0 + 10, 2.0)]);
    assert_eq!(raw(store, "edges", -5, 0).await, [(-5, 3.0)]);
    assert_eq!(raw(store, "edges", T0, T0).await, []);
    let window = Window { from_ms: -10, to_ms: T0 + 11, max_points: 2, now_ms: T0 };
    let points = store.series(&device("edges"), &co2(), window).await.unwrap();
    let Data::Buckets { step_ms, buckets } = points.data else { panic!("expected buckets") };
    assert_eq!(buckets.iter().map(|b| b.count).collect::<Vec<_>>(), [1, 2], "{buckets:?}");
    assert_eq!(buckets[0].t_ms, -step_ms);
}

async fn an_export_is_complete_whatever_the_page(store: &dyn Store) {
    let filters = [
        ExportFilter::default(),
        ExportFilter { device: Some(device("holes")), ..Default::default() },
        ExportFilter { metric: Quantity::parse("temperature"), ..Default::default() },
        ExportFilter { from_ms: Some(T0 + 5), to_ms: Some(T0 + 500_000), ..Default::default() },
        ExportFilter { device: Some(device("nobody")), ..Default::default() },
    ];
    for filter in filters {
        let (whole, end) = store.export(&filter, None, u32::MAX).await.unwrap();
        assert_eq!(end, None);
        assert_eq!(store.count(&filter).await.unwrap(), whole.len() as u64);
        let (mut paged, mut cursor) = store.export(&filter, None, 997).await.unwrap();
        while let Some(from) = cursor {
            let (page, next) = store.export(&filter, Some(from), 997).await.unwrap();
            paged.extend(page);
            cursor = next;
        }
        assert_eq!(paged.len(), whole.len());
        assert_eq!(paged, whole, "{filter:?}");
    }
}

async fn devices_and_tokens_are_kept(store: &dyn Store) {
    let device = Device {
        id: device("a-device"),
        room: Some("Room 101".into()),
        name: None,
        simulated: true,
        created_ms: T0,
    };
    store.add_device(&device).await.unwrap();
    assert!(matches!(store.add_device(&device).await, Err(StoreError::Exists(_))));
    assert!(store.devices().await.unwrap().contains(&device));
    let mut token = Token {
        id: 0,
        hash: [7; 32],
        hint: "cas_dev_ab".into(),
        scope: Scope::Device(device.id),
        name: Some("n".into()),
        created_ms: T0,
        expires_ms: None,
        revoked_ms: None,
    };
    token.id = store.add_token(&token).await.unwrap();
    assert_eq!(store.token(&[7; 32]).await.unwrap(), Some(token.clone()));
    let mut other = [7; 32];
    other[31] = 8;
    assert_eq!(store.token(&other).await.unwrap(), None, "eight bytes in common are not enough");
    let session =
        Token { hash: [9; 32], scope: Scope::Session { parent: token.id, admin: true }, ..token.clone() };
    store.add_token(&session).await.unwrap();
    let brief = Token { hash: [8; 32], expires_ms: Some(T0 + 1), ..session.clone() };
    store.add_token(&brief).await.unwrap();
    let later = Token { hash: [6; 32], created_ms: T0 + 1, ..session.clone() };
    store.add_token(&later).await.unwrap();
    assert_eq!(store.token(&[8; 32]).await.unwrap(), None, "a session that is over is cleared away");
    assert_eq!(store.tokens().await.unwrap(), [token.clone()], "sessions are nobody's business");
    let claim = Token { hash: [5; 32], scope: Scope::Claim, expires_ms: Some(T0 + 1), ..token.clone() };
    let number = store.add_token(&claim).await.unwrap();
    let kept = store.token(&[5; 32]).await.unwrap().unwrap();
    assert_eq!((kept.id, kept.scope), (number, Scope::Claim));
    assert_eq!(store.tokens().await.unwrap().len(), 2, "a claim stands in the list");
    let (one, other) = tokio::join!(store.revoke_token(number, T0), store.revoke_token(number, T0));
    assert!(one.unwrap() ^ other.unwrap(), "whoever is first has it");
    let much_later = Token { hash: [4; 32], created_ms: T0 + 1 + CLAIM_REMEMBERED_MS, ..later };
    store.add_token(&much_later).await.unwrap();
    assert_eq!(store.token(&[5; 32]).await.unwrap(), None, "a claim of long ago is cleared away");
    assert!(store.revoke_token(token.id, T0 + 1).await.unwrap());
    assert!(!store.revoke_token(token.id, T0 + 2).await.unwrap());
    assert_eq!(store.token(&[7; 32]).await.unwrap().unwrap().revoked_ms, Some(T0 + 1));
    assert_eq!(store.token(&[9; 32]).await.unwrap(), None, "a session ends with its token");
    let orphan = Token { hash: [1; 32], scope: Scope::Device(self::device("nobody")), ..token };
    assert!(matches!(store.add_token(&orphan).await, Err(StoreError::Missing(_))));
}

async fn the_ledger_tells_what_is_missing(store: &dyn Store) {
    assert_eq!(store.ledger(&device("nobody")).await.unwrap(), []);
    let named = |boot, seqs: std::ops::Range<u64>| -> Vec<NewReading> {
        seqs.map(|seq| reading(Some((boot, seq)), T0 + seq as i64 * 1_000, 1.0)).collect()
    };
    assert_eq!(append(store, "ledger", named(3, 65_530..65_545)).await, (15, 0));
    store.compact().await.unwrap();
    assert_eq!(append(store, "ledger", named(3, 65_550..65_560)).await, (10, 0));
    assert_eq!(append(store, "ledger", named(2, 5..6)).await, (1, 0));
    let one = Start { boot: 2, first: 5, last: 5, seen: 1, holes: vec![] };
    let mut two = Start { boot: 3, first: 65_530, last: 65_559, seen: 25, holes: vec![(65_545, 65_549)] };
    assert_eq!(store.ledger(&device("ledger")).await.unwrap(), [one.clone(), two.clone()]);
    assert_eq!(two.missing(), 5);
    assert_eq!(append(store, "ledger", named(3, 65_540..65_555)).await, (5, 10));
    store.compact().await.unwrap();
    (two.seen, two.holes) = (30, vec![]);
    assert_eq!(store.ledger(&device("ledger")).await.unwrap(), [one, two]);
}

async fn values_are_counted_by_value(store: &dyn Store) {
    let (from_ms, to_ms) = (T0, T0 + 40 * DAY_MS);
    let spread = store.distribution(&device("long"), &co2(), from_ms, to_ms, Some(1_399.0)).await.unwrap();
    let mut values: Vec<f64> =
        raw(store, "long", from_ms, to_ms).await.into_iter().map(|(_, value)| value).collect();
    values.sort_by(f64::total_cmp);
    let rank = |share: f64| values[((share * values.len() as f64).ceil() as usize).max(1) - 1];
    assert_eq!(spread.percentiles(&[0.0, 50.0, 95.0, 100.0]), [rank(0.0), rank(0.5), rank(0.95), rank(1.0)]);
    assert_eq!(spread.count(), 5_000);
    let above = values.iter().filter(|value| **value > 1_399.0).count() as u64;
    assert_eq!(spread.above().unwrap().0, above);
    let none = store.distribution(&device("nobody"), &co2(), from_ms, to_ms, None).await.unwrap();
    assert_eq!((none.count(), none.above()), (0, None));
}

/// Everything that can be asked about one device.
async fn everything(
    store: &dyn Store,
    id: &str,
) -> (Vec<ExportRow>, Vec<Points>, Vec<(i64, f64)>, Vec<Quantity>) {
    let filter = ExportFilter { device: Some(device(id)), ..Default::default() };
    let (rows, _) = store.export(&filter, None, u32::MAX).await.unwrap();
    assert_eq!(store.count(&filter).await.unwrap(), rows.len() as u64);
    let mut charts = Vec::new();
    for (from_ms, to_ms) in [(0, T0 + 40 * DAY_MS), (T0 + 5_000_123, T0 + 9 * DAY_MS + 77), (T0 - 1, T0 + 1)]
    {
        for max_points in [10, 1_000, 10_000] {
            let window = Window { from_ms, to_ms, max_points, now_ms: T0 + 40 * DAY_MS };
            charts.push(store.series(&device(id), &co2(), window).await.unwrap());
        }
    }
    let recent = store.recent(&device(id), &co2(), T0, 700).await.unwrap();
    (rows, charts, recent, store.quantities(&device(id)).await.unwrap())
}

async fn what_is_sealed_reads_the_same(store: &dyn Store) {
    // Nine days with a night's silence in each, times in disorder, a second metric in every third reading, and a state.
    let at = |i: i64| T0 + (i / 200) * DAY_MS + (i * 7_919 % 200) * 120_000;
    let readings = (0..1_800i64).map(|i| {
        let mut values = vec![(co2(), 400.0 + (i % 37) as f64)];
        if i % 3 == 0 {
            values.push((Quantity::parse("temperature").unwrap(), 20.0 + (i % 50) as f64 / 100.0));
        }
        NewReading {
            name: (i % 2 == 0).then_some((1, i as u64)),
            t_ms: at(i),
            timed: Timed::Device,
            state: if i % 400 < 3 { State::WarmingUp } else { State::Ok },
            values: values.into_boxed_slice(),
        }
    });
    let readings: Vec<_> = readings.collect();
    assert_eq!(append(store, "sealed", readings.clone()).await, (1_800, 0));
    let before = everything(store, "sealed").await;
    assert_eq!(before.0.len(), 1_800 + 600);
    store.compact().await.unwrap();
    let after = everything(store, "sealed").await;
    assert_eq!(after.0, before.0);
    assert_eq!((&after.2, &after.3), (&before.2, &before.3));
    for (a, b) in after.1.iter().zip(&before.1) {
        assert_eq!(a.gaps, b.gaps);
        assert_alike(&a.data, &b.data);
    }
    // Sent again: nothing changes, whatever it is named by.
    assert_eq!(append(store, "sealed", readings).await, (0, 1_800));
    // Late, in the middle of what is put together: found at once, and after it is sealed, too.
    let late = vec![reading(Some((2, 1)), at(11) + 1, 900.0), reading(None, at(12) + 1, 901.0)];
    assert_eq!(append(store, "sealed", late.clone()).await, (2, 0));
    // The first value of an instant stays.
    assert_eq!(append(store, "sealed", vec![reading(None, at(12) + 1, 1.0)]).await, (0, 1));
    let with_late = everything(store, "sealed").await;
    assert_eq!(with_late.0.len(), 2_402);
    store.compact().await.unwrap();
    assert_eq!(everything(store, "sealed").await.0, with_late.0);
    assert_eq!(append(store, "sealed", late).await, (0, 2));
    assert_eq!(append(store, "sealed", vec![reading(None, at(12) + 1, 1.0)]).await, (0, 1));
}

/// The same points; means may differ in the last bits, because they are summed in another order.
fn assert_alike(a: &Data, b: &Data) {
    match (a, b) {
        (Data::Raw(a), Data::Raw(b)) => assert_eq!(a, b),
        (Data::Buckets { step_ms: a_step, buckets: a }, Data::Buckets { step_ms: b_step, buckets: b }) => {
            assert_eq!((a_step, a.len()), (b_step, b.len()));
            for (a, b) in a.iter().zip(b) {
                assert_eq!((a.t_ms, a.min, a.max, a.count), (b.t_ms, b.min, b.max, b.count));
                assert!((a.mean - b.mean).abs() <= b.mean.abs() * 1e-12, "{a:?} {b:?}");
            }
        }
        _ => panic!("{a:?} {b:?}"),
    }
}

async fn an_empty_store_answers_questions(store: &dyn Store) {
    assert_eq!(raw(store, "nobody", i64::MIN, i64::MAX).await, []);
    assert_eq!(store.recent(&device("nobody"), &co2(), 0, 10).await.unwrap(), []);
    assert_eq!(store.quantities(&device("nobody")).await.unwrap(), []);
    assert_eq!(store.after(i64::MAX, 10).await.unwrap(), []);
    let latest = store.latest().await.unwrap();
    assert_eq!(latest.iter().find(|r| r.device == device("once")).unwrap().t_ms, T0 + 3);
    assert_eq!(
        store.recent(&device("once"), &co2(), T0, 2).await.unwrap(),
        [(T0 + 3, 503.0), (T0 + 2, 502.0)]
    );
    let quantities = store.quantities(&device("unnamed")).await.unwrap();
    assert_eq!(quantities.iter().map(Quantity::name).collect::<Vec<_>>(), ["co2", "temperature"]);
    store.ping().await.unwrap();
}
