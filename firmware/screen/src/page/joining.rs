//! From the network's name to the first reading the gateway took, step by step.

use super::{LARGE_MARGIN, SMALL_MARGIN, head, header, title};
use crate::font::{NOTE, TEXT};
use crate::scene::{Align, Scene};
use crate::shape::Shape;
use crate::view::{Joining, Step, Trouble, View};
use crate::words::{self, Headline};

const STEPS: [Step; 4] = [Step::Network, Step::Address, Step::Time, Step::Gateway];

pub(super) fn large(scene: &mut Scene<'_>, view: &View<'_>, joining: &Joining<'_>) {
    let (ink, soft) = (scene.ground.ink, scene.ground.soft);
    header(scene, view);
    let width = scene.width - 2 * LARGE_MARGIN;
    title(scene, headline(joining), 78);
    scene.text(&TEXT, soft, (Align::Left, LARGE_MARGIN, 106), width, joining.network);
    if let Some(trouble) = joining.trouble {
        scene.text(&TEXT, ink, (Align::Left, LARGE_MARGIN, 142), width, words::trouble(trouble));
        scene.paragraph(&TEXT, soft, (LARGE_MARGIN, 166), (width, 3), fix(trouble));
        let mut x = LARGE_MARGIN;
        for step in STEPS {
            let ink = if step > joining.step { soft } else { ink };
            x = 14 + super::line(scene, ink, (sign(joining, step), words::step(step)), (x, 229), 80);
        }
        return;
    }
    for (row, step) in (0..).zip(STEPS) {
        let (baseline, ink) = (144 + row * 25, if step > joining.step { soft } else { ink });
        scene.shape(sign(joining, step), ink, (LARGE_MARGIN + 1, baseline - 14), 16);
        scene.text(&TEXT, ink, (Align::Left, LARGE_MARGIN + 34, baseline), width - 34, words::step(step));
    }
}

pub(super) fn small(scene: &mut Scene<'_>, joining: &Joining<'_>) {
    let (ink, soft) = (scene.ground.ink, scene.ground.soft);
    let width = scene.width - 2 * SMALL_MARGIN;
    head(scene, headline(joining), 26);
    scene.text(&NOTE, soft, (Align::Left, SMALL_MARGIN, 46), width, joining.network);
    if let Some(trouble) = joining.trouble {
        scene.paragraph(&NOTE, ink, (SMALL_MARGIN, 72), (width, 3), words::trouble_short(trouble));
        return;
    }
    for (row, step) in (0..).zip(STEPS) {
        let (shape, ink) = (sign(joining, step), if step > joining.step { soft } else { ink });
        super::line(scene, ink, (shape, words::step(step)), (SMALL_MARGIN + 2, 68 + row * 17), width);
    }
}

const fn headline(joining: &Joining<'_>) -> (Shape, Headline) {
    match (joining.trouble, joining.step) {
        (Some(_), _) => (Shape::Cross, Headline::both("Not yet")),
        (None, Step::Done) => (Shape::Check, Headline::new("Connected", "Online")),
        (None, Step::Network | Step::Address | Step::Time | Step::Gateway) => {
            (Shape::Ring, Headline::both("Joining"))
        }
    }
}

/// The fix, where the device is being set up at this moment.
const fn fix(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::NetworkPassword => "Type it again on your computer or phone.",
        _ => words::trouble_fix(trouble),
    }
}

fn sign(joining: &Joining<'_>, step: Step) -> Shape {
    match step.cmp(&joining.step) {
        core::cmp::Ordering::Less => Shape::Check,
        core::cmp::Ordering::Equal if joining.trouble.is_some() => Shape::Cross,
        core::cmp::Ordering::Equal => Shape::Ring,
        core::cmp::Ordering::Greater => Shape::Dots,
    }
}
