//! What a CO2 device shows on its screen.
//!
//! | module | holds |
//! |---|---|
//! | [`face`] | which page when: from what a driver knows to a view |
//! | [`view`] | what is to be shown: the page, the time, the palette |
//! | `past` | the past of the number, averaged over equal spaces |
//! | `page` | one file per page: where its parts stand on large and on small screens |
//! | `words` | every word |
//! | `trouble` | which of them stands for what the core says is wrong |
//! | [`panel`](Panel) | what a screen shows already, and what has to be written |
//! | `scene` | parts over a ground, and how a piece of it becomes pixels |
//! | `palette` `font` `shape` `chart` `qr` | colours, letters, signs, the past as a line, codes for phones |
//!
//! A screen is a pure function of a [`View`] and a size: nothing is read, kept or allocated. Only [`Face`], which chooses the
//! view, remembers something. It adapts to the size of
//! the target, not to a board's name. The same code draws on a chip, in the tests and for a virtual device.
//!
//! The look is the dashboard's: a pane of air whose ground says how it is, the number first, and a shape and a word
//! with every colour. An estimate is hatched and named, so that it never passes for CO₂.
//!
//! ```
//! use casement_screen::{Panel, View, Page, Air, Theme};
//! # use embedded_graphics::{mock_display::MockDisplay, pixelcolor::Rgb565};
//! # let mut display: MockDisplay<Rgb565> = MockDisplay::new();
//! let view = View { name: "Room 204", clock: None, theme: Theme::Light, page: Page::Air(Air::default()) };
//! let mut panel = Panel::new();
//! panel.show(&view, &mut display)?;
//! # Ok::<(), core::convert::Infallible>(())
//! ```
#![no_std]

#[cfg(test)]
extern crate self as casement_screen;
#[cfg(test)]
extern crate std;

mod chart;
pub mod face;
mod font;
mod page;
mod palette;
mod panel;
mod past;
mod qr;
mod said;
mod scene;
mod shape;
mod trouble;
pub mod view;
mod words;

#[cfg(test)]
#[path = "../tests/gallery/mod.rs"]
#[expect(dead_code, reason = "the pictures use the rest")]
mod gallery;

pub use face::{Face, Facts};
pub use panel::{Panel, draw};
pub use said::said;
pub use view::{
    About, Air, Check, Clock, History, Joining, Outcome, Page, Setup, Stage, Step, Theme, Trouble, Update,
    UpdateFault, View,
};
