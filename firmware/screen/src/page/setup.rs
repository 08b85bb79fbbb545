//! First start: a network to join, as a code for the phone and in words for everybody else.

use super::{LARGE_MARGIN, SMALL_MARGIN};
use crate::font::{HEAD, NOTE, TEXT, TITLE};
use crate::qr::{Code, QUIET};
use crate::scene::{Align, Area, Scene};
use crate::view::Setup;

pub(super) fn large(scene: &mut Scene<'_>, setup: &Setup<'_>) {
    let (ink, soft) = (scene.ground.ink, scene.ground.soft);
    let mut width = scene.width - 2 * LARGE_MARGIN;
    scene.text(&TITLE, ink, (Align::Left, LARGE_MARGIN, 48), width, "Set up");
    if let Some(code) = Code::wifi(setup.network, setup.password) {
        let scale = (190 / (code.modules + 2 * QUIET)).clamp(2, 5);
        let side = code.side(scale);
        let left = scene.width - side;
        scene.code(Area::new(left, (scene.height - side) / 2, side, side), code);
        // Text may come as near as two modules: the ground is as white as the quiet zone.
        width = left + (QUIET - 2) * scale - LARGE_MARGIN;
    }
    let password = if setup.password.is_empty() { "none" } else { setup.password };
    let page = setup.url.strip_prefix("http://").unwrap_or(setup.url).trim_end_matches('/');
    let rows = [("Join this Wi-Fi", setup.network), ("Password", password), ("Then open", page)];
    for (row, (what, it)) in (0..).zip(rows) {
        let baseline = 88 + row * 54;
        scene.text(&NOTE, soft, (Align::Left, LARGE_MARGIN, baseline), width, what);
        scene.text(&TEXT, ink, (Align::Left, LARGE_MARGIN, baseline + 19), width, it);
    }
}

pub(super) fn small(scene: &mut Scene<'_>, setup: &Setup<'_>) {
    let (ink, soft) = (scene.ground.ink, scene.ground.soft);
    let middle = scene.width / 2;
    let width = scene.width - 2 * SMALL_MARGIN;
    let foot = scene.height - 7;
    if let Some(code) = Code::wifi(setup.network, setup.password) {
        // The ground is white, so the quiet zone may reach beyond the edge a little: two modules stay.
        let scale = (scene.width.min(scene.height - 26) / (code.modules + 4)).clamp(1, 4);
        let side = code.side(scale);
        scene.code(Area::new(middle - side / 2, (scene.height - 28 - side) / 2, side, side), code);
    } else {
        scene.text(&HEAD, ink, (Align::Centre, middle, 40), width, "Set up");
    }
    scene.text(&NOTE, ink, (Align::Centre, middle, foot - 15), width, setup.network);
    scene.text(&NOTE, soft, (Align::Centre, middle, foot), width, setup.password);
}
