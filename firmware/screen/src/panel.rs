//! Remembers what a screen shows, and writes only what changed.

use crate::page;
use crate::palette::Ground;
use crate::scene::{Area, PARTS_MAX, Scene};
use crate::view::View;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::pixelcolor::Rgb565;
use heapless::Vec;

/// What one screen shows. About a kilobyte.
#[derive(Debug, Default)]
pub struct Panel {
    shown: Option<Shown>,
}

#[derive(Debug)]
struct Shown {
    ground: Ground,
    size: (i32, i32),
    marks: Vec<(Area, u64), PARTS_MAX>,
}

impl Panel {
    /// A screen of which nothing is known: the first view is written whole.
    pub const fn new() -> Self {
        Self { shown: None }
    }

    /// Forgets what the screen shows, for example after it was off.
    pub fn forget(&mut self) {
        self.shown = None;
    }

    /// Shows a view: writes the rectangles around what differs from the view before, each pixel once. The same view
    /// again writes nothing.
    ///
    /// # Errors
    /// Those of the target. What the screen shows is then unknown, and the next view is written whole.
    pub fn show<D: DrawTarget<Color = Rgb565>>(
        &mut self,
        view: &View<'_>,
        target: &mut D,
    ) -> Result<(), D::Error> {
        let scene = page::scene(view, target.bounding_box().size);
        let next = Shown {
            ground: scene.ground,
            size: (scene.width, scene.height),
            marks: scene.parts.iter().map(|part| (part.area, part.mark())).collect(),
        };
        let before = self.shown.take();
        match &before {
            Some(before) if (before.ground, before.size) == (next.ground, next.size) => {
                for piece in changed(before, &next) {
                    scene.paint(&piece, target)?;
                }
            }
            _ => scene.paint(&scene.area(), target)?,
        }
        self.shown = Some(next);
        Ok(())
    }
}

/// Draws a whole view. [`Panel`] does it with fewer pixels when a view follows another.
///
/// # Errors
/// Those of the target.
pub fn draw<D: DrawTarget<Color = Rgb565>>(view: &View<'_>, target: &mut D) -> Result<(), D::Error> {
    let scene: Scene<'_> = page::scene(view, target.bounding_box().size);
    scene.paint(&scene.area(), target)
}

/// Rectangles around all parts that came, went or changed. None of them overlap.
fn changed(before: &Shown, next: &Shown) -> Vec<Area, { 2 * PARTS_MAX }> {
    let mut pieces: Vec<Area, { 2 * PARTS_MAX }> = Vec::new();
    let gone = before.marks.iter().filter(|mark| !next.marks.contains(mark));
    let come = next.marks.iter().filter(|mark| !before.marks.contains(mark));
    for (area, _) in gone.chain(come) {
        let mut area = *area;
        // Growing around one neighbour may reach the next.
        while let Some(at) = pieces.iter().position(|piece| piece.common(&area).is_some()) {
            area = area.around(&pieces.swap_remove(at));
        }
        // There is room: no more pieces than marks.
        let _ = pieces.push(area);
    }
    pieces
}
