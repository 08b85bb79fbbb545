//! Files that are whole or not there: temp file, fsync, rename.

use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Makes a directory that only this user may enter. One that exists is left as it is.
///
/// # Errors
/// When it cannot be made.
pub fn private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    if path.is_dir() {
        return Ok(());
    }
    builder.create(path)?;
    match path.parent() {
        Some(parent) if parent.is_dir() => as_the_folder(&File::open(path)?, parent),
        _ => Ok(()),
    }
}

/// Writes a file that only this user may read; after a crash the old one or the new one is there.
///
/// # Errors
/// When any step fails; the old file is then untouched.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole(path, bytes, 0o600)
}

/// Writes a file that everybody may read, such as a configuration; after a crash the old one or the new one is there.
///
/// # Errors
/// When any step fails; the old file is then untouched.
pub fn write_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole(path, bytes, 0o644)
}

fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = path.parent().ok_or_else(|| io::Error::other("a file needs a folder"))?;
    let mut name = path.file_name().ok_or_else(|| io::Error::other("a file needs a name"))?.to_owned();
    name.push(".new");
    let temp = dir.join(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(mode);
    }
    let mut file = options.open(&temp)?;
    // Whatever the umask is, and whatever a crash left under that name.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    as_the_folder(&file, dir)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temp, path)?;
    File::open(dir)?.sync_all()
}

/// Makes an empty file that only this user may read, where there is none. What root makes belongs to the folder's owner.
///
/// # Errors
/// When it cannot be made; one that is there is none.
pub fn make_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    match options.open(path) {
        Ok(file) => as_the_folder(&file, folder_of(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// A private file for the time being, gone when dropped. What a process that was killed left under the same name is
/// written over; one that is in use is not.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    file: File,
    published: bool,
}

impl Scratch {
    /// Makes it, empty.
    ///
    /// # Errors
    /// `ResourceBusy` when another process uses it; others when it cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        use rustix::fs::{Mode, OFlags};
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let dir = folder_of(path);
        loop {
            // In a folder of everybody's, the name may be somebody's link to elsewhere.
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?);
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Err(io::ErrorKind::ResourceBusy.into()),
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
            let meta = file.metadata()?;
            // Its last user may have taken it away before the lock was free.
            if !fs::metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (meta.dev(), meta.ino())) {
                continue;
            }
            if !meta.is_file() || meta.uid() != user() && meta.uid() != fs::metadata(dir)?.uid() {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "somebody else's file is in the way",
                ));
            }
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            file.set_len(0)?;
            as_the_folder(&file, dir)?;
            return Ok(Self { path: path.to_owned(), file, published: false });
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For reading and writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Syncs it and gives it its name for good. Without `replace`, a file of that name stays, and is an error.
    ///
    /// # Errors
    /// When any step fails; a file of that name is then untouched.
    pub fn publish(mut self, path: &Path, replace: bool) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags};
        self.file.sync_all()?;
        if replace {
            fs::rename(&self.path, path)?;
        } else {
            match rustix::fs::renameat_with(CWD, &self.path, CWD, path, RenameFlags::NOREPLACE) {
                // Not every file system knows how.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !path.exists() => {
                    fs::rename(&self.path, path)?;
                }
                renamed => renamed?,
            }
        }
        self.published = true;
        sync_dir(folder_of(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.published {
            // What is not there any more need not be removed.
            let _gone = fs::remove_file(&self.path);
        }
    }
}

/// Makes what was renamed in a folder last.
///
/// # Errors
/// When the folder cannot be synced.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The user that runs this, as a number.
pub fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// How many bytes this user may still write into a folder.
///
/// # Errors
/// When the system does not tell.
pub fn room(dir: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// How many bytes the file system of a folder has altogether.
///
/// # Errors
/// When the system does not tell.
pub fn capacity(dir: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(found.f_blocks.saturating_mul(found.f_frsize))
}

/// Gives what root makes to the owner of the folder: after `sudo casement cert import …` the gateway, which is not root,
/// must still be able to read it.
fn as_the_folder(file: &File, dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    if user() != 0 {
        return Ok(());
    }
    let owner = fs::metadata(dir)?;
    if owner.uid() != 0 {
        std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// A lock on a folder, held as long as this lives: one process at a time keeps its data there.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// How often a lock that is held is tried once more, and the pause before.
const LOCK_TRIES: usize = 4;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// Who holds a lock, as it stands in the lock file: the running gateway, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Where it takes HTTPS.
    pub https: Vec<SocketAddr>,
    /// Where it takes plain HTTP.
    pub http: Vec<SocketAddr>,
}

/// Why a folder could not be locked.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it; who, once it has told.
    Held(Option<Holder>),
    /// The lock file cannot be used.
    Unusable(io::Error),
}

impl Lock {
    /// Takes the lock in `path`. It is free as soon as its holder has ended, however that came about.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let file = options.open(path).map_err(LockError::Unusable)?;
        let dir = path.parent().unwrap_or(Path::new("."));
        as_the_folder(&file, dir).map_err(LockError::Unusable)?;
        let mut tries = 0;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file }),
                // Commands take it for a moment, to see whether somebody holds it.
                Err(fs::TryLockError::WouldBlock) if tries < LOCK_TRIES => {
                    tries += 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(fs::TryLockError::WouldBlock) => return Err(LockError::Held(Self::holder(path))),
                Err(fs::TryLockError::Error(error)) => return Err(LockError::Unusable(error)),
            }
        }
    }

    /// Writes down who holds it, for others; `None` is nobody to speak of. A full disk is no reason to stop.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn tell(&mut self, holder: Option<&Holder>) -> io::Result<()> {
        use std::io::{Seek, SeekFrom};
        let text = holder.map(serde_json::to_vec).transpose().map_err(io::Error::other)?;
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&text.unwrap_or_default())
    }

    /// Whether somebody holds it.
    pub fn is_held(path: &Path) -> bool {
        File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
    }

    /// Who holds it, by what it told; `None` when it has not told yet.
    pub fn holder(path: &Path) -> Option<Holder> {
        use std::io::Read;
        let mut text = Vec::new();
        File::open(path).ok()?.take(4096).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// Why a file cannot be read, and what would help: which part of the path, whose it is, its mode, the mode needed.
pub fn why_unreadable(path: &Path) -> String {
    let me = user();
    let mut real = PathBuf::from(path);
    // A link (certbot's live/ points to archive/) is as readable as what it points to.
    for _ in 0..8 {
        let Ok(target) = fs::read_link(&real) else { break };
        real = real.parent().map_or(target.clone(), |parent| parent.join(&target));
    }
    let mut parts: Vec<&Path> = real.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
    parts.reverse();
    for part in parts {
        match fs::metadata(part) {
            Ok(meta) if meta.is_dir() && part != real => {
                if fs::metadata(part.join(".")).is_err() {
                    return access_words(part, &meta, me, "entered", "0711 or 0755");
                }
            }
            Ok(meta) if meta.is_dir() => return format!("{} is a folder", part.display()),
            Ok(meta) => {
                return match File::open(part) {
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => access_words(
                        part,
                        &meta,
                        me,
                        "read",
                        "0600 with this user as owner, or 0640 with its group",
                    ),
                    Err(error) => error.to_string(),
                    Ok(_) => "it changed while it was read; try again".to_owned(),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return format!("there is no such file ({} is missing)", part.display());
            }
            Err(error) => return format!("{}: {error}", part.display()),
        }
    }
    "there is no such file".to_owned()
}

fn access_words(path: &Path, meta: &fs::Metadata, me: u32, verb: &str, needed: &str) -> String {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let mode = meta.permissions().mode() & 0o7777;
    let name = |uid| user_name(uid).unwrap_or_else(|| uid.to_string());
    let (owner, user) = (name(meta.uid()), name(me));
    format!(
        "{} belongs to {owner} (uid {}) with mode {mode:04o} and cannot be {verb} by {user} (uid {me}), who runs this; needed is mode {needed}: sudo chown {user} {} or sudo setfacl -m u:{user}:rX {}",
        path.display(),
        meta.uid(),
        path.display(),
        path.display(),
    )
}

/// The name of a user; `None` when the system has none for the number.
pub fn user_name(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').nth(2) == Some(uid.to_string().as_str()))?;
    line.split(':').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn private_files_are_private_and_replaced_whole() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("certs");
        private_dir(&dir).unwrap();
        private_dir(&dir).unwrap();
        let file = dir.join("key.pem");
        write_private(&file, b"one").unwrap();
        write_private(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_file_for_the_time_being_is_private_one_s_own_and_gone_unless_published() {
        let place = tempfile::tempdir().unwrap();
        let (path, end) = (place.path().join("x.new"), place.path().join("x"));
        fs::write(&path, "left behind by somebody who was killed").unwrap();
        let scratch = Scratch::create(&path).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.permissions().mode() & 0o777, meta.len()), (0o600, 0));
        assert_eq!(Scratch::create(&path).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(scratch);
        assert!(!path.exists());
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(Scratch::create(&path).is_err() && !place.path().join("elsewhere").exists());
        fs::remove_file(&path).unwrap();

        for (text, replace, kept) in [("one", false, "one"), ("two", false, "one"), ("three", true, "three")]
        {
            let scratch = Scratch::create(&path).unwrap();
            scratch.file().write_all(text.as_bytes()).unwrap();
            assert_eq!(scratch.publish(&end, replace).is_ok(), text == kept);
            assert_eq!(fs::read_to_string(&end).unwrap(), kept);
            assert!(!path.exists());
        }
        assert!(room(place.path()).unwrap() > 0);
    }

    #[test]
    fn a_folder_is_one_process_s_and_says_whose() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("casement.lock");
        let mut lock = Lock::take(&file).unwrap();
        let held_by = || match Lock::take(&file) {
            Err(LockError::Held(holder)) => holder,
            taken => panic!("{taken:?}"),
        };
        assert_eq!(held_by(), None, "it has not told yet");
        let listens = vec!["127.0.0.1:443".parse().unwrap()];
        lock.tell(Some(&Holder { pid: 1_234_567, https: listens, http: Vec::new() })).unwrap();
        let shorter = Holder { pid: 7, https: Vec::new(), http: Vec::new() };
        lock.tell(Some(&shorter)).unwrap();
        assert_eq!(held_by(), Some(shorter));
        lock.tell(None).unwrap();
        assert_eq!(held_by(), None);
        assert!(Lock::is_held(&file));
        drop(lock);
        assert!(!Lock::is_held(&file) && !Lock::is_held(&place.path().join("nowhere")));
        assert!(Lock::take(&file).is_ok());
        assert!(matches!(Lock::take(&place.path().join("no/where")), Err(LockError::Unusable(_))));
    }

    #[test]
    fn what_is_missing_is_named() {
        let place = tempfile::tempdir().unwrap();
        let words = why_unreadable(&place.path().join("live/name/privkey.pem"));
        assert!(words.contains("live") && words.contains("no such file"), "{words}");
        assert!(why_unreadable(place.path()).contains("is a folder"));
        let link = place.path().join("link.pem");
        std::os::unix::fs::symlink("archive/key1.pem", &link).unwrap();
        assert!(why_unreadable(&link).contains("archive"));
    }

    #[test]
    fn owner_mode_and_the_mode_needed_are_told() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("key.pem");
        write_private(&file, b"x").unwrap();
        let words = access_words(&file, &fs::metadata(&file).unwrap(), 65_534, "read", "0600");
        for part in ["key.pem", "mode 0600", "uid 65534", "needed is mode", "chown"] {
            assert!(words.contains(part), "{part}: {words}");
        }
    }
}
