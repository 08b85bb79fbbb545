use super::*;
use crate::renewal::Link;

const NOW: i64 = 1_795_341_600_000;
const MINUTE: i64 = 60_000;

fn wanted(names: &[&str]) -> Wanted {
    Wanted {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        found: false,
        directory: "https://ca.example/directory".to_owned(),
        profile: String::new(),
        binding: String::new(),
        challenge: None,
        http: true,
    }
}

fn certificate(names: &[&str], begun_ms: i64, days: i64) -> Certificate {
    Certificate {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        issuer: "CA".to_owned(),
        subject: String::new(),
        serial: format!("{begun_ms:x}"),
        key: "ECDSA P-256".to_owned(),
        sha256: String::new(),
        not_before_ms: begun_ms,
        not_after_ms: begun_ms + days * DAY_MS,
        self_issued: false,
        chain: Vec::<Link>::new(),
    }
}

fn memory(wanted: &Wanted) -> Memory {
    let mut memory = Memory::default();
    about(&mut memory, wanted);
    memory
}

fn failed(at_ms: i64, challenge: Challenge, names: &[&str], trouble: Trouble) -> Attempt {
    Attempt {
        at_ms,
        took_ms: 0,
        reason: Reason::First,
        challenge,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        dry_run: false,
        request: None,
        outcome: Outcome::Failed(trouble),
    }
}

fn issued(at_ms: i64, challenge: Challenge, names: &[&str]) -> Attempt {
    Attempt {
        outcome: Outcome::Issued { until_ms: at_ms + 90 * DAY_MS },
        ..failed(at_ms, challenge, names, Trouble::new("", ""))
    }
}

fn invalid(name: &str) -> Trouble {
    Trouble { names: vec![name.to_owned()], ..Trouble::new("connection", "refused") }
}

/// Runs the scheduler from failure to failure and gives the times of its orders, in minutes from the start.
fn orders(
    wanted: &Wanted,
    trouble: impl Fn(u32) -> Trouble,
    count: usize,
    chance: f64,
) -> Vec<(i64, Challenge)> {
    let mut memory = memory(wanted);
    let mut now = NOW;
    let mut placed = Vec::new();
    while placed.len() < count {
        match next(wanted, None, &memory, now) {
            Next::Order(order) => {
                placed.push(((now - NOW) / MINUTE, order.challenge));
                let names: Vec<&str> = order.names.iter().map(String::as_str).collect();
                let attempt = failed(now, order.challenge, &names, trouble(memory.failures));
                remember(&mut memory, attempt, chance, now);
            }
            Next::Wait { until_ms: i64::MAX, .. } => break,
            Next::Wait { until_ms, .. } => {
                assert!(until_ms > now, "waiting for what has been");
                now = until_ms;
            }
            Next::AskWhen => panic!("there is no certificate to ask about"),
        }
    }
    placed
}

#[test]
fn an_empty_folder_orders_at_once() {
    let wanted = wanted(&["a.example"]);
    let Next::Order(order) = next(&wanted, None, &memory(&wanted), NOW) else { panic!() };
    assert_eq!((order.reason, order.challenge, order.replaces), (Reason::First, Challenge::Http01, false));
}

#[test]
fn pauses_double_from_a_minute_to_six_hours() {
    let wanted = wanted(&["a.example"]);
    let minutes: Vec<i64> =
        orders(&wanted, |_| Trouble::new("unreachable", ""), 14, 0.0).iter().map(|(at, _)| *at).collect();
    let pauses: Vec<i64> = minutes.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360, 360]);
    let spread: Vec<i64> = orders(&wanted, |_| Trouble::new("unreachable", ""), 14, 1.0)
        .windows(2)
        .map(|two| two[1].0 - two[0].0)
        .collect();
    assert!(
        spread.iter().zip(&pauses).all(|(spread, pause)| spread >= pause && *spread <= 360),
        "{spread:?}"
    );
}

#[test]
fn a_name_fails_at_most_four_times_an_hour() {
    let wanted = wanted(&["a.example", "b.example"]);
    let placed = orders(&wanted, |_| invalid("b.example"), 40, 0.0);
    for (at, _) in &placed {
        let within = placed.iter().filter(|(other, _)| (*at..*at + 60).contains(other)).count();
        assert!(within <= VALIDATIONS_PER_HOUR, "{placed:?}");
    }
    // Somebody who keeps asking is kept from it, too.
    let mut memory = memory(&wanted);
    let mut tries = 0;
    while let Ok(order) = asked(&wanted, None, &memory, NOW + tries) {
        remember(
            &mut memory,
            failed(NOW + tries, order.challenge, &["b.example"], invalid("b.example")),
            0.0,
            NOW + tries,
        );
        tries += 1;
    }
    assert_eq!(tries, 4);
    assert_eq!(asked(&wanted, None, &memory, NOW + 10), Err(NOW + HOUR_MS));
}

#[test]
fn the_challenge_alternates_after_a_failure_and_stays_with_what_works() {
    let wanted = wanted(&["a.example"]);
    let kinds: Vec<Challenge> =
        orders(&wanted, |_| invalid("a.example"), 4, 0.0).iter().map(|(_, c)| *c).collect();
    assert_eq!(kinds, [Challenge::Http01, Challenge::TlsAlpn01, Challenge::Http01, Challenge::TlsAlpn01]);
    // What is not the challenge's fault does not change it.
    let kinds = orders(&wanted, |_| Trouble::new("unreachable", ""), 4, 0.0);
    assert!(kinds.iter().all(|(_, challenge)| *challenge == Challenge::Http01));
    let mut memory = memory(&wanted);
    remember(&mut memory, issued(NOW, Challenge::TlsAlpn01, &["a.example"]), 0.0, NOW);
    assert_eq!(challenge(&wanted, &wanted.names, &memory), Challenge::TlsAlpn01);
    let without_http = Wanted { http: false, ..wanted.clone() };
    assert_eq!(challenge(&without_http, &without_http.names, &Memory::default()), Challenge::TlsAlpn01);
    let fixed = Wanted { challenge: Some(Challenge::Http01), ..wanted };
    assert_eq!(challenge(&fixed, &fixed.names, &memory), Challenge::Http01);
}

#[test]
fn a_hopeless_problem_is_looked_at_once_a_day_for_a_week() {
    let wanted = wanted(&["a.example"]);
    let placed = orders(&wanted, |_| Trouble::new("caa", "forbidden"), 100, 0.0);
    let days: Vec<i64> = placed.iter().map(|(at, _)| at / (24 * 60)).collect();
    assert_eq!(days, [0, 1, 2, 3, 4, 5, 6]);
    // Other names are another matter.
    let mut stopped = memory(&wanted);
    for _ in 0..7 {
        remember(
            &mut stopped,
            failed(NOW, Challenge::Http01, &["a.example"], Trouble::new("caa", "")),
            0.0,
            NOW,
        );
    }
    assert!(matches!(
        next(&wanted, None, &stopped, NOW + 30 * DAY_MS),
        Next::Wait { until_ms: i64::MAX, .. }
    ));
    let other = Wanted { names: vec!["b.example".to_owned()], ..wanted.clone() };
    assert!(matches!(next(&other, None, &stopped, NOW), Next::Order(_)));
    // And so is somebody who has mended it.
    assert!(asked(&wanted, None, &stopped, NOW).is_ok());
}

#[test]
fn an_authority_that_wants_to_be_left_alone_is() {
    let wanted = wanted(&["a.example"]);
    let mut memory = memory(&wanted);
    let busy = Trouble { retry_after_ms: Some(3 * HOUR_MS), ..Trouble::new("rateLimited", "") };
    remember(&mut memory, failed(NOW, Challenge::Http01, &["a.example"], busy), 1.0, NOW);
    let Next::Wait { until_ms, planned } = next(&wanted, None, &memory, NOW + 1) else { panic!() };
    assert_eq!((until_ms, planned), (NOW + 3 * HOUR_MS, Some((NOW + 3 * HOUR_MS, Reason::First))));
    let absurd = Trouble { retry_after_ms: Some(i64::MAX), ..Trouble::new("rateLimited", "") };
    remember(&mut memory, failed(NOW, Challenge::Http01, &["a.example"], absurd), 1.0, NOW);
    assert_eq!(memory.not_before_ms, NOW + RETRY_AFTER_MAX_MS);
}

#[test]
fn renewal_is_a_share_of_the_lifetime() {
    for (days, at_hours) in [(90, 60 * 24), (45, 30 * 24), (10, 160), (6, 72), (1, 12)] {
        let there = certificate(&["a.example"], NOW, days);
        assert_eq!((renew_ms(&there) - NOW) / HOUR_MS, at_hours, "{days} days");
    }
    let wanted = wanted(&["a.example"]);
    let there = certificate(&["a.example"], NOW, 90);
    let mut memory = memory(&wanted);
    memory.last_success_ms = Some(NOW);
    let mut now = NOW;
    let order = loop {
        match next(&wanted, Some(&there), &memory, now) {
            Next::AskWhen => {
                let none = Suggestion { window_ms: None, explanation_url: None, again_ms: Some(DAY_MS) };
                remember_suggestion(&mut memory, &there.serial, none, 0.5, now);
            }
            Next::Wait { until_ms, .. } => now = until_ms,
            Next::Order(order) => break order,
        }
    };
    assert_eq!((now - NOW) / DAY_MS, 60);
    assert_eq!((order.reason, order.replaces), (Reason::Renewal, true));
}

#[test]
fn the_authority_s_window_is_obeyed_and_its_moment_kept() {
    let wanted = wanted(&["a.example"]);
    let there = certificate(&["a.example"], NOW, 90);
    let mut memory = memory(&wanted);
    memory.last_success_ms = Some(NOW);
    assert!(matches!(next(&wanted, Some(&there), &memory, NOW + HOUR_MS), Next::AskWhen));
    let window = Some((NOW + 10 * DAY_MS, NOW + 12 * DAY_MS));
    let said = |window_ms, again_ms| Suggestion { window_ms, explanation_url: None, again_ms };
    remember_suggestion(&mut memory, &there.serial, said(window, Some(6 * HOUR_MS)), 0.5, NOW);
    remember_suggestion(&mut memory, &there.serial, said(window, Some(6 * HOUR_MS)), 0.9, NOW);
    let chosen = NOW + 11 * DAY_MS;
    let Next::Wait { until_ms, planned } = next(&wanted, Some(&there), &memory, NOW + 1) else { panic!() };
    assert_eq!((until_ms, planned), (NOW + 6 * HOUR_MS, Some((chosen, Reason::Ari))));
    // A day without an answer takes nothing back.
    remember_suggestion(&mut memory, &there.serial, said(None, None), 0.1, NOW);
    let Next::Order(order) = next(&wanted, Some(&there), &memory, chosen) else { panic!() };
    assert_eq!((order.reason, order.replaces), (Reason::Ari, true));
    // A window in the past means now (revocation), but what it replaces was just issued: not in a loop.
    let past = Some((NOW - 2 * DAY_MS, NOW - DAY_MS));
    remember_suggestion(&mut memory, &there.serial, said(past, Some(HOUR_MS)), 0.5, NOW);
    let Next::Wait { until_ms, .. } = next(&wanted, Some(&there), &memory, NOW + 2 * MINUTE) else {
        panic!()
    };
    assert_eq!(until_ms, NOW + HOUR_MS);
    assert!(matches!(next(&wanted, Some(&there), &memory, NOW + HOUR_MS), Next::Order(_)));
    // A wish beyond the end is not a wish to let it end.
    let late = Some((NOW + 200 * DAY_MS, NOW + 201 * DAY_MS));
    remember_suggestion(&mut memory, &there.serial, said(late, Some(HOUR_MS)), 0.5, NOW);
    assert_eq!(due(&wanted, Some(&there), &memory, NOW).0, NOW + 81 * DAY_MS);
}

#[test]
fn other_names_or_another_authority_are_ordered_at_once() {
    let old = wanted(&["a.example"]);
    let there = certificate(&["a.example"], NOW, 90);
    let mut memory = memory(&old);
    memory.last_success_ms = Some(NOW);
    memory.issued_by = Some(old.directory.clone());
    let more = wanted(&["a.example", "b.example"]);
    let Next::Order(order) = next(&more, Some(&there), &memory, NOW + 1) else { panic!() };
    assert_eq!((order.reason, order.names.len()), (Reason::Names, 2));
    let elsewhere = Wanted { directory: "https://other.example/directory".to_owned(), ..old.clone() };
    let Next::Order(order) = next(&elsewhere, Some(&there), &memory, NOW + 1) else { panic!() };
    assert_eq!(order.reason, Reason::Names);
    assert!(!matches!(next(&old, Some(&there), &memory, NOW + 1), Next::Order(_)));
}

#[test]
fn a_found_address_that_cannot_be_reached_is_left_out() {
    let found = Wanted { found: true, ..wanted(&["192.0.2.1", "2001:db8::1"]) };
    let mut memory = memory(&found);
    let Next::Order(order) = next(&found, None, &memory, NOW) else { panic!() };
    assert_eq!(order.names.len(), 2);
    remember(
        &mut memory,
        failed(NOW, Challenge::Http01, &["192.0.2.1", "2001:db8::1"], invalid("2001:db8::1")),
        0.0,
        NOW,
    );
    let later = NOW + MINUTE;
    let Next::Order(order) = next(&found, None, &memory, later) else { panic!() };
    assert_eq!(order.names, ["192.0.2.1"]);
    let there = certificate(&["192.0.2.1"], later, 6);
    remember(&mut memory, issued(later, Challenge::Http01, &["192.0.2.1"]), 0.0, later);
    let Next::Wait { planned, .. } = next(&found, Some(&there), &memory, later + 1) else { panic!() };
    assert_eq!(planned.unwrap().1, Reason::Names, "the other address is tried again after a day");
    // Another address is another name: it is ordered, but not sooner than the gap allows.
    let moved = Wanted { names: vec!["192.0.2.9".to_owned()], ..found };
    let Next::Wait { until_ms, .. } = next(&moved, Some(&there), &memory, later + 1) else { panic!() };
    assert!(until_ms <= later + HOUR_MS);
    assert!(matches!(next(&moved, Some(&there), &memory, later + HOUR_MS), Next::Order(_)));
}

#[test]
fn what_is_remembered_is_bounded_and_survives_writing() {
    let wanted = wanted(&["a.example"]);
    let mut memory = memory(&wanted);
    for at in 0..200 {
        remember(
            &mut memory,
            failed(NOW + at, Challenge::Http01, &["a.example"], Trouble::new("unreachable", "")),
            0.0,
            NOW + at,
        );
    }
    assert_eq!(memory.attempts.len(), ATTEMPTS_KEPT);
    let text = serde_json::to_string(&memory).unwrap();
    assert_eq!(serde_json::from_str::<Memory>(&text).unwrap(), memory);
    assert_eq!(serde_json::from_str::<Memory>("{}").unwrap(), Memory::default());
}

#[test]
fn a_clock_that_was_wrong_does_not_silence_for_years() {
    let wanted = wanted(&["a.example"]);
    let mut memory = memory(&wanted);
    let ahead = NOW + 3650 * DAY_MS;
    remember(
        &mut memory,
        failed(ahead, Challenge::Http01, &["a.example"], Trouble::new("unreachable", "")),
        0.0,
        ahead,
    );
    assert!(matches!(next(&wanted, None, &memory, NOW), Next::Order(_)));
}

#[test]
fn an_address_takes_the_short_lived_profile() {
    let offered = ["default".to_owned(), "shortlived".to_owned()];
    let plain = Wanted { profile: "tlsserver".to_owned(), ..wanted(&["a.example"]) };
    assert_eq!(profile(&plain, &plain.names, &offered).as_deref(), Some("tlsserver"));
    let address = wanted(&["a.example", "192.0.2.1"]);
    assert_eq!(profile(&address, &address.names, &offered).as_deref(), Some("shortlived"));
    assert_eq!(profile(&address, &address.names, &[]), None);
    let nothing = wanted(&["a.example"]);
    assert_eq!(profile(&nothing, &nothing.names, &offered), None);
}
