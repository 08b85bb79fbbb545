//! A new version of the firmware.

use super::{LARGE_MARGIN, SMALL_MARGIN, head, header, title};
use crate::font::{NOTE, TEXT};
use crate::scene::{Align, Area, Label, PANEL, Scene};
use crate::shape::Shape;
use crate::view::{Stage, Update, View};
use crate::words;
use core::fmt::Write;

pub(super) fn large(scene: &mut Scene<'_>, view: &View<'_>, update: &Update<'_>) {
    let (ink, soft) = (scene.ground.ink, scene.ground.soft);
    let width = scene.width - 2 * LARGE_MARGIN;
    header(scene, view);
    title(scene, (sign(update), words::stage(update.stage)), 82);
    scene.text(&TEXT, ink, (Align::Left, LARGE_MARGIN, 112), width, &versions(update));
    let mut baseline = 146;
    if let Some(percent) = percent(update) {
        bar(scene, Area::new(LARGE_MARGIN, 136, width - 60, 14), percent);
        let right = scene.width - LARGE_MARGIN;
        scene.text(&TEXT, ink, (Align::Right, right, 149), 54, &percentage(percent));
        baseline = 182;
    }
    scene.paragraph(&TEXT, soft, (LARGE_MARGIN, baseline), (width, 2), words::stage_why(update.stage));
    if matches!(update.stage, Stage::Failed(_)) {
        let mut label = Label::new();
        if write!(label, "Version {} goes on.", update.running).is_ok() {
            scene.text(&NOTE, soft, (Align::Left, LARGE_MARGIN, 229), width, &label);
        }
    }
}

pub(super) fn small(scene: &mut Scene<'_>, update: &Update<'_>) {
    let (ink, soft) = (scene.ground.ink, scene.ground.soft);
    let width = scene.width - 2 * SMALL_MARGIN;
    head(scene, (sign(update), words::stage(update.stage)), 28);
    scene.text(&NOTE, ink, (Align::Left, SMALL_MARGIN, 50), width, &versions(update));
    let mut baseline = 74;
    if let Some(percent) = percent(update) {
        bar(scene, Area::new(SMALL_MARGIN, 62, width - 48, 8), percent);
        let right = scene.width - SMALL_MARGIN;
        scene.text(&NOTE, ink, (Align::Right, right, 71), 44, &percentage(percent));
        baseline = 92;
    }
    scene.paragraph(&NOTE, soft, (SMALL_MARGIN, baseline), (width, 4), words::stage_why(update.stage));
}

const fn sign(update: &Update<'_>) -> Shape {
    match update.stage {
        Stage::Downloading(_) | Stage::Verifying | Stage::Trial => Shape::Ring,
        Stage::Installed => Shape::Check,
        Stage::Failed(_) => Shape::Cross,
    }
}

fn percent(update: &Update<'_>) -> Option<i32> {
    match update.stage {
        Stage::Downloading(percent) => Some(i32::from(percent.min(100))),
        Stage::Verifying | Stage::Trial | Stage::Installed | Stage::Failed(_) => None,
    }
}

fn percentage(percent: i32) -> Label {
    let mut label = Label::new();
    // A label has room for it.
    let _ = write!(label, "{percent} %");
    label
}

/// From which version to which.
fn versions(update: &Update<'_>) -> Label {
    let mut label = Label::new();
    let full = match update.stage {
        Stage::Downloading(_) | Stage::Verifying => write!(label, "{} to {}", update.running, update.version),
        Stage::Trial | Stage::Installed | Stage::Failed(_) => write!(label, "Version {}", update.version),
    };
    if full.is_err() {
        // Versions of such a length are cut, at a letter.
        label = update.version.chars().take(20).collect();
    }
    label
}

/// A track, and how much of it is done. The part that is done is a part of its own, so that little is redrawn.
fn bar(scene: &mut Scene<'_>, area: Area, percent: i32) {
    let ink = scene.ground.ink;
    let radius = area.height() / 2;
    scene.panel(area, ink, radius, PANEL * 2);
    // Never narrower than its two round ends.
    let done = (area.width() * percent / 100).max(area.height());
    scene.panel(Area { right: area.left + done, ..area }, ink, radius, 255);
}
