//! What bad days look like, on one sheet and in one table.
#![allow(unreachable_pub, reason = "it is a module of a test")]

use casement_sim::picture::Seen;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const COLUMNS: usize = 5;
const GAP: usize = 8;
const WIDTH: usize = 320;
const HEIGHT: usize = 240;

fn blessed() -> bool {
    std::env::var_os("CASEMENT_BLESS").is_some_and(|value| value == "1")
}

/// Writes a sheet with a screen for each day: beside the other artifacts, and, when blessed, into the documents.
pub fn write(screens: &[(&str, Seen)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let (across, down) =
        (COLUMNS * (WIDTH + GAP) + GAP, screens.len().div_ceil(COLUMNS) * (HEIGHT + GAP) + GAP);
    let mut sheet = vec![0x80_u8; across * down * 3];
    for (at, (_, seen)) in screens.iter().enumerate() {
        let path = folder.path().join("one.png");
        seen.write(&path).expect("writes");
        let pixels = read(&path);
        let (left, top) = (GAP + at % COLUMNS * (WIDTH + GAP), GAP + at / COLUMNS * (HEIGHT + GAP));
        for (row, line) in pixels.chunks(WIDTH * 3).enumerate() {
            let from = ((top + row) * across + left) * 3;
            sheet[from..from + line.len()].copy_from_slice(line);
        }
    }
    let artifacts = format!("{ROOT}/tests/artifacts/screenshots");
    std::fs::create_dir_all(&artifacts).expect("a folder");
    let mut paths = vec![format!("{artifacts}/bad-days.png")];
    if blessed() {
        paths.push(format!("{ROOT}/docs/bad-days.png"));
    }
    for path in paths {
        let mut encoder = png::Encoder::new(
            BufWriter::new(File::create(path).expect("a file")),
            u32::try_from(across).expect("fits"),
            u32::try_from(down).expect("fits"),
        );
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::High);
        encoder.write_header().and_then(|mut writer| writer.write_image_data(&sheet)).expect("writes");
    }
}

fn read(path: &Path) -> Vec<u8> {
    let decoder = png::Decoder::new(BufReader::new(File::open(path).expect("is there")));
    let mut picture = decoder.read_info().expect("is a PNG");
    let mut bytes = vec![0; picture.output_buffer_size().expect("has a size")];
    picture.next_frame(&mut bytes).expect("is whole");
    assert_eq!(bytes.len(), WIDTH * HEIGHT * 3);
    let colours: std::collections::BTreeSet<_> = bytes.chunks(3).collect();
    assert!(colours.len() > 8 && !colours.contains(&[0, 0, 0][..]), "{} colours", colours.len());
    bytes
}

/// The table of the document is what happened.
pub fn held_against_the_document(rows: &str) {
    let path = format!("{ROOT}/docs/bad-days.md");
    let document = std::fs::read_to_string(&path).expect("is there");
    let (head, rest) = document.split_once("|---|---|---|---|---|\n").expect("has a table");
    // The table ends with the first line that is none of its rows.
    let end: usize = rest.split_inclusive('\n').take_while(|line| line.starts_with('|')).map(str::len).sum();
    if blessed() {
        let all = format!("{head}|---|---|---|---|---|\n{rows}{}", &rest[end..]);
        std::fs::write(&path, all).expect("writes");
        return;
    }
    assert!(
        &rest[..end] == rows,
        "docs/bad-days.md says\n{}\nand this happened\n{rows}\nCASEMENT_BLESS=1 writes it",
        &rest[..end]
    );
}
