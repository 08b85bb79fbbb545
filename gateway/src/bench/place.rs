//! The folder that is measured in.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A writer that is just ending may still make a file in a folder that is being removed.
const REMOVAL_TRIES: usize = 20;
const REMOVAL_PAUSE: Duration = Duration::from_millis(25);

/// An empty folder for this run alone. Dropping it takes away what lies in it, and the folder if it was made here.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    made: bool,
}

/// Why a folder cannot be used. Nothing of it was touched.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Something lies in it.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// It cannot be made or looked into.
    #[error("{0} cannot be used: {1}")]
    Unusable(PathBuf, io::Error),
}

impl Place {
    /// A new folder below the system's folder for temporary files.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn temporary(now_ms: i64) -> Result<Self, PlaceError> {
        let path = std::env::temp_dir().join(format!("casement-bench-{}-{now_ms}", std::process::id()));
        Self::make(path)
    }

    /// This folder, which must be empty or not there.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn at(path: &Path) -> Result<Self, PlaceError> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        match fs::read_dir(&path) {
            Ok(mut entries) => match entries.next() {
                None => Ok(Self { path, made: false }),
                Some(_) => Err(PlaceError::NotEmpty(path)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(error) => Err(PlaceError::Unusable(path, error)),
        }
    }

    /// Fails when something of that name is there: nobody can have prepared it.
    fn make(path: PathBuf) -> Result<Self, PlaceError> {
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self { path, made: true }),
            Err(error) => Err(PlaceError::Unusable(path, error)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn clear(&self) -> io::Result<()> {
        if self.made {
            return fs::remove_dir_all(&self.path);
        }
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for _ in 0..REMOVAL_TRIES {
            match self.clear() {
                Ok(()) => return,
                Err(error) if self.made && error.kind() == io::ErrorKind::NotFound => return,
                Err(_) => std::thread::sleep(REMOVAL_PAUSE),
            }
        }
        tracing::warn!("{} could not be removed", self.path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_made_is_gone_afterwards() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("new");
        let place = Place::at(&path).unwrap();
        fs::create_dir(place.path().join("deep")).unwrap();
        fs::write(place.path().join("deep/file"), b"x").unwrap();
        drop(place);
        assert!(!path.exists() && above.path().exists());
    }

    #[test]
    fn a_folder_that_was_there_is_left_empty() {
        let above = tempfile::tempdir().unwrap();
        let place = Place::at(above.path()).unwrap();
        fs::create_dir(place.path().join("deep")).unwrap();
        fs::write(place.path().join("file"), b"x").unwrap();
        drop(place);
        assert_eq!(fs::read_dir(above.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_in_use_is_refused_and_left_alone() {
        let above = tempfile::tempdir().unwrap();
        fs::write(above.path().join("precious"), b"x").unwrap();
        assert!(matches!(Place::at(above.path()), Err(PlaceError::NotEmpty(_))));
        assert!(matches!(Place::at(&above.path().join("precious")), Err(PlaceError::Unusable(..))));
        assert!(matches!(Place::at(&above.path().join("no/such")), Err(PlaceError::Unusable(..))));
        assert!(above.path().join("precious").exists());
    }

    #[test]
    fn temporary_folders_are_private_and_new() {
        use std::os::unix::fs::PermissionsExt;
        let place = Place::temporary(1).unwrap();
        assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(Place::temporary(1).is_err(), "one that is there is not taken");
    }
}
