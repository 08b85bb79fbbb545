//! The air: the number first, then what to do, then the past, then whether readings get through.

use super::{LARGE_MARGIN, SMALL_MARGIN, clock, head, header, line, title};
use crate::chart::Spark;
use crate::font::{FIGURE, NOTE, NUMBER, TEXT, TITLE};
use crate::palette::{Ground, Rgb};
use crate::scene::{Align, Area, Label, PANEL, Scene};
use crate::shape::Shape;
use crate::view::{Air, Theme, Trouble, View};
use crate::words;
use casement_core::{Link, Primary};
use casement_proto::{Band, State};
use core::fmt::Write;
use heapless::String;

/// A failed sensor comes before anything it said earlier, as with the light.
const fn failed(air: &Air<'_>) -> bool {
    air.display.fault.is_some() || matches!(air.display.state, State::Failed)
}

pub(super) const fn ground(air: &Air<'_>, theme: Theme) -> Ground {
    Ground::of(if failed(air) { None } else { air.display.band }, theme)
}

pub(super) fn large<'a>(scene: &mut Scene<'a>, view: &View<'a>, air: &Air<'a>) {
    header(scene, view);
    if failed(air) {
        large_fault(scene, air);
        large_foot(scene, air);
        return;
    }
    large_number(scene, air);
    let after = title(scene, verdict(air), 158);
    let middle = Area::new(LARGE_MARGIN, 172, scene.width - 2 * LARGE_MARGIN, 40);
    // The thresholds are those of CO₂; an estimate has none.
    let measured = matches!(air.display.primary, Some(Primary::Co2(_)));
    let spark = Spark::of(&air.history, measured).filter(|_| air.display.state == State::Ok);
    let mut beside = Label::new();
    match (trouble(air), spark) {
        (Some(trouble), _) => {
            large_trouble(scene, trouble);
            beside = words::kept(air.display.queued);
        }
        (None, Some(spark)) => {
            large_spark(scene, middle, spark);
            beside = words::span(air.history.minutes);
            large_foot(scene, air);
        }
        (None, None) => {
            large_why(scene, middle, air);
            large_foot(scene, air);
        }
    }
    let doubt = match (air.display.band, air.display.state) {
        (Some(_), State::Ok) if !measured => "estimate",
        (Some(_), state) => words::tag(state),
        (None, _) => "",
    };
    let (ink, beside) =
        if doubt.is_empty() { (scene.ground.soft, beside.as_str()) } else { (scene.ground.ink, doubt) };
    let right = scene.width - LARGE_MARGIN;
    scene.text(&NOTE, ink, (Align::Right, right, 158), right - after - 8, beside);
}

/// Why a number is not to be trusted in full, and for how long yet.
fn large_why(scene: &mut Scene<'_>, area: Area, air: &Air<'_>) {
    let mut text = String::<128>::new();
    // The longest sentence and the longest time have room.
    let _ = text.push_str(words::why(air.display.state, air.display.primary));
    if let Some(left) = remaining(air) {
        let _ = write!(text, " {left}.");
    }
    scene.paragraph(&TEXT, scene.ground.soft, (area.left, area.top + 14), (area.width(), 2), &text);
}

/// The number and its unit. Three strokes while there is none.
fn large_number(scene: &mut Scene<'_>, air: &Air<'_>) {
    let (ink, soft) = (number_ink(scene, air), scene.ground.soft);
    let baseline = 120;
    let Some(primary) = air.display.primary else {
        for x in [0, 54, 108] {
            scene.panel(Area::new(LARGE_MARGIN + 2 + x, 82, 40, 9), soft, 4, 190);
        }
        return;
    };
    let (digits, unit, estimate) = figures(primary);
    let font = if digits.len() <= 4 { &NUMBER } else { &FIGURE };
    // The digits' own space to the left is taken back, so that they stand above the verdict.
    let end = scene.number(font, ink, (LARGE_MARGIN - 3, baseline), &digits, estimate);
    scene.text(&TEXT, scene.ground.ink, (Align::Left, end + 6, baseline - 18), 60, unit);
    scene.text(&NOTE, soft, (Align::Left, end + 6, baseline), 60, "ppm");
}

/// The line, and the signs of the bands where it would reach them.
fn large_spark<'a>(scene: &mut Scene<'a>, area: Area, spark: Spark<'a>) {
    let soft = scene.ground.soft;
    let rows = spark.threshold_rows(&area);
    let chart = Area { right: area.right - 14, ..area };
    scene.spark(chart, scene.ground.ink, spark);
    // Signs keep off each other when their lines are close.
    let apart = match rows {
        [Some(soon), Some(now)] => ((11 - (soon - now)).max(0) + 1) / 2,
        _ => 0,
    };
    for (row, shape, away) in [(rows[0], Shape::Triangle, apart), (rows[1], Shape::Square, -apart)] {
        if let Some(row) = row {
            scene.shape(shape, soft, (area.right - 9, row - 4 + away), 9);
        }
    }
}

fn large_trouble(scene: &mut Scene<'_>, trouble: Trouble) {
    let ink = scene.ground.ink;
    let area = Area::new(8, 171, scene.width - 16, 61);
    scene.panel(area, ink, 6, PANEL);
    let width = area.width() - 2 * (LARGE_MARGIN - 8);
    let fix = words::trouble_fix(trouble);
    // One line stands as much in the middle as two.
    let down = if NOTE.advance(fix) <= width { 6 } else { 0 };
    scene.shape(Shape::Cross, ink, (LARGE_MARGIN - 1, 178 + down), 15);
    scene.text(&TEXT, ink, (Align::Left, LARGE_MARGIN + 20, 191 + down), width - 20, words::trouble(trouble));
    scene.paragraph(&NOTE, ink, (LARGE_MARGIN, 209 + down + down / 2), (width, 2), fix);
}

fn large_fault(scene: &mut Scene<'_>, air: &Air<'_>) {
    let (ink, soft) = (scene.ground.ink, scene.ground.soft);
    let width = scene.width - 2 * LARGE_MARGIN;
    title(scene, (Shape::Cross, words::no_band(State::Failed, None)), 94);
    let (what, fix) = fault_words(air, 24);
    let next = scene.paragraph(&TEXT, ink, (LARGE_MARGIN, 130), (width, 2), &what);
    scene.paragraph(&TEXT, soft, (LARGE_MARGIN, next + 8), (width, 3), fix);
}

/// Whether readings get through on the left, what else is known about the air on the right.
fn large_foot(scene: &mut Scene<'_>, air: &Air<'_>) {
    let (soft, right) = (scene.ground.soft, scene.width - LARGE_MARGIN);
    let climate = climate(air);
    let (left, _) = scene.text(&NOTE, soft, (Align::Right, right, 229), 130, &climate);
    let mut text = Label::new();
    // The longest fits by far.
    let _ = match trouble(air) {
        Some(trouble) => write!(text, "{}", words::trouble(trouble)),
        None => write!(text, "{}", words::link(air.display.link)),
    };
    let room = left - LARGE_MARGIN - 10;
    let kept = words::kept(air.display.queued);
    // How many wait is left out rather than cut.
    if !kept.is_empty() && NOTE.advance(&text) + NOTE.advance(" · ") + NOTE.advance(&kept) + 17 <= room {
        let _ = write!(text, " · {kept}");
    }
    line(scene, soft, (link_shape(air), &text), (LARGE_MARGIN, 229), room);
}

pub(super) fn small<'a>(scene: &mut Scene<'a>, view: &View<'a>, air: &Air<'a>) {
    let (ink, soft) = (scene.ground.ink, scene.ground.soft);
    let (right, width) = (scene.width - SMALL_MARGIN, scene.width - 2 * SMALL_MARGIN);
    let below = scene.height - 128;
    let (left, _) = scene.text(&NOTE, soft, (Align::Right, right, 17), 60, &clock(view.clock));
    let free = left - SMALL_MARGIN - 6;
    if failed(air) {
        scene.text(&NOTE, soft, (Align::Left, SMALL_MARGIN, 17), free, view.name);
        head(scene, (Shape::Cross, words::no_band(State::Failed, None)), 41);
        let (what, fix) = fault_words(air, 6);
        let next = scene.paragraph(&NOTE, ink, (SMALL_MARGIN, 61), (width, 2), &what);
        scene.paragraph(&NOTE, soft, (SMALL_MARGIN, next + 3), (width, 3), fix);
        return;
    }
    if let Some(primary) = air.display.primary {
        let (digits, unit, estimate) = figures(primary);
        let (_, end) = scene.text(&NOTE, ink, (Align::Left, SMALL_MARGIN, 17), free, unit);
        scene.text(&NOTE, soft, (Align::Left, end + 4, 17), free + SMALL_MARGIN - end - 4, "ppm");
        let font = if digits.len() <= 4 { &FIGURE } else { &TITLE };
        scene.number(font, number_ink(scene, air), (SMALL_MARGIN - 2, 62), &digits, estimate);
    } else {
        scene.text(&NOTE, soft, (Align::Left, SMALL_MARGIN, 17), free, view.name);
        for x in [0, 30, 60] {
            scene.panel(Area::new(SMALL_MARGIN + x, 44, 22, 6), soft, 3, 190);
        }
    }
    let trouble = trouble(air);
    head(scene, verdict(air), 88 + below);
    if let Some(trouble) = trouble {
        scene.paragraph(&NOTE, ink, (SMALL_MARGIN, 106 + below), (width, 2), words::trouble_short(trouble));
        return;
    }
    let kept = words::kept(air.display.queued);
    let at = |baseline: i32| (SMALL_MARGIN + 2, baseline + below);
    let remaining = remaining(air);
    let doubt = match (air.display.state, air.display.band) {
        (State::Ok, _) => None,
        // The headline says how the air is, so this says how far that is to be trusted.
        (state, Some(_)) => Some(words::tag(state)),
        (_, None) => remaining.as_deref(),
    };
    if let Some(doubt) = doubt {
        line(scene, ink, (Shape::Ring, doubt), at(112), width - 2);
        return;
    }
    let link = (link_shape(air), words::link(air.display.link));
    if kept.is_empty() {
        line(scene, soft, link, at(112), width - 2);
    } else {
        line(scene, soft, link, at(106), width - 2);
        scene.text(&NOTE, soft, (Align::Left, SMALL_MARGIN + 19, 121 + below), width - 19, &kept);
    }
}

fn verdict(air: &Air<'_>) -> (Shape, words::Headline) {
    match air.display.band {
        Some(band @ Band::Good) => (Shape::Disc, words::band(band)),
        Some(band @ Band::Soon) => (Shape::Triangle, words::band(band)),
        Some(band @ Band::Now) => (Shape::Square, words::band(band)),
        None => (Shape::Dots, words::no_band(air.display.state, air.display.primary)),
    }
}

/// A number that is not to be trusted in full steps back.
fn number_ink(scene: &Scene<'_>, air: &Air<'_>) -> Rgb {
    if air.display.state == State::Ok { scene.ground.ink } else { scene.ground.soft }
}

/// The digits, the name of what they count, and whether that is an estimate.
fn figures(primary: Primary) -> (Label, &'static str, bool) {
    let (ppm, unit, estimate) = match primary {
        Primary::Co2(ppm) => (ppm, "CO₂", false),
        Primary::Eco2(ppm) => (ppm, "eCO₂", true),
    };
    let mut digits = Label::new();
    // No sensor shows more than six digits, and a label has room for ten.
    let _ = write!(digits, "{}", ppm.min(99_999));
    (digits, unit, estimate)
}

/// What is wrong with the sensor, and what to do. A name of more than `name_max` bytes is left out rather than cut.
fn fault_words(air: &Air<'_>, name_max: usize) -> (Label, &'static str) {
    let sensor = air.sensor.filter(|name| (1..=name_max).contains(&name.len())).unwrap_or("sensor");
    let (what, fix) = match air.display.fault {
        Some(fault) => (words::fault(fault), words::fault_fix(fault)),
        None => ("has failed.", "Unplug it once. If it stays, replace it."),
    };
    let mut label = Label::new();
    // A label has room for the longest of both.
    let _ = write!(label, "The {sensor} {what}");
    (label, fix)
}

/// How long a state that ends by itself still takes.
fn remaining(air: &Air<'_>) -> Option<Label> {
    match air.display.state {
        State::WarmingUp | State::Conditioning | State::Calibrating => air.remaining_s.map(words::left),
        State::Ok | State::Suspect | State::Failed => None,
    }
}

/// Why readings do not get through. What the node knows for sure needs no other word for it.
const fn trouble(air: &Air<'_>) -> Option<Trouble> {
    match (air.trouble, air.display.link) {
        (Some(trouble), _) => Some(trouble),
        (None, Link::TokenRefused) => Some(Trouble::TokenRefused),
        (None, Link::Offline | Link::Waiting | Link::Online) => None,
    }
}

const fn link_shape(air: &Air<'_>) -> Shape {
    match air.display.link {
        _ if trouble(air).is_some() => Shape::Cross,
        Link::Online => Shape::Check,
        Link::Waiting => Shape::Ring,
        Link::Offline | Link::TokenRefused => Shape::Cross,
    }
}

fn climate(air: &Air<'_>) -> Label {
    let mut label = Label::new();
    // A label has room for both.
    if let Some(tenths) = air.temperature_dc {
        let sign = if tenths < 0 { "−" } else { "" };
        let tenths = tenths.unsigned_abs();
        let _ = write!(label, "{sign}{}.{} °C", tenths / 10, tenths % 10);
    }
    if let Some(percent) = air.humidity_pct {
        let _ = write!(label, "{}{percent} %", if label.is_empty() { "" } else { " · " });
    }
    label
}
