//! Where the device can be reached, and what it is.

use super::{LARGE_MARGIN, SMALL_MARGIN};
use crate::font::{Font, NOTE, TEXT};
use crate::qr::Code;
use crate::scene::{Align, Area, Scene};
use crate::view::{About, View};

pub(super) fn large(scene: &mut Scene<'_>, view: &View<'_>, about: &About<'_>) {
    let mut width = scene.width - 2 * LARGE_MARGIN;
    if let Some(code) = Code::of(about.url).filter(|_| !about.url.is_empty()) {
        let scale = (170 / (code.modules + 8)).clamp(2, 5);
        let side = code.side(scale);
        scene.code(Area::new(scene.width - side, 40, side, side), code);
        width -= side - LARGE_MARGIN + 4;
    }
    let full = scene.width - 2 * LARGE_MARGIN;
    scene.text(&TEXT, scene.ground.ink, (Align::Left, LARGE_MARGIN, 27), full, view.name);
    let rows =
        [("Page", url(about)), ("Device", about.device), ("Board", about.board), ("Firmware", about.version)];
    let mut baseline = 54;
    for (what, it) in rows {
        pair(scene, (what, it), (&NOTE, &TEXT), (LARGE_MARGIN, baseline), width);
        baseline += 38;
    }
    pair(scene, ("Gateway", about.gateway), (&NOTE, &TEXT), (LARGE_MARGIN, baseline), full);
}

pub(super) fn small(scene: &mut Scene<'_>, view: &View<'_>, about: &About<'_>) {
    let width = scene.width - 2 * SMALL_MARGIN;
    scene.text(&TEXT, scene.ground.ink, (Align::Left, SMALL_MARGIN, 19), width, view.name);
    let rows = [("Page", url(about)), ("Device", about.device), ("Firmware", about.version)];
    let mut baseline = 39;
    for (what, it) in rows {
        pair(scene, (what, it), (&NOTE, &NOTE), (SMALL_MARGIN, baseline), width);
        baseline += 33;
    }
}

/// The address without what every address has.
fn url<'a>(about: &About<'a>) -> &'a str {
    let bare = about.url.strip_prefix("http://").unwrap_or(about.url).trim_end_matches('/');
    if bare.is_empty() { "no network" } else { bare }
}

fn pair(
    scene: &mut Scene<'_>,
    (what, it): (&str, &str),
    (above, below): (&'static Font, &'static Font),
    (x, baseline): (i32, i32),
    width: i32,
) {
    scene.text(above, scene.ground.soft, (Align::Left, x, baseline), width, what);
    scene.text(below, scene.ground.ink, (Align::Left, x, baseline + below.cap + 5), width, it);
}
