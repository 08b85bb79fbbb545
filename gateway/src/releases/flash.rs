//! Images of a whole flash, `flash.bin`: what an empty board needs, for offset 0. One that was put there by hand, without
//! a manifest beside it, counts, too: whoever flashes by cable trusts the folder.

use super::{ReleaseError, Releases, at, names};
use casement_proto::release::{BoardId, IMAGE_BYTES_MAX, Version};
use std::fs::{self, File};
use std::io::{self, Read};

/// The file that is written to an empty board.
pub(super) const FLASH_FILE: &str = "flash.bin";

/// An image to be flashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlashImage {
    /// What it is for.
    pub board: BoardId,
    /// What it is.
    pub version: Version,
    /// Its size.
    pub bytes: u64,
}

impl Releases {
    /// The newest image of each board, in order of the boards' names. Whatever else lies there is passed over.
    ///
    /// # Errors
    /// When a folder is there and cannot be read.
    pub fn newest_flash_images(&self) -> Result<Vec<FlashImage>, ReleaseError> {
        let mut found = Vec::new();
        for board in self.boards()? {
            let image = self.versions(&board)?.into_iter().rev().find_map(|version| {
                let meta = fs::metadata(self.folder(&board, version).join(FLASH_FILE)).ok()?;
                let fits = meta.is_file() && (1..=u64::from(IMAGE_BYTES_MAX)).contains(&meta.len());
                fits.then_some(FlashImage { board, version, bytes: meta.len() })
            });
            found.extend(image);
        }
        Ok(found)
    }

    /// An image's bytes; `None` when there is no such image.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn flash_image(&self, board: &BoardId, version: Version) -> Result<Option<Vec<u8>>, ReleaseError> {
        let path = self.folder(board, version).join(FLASH_FILE);
        let read = || -> io::Result<Option<Vec<u8>>> {
            let file = match File::open(&path) {
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
        };
        read().map_err(at(&path))
    }

    /// Boards that have a folder, in order of their names.
    pub(super) fn boards(&self) -> Result<Vec<BoardId>, ReleaseError> {
        let mut boards: Vec<_> = names(&self.dir)?.iter().filter_map(|name| BoardId::parse(name)).collect();
        boards.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        Ok(boards)
    }

    /// Versions of a board that have a folder, oldest first.
    pub(super) fn versions(&self, board: &BoardId) -> Result<Vec<Version>, ReleaseError> {
        let found = names(&self.dir.join(board.as_str()))?;
        let mut versions: Vec<Version> = found.iter().filter_map(|name| name.parse().ok()).collect();
        versions.sort_unstable();
        Ok(versions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_image_of_each_board_is_found_and_nothing_else() {
        let data = tempfile::tempdir().unwrap();
        let releases = Releases::of(data.path());
        assert_eq!(releases.newest_flash_images().unwrap(), []);
        let put = |path: &str, bytes: &[u8]| {
            let path = data.path().join("firmware").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
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
        assert_eq!(
            releases.newest_flash_images().unwrap(),
            [
                FlashImage { board: board("nanoc6"), version: version("1.0.0"), bytes: 3 },
                FlashImage { board: board("stamp-c3"), version: version("0.10.0"), bytes: 5 },
            ]
        );
        let bytes = |name, text| releases.flash_image(&board(name), version(text)).unwrap();
        assert_eq!(bytes("stamp-c3", "0.9.0").as_deref(), Some(&b"old"[..]));
        assert_eq!(bytes("stamp-c3", "7.0.0"), None);
        assert_eq!(bytes("atoms3", "1.0.0"), None);
    }
}
