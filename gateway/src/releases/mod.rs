//! Releases on disk, and the key that signs them.
//!
//! ```text
//! data_dir/firmware/
//!   BOARD/VERSION/ota.bin     the firmware, as devices fetch it
//!   BOARD/VERSION/flash.bin   the whole flash, for offset 0; not every release has one
//!   BOARD/VERSION/release     the signed manifest (casement_proto::release)
//!   rollout.json              stages and holds
//!   signing.key               Ed25519, PKCS #8, for the owner alone
//!   rollout.lock              held by whoever changes something
//! ```
//!
//! A release is put together under another name and renamed, so it is there whole or not at all. Folders whose
//! name is no board or no version are passed over.

mod flash;

pub use flash::FlashImage;

use crate::disk::{self, Lock, LockError};
use crate::rollout::Rollout;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use casement_proto::release::MANIFEST_BYTES_MAX;
use casement_proto::{BoardId, Release, SignedRelease, Version};
use flash::FLASH_FILE;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest file of stages and holds that is read, in bytes.
const ROLLOUT_BYTES_MAX: u64 = 1 << 20;

/// Most entries of a folder that are looked at.
const ENTRIES_MAX: usize = 1_000;

/// Why something about releases cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A file or folder cannot be used.
    #[error("{path} cannot be used: {cause}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Somebody else changes something at the same time.
    #[error("another command is changing releases")]
    Busy,
    /// The release is there already. Its bytes never change: a device may hold half of them.
    #[error("release {1} for {0} is there already")]
    Exists(BoardId, Version),
    /// There is no such release.
    #[error("there is no release {1} for {0}")]
    Missing(BoardId, Version),
    /// Others may read the key.
    #[error("{path} may be read by others (mode {mode:04o}); releases signed with it could be anybody's", path = .path.display())]
    KeyOpen {
        /// The key.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The key is none.
    #[error("{path} is no Ed25519 key", path = .0.display())]
    KeyBroken(PathBuf),
    /// Stages and holds cannot be read.
    #[error("{path} cannot be read: {why}", path = .path.display())]
    Rollout {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What is known of a release on disk.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What is signed.
    pub release: Release,
    /// There is an image of the whole flash, too.
    pub has_flash: bool,
    /// Every byte of the firmware is what was signed with the key of this gateway.
    pub whole: bool,
}

/// The folder of releases.
#[derive(Clone, Debug)]
pub struct Releases {
    dir: PathBuf,
}

impl Releases {
    /// Those of a data folder. Nothing is made or read by this.
    pub fn of(data_dir: &Path) -> Self {
        Self { dir: data_dir.join("firmware") }
    }

    fn folder(&self, board: &BoardId, version: Version) -> PathBuf {
        self.dir.join(board.as_str()).join(version.to_string())
    }

    fn locked(&self) -> Result<Lock, ReleaseError> {
        disk::private_dir(&self.dir).map_err(at(&self.dir))?;
        let path = self.dir.join("rollout.lock");
        Lock::take(&path).map_err(|error| match error {
            LockError::Held(_) => ReleaseError::Busy,
            LockError::Unusable(cause) => ReleaseError::File { path, cause },
        })
    }

    /// The key that devices need to trust this gateway's releases. It is made when there is none.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn public_key(&self) -> Result<[u8; 32], ReleaseError> {
        let path = self.dir.join("signing.key");
        let pair = if path.exists() { read_key(&path)? } else { self.key(&self.locked()?)? };
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Ok(public)
    }

    fn key(&self, _lock: &Lock) -> Result<Ed25519KeyPair, ReleaseError> {
        let path = self.dir.join("signing.key");
        if !path.exists() {
            // The system's generator does not fail once it has been seeded at boot.
            let made = Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8());
            let made = made.map_err(|_| ReleaseError::KeyBroken(path.clone()))?;
            disk::write_private(&path, made.as_ref()).map_err(at(&path))?;
        }
        read_key(&path)
    }

    /// Signs firmware and keeps it, with an image of the whole flash where there is one.
    ///
    /// # Errors
    /// [`ReleaseError`]; nothing of it is then there.
    pub fn add(&self, release: &Release, ota: &[u8], flash: Option<&[u8]>) -> Result<(), ReleaseError> {
        let lock = self.locked()?;
        let end = self.folder(&release.board, release.version);
        if end.exists() {
            return Err(ReleaseError::Exists(release.board, release.version));
        }
        let signature = self.key(&lock)?.sign(&release.signed_bytes());
        let mut signed = SignedRelease { release: *release, signature: [0; 64] };
        signed.signature.copy_from_slice(signature.as_ref());
        let board = self.dir.join(release.board.as_str());
        disk::private_dir(&board).map_err(at(&board))?;
        let temporary = board.join(".new");
        clear(&temporary)?;
        disk::private_dir(&temporary).map_err(at(&temporary))?;
        let write = |name: &str, bytes: &[u8]| {
            let path = temporary.join(name);
            disk::write_private(&path, bytes).map_err(at(&path))
        };
        let written = write("ota.bin", ota)
            .and_then(|()| flash.map_or(Ok(()), |flash| write(FLASH_FILE, flash)))
            .and_then(|()| write("release", &signed.encode()))
            .and_then(|()| fs::rename(&temporary, &end).map_err(at(&end)));
        if written.is_err() {
            // The first failure is the one to tell.
            let _left_behind = clear(&temporary);
        }
        written?;
        disk::sync_dir(&board).map_err(at(&board))
    }

    /// Takes a release away, with what was decided about it. Who is fetching it finishes with the part at hand.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn remove(&self, board: &BoardId, version: Version) -> Result<(), ReleaseError> {
        let lock = self.locked()?;
        let folder = self.folder(board, version);
        if !folder.exists() {
            return Err(ReleaseError::Missing(*board, version));
        }
        self.change(&lock, |rollout| rollout.forget(board, version))?;
        let parent = self.dir.join(board.as_str());
        let gone = parent.join(".gone");
        clear(&gone)?;
        fs::rename(&folder, &gone).map_err(at(&folder))?;
        disk::sync_dir(&parent).map_err(at(&parent))?;
        clear(&gone)
    }

    /// Every release, by board and version. Reads all of their bytes.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn list(&self) -> Result<Vec<Kept>, ReleaseError> {
        let mut found = Vec::new();
        // To look makes no key.
        let key = self.dir.join("signing.key");
        let key = key.exists().then(|| self.public_key()).transpose()?;
        for board in self.boards()? {
            for signed in self.of_board(&board)? {
                let folder = self.folder(&board, signed.release.version);
                let signature = |key: &[u8; 32]| {
                    UnparsedPublicKey::new(&ED25519, key)
                        .verify(&signed.release.signed_bytes(), &signed.signature)
                        .is_ok()
                };
                found.push(Kept {
                    release: signed.release,
                    has_flash: folder.join(FLASH_FILE).exists(),
                    whole: key.as_ref().is_some_and(signature)
                        && hash_of(&folder.join("ota.bin")).is_ok_and(|(size, hash)| {
                            (size, hash) == (signed.release.size.into(), signed.release.sha256)
                        }),
                });
            }
        }
        Ok(found)
    }

    /// The releases for a board, oldest first; those whose manifest cannot be read are left out.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn of_board(&self, board: &BoardId) -> Result<Vec<SignedRelease>, ReleaseError> {
        let readable = |version: Version| match self.manifest(board, version) {
            Some(signed) => Some(signed),
            None => {
                tracing::warn!(%board, %version, "the release is damaged and offered to nobody");
                None
            }
        };
        Ok(self.versions(board)?.into_iter().filter_map(readable).collect())
    }

    /// The manifest of a release.
    pub fn manifest(&self, board: &BoardId, version: Version) -> Option<SignedRelease> {
        let path = self.folder(board, version).join("release");
        let bytes = read_within(&path, MANIFEST_BYTES_MAX as u64).ok()?;
        SignedRelease::decode(&bytes)
            .ok()
            .filter(|signed| signed.release.board == *board && signed.release.version == version)
    }

    /// The file with a release's firmware, open for reading, and what was signed.
    ///
    /// # Errors
    /// [`ReleaseError::Missing`], or when it is damaged.
    pub fn firmware(&self, board: &BoardId, version: Version) -> Result<(File, Release), ReleaseError> {
        let folder = self.folder(board, version);
        if !folder.exists() {
            return Err(ReleaseError::Missing(*board, version));
        }
        let damaged = |path: &Path, why: &str| ReleaseError::File {
            path: path.to_owned(),
            cause: io::Error::new(io::ErrorKind::InvalidData, why.to_owned()),
        };
        let manifest = self.manifest(board, version);
        let release = manifest.ok_or_else(|| damaged(&folder.join("release"), "it is no manifest"))?.release;
        let path = folder.join("ota.bin");
        let file = File::open(&path).map_err(at(&path))?;
        let size = file.metadata().map_err(at(&path))?.len();
        if size != u64::from(release.size) {
            return Err(damaged(&path, "it has another size than was signed"));
        }
        Ok((file, release))
    }

    /// Stages and holds.
    ///
    /// # Errors
    /// When the file cannot be read; no file means that nothing is decided.
    pub fn rollout(&self) -> Result<Rollout, ReleaseError> {
        let path = self.dir.join("rollout.json");
        match read_within(&path, ROLLOUT_BYTES_MAX) {
            Ok(bytes) => Rollout::decode(&bytes).map_err(|why| ReleaseError::Rollout { path, why }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Rollout::default()),
            Err(cause) => Err(ReleaseError::File { path, cause }),
        }
    }

    /// Changes stages and holds, and gives what the change gives. Nothing is written when it changes nothing.
    ///
    /// # Errors
    /// [`ReleaseError`].
    pub fn decide<T>(&self, change: impl FnOnce(&mut Rollout) -> T) -> Result<T, ReleaseError> {
        let lock = self.locked()?;
        self.change(&lock, change)
    }

    fn change<T>(&self, _lock: &Lock, change: impl FnOnce(&mut Rollout) -> T) -> Result<T, ReleaseError> {
        let before = self.rollout()?;
        let mut after = before.clone();
        let given = change(&mut after);
        if after != before {
            let path = self.dir.join("rollout.json");
            disk::write_private(&path, after.encode().as_bytes()).map_err(at(&path))?;
        }
        Ok(given)
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> ReleaseError {
    move |cause| ReleaseError::File { path: path.to_owned(), cause }
}

fn read_key(path: &Path) -> Result<Ed25519KeyPair, ReleaseError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).map_err(at(path))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(ReleaseError::KeyOpen { path: path.to_owned(), mode });
    }
    let bytes = read_within(path, 4096).map_err(at(path))?;
    Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| ReleaseError::KeyBroken(path.to_owned()))
}

/// The names of the folders in a folder, of at most [`ENTRIES_MAX`] entries; none when it is not there.
fn names(folder: &Path) -> Result<Vec<String>, ReleaseError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(at(folder)(error)),
    };
    let name = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok().filter(|entry| entry.path().is_dir())?;
        entry.file_name().into_string().ok()
    };
    Ok(entries.take(ENTRIES_MAX).filter_map(name).collect())
}

fn read_within(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is larger than {bytes_max} bytes"),
        ));
    }
    Ok(bytes)
}

/// Size and SHA-256 of a file, read in parts.
fn hash_of(path: &Path) -> io::Result<(u64, [u8; 32])> {
    use aws_lc_rs::digest::{Context, SHA256};
    let (mut file, mut context) = (File::open(path)?, Context::new(&SHA256));
    let (mut size, mut part) = (0, vec![0; 64 * 1024]);
    loop {
        let count = file.read(&mut part)?;
        if count == 0 {
            let mut hash = [0; 32];
            hash.copy_from_slice(context.finish().as_ref());
            return Ok((size, hash));
        }
        size += count as u64;
        context.update(part.get(..count).unwrap_or_default());
    }
}

/// Removes a folder that may not be there.
fn clear(folder: &Path) -> Result<(), ReleaseError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::image;
    use std::os::unix::fs::PermissionsExt;

    fn release(version: &str, bytes: &[u8]) -> Release {
        let board = BoardId::parse("stamp-c3").unwrap();
        let found = image::look(bytes).unwrap();
        Release { board, version: version.parse().unwrap(), size: found.size, sha256: found.sha256 }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_release_is_signed_kept_listed_and_removed() {
        let place = tempfile::tempdir().unwrap();
        let releases = Releases::of(place.path());
        assert!(releases.list().unwrap().is_empty());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "to look makes nothing");
        let ota = image::made(5, "1.10.0", 3_000);
        let new = release("1.10.0", &ota);
        releases.add(&new, &ota, Some(b"all of it")).unwrap();
        releases.add(&release("1.9.0", &ota), &ota, None).unwrap();
        assert!(matches!(releases.add(&new, &ota, None), Err(ReleaseError::Exists(..))));

        let listed = releases.list().unwrap();
        let shown: Vec<_> = listed
            .iter()
            .map(|kept| (kept.release.version.to_string(), kept.has_flash, kept.whole))
            .collect();
        assert_eq!(shown, [("1.9.0".to_owned(), false, true), ("1.10.0".to_owned(), true, true)]);
        let signed = releases.manifest(&new.board, new.version).unwrap();
        let key = UnparsedPublicKey::new(&ED25519, releases.public_key().unwrap());
        key.verify(&new.signed_bytes(), &signed.signature).unwrap();
        let (mut file, found) = releases.firmware(&new.board, new.version).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!((bytes, found), (ota, new));

        releases.decide(|rollout| rollout.set_stage(new.board, new.version, 5)).unwrap();
        releases.remove(&new.board, new.version).unwrap();
        assert!(matches!(releases.remove(&new.board, new.version), Err(ReleaseError::Missing(..))));
        assert!(matches!(releases.firmware(&new.board, new.version), Err(ReleaseError::Missing(..))));
        assert_eq!(releases.rollout().unwrap(), Rollout::default());
        assert_eq!(releases.list().unwrap().len(), 1);
    }

    #[test]
    fn the_key_is_the_owner_s_alone_and_stays_the_same() {
        let place = tempfile::tempdir().unwrap();
        let releases = Releases::of(place.path());
        let first = releases.public_key().unwrap();
        let path = place.path().join("firmware/signing.key");
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(Releases::of(place.path()).public_key().unwrap(), first);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let open = releases.public_key().unwrap_err();
        assert!(
            matches!(open, ReleaseError::KeyOpen { mode: 0o640, .. }) && open.to_string().contains("0640")
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"something else").unwrap();
        assert!(matches!(releases.public_key(), Err(ReleaseError::KeyBroken(_))));
    }

    #[test]
    fn what_is_damaged_is_offered_to_nobody() {
        let place = tempfile::tempdir().unwrap();
        let releases = Releases::of(place.path());
        let ota = image::made(5, "1.0.0", 3_000);
        let new = release("1.0.0", &ota);
        let (board, version) = (new.board, new.version);
        releases.add(&new, &ota, None).unwrap();
        let folder = place.path().join("firmware/stamp-c3/1.0.0");
        let whole = || releases.list().unwrap().first().map(|kept| kept.whole);
        let mut other = ota.clone();
        other[1_000] ^= 1;
        fs::write(folder.join("ota.bin"), &other).unwrap();
        assert_eq!(whole(), Some(false));
        fs::write(folder.join("ota.bin"), &ota[..2_999]).unwrap();
        assert_eq!(whole(), Some(false));
        assert!(matches!(releases.firmware(&board, version), Err(ReleaseError::File { .. })));
        fs::write(folder.join("ota.bin"), &ota).unwrap();
        assert_eq!(whole(), Some(true));
        let manifest = fs::read(folder.join("release")).unwrap();
        // The manifest of another board, moved here by hand.
        fs::create_dir_all(place.path().join("firmware/nanoc6")).unwrap();
        fs::rename(&folder, place.path().join("firmware/nanoc6/1.0.0")).unwrap();
        let nanoc6 = BoardId::parse("nanoc6").unwrap();
        assert!(releases.of_board(&nanoc6).unwrap().is_empty());
        assert!(matches!(releases.firmware(&nanoc6, version), Err(ReleaseError::File { .. })));
        for bad in [&manifest[..50], &[0; 500], b""] {
            fs::write(place.path().join("firmware/nanoc6/1.0.0/release"), bad).unwrap();
            assert!(releases.list().unwrap().is_empty());
        }
    }

    #[test]
    fn half_a_release_is_none_and_is_in_nobody_s_way() {
        let place = tempfile::tempdir().unwrap();
        let releases = Releases::of(place.path());
        let ota = image::made(5, "1.0.0", 3_000);
        let half = place.path().join("firmware/stamp-c3/.new");
        fs::create_dir_all(&half).unwrap();
        fs::write(half.join("ota.bin"), b"cut").unwrap();
        fs::write(half.join("flash.bin"), b"cut").unwrap();
        assert!(releases.list().unwrap().is_empty());
        releases.add(&release("1.0.0", &ota), &ota, None).unwrap();
        assert!(!half.exists() && !releases.list().unwrap()[0].has_flash);
    }

    #[test]
    fn what_was_decided_is_kept_and_one_decides_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let releases = Releases::of(place.path());
        let board = BoardId::parse("stamp-c3").unwrap();
        let version = Version::default();
        releases.decide(|rollout| rollout.set_stage(board, version, 5)).unwrap();
        assert_eq!(releases.rollout().unwrap().stage(&board, version).unwrap().percent, 5);
        let held = releases.locked().unwrap();
        assert!(matches!(releases.decide(|_| ()), Err(ReleaseError::Busy)));
        drop(held);
        let file = place.path().join("firmware/rollout.json");
        fs::write(&file, "{").unwrap();
        assert!(matches!(releases.decide(|_| ()), Err(ReleaseError::Rollout { .. })));
        assert_eq!(fs::read(&file).unwrap(), b"{", "what cannot be read is not written over");
    }
}
