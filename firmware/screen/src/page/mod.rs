//! Pages: where parts stand, on large screens (320 × 240) and on small ones (128 × 128).

mod about;
mod air;
mod joining;
mod self_test;
mod setup;
mod update;

use crate::font::{HEAD, NOTE, TEXT, TITLE};
use crate::palette::{Ground, Rgb};
use crate::scene::{Align, Label, Scene};
use crate::shape::Shape;
use crate::view::{Clock, Page, View};
use crate::words::Headline;
use core::fmt::Write;
use embedded_graphics::geometry::Size;

/// A view laid out for a size.
pub(crate) fn scene<'a>(view: &View<'a>, size: Size) -> Scene<'a> {
    let side = |of: u32| i32::try_from(of).unwrap_or(i32::MAX).min(SIDE_MAX);
    let (width, height) = (side(size.width), side(size.height));
    let ground = match &view.page {
        Page::Air(air) => air::ground(air, view.theme),
        Page::Setup(_) | Page::About(_) => Ground::PAPER,
        Page::Joining(_) | Page::Update(_) | Page::SelfTest(_) => Ground::of(None, view.theme),
    };
    let mut scene = Scene::new(ground, width, height);
    let large = width >= 300 && height >= 220;
    match (&view.page, large) {
        (Page::Air(air), true) => air::large(&mut scene, view, air),
        (Page::Air(air), false) => air::small(&mut scene, view, air),
        (Page::Setup(setup), true) => setup::large(&mut scene, setup),
        (Page::Setup(setup), false) => setup::small(&mut scene, setup),
        (Page::Joining(joining), true) => joining::large(&mut scene, view, joining),
        (Page::Joining(joining), false) => joining::small(&mut scene, joining),
        (Page::Update(update), true) => update::large(&mut scene, view, update),
        (Page::Update(update), false) => update::small(&mut scene, update),
        (Page::SelfTest(checks), true) => self_test::large(&mut scene, view, checks),
        (Page::SelfTest(checks), false) => self_test::small(&mut scene, checks),
        (Page::About(about), true) => about::large(&mut scene, view, about),
        (Page::About(about), false) => about::small(&mut scene, view, about),
    }
    scene
}

/// A panel has no more pixels a side than this.
const SIDE_MAX: i32 = 4_096;
/// Room at the sides of a large screen.
const LARGE_MARGIN: i32 = 16;
/// Room at the sides of a small screen.
const SMALL_MARGIN: i32 = 8;

/// The name and the time, at the top of a large screen.
fn header(scene: &mut Scene<'_>, view: &View<'_>) {
    let right = scene.width - LARGE_MARGIN;
    let (left, _) = scene.text(&TEXT, scene.ground.soft, (Align::Right, right, 27), 80, &clock(view.clock));
    let width = left - LARGE_MARGIN - 12;
    scene.text(&TEXT, scene.ground.ink, (Align::Left, LARGE_MARGIN, 27), width, view.name);
}

fn clock(clock: Option<Clock>) -> Label {
    let mut label = Label::new();
    // A label has room for both.
    let _ = match clock {
        Some(Clock { hour, minute }) => write!(label, "{:02}:{:02}", hour % 24, minute % 60),
        None => write!(label, "--:--"),
    };
    label
}

/// A sign and the words a large screen says first, on a baseline. Gives the column after them.
fn title(scene: &mut Scene<'_>, (shape, words): (Shape, Headline), baseline: i32) -> i32 {
    let ink = scene.ground.ink;
    scene.shape(shape, ink, (LARGE_MARGIN, baseline - TITLE.cap - 1), 24);
    let x = LARGE_MARGIN + 34;
    let width = scene.width - x - LARGE_MARGIN;
    scene.text(&TITLE, ink, (Align::Left, x, baseline), width, words.long).1
}

/// The same on a small screen.
fn head(scene: &mut Scene<'_>, (shape, words): (Shape, Headline), baseline: i32) {
    let ink = scene.ground.ink;
    scene.shape(shape, ink, (SMALL_MARGIN, baseline - HEAD.cap), 15);
    let x = SMALL_MARGIN + 20;
    let width = scene.width - x - SMALL_MARGIN;
    scene.text(&HEAD, ink, (Align::Left, x, baseline), width, words.short);
}

/// A sign and a line in the smallest letters. Gives the column after them.
fn line(
    scene: &mut Scene<'_>,
    ink: Rgb,
    (shape, text): (Shape, &str),
    (x, baseline): (i32, i32),
    width: i32,
) -> i32 {
    scene.shape(shape, ink, (x, baseline - 10), 11);
    scene.text(&NOTE, ink, (Align::Left, x + 17, baseline), width - 17, text).1
}

#[cfg(test)]
pub(crate) mod tests;
