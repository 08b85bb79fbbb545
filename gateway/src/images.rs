//! Firmware that lies in `data_dir/firmware/BOARD/VERSION/flash.bin`: everything a board needs, for offset 0 of its flash.
//! Whatever else lies there is passed over.

use casement_proto::release::{BoardId, IMAGE_BYTES_MAX, Version};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most entries of a folder that are looked at.
const ENTRIES_MAX: usize = 1_000;

/// The file that is written to an empty board.
const FLASH_FILE: &str = "flash.bin";

/// An image to be flashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it is for.
    pub board: BoardId,
    /// What it is.
    pub version: Version,
    /// Its size.
    pub bytes: u64,
}

/// The newest image of each board, in order of the boards' names.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn newest(firmware: &Path) -> io::Result<Vec<Image>> {
    let mut found = Vec::new();
    for board in names(firmware)?.iter().filter_map(|name| BoardId::parse(name)) {
        let mut versions: Vec<Version> =
            names(&firmware.join(board.as_str()))?.iter().filter_map(|name| name.parse().ok()).collect();
        versions.sort_unstable();
        let image = versions.iter().rev().find_map(|version| {
            let meta = fs::metadata(file(firmware, &board, *version)).ok()?;
            let fits = meta.is_file() && (1..=u64::from(IMAGE_BYTES_MAX)).contains(&meta.len());
            fits.then_some(Image { board, version: *version, bytes: meta.len() })
        });
        found.extend(image);
    }
    found.sort_by(|a, b| a.board.as_str().cmp(b.board.as_str()));
    Ok(found)
}

/// An image's bytes; `None` when there is no such image.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read(firmware: &Path, board: &BoardId, version: Version) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(file(firmware, board, version)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(u64::from(IMAGE_BYTES_MAX) + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= IMAGE_BYTES_MAX as usize).then_some(bytes))
}

fn file(firmware: &Path, board: &BoardId, version: Version) -> PathBuf {
    firmware.join(board.as_str()).join(version.to_string()).join(FLASH_FILE)
}

/// Names in a folder; none when there is no such folder.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    Ok(entries.flatten().take(ENTRIES_MAX).filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_image_of_each_board_is_found_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str, bytes: &[u8]| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        assert_eq!(newest(&folder.path().join("none")).unwrap(), []);
        put("stamp-c3/0.9.0/flash.bin", b"old");
        put("stamp-c3/0.10.0/flash.bin", b"newer");
        // A release for devices that run already, an empty file, a version with two spellings, strangers.
        put("stamp-c3/1.0.0/ota.bin", b"x");
        put("stamp-c3/2.0.0/flash.bin", b"");
        put("stamp-c3/03.0.0/flash.bin", b"x");
        put("Stranger!/1.0.0/flash.bin", b"x");
        put("README", b"x");
        put("nanoc6/1.0.0/flash.bin", b"six");
        let board = |name| BoardId::parse(name).unwrap();
        let version = |text: &str| text.parse::<Version>().unwrap();
        let found = newest(folder.path()).unwrap();
        assert_eq!(
            found,
            [
                Image { board: board("nanoc6"), version: version("1.0.0"), bytes: 3 },
                Image { board: board("stamp-c3"), version: version("0.10.0"), bytes: 5 },
            ]
        );
        let bytes = |name, text| read(folder.path(), &board(name), version(text)).unwrap();
        assert_eq!(bytes("stamp-c3", "0.9.0").as_deref(), Some(&b"old"[..]));
        assert_eq!(bytes("stamp-c3", "7.0.0"), None);
    }
}
