//! Shapes: what says the same as the colour to people who see colours differently, as on the dashboard.

/// A sign that stands before a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// Good.
    Disc,
    /// Air soon.
    Triangle,
    /// Air now.
    Square,
    /// Nothing to say.
    Dots,
    /// Does not work.
    Cross,
    /// Done.
    Check,
    /// Not yet.
    Ring,
}

/// A place in eighths of a pixel.
type Place = (i32, i32);

impl Shape {
    /// How much of a pixel it covers, 0 to 255, when drawn into a square with sides of `size` pixels.
    pub(crate) fn coverage(self, x: i32, y: i32, size: i32) -> u32 {
        let inside = (0..16)
            .filter(|sample| {
                // Four by four samples per pixel, relative to the centre.
                let sub = |at: i32, sample: i32| at * 8 + sample * 2 + 1 - size * 4;
                self.holds((sub(x, sample % 4), sub(y, sample / 4)), size * 4)
            })
            .count();
        (inside * 255 / 16) as u32
    }

    /// Whether a place is inside, `half` being half the side of the square.
    fn holds(self, at: Place, half: i32) -> bool {
        let (x, y) = at;
        let within =
            |centre: Place, radius: i32| square(x - centre.0) + square(y - centre.1) <= square(radius);
        let stroke = half / 4;
        match self {
            Self::Disc => within((0, 0), half * 15 / 16),
            // As heavy to the eye as the disc: its centre of mass lies low.
            Self::Triangle => y <= half * 13 / 16 && 2 * x.abs() <= (y + half * 15 / 16) * 9 / 8,
            Self::Square => x.abs().max(y.abs()) <= half * 13 / 16,
            Self::Ring => within((0, 0), half * 7 / 8) && !within((0, 0), half * 7 / 8 - stroke),
            Self::Dots => {
                // Eight points of a circle; 181 / 256 is the cosine of 45°.
                let far = half * 3 / 4;
                let near = far * 181 / 256;
                let points = [
                    (far, 0),
                    (near, near),
                    (0, far),
                    (-near, near),
                    (-far, 0),
                    (-near, -near),
                    (0, -far),
                    (near, -near),
                ];
                points.iter().any(|point| within(*point, half / 5))
            }
            Self::Cross => {
                let reach = half * 5 / 8;
                near(at, (-reach, -reach), (reach, reach), stroke)
                    || near(at, (-reach, reach), (reach, -reach), stroke)
            }
            Self::Check => {
                let (left, foot, tip) =
                    ((-half * 3 / 4, half / 16), (-half / 4, half * 9 / 16), (half * 3 / 4, -half * 9 / 16));
                near(at, left, foot, stroke) || near(at, foot, tip, stroke)
            }
        }
    }
}

/// Whether a place is no farther than `reach` from a stretch.
fn near(at: Place, from: Place, to: Place, reach: i32) -> bool {
    distance_squared(at, from, to) <= square(reach)
}

/// The square of the distance from a place to a stretch. Places of up to a few thousand do not overflow.
pub(crate) fn distance_squared(at: Place, from: Place, to: Place) -> i32 {
    let along = (to.0 - from.0, to.1 - from.1);
    let out = (at.0 - from.0, at.1 - from.1);
    let length = square(along.0) + square(along.1);
    let dot = i64::from(out.0) * i64::from(along.0) + i64::from(out.1) * i64::from(along.1);
    if length == 0 || dot <= 0 {
        return square(out.0) + square(out.1);
    }
    if dot >= i64::from(length) {
        return square(at.0 - to.0) + square(at.1 - to.1);
    }
    let cross = i64::from(out.0) * i64::from(along.1) - i64::from(out.1) * i64::from(along.0);
    i32::try_from(cross * cross / i64::from(length)).unwrap_or(i32::MAX)
}

const fn square(of: i32) -> i32 {
    of * of
}
