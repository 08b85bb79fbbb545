//! What a change costs on the way to the panel, and that a changed screen is the same as a new one.

mod gallery;

use casement_core::Primary;
use casement_proto::Band;
use casement_screen::{Air, Clock, Page, Panel, Stage, Theme, Update, View, draw};
use embedded_graphics::{Pixel, pixelcolor::Rgb565, prelude::*};
use gallery::{Frame, SIZES, history, room, situations, view};
use proptest::prelude::*;

/// Pixels written for the second view after the first.
fn cost(first: &View<'_>, second: &View<'_>, size: Size) -> usize {
    let mut frame = Frame::new(size);
    let mut panel = Panel::new();
    let Ok(()) = panel.show(first, &mut frame);
    frame.written = 0;
    frame.times.fill(0);
    let Ok(()) = panel.show(second, &mut frame);
    let mut whole = Frame::new(size);
    let Ok(()) = draw(second, &mut whole);
    assert!(frame.pixels == whole.pixels, "a changed screen is not the same as a new one: {second:?}");
    assert!(frame.times.iter().all(|times| *times <= 1), "a pixel was written twice: {second:?}");
    assert_eq!(frame.outside, 0);
    frame.written
}

fn air(ppm: u32) -> View<'static> {
    let air = Air { history: history(&gallery::AIRED), ..room(Primary::Co2(ppm), Some(Band::Good)) };
    view(Page::Air(air), Theme::Light)
}

#[test]
fn a_first_view_writes_every_pixel_once_and_the_same_again_none() {
    for size in SIZES {
        let all = (size.width * size.height) as usize;
        for (_, page) in situations() {
            let view = view(page, Theme::Dark);
            let mut frame = Frame::new(size);
            let mut panel = Panel::new();
            let Ok(()) = panel.show(&view, &mut frame);
            assert_eq!((frame.written, frame.outside), (all, 0));
            assert!(frame.times.iter().all(|times| *times == 1));
            let Ok(()) = panel.show(&view, &mut frame);
            assert_eq!(frame.written, all);
            panel.forget();
            let Ok(()) = panel.show(&view, &mut frame);
            assert_eq!(frame.written, 2 * all);
        }
    }
}

#[test]
fn a_small_change_writes_little() {
    for size in SIZES {
        let all = (size.width * size.height) as usize;
        let share = |first: &View<'_>, second: &View<'_>| cost(first, second, size) as f64 / all as f64;
        let last_digit = share(&air(640), &air(642));
        let whole_number = share(&air(640), &air(897));
        let later = View { clock: Some(Clock { hour: 14, minute: 33 }), ..air(640) };
        let minute = share(&air(640), &later);
        println!(
            "{size}: last digit {last_digit:.3}, number {whole_number:.3}, minute {minute:.3} of all pixels"
        );
        assert!((0.001..0.10).contains(&last_digit), "{last_digit}");
        assert!((0.001..0.25).contains(&whole_number), "{whole_number}");
        assert!((0.001..0.05).contains(&minute), "{minute}");
        let downloading = |percent| {
            let page =
                Page::Update(Update { version: "2", running: "1", stage: Stage::Downloading(percent) });
            view(page, Theme::Light)
        };
        assert!(share(&downloading(40), &downloading(41)) < 0.09);
    }
}

#[test]
fn another_band_or_palette_changes_the_ground_and_so_all() {
    for size in SIZES {
        let all = (size.width * size.height) as usize;
        let soon = view(Page::Air(room(Primary::Co2(1_100), Some(Band::Soon))), Theme::Light);
        assert_eq!(cost(&air(640), &soon, size), all);
        assert_eq!(cost(&air(640), &View { theme: Theme::Dark, ..air(640) }, size), all);
    }
}

#[test]
fn every_situation_after_every_neighbour_looks_as_if_it_were_the_first() {
    let situations = situations();
    for size in SIZES {
        for step in [1, 7] {
            for (at, (_, page)) in situations.iter().enumerate() {
                let (_, next) = situations[(at + step) % situations.len()];
                cost(&view(*page, Theme::Light), &view(next, Theme::Light), size);
            }
        }
    }
}

#[test]
fn a_panel_that_failed_is_written_whole_next_time() {
    /// Refuses everything once.
    struct Refusing(Frame, bool);
    impl OriginDimensions for Refusing {
        fn size(&self) -> Size {
            self.0.size
        }
    }
    impl DrawTarget for Refusing {
        type Color = Rgb565;
        type Error = ();
        fn draw_iter<I: IntoIterator<Item = Pixel<Rgb565>>>(&mut self, pixels: I) -> Result<(), ()> {
            if self.1 {
                return Err(());
            }
            self.0.draw_iter(pixels).map_err(|never| match never {})
        }
    }
    let size = SIZES[1];
    let mut target = Refusing(Frame::new(size), false);
    let mut panel = Panel::new();
    panel.show(&air(640), &mut target).unwrap();
    target.1 = true;
    panel.show(&air(641), &mut target).unwrap_err();
    target.1 = false;
    target.0.written = 0;
    panel.show(&air(641), &mut target).unwrap();
    assert_eq!(target.0.written, (size.width * size.height) as usize);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any two numbers, names and times, on any panel: no panic, nothing outside, no pixel twice, no trace of before.
    #[test]
    fn whatever_changes_the_screen_is_as_if_it_were_new(
        numbers in any::<[(u32, bool); 2]>(),
        names in prop::array::uniform2(".{0,40}"),
        minutes in any::<[(u8, u8); 2]>(),
        situation in any::<[prop::sample::Index; 2]>(),
        own in any::<[bool; 2]>(),
        size in (0_u32..400, 0_u32..300),
    ) {
        let situations = situations();
        let view = |at: usize| {
            let (ppm, estimated) = numbers[at];
            let primary = if estimated { Primary::Eco2(ppm) } else { Primary::Co2(ppm % 5_000) };
            let page = if own[at] { Page::Air(room(primary, Some(Band::Soon))) } else { situations[situation[at].index(situations.len())].1 };
            let clock = Some(Clock { hour: minutes[at].0, minute: minutes[at].1 });
            View { name: &names[at], clock, theme: Theme::Light, page }
        };
        cost(&view(0), &view(1), Size::new(size.0, size.1));
    }
}
