//! What the device found when it tested itself. What failed stands first.

use super::{LARGE_MARGIN, SMALL_MARGIN, head, header, line, title};
use crate::font::{NOTE, TEXT};
use crate::scene::{Align, Label, Scene};
use crate::shape::Shape;
use crate::view::{Check, Outcome, View};
use crate::words::Headline;
use core::fmt::Write;

pub(super) fn large(scene: &mut Scene<'_>, view: &View<'_>, checks: &[Check<'_>]) {
    let (ink, soft) = (scene.ground.ink, scene.ground.soft);
    header(scene, view);
    title(scene, headline(checks), 70);
    let right = scene.width - LARGE_MARGIN;
    for (row, check) in (0..6).zip(sorted(checks)) {
        let baseline = 104 + row * 22;
        if row == 5 && checks.len() > 6 {
            scene.text(&NOTE, soft, (Align::Left, LARGE_MARGIN + 26, baseline), 200, &more(checks.len() - 5));
            return;
        }
        scene.shape(sign(check.outcome), ink, (LARGE_MARGIN + 1, baseline - 13), 15);
        let (_, end) = scene.text(&TEXT, ink, (Align::Left, LARGE_MARGIN + 26, baseline), 110, check.name);
        scene.text(&NOTE, soft, (Align::Right, right, baseline), right - end - 10, check.detail);
    }
}

pub(super) fn small(scene: &mut Scene<'_>, checks: &[Check<'_>]) {
    let (ink, soft) = (scene.ground.ink, scene.ground.soft);
    head(scene, headline(checks), 26);
    let width = scene.width - 2 * SMALL_MARGIN;
    for (row, check) in (0..5).zip(sorted(checks)) {
        let baseline = 49 + row * 17;
        if row == 4 && checks.len() > 5 {
            scene.text(
                &NOTE,
                soft,
                (Align::Left, SMALL_MARGIN + 19, baseline),
                width - 17,
                &more(checks.len() - 4),
            );
            return;
        }
        line(scene, ink, (sign(check.outcome), check.name), (SMALL_MARGIN + 2, baseline), width - 2);
    }
}

fn headline(checks: &[Check<'_>]) -> (Shape, Headline) {
    let any = |outcome| checks.iter().any(|check| check.outcome == outcome);
    match (any(Outcome::Failed), any(Outcome::Running)) {
        (_, true) => (Shape::Ring, Headline::both("Self-test")),
        (true, false) => (Shape::Cross, Headline::new("Fault found", "Fault")),
        (false, false) => (Shape::Check, Headline::both("All good")),
    }
}

const fn sign(outcome: Outcome) -> Shape {
    match outcome {
        Outcome::Passed => Shape::Check,
        Outcome::Failed => Shape::Cross,
        Outcome::Running => Shape::Ring,
        Outcome::Absent => Shape::Dots,
    }
}

/// Failures first, otherwise as given.
fn sorted<'c, 'a>(checks: &'c [Check<'a>]) -> impl Iterator<Item = &'c Check<'a>> {
    let failed = |check: &&Check<'_>| check.outcome == Outcome::Failed;
    checks.iter().filter(failed).chain(checks.iter().filter(move |check| !failed(check)))
}

fn more(count: usize) -> Label {
    let mut label = Label::new();
    // A label has room for any count.
    let _ = write!(label, "and {count} more");
    label
}
