//! Every situation, size and palette as a picture, compared pixel for pixel with the one that people looked at.
//!
//! `CASEMENT_BLESS=1 cargo test -p casement-screen --test golden` writes the pictures anew, and `screens.png` with all
//! of them. Look at them before you commit. A picture that differs is left in `tests/artifacts/screens`, with the one it should be and the
//! difference.

mod gallery;

use casement_screen::{Page, Theme, draw};
use embedded_graphics::{pixelcolor::Rgb565, prelude::*};
use gallery::{Frame, SIZES, situations, view};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

const THEMES: [(Theme, &str); 2] = [(Theme::Light, "light"), (Theme::Dark, "dark")];

/// Red, green and blue, row by row.
#[derive(Clone, PartialEq, Eq)]
struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<[u8; 3]>,
}

fn pictures() -> Vec<(String, Picture)> {
    let mut pictures = vec![];
    for size in SIZES {
        for (name, page) in situations() {
            // White paper is white at night, too.
            let themes = if matches!(page, Page::Setup(_) | Page::About(_)) { &THEMES[..1] } else { &THEMES };
            for (theme, suffix) in themes {
                let mut frame = Frame::new(size);
                let Ok(()) = draw(&view(page, *theme), &mut frame);
                let picture = Picture {
                    width: size.width,
                    height: size.height,
                    rgb: frame.pixels.iter().map(|pixel| shown(*pixel)).collect(),
                };
                pictures.push((format!("{}x{}/{name}-{suffix}.png", size.width, size.height), picture));
            }
        }
    }
    pictures
}

#[test]
fn every_screen_looks_as_it_did_when_somebody_looked() {
    let bless = std::env::var_os("CASEMENT_BLESS").is_some_and(|value| value == "1");
    let pictures = pictures();
    let mut wrong = vec![];
    for (name, picture) in &pictures {
        let path = golden().join(name);
        if bless {
            write(&path, picture);
        } else if let Some(golden) = read(&path) {
            if golden != *picture {
                wrong.push(name.clone());
                leave(name, picture, &golden);
            }
        } else {
            wrong.push(format!("{name} (there is none yet)"));
            write(&artifacts().join(name), picture);
        }
    }
    if bless {
        write(&golden().join("screens.png"), &sheet(&pictures));
    }
    assert!(
        wrong.is_empty(),
        "{} of {} screens changed:\n  {}\nLook at {}; CASEMENT_BLESS=1 takes them over.",
        wrong.len(),
        pictures.len(),
        wrong.join("\n  "),
        artifacts().display()
    );
    complete(&pictures);
}

/// No picture is left over from a situation that is gone, and the sheet shows them all.
fn complete(pictures: &[(String, Picture)]) {
    let wanted: BTreeSet<_> = pictures.iter().map(|(name, _)| name.clone()).collect();
    let mut found = BTreeSet::new();
    for size in SIZES {
        let folder = format!("{}x{}", size.width, size.height);
        for entry in fs::read_dir(golden().join(&folder)).expect("there is a folder for each size") {
            let name = entry.expect("its entries can be read").file_name();
            found.insert(format!("{folder}/{}", name.to_string_lossy()));
        }
    }
    assert_eq!(found, wanted);
    let shown = read(&golden().join("screens.png")).expect("there is a sheet");
    assert!(shown == sheet(pictures), "screens.png is old: CASEMENT_BLESS=1 makes it anew");
}

/// The situations that the sheet shows dark as well.
const DARK_TOO: [&str; 6] = ["good", "soon", "now", "estimate", "certificate-expired", "fault-no-answer"];

/// The pictures on a wall: light ones, then some dark ones, for each size.
fn sheet(pictures: &[(String, Picture)]) -> Picture {
    const GAP: u32 = 12;
    const WALL: [u8; 3] = [0x3a, 0x40, 0x46];
    const COLUMNS: u32 = 6;
    let mut places = vec![];
    let (mut top, mut right) = (GAP, 0);
    for size in SIZES {
        // As many small ones as fit below the large ones.
        let columns = (COLUMNS * (320 + GAP)) / (size.width + GAP);
        for (_, suffix) in THEMES {
            let shown = |name: &str| {
                let stem = name.strip_prefix(&format!("{}x{}/", size.width, size.height))?;
                let situation = stem.strip_suffix(&format!("-{suffix}.png"))?;
                (suffix == "light" || DARK_TOO.contains(&situation)).then_some(())
            };
            let these: Vec<_> = pictures.iter().filter(|(name, _)| shown(name).is_some()).collect();
            for (index, (_, picture)) in (0..).zip(&these) {
                let at =
                    (GAP + index % columns * (size.width + GAP), top + index / columns * (size.height + GAP));
                right = right.max(at.0 + size.width + GAP);
                places.push((at, picture));
            }
            let rows = u32::try_from(these.len()).expect("there are few").div_ceil(columns);
            top += rows * (size.height + GAP);
        }
        top += GAP;
    }
    let mut sheet = Picture { width: right, height: top, rgb: vec![WALL; (right * top) as usize] };
    for ((left, top), picture) in places {
        for y in 0..picture.height {
            let from = (y * picture.width) as usize;
            let to = ((top + y) * sheet.width + left) as usize;
            let width = picture.width as usize;
            sheet.rgb[to..to + width].copy_from_slice(&picture.rgb[from..from + width]);
        }
    }
    sheet
}

fn shown(pixel: Rgb565) -> [u8; 3] {
    let full = |part: u8, most: u8| (u16::from(part) * 255 / u16::from(most)) as u8;
    [full(pixel.r(), Rgb565::MAX_R), full(pixel.g(), Rgb565::MAX_G), full(pixel.b(), Rgb565::MAX_B)]
}

fn leave(name: &str, picture: &Picture, golden: &Picture) {
    let path = artifacts().join(name);
    write(&path, picture);
    write(&path.with_extension("wanted.png"), golden);
    if (picture.width, picture.height) == (golden.width, golden.height) {
        // What is the same is dimmed; what is not is magenta.
        let differs = |(one, other): (&[u8; 3], &[u8; 3])| {
            if one == other { one.map(|part| part / 4) } else { [255, 0, 255] }
        };
        let rgb = picture.rgb.iter().zip(&golden.rgb).map(differs).collect();
        write(&path.with_extension("difference.png"), &Picture { rgb, ..*picture });
    }
}

fn write(path: &Path, picture: &Picture) {
    fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the folder can be made");
    let file = BufWriter::new(File::create(path).expect("the picture can be written"));
    let mut encoder = png::Encoder::new(file, picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    // The ground is dithered: guessing from neighbours makes it larger.
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header().expect("the header is right");
    writer.write_image_data(picture.rgb.as_flattened()).expect("there are as many pixels as it says");
}

fn read(path: &Path) -> Option<Picture> {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path).ok()?)).read_info().ok()?;
    let mut bytes = vec![0; reader.output_buffer_size()?];
    let info = reader.next_frame(&mut bytes).ok()?;
    assert_eq!(info.color_type, png::ColorType::Rgb, "{}", path.display());
    let rgb = bytes.as_chunks().0.to_vec();
    Some(Picture { width: info.width, height: info.height, rgb })
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn artifacts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/artifacts/screens")
}

#[test]
fn a_camera_reads_the_codes() {
    let wifi = "WIFI:T:WPA;S:casement-1a2b;P:k7mq-29xd;;";
    let about = "http://192.168.178.23/";
    let mut read = vec![];
    let with_code = |name: &str| name.contains("/setup-") || name.contains("/about-");
    for (name, picture) in pictures().into_iter().filter(|(name, _)| with_code(name)) {
        // As a camera sees it: larger than the modules, with some margin of the device around.
        let (scale, rim) = (3, 40);
        let (width, height) = (picture.width * scale + 2 * rim, picture.height * scale + 2 * rim);
        let grey = |x: usize, y: usize| {
            let inside = |at: usize, size: u32| {
                u32::try_from(at).ok()?.checked_sub(rim).map(|at| at / scale).filter(|at| *at < size)
            };
            let at = inside(x, picture.width).zip(inside(y, picture.height));
            at.map_or(60, |(x, y)| picture.rgb[(y * picture.width + x) as usize][1])
        };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width as usize, height as usize, grey);
        for grid in image.detect_grids() {
            let (_, text) = grid.decode().unwrap_or_else(|error| panic!("{name}: {error}"));
            read.push((name.clone(), text));
        }
    }
    let wanted = [
        ("320x240/setup-light.png", wifi),
        ("320x240/about-light.png", about),
        ("128x128/setup-light.png", wifi),
    ];
    let read: Vec<_> = read.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!(read, wanted);
}
